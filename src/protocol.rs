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
