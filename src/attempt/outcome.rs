//! The outcome of an attempt, and how it is written once and only once.

use std::any::Any;
use std::time::Duration;

use crate::attempt::lease::Lease;
use crate::db::connection::TrackerConnection;
use crate::db::retry::Fault;
use crate::error::BoxError;
use crate::observer::Transition;
use crate::panics::{Discarded, discard};
use crate::sql::dialect::LockWait;
use crate::sql::store::JobStore;
use crate::sql::tracked_table::Tracked;
use status_protocol::{FailedAttempt, Failure, LostAnswer, Step};

/// What an attempt leaves in the row.
pub(crate) enum Outcome<J: Tracked> {
    /// With the updates that are written beside it.
    Success(Discarded<J::Updates>),
    Unsuccessful(Unsuccessful<J::Status>),
}

/// What an attempt leaves in the row that did not succeed.
pub(crate) enum Unsuccessful<S> {
    Failure(FailedAttempt<S>),
    /// Ready again with this status; no attempt is counted.
    Release(S),
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

/// What came of a write that needs the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriteResult {
    Written,
    /// Nothing was written: the attempt does not hold the lock any more.
    LockLost,
}

impl<S: Copy + PartialEq> Unsuccessful<S> {
    /// What has become of the job once this is written.
    pub fn transition(&self, step: &Step<S>) -> Transition {
        match self {
            Self::Failure(failed) if failed.outcome.status == step.ignored => Transition::Ignored {
                retry: failed.outcome.retry,
            },
            Self::Failure(failed) => Transition::Failed {
                retry: failed.outcome.retry,
            },
            Self::Release(_) => Transition::Released,
        }
    }

    /// What failed, redacted.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failure(failed) => Some(&failed.failure),
            Self::Release(_) => None,
        }
    }

    /// How long the job is to wait before it is ready again.
    pub fn delay(&self) -> Option<Duration> {
        match self {
            Self::Failure(failed) => failed.outcome.delay,
            Self::Release(_) => None,
        }
    }

    fn status(&self) -> S {
        match self {
            Self::Failure(failed) => failed.outcome.status,
            Self::Release(status) => *status,
        }
    }
}

impl<J: Tracked> From<Unsuccessful<J::Status>> for Outcome<J> {
    fn from(unsuccessful: Unsuccessful<J::Status>) -> Self {
        Self::Unsuccessful(unsuccessful)
    }
}

impl<J: Tracked> Outcome<J> {
    /// What has become of the job once this is written.
    pub fn transition(&self, step: &Step<J::Status>) -> Transition {
        match self.unsuccessful() {
            None => Transition::Succeeded,
            Some(unsuccessful) => unsuccessful.transition(step),
        }
    }

    pub fn unsuccessful(&self) -> Option<&Unsuccessful<J::Status>> {
        match self {
            Self::Success(_) => None,
            Self::Unsuccessful(unsuccessful) => Some(unsuccessful),
        }
    }

    /// What failed, redacted.
    pub fn failure(&self) -> Option<&Failure> {
        self.unsuccessful().and_then(Unsuccessful::failure)
    }

    /// Writes it if the attempt still holds the lock. Returns the number of rows:
    /// 1, or 0 where the lock is lost.
    pub fn write<C>(
        &self,
        conn: &mut C,
        lease: &Lease<J::Key>,
        step: &Step<J::Status>,
        wait: LockWait,
    ) -> diesel::QueryResult<usize>
    where
        J: JobStore<C>,
    {
        let (key, token) = (&lease.key, &*lease.token);
        match self {
            Self::Success(updates) => J::succeed_row(conn, key, token, updates, step, wait),
            Self::Unsuccessful(Unsuccessful::Failure(failed)) => J::fail_row(
                conn,
                key,
                token,
                failed.outcome,
                failed.errors.clone(),
                wait,
            ),
            Self::Unsuccessful(Unsuccessful::Release(status)) => {
                J::release_rows(conn, std::slice::from_ref(key), token, *status, wait)
            }
        }
    }

    /// Writes it once. Where an earlier try may have been applied
    /// (`maybe_applied`), looks first whether it was.
    pub fn write_once<C: TrackerConnection>(
        &self,
        conn: &mut C,
        lease: &Lease<J::Key>,
        step: &Step<J::Status>,
        maybe_applied: bool,
        wait: LockWait,
    ) -> Result<WriteResult, Fault>
    where
        J: JobStore<C>,
    {
        let status = self
            .unsuccessful()
            .map_or(step.succeeded, Unsuccessful::status);
        if maybe_applied && let Some(result) = earlier_write::<J, C>(conn, lease, step, status)? {
            return Ok(result);
        }
        if self.write(conn, lease, step, wait)? > 0 {
            return Ok(WriteResult::Written);
        }
        // The server may still have been executing an earlier try, and have
        // finished it after the row was read.
        let earlier = if maybe_applied {
            earlier_write::<J, C>(conn, lease, step, status)?
        } else {
            None
        };
        Ok(earlier.unwrap_or(WriteResult::LockLost))
    }
}

/// What came of an earlier try to write `status`. `None`: it was not applied,
/// and the attempt still holds the row.
pub(crate) fn earlier_write<J: JobStore<C>, C: TrackerConnection>(
    conn: &mut C,
    lease: &Lease<J::Key>,
    step: &Step<J::Status>,
    status: J::Status,
) -> Result<Option<WriteResult>, Fault> {
    let Some(row) = J::row_state(conn, &lease.key)? else {
        return Err(Fault::RowChanged);
    };
    match step.after_lost_answer(&row, &lease.token, lease.lock_at(), status) {
        LostAnswer::Written => Ok(Some(WriteResult::Written)),
        LostAnswer::StillHeld => Ok(None),
        LostAnswer::ExpiredFirst => Ok(Some(WriteResult::LockLost)),
        LostAnswer::Unknown => Err(Fault::RowChanged),
    }
}
