//! The guard of an attempt, for threads.

use std::borrow::Borrow;
use std::fmt::{self, Debug};
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};

use aws_sdk_dynamodb::types::TransactWriteItem;
use status_protocol::BoxError;
use status_protocol::panics::Discarded;

use crate::attempt::outcome::Outcome;
use crate::attempt::running::{self, AttemptError};
use crate::error::Result;
use crate::runtime::block;
use crate::tracked::{StatusTracked, UpdatesOf};

/// The guard of an attempt: a job that this attempt holds. It is
/// [`RunningJob`](crate::RunningJob) for threads: the same calls, which block.
///
/// A guard that is dropped unfinished counts as a failed attempt. The drop records
/// that, and waits a second for it at most.
pub struct RunningJob<S: StatusTracked> {
    inner: running::RunningJob<S>,
}

impl<S: StatusTracked> RunningJob<S> {
    pub(crate) fn new(mut inner: running::RunningJob<S>) -> Self {
        inner.blocks_on_drop = true;
        Self { inner }
    }

    /// The attempt's fencing token, as the item's lock attribute holds it.
    #[must_use]
    pub fn token(&self) -> &str {
        self.inner.token()
    }

    /// Whether the lock is known to be lost; see
    /// [`RunningJob::is_lost`](crate::RunningJob::is_lost).
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.inner.is_lost()
    }

    /// What [`succeed`](Self::succeed) writes together with the success mark.
    pub fn updates(&mut self) -> &mut UpdatesOf<S> {
        &mut self.inner.updates
    }

    /// Adds a write that is applied together with the success mark, or not at all;
    /// see [`RunningJob::commit_with`](crate::RunningJob::commit_with).
    pub fn commit_with(&self, write: TransactWriteItem) {
        self.inner.commit_with(write);
    }

    /// Renews the lock for another `LOCK_EXPIRE` from now.
    ///
    /// # Errors
    ///
    /// As [`RunningJob::renew`](crate::RunningJob::renew).
    pub fn renew(&self) -> Result<()> {
        block(self.inner.renew())?
    }

    /// Writes `updates` now, and renews the lock.
    ///
    /// # Errors
    ///
    /// As [`RunningJob::save`](crate::RunningJob::save).
    pub fn save(&self, updates: impl Borrow<UpdatesOf<S>>) -> Result<()> {
        block(self.inner.save(updates))?
    }

    /// Marks the job as succeeded, together with [`updates`](Self::updates).
    ///
    /// # Errors
    ///
    /// As [`RunningJob::succeed`](crate::RunningJob::succeed).
    pub fn succeed(self) -> Result<()> {
        block(self.inner.succeed())?
    }

    /// Records a failed attempt.
    ///
    /// # Errors
    ///
    /// As [`RunningJob::fail`](crate::RunningJob::fail).
    pub fn fail(self, error: impl Into<BoxError>) -> Result<()> {
        block(self.inner.fail(error))?
    }

    /// Runs the business logic and records the outcome.
    pub(crate) fn run<T>(
        mut self,
        work: impl FnOnce(&Self, &mut UpdatesOf<S>) -> Result<T, BoxError>,
    ) -> Result<T> {
        let (outcome, result) = self.perform(work);
        block(self.inner.end_run(outcome, result))?
    }

    /// Runs the business logic; it records nothing.
    pub(crate) fn perform<T>(
        &mut self,
        work: impl FnOnce(&Self, &mut UpdatesOf<S>) -> Result<T, BoxError>,
    ) -> (Outcome<S>, Result<T, AttemptError>) {
        let mut updates = Discarded::new(std::mem::take(&mut self.inner.updates));
        let span = self.inner.span.clone();
        let done = span.in_scope(|| catch_unwind(AssertUnwindSafe(|| work(self, &mut updates))));
        self.inner.performed(updates, done)
    }

    pub(crate) fn into_inner(self) -> running::RunningJob<S> {
        self.inner
    }
}

impl<S: StatusTracked> Deref for RunningJob<S> {
    type Target = S::Job;

    fn deref(&self) -> &S::Job {
        &self.inner
    }
}

impl<S: StatusTracked> Debug for RunningJob<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
