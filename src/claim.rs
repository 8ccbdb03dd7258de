//! How an attempt begins: one job by its key, or the next ones.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::Arc;

use diesel::QueryResult;
use diesel::result::Error::DeserializationError as Undecodable;

use crate::connection::{PoolOf, TrackerConnection, mark_cause, together};
use crate::error::{Error, Result};
use crate::expiry;
use crate::protocol::{Refusal, Start, Step};
use crate::retry;
use crate::running::RunningJob;
use crate::store::{Batch, Claimed, JobName, JobStore, Tracked};

/// Rows that cannot be decoded and that a claim of the next jobs passes over.
const MOST_PASSED_OVER: usize = 64;

/// How often a claim looks at a row that keeps changing under it. Reached
/// only where the database and this crate read the row differently, as with
/// a time in a text format that SQLite does not compare rightly.
const LOOKS: u32 = 100;

/// What one look at the row came to.
enum Decision<J: Tracked> {
    /// By this token.
    Claimed(Arc<str>, Claimed<J>),
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
    // A claim whose answer was lost may land at any time, even after its job
    // was expired: were it sent again with the same token, it would give the
    // lock back to an attempt that has lost it.
    let (mut token, mut earlier) = (new_token(), Vec::new());
    let mut looks = 0;
    loop {
        looks += 1;
        let decision = retry::run(pool, &name, |conn, doubtful| {
            if doubtful {
                earlier.push(std::mem::replace(&mut token, new_token()));
            }
            if let Some(claimed) = claim_or_release::<S, C, J>(conn, key, &token, &step)? {
                return Ok(Decision::Claimed(token.clone(), claimed));
            }
            let Some(row) = J::row_state(conn, key)? else {
                return Ok(Decision::NotFound);
            };
            let is_own = |token: &&Arc<str>| row.lock.as_deref() == Some(&***token);
            if let Some(token) = earlier.iter().chain([&token]).find(is_own) {
                // An earlier try landed, and its answer was lost.
                return Ok(match J::claimed_row(conn, key, token)? {
                    Some(claimed) => Decision::Claimed(token.clone(), claimed),
                    None => Decision::Again,
                });
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
                    if let Some(setback) = expiry::expire::<J, C>(conn, key, &step)? {
                        expiry::log::<J>(key, &setback, &step);
                    }
                    Decision::Again
                }
            })
        })?;
        match decision {
            Decision::Claimed(token, claimed) => {
                let job = RunningJob::hold::<S>(pool.clone(), step, token, claimed);
                job.started();
                return Ok(job);
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

/// The next ready jobs, as far as they could be had.
pub(crate) struct Next<J: JobStore<C>, C: TrackerConnection> {
    /// In order, none of them started.
    pub jobs: Vec<RunningJob<J, C>>,
    /// Why a row that would have been next was passed over.
    pub unreadable: Option<Error>,
}

/// Claims up to `wanted` ready jobs, fewer when fewer are free right now.
///
/// Rows that cannot be decoded are passed over, so that one of them does
/// not stop the table.
pub(crate) fn next<S: 'static, J: JobStore<C>, C: TrackerConnection>(
    pool: &PoolOf<C>,
    wanted: usize,
    step: Step<J::Status>,
) -> Result<Next<J, C>> {
    let mut limit = wanted;
    loop {
        let mut token = new_token();
        let mut is_first_try = true;
        let batch = retry::run(pool, &J::TABLE, |conn, _| {
            let mut batch = Batch::default();
            if !std::mem::take(&mut is_first_try) {
                // An earlier try may have landed, and its answer been lost, or
                // have claimed some before it failed.
                batch = claim_again(conn, &token, &step)?;
                if batch.is_empty() {
                    // Or it is still to land, and then not this try's.
                    token = new_token();
                }
            }
            if batch.is_empty() {
                batch = J::claim_rows::<S>(conn, limit, &token, &step)?;
            }
            for spare in batch.claimed.drain(batch.claimed.len().min(wanted)..) {
                let status = step.released(spare.retry);
                J::release_rows(conn, &[spare.key], &token, status)?;
            }
            Ok(batch)
        })?;
        let passed_over = batch.undecodable.len();
        let mut unreadable = None;
        for (key, source) in batch.undecodable {
            let job = JobName::<J>(&key).to_string();
            tracing::error!(%job, error = %source, "cannot be decoded, passed over");
            unreadable.get_or_insert(Error::Database { job, source });
        }
        let nothing_else = batch.claimed.is_empty() && passed_over > 0;
        if nothing_else && passed_over == limit && limit < MOST_PASSED_OVER {
            limit *= 2;
            continue;
        }
        let hold = |claimed| RunningJob::hold::<S>(pool.clone(), step, token.clone(), claimed);
        return Ok(Next {
            jobs: batch.claimed.into_iter().map(hold).collect(),
            unreadable,
        });
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
fn new_token() -> Arc<str> {
    uuid::Uuid::new_v4().simple().to_string().into()
}

/// Candidates that are read to spare: others read the same list at the same time.
fn spare(limit: usize) -> usize {
    limit.max(16)
}

/// Claims the first `limit` rows of the list that `read` reads, one by one;
/// several of them in one transaction.
pub fn claim_by_key<S: 'static, C: TrackerConnection, J: JobStore<C>>(
    conn: &mut C,
    limit: usize,
    token: &str,
    step: &Step<J::Status>,
    mut read: impl FnMut(&mut C, usize) -> QueryResult<Vec<J::Key>>,
) -> QueryResult<Batch<J>> {
    loop {
        let (batch, all_gone) = together(conn, limit, |conn| -> QueryResult<_> {
            let keys = read(conn, limit + spare(limit))?;
            let all_gone = keys.is_empty();
            let batch = claim_each::<S, C, J>(conn, keys, limit, token, step)?;
            Ok((batch, all_gone))
        })?;
        if all_gone || !batch.is_empty() {
            return Ok(batch);
        }
    }
}

/// Claims the first `limit` rows of the list that `read` reads; several of
/// them by `claim`, in one go, which returns those that it got without waiting.
pub fn claim_by_keys<S: 'static, C: TrackerConnection, J: JobStore<C>>(
    conn: &mut C,
    limit: usize,
    token: &str,
    step: &Step<J::Status>,
    mut read: impl FnMut(&mut C, usize) -> QueryResult<Vec<J::Key>>,
    mut claim: impl FnMut(&mut C, &[J::Key]) -> QueryResult<Vec<Claimed<J>>>,
) -> QueryResult<Batch<J>> {
    if limit == 1 {
        return claim_by_key::<S, C, J>(conn, limit, token, step, read);
    }
    let mut reach = limit + spare(limit);
    loop {
        let mut candidates = VecDeque::from(read(conn, reach)?);
        let has_seen_all = candidates.len() < reach;
        let mut batch = Batch::default();
        while batch.claimed.len() < limit && !candidates.is_empty() {
            let wanted = (limit - batch.claimed.len()).min(candidates.len());
            let keys: Vec<_> = candidates.drain(..wanted).collect();
            let mut got = match claim(conn, &keys) {
                Err(Undecodable(_)) => return claim_again(conn, token, step),
                other => other?,
            };
            got.sort_by_cached_key(|claimed| keys.iter().position(|key| *key == claimed.key));
            batch.claimed.extend(got);
        }
        if has_seen_all || !batch.is_empty() {
            return Ok(batch);
        }
        // Others are at all of these.
        reach *= 2;
    }
}

/// Claims the first `limit` of `candidates` that can still be had. The first
/// try goes to the first; a claimer that lost it goes on elsewhere, so that
/// claimers of one list do not run into each other row by row.
fn claim_each<S: 'static, C: TrackerConnection, J: JobStore<C>>(
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
                J::release_rows(conn, std::slice::from_ref(&key), token, step.pending)?;
                batch.undecodable.push((key, error));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(batch)
}

/// Claims one row. Where the claim may have landed and the row could not be
/// read, it is given back: nobody is going to work on it.
fn claim_or_release<S: 'static, C: TrackerConnection, J: JobStore<C>>(
    conn: &mut C,
    key: &J::Key,
    token: &str,
    step: &Step<J::Status>,
) -> QueryResult<Option<Claimed<J>>> {
    J::claim_row::<S>(conn, key, token, step).map_err(|mut error| {
        mark_cause(conn, &mut error);
        let key_alone = std::slice::from_ref(key);
        if let Err(error) = J::release_rows(conn, key_alone, token, step.pending) {
            // The first error is the one to report; the lock expires.
            tracing::debug!(job = %JobName::<J>(key), %error, "not released");
        }
        error
    })
}

/// A number by chance: the token's digits are nothing else.
fn any_number_of(token: &str) -> usize {
    token.bytes().fold(0, |sum: usize, byte| {
        sum.wrapping_mul(31).wrapping_add(byte.into())
    })
}
