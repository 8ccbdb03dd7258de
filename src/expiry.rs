//! The end of attempts whose worker is presumed dead.

use diesel::QueryResult;
use diesel::result::Error::DeserializationError as Undecodable;

use crate::connection::{TrackerConnection, together};
use crate::database::Database;
use crate::error::{Error, Result};
use crate::failure::Failure;
use crate::protocol::{Setback, Step};
use crate::retry::Fault;
use crate::store::{JobName, JobStore, Tracked};

/// Dead attempts that are ended at once.
const CHUNK: usize = 100;

/// Ends all attempts of the step whose lock has expired, and counts them.
/// `each` is told of every one, with the failures in a row of its job.
pub(crate) fn expire_all<D: Database, J: JobStore<D::Connection>>(
    mut db: D,
    step: &Step<J::Status>,
    mut each: impl FnMut(&J::Key, i32),
) -> Result<usize> {
    let mut expired = 0;
    loop {
        // One short transaction a chunk. The oldest lock comes first for all
        // who expire, so that they rather wait for each other than deadlock;
        // where they do, the chunk is tried again.
        let (found, ended, unreadable) = db.run(&J::TABLE, |conn, _| {
            let keys = J::dead_keys(conn, CHUNK, step)?;
            let found = keys.len();
            if found == 0 {
                return Ok((0, Vec::new(), None));
            }
            together(conn, found, |conn| {
                let (mut ended, mut unreadable) = (Vec::new(), None);
                for key in keys {
                    match expire::<J, _>(conn, &key, step) {
                        Ok(Some(setback)) => ended.push((key, setback)),
                        Ok(None) => {}
                        // One bad row must not keep the others locked.
                        Err(error @ Undecodable(_)) => unreadable = Some((key, error)),
                        Err(error) => return Err(Fault::Database(error)),
                    }
                }
                Ok((found, ended, unreadable))
            })
        })?;
        for (key, setback) in &ended {
            log::<J>(key, setback, step);
            each(key, setback.retry);
        }
        expired += ended.len();
        if let Some((key, source)) = unreadable {
            let job = JobName::<J>(&key).to_string();
            tracing::error!(%job, error = %source, "cannot be expired, passed over");
            if ended.is_empty() {
                return Err(Error::Database { job, source });
            }
        }
        if ended.is_empty() || found < CHUNK {
            return Ok(expired);
        }
    }
}

/// Ends the attempt on this row if its lock has expired, and tells what that
/// left.
pub(crate) fn expire<J: JobStore<C>, C: TrackerConnection>(
    conn: &mut C,
    key: &J::Key,
    step: &Step<J::Status>,
) -> QueryResult<Option<Setback<J::Status>>> {
    let Some(mut dead) = J::dead_attempt(conn, key, step)? else {
        return Ok(None);
    };
    let (setback, panic) = step.after_failure(dead.retry, None);
    let failure = Failure::because(
        "the lock expired: the worker died, or ran for longer than LOCK_EXPIRE without renewing",
    )
    .and_of_delay(panic, step.redact);
    let errors = failure.document(std::mem::take(&mut dead.errors), setback.retry, dead.now);
    let expired = J::expire_row(conn, &dead, setback, errors, step)? > 0;
    Ok(expired.then_some(setback))
}

/// Says that the attempt on this row has ended.
pub(crate) fn log<J: Tracked>(key: &J::Key, setback: &Setback<J::Status>, step: &Step<J::Status>) {
    let job = JobName::<J>(key);
    if setback.status == step.ignored {
        tracing::error!(%job, retry = setback.retry, "lock expired, ignored");
    } else {
        tracing::warn!(%job, retry = setback.retry, "lock expired, failed");
    }
}
