//! The time of this process.

use std::time::{Duration, Instant};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

/// The wall clock of the machine when the process began to track, and from then
/// on its monotonic clock. So a time that has passed is never that of a clock that
/// somebody has set.
///
/// Only the stamps for people, the order of jobs and `run_at` depend on the wall
/// clock. An expiry does not: it compares two moments of one monotonic clock.
#[derive(Debug)]
pub(crate) struct Clock {
    wall: DateTime<Utc>,
    began: Instant,
}

impl Clock {
    pub fn new(ahead: TimeDelta) -> Self {
        Self {
            wall: Utc::now() + ahead,
            began: Instant::now(),
        }
    }

    pub fn now(&self) -> DateTime<Utc> {
        self.at(Instant::now())
    }

    pub fn at(&self, moment: Instant) -> DateTime<Utc> {
        let passed = TimeDelta::from_std(moment.saturating_duration_since(self.began));
        let at = passed
            .ok()
            .and_then(|passed| self.wall.checked_add_signed(passed));
        at.unwrap_or(self.wall)
    }

    /// The time after this delay; a century at most.
    pub fn after(&self, delay: Duration) -> DateTime<Utc> {
        self.now() + up_to_a_century(delay)
    }

    /// The time this long ago; a century at most.
    pub fn before(&self, age: Duration) -> DateTime<Utc> {
        self.now() - up_to_a_century(age)
    }
}

fn up_to_a_century(time: Duration) -> TimeDelta {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
    TimeDelta::from_std(time.min(CENTURY)).unwrap_or_default()
}

/// A time as the items hold it. All stamps have the same length, so that the
/// order of the texts is the order of the times.
pub(crate) fn stamp(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// The time that a stamp says. `None` if this crate did not write it.
pub(crate) fn read_stamp(text: &str) -> Option<DateTime<Utc>> {
    let at = DateTime::parse_from_rfc3339(text).ok()?;
    Some(at.with_timezone(&Utc))
}
