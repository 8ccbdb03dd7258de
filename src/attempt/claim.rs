//! How an attempt begins: with one job by its key, or with the next ready jobs.

mod next;
mod one_by_one;

use std::sync::Arc;
use std::time::Instant;

use diesel::QueryResult;
use diesel::result::Error::DeserializationError as Undecodable;

use crate::attempt::expiry;
use crate::attempt::running::RunningJob;
use crate::db::connection::TrackerConnection;
use crate::db::pool::AnyPool;
use crate::db::retry;
use crate::error::{Error, Result};
use crate::observer::Source;
use crate::rows::reset::LOOKS;
use crate::sql::dialect::LockWait;
use crate::sql::filter::Filter;
use crate::sql::results::{Claimed, Obstacle};
use crate::sql::store::JobStore;
use crate::sql::table_rows::{RowName, Typed};
use crate::sql::tracked_table::Tracked;
use status_protocol::panics::caught;
use status_protocol::{FailureOutcome, Refusal, Start, Step};

pub(crate) use next::{LARGEST_CLAIM, Next, Sent, claim_several, next};

/// How often a claim waits for a transaction that holds its row.
const WAITS: u32 = 3;

/// What one try to claim has shown.
enum Decision<J: Tracked> {
    /// With this token.
    Claimed(Arc<str>, Claimed<J>),
    Again,
    /// A dead attempt was expired, which has left this in the row.
    Expired(FailureOutcome<J::Status>),
    NotFound,
    Refused(Refusal<J::Status>),
    Not(Obstacle),
}

/// Claims the job with this key, or returns why it cannot.
pub(crate) fn by_key<S: 'static, J: JobStore<C>, C: TrackerConnection>(
    pool: &AnyPool<C>,
    key: &J::Key,
    step: Step<J::Status>,
) -> Result<RunningJob<J, C>> {
    let name = RowName::of::<J>(key);
    // A claim whose answer was lost may be applied at any time, even after the job
    // was expired. So each try has its own token: with the same one, a late claim
    // would give the lock back to an attempt that has lost it.
    let (mut token, mut earlier) = (new_token(), Vec::new());
    let (mut looks, mut waits) = (0, 0);
    loop {
        looks += 1;
        let mut asked_at = Instant::now();
        let decision = retry::run(&**pool, &name, |conn, maybe_applied| {
            asked_at = Instant::now();
            if maybe_applied {
                earlier.push(std::mem::replace(&mut token, new_token()));
            }
            match claim_or_release::<C, J>(conn, key, &token, &step, None, LockWait::Briefly) {
                Ok(Some(claimed)) => return Ok(Decision::Claimed(token.clone(), claimed)),
                Err(error) if retry::is_held(conn, &error) => {
                    waits += 1;
                    if waits < WAITS {
                        return Err(error.into());
                    }
                    return Ok(Decision::Not(Obstacle::Held));
                }
                Ok(None) => {}
                Err(error) => return Err(error.into()),
            }
            // A statement of its own. On PostgreSQL the claim could tell the same, as a
            // CTE beside a read of the row; but then each claim that succeeds would cost
            // the server a sixth more instructions (37,000 more than 225,000, counted by
            // callgrind), to spare the refused ones a round trip and as much. SQLite and
            // MySQL have no such statement.
            let Some(row) = J::row_state(conn, key)? else {
                return Ok(Decision::NotFound);
            };
            if let Some(token) = own_token(&earlier, &token, row.lock.as_deref()) {
                // An earlier try was applied, and its answer was lost.
                return Ok(match J::claimed_row(conn, key, token)? {
                    Some(claimed) => Decision::Claimed(token.clone(), claimed),
                    None => Decision::Again,
                });
            }
            Ok(match step.may_start(&row) {
                // This crate takes the row for ready, and the database does not.
                Start::Ready if looks >= LOOKS && row.run_at.is_some() => {
                    Decision::Refused(Refusal::NotReady {
                        status: row.status,
                        run_at: row.run_at,
                    })
                }
                Start::Ready if looks >= LOOKS => Decision::Not(Obstacle::Dropped),
                Start::Ready => Decision::Again,
                Start::Refused(refusal) => Decision::Refused(refusal),
                Start::Expired if looks >= LOOKS => Decision::Refused(Refusal::Locked {
                    lock_at: row.lock_at,
                    expires_at: None,
                }),
                Start::Expired => match expiry::expire(conn, &Typed::<J>::new(), key, &step) {
                    Ok(Some(outcome)) => Decision::Expired(outcome),
                    Err(error) if retry::is_held(conn, &error) => Decision::Not(Obstacle::Held),
                    other => {
                        other?;
                        Decision::Again
                    }
                },
            })
        })?;
        match decision {
            Decision::Claimed(token, claimed) => {
                let mut job = RunningJob::hold::<S>(pool.clone(), step, token, claimed, asked_at);
                job.attempt.started();
                return Ok(job);
            }
            // The row changed between the two statements. Each time, another
            // worker has made progress.
            Decision::Again => {}
            Decision::Expired(outcome) => {
                expiry::log(&Typed::<J>::new(), key, &outcome, &step);
                let source = Source::of::<S>(J::info);
                expiry::tell(&source, None, key, expiry::transition(&outcome, &step));
            }
            Decision::NotFound => return Err(name.not_found()),
            Decision::Refused(refusal) => {
                let error = Error::refused(refusal, name.to_string());
                log_refused(&name, &error);
                return Err(error);
            }
            Decision::Not(obstacle) => return Err(cannot(obstacle, &name)),
        }
    }
}

/// The one of the tokens of this call that the row has.
fn own_token<'a>(
    earlier: &'a [Arc<str>],
    last: &'a Arc<str>,
    lock: Option<&str>,
) -> Option<&'a Arc<str>> {
    let lock = lock?;
    let mut tokens = earlier.iter().chain([last]);
    tokens.find(|token| ***token == *lock)
}

// A log macro expands to much code. Here it is compiled once, and not for each table.

fn log_refused(name: &RowName<'_>, error: &Error) {
    tracing::debug!(job = %name, %error, "refused");
}

fn cannot(obstacle: Obstacle, name: &RowName<'_>) -> Error {
    let error = obstacle.into_error(name.to_string());
    tracing::warn!(job = %name, %error, "refused");
    error
}

fn log_not_released(name: &RowName<'_>, error: &diesel::result::Error) {
    tracing::debug!(job = %name, %error, "not released");
}

/// Claims one row. If the claim may have been applied and the row cannot be read,
/// the row is released, because nobody would work on it.
fn claim_or_release<C: TrackerConnection, J: JobStore<C>>(
    conn: &mut C,
    key: &J::Key,
    token: &str,
    step: &Step<J::Status>,
    filter: Option<&Filter>,
    wait: LockWait,
) -> QueryResult<Option<Claimed<J>>> {
    let claimed = decoded(|| J::claim_row(conn, key, token, step, filter, wait));
    let Err(error) = &claimed else {
        return claimed;
    };
    if !retry::is_held(conn, error)
        && let Err(error) = release_unread::<C, J>(conn, key, token, step)
    {
        // The first error is the one to report. The lock will expire.
        log_not_released(&RowName::of::<J>(key), &error);
    }
    claimed
}

/// Releases a claimed row that cannot be read. Its earlier status is derived from
/// its failures in a row.
fn release_unread<C, J: JobStore<C>>(
    conn: &mut C,
    key: &J::Key,
    token: &str,
    step: &Step<J::Status>,
) -> QueryResult<usize> {
    let retry = match J::retries(conn, key) {
        Err(Undecodable(_)) => 0,
        other => other?.unwrap_or_default(),
    };
    let status = step.released(retry);
    J::release_rows(
        conn,
        std::slice::from_ref(key),
        token,
        status,
        LockWait::Never,
    )
}

/// A new fencing token: 32 random hexadecimal digits.
fn new_token() -> Arc<str> {
    let mut digits = uuid::Uuid::encode_buffer();
    let token: &str = uuid::Uuid::new_v4().simple().encode_lower(&mut digits);
    token.into()
}

/// Calls `read`, in which the user's code decodes a row. A panic counts as a row
/// that cannot be decoded.
fn decoded<T>(read: impl FnOnce() -> QueryResult<T>) -> QueryResult<T> {
    caught("what decodes a row", read)
        .unwrap_or_else(|message| Err(Undecodable(format!("it panicked: {message}").into())))
}
