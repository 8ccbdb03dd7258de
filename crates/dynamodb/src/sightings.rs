//! The locks that this process watches. DynamoDB has no clock to ask, and the
//! clocks of workers differ: so a lock counts as abandoned only if it was *seen*
//! here, and is still the same `LOCK_EXPIRE` later, by the monotonic clock of this
//! process.
//!
//! A read may show an old item. That does no harm: an expiry demands the token and
//! the counter that were seen, the counter only grows, and no token comes again. So
//! the lock was not renewed between the first sight and the expiry.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::item::key::ItemKey;
use crate::item::stored::Lock;

/// A lock that was not seen again for this many times `LOCK_EXPIRE` is forgotten.
const FORGOTTEN_AFTER: u32 = 2;
/// For so long the index may still show a job where it stood before it ended.
const INDEX_LAG: Duration = Duration::from_secs(10);
/// Sightings at which those that are old are forgotten.
const TIDY_AT: usize = 1_000;

#[derive(Debug, Default)]
pub(crate) struct Sightings(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    locks: HashMap<Arc<str>, Sighting>,
    tidy_at: usize,
}

#[derive(Debug)]
struct Sighting {
    lock: Lock,
    /// When this token was first seen with this counter.
    since: Instant,
    last: Instant,
    /// Where the item stood in the index, if it was found there.
    due: Option<String>,
    forget_after: Duration,
}

impl Sightings {
    /// Remembers the lock of an item that was read. Returns since when the lock has
    /// been watched without a change. `read_at`: when the answer had come.
    pub fn see(
        &self,
        key: &ItemKey,
        lock: &Lock,
        lock_expire: Duration,
        read_at: Instant,
    ) -> Instant {
        let mut seen = self.seen();
        if seen.locks.len() >= seen.tidy_at.max(TIDY_AT) {
            seen.locks.retain(|_, sighting| {
                read_at.saturating_duration_since(sighting.last) < sighting.forget_after
            });
            seen.tidy_at = 2 * seen.locks.len();
        }
        let forget_after = lock_expire.saturating_mul(FORGOTTEN_AFTER);
        let sighting = seen
            .locks
            .entry(Arc::clone(&key.name))
            .or_insert_with(|| Sighting {
                lock: lock.clone(),
                since: read_at,
                last: read_at,
                due: None,
                forget_after,
            });
        if sighting.lock != *lock {
            sighting.lock = lock.clone();
            sighting.since = read_at;
        }
        sighting.last = read_at;
        sighting.since
    }

    /// Remembers where a locked item stands in the index.
    pub fn stands_at(&self, key: &ItemKey, due: &str) {
        if let Some(sighting) = self.seen().locks.get_mut(&key.name) {
            sighting.due = Some(due.to_owned());
        }
    }

    /// Whether it is worth while to look at an entry of the index. It is not while
    /// its lock is watched: whatever ends the attempt moves the entry.
    pub fn is_worth_a_look(&self, key: &ItemKey, due: &str, lock_expire: Duration) -> bool {
        let now = Instant::now();
        match self.seen().locks.get_mut(&key.name) {
            Some(sighting) if sighting.due.as_deref() == Some(due) => {
                sighting.last = now;
                now.saturating_duration_since(sighting.since) > lock_expire
            }
            _ => true,
        }
    }

    /// An attempt of this process has ended. Its entry is left alone until the index
    /// shows where the job stands now.
    pub fn ended(&self, key: &ItemKey) {
        if let Some(sighting) = self.seen().locks.get_mut(&key.name) {
            sighting.forget_after = INDEX_LAG;
            sighting.last = Instant::now();
        }
    }

    /// The lock is gone.
    pub fn forget(&self, key: &ItemKey) {
        self.seen().locks.remove(&key.name);
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        // The map is valid at any moment, so poison is ignored.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPIRE: Duration = Duration::from_secs(60);

    fn key() -> ItemKey {
        ItemKey {
            attributes: HashMap::new(),
            name: "jobs 1".into(),
        }
    }

    fn lock(token: &str, renewals: u64) -> Lock {
        Lock {
            token: token.into(),
            renewals: Some(renewals),
            claims: 1,
        }
    }

    #[test]
    fn a_renewal_or_another_attempt_begins_the_watch_anew() {
        let (sightings, key) = (Sightings::default(), key());
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        assert_eq!(sightings.see(&key, &lock("a", 0), EXPIRE, at(0)), at(0));
        assert_eq!(sightings.see(&key, &lock("a", 0), EXPIRE, at(10)), at(0));
        assert_eq!(sightings.see(&key, &lock("a", 1), EXPIRE, at(20)), at(20));
        assert_eq!(sightings.see(&key, &lock("a", 1), EXPIRE, at(30)), at(20));
        assert_eq!(sightings.see(&key, &lock("b", 1), EXPIRE, at(40)), at(40));
        sightings.forget(&key);
        assert_eq!(sightings.see(&key, &lock("b", 1), EXPIRE, at(50)), at(50));
    }

    #[test]
    fn a_watched_entry_is_left_alone_until_it_moves_or_its_lock_is_old() {
        let (sightings, key) = (Sightings::default(), key());
        assert!(sightings.is_worth_a_look(&key, "0 a", EXPIRE));
        sightings.see(&key, &lock("a", 0), EXPIRE, Instant::now());
        sightings.stands_at(&key, "0 a");
        assert!(!sightings.is_worth_a_look(&key, "0 a", EXPIRE));
        assert!(sightings.is_worth_a_look(&key, "0 b", EXPIRE));
        assert!(sightings.is_worth_a_look(&key, "0 a", Duration::ZERO));
    }

    #[test]
    fn locks_that_nobody_sees_any_more_are_forgotten() {
        let sightings = Sightings::default();
        let start = Instant::now();
        let named = |n: usize| ItemKey {
            name: n.to_string().into(),
            ..key()
        };
        for n in 0..10 * TIDY_AT {
            let at = start + EXPIRE * u32::try_from(n / 100).unwrap();
            sightings.see(&named(n), &lock("a", 0), EXPIRE, at);
        }
        assert!(sightings.seen().locks.len() <= TIDY_AT);
    }
}
