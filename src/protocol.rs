//! The pure decisions: given a row and a time, may it start? What follows
//! from a failure? No database, no pool, no clock.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::failure::Failure;
use crate::panics::caught;
use crate::signal::Wish;

/// One step's status codes and policy, as values.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub struct Step<S: 'static> {
    pub pending: S,
    pub in_progress: S,
    pub failed: S,
    pub succeeded: S,
    pub ignored: S,
    pub more_pending: &'static [S],
    pub lock_expire: Duration,
    pub max_retry: i32,
    pub retry_delay: Option<fn(i32) -> Duration>,
    pub max_conflicts: i32,
    /// Whether the table can make a job wait.
    pub has_run_at: bool,
    /// What is kept of a failure.
    pub redact: fn(&mut Failure),
}

/// What a row says about its job, with the database's time when it was read.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct RowState<S> {
    pub status: S,
    pub lock: Option<String>,
    pub lock_at: Option<DateTime<Utc>>,
    pub retry: i32,
    pub run_at: Option<DateTime<Utc>>,
    pub now: DateTime<Utc>,
}

/// Whether a job may start.
#[derive(Debug, Clone, PartialEq)]
pub enum Start<S> {
    /// It is ready.
    Ready,
    /// Its worker is presumed dead: expire that attempt, then look again.
    Expired,
    /// It may not.
    Refused(Refusal<S>),
}

/// Why a job may not start.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Refusal<S> {
    Locked {
        lock_at: Option<DateTime<Utc>>,
        expires_at: Option<DateTime<Utc>>,
    },
    AlreadySucceeded,
    Ignored {
        retry: i32,
    },
    NotReady {
        status: S,
        run_at: Option<DateTime<Utc>>,
    },
}

/// What a failed attempt leaves in the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Setback<S> {
    pub status: S,
    pub retry: i32,
    /// How long the job is to wait.
    pub delay: Option<Duration>,
}

/// What became of a finish whose answer was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trace {
    /// The row is as that finish left it.
    Landed,
    /// The attempt still holds the row: the finish did not land.
    StillHeld,
    /// The attempt was expired before the finish could land.
    Overtaken,
    /// The row has changed since, and tells nothing.
    Gone,
}

impl<S: Copy + PartialEq> Step<S> {
    /// The statuses from which this step starts.
    pub fn ready(&self) -> Vec<S> {
        let mut ready = vec![self.pending, self.failed];
        ready.extend(self.more_pending);
        ready
    }

    /// The five codes, with the names of their constants.
    pub fn codes(&self) -> [(&'static str, S); 5] {
        [
            ("PENDING", self.pending),
            ("IN_PROGRESS", self.in_progress),
            ("FAILED", self.failed),
            ("SUCCEEDED", self.succeeded),
            ("IGNORED", self.ignored),
        ]
    }

    /// Two constants that must differ and do not.
    pub fn clash(&self) -> Option<(&'static str, &'static str)> {
        let codes = self.codes();
        for (n, (name, code)) in codes.iter().enumerate() {
            if let Some((other, _)) = codes[n + 1..].iter().find(|(_, c)| c == code) {
                return Some((name, other));
            }
            // A step that started from its own end would never be finished.
            let is_an_end = !matches!(*name, "PENDING" | "FAILED");
            if is_an_end && self.more_pending.contains(code) {
                return Some((name, "one of MORE_PENDING"));
            }
        }
        None
    }

    /// Decides on a row that could not be claimed, or is about to be.
    pub fn may_start(&self, row: &RowState<S>) -> Start<S> {
        if row.lock.is_some() {
            if !self.is_locked(row) {
                return Start::Expired;
            }
            return Start::Refused(Refusal::Locked {
                lock_at: row.lock_at,
                expires_at: self.expires_at(row),
            });
        }
        let status = row.status;
        if self.ready().contains(&status) {
            return match row.run_at {
                Some(at) if at > row.now => Start::Refused(Refusal::NotReady {
                    status,
                    run_at: Some(at),
                }),
                _ => Start::Ready,
            };
        }
        Start::Refused(if status == self.succeeded {
            Refusal::AlreadySucceeded
        } else if status == self.ignored {
            Refusal::Ignored { retry: row.retry }
        } else {
            Refusal::NotReady {
                status,
                run_at: None,
            }
        })
    }

    /// Whether a row is this step's, and nobody's at the moment.
    pub fn may_reset(&self, row: &RowState<S>) -> bool {
        row.lock.is_none() && self.owns(row)
    }

    /// Why a row was not reset. A lock refuses it until it is as old as that
    /// of a dead attempt, whoever took it; that of another step's row, always.
    pub fn why_not_reset(&self, row: &RowState<S>) -> Refusal<S> {
        if row.lock.is_some() {
            let lock_at = row.lock_at.filter(|_| self.owns(row));
            return Refusal::Locked {
                lock_at: row.lock_at,
                expires_at: lock_at.and_then(|at| self.expiry(at)),
            };
        }
        Refusal::NotReady {
            status: row.status,
            run_at: None,
        }
    }

    /// Whether somebody holds the row: an attempt whose lock has not expired,
    /// or a hand.
    pub fn is_locked(&self, row: &RowState<S>) -> bool {
        row.lock.is_some() && self.expires_at(row).is_none_or(|at| at >= row.now)
    }

    /// What follows from one more failure after `retry` failures in a row,
    /// whose error asked for `wish`. Where `RETRY_DELAY` panics, the job is
    /// ready at once, and the message of the panic is returned too.
    pub fn after_failure(&self, retry: i32, wish: Option<Wish>) -> (Setback<S>, Option<String>) {
        let retry = retry.saturating_add(1);
        let (status, delay) = if retry >= self.max_retry || wish == Some(Wish::Never) {
            (self.ignored, Ok(None))
        } else {
            (self.failed, self.delay(retry, wish))
        };
        let (delay, panic) = match delay {
            Ok(delay) => (delay.filter(|_| self.has_run_at), None),
            Err(panic) => (None, Some(panic)),
        };
        let setback = Setback {
            status,
            retry,
            delay,
        };
        (setback, panic)
    }

    /// How long the job is to wait after this failure, or how `RETRY_DELAY`
    /// panicked.
    fn delay(&self, retry: i32, wish: Option<Wish>) -> Result<Option<Duration>, String> {
        match (wish, self.retry_delay) {
            (Some(Wish::After(delay)), _) => Ok(Some(delay)),
            (_, Some(delay)) => caught("`RETRY_DELAY`", || Some(delay(retry))),
            (_, None) => Ok(None),
        }
    }

    /// The status of a job that is given back after `retry` failures in a row.
    pub fn released(&self, retry: i32) -> S {
        if retry > 0 { self.failed } else { self.pending }
    }

    /// What became of a finish that was to write `status` for the attempt
    /// with `token`, whose lock was last written at `lock_at` (`None` if that
    /// is itself in doubt).
    pub fn trace(
        &self,
        row: &RowState<S>,
        token: &str,
        lock_at: Option<DateTime<Utc>>,
        status: S,
    ) -> Trace {
        if row.lock.as_deref() == Some(token) {
            return Trace::StillHeld;
        }
        let untouched = row.lock.is_none() && lock_at.is_some() && row.lock_at == lock_at;
        if untouched && row.status == status {
            Trace::Landed
        } else if untouched && (row.status == self.failed || row.status == self.ignored) {
            // Only an expiry leaves this: it demands the lock, so the finish
            // had not landed.
            Trace::Overtaken
        } else {
            Trace::Gone
        }
    }

    /// When the lock expires. Only what this step has in progress does.
    fn expires_at(&self, row: &RowState<S>) -> Option<DateTime<Utc>> {
        row.lock_at
            .filter(|_| row.status == self.in_progress)
            .and_then(|at| self.expiry(at))
    }

    /// Whether a row is this step's.
    fn owns(&self, row: &RowState<S>) -> bool {
        self.codes().iter().any(|(_, code)| *code == row.status)
    }

    fn expiry(&self, lock_at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        lock_at.checked_add_signed(TimeDelta::from_std(self.lock_expire).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Step<i32> = Step {
        pending: 1,
        in_progress: 2,
        failed: 3,
        succeeded: 4,
        ignored: 5,
        more_pending: &[14],
        lock_expire: Duration::from_secs(10),
        max_retry: 3,
        retry_delay: None,
        max_conflicts: 10,
        has_run_at: true,
        redact: |_| {},
    };

    fn at(second: i64) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp(second, 0)
    }

    /// A row that nobody holds, read at second 100.
    fn free(status: i32) -> RowState<i32> {
        RowState {
            status,
            lock: None,
            lock_at: None,
            retry: 0,
            run_at: None,
            now: at(100).unwrap(),
        }
    }

    /// A row with the lock "token" of this second.
    fn locked(status: i32, second: i64) -> RowState<i32> {
        RowState {
            lock: Some("token".into()),
            lock_at: at(second),
            ..free(status)
        }
    }

    #[test]
    fn a_job_starts_once_its_time_has_come() {
        for status in [1, 3, 14] {
            let due = |run_at| {
                STEP.may_start(&RowState {
                    run_at,
                    ..free(status)
                })
            };
            assert_eq!(due(None), Start::Ready);
            assert_eq!(due(at(99)), Start::Ready);
            assert_eq!(due(at(100)), Start::Ready);
            let run_at = at(101);
            let refusal = Refusal::NotReady { status, run_at };
            assert_eq!(due(run_at), Start::Refused(refusal));
        }
    }

    #[test]
    fn what_is_done_or_given_up_or_another_steps_does_not_start() {
        let not_ready = |status| Refusal::NotReady {
            status,
            run_at: None,
        };
        for (status, refusal) in [
            (4, Refusal::AlreadySucceeded),
            (5, Refusal::Ignored { retry: 0 }),
            (2, not_ready(2)),
            (7, not_ready(7)),
        ] {
            assert_eq!(STEP.may_start(&free(status)), Start::Refused(refusal));
        }
    }

    #[test]
    fn a_lock_holds_to_its_last_moment() {
        let refused = |lock_at, expires_at| {
            Start::Refused(Refusal::Locked {
                lock_at,
                expires_at,
            })
        };
        let starts = |row| STEP.may_start(&row);
        assert_eq!(starts(locked(2, 90)), refused(at(90), at(100)));
        assert_eq!(starts(locked(2, 89)), Start::Expired);
        // By hand, or by another step: for ever.
        assert_eq!(starts(locked(1, 0)), refused(at(0), None));
        assert_eq!(starts(locked(7, 0)), refused(at(0), None));
    }

    #[test]
    fn a_row_is_reset_that_is_the_steps_own_and_nobodys() {
        for status in 1..=5 {
            assert!(STEP.may_reset(&free(status)));
            assert!(!STEP.may_reset(&locked(status, 0)));
            let refusal = STEP.why_not_reset(&locked(status, 50));
            let (lock_at, expires_at) = (at(50), at(60));
            let expected = Refusal::Locked {
                lock_at,
                expires_at,
            };
            assert_eq!(refusal, expected);
        }
        assert!(!STEP.may_reset(&free(7)));
        let (status, run_at) = (7, None);
        let expected = Refusal::NotReady { status, run_at };
        assert_eq!(STEP.why_not_reset(&free(7)), expected);
        let (lock_at, expires_at) = (at(50), None);
        let expected = Refusal::Locked {
            lock_at,
            expires_at,
        };
        assert_eq!(STEP.why_not_reset(&locked(7, 50)), expected);
    }

    /// An end keeps the time of its lock, and so does an expiry; what comes
    /// after has another.
    #[test]
    fn a_row_tells_what_became_of_an_end_until_it_changes_again() {
        let ended = |status, second| RowState {
            lock_at: at(second),
            ..free(status)
        };
        let trace = |row: &RowState<_>, status| STEP.trace(row, "token", at(50), status);
        assert_eq!(trace(&locked(2, 50), 4), Trace::StillHeld);
        assert_eq!(trace(&locked(2, 60), 4), Trace::StillHeld, "renewed");
        for status in [1, 3, 4, 5] {
            assert_eq!(trace(&ended(status, 50), status), Trace::Landed);
            assert_eq!(trace(&ended(status, 60), status), Trace::Gone);
            let other = RowState {
                lock: Some("other".into()),
                ..ended(status, 50)
            };
            assert_eq!(trace(&other, status), Trace::Gone);
            assert_eq!(
                STEP.trace(&ended(status, 50), "token", None, status),
                Trace::Gone,
                "of which time it was is not known"
            );
        }
        for expired in [3, 5] {
            assert_eq!(trace(&ended(expired, 50), 4), Trace::Overtaken);
            assert_eq!(trace(&ended(expired, 60), 4), Trace::Gone);
        }
        for other in [1, 7] {
            assert_eq!(trace(&ended(other, 50), 4), Trace::Gone);
        }
    }

    #[test]
    fn a_failure_counts_up_to_the_last_try_and_waits_as_it_is_asked_to() {
        const SECOND: Duration = Duration::from_secs(1);
        let delayed = Step {
            retry_delay: Some(|retry| SECOND * retry.cast_unsigned()),
            ..STEP
        };
        let after = |step: &Step<i32>, retry, wish| step.after_failure(retry, wish).0;
        let setback = |status, retry, delay| Setback {
            status,
            retry,
            delay,
        };
        assert_eq!(after(&STEP, 0, None), setback(3, 1, None));
        assert_eq!(after(&delayed, 1, None), setback(3, 2, Some(2 * SECOND)));
        let wish = Some(Wish::After(7 * SECOND));
        assert_eq!(after(&delayed, 1, wish), setback(3, 2, Some(7 * SECOND)));
        assert_eq!(after(&STEP, 1, wish), setback(3, 2, Some(7 * SECOND)));
        for last in [after(&STEP, 2, wish), after(&delayed, 2, None)] {
            assert_eq!(last, setback(5, 3, None));
        }
        assert_eq!(after(&STEP, 0, Some(Wish::Never)), setback(5, 1, None));
        let no_column = Step {
            has_run_at: false,
            ..delayed
        };
        assert_eq!(after(&no_column, 0, None), setback(3, 1, None));
        assert_eq!([0, 1].map(|retry| STEP.released(retry)), [1, 3]);
    }
}
