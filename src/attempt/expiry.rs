//! Expires attempts whose worker is presumed dead.

use diesel::QueryResult;

use crate::db::connection::{TrackerConnection, together};
use crate::db::database::Database;
use crate::error::Result;
use crate::keys::KeySet;
use crate::rows::apart::{self, Mode, all_or_each};
use crate::sql::results::{DeadAttempt, Obstacle};
use crate::sql::store::JobStore;
use crate::sql::tracked_table::{JobName, Tracked};
use status_protocol::Failure;
use status_protocol::{FailedAttempt, FailureOutcome, Step};

/// Dead attempts that are expired in one transaction.
const CHUNK: usize = 100;

/// The caller of an expiry, which is told of each attempt.
pub(crate) trait Expires<J: Tracked> {
    /// Whether to skip this row.
    fn is_past(&mut self, key: &J::Key) -> bool;
    /// An attempt was expired. `retry`: failures in a row of its job.
    fn expired(&mut self, key: &J::Key, retry: i32);
    /// An attempt could not be expired.
    fn passed_over(&mut self, key: &J::Key, obstacle: Obstacle);
}

/// Expires all dead attempts, and logs those that it could not.
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

/// Logs that a dead attempt could not be expired.
pub(crate) fn passed_over<J: Tracked>(key: &J::Key, obstacle: &Obstacle) {
    let job = JobName::<J>(key);
    if matches!(obstacle, Obstacle::Held) {
        tracing::warn!(%job, "lock expired, but another transaction holds the row: passed over");
    } else {
        tracing::error!(%job, ?obstacle, "lock expired, but the database refuses to expire the attempt: passed over");
    }
}

/// The result for each row: what the expiry left in it, `None` if there was
/// nothing to expire.
type Changed<J> = Vec<(
    <J as Tracked>::Key,
    std::result::Result<Option<FailureOutcome<<J as Tracked>::Status>>, Obstacle>,
)>;

/// Expires all attempts of the step whose lock is too old, and counts them. A row
/// that cannot be changed, or that another transaction holds, is passed over.
pub(crate) fn expire_all<D: Database, J: JobStore<D::Connection>>(
    mut db: D,
    step: &Step<J::Status>,
    who: &mut impl Expires<J>,
) -> Result<usize> {
    let mut expired = 0;
    let (mut past, mut done) = (KeySet::default(), KeySet::default());
    // Others may have expired these, or a trigger drops the change. The next search
    // shows which.
    let mut unchanged = KeySet::default();
    loop {
        let mut tries = 0;
        let (chunk, mut is_over) = db.run(&J::table_name(), |conn, _| {
            tries += 1;
            // Those that are passed over are found again.
            let reach = CHUNK + past.len();
            let mut keys = J::dead_keys(conn, reach, step)?;
            let are_all = keys.len() < reach;
            keys.retain(|key| {
                // A row that is still dead after its expiry: a trigger has changed it back.
                if done.contains(key) || who.is_past(key) {
                    past.insert(key);
                }
                !past.contains(key)
            });
            let mode = Mode::of_try(conn, tries);
            let chunk = expire_some::<_, J>(conn, keys, step, mode)?;
            Ok((chunk, are_all))
        })?;
        for (key, changed) in chunk {
            let changed = match changed {
                Ok(None) if !unchanged.insert(&key) => Err(Obstacle::Dropped),
                other => other,
            };
            match changed {
                Ok(Some(outcome)) => {
                    log::<J>(&key, &outcome, step);
                    who.expired(&key, outcome.retry);
                    done.insert(&key);
                    expired += 1;
                }
                Ok(None) => is_over = false,
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

/// Expires the attempts on these rows, in one short transaction.
///
/// All callers begin with the oldest lock, so that they rarely block each other.
fn expire_some<C: TrackerConnection, J: JobStore<C>>(
    conn: &mut C,
    keys: Vec<J::Key>,
    step: &Step<J::Status>,
    mode: Mode,
) -> QueryResult<Changed<J>> {
    let (mut changed, mut dead) = (Vec::new(), Vec::new());
    // Read before the transaction begins: on some isolation levels a read within
    // it waits for rows that others hold.
    for key in keys {
        match Dead::<J>::read(conn, &key, step) {
            Ok(Some(attempt)) => dead.push(attempt),
            Ok(None) => changed.push((key, Ok(None))),
            Err(error) => changed.push((key, Err(apart::obstacle_of(conn, error)?))),
        }
    }
    if dead.is_empty() {
        return Ok(changed);
    }
    let one = |conn: &mut C, n: &usize| dead[*n].end(conn, step);
    let all = |conn: &mut C| {
        together(conn, dead.len(), |conn| {
            let ended = (0..dead.len()).map(|n| Ok((n, Ok(one(conn, &n)?))));
            ended.collect()
        })
    };
    let ended = conn.keeping_lock_wait(|conn| all_or_each(conn, mode, 0..dead.len(), all, one))?;
    let ended = ended.into_iter();
    changed.extend(ended.map(|(n, ended)| (dead[n].attempt.key.clone(), ended)));
    Ok(changed)
}

/// Expires the attempt on this row if its lock is too old. Returns what that has
/// left in the row.
pub(crate) fn expire<J: JobStore<C>, C: TrackerConnection>(
    conn: &mut C,
    key: &J::Key,
    step: &Step<J::Status>,
) -> QueryResult<Option<FailureOutcome<J::Status>>> {
    match Dead::<J>::read(conn, key, step)? {
        Some(dead) => dead.end(conn, step),
        None => Ok(None),
    }
}

/// A dead attempt, and what its expiry writes.
struct Dead<J: Tracked> {
    attempt: DeadAttempt<J>,
    failed: FailedAttempt<J::Status>,
}

impl<J: Tracked> Dead<J> {
    /// The attempt on this row, if its lock has expired.
    fn read<C>(conn: &mut C, key: &J::Key, step: &Step<J::Status>) -> QueryResult<Option<Self>>
    where
        J: JobStore<C>,
    {
        let Some(mut attempt) = J::dead_attempt(conn, key, step)? else {
            return Ok(None);
        };
        let failure = Failure::because(
            "the lock expired: the worker died, or ran for longer than LOCK_EXPIRE without renewing",
        );
        let errors = std::mem::take(&mut attempt.errors);
        let failed = step.fail(failure, None, attempt.retry, errors, attempt.now);
        Ok(Some(Self { attempt, failed }))
    }

    /// Expires it, unless it was renewed or finished meanwhile. Returns what that
    /// has left in the row.
    fn end<C>(
        &self,
        conn: &mut C,
        step: &Step<J::Status>,
    ) -> QueryResult<Option<FailureOutcome<J::Status>>>
    where
        J: JobStore<C>,
    {
        let (outcome, errors) = (self.failed.outcome, self.failed.errors.clone());
        let ended = J::expire_row(conn, &self.attempt, outcome, errors, step)? > 0;
        Ok(ended.then_some(outcome))
    }
}

/// Logs that the attempt on this row was expired.
pub(crate) fn log<J: Tracked>(
    key: &J::Key,
    outcome: &FailureOutcome<J::Status>,
    step: &Step<J::Status>,
) {
    let job = JobName::<J>(key);
    if outcome.status == step.ignored {
        tracing::error!(%job, retry = outcome.retry, "lock expired, ignored");
    } else {
        tracing::warn!(%job, retry = outcome.retry, "lock expired, failed");
    }
}
