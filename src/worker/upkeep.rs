//! What a worker does beside its jobs: it renews their locks, and ends the
//! dead attempts of others.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::bulk;
use crate::connection::{PoolOf, TrackerConnection};
use crate::error::Result;
use crate::lease::Lease;
use crate::retry;
use crate::store::{JobName, JobStore};

/// The leases of all jobs in hand, claim by claim.
pub(super) struct Leases<K>(Mutex<Vec<Vec<Weak<Lease<K>>>>>);

impl<K> Default for Leases<K> {
    fn default() -> Self {
        Self(Mutex::new(Vec::new()))
    }
}

impl<K> Leases<K> {
    /// Adds those of a claim, and forgets the claims whose jobs are all over.
    pub fn add<'a>(&self, claim: impl Iterator<Item = &'a Arc<Lease<K>>>)
    where
        K: 'a,
    {
        let claim = claim.map(Arc::downgrade).collect();
        let mut claims = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        claims.retain(|leases| leases.iter().any(|lease| lease.strong_count() > 0));
        claims.push(claim);
    }

    /// Those that are to be renewed.
    pub fn standing(&self) -> Vec<Arc<Lease<K>>> {
        let claims = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let leases = claims.iter().flatten().filter_map(Weak::upgrade);
        leases
            .filter(|lease| !lease.is_lost() && !lease.is_ending())
            .collect()
    }
}

/// Takes the locks for another `LOCK_EXPIRE`, and tells those that are lost.
pub(super) fn renew<J: JobStore<C>, C: TrackerConnection>(
    pool: &PoolOf<C>,
    leases: &[Arc<Lease<J::Key>>],
) -> Result<()> {
    for chunk in leases.chunks(bulk::CHUNK) {
        let keys: Vec<J::Key> = chunk.iter().map(|lease| lease.key.clone()).collect();
        let mut tokens: Vec<&str> = chunk.iter().map(|lease| &*lease.token).collect();
        tokens.sort_unstable();
        tokens.dedup();
        // Until the answer is here, each row may bear either time.
        let before: Vec<_> = chunk.iter().map(|lease| lease.doubt()).collect();
        let renewed = retry::run(pool, &J::TABLE, |conn: &mut C, _| {
            Ok(J::renew_rows(conn, &keys, &tokens)?)
        })?;
        for (lease, before) in chunk.iter().zip(before) {
            let mine = renewed
                .iter()
                .find(|row| row.lock == *lease.token && row.key == lease.key);
            lease.set_lock_at(mine.map_or(before, |row| row.lock_at));
            if mine.is_none() {
                lease.lose();
                tracing::warn!(job = %JobName::<J>(&lease.key), "lock lost");
            }
        }
        tracing::debug!(table = J::TABLE, locks = renewed.len(), "locks renewed");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(key: i32) -> Arc<Lease<i32>> {
        Arc::new(Lease::new(key, "token".into(), None))
    }

    /// Of an end whose answer was lost the row may bear no lock any more, and
    /// a renewal would take that for a lock that is lost.
    #[test]
    fn jobs_that_are_ending_or_lost_or_over_are_not_renewed() {
        let leases = Leases::default();
        let [running, ending, lost, over] = [1, 2, 3, 4].map(lease);
        leases.add([&running, &ending, &lost, &over].into_iter());
        ending.set_ending(true);
        lost.lose();
        drop(over);

        let standing = leases.standing();

        let keys: Vec<_> = standing.iter().map(|lease| lease.key).collect();
        assert_eq!(keys, [1]);
    }
}
