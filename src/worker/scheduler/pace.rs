//! How long jobs and statements take.

use std::time::{Duration, Instant};

/// Jobs are quick if they take less than this part of a statement. Then the time that a
/// thread waits for the statement of another is lost on few jobs, or on none.
const QUICK: f64 = 0.25;

/// The time of a statement until one has been measured, in seconds.
const FIRST_GUESS: f64 = 0.001;
/// A longer time of one statement counts as this: a row may have been held.
const LONGEST_MEASURED: Duration = Duration::from_millis(10);

/// Averages in which the last times count most.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Seconds, once a job has run.
    job_takes: Option<f64>,
    /// Seconds of a claim, of a flush, or of both in one.
    statement_takes: Option<f64>,
}

impl Pace {
    pub fn job_ran(&mut self, took: Duration) {
        note(&mut self.job_takes, took);
    }

    pub fn statement_took(&mut self, took: Duration) {
        note(&mut self.statement_takes, took.min(LONGEST_MEASURED));
    }

    /// How long a thread needs for so many jobs: for ever where none has run.
    pub fn time_of(&self, jobs: usize) -> Duration {
        let one = self.job_takes.unwrap_or(f64::INFINITY);
        Duration::try_from_secs_f64(jobs as f64 * one).unwrap_or(Duration::MAX)
    }

    /// So many jobs a thread does in this time.
    pub fn jobs_in(&self, time: Duration) -> usize {
        // A cast of a number that is too large gives the largest.
        self.job_takes
            .map_or(0, |one| (time.as_secs_f64() / one) as usize)
    }

    /// How long a statement takes.
    pub fn statement_time(&self) -> Duration {
        Duration::from_secs_f64(self.statement_takes.unwrap_or(FIRST_GUESS))
    }

    /// Whether a job takes much less time than a statement.
    pub fn jobs_are_quick(&self) -> bool {
        self.time_of(1) < self.statement_time().mul_f64(QUICK)
    }
}

fn note(average: &mut Option<f64>, took: Duration) {
    let took = took.as_secs_f64();
    *average = Some(average.map_or(took, |average| average * 0.9 + took * 0.1));
}

/// The last of the claims of a worker, or of its flushes.
#[derive(Debug, Default)]
pub(super) struct Statements {
    /// When the last one began, unless one has ended since.
    last_begun: Option<Instant>,
    /// No other one was in progress then, which would have made it slower.
    is_alone: bool,
}

impl Statements {
    pub fn begin(&mut self, others: usize, now: Instant) {
        self.is_alone = others == 0;
        self.last_begun = Some(now);
    }

    /// Returns how long it took, if that can be told.
    pub fn end(&mut self, now: Instant) -> Option<Duration> {
        let begun = self.last_begun.take().filter(|_| self.is_alone);
        begun.map(|begun| now.saturating_duration_since(begun))
    }

    /// When the last one began. None is known to be in progress if one has ended since: so
    /// one that hangs is forgotten, and delays the next one no longer.
    pub fn last_begun(&self) -> Option<Instant> {
        self.last_begun
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn jobs_are_quick_by_the_measure_of_a_statement() {
        let mut pace = Pace::default();
        assert!(!pace.jobs_are_quick(), "no job has run");
        pace.job_ran(MS);
        assert!(!pace.jobs_are_quick(), "no statement is measured");
        pace.statement_took(5 * MS);
        assert!(pace.jobs_are_quick());
        for _ in 0..50 {
            pace.job_ran(2 * MS);
        }
        assert!(!pace.jobs_are_quick());
    }

    #[test]
    fn a_statement_that_waited_for_long_counts_as_ten_milliseconds() {
        let mut pace = Pace::default();
        pace.job_ran(3 * MS);
        pace.statement_took(10_000 * MS);
        assert!(!pace.jobs_are_quick());
    }

    #[test]
    fn a_statement_beside_another_one_is_not_measured() {
        let now = Instant::now();
        let mut claims = Statements::default();
        claims.begin(0, now);
        claims.begin(1, now + MS);
        assert_eq!(claims.end(now + 2 * MS), None);
        assert_eq!(claims.end(now + 2 * MS), None);
        claims.begin(0, now + 3 * MS);
        assert_eq!(claims.end(now + 5 * MS), Some(2 * MS));
    }

    #[test]
    fn a_statement_that_hangs_is_forgotten_when_the_next_one_ends() {
        let now = Instant::now();
        let mut flushes = Statements::default();
        flushes.begin(0, now);
        flushes.begin(1, now + MS);
        assert_eq!(flushes.last_begun(), Some(now + MS));
        flushes.end(now + 2 * MS);
        assert_eq!(flushes.last_begun(), None);
    }
}
