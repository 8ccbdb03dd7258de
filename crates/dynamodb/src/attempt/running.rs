//! One attempt: the guard that `start` returns.

use std::any::Any;
use std::borrow::Borrow;
use std::fmt::Debug;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::TransactWriteItem;
use futures_util::FutureExt;
use serde_json::Value;
use status_protocol::panics::{Discarded, caught, discard};
use status_protocol::{BoxError, Failure, RetryDirective, Step, directive_of};
use tracing::{Instrument, Span};

use super::lease::Lease;
use super::outcome::{Outcome, WriteResult};
use crate::clock::stamp;
use crate::db::expression::{CONDITION, Expression, UPDATE};
use crate::db::fault::{Fault, Tries};
use crate::db::statements;
use crate::db::write::{self, Written};
use crate::error::{Error, Result};
use crate::item::Item;
use crate::item::value::changes;
use crate::runtime;
use crate::table::Table;
use crate::tracked::{StatusOf, StatusTracked, Tracked, UpdatesOf};

/// How long a guard that is dropped unfinished may take to record that. Later the
/// lock expires, which has the same effect.
pub(crate) const DROP_WAIT: Duration = Duration::from_secs(1);

/// The guard of an attempt: a job that this attempt holds.
///
/// It derefs to the item as the claim read it. Set [`updates`](Self::updates), then
/// call [`succeed`](Self::succeed) or [`fail`](Self::fail). A guard that is dropped
/// without either counts as a failed attempt; a task in the background records
/// that. Its calls write only while the attempt holds the lock; otherwise they
/// return [`Error::LockLost`].
pub struct RunningJob<S: StatusTracked> {
    /// What [`succeed`](Self::succeed) writes together with the success mark.
    pub updates: UpdatesOf<S>,
    pub(crate) table: Table,
    pub(crate) step: Step<StatusOf<S>>,
    pub(crate) lease: Arc<Lease>,
    job: Discarded<S::Job>,
    retry: i32,
    errors: Value,
    writes: Mutex<Vec<TransactWriteItem>>,
    pub(crate) ended: Option<Ended>,
    pub(crate) blocks_on_drop: bool,
    /// A worker has claimed it and not begun: a drop releases it.
    pub(crate) is_unstarted: bool,
    /// Conflicts with other transactions in a row, before this attempt.
    pub(crate) conflicts: i32,
    pub(crate) span: Span,
}

/// How an attempt has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Succeeded,
    Failed,
    Ignored,
    Released,
    /// Released, because its transaction met others each time.
    Conflict,
    /// Nothing was written, or that is not known.
    Lost,
}

/// What a claim has read.
pub(crate) struct Claimed<J> {
    pub job: J,
    pub retry: i32,
    pub errors: Value,
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

impl<S: StatusTracked> RunningJob<S> {
    /// The guard of the job that `lease` holds.
    pub(crate) fn hold(
        table: Table,
        step: Step<StatusOf<S>>,
        lease: Lease,
        claimed: Claimed<S::Job>,
    ) -> Self {
        let span = tracing::info_span!(
            "attempt",
            job = %lease.key,
            step = std::any::type_name::<S>().rsplit("::").next(),
            attempt = claimed.retry.saturating_add(1),
        );
        Self {
            updates: UpdatesOf::<S>::default(),
            table,
            step,
            lease: Arc::new(lease),
            job: Discarded::new(claimed.job),
            retry: claimed.retry,
            errors: claimed.errors,
            writes: Mutex::default(),
            ended: None,
            blocks_on_drop: false,
            is_unstarted: false,
            conflicts: 0,
            span,
        }
    }

    /// Logs that the attempt begins.
    pub(crate) fn started(&self) {
        self.span.in_scope(|| tracing::info!("started"));
    }

    /// Runs the business logic and records the outcome.
    pub(crate) async fn run<T>(
        mut self,
        work: impl AsyncFnOnce(&Self, &mut UpdatesOf<S>) -> Result<T, BoxError>,
    ) -> Result<T> {
        let (outcome, result) = self.perform(work).await;
        self.end_run(outcome, result).await
    }

    /// Runs the business logic; it records nothing.
    pub(crate) async fn perform<T>(
        &mut self,
        work: impl AsyncFnOnce(&Self, &mut UpdatesOf<S>) -> Result<T, BoxError>,
    ) -> (Outcome<S>, Result<T, AttemptError>) {
        let mut updates = Discarded::new(std::mem::take(&mut self.updates));
        let done = AssertUnwindSafe(async { work(self, &mut updates).await })
            .catch_unwind()
            .instrument(self.span.clone())
            .await;
        self.performed(updates, done)
    }

    /// What the business logic has returned, and the outcome that follows.
    pub(crate) fn performed<T>(
        &self,
        updates: Discarded<UpdatesOf<S>>,
        done: std::thread::Result<Result<T, BoxError>>,
    ) -> (Outcome<S>, Result<T, AttemptError>) {
        let attempt_error = match done {
            Ok(Ok(value)) => return (Outcome::Success(updates), Ok(value)),
            Ok(Err(error)) => AttemptError::Error(error),
            Err(panic) => AttemptError::Panic(panic),
        };
        (self.outcome_of(&attempt_error), Err(attempt_error))
    }

    /// Records the outcome, and returns what the caller gets. A panic goes on.
    pub(crate) async fn end_run<T>(
        mut self,
        outcome: Outcome<S>,
        result: Result<T, AttemptError>,
    ) -> Result<T> {
        let recorded = self.end(&outcome).await;
        let attempt_error = match result {
            Ok(value) => return recorded.map(|()| value),
            Err(attempt_error) => attempt_error,
        };
        if let Err(error) = &recorded {
            let failure = outcome.failure_summary();
            self.span.in_scope(|| tracing::error!(failure, %error, "failed, but the failure could not be recorded"));
        }
        match (attempt_error, recorded) {
            (AttemptError::Error(source), Ok(())) => Err(self.failed(source)),
            (attempt_error @ AttemptError::Error(_), Err(error)) => {
                attempt_error.discard();
                Err(error)
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
        if matches!(self.ended, Some(Ended::Released | Ended::Conflict)) {
            Error::Released { job, source }
        } else {
            Error::Failed { job, source }
        }
    }

    /// The attempt's fencing token, as the item's lock attribute holds it.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.lease.token
    }

    /// Whether the lock is known to be lost, because a call of this guard, or the
    /// [`Worker`](crate::Worker) that renews it, has found that. This does not ask
    /// DynamoDB; [`renew`](Self::renew) does.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lease.is_lost()
    }

    /// Adds a write that is applied together with the success mark, or not at all:
    /// in one transaction. Up to 99 of them. They are dropped if the attempt fails.
    ///
    /// What a job writes in this way happens exactly once, however often it is
    /// attempted. Each item of a transaction costs twice its write units.
    ///
    /// If DynamoDB cancels the transaction because of the condition of such a write,
    /// the attempt has failed.
    pub fn commit_with(&self, write: TransactWriteItem) {
        self.writes().push(write);
    }

    pub(crate) fn writes(&self) -> std::sync::MutexGuard<'_, Vec<TransactWriteItem>> {
        self.writes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Renews the lock for another `LOCK_EXPIRE` from now.
    ///
    /// # Errors
    ///
    /// [`Error::LockLost`] when the attempt was expired: stop, because another
    /// worker may have the job. [`Error::Database`] and [`Error::Throttled`] leave
    /// the lock as it was.
    pub async fn renew(&self) -> Result<()> {
        self.renew_with(Item::new()).await
    }

    /// Writes `updates` now, and renews the lock for another `LOCK_EXPIRE`: a
    /// checkpoint that stays, whatever becomes of the attempt.
    ///
    /// # Errors
    ///
    /// As [`renew`](Self::renew), and [`Error::Misconfigured`] if the updates cannot
    /// be written; they are written or not, never in part.
    pub async fn save(&self, updates: impl Borrow<UpdatesOf<S>>) -> Result<()> {
        let changes = changes(updates.borrow(), &S::Job::ATTRIBUTES, &S::Job::KEY);
        let changes = changes.map_err(|error| Error::Misconfigured {
            job: self.name(),
            problem: error.to_string(),
        })?;
        self.renew_with(changes).await
    }

    async fn renew_with(&self, changes: Item) -> Result<()> {
        match renew::<S>(&self.table, &self.lease, changes).await {
            Ok(true) => {
                self.span.in_scope(|| tracing::debug!("lock renewed"));
                Ok(())
            }
            Ok(false) => Err(self.lock_lost()),
            Err(fault) => Err(fault.into_error(&self.name())),
        }
    }

    /// Marks the job as succeeded, together with [`updates`](Self::updates).
    ///
    /// # Errors
    ///
    /// [`Error::LockLost`] when the attempt was expired; nothing was written.
    /// [`Error::Failed`] when DynamoDB refuses the updates, or cancels the
    /// transaction because of a write of [`commit_with`](Self::commit_with).
    /// [`Error::Released`] when the transaction met others each time.
    /// [`Error::Database`] or [`Error::Throttled`] when DynamoDB could not be
    /// reached: the job will run again when its lock expires.
    /// [`Error::OutcomeUnknown`] when no answer came and the item has changed since.
    pub async fn succeed(mut self) -> Result<()> {
        let updates = Discarded::new(std::mem::take(&mut self.updates));
        self.end(&Outcome::Success(updates)).await
    }

    /// Records a failed attempt: one more failure, or ignored at `MAX_RETRY`. The
    /// updates are dropped. A [`Retry`](crate::Retry) among the error and its
    /// sources has its effect.
    ///
    /// # Errors
    ///
    /// As [`succeed`](Self::succeed).
    pub async fn fail(mut self, error: impl Into<BoxError>) -> Result<()> {
        let attempt_error = AttemptError::Error(error.into());
        let outcome = self.outcome_of(&attempt_error);
        attempt_error.discard();
        self.end(&outcome).await
    }

    pub(crate) fn name(&self) -> String {
        self.lease.key.to_string()
    }

    pub(crate) fn release(&self) -> Outcome<S> {
        Outcome::Release(self.step.released(self.retry))
    }

    fn outcome_of(&self, attempt_error: &AttemptError) -> Outcome<S> {
        let _entered = self.span.enter();
        let error = match attempt_error {
            AttemptError::Error(error) => &**error,
            AttemptError::Panic(panic) => return self.failure(Failure::of_panic(&**panic), None),
        };
        let directive = directive_of(error);
        if directive == Some(RetryDirective::Release) {
            return self.release();
        }
        self.failure(Failure::of(error), directive)
    }

    /// A failure of the business logic.
    pub(crate) fn failure(
        &self,
        failure: Failure,
        directive: Option<RetryDirective>,
    ) -> Outcome<S> {
        self.failed_attempt(self.step.redacted(failure), directive)
    }

    fn failed_attempt(&self, failure: Failure, directive: Option<RetryDirective>) -> Outcome<S> {
        let (errors, at) = (self.errors.clone(), self.table.clock().now());
        Outcome::Failure(self.step.fail(failure, directive, self.retry, errors, at))
    }

    pub(crate) fn lock_lost(&self) -> Error {
        self.lease.lose();
        self.span.in_scope(|| tracing::warn!("lock lost"));
        Error::LockLost { job: self.name() }
    }
}

/// Renews the lock, and writes `changes` with it. Returns whether the attempt still
/// holds the lock.
pub(crate) async fn renew<S: StatusTracked>(
    table: &Table,
    lease: &Lease,
    changes: Item,
) -> Result<bool, Fault> {
    let expression = Expression::new::<S::Job>()
        .text(UPDATE, statements::RENEW)
        .text(CONDITION, statements::HELD)
        .changes(changes)
        .number(":one", 1)
        .string(":token", &*lease.token)
        .number(":claims", lease.claims);
    let mut tries = Tries::new(&lease.key.name);
    loop {
        let asked_at = Instant::now();
        let expression = expression
            .clone()
            .string(":now", stamp(table.clock().now()));
        match write::update(table, &lease.key, &expression).await {
            Ok(Written::Done(_)) => {
                lease.set_renewed(asked_at);
                return Ok(true);
            }
            Ok(Written::Refused { .. }) => {
                lease.lose();
                return Ok(false);
            }
            Err(fault) => tries.after(fault).await?,
        }
    }
}

impl<S: StatusTracked> Deref for RunningJob<S> {
    type Target = S::Job;

    fn deref(&self) -> &S::Job {
        &self.job
    }
}

impl<S: StatusTracked> Debug for RunningJob<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunningJob")
            .field("job", &self.name())
            .field("lost", &self.is_lost())
            .finish_non_exhaustive()
    }
}

impl<S: StatusTracked> Drop for RunningJob<S> {
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

impl<S: StatusTracked> RunningJob<S> {
    /// Records that the guard was dropped.
    fn end_unfinished(&mut self) {
        let outcome = if self.is_unstarted {
            self.release()
        } else {
            let failure = Failure::because(if std::thread::panicking() {
                "the thread panicked while it held the job"
            } else {
                "the job was dropped unfinished: neither `succeed` nor `fail` was called"
            });
            self.failed_attempt(failure, None)
        };
        let (table, step) = (self.table.clone(), self.step);
        let (lease, span) = (Arc::clone(&self.lease), self.span.clone());
        lease.set_completing();
        let record = async move {
            let written = outcome.write(&table, &step, &lease);
            match tokio::time::timeout(DROP_WAIT, written).await {
                Ok(Ok(WriteResult::Written)) => {
                    tracing::warn!(error = outcome.failure_summary(), "dropped")
                }
                Ok(Ok(_)) => tracing::warn!("lock lost"),
                Ok(Err(fault)) => {
                    tracing::error!(error = %fault.source, "dropped unfinished, and that could not be recorded; its lock will expire");
                }
                Err(_) => tracing::error!(
                    "dropped unfinished, and that could not be recorded in time; its lock will expire"
                ),
            }
        };
        let record = record.instrument(span);
        let recorded = if self.blocks_on_drop {
            runtime::block(record)
        } else {
            runtime::spawn(record).map(drop)
        };
        if let Err(error) = recorded {
            self.span.in_scope(|| tracing::error!(%error, "dropped unfinished, and that could not be recorded; its lock will expire"));
        }
    }
}
