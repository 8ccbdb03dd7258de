//! One attempt: the guard that `start` returns, and how the attempt ends.

use std::borrow::Borrow;
use std::fmt::Debug;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use tracing::Span;

use crate::connection::{PoolOf, TrackerConnection};
use crate::error::{BoxError, Error, Result};
use crate::failure::Failure;
use crate::protocol::{Setback, Step, Trace};
use crate::retry::{self, Fault};
use crate::store::{Claimed, JobName, JobStore};

/// How long a guard that is dropped unfinished waits for a connection. Past
/// that, the lock's expiry does the same work.
const DROP_WAIT: Duration = Duration::from_secs(1);

/// A job that this attempt holds.
///
/// It derefs to the row as the claim read it. Set [`updates`](Self::updates),
/// then call [`succeed`](Self::succeed) or [`fail`](Self::fail); a guard that
/// is dropped unfinished counts as a failed attempt. No connection is held
/// meanwhile. Whatever is written through it lands only while the attempt
/// holds the lock, else the call returns [`Error::LockLost`].
pub struct RunningJob<J: JobStore<C>, C: TrackerConnection> {
    /// What [`succeed`](Self::succeed) writes together with the success mark.
    pub updates: J::Updates,
    pool: PoolOf<C>,
    step: Step<J::Status>,
    token: String,
    claimed: Claimed<J>,
    /// When the lock was last written; `None` while that is in doubt.
    lock_at: Mutex<Option<DateTime<Utc>>>,
    claimed_at: Instant,
    lost: AtomicBool,
    finished: bool,
    span: Span,
}

/// How a fenced write ended.
enum Landing {
    Landed,
    Lost,
}

impl<J: JobStore<C>, C: TrackerConnection> RunningJob<J, C> {
    /// The guard of what `token` has claimed.
    pub(crate) fn hold<S: 'static>(
        pool: PoolOf<C>,
        step: Step<J::Status>,
        token: String,
        claimed: Claimed<J>,
    ) -> Self {
        let span = tracing::info_span!(
            "attempt",
            table = J::TABLE,
            key = ?claimed.key,
            step = std::any::type_name::<S>().rsplit("::").next(),
            attempt = claimed.retry.saturating_add(1),
        );
        span.in_scope(|| tracing::info!("started"));
        Self {
            updates: J::Updates::default(),
            lock_at: Mutex::new(claimed.lock_at),
            claimed_at: Instant::now(),
            lost: AtomicBool::new(false),
            finished: false,
            pool,
            step,
            token,
            claimed,
            span,
        }
    }

    /// Runs the business logic and records how it ended.
    pub(crate) fn run<T>(
        mut self,
        work: impl FnOnce(&Self, &mut J::Updates) -> Result<T, BoxError>,
    ) -> Result<T> {
        let mut updates = std::mem::take(&mut self.updates);
        let span = self.span.clone();
        let ended = span.in_scope(|| catch_unwind(AssertUnwindSafe(|| work(&self, &mut updates))));
        match ended {
            Ok(Ok(value)) => {
                self.updates = updates;
                self.succeed()?;
                Ok(value)
            }
            Ok(Err(source)) => {
                let job = self.name();
                self.finish_failed(&Failure::of(&*source)).inspect_err(|_| {
                    span.in_scope(|| tracing::error!(error = %source, "failed, but the failure could not be recorded"));
                })?;
                Err(Error::Failed { job, source })
            }
            Err(panic) => {
                let failure = Failure::of_panic(&*panic);
                if let Err(error) = self.finish_failed(&failure) {
                    span.in_scope(|| tracing::error!(panic = failure.summary(), %error, "panicked, but the failure could not be recorded"));
                }
                resume_unwind(panic)
            }
        }
    }

    /// The attempt's fencing token, as the row's lock column holds it.
    pub fn lock(&self) -> &str {
        &self.token
    }

    /// Whether a call of this guard has found the lock lost. It asks nothing;
    /// [`renew`](Self::renew) does.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// Takes the lock for another `LOCK_EXPIRE` from now.
    ///
    /// # Errors
    ///
    /// [`Error::LockLost`] when the attempt was expired or overtaken: stop,
    /// another worker may have the job. [`Error::Database`] and
    /// [`Error::Pool`] leave the lock as it was.
    pub fn renew(&self) -> Result<()> {
        self.renew_by(|conn| J::renew_row(conn, &self.claimed.key, &self.token))
    }

    /// Writes `updates` now, and takes the lock for another `LOCK_EXPIRE`: a
    /// checkpoint that stays, whatever becomes of the attempt.
    ///
    /// # Errors
    ///
    /// As [`renew`](Self::renew); the updates are written or not, never in part.
    pub fn save(&self, updates: impl Borrow<J::Updates>) -> Result<()> {
        self.renew_by(|conn| J::save_row(conn, &self.claimed.key, &self.token, updates.borrow()))
    }

    /// Marks the job as succeeded, together with [`updates`](Self::updates).
    ///
    /// # Errors
    ///
    /// [`Error::LockLost`] when the attempt was expired or overtaken; nothing
    /// was written. [`Error::Database`] or [`Error::Pool`] when the database
    /// could not be had: the job will run again when its lock expires.
    /// [`Error::OutcomeUnknown`] when the answer was lost and the row has
    /// changed since.
    pub fn succeed(mut self) -> Result<()> {
        let updates = std::mem::take(&mut self.updates);
        self.finished = true;
        self.fenced(self.step.succeeded, |conn| {
            J::succeed_row(conn, &self.claimed.key, &self.token, &updates, &self.step)
        })?;
        self.span.in_scope(|| tracing::info!("succeeded"));
        Ok(())
    }

    /// Records a failed attempt: one more retry, or ignored at `MAX_RETRY`.
    /// The updates are dropped.
    ///
    /// # Errors
    ///
    /// As [`succeed`](Self::succeed).
    pub fn fail(mut self, error: impl Into<BoxError>) -> Result<()> {
        self.finish_failed(&Failure::of(&*error.into()))
    }

    fn name(&self) -> String {
        JobName::<J>(&self.claimed.key).to_string()
    }

    fn finish_failed(&mut self, failure: &Failure) -> Result<()> {
        self.finished = true;
        let setback = self.setback();
        let errors = self.errors(failure, setback.retry);
        self.fenced(setback.status, |conn| {
            J::fail_row(
                conn,
                &self.claimed.key,
                &self.token,
                setback,
                errors.clone(),
            )
        })?;
        self.log_setback(failure, setback);
        Ok(())
    }

    fn setback(&self) -> Setback<J::Status> {
        self.step.after_failure(self.claimed.retry)
    }

    /// The document for the row. Its stamp is the database's time of the
    /// claim and what has passed here since, so that it does not depend on
    /// this machine's clock being right.
    fn errors(&self, failure: &Failure, attempt: i32) -> serde_json::Value {
        let passed = TimeDelta::from_std(self.claimed_at.elapsed()).unwrap_or_default();
        let at = self.claimed.lock_at.unwrap_or_default() + passed;
        failure.document(self.claimed.errors.clone(), attempt, at)
    }

    fn log_setback(&self, failure: &Failure, setback: Setback<J::Status>) {
        self.span.in_scope(|| {
            if setback.status == self.step.ignored {
                tracing::error!(error = failure.summary(), retry = setback.retry, "ignored");
            } else {
                tracing::warn!(error = failure.summary(), retry = setback.retry, "failed");
            }
        });
    }

    /// Ends the attempt by `write`, which sets `status`.
    fn fenced(
        &self,
        status: J::Status,
        mut write: impl FnMut(&mut C) -> diesel::QueryResult<usize>,
    ) -> Result<()> {
        let key = &self.claimed.key;
        let landing = retry::run(&self.pool, &JobName::<J>(key), |conn, doubtful| {
            if doubtful && let Some(landing) = self.landing(conn, status)? {
                return Ok(landing);
            }
            if write(conn)? > 0 {
                return Ok(Landing::Landed);
            }
            // The server may have been at an earlier try all the while, and
            // have ended it since the row was looked at.
            let earlier = if doubtful {
                self.landing(conn, status)?
            } else {
                None
            };
            Ok(earlier.unwrap_or(Landing::Lost))
        })?;
        match landing {
            Landing::Landed => Ok(()),
            Landing::Lost => Err(self.lock_lost()),
        }
    }

    /// What became of an earlier try to write `status`: `None` if the attempt
    /// still holds the row.
    fn landing(&self, conn: &mut C, status: J::Status) -> Result<Option<Landing>, Fault> {
        let Some(row) = J::row_state(conn, &self.claimed.key)? else {
            return Err(Fault::Untraceable);
        };
        match self
            .step
            .trace(&row, &self.token, self.last_lock_at(), status)
        {
            Trace::Landed => Ok(Some(Landing::Landed)),
            Trace::StillHeld => Ok(None),
            Trace::Overtaken => Ok(Some(Landing::Lost)),
            Trace::Gone => Err(Fault::Untraceable),
        }
    }

    /// Writes the lock's time by `write`, and remembers it.
    fn renew_by(
        &self,
        mut write: impl FnMut(&mut C) -> diesel::QueryResult<Option<Option<DateTime<Utc>>>>,
    ) -> Result<()> {
        // Until the answer is here, the row may bear either time.
        let before = std::mem::take(&mut *self.lock_time());
        let renewed = retry::run(&self.pool, &JobName::<J>(&self.claimed.key), |conn, _| {
            Ok(write(conn)?)
        });
        match renewed {
            Ok(Some(lock_at)) => {
                *self.lock_time() = lock_at;
                self.span.in_scope(|| tracing::debug!("lock renewed"));
                Ok(())
            }
            Ok(None) => {
                *self.lock_time() = before;
                Err(self.lock_lost())
            }
            Err(error) => Err(error),
        }
    }

    fn last_lock_at(&self) -> Option<DateTime<Utc>> {
        *self.lock_time()
    }

    fn lock_time(&self) -> std::sync::MutexGuard<'_, Option<DateTime<Utc>>> {
        // A time is whole or not written: poison says nothing about it.
        self.lock_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_lost(&self) -> Error {
        self.lost.store(true, Ordering::Release);
        self.span.in_scope(|| tracing::warn!("lock lost"));
        Error::LockLost { job: self.name() }
    }
}

impl<J: JobStore<C>, C: TrackerConnection> Deref for RunningJob<J, C> {
    type Target = J;

    fn deref(&self) -> &J {
        &self.claimed.job
    }
}

impl<J: JobStore<C>, C: TrackerConnection> Debug for RunningJob<J, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunningJob")
            .field("job", &self.name())
            .field("lost", &self.is_lost())
            .finish_non_exhaustive()
    }
}

impl<J: JobStore<C>, C: TrackerConnection> Drop for RunningJob<J, C> {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        let failure = Failure::because(if std::thread::panicking() {
            "the thread panicked while it held the job"
        } else {
            "the job was dropped unfinished: neither `succeed` nor `fail` was called"
        });
        let setback = self.setback();
        let errors = self.errors(&failure, setback.retry);
        let recorded = retry::checkout(&self.pool, DROP_WAIT)
            .map_err(BoxError::from)
            .and_then(|mut conn| {
                Ok(J::fail_row(
                    &mut conn,
                    &self.claimed.key,
                    &self.token,
                    setback,
                    errors,
                )?)
            });
        match recorded {
            Ok(0) => self.span.in_scope(|| tracing::warn!("lock lost")),
            Ok(_) => self.log_setback(&failure, setback),
            Err(error) => self.span.in_scope(|| {
                tracing::error!(%error, "dropped unfinished, which could not be recorded; its lock will expire");
            }),
        }
    }
}
