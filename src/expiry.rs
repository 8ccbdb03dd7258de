//! The end of attempts whose worker is presumed dead.

use diesel::QueryResult;

use crate::connection::TrackerConnection;
use crate::database::Database;
use crate::error::{Error, Result};
use crate::failure::Failure;
use crate::protocol::Step;
use crate::store::{JobName, JobStore};

/// Dead attempts that are looked for at once.
const CHUNK: usize = 100;

/// Ends all attempts of the step whose lock has expired, and counts them.
pub(crate) fn expire_all<D: Database, J: JobStore<D::Connection>>(
    mut db: D,
    step: &Step<J::Status>,
) -> Result<usize> {
    let mut expired = 0;
    loop {
        let keys = db.run(&J::TABLE, |conn, _| Ok(J::dead_keys(conn, CHUNK, step)?))?;
        let (mut ended, mut unreadable) = (0, None);
        for key in &keys {
            let one = db.run(&JobName::<J>(key), |conn, _| {
                Ok(expire::<J, _>(conn, key, step)?)
            });
            match one {
                Ok(one) => ended += usize::from(one),
                // One bad row must not keep the others locked.
                Err(
                    error @ Error::Database {
                        source: diesel::result::Error::DeserializationError(_),
                        ..
                    },
                ) => {
                    tracing::error!(%error, "cannot be expired, passed over");
                    unreadable = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        expired += ended;
        if let Some(error) = unreadable.filter(|_| ended == 0) {
            return Err(error);
        }
        if ended == 0 || keys.len() < CHUNK {
            return Ok(expired);
        }
    }
}

/// Ends the attempt on this row if its lock has expired, and tells whether it had.
pub(crate) fn expire<J: JobStore<C>, C: TrackerConnection>(
    conn: &mut C,
    key: &J::Key,
    step: &Step<J::Status>,
) -> QueryResult<bool> {
    let Some(mut dead) = J::dead_attempt(conn, key, step)? else {
        return Ok(false);
    };
    let setback = step.after_failure(dead.retry);
    let failure = Failure::because(
        "the lock expired: the worker died, or ran for longer than LOCK_EXPIRE without renewing",
    );
    let errors = failure.document(std::mem::take(&mut dead.errors), setback.retry, dead.now);
    let expired = J::expire_row(conn, &dead, setback, errors, step)? > 0;
    if expired {
        let job = JobName::<J>(key);
        if setback.status == step.ignored {
            tracing::error!(%job, retry = setback.retry, "lock expired, ignored");
        } else {
            tracing::warn!(%job, retry = setback.retry, "lock expired, failed");
        }
    }
    Ok(expired)
}
