//! Jobs that a worker leaves alone for a while: pure decisions, no database and
//! no clock.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use crate::keys::{KeyMap, KeySet};
use status_protocol::backoff;

/// How many jobs are left alone at the most: each claim has to name them. A
/// worker with more of them has no business with this table at the moment.
const MOST: usize = 10_000;

/// Why a job is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// It was given back, and is ready again after the pause.
    GivenBack,
    /// Its transaction was rolled back in favour of another; the same.
    Conflict,
    /// The row cannot be changed, or not be read.
    BadRow,
    /// Another transaction holds the row.
    Held,
}

impl Why {
    /// The first pause, and the longest.
    fn pauses(self) -> (Duration, Duration) {
        let (first, longest) = match self {
            Self::GivenBack | Self::Conflict => (100, 10_000),
            Self::Held => (100, 1_000),
            Self::BadRow => (1_000, 5 * 60_000),
        };
        (Duration::from_millis(first), Duration::from_millis(longest))
    }

    fn ends_by_itself(self) -> bool {
        matches!(self, Self::GivenBack | Self::Conflict)
    }
}

#[derive(Debug)]
struct Entry {
    why: Why,
    until: Instant,
    /// How often in a row for this reason.
    times: i32,
}

impl Entry {
    /// Whether its job was left in peace for so long that it may have been
    /// another's meanwhile.
    fn is_old(&self, now: Instant) -> bool {
        now >= self.until + 2 * self.why.pauses().1
    }
}

/// The jobs that are left alone.
#[derive(Debug)]
pub(super) struct Aside<K>(KeyMap<K, Entry>);

impl<K> Default for Aside<K> {
    fn default() -> Self {
        Self(KeyMap::default())
    }
}

impl<K: Clone + PartialEq + Debug> Aside<K> {
    /// Leaves this job alone, for longer each time in a row, and tells until
    /// when, and which time this is.
    pub fn put(&mut self, key: &K, why: Why, now: Instant) -> (Instant, i32) {
        let (first, longest) = why.pauses();
        let times = match self.0.get(key) {
            Some(entry) if entry.why == why && !entry.is_old(now) => entry.times.saturating_add(1),
            _ => 1,
        };
        let until = now + backoff::exponential(first, longest, times);
        if self.0.len() >= MOST {
            self.0.retain(|entry| !entry.is_old(now));
        }
        self.0.insert(key.clone(), Entry { why, until, times });
        (until, times)
    }

    /// What kept this job is over.
    pub fn take(&mut self, key: &K) {
        self.0.remove(key);
    }

    /// Until when this job is to be left alone, if that is not over.
    pub fn until(&self, key: &K, now: Instant) -> Option<Instant> {
        let until = self.0.get(key)?.until;
        (until > now).then_some(until)
    }

    /// Whether this job is to be left alone now.
    pub fn contains(&self, key: &K, now: Instant) -> bool {
        self.until(key, now).is_some()
    }

    /// The jobs that are to be left alone now.
    pub fn now(&self, now: Instant) -> KeySet<K> {
        let mut keys = KeySet::default();
        let entries = self.0.iter().filter(|(_, entry)| entry.until > now);
        keys.extend(entries.map(|(key, _)| key.clone()));
        keys
    }

    /// When the first of those is ready again that were given back.
    pub fn next_ready(&self, now: Instant) -> Option<Instant> {
        let entries = self.0.iter().map(|(_, entry)| entry);
        let entries = entries.filter(|entry| entry.why.ends_by_itself() && entry.until > now);
        entries.map(|entry| entry.until).min()
    }

    /// Where there are too many to go on: when the first may be tried again.
    pub fn full_until(&self, now: Instant) -> Option<Instant> {
        if self.0.len() < MOST {
            return None;
        }
        let until = self.0.iter().map(|(_, entry)| entry.until);
        let mut later: Vec<_> = until.filter(|until| *until > now).collect();
        later.sort_unstable();
        // So many can be left alone.
        let too_many = later.len().checked_sub(MOST)?;
        later.get(too_many).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_job_is_left_alone_for_longer_each_time() {
        let (mut aside, now) = (Aside::default(), Instant::now());
        let mut last = Duration::ZERO;
        for times in 1..=5 {
            let (until, told) = aside.put(&7, Why::GivenBack, now);
            assert_eq!(told, times);
            assert!(until - now > last / 2, "{:?} after {last:?}", until - now);
            last = until - now;
            assert!(aside.contains(&7, now) && !aside.contains(&8, now));
            assert!(!aside.contains(&7, until));
        }
        assert!(last > Duration::from_millis(500), "{last:?}");
        for _ in 0..50 {
            let (until, _) = aside.put(&7, Why::GivenBack, now);
            assert!(until <= now + Duration::from_secs(10));
        }
        for _ in 0..50 {
            last = aside.put(&7, Why::BadRow, now).0 - now;
        }
        assert!(last > 2 * MINUTE && last <= 5 * MINUTE, "{last:?}");
    }

    #[test]
    fn another_reason_begins_anew_and_another_end_forgets() {
        let (mut aside, now) = (Aside::default(), Instant::now());
        aside.put(&7, Why::Conflict, now);
        assert_eq!(aside.put(&7, Why::Conflict, now).1, 2);
        assert_eq!(aside.put(&7, Why::GivenBack, now).1, 1);
        aside.take(&7);
        assert!(!aside.contains(&7, now));
        assert_eq!(aside.put(&7, Why::GivenBack, now).1, 1);
    }

    #[test]
    fn only_jobs_that_were_given_back_are_waited_for() {
        let (mut aside, now) = (Aside::default(), Instant::now());
        aside.put(&1, Why::BadRow, now);
        aside.put(&2, Why::Held, now);
        assert_eq!(aside.next_ready(now), None);
        let (until, _) = aside.put(&3, Why::Conflict, now);
        assert_eq!(aside.next_ready(now), Some(until));
        assert_eq!(aside.next_ready(until), None);
        assert_eq!(aside.now(now).len(), 3);
        assert_eq!(aside.now(now + 10 * MINUTE).len(), 0);
        let mut one = Aside::default();
        let (until, _) = one.put(&1, Why::Held, now);
        assert_eq!(one.now(until).len(), 0, "its time has come");
    }

    #[test]
    fn a_worker_holds_off_while_it_has_too_many_of_them() {
        let (mut aside, now) = (Aside::default(), Instant::now());
        for key in 0..MOST {
            assert_eq!(aside.full_until(now), None);
            aside.put(&key, Why::GivenBack, now);
        }
        let full_until = aside.full_until(now).unwrap();
        assert!(full_until > now && full_until <= aside.next_ready(now).unwrap());
        assert_eq!(aside.full_until(now + MINUTE), None);
        // What was left alone a while ago counts still.
        let soon = now + Duration::from_secs(15);
        assert_eq!(aside.put(&MOST, Why::GivenBack, soon).1, 1);
        assert_eq!(aside.put(&0, Why::GivenBack, soon).1, 2);
        // The memory does not grow for ever.
        for key in MOST..2 * MOST {
            aside.put(&key, Why::GivenBack, now + MINUTE);
        }
        assert!(aside.0.len() <= MOST + 1, "{}", aside.0.len());
    }
}
