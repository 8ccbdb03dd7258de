//! Where the next search for ready jobs begins. These are pure decisions, without
//! a database and without a clock.
//!
//! While a backup or a forgotten transaction still sees old versions of rows, the
//! database cannot clean them up, and each search has to pass all jobs that are
//! done. So a search begins where the last one has ended. A job that becomes
//! ready gets a new time, and is found behind that place. Some jobs are not: one
//! that was written in a long transaction, one whose `run_at` has come, one whose
//! row was held, one that the worker's filter lets pass since a column has changed.
//! A search from the front finds them.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

/// The least time between two searches from the front.
const INTERVAL: Duration = Duration::from_secs(1);
/// Searches from the front take at most this part of the time: one in twenty.
const SHARE: u32 = 20;

/// Where the next search begins.
#[derive(Debug)]
pub(super) struct Frontier {
    since: Option<DateTime<Utc>>,
    front_from: Instant,
}

impl Frontier {
    pub fn new(now: Instant) -> Self {
        Self {
            since: None,
            front_from: now,
        }
    }

    /// The time of the last change from which to search, `None` for the front.
    pub fn next(&self, now: Instant) -> Option<DateTime<Utc>> {
        self.since.filter(|_| now < self.front_from)
    }

    /// When a search is to begin at the front again.
    pub fn front_from(&self) -> Instant {
        self.front_from
    }

    /// A search that began at `from` has claimed rows up to `reached`.
    pub fn reached(
        &mut self,
        from: Option<DateTime<Utc>>,
        reached: Option<DateTime<Utc>>,
        took: Duration,
        now: Instant,
    ) {
        if from.is_none() {
            // It may have claimed rows that lie in front. If it has claimed none,
            // nothing is left there.
            self.since = reached.or(self.since);
            self.front_from = now + took.saturating_mul(SHARE).max(INTERVAL);
        } else if self.since >= from {
            self.since = self.since.max(reached);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp(second, 0)
    }

    const QUICK: Duration = Duration::from_millis(1);

    #[test]
    fn a_search_begins_where_the_last_one_ended() {
        let now = Instant::now();
        let mut frontier = Frontier::new(now);
        assert_eq!(frontier.next(now), None);
        frontier.reached(None, at(10), QUICK, now);
        assert_eq!(frontier.next(now), at(10));
        frontier.reached(at(10), at(20), QUICK, now);
        frontier.reached(at(10), at(15), QUICK, now);
        assert_eq!(frontier.next(now), at(20));
        frontier.reached(at(20), None, QUICK, now);
        assert_eq!(frontier.next(now), at(20));
    }

    #[test]
    fn after_a_while_a_search_begins_at_the_front() {
        let now = Instant::now();
        let mut frontier = Frontier::new(now);
        frontier.reached(None, at(10), QUICK, now);
        assert_eq!(frontier.next(now + INTERVAL), None);

        // The longer such a search takes, the rarer it is.
        frontier.reached(None, at(10), INTERVAL, now);
        assert_eq!(frontier.next(now + INTERVAL * (SHARE - 1)), at(10));
        assert_eq!(frontier.next(now + INTERVAL * SHARE), None);
    }

    #[test]
    fn a_search_from_the_front_that_claims_nothing_changes_nothing() {
        let now = Instant::now();
        let mut frontier = Frontier::new(now);
        frontier.reached(None, at(10), QUICK, now);
        frontier.reached(None, None, QUICK, now);
        assert_eq!(frontier.next(now), at(10));
    }

    #[test]
    fn jobs_that_a_search_from_the_front_has_left_are_found_later() {
        let now = Instant::now();
        let mut frontier = Frontier::new(now);
        frontier.reached(None, at(50), QUICK, now);
        // Late rows were found, and not all of them claimed.
        frontier.reached(None, at(5), QUICK, now);
        // A search that began earlier ends now.
        frontier.reached(at(50), at(60), QUICK, now);
        assert_eq!(frontier.next(now), at(5));
    }
}
