//! Jobs that a worker does not claim for a while. These are pure decisions,
//! without a database and without a clock.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use crate::keys::{KeyMap, KeySet};
use status_protocol::backoff;

/// The most jobs that are paused, since each claim has to name them. With more
/// of them the worker stops claiming for a while.
const MOST: usize = 10_000;

/// Why a job is paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PauseReason {
    /// It was released, and is ready again after the pause.
    Released,
    /// Its transaction was rolled back because of a conflict; the same.
    Conflict,
    /// The row cannot be changed, or cannot be read.
    BadRow,
    /// Another transaction holds the row.
    Held,
}

impl PauseReason {
    /// The first pause, and the longest.
    fn pauses(self) -> (Duration, Duration) {
        let (first, longest) = match self {
            Self::Released | Self::Conflict => (100, 10_000),
            Self::Held => (100, 1_000),
            Self::BadRow => (1_000, 5 * 60_000),
        };
        (Duration::from_millis(first), Duration::from_millis(longest))
    }

    fn ends_by_itself(self) -> bool {
        matches!(self, Self::Released | Self::Conflict)
    }
}

#[derive(Debug)]
struct Entry {
    reason: PauseReason,
    until: Instant,
    /// How often in a row for this reason.
    times: i32,
}

impl Entry {
    /// Whether the pause ended so long ago that another worker may have had the job
    /// since.
    fn is_old(&self, now: Instant) -> bool {
        now >= self.until + 2 * self.reason.pauses().1
    }
}

/// The paused jobs.
#[derive(Debug)]
pub(super) struct PausedJobs<K>(KeyMap<K, Entry>);

impl<K> Default for PausedJobs<K> {
    fn default() -> Self {
        Self(KeyMap::default())
    }
}

impl<K: Clone + PartialEq + Debug> PausedJobs<K> {
    /// Pauses this job, for longer each time in a row. Returns until when, and how
    /// often in a row.
    pub fn pause(&mut self, key: &K, reason: PauseReason, now: Instant) -> (Instant, i32) {
        let (first, longest) = reason.pauses();
        let times = match self.0.get(key) {
            Some(entry) if entry.reason == reason && !entry.is_old(now) => {
                entry.times.saturating_add(1)
            }
            _ => 1,
        };
        let until = now + backoff::exponential(first, longest, times);
        if self.0.len() >= MOST {
            self.0.retain(|entry| !entry.is_old(now));
        }
        self.0.insert(
            key.clone(),
            Entry {
                reason,
                until,
                times,
            },
        );
        (until, times)
    }

    /// Ends the pause of this job, and forgets it.
    pub fn resume(&mut self, key: &K) {
        self.0.remove(key);
    }

    /// Until when this job is paused, if it is.
    pub fn until(&self, key: &K, now: Instant) -> Option<Instant> {
        let until = self.0.get(key)?.until;
        (until > now).then_some(until)
    }

    /// Whether this job is paused now.
    pub fn contains(&self, key: &K, now: Instant) -> bool {
        self.until(key, now).is_some()
    }

    /// The jobs that are paused now.
    pub fn all_now(&self, now: Instant) -> KeySet<K> {
        let mut keys = KeySet::default();
        let entries = self.0.iter().filter(|(_, entry)| entry.until > now);
        keys.extend(entries.map(|(key, _)| key.clone()));
        keys
    }

    /// When the first of the released jobs is ready again.
    pub fn next_ready(&self, now: Instant) -> Option<Instant> {
        let entries = self.0.iter().map(|(_, entry)| entry);
        let entries = entries.filter(|entry| entry.reason.ends_by_itself() && entry.until > now);
        entries.map(|entry| entry.until).min()
    }

    /// Where too many are paused for another claim: when enough pauses are over.
    pub fn full_until(&self, now: Instant) -> Option<Instant> {
        if self.0.len() < MOST {
            return None;
        }
        let until = self.0.iter().map(|(_, entry)| entry.until);
        let mut later: Vec<_> = until.filter(|until| *until > now).collect();
        later.sort_unstable();
        // So many may stay paused.
        let too_many = later.len().checked_sub(MOST)?;
        later.get(too_many).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_job_is_paused_for_longer_each_time() {
        let (mut paused, now) = (PausedJobs::default(), Instant::now());
        let mut last = Duration::ZERO;
        for times in 1..=5 {
            let (until, told) = paused.pause(&7, PauseReason::Released, now);
            assert_eq!(told, times);
            assert!(until - now > last / 2, "{:?} after {last:?}", until - now);
            last = until - now;
            assert!(paused.contains(&7, now) && !paused.contains(&8, now));
            assert!(!paused.contains(&7, until));
        }
        assert!(last > Duration::from_millis(500), "{last:?}");
        for _ in 0..50 {
            let (until, _) = paused.pause(&7, PauseReason::Released, now);
            assert!(until <= now + Duration::from_secs(10));
        }
        for _ in 0..50 {
            last = paused.pause(&7, PauseReason::BadRow, now).0 - now;
        }
        assert!(last > 2 * MINUTE && last <= 5 * MINUTE, "{last:?}");
    }

    #[test]
    fn another_reason_starts_with_a_short_pause_and_so_does_a_resumed_job() {
        let (mut paused, now) = (PausedJobs::default(), Instant::now());
        paused.pause(&7, PauseReason::Conflict, now);
        assert_eq!(paused.pause(&7, PauseReason::Conflict, now).1, 2);
        assert_eq!(paused.pause(&7, PauseReason::Released, now).1, 1);
        paused.resume(&7);
        assert!(!paused.contains(&7, now));
        assert_eq!(paused.pause(&7, PauseReason::Released, now).1, 1);
    }

    #[test]
    fn only_released_jobs_are_waited_for() {
        let (mut paused, now) = (PausedJobs::default(), Instant::now());
        paused.pause(&1, PauseReason::BadRow, now);
        paused.pause(&2, PauseReason::Held, now);
        assert_eq!(paused.next_ready(now), None);
        let (until, _) = paused.pause(&3, PauseReason::Conflict, now);
        assert_eq!(paused.next_ready(now), Some(until));
        assert_eq!(paused.next_ready(until), None);
        assert_eq!(paused.all_now(now).len(), 3);
        assert_eq!(paused.all_now(now + 10 * MINUTE).len(), 0);
        let mut one = PausedJobs::default();
        let (until, _) = one.pause(&1, PauseReason::Held, now);
        assert_eq!(one.all_now(until).len(), 0, "its time has come");
    }

    #[test]
    fn a_worker_does_not_claim_while_too_many_jobs_are_paused() {
        let (mut paused, now) = (PausedJobs::default(), Instant::now());
        for key in 0..MOST {
            assert_eq!(paused.full_until(now), None);
            paused.pause(&key, PauseReason::Released, now);
        }
        let full_until = paused.full_until(now).unwrap();
        assert!(full_until > now && full_until <= paused.next_ready(now).unwrap());
        assert_eq!(paused.full_until(now + MINUTE), None);
        // A pause that ended a short while ago still counts.
        let soon = now + Duration::from_secs(15);
        assert_eq!(paused.pause(&MOST, PauseReason::Released, soon).1, 1);
        assert_eq!(paused.pause(&0, PauseReason::Released, soon).1, 2);
        // The memory stays bounded.
        for key in MOST..2 * MOST {
            paused.pause(&key, PauseReason::Released, now + MINUTE);
        }
        assert!(paused.0.len() <= MOST + 1, "{}", paused.0.len());
    }
}
