//! The end of attempts whose worker is presumed dead.

use diesel::QueryResult;

use crate::apart::{self, Mode, all_or_each};
use crate::connection::{TrackerConnection, together};
use crate::database::Database;
use crate::error::Result;
use crate::keys::KeySet;
use crate::store::{DeadAttempt, JobName, JobStore, Obstacle, Tracked};
use status_protocol::Failure;
use status_protocol::{FailedAttempt, FailureOutcome, Step};

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
    std::result::Result<Option<FailureOutcome<<J as Tracked>::Status>>, Obstacle>,
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
    // Others may have ended these, or a trigger drops the change: the next look tells.
    let mut unchanged = KeySet::default();
    loop {
        let mut tries = 0;
        let (chunk, mut is_over) = db.run(&J::TABLE, |conn, _| {
            tries += 1;
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
            let chunk =
                expire_some::<_, J>(conn, keys, step, Mode::of_try::<D::Connection>(tries))?;
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

/// Ends the attempts on these rows, in one short transaction.
///
/// The oldest lock comes first for all who expire, so that they rarely meet.
fn expire_some<C: TrackerConnection, J: JobStore<C>>(
    conn: &mut C,
    keys: Vec<J::Key>,
    step: &Step<J::Status>,
    mode: Mode,
) -> QueryResult<Changed<J>> {
    let (mut changed, mut dead) = (Vec::new(), Vec::new());
    // Before the transaction begins: what reads in one waits for rows that others
    // hold, on some isolation levels.
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

/// Ends the attempt on this row if its lock has expired, and tells what that
/// left.
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

/// A dead attempt, and what follows from its end.
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

    /// Ends it, unless it was renewed or finished meanwhile, and tells what that
    /// left.
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

/// Says that the attempt on this row has ended.
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
