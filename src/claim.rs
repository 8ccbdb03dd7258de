//! How an attempt begins: one job by its key, or the next one.

use std::collections::VecDeque;
use std::fmt::Debug;

use diesel::QueryResult;
use diesel::result::Error::DeserializationError as Undecodable;

use crate::connection::{PoolOf, TrackerConnection};
use crate::error::{Error, Result};
use crate::expiry;
use crate::protocol::{Refusal, Start, Step};
use crate::retry;
use crate::running::RunningJob;
use crate::store::{Batch, Claimed, JobName, JobStore, Tracked};

/// Rows that cannot be decoded and that a claim of the next job passes over.
const MOST_PASSED_OVER: usize = 64;

/// How often a claim looks at a row that keeps changing under it. Reached
/// only where the database and this crate read the row differently, as with
/// a time in a text format that SQLite does not compare rightly.
const LOOKS: u32 = 100;

/// What one look at the row came to.
enum Decision<J: Tracked> {
    Claimed(Claimed<J>),
    Again,
    NotFound,
    Refused(Refusal<J::Status>),
}

/// Claims the job with this key, or says why not.
pub(crate) fn by_key<S: 'static, J: JobStore<C>, C: TrackerConnection>(
    pool: &PoolOf<C>,
    key: &J::Key,
    step: Step<J::Status>,
) -> Result<RunningJob<J, C>> {
    let name = JobName::<J>(key);
    let token = new_token();
    let mut looks = 0;
    loop {
        looks += 1;
        let decision = retry::run(pool, &name, |conn, _| {
            if let Some(claimed) = claim_or_release::<S, C, J>(conn, key, &token, &step)? {
                return Ok(Decision::Claimed(claimed));
            }
            let Some(row) = J::row_state(conn, key)? else {
                return Ok(Decision::NotFound);
            };
            if row.lock.as_deref() == Some(&token) {
                // An earlier try landed, and its answer was lost.
                return Ok(
                    J::claimed_row(conn, key, &token)?.map_or(Decision::Again, Decision::Claimed)
                );
            }
            Ok(match step.may_start(&row) {
                // The database would have claimed it, had it thought so.
                Start::Ready if looks == LOOKS => Decision::Refused(Refusal::NotReady {
                    status: row.status,
                    run_at: row.run_at,
                }),
                Start::Ready => Decision::Again,
                Start::Refused(refusal) => Decision::Refused(refusal),
                Start::Expired if looks == LOOKS => Decision::Refused(Refusal::Locked {
                    lock_at: row.lock_at,
                    expires_at: None,
                }),
                Start::Expired => {
                    expiry::expire::<J, C>(conn, key, &step)?;
                    Decision::Again
                }
            })
        })?;
        match decision {
            Decision::Claimed(claimed) => {
                return Ok(RunningJob::hold::<S>(pool.clone(), step, token, claimed));
            }
            // The row changed between the two statements: each turn of
            // this loop is some other worker's progress.
            Decision::Again => {}
            Decision::NotFound => return Err(name.not_found()),
            Decision::Refused(refusal) => {
                let error = refused(refusal, name.to_string());
                tracing::debug!(job = %name, %error, "refused");
                return Err(error);
            }
        }
    }
}

/// Claims the next ready job, `None` when none is free right now.
///
/// Rows that cannot be decoded are passed over, so that one of them does
/// not stop the table; it is the answer when there is nothing else to do.
pub(crate) fn next<S: 'static, J: JobStore<C>, C: TrackerConnection>(
    pool: &PoolOf<C>,
    step: Step<J::Status>,
) -> Result<Option<RunningJob<J, C>>> {
    let mut limit = 1;
    loop {
        let token = new_token();
        let batch = retry::run(pool, &J::TABLE, |conn, doubtful| {
            if doubtful {
                // An earlier try may have landed, and its answer been lost.
                let batch = claim_again(conn, &token, &step)?;
                if !batch.is_empty() {
                    return Ok(batch);
                }
            }
            let mut batch = J::claim_rows::<S>(conn, limit, &token, &step)?;
            for spare in batch.claimed.drain(batch.claimed.len().min(1)..) {
                J::release_row(conn, &spare.key, &token, &step)?;
            }
            Ok(batch)
        })?;
        let passed_over = batch.undecodable.len();
        let mut bad_row = None;
        for (key, source) in batch.undecodable {
            let job = JobName::<J>(&key).to_string();
            tracing::error!(%job, error = %source, "cannot be decoded, passed over");
            bad_row.get_or_insert(Error::Database { job, source });
        }
        let claimed = batch.claimed.into_iter().next();
        match (claimed, bad_row) {
            (Some(claimed), _) => {
                return Ok(Some(RunningJob::hold::<S>(
                    pool.clone(),
                    step,
                    token,
                    claimed,
                )));
            }
            (None, None) => return Ok(None),
            (None, Some(error)) if passed_over < limit || limit >= MOST_PASSED_OVER => {
                return Err(error);
            }
            (None, Some(_)) => limit *= 2,
        }
    }
}

/// A refusal as the caller's error.
pub(crate) fn refused<S: Debug>(refusal: Refusal<S>, job: String) -> Error {
    match refusal {
        Refusal::Locked {
            lock_at,
            expires_at,
        } => Error::Locked {
            job,
            lock_at,
            expires_at,
        },
        Refusal::AlreadySucceeded => Error::AlreadySucceeded { job },
        Refusal::Ignored { retry } => Error::Ignored { job, retry },
        Refusal::NotReady { status, run_at } => Error::NotReady {
            job,
            status: format!("{status:?}"),
            run_at,
        },
    }
}

/// A fresh fencing token: 32 hexadecimal digits of chance.
fn new_token() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// Claims the first `limit` of `candidates` that can still be had. The first
/// try goes to the first; a claimer that lost it goes on elsewhere, so that
/// claimers of one list do not run into each other row by row.
pub fn claim_each<S: 'static, C, J: JobStore<C>>(
    conn: &mut C,
    candidates: Vec<J::Key>,
    limit: usize,
    token: &str,
    step: &Step<J::Status>,
) -> QueryResult<Batch<J>> {
    let mut candidates = VecDeque::from(candidates);
    let mut batch = Batch::default();
    let mut lost = false;
    while batch.claimed.len() < limit {
        let Some(key) = candidates.pop_front() else {
            break;
        };
        match claim_or_release::<S, C, J>(conn, &key, token, step) {
            Ok(Some(claimed)) => batch.claimed.push(claimed),
            Ok(None) if !lost && !candidates.is_empty() => {
                lost = true;
                candidates.rotate_left(any_number_of(token) % candidates.len());
            }
            Ok(None) => {}
            Err(error @ Undecodable(_)) => batch.undecodable.push((key, error)),
            Err(error) => return Err(error),
        }
    }
    Ok(batch)
}

/// What `token` holds, after a claim whose rows could not all be decoded.
pub fn claim_again<C, J: JobStore<C>>(
    conn: &mut C,
    token: &str,
    step: &Step<J::Status>,
) -> QueryResult<Batch<J>> {
    let mut batch = Batch::default();
    for key in J::claimed_keys(conn, token, step)? {
        match J::claimed_row(conn, &key, token) {
            Ok(claimed) => batch.claimed.extend(claimed),
            Err(error @ Undecodable(_)) => {
                J::release_row(conn, &key, token, step)?;
                batch.undecodable.push((key, error));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(batch)
}

/// Claims one row. Where the claim may have landed and the row could not be
/// read, it is given back: nobody is going to work on it.
fn claim_or_release<S: 'static, C, J: JobStore<C>>(
    conn: &mut C,
    key: &J::Key,
    token: &str,
    step: &Step<J::Status>,
) -> QueryResult<Option<Claimed<J>>> {
    J::claim_row::<S>(conn, key, token, step).inspect_err(|_| {
        if let Err(error) = J::release_row(conn, key, token, step) {
            // The first error is the one to report; the lock expires.
            tracing::debug!(job = %JobName::<J>(key), %error, "not released");
        }
    })
}

/// A number by chance: the token's digits are nothing else.
fn any_number_of(token: &str) -> usize {
    token.bytes().fold(0, |sum: usize, byte| {
        sum.wrapping_mul(31).wrapping_add(byte.into())
    })
}
