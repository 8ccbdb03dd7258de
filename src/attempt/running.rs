//! One attempt: the guard that `start` returns.

pub(crate) mod state;

use std::any::Any;
use std::borrow::Borrow;
use std::fmt::Debug;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use crate::attempt::lease::Lease;
use crate::attempt::outcome::{AttemptError, Outcome, WriteResult};
use crate::attempt::running::state::Attempt;
use crate::db::connection::TrackerConnection;
use crate::db::pool::AnyPool;
use crate::db::retry;
use crate::error::{BoxError, Error, Result};
use crate::observer::{Source, Transition};
use crate::panics::{Discarded, discard};
use crate::sql::dialect::LockWait;
use crate::sql::results::Claimed;
use crate::sql::store::JobStore;
use status_protocol::Failure;
use status_protocol::Step;
use status_protocol::panics::caught;

/// How long a guard that is dropped unfinished waits for a connection. Later the
/// lock expires, which has the same effect.
const DROP_WAIT: Duration = Duration::from_secs(1);

/// The guard of an attempt: a job that this attempt holds.
///
/// It derefs to the row as the claim read it. Set [`updates`](Self::updates),
/// then call [`succeed`](Self::succeed) or [`fail`](Self::fail). A guard that is
/// dropped without either counts as a failed attempt. It holds no connection. Its
/// calls write only while the attempt holds the lock; otherwise they return
/// [`Error::LockLost`].
pub struct RunningJob<J: JobStore<C>, C: TrackerConnection> {
    /// What [`succeed`](Self::succeed) writes together with the success mark.
    pub updates: J::Updates,
    pub(crate) pool: AnyPool<C>,
    pub(crate) attempt: Attempt<J::Key, J::Status>,
    job: Discarded<J>,
}

impl<J: JobStore<C>, C: TrackerConnection> RunningJob<J, C> {
    /// The guard of the job that `token` has claimed, by a statement sent at `asked_at`.
    pub(crate) fn hold<S: 'static>(
        pool: AnyPool<C>,
        step: Step<J::Status>,
        token: Arc<str>,
        claimed: Claimed<J>,
        asked_at: Instant,
    ) -> Self {
        let Claimed {
            key,
            job,
            lock_at,
            retry,
            errors,
        } = claimed;
        let lease = Lease::new(key, token, lock_at, asked_at);
        let source = Source::of::<S>(J::info);
        Self {
            updates: J::Updates::default(),
            pool,
            attempt: Attempt::new(step, lease, retry, errors, source),
            job,
        }
    }

    /// Runs the business logic and records the outcome.
    pub(crate) fn run<T>(
        mut self,
        work: impl FnOnce(&Self, &mut J::Updates) -> Result<T, BoxError>,
    ) -> Result<T> {
        let (outcome, result) = self.perform(work);
        match result {
            Ok(value) => self.end(&outcome, false).map(|()| value),
            Err(attempt_error) => Err(self.end_with_error(&outcome, attempt_error)),
        }
    }

    /// Runs the business logic; it records nothing.
    pub(crate) fn perform<T>(
        &mut self,
        work: impl FnOnce(&Self, &mut J::Updates) -> Result<T, BoxError>,
    ) -> (Outcome<J>, Result<T, AttemptError>) {
        let mut updates = Discarded::new(std::mem::take(&mut self.updates));
        let done = {
            let _entered = self.attempt.span.enter();
            catch_unwind(AssertUnwindSafe(|| work(self, &mut updates)))
        };
        let attempt_error = match done {
            Ok(Ok(value)) => return (Outcome::Success(updates), Ok(value)),
            Ok(Err(error)) => AttemptError::Error(error),
            Err(panic) => AttemptError::Panic(panic),
        };
        let outcome = self.attempt.outcome_of(&attempt_error).into();
        (outcome, Err(attempt_error))
    }

    /// Records that the business logic failed, and returns the error for the caller.
    /// A panic goes on.
    pub(crate) fn end_with_error(
        mut self,
        outcome: &Outcome<J>,
        attempt_error: AttemptError,
    ) -> Error {
        let recorded = self.end(outcome, false);
        if let Err(error) = &recorded {
            let what = "failed, but the failure could not be recorded";
            self.attempt.not_recorded(what, outcome.failure(), error);
        }
        match (attempt_error, recorded) {
            (AttemptError::Error(source), Ok(())) => self.failed(source),
            (attempt_error @ AttemptError::Error(_), Err(error)) => {
                attempt_error.discard();
                error
            }
            (AttemptError::Panic(panic), _) => {
                // Before the thread unwinds: a panic in the drop of the updates would
                // then end the process.
                discard("the drop of a job", self);
                resume_unwind(panic)
            }
        }
    }

    /// The error of the business logic as an error for the caller, once the outcome
    /// is recorded.
    pub(crate) fn failed(&self, source: BoxError) -> Error {
        let job = self.attempt.name();
        if self.attempt.ended == Some(Transition::Released) {
            Error::Released { job, source }
        } else {
            Error::Failed { job, source }
        }
    }

    /// The attempt's fencing token, as the row's lock column holds it.
    pub fn token(&self) -> &str {
        &self.attempt.lease.token
    }

    /// Whether the lock is known to be lost, because a call of this guard, or the
    /// [`Worker`](crate::Worker) that renews it, has found that. This does not ask
    /// the database; [`renew`](Self::renew) does.
    pub fn is_lost(&self) -> bool {
        self.attempt.lease.is_lost()
    }

    /// Renews the lock for another `LOCK_EXPIRE` from now.
    ///
    /// # Errors
    ///
    /// [`Error::LockLost`] when the attempt was expired: stop, because another
    /// worker may have the job. [`Error::Database`] and [`Error::Pool`] leave the
    /// lock as it was.
    pub fn renew(&self) -> Result<()> {
        let lease = &self.attempt.lease;
        let key = std::slice::from_ref(&lease.key);
        self.renew_by(|conn| {
            let mut renewed = J::renew_rows(conn, key, &[&*lease.token], LockWait::Briefly)?;
            Ok(renewed.pop().map(|row| row.lock_at))
        })
    }

    /// Writes `updates` now, and renews the lock for another `LOCK_EXPIRE`: a
    /// checkpoint that stays, whatever becomes of the attempt.
    ///
    /// # Errors
    ///
    /// As [`renew`](Self::renew); the updates are written or not, never in part.
    pub fn save(&self, updates: impl Borrow<J::Updates>) -> Result<()> {
        let lease = &self.attempt.lease;
        self.renew_by(|conn| J::save_row(conn, &lease.key, &lease.token, updates.borrow()))?;
        self.attempt.tell(None, Transition::Saved, None);
        Ok(())
    }

    /// Marks the job as succeeded, together with [`updates`](Self::updates).
    ///
    /// # Errors
    ///
    /// [`Error::LockLost`] when the attempt was expired; nothing was written.
    /// [`Error::Database`] or [`Error::Pool`] when the database could not be
    /// reached: the job will run again when its lock expires.
    /// [`Error::OutcomeUnknown`] when the answer was lost and the row has changed
    /// since.
    pub fn succeed(mut self) -> Result<()> {
        let updates = Discarded::new(std::mem::take(&mut self.updates));
        self.end(&Outcome::Success(updates), false)
    }

    /// Records a failed attempt: one more failure, or ignored at `MAX_RETRY`. The
    /// updates are dropped. A [`Retry`](crate::Retry) among the error and its
    /// sources has its effect.
    ///
    /// # Errors
    ///
    /// As [`succeed`](Self::succeed).
    pub fn fail(mut self, error: impl Into<BoxError>) -> Result<()> {
        let attempt_error = AttemptError::Error(error.into());
        let outcome = self.attempt.outcome_of(&attempt_error);
        attempt_error.discard();
        self.end(&outcome.into(), false)
    }

    /// What the claim read.
    pub(crate) fn job(&self) -> &J {
        &self.job
    }

    /// Ends the attempt, and tells the observers. `maybe_applied`: an earlier try may
    /// have been applied.
    pub(crate) fn end(&mut self, outcome: &Outcome<J>, maybe_applied: bool) -> Result<()> {
        self.attempt.work_ended();
        match self.write(outcome, maybe_applied) {
            Ok(result) => {
                self.attempt.is_over(outcome.unsuccessful());
                result
            }
            Err(panic) => {
                let failure = self.record_panic(outcome, &*panic);
                self.attempt
                    .is_over(failure.as_ref().and_then(Outcome::unsuccessful));
                resume_unwind(panic)
            }
        }
    }

    /// Records the outcome; it tells no observer. A panic is that of a value in the
    /// updates.
    pub(crate) fn write(
        &mut self,
        outcome: &Outcome<J>,
        maybe_applied: bool,
    ) -> thread::Result<Result<()>> {
        // Set first, so that `Drop` does not write again.
        self.attempt.ended = Some(Transition::Lost);
        let attempt = &self.attempt;
        let write = || {
            retry::run(&*self.pool, &attempt.row(), |conn, again| {
                let maybe_applied = maybe_applied || again;
                let wait = LockWait::Briefly;
                outcome.write_once(conn, &attempt.lease, &attempt.step, maybe_applied, wait)
            })
        };
        let written = catch_unwind(AssertUnwindSafe(write))?;
        Ok(match written {
            Ok(WriteResult::Written) => {
                self.note_written(outcome);
                Ok(())
            }
            Ok(WriteResult::LockLost) => Err(self.attempt.lock_lost()),
            Err(error) => Err(error),
        })
    }

    /// Records that the outcome could not be written because a value in the updates
    /// panicked. Returns the failure that it has tried to record.
    pub(crate) fn record_panic(
        &mut self,
        outcome: &Outcome<J>,
        panic: &(dyn Any + Send),
    ) -> Option<Outcome<J>> {
        if !matches!(outcome, Outcome::Success(_)) {
            return None;
        }
        let failure = self.attempt.panicked(panic).into();
        match self.write(&failure, true) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                let what = "panicked, but that could not be recorded";
                self.attempt.not_recorded(what, None, &error);
            }
            Err(second) => resume_unwind(second),
        }
        Some(failure)
    }

    /// Notes and logs that the outcome is written.
    pub(crate) fn note_written(&mut self, outcome: &Outcome<J>) {
        let transition = outcome.transition(&self.attempt.step);
        self.attempt.note_written(transition, outcome.failure());
    }

    /// Renews the lock by `write`, and remembers the new time.
    fn renew_by(
        &self,
        mut write: impl FnMut(&mut C) -> diesel::QueryResult<Option<Option<DateTime<Utc>>>>,
    ) -> Result<()> {
        let mut asked_at = Instant::now();
        let renewed = retry::run(&*self.pool, &self.attempt.row(), |conn, _| {
            asked_at = Instant::now();
            Ok(write(conn)?)
        });
        match renewed {
            Ok(Some(lock_at)) => {
                self.attempt.renewed(lock_at, asked_at);
                Ok(())
            }
            Ok(None) => Err(self.attempt.lock_lost()),
            Err(error) => Err(error),
        }
    }
}

impl<J: JobStore<C>, C: TrackerConnection> Deref for RunningJob<J, C> {
    type Target = J;

    fn deref(&self) -> &J {
        &self.job
    }
}

impl<J: JobStore<C>, C: TrackerConnection> Debug for RunningJob<J, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunningJob")
            .field("job", &self.attempt.name())
            .field("lost", &self.is_lost())
            .finish_non_exhaustive()
    }
}

impl<J: JobStore<C>, C: TrackerConnection> Drop for RunningJob<J, C> {
    fn drop(&mut self) {
        // While the thread unwinds, a panic in here would end the process.
        let _told = caught("recording that a job was dropped", || {
            if self.attempt.ended.is_none() {
                self.end_unfinished();
            }
        });
        let _told = caught("the drop of the updates", || {
            drop(std::mem::take(&mut self.updates));
        });
    }
}

impl<J: JobStore<C>, C: TrackerConnection> RunningJob<J, C> {
    /// Records that the guard was dropped.
    fn end_unfinished(&mut self) {
        let failure = Failure::because(if thread::panicking() {
            "the thread panicked while it held the job"
        } else {
            "the job was dropped unfinished: neither `succeed` nor `fail` was called"
        });
        self.attempt.work_ended();
        let outcome: Outcome<J> = self.attempt.failed_attempt(failure, None).into();
        let Attempt { lease, step, .. } = &self.attempt;
        let recorded = match retry::checkout(&*self.pool, DROP_WAIT) {
            Ok(mut conn) => outcome
                .write(&mut **conn, lease, step, LockWait::Briefly)
                .map_err(BoxError::from),
            Err(error) => Err(error.into()),
        };
        match recorded {
            Ok(0) => self.attempt.log_lock_lost(),
            Ok(_) => self.note_written(&outcome),
            Err(error) => {
                let what =
                    "dropped unfinished, and that could not be recorded; its lock will expire";
                self.attempt.not_recorded(what, None, &error);
            }
        }
        self.attempt.is_over(outcome.unsuccessful());
    }
}
