//! What is known of an attempt whatever the row and the updates are to Rust. Tables
//! whose keys and statuses are of the same types share the compiled code.

use std::any::Any;
use std::fmt::{Debug, Display};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use tracing::Span;

use crate::attempt::lease::Lease;
use crate::attempt::outcome::{AttemptError, Unsuccessful};
use crate::error::Error;
use crate::observer::{Event, Observer, Source, Transition};
use crate::sql::table_rows::RowName;
use status_protocol::{Failure, RetryDirective, Step, directive_of};

/// When a worker looks for a failed job that is ready again at once. Not sooner, so that
/// a job that fails each time does not keep an idle worker busy.
const RETRY_LOOK: Duration = Duration::from_secs(1);

/// The target of the log, where people look for what became of a job.
const TARGET: &str = "diesel_status_tracker::attempt::running";

/// One attempt at a job.
pub(crate) struct Attempt<K, S: 'static> {
    pub step: Step<S>,
    pub lease: Arc<Lease<K>>,
    pub retry: i32,
    pub errors: Value,
    pub lock_at: Option<DateTime<Utc>>,
    pub claimed_at: Instant,
    /// The step, for observers.
    pub source: Source,
    /// When the business logic began.
    pub started_at: Option<Instant>,
    /// How long it took, once it has ended.
    pub took: Option<Duration>,
    /// What became of the job; `None` while the attempt runs.
    pub ended: Option<Transition>,
    pub span: Span,
}

impl<K: Debug, S: Copy + PartialEq + Debug + 'static> Attempt<K, S> {
    /// An attempt whose claim has read `retry` and `errors`.
    pub fn new(step: Step<S>, lease: Lease<K>, retry: i32, errors: Value, source: Source) -> Self {
        let span = tracing::info_span!(
            target: TARGET,
            "attempt",
            table = source.table().full_name(),
            key = ?lease.key,
            step = source.type_name().rsplit("::").next(),
            attempt = retry.saturating_add(1),
        );
        Self {
            step,
            lock_at: lease.lock_at(),
            lease: Arc::new(lease),
            retry,
            errors,
            claimed_at: Instant::now(),
            source,
            started_at: None,
            took: None,
            ended: None,
            span,
        }
    }

    /// The job as messages name it.
    pub fn name(&self) -> String {
        self.row().to_string()
    }

    pub fn row(&self) -> RowName<'_> {
        RowName::new(self.source.table().full_name(), &self.lease.key)
    }

    /// The attempt begins with the claim: logs and tells that.
    pub fn started(&mut self) {
        self.started_for(None, self.claimed_at);
    }

    /// The attempt begins now, in a worker with an observer of its own.
    pub fn started_for(&mut self, own: Option<&dyn Observer>, now: Instant) {
        self.started_at = Some(now);
        self.span
            .in_scope(|| tracing::info!(target: TARGET, "started"));
        self.tell(own, Transition::Started, None);
    }

    /// The business logic has ended; what follows does not count as its time.
    pub fn work_ended(&mut self) {
        if self.source.may_be_heard() {
            self.work_ended_at(Instant::now());
        }
    }

    pub fn work_ended_at(&mut self, now: Instant) {
        if self.took.is_none() {
            self.took = self.started_at.map(|at| now.saturating_duration_since(at));
        }
    }

    /// What the attempt leaves in the row after this error.
    pub fn outcome_of(&self, attempt_error: &AttemptError) -> Unsuccessful<S> {
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
                target: TARGET,
                "`Retry::after` needs a `run_at` column; the job is ready again at once"
            );
        }
        self.failure(Failure::of(error), directive)
    }

    /// A panic of the business logic.
    pub fn panicked(&self, panic: &(dyn Any + Send)) -> Unsuccessful<S> {
        let _entered = self.span.enter();
        self.failure(Failure::of_panic(panic), None)
    }

    /// A failure of the business logic.
    fn failure(&self, failure: Failure, directive: Option<RetryDirective>) -> Unsuccessful<S> {
        self.failed_attempt(self.step.redacted(failure), directive)
    }

    /// A failed attempt. The time that is recorded is the database's time of the
    /// claim and what has passed here since, so that it does not depend on the
    /// clock of this machine.
    pub fn failed_attempt(
        &self,
        failure: Failure,
        directive: Option<RetryDirective>,
    ) -> Unsuccessful<S> {
        let passed = TimeDelta::from_std(self.claimed_at.elapsed()).unwrap_or_default();
        let claimed_at = self.lock_at.unwrap_or_default();
        let at = claimed_at.checked_add_signed(passed).unwrap_or(claimed_at);
        let errors = self.errors.clone();
        Unsuccessful::Failure(self.step.fail(failure, directive, self.retry, errors, at))
    }

    /// The outcome that releases the job, with no attempt counted.
    pub fn release(&self) -> Unsuccessful<S> {
        Unsuccessful::Release(self.released_status())
    }

    pub fn released_status(&self) -> S {
        self.step.released(self.retry)
    }

    /// Notes and logs that the outcome is written.
    pub fn note_written(&mut self, transition: Transition, failure: Option<&Failure>) {
        self.ended = Some(transition);
        let why = failure.map(Failure::summary).unwrap_or_default();
        self.span.in_scope(|| match transition {
            Transition::Succeeded => tracing::info!(target: TARGET, "succeeded"),
            Transition::Ignored { retry } => {
                tracing::error!(target: TARGET, error = why, retry, "ignored");
            }
            Transition::Failed { retry } => {
                tracing::warn!(target: TARGET, error = why, retry, "failed");
            }
            _ => tracing::info!(target: TARGET, "released"),
        });
    }

    /// Logs that the outcome could not be recorded.
    pub fn not_recorded(&self, what: &str, failure: Option<&Failure>, error: &dyn Display) {
        let failure = failure.map(Failure::summary);
        self.span
            .in_scope(|| tracing::error!(target: TARGET, failure, %error, "{what}"));
    }

    pub fn renewed(&self, lock_at: Option<DateTime<Utc>>, asked_at: Instant) {
        self.lease.set_renewed(lock_at, asked_at);
        self.span
            .in_scope(|| tracing::debug!(target: TARGET, "lock renewed"));
    }

    pub fn lock_lost(&self) -> Error {
        self.lease.lose();
        self.log_lock_lost();
        Error::LockLost { job: self.name() }
    }

    pub fn log_lock_lost(&self) {
        self.span
            .in_scope(|| tracing::warn!(target: TARGET, "lock lost"));
    }

    /// The attempt is over: wakes who waits for the job, and tells the observers.
    pub fn is_over(&self, unsuccessful: Option<&Unsuccessful<S>>) {
        if let Some((status, delay)) = self.left(unsuccessful) {
            self.source.ring(&status, delay);
        }
        self.tell_end(None, unsuccessful);
    }

    /// The status that the attempt has left in the row, and how long after that the job
    /// is of use to a worker. `None` where the attempt has lost the row.
    pub fn left(&self, unsuccessful: Option<&Unsuccessful<S>>) -> Option<(S, Option<Duration>)> {
        Some(match self.ended? {
            Transition::Succeeded => (self.step.succeeded, None),
            Transition::Ignored { .. } => (self.step.ignored, None),
            Transition::Released => (self.released_status(), None),
            Transition::Failed { .. } => {
                let delay = unsuccessful.and_then(Unsuccessful::delay);
                (self.step.failed, Some(delay.unwrap_or(RETRY_LOOK)))
            }
            _ => return None,
        })
    }

    /// Tells what became of the job, with the outcome that was to be recorded.
    pub fn tell_end(&self, own: Option<&dyn Observer>, unsuccessful: Option<&Unsuccessful<S>>) {
        let transition = self.ended.unwrap_or(Transition::Lost);
        self.tell(
            own,
            transition,
            unsuccessful.and_then(Unsuccessful::failure),
        );
    }

    pub fn tell(
        &self,
        own: Option<&dyn Observer>,
        transition: Transition,
        failure: Option<&Failure>,
    ) {
        if let Some(audience) = self.source.audience(own) {
            audience.tell(&Event {
                key: Some(&self.lease.key),
                attempt: Some(self.retry.saturating_add(1)),
                error: failure,
                elapsed: self.took,
                ..self.source.event(transition)
            });
        }
    }
}
