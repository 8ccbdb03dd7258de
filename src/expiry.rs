//! The end of attempts whose worker is presumed dead.

use diesel::QueryResult;
use diesel::result::Error::DeserializationError as Undecodable;

use crate::apart::all_or_each;
use crate::connection::{TrackerConnection, together};
use crate::database::Database;
use crate::error::Result;
use crate::failure::Failure;
use crate::keys::KeySet;
use crate::protocol::{Setback, Step};
use crate::store::{JobName, JobStore, Obstacle, Tracked};

/// Dead attempts that are ended at once.
const CHUNK: usize = 100;

/// Who has dead attempts ended, and is told of each.
pub(crate) trait Expires<J: Tracked> {
    /// Whether to leave this row alone.
    fn is_past(&mut self, key: &J::Key) -> bool;
    /// An attempt has ended, after so many failures in a row of its job.
    fn expired(&mut self, key: &J::Key, retry: i32);
    /// An attempt could not be ended.
    fn passed_over(&mut self, key: &J::Key, obstacle: Obstacle);
}

/// A call that has all dead attempts ended, and logs what could not be.
pub(crate) struct Once;

impl<J: Tracked> Expires<J> for Once {
    fn is_past(&mut self, _: &J::Key) -> bool {
        false
    }

    fn expired(&mut self, _: &J::Key, _: i32) {}

    fn passed_over(&mut self, key: &J::Key, obstacle: Obstacle) {
        passed_over::<J>(key, &obstacle);
    }
}

/// Says that a dead attempt could not be ended.
pub(crate) fn passed_over<J: Tracked>(key: &J::Key, obstacle: &Obstacle) {
    let job = JobName::<J>(key);
    if matches!(obstacle, Obstacle::Held) {
        tracing::warn!(%job, "lock expired, but another transaction holds the row: passed over");
    } else {
        tracing::error!(%job, ?obstacle, "lock expired, but the attempt cannot be ended: passed over");
    }
}

/// What came of some rows: what an expiry left, `None` where there was nothing
/// to end.
type Changed<J> = Vec<(
    <J as Tracked>::Key,
    std::result::Result<Option<Setback<<J as Tracked>::Status>>, Obstacle>,
)>;

/// Ends all attempts of the step whose lock has expired, and counts them. A row
/// that cannot be changed, or that another transaction holds, is passed over.
pub(crate) fn expire_all<D: Database, J: JobStore<D::Connection>>(
    mut db: D,
    step: &Step<J::Status>,
    who: &mut impl Expires<J>,
) -> Result<usize> {
    let mut expired = 0;
    let (mut past, mut done) = (KeySet::default(), KeySet::default());
    loop {
        let passed = past.len();
        let (chunk, are_all) = db.run(&J::TABLE, |conn, _| {
            // Those that are passed over stay where they are.
            let reach = CHUNK + past.len();
            let mut keys = J::dead_keys(conn, reach, step)?;
            let are_all = keys.len() < reach;
            keys.retain(|key| {
                // What is still dead after its end was changed back by a trigger.
                if done.contains(key) || who.is_past(key) {
                    past.insert(key);
                }
                !past.contains(key)
            });
            Ok((expire_some::<_, J>(conn, keys, step)?, are_all))
        })?;
        let mut is_over = are_all;
        is_over |= past.len() == passed
            && !chunk
                .iter()
                .any(|(_, changed)| !matches!(changed, Ok(None)));
        for (key, changed) in chunk {
            match changed {
                Ok(Some(setback)) => {
                    log::<J>(&key, &setback, step);
                    who.expired(&key, setback.retry);
                    done.insert(&key);
                    expired += 1;
                }
                Ok(None) => {}
                Err(obstacle) => {
                    past.insert(&key);
                    who.passed_over(&key, obstacle);
                }
            }
        }
        if is_over {
            return Ok(expired);
        }
    }
}

/// Ends the attempts on these rows, in one short transaction.
///
/// The oldest lock comes first for all who expire, so that they rarely meet.
fn expire_some<C: TrackerConnection, J: JobStore<C>>(
    conn: &mut C,
    keys: Vec<J::Key>,
    step: &Step<J::Status>,
) -> QueryResult<Changed<J>> {
    let all = |conn: &mut C| {
        together(conn, keys.len(), |conn| {
            let expire = |key: &J::Key| match expire::<J, C>(conn, key, step) {
                Ok(setback) => Ok((key.clone(), Ok(setback))),
                Err(error @ Undecodable(_)) => Ok((key.clone(), Err(Obstacle::Unreadable(error)))),
                Err(error) => Err(error),
            };
            keys.iter().map(expire).collect()
        })
    };
    conn.keeping_lock_wait(|conn| {
        all_or_each(conn, keys.clone(), all, |conn, key| {
            expire::<J, C>(conn, key, step)
        })
    })
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
