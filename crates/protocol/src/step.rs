//! The rules: given a row and a time, may the job start? What follows from a
//! failure? No database, no pool, no clock.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use crate::error_log::ErrorLog;
use crate::failure::Failure;
use crate::panics::caught;
use crate::retry::RetryDirective;

/// One step's status codes and policy, as values.
#[derive(Debug, Clone, Copy)]
pub struct Step<S: 'static> {
    /// A new job, and one that was reset.
    pub pending: S,
    /// An attempt is running.
    pub in_progress: S,
    /// The last attempt failed; it may be tried again.
    pub failed: S,
    /// Done.
    pub succeeded: S,
    /// Failed `max_retry` times in a row; left alone until reset.
    pub ignored: S,
    /// More statuses from which the step starts.
    pub more_pending: &'static [S],
    /// After this time without a renewal a lock counts as abandoned.
    pub lock_expire: Duration,
    /// Failures in a row after which a job is ignored.
    pub max_retry: i32,
    /// How long a job waits after its failure number `retry` in a row.
    pub retry_delay: Option<fn(i32) -> Duration>,
    /// Conflicts in a row that a worker counts as a failed attempt.
    pub max_conflicts: i32,
    /// Whether the table can make a job wait.
    pub has_run_at: bool,
    /// Changes what is recorded of a failure.
    pub redact: fn(&mut Failure),
}

/// What a row says about its job, with the database's time when it was read.
#[derive(Debug, Clone)]
pub struct RowState<S> {
    /// The row's status.
    pub status: S,
    /// The token of the attempt that holds the row.
    pub lock: Option<String>,
    /// When the lock was taken or last renewed.
    pub lock_at: Option<DateTime<Utc>>,
    /// Failures in a row.
    pub retry: i32,
    /// The job may not run before this time.
    pub run_at: Option<DateTime<Utc>>,
    /// The database's time.
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
pub enum Refusal<S> {
    /// Somebody holds the row.
    Locked {
        /// When the lock was taken or last renewed.
        lock_at: Option<DateTime<Utc>>,
        /// When it expires; `None` if it never does.
        expires_at: Option<DateTime<Utc>>,
    },
    /// It is done.
    AlreadySucceeded,
    /// It failed too often.
    Ignored {
        /// Failures in a row.
        retry: i32,
    },
    /// The step does not start from this status, or not yet.
    NotReady {
        /// The row's status.
        status: S,
        /// When the job may run, if that lies ahead.
        run_at: Option<DateTime<Utc>>,
    },
}

/// The status, the count and the delay that a failed attempt leaves in the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailureOutcome<S> {
    /// The new status.
    pub status: S,
    /// Failures in a row, this one included.
    pub retry: i32,
    /// How long the job is to wait.
    pub delay: Option<Duration>,
}

/// A failed attempt, ready to be written.
#[derive(Debug, Clone)]
pub struct FailedAttempt<S> {
    /// The cause, redacted.
    pub failure: Failure,
    /// The new status, count and delay.
    pub outcome: FailureOutcome<S>,
    /// The new content of the `errors` column.
    pub errors: Value,
}

/// What a row tells about the outcome of an attempt that was sent to the
/// database, where the answer was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LostAnswer {
    /// The row is as that write leaves it.
    Written,
    /// The attempt still holds the row: nothing was written.
    StillHeld,
    /// The attempt was expired before the write.
    ExpiredFirst,
    /// The row has changed since, and does not tell.
    Unknown,
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
            // A step that started from its own final status would run for ever.
            let is_claimed_or_final = !matches!(*name, "PENDING" | "FAILED");
            if is_claimed_or_final && self.more_pending.contains(code) {
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

    /// Whether a row may be reset: it belongs to this step, and nobody holds it.
    pub fn may_reset(&self, row: &RowState<S>) -> bool {
        row.lock.is_none() && self.owns(row)
    }

    /// Why a row was not reset. A lock on a row of this step refuses it until
    /// the lock is as old as that of a dead attempt, whoever took it. A lock on
    /// a row of another step always refuses it.
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
    /// or a person who has locked it by hand.
    pub fn is_locked(&self, row: &RowState<S>) -> bool {
        row.lock.is_some() && self.expires_at(row).is_none_or(|at| at >= row.now)
    }

    /// What follows from one more failure after `retry` failures in a row,
    /// whose error asked for `directive`. Where `RETRY_DELAY` panics, the job
    /// is ready at once, and the message of the panic is returned too.
    pub fn after_failure(
        &self,
        retry: i32,
        directive: Option<RetryDirective>,
    ) -> (FailureOutcome<S>, Option<String>) {
        let retry = retry.saturating_add(1);
        let is_last = retry >= self.max_retry || directive == Some(RetryDirective::Never);
        let (status, delay) = if is_last {
            (self.ignored, Ok(None))
        } else {
            (self.failed, self.delay(retry, directive))
        };
        let (delay, panic) = match delay {
            Ok(delay) => (delay.filter(|_| self.has_run_at), None),
            Err(panic) => (None, Some(panic)),
        };
        let outcome = FailureOutcome {
            status,
            retry,
            delay,
        };
        (outcome, panic)
    }

    /// A failure of the business logic as this step wants it recorded.
    pub fn redacted(&self, failure: Failure) -> Failure {
        failure.redacted(self.redact)
    }

    /// One more failed attempt, at the time `at`, of a job with `retry`
    /// failures in a row and the content `errors`. The text of `failure` is
    /// recorded as it is: see [`redacted`](Self::redacted).
    pub fn fail(
        &self,
        mut failure: Failure,
        directive: Option<RetryDirective>,
        retry: i32,
        errors: Value,
        at: DateTime<Utc>,
    ) -> FailedAttempt<S> {
        let (outcome, panic) = self.after_failure(retry, directive);
        if let Some(message) = panic {
            let panic = self.redacted(Failure::of_panic_message(&message));
            failure.error += "\n`RETRY_DELAY` panicked, so the job is ready at once: ";
            failure.error += &panic.error;
        }
        let mut log = ErrorLog::from(errors);
        log.push(&failure, outcome.retry, at);
        FailedAttempt {
            errors: log.document(),
            failure,
            outcome,
        }
    }

    /// How long the job is to wait after this failure, or how `RETRY_DELAY`
    /// panicked.
    fn delay(
        &self,
        retry: i32,
        directive: Option<RetryDirective>,
    ) -> Result<Option<Duration>, String> {
        match (directive, self.retry_delay) {
            (Some(RetryDirective::After(delay)), _) => Ok(Some(delay)),
            (_, Some(delay)) => caught("`RETRY_DELAY`", || Some(delay(retry))),
            (_, None) => Ok(None),
        }
    }

    /// The status of a job that is released after `retry` failures in a row.
    pub fn released(&self, retry: i32) -> S {
        if retry > 0 { self.failed } else { self.pending }
    }

    /// What the row tells about a write of `status` whose answer was lost, by
    /// the attempt with `token`. `lock_at`: when the lock was last written;
    /// `None` if the answer to that was lost too.
    pub fn after_lost_answer(
        &self,
        row: &RowState<S>,
        token: &str,
        lock_at: Option<DateTime<Utc>>,
        status: S,
    ) -> LostAnswer {
        let was_last = lock_at.is_some() && row.lock_at == lock_at;
        self.lost_answer(row, token, was_last, status)
    }

    /// The same for a row that says in another way whether the attempt with
    /// `token` was the last one that held it: `was_last`.
    pub fn lost_answer(
        &self,
        row: &RowState<S>,
        token: &str,
        was_last: bool,
        status: S,
    ) -> LostAnswer {
        if row.lock.as_deref() == Some(token) {
            return LostAnswer::StillHeld;
        }
        let untouched = row.lock.is_none() && was_last;
        if untouched && row.status == status {
            LostAnswer::Written
        } else if untouched && (row.status == self.failed || row.status == self.ignored) {
            // Only an expiry leaves this. It needs the lock, so the write had
            // not happened before.
            LostAnswer::ExpiredFirst
        } else {
            LostAnswer::Unknown
        }
    }

    /// When the lock expires. Only a lock of a row in progress does.
    fn expires_at(&self, row: &RowState<S>) -> Option<DateTime<Utc>> {
        row.lock_at
            .filter(|_| row.status == self.in_progress)
            .and_then(|at| self.expiry(at))
    }

    /// Whether a row belongs to this step.
    fn owns(&self, row: &RowState<S>) -> bool {
        self.codes().iter().any(|(_, code)| *code == row.status)
    }

    fn expiry(&self, lock_at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        lock_at.checked_add_signed(TimeDelta::from_std(self.lock_expire).ok()?)
    }
}

#[cfg(test)]
mod tests;
