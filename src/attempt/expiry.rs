//! Expires attempts whose worker is presumed dead.

use std::fmt::Debug;

use diesel::QueryResult;

use crate::db::connection::{TrackerConnection, together};
use crate::db::database::Database;
use crate::db::retry::{self, Fault};
use crate::error::{Error, Result};
use crate::keys::KeySet;
use crate::observer::{Event, Observer, Source, Transition};
use crate::rows::apart::{self, Mode, all_or_each};
use crate::sql::dialect::LockWait;
use crate::sql::results::{DeadAttempt, Obstacle};
use crate::sql::statements;
use crate::sql::table_rows::{self, RowName, RowStore, TableRows};
use status_protocol::Failure;
use status_protocol::{FailedAttempt, FailureOutcome, Step};

/// Dead attempts that are expired in one transaction.
const CHUNK: usize = 100;

/// What is recorded of an attempt that somebody has ended.
const KNOWN_DEAD: &str = "ended by hand before its lock expired: its worker is known to be dead";

/// What is recorded of an attempt whose lock has expired.
const EXPIRED: &str =
    "the lock expired: the worker died, or ran for longer than LOCK_EXPIRE without renewing";

/// The caller of an expiry, which is told of each attempt.
pub(crate) trait Expires<K, S> {
    /// Whether to skip this row.
    fn is_past(&mut self, key: &K) -> bool;
    /// An attempt was expired, which has left this in the row.
    fn expired(&mut self, key: &K, outcome: &FailureOutcome<S>);
    /// An attempt could not be expired.
    fn passed_over(&mut self, key: &K, obstacle: Obstacle);
}

/// Expires all dead attempts, tells the observers of the step, and logs the attempts
/// that it could not expire.
pub(crate) struct Once<'a, T: TableRows> {
    pub table: &'a T,
    pub step: &'a Step<T::Status>,
    /// `None` where no step of the program's is concerned.
    pub source: Option<Source>,
}

impl<T: TableRows<Status: 'static>> Expires<T::Key, T::Status> for Once<'_, T> {
    fn is_past(&mut self, _: &T::Key) -> bool {
        false
    }

    fn expired(&mut self, key: &T::Key, outcome: &FailureOutcome<T::Status>) {
        if let Some(source) = &self.source {
            source.ring(&outcome.status, outcome.delay);
            tell(source, None, key, transition(outcome, self.step));
        }
    }

    fn passed_over(&mut self, key: &T::Key, obstacle: Obstacle) {
        passed_over(self.table, key, &obstacle);
    }
}

/// Logs that a dead attempt could not be expired.
pub(crate) fn passed_over<T: TableRows>(table: &T, key: &T::Key, obstacle: &Obstacle) {
    let job = table.job(key);
    if matches!(obstacle, Obstacle::Held) {
        tracing::warn!(%job, "lock expired, but another transaction holds the row: passed over");
    } else {
        tracing::error!(%job, ?obstacle, "lock expired, but the database refuses to expire the attempt: passed over");
    }
}

/// The result for each row: what the expiry left in it, `None` if there was
/// nothing to expire.
type Changed<T> = Vec<(
    <T as TableRows>::Key,
    std::result::Result<Option<FailureOutcome<<T as TableRows>::Status>>, Obstacle>,
)>;

/// Expires all attempts of the step whose lock is too old, and counts them. A row
/// that cannot be changed, or that another transaction holds, is passed over.
pub(crate) fn expire_all<D: Database, T: RowStore<D::Connection>>(
    mut db: D,
    table: &T,
    step: &Step<T::Status>,
    who: &mut impl Expires<T::Key, T::Status>,
) -> Result<usize> {
    let mut expired = 0;
    let (mut past, mut done) = (KeySet::default(), KeySet::default());
    // Others may have expired these, or a trigger drops the change. The next search
    // shows which.
    let mut unchanged = KeySet::default();
    loop {
        let mut tries = 0;
        let (chunk, mut is_over) = db.run(&table.table(), |conn, _| {
            tries += 1;
            // Those that are passed over are found again.
            let reach = CHUNK + past.len();
            let mut keys = table.dead_keys(conn, reach, step)?;
            let are_all = keys.len() < reach;
            keys.retain(|key| {
                // A row that is still dead after its expiry: a trigger has changed it back.
                if done.contains(key) || who.is_past(key) {
                    past.insert(key);
                }
                !past.contains(key)
            });
            let mode = Mode::of_try(conn, tries);
            let chunk = expire_some(conn, table, keys, step, mode)?;
            Ok((chunk, are_all))
        })?;
        for (key, changed) in chunk {
            let changed = match changed {
                Ok(None) if !unchanged.insert(&key) => Err(Obstacle::Dropped),
                other => other,
            };
            match changed {
                Ok(Some(outcome)) => {
                    log(table, &key, &outcome, step);
                    who.expired(&key, &outcome);
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
fn expire_some<C: TrackerConnection, T: RowStore<C>>(
    conn: &mut C,
    table: &T,
    keys: Vec<T::Key>,
    step: &Step<T::Status>,
    mode: Mode,
) -> QueryResult<Changed<T>> {
    let (mut changed, mut dead) = (Vec::new(), Vec::new());
    // Read before the transaction begins: on some isolation levels a read within
    // it waits for rows that others hold.
    for key in keys {
        match Dead::read(conn, table, &key, step) {
            Ok(Some(attempt)) => dead.push(attempt),
            Ok(None) => changed.push((key, Ok(None))),
            Err(error) => changed.push((key, Err(apart::obstacle_of(conn, error)?))),
        }
    }
    if dead.is_empty() {
        return Ok(changed);
    }
    let one = |conn: &mut C, n: &usize| dead[*n].end(conn, table, step);
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
pub(crate) fn expire<C: TrackerConnection, T: RowStore<C>>(
    conn: &mut C,
    table: &T,
    key: &T::Key,
    step: &Step<T::Status>,
) -> QueryResult<Option<FailureOutcome<T::Status>>> {
    match Dead::read(conn, table, key, step)? {
        Some(dead) => dead.end(conn, table, step),
        None => Ok(None),
    }
}

/// A lock as somebody has seen it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen<'a> {
    pub token: &'a str,
    /// As the database shows it.
    pub lock_at: &'a str,
}

/// Ends an attempt whose worker is known to be dead, if it is still as it was seen.
pub(crate) fn expire_seen<D: Database, T: RowStore<D::Connection>>(
    mut db: D,
    table: &T,
    key: &T::Key,
    step: &Step<T::Status>,
    seen: Seen<'_>,
) -> Result<()> {
    let name = table.job(key);
    let tokens = [seen.token];
    let call = |wait| {
        let mut call = table_rows::held(std::slice::from_ref(key), &tokens, wait);
        (call.step, call.plain.seen_lock_at) = (Some(step), Some(seen.lock_at));
        call
    };
    let outcome = db.run(&name, |conn, maybe_applied| {
        let found = table.read(conn, &statements::SEEN_ATTEMPT, call(LockWait::Never))?;
        let Some(record) = found.into_iter().next() else {
            if maybe_applied {
                return Err(Fault::RowChanged);
            }
            return Ok(Err(match table.row_state(conn, key)? {
                None => name.not_found(),
                Some(_) => Error::AttemptChanged {
                    job: name.to_string(),
                },
            }));
        };
        let dead = Dead::of(table_rows::dead(record)?, step, KNOWN_DEAD);
        let (outcome, errors) = (dead.failed.outcome, dead.failed.errors);
        let ended = conn.keeping_lock_wait(|conn| {
            let call = call(LockWait::Briefly);
            let call = table_rows::failed(table.info(), call, outcome, errors);
            table.execute(conn, &statements::EXPIRE_SEEN_ROW, call)
        });
        let ended = match ended {
            Err(error) if retry::is_held_outside_transaction(conn, &error)? => {
                return Ok(Err(Obstacle::Held.into_error(name.to_string())));
            }
            ended => ended?,
        };
        if ended > 0 {
            return Ok(Ok(outcome));
        }
        // It has changed since, or the database drops the update.
        let again = table.read(conn, &statements::SEEN_ATTEMPT, call(LockWait::Never))?;
        let job = name.to_string();
        Ok(Err(match again.is_empty() {
            true => Error::AttemptChanged { job },
            false => Error::UpdateDropped { job },
        }))
    })??;
    log(table, key, &outcome, step);
    Ok(())
}

/// A dead attempt, and what its expiry writes.
struct Dead<K, S> {
    attempt: DeadAttempt<K>,
    failed: FailedAttempt<S>,
}

impl<K, S: Copy + PartialEq> Dead<K, S> {
    /// The attempt on this row, if its lock has expired.
    fn read<C, T: RowStore<C, Key = K, Status = S>>(
        conn: &mut C,
        table: &T,
        key: &K,
        step: &Step<S>,
    ) -> QueryResult<Option<Self>> {
        let attempt = table.dead_attempt(conn, key, step)?;
        Ok(attempt.map(|attempt| Self::of(attempt, step, EXPIRED)))
    }

    /// An attempt that ends for this reason.
    fn of(mut attempt: DeadAttempt<K>, step: &Step<S>, reason: &str) -> Self {
        let errors = std::mem::take(&mut attempt.errors);
        let failure = Failure::because(reason);
        let failed = step.fail(failure, None, attempt.retry, errors, attempt.now);
        Self { attempt, failed }
    }

    /// Expires it, unless it was renewed or finished meanwhile. Returns what that
    /// has left in the row.
    fn end<C, T: RowStore<C, Key = K, Status = S>>(
        &self,
        conn: &mut C,
        table: &T,
        step: &Step<S>,
    ) -> QueryResult<Option<FailureOutcome<S>>> {
        let (outcome, errors) = (self.failed.outcome, self.failed.errors.clone());
        let ended = table.expire_row(conn, &self.attempt, outcome, errors, step)? > 0;
        Ok(ended.then_some(outcome))
    }
}

/// What the expiry of an attempt means for its job.
pub(crate) fn transition<S: Copy + PartialEq>(
    outcome: &FailureOutcome<S>,
    step: &Step<S>,
) -> Transition {
    Transition::Expired {
        retry: outcome.retry,
        ignored: outcome.status == step.ignored,
    }
}

/// Tells that the attempt on this row was expired.
pub(crate) fn tell<K: Debug>(
    source: &Source,
    own: Option<&dyn Observer>,
    key: &K,
    transition: Transition,
) {
    let (Some(audience), Transition::Expired { retry, .. }) = (source.audience(own), transition)
    else {
        return;
    };
    audience.tell(&Event {
        key: Some(key),
        attempt: Some(retry),
        error: Some(&Failure::because(EXPIRED)),
        ..source.event(transition)
    });
}

/// Logs that the attempt on this row was expired.
pub(crate) fn log<T: TableRows>(
    table: &T,
    key: &T::Key,
    outcome: &FailureOutcome<T::Status>,
    step: &Step<T::Status>,
) {
    log_expired(
        &table.job(key),
        outcome.retry,
        outcome.status == step.ignored,
    );
}

// A log macro expands to much code. Here it is compiled once, and not for each table.
fn log_expired(job: &RowName<'_>, retry: i32, is_ignored: bool) {
    if is_ignored {
        tracing::error!(%job, retry, "lock expired, ignored");
    } else {
        tracing::warn!(%job, retry, "lock expired, failed");
    }
}
