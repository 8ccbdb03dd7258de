//! The locks of all jobs that a worker has claimed, and their renewal.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use diesel::QueryResult;
use diesel::result::Error::DeserializationError as Undecodable;

use crate::attempt::lease::Lease;
use crate::db::connection::TrackerConnection;
use crate::db::pool::AnyPool;
use crate::db::retry::{self, Kept};
use crate::error::Result;
use crate::keys::{KeyMap, KeySet};
use crate::rows::apart::{Mode, all_or_each};
use crate::rows::bulk;
use crate::sql::dialect::LockWait;
use crate::sql::results::{Obstacle, Renewed};
use crate::sql::store::JobStore;
use crate::sql::table_rows::RowName;

/// The leases of all claimed jobs, claim by claim.
pub(super) struct Leases<K>(Mutex<Vec<Vec<Weak<Lease<K>>>>>);

impl<K> Default for Leases<K> {
    fn default() -> Self {
        Self(Mutex::new(Vec::new()))
    }
}

impl<K: PartialEq> Leases<K> {
    /// Adds those of a claim, and forgets the claims whose jobs are all done.
    pub fn add<'a>(&self, claim: impl Iterator<Item = &'a Arc<Lease<K>>>)
    where
        K: 'a,
    {
        let claim = claim.map(Arc::downgrade).collect();
        let mut claims = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        claims.retain(|leases| leases.iter().any(|lease| lease.strong_count() > 0));
        claims.push(claim);
    }

    /// Those that must be renewed.
    pub fn standing(&self) -> Vec<Arc<Lease<K>>> {
        let mut leases = self.all();
        leases.retain(stands);
        leases
    }

    /// Whether this worker has claimed the job with this key, and does not know
    /// that its lock is lost.
    pub fn hold(&self, key: &K) -> bool {
        let leases = self.all();
        leases
            .iter()
            .any(|lease| lease.key == *key && !lease.is_lost())
    }

    fn all(&self) -> Vec<Arc<Lease<K>>> {
        let claims = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        claims.iter().flatten().filter_map(Weak::upgrade).collect()
    }
}

/// Whether this lock must be renewed.
fn stands<K>(lease: &Arc<Lease<K>>) -> bool {
    !lease.is_lost() && !lease.is_completing()
}

/// Those of an earlier try that must still be renewed.
pub(super) fn still_standing<K>(mut leases: Vec<Arc<Lease<K>>>) -> Vec<Arc<Lease<K>>> {
    // If nobody else has the lease, the job is done.
    leases.retain(|lease| stands(lease) && Arc::strong_count(lease) > 1);
    leases
}

/// Renews the locks for another `LOCK_EXPIRE`, and notes which are lost. Returns
/// those whose row another transaction holds: this does not wait for them.
pub(super) fn renew<J: JobStore<C>, C: TrackerConnection>(
    pool: &AnyPool<C>,
    kept: &mut Kept<C>,
    leases: &[Arc<Lease<J::Key>>],
) -> Result<Vec<Arc<Lease<J::Key>>>> {
    let mut held = Vec::new();
    for chunk in leases.chunks(bulk::CHUNK) {
        let mut asked_at = Instant::now();
        let mut tries = 0;
        let renewed = retry::run_on(&**pool, kept, &J::table_name(), |conn: &mut C, _| {
            asked_at = Instant::now();
            tries += 1;
            let mode = Mode::of_try(conn, tries);
            let all = |conn: &mut C| renew_free::<J, C>(conn, chunk);
            let renewed = all_or_each(conn, mode, 0..chunk.len(), all, |conn, n| {
                renew_some::<J, C>(conn, &chunk[*n..=*n]).map(|mut renewed| renewed.pop())
            });
            Ok(renewed?)
        })?;
        for (n, renewed) in renewed {
            let lease = &chunk[n];
            match renewed {
                Ok(Some(row)) => lease.set_renewed(row.lock_at, asked_at),
                // Its outcome was written meanwhile, which released the lock.
                Ok(None) if lease.is_completing() => {}
                Ok(None) => {
                    lease.lose();
                    tracing::warn!(job = %RowName::of::<J>(&lease.key), "lock lost");
                }
                Err(Obstacle::Held) => {
                    let job = RowName::of::<J>(&lease.key);
                    tracing::debug!(%job, "lock not renewed yet: another transaction holds the row");
                    held.push(Arc::clone(lease));
                }
                Err(obstacle) => {
                    let error = obstacle.into_error(RowName::of::<J>(&lease.key).to_string());
                    tracing::warn!(
                        %error,
                        "a lock cannot be renewed: when it expires, the job runs again; correct what refuses the update, such as a trigger"
                    );
                }
            }
        }
        tracing::debug!(
            table = J::table_name(),
            locks = chunk.len(),
            "locks renewed"
        );
    }
    Ok(held)
}

/// The result for each lease: its new time, `None` where it is lost.
type Results<K> = Vec<(usize, std::result::Result<Option<Renewed<K>>, Obstacle>)>;

/// Renews those whose rows no other transaction holds, by one statement.
fn renew_free<J: JobStore<C>, C: TrackerConnection>(
    conn: &mut C,
    leases: &[Arc<Lease<J::Key>>],
) -> QueryResult<Results<J::Key>> {
    if conn.facts().writers == 1 {
        let times = Times::of(renew_some::<J, C>(conn, leases)?);
        let result = leases.iter().map(|lease| Ok(times.of_lease(lease)));
        return Ok(result.enumerate().collect());
    }
    let (free, times) = conn.transaction(|conn| {
        let keys: Vec<J::Key> = leases.iter().map(|lease| lease.key.clone()).collect();
        let mut free = KeySet::default();
        free.extend(J::free_keys(conn, &keys)?);
        let is_free = |lease: &&Arc<Lease<_>>| free.contains(&lease.key);
        let mine: Vec<_> = leases.iter().filter(is_free).cloned().collect();
        let renewed = renew_some::<J, C>(conn, &mine)?;
        QueryResult::Ok((free, Times::of(renewed)))
    })?;
    let result_of = |(n, lease): (usize, &Arc<Lease<J::Key>>)| {
        // After the transaction: in a serializable one MySQL would wait for the row.
        let is_held = !free.contains(&lease.key) && exists::<J, C>(conn, &lease.key)?;
        let result = if is_held {
            Err(Obstacle::Held)
        } else {
            Ok(times.of_lease(lease))
        };
        Ok((n, result))
    };
    leases.iter().enumerate().map(result_of).collect()
}

/// Renews these by one statement.
fn renew_some<J: JobStore<C>, C: TrackerConnection>(
    conn: &mut C,
    leases: &[Arc<Lease<J::Key>>],
) -> QueryResult<Vec<Renewed<J::Key>>> {
    if leases.is_empty() {
        return Ok(Vec::new());
    }
    let keys: Vec<J::Key> = leases.iter().map(|lease| lease.key.clone()).collect();
    let mut tokens: Vec<&str> = leases.iter().map(|lease| &*lease.token).collect();
    tokens.sort_unstable();
    tokens.dedup();
    J::renew_rows(conn, &keys, &tokens, LockWait::Never)
}

/// The locks that were renewed.
struct Times<K>(KeyMap<K, Renewed<K>>);

impl<K: Clone + PartialEq + Debug> Times<K> {
    fn of(renewed: Vec<Renewed<K>>) -> Self {
        let mut times = KeyMap::default();
        for row in renewed {
            times.insert(row.key.clone(), row);
        }
        Self(times)
    }

    /// The new time of this lease, if it was renewed.
    fn of_lease(&self, lease: &Lease<K>) -> Option<Renewed<K>> {
        let row = self.0.get(&lease.key)?;
        (row.lock == *lease.token).then(|| row.clone())
    }
}

fn exists<J: JobStore<C>, C>(conn: &mut C, key: &J::Key) -> QueryResult<bool> {
    match J::row_state(conn, key) {
        Err(Undecodable(_)) => Ok(true),
        other => Ok(other?.is_some()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(key: i32) -> Arc<Lease<i32>> {
        Arc::new(Lease::new(key, "token".into(), None, Instant::now()))
    }

    /// An outcome whose answer was lost may have been applied. Then the row has no
    /// lock any more, and a renewal would take that for a lost lock.
    #[test]
    fn a_job_that_is_completing_or_lost_or_done_is_not_renewed() {
        let leases = Leases::default();
        let [running, completing, lost, done] = [1, 2, 3, 4].map(lease);
        leases.add([&running, &completing, &lost, &done].into_iter());
        completing.set_completing(true);
        lost.lose();
        drop(done);

        let standing = leases.standing();

        let keys: Vec<_> = standing.iter().map(|lease| lease.key).collect();
        assert_eq!(keys, [1]);
        assert_eq!(
            [1, 2, 3, 4].map(|key| leases.hold(&key)),
            [true, true, false, false]
        );
    }

    #[test]
    fn a_lock_whose_row_was_held_is_tried_again_while_the_job_runs() {
        let [running, completing, lost, done] = [1, 2, 3, 4].map(lease);
        let held = [&running, &completing, &lost, &done].map(Arc::clone).into();
        completing.set_completing(true);
        lost.lose();
        drop(done);

        let left = still_standing(held);

        let keys: Vec<_> = left.iter().map(|lease| lease.key).collect();
        assert_eq!(keys, [1]);
    }

    #[test]
    fn claims_whose_jobs_are_done_are_forgotten() {
        let leases = Leases::default();
        for key in 0..10 {
            let (done, running) = (lease(key), lease(key));
            leases.add([&done].into_iter());
            leases.add([&done, &running].into_iter());
        }
        let left = leases.0.lock().unwrap().len();
        assert_eq!(left, 2, "those of the last round");
    }
}
