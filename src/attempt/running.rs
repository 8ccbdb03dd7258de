//! One attempt: the guard that `start` returns.

mod report;

use std::any::Any;
use std::borrow::Borrow;
use std::fmt::Debug;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use tracing::Span;

use crate::attempt::lease::Lease;
use crate::attempt::outcome::{Outcome, WriteResult};
use crate::db::connection::TrackerConnection;
use crate::db::pool::AnyPool;
use crate::db::retry;
use crate::error::{BoxError, Error, Result};
use crate::observer::{Observer, Source, Transition};
use crate::panics::{Discarded, discard};
use crate::sql::dialect::LockWait;
use crate::sql::results::Claimed;
use crate::sql::store::JobStore;
use crate::sql::tracked_table::JobName;
use status_protocol::Failure;
use status_protocol::Step;
use status_protocol::panics::caught;
use status_protocol::{RetryDirective, directive_of};

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
    pub(crate) step: Step<J::Status>,
    pub(crate) lease: Arc<Lease<J::Key>>,
    job: Discarded<J>,
    retry: i32,
    errors: Value,
    lock_at: Option<DateTime<Utc>>,
    claimed_at: Instant,
    /// The step, for observers.
    source: Source,
    /// When the business logic began.
    started_at: Option<Instant>,
    /// How long it took, once it has ended.
    took: Option<Duration>,
    /// What became of the job; `None` while the attempt runs.
    pub(crate) ended: Option<Transition>,
    pub(crate) span: Span,
}

/// Why the business logic did not succeed.
pub(crate) enum AttemptError {
    Error(BoxError),
    Panic(Box<dyn Any + Send>),
}

impl AttemptError {
    pub(crate) fn discard(self) {
        discard("the drop of an error or of a panic's payload", self);
    }
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
        let span = tracing::info_span!(
            "attempt",
            table = J::table_name(),
            key = ?claimed.key,
            step = std::any::type_name::<S>().rsplit("::").next(),
            attempt = claimed.retry.saturating_add(1),
        );
        Self {
            updates: J::Updates::default(),
            lease: Arc::new(Lease::new(claimed.key, token, claimed.lock_at, asked_at)),
            job: Discarded::new(claimed.job),
            retry: claimed.retry,
            errors: claimed.errors,
            lock_at: claimed.lock_at,
            claimed_at: Instant::now(),
            source: Source::of::<S>(J::info),
            started_at: None,
            took: None,
            ended: None,
            pool,
            step,
            span,
        }
    }

    /// The attempt begins with the claim: logs and tells that.
    pub(crate) fn started(&mut self) {
        self.started_for(None, self.claimed_at);
    }

    /// The attempt begins now, in a worker with an observer of its own.
    pub(crate) fn started_for(&mut self, own: Option<&dyn Observer>, now: Instant) {
        self.started_at = Some(now);
        self.span.in_scope(|| tracing::info!("started"));
        self.tell(own, Transition::Started, None);
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
        let done = self
            .span
            .in_scope(|| catch_unwind(AssertUnwindSafe(|| work(self, &mut updates))));
        let attempt_error = match done {
            Ok(Ok(value)) => return (Outcome::Success(updates), Ok(value)),
            Ok(Err(error)) => AttemptError::Error(error),
            Err(panic) => AttemptError::Panic(panic),
        };
        (self.outcome_of(&attempt_error), Err(attempt_error))
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
            let failure = outcome.failure_summary();
            self.span.in_scope(|| tracing::error!(failure, %error, "failed, but the failure could not be recorded"));
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
        let job = self.name();
        if self.ended == Some(Transition::Released) {
            Error::Released { job, source }
        } else {
            Error::Failed { job, source }
        }
    }

    /// The attempt's fencing token, as the row's lock column holds it.
    pub fn token(&self) -> &str {
        &self.lease.token
    }

    /// Whether the lock is known to be lost, because a call of this guard, or the
    /// [`Worker`](crate::Worker) that renews it, has found that. This does not ask
    /// the database; [`renew`](Self::renew) does.
    pub fn is_lost(&self) -> bool {
        self.lease.is_lost()
    }

    /// Renews the lock for another `LOCK_EXPIRE` from now.
    ///
    /// # Errors
    ///
    /// [`Error::LockLost`] when the attempt was expired: stop, because another
    /// worker may have the job. [`Error::Database`] and [`Error::Pool`] leave the
    /// lock as it was.
    pub fn renew(&self) -> Result<()> {
        let key = std::slice::from_ref(&self.lease.key);
        self.renew_by(|conn| {
            let mut renewed = J::renew_rows(conn, key, &[&*self.lease.token], LockWait::Briefly)?;
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
        self.renew_by(|conn| {
            J::save_row(conn, &self.lease.key, &self.lease.token, updates.borrow())
        })?;
        self.tell(None, Transition::Saved, None);
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
        let outcome = self.outcome_of(&attempt_error);
        attempt_error.discard();
        self.end(&outcome, false)
    }

    pub(crate) fn name(&self) -> String {
        JobName::<J>(&self.lease.key).to_string()
    }

    /// What the claim read.
    pub(crate) fn job(&self) -> &J {
        &self.job
    }

    /// The outcome that releases the job, with no attempt counted.
    pub(crate) fn release(&self) -> Outcome<J> {
        Outcome::Release(self.released_status())
    }

    pub(crate) fn released_status(&self) -> J::Status {
        self.step.released(self.retry)
    }

    pub(crate) fn outcome_of(&self, attempt_error: &AttemptError) -> Outcome<J> {
        let _entered = self.span.enter();
        let error = match attempt_error {
            AttemptError::Error(error) => &**error,
            AttemptError::Panic(panic) => {
                return self.failure(Failure::of_panic(&**panic), None);
            }
        };
        let directive = directive_of(error);
        if directive == Some(RetryDirective::Release) {
            return self.release();
        }
        if matches!(directive, Some(RetryDirective::After(_))) && !self.step.has_run_at {
            tracing::warn!(
                "`Retry::after` needs a `run_at` column; the job is ready again at once"
            );
        }
        self.failure(Failure::of(error), directive)
    }

    /// A failure of the business logic.
    fn failure(&self, failure: Failure, directive: Option<RetryDirective>) -> Outcome<J> {
        self.failed_attempt(self.step.redacted(failure), directive)
    }

    /// A failed attempt. The time that is recorded is the database's time of the
    /// claim and what has passed here since, so that it does not depend on the
    /// clock of this machine.
    fn failed_attempt(&self, failure: Failure, directive: Option<RetryDirective>) -> Outcome<J> {
        let passed = TimeDelta::from_std(self.claimed_at.elapsed()).unwrap_or_default();
        let claimed_at = self.lock_at.unwrap_or_default();
        let at = claimed_at.checked_add_signed(passed).unwrap_or(claimed_at);
        let errors = self.errors.clone();
        Outcome::Failure(self.step.fail(failure, directive, self.retry, errors, at))
    }

    /// Ends the attempt, and tells the observers. `maybe_applied`: an earlier try may
    /// have been applied.
    pub(crate) fn end(&mut self, outcome: &Outcome<J>, maybe_applied: bool) -> Result<()> {
        self.work_ended();
        match self.write(outcome, maybe_applied) {
            Ok(result) => {
                self.is_over(Some(outcome));
                result
            }
            Err(panic) => {
                let failure = self.record_panic(outcome, &*panic);
                self.is_over(failure.as_ref());
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
        self.ended = Some(Transition::Lost);
        let write = || {
            retry::run(
                &*self.pool,
                &JobName::<J>(&self.lease.key),
                |conn, again| {
                    let wait = LockWait::Briefly;
                    outcome.write_once(conn, &self.lease, &self.step, maybe_applied || again, wait)
                },
            )
        };
        let written = catch_unwind(AssertUnwindSafe(write))?;
        Ok(match written {
            Ok(WriteResult::Written) => {
                self.note_written(outcome);
                Ok(())
            }
            Ok(WriteResult::LockLost) => Err(self.lock_lost()),
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
        let failure = Failure::of_panic(panic);
        let failure = self.span.in_scope(|| self.failure(failure, None));
        match self.write(&failure, true) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self
                .span
                .in_scope(|| tracing::error!(%error, "panicked, but that could not be recorded")),
            Err(second) => resume_unwind(second),
        }
        Some(failure)
    }

    /// Notes and logs that the outcome is written.
    pub(crate) fn note_written(&mut self, outcome: &Outcome<J>) {
        let transition = outcome.transition(&self.step);
        self.ended = Some(transition);
        let why = outcome.failure_summary();
        self.span.in_scope(|| match transition {
            Transition::Succeeded => tracing::info!("succeeded"),
            Transition::Ignored { retry } => tracing::error!(error = why, retry, "ignored"),
            Transition::Failed { retry } => tracing::warn!(error = why, retry, "failed"),
            _ => tracing::info!("released"),
        });
    }

    /// Renews the lock by `write`, and remembers the new time.
    fn renew_by(
        &self,
        mut write: impl FnMut(&mut C) -> diesel::QueryResult<Option<Option<DateTime<Utc>>>>,
    ) -> Result<()> {
        let mut asked_at = Instant::now();
        let renewed = retry::run(&*self.pool, &JobName::<J>(&self.lease.key), |conn, _| {
            asked_at = Instant::now();
            Ok(write(conn)?)
        });
        match renewed {
            Ok(Some(lock_at)) => {
                self.lease.set_renewed(lock_at, asked_at);
                self.span.in_scope(|| tracing::debug!("lock renewed"));
                Ok(())
            }
            Ok(None) => Err(self.lock_lost()),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn lock_lost(&self) -> Error {
        self.lease.lose();
        self.span.in_scope(|| tracing::warn!("lock lost"));
        Error::LockLost { job: self.name() }
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
            .field("job", &self.name())
            .field("lost", &self.is_lost())
            .finish_non_exhaustive()
    }
}

impl<J: JobStore<C>, C: TrackerConnection> Drop for RunningJob<J, C> {
    fn drop(&mut self) {
        // While the thread unwinds, a panic in here would end the process.
        let _told = caught("recording that a job was dropped", || {
            if self.ended.is_none() {
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
        self.work_ended();
        let outcome = self.failed_attempt(failure, None);
        let recorded = retry::checkout(&*self.pool, DROP_WAIT)
            .map_err(BoxError::from)
            .and_then(|mut conn| {
                Ok(outcome.write(&mut **conn, &self.lease, &self.step, LockWait::Briefly)?)
            });
        match recorded {
            Ok(0) => self.span.in_scope(|| tracing::warn!("lock lost")),
            Ok(_) => self.note_written(&outcome),
            Err(error) => self.span.in_scope(|| {
                tracing::error!(%error, "dropped unfinished, and that could not be recorded; its lock will expire");
            }),
        }
        self.is_over(Some(&outcome));
    }
}
