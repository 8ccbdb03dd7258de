//! How an attempt ends, and that its end is written once.

use crate::connection::TrackerConnection;
use crate::lease::Lease;
use crate::panics::Discarded;
use crate::retry::Fault;
use crate::statement::LockWait;
use crate::store::{JobStore, Tracked};
use crate::transition::Transition;
use status_protocol::{FailedAttempt, LostAnswer, Step};

/// What is to be written at the end of an attempt.
pub(crate) enum Ending<J: Tracked> {
    Success(Discarded<J::Updates>),
    Failure(FailedAttempt<J::Status>),
    /// Ready again with this status, no attempt counted.
    Release(J::Status),
}

/// How a fenced write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Landing {
    Landed,
    Lost,
}

impl<J: Tracked> Ending<J> {
    /// What the job has come to, once this is written.
    pub fn transition(&self, step: &Step<J::Status>) -> Transition {
        match self {
            Self::Success(_) => Transition::Succeeded,
            Self::Failure(failed) if failed.outcome.status == step.ignored => Transition::Ignored {
                retry: failed.outcome.retry,
            },
            Self::Failure(failed) => Transition::Failed {
                retry: failed.outcome.retry,
            },
            Self::Release(_) => Transition::Released,
        }
    }

    /// What failed, for logs.
    pub fn why(&self) -> String {
        match self {
            Self::Failure(failed) => failed.failure.summary(),
            Self::Success(_) | Self::Release(_) => String::new(),
        }
    }

    fn status(&self, step: &Step<J::Status>) -> J::Status {
        match self {
            Self::Success(_) => step.succeeded,
            Self::Failure(failed) => failed.outcome.status,
            Self::Release(status) => *status,
        }
    }

    /// Writes it, if the lease still stands: 1, or 0 where it does not.
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
            Self::Failure(failed) => J::fail_row(
                conn,
                key,
                token,
                failed.outcome,
                failed.errors.clone(),
                wait,
            ),
            Self::Release(status) => {
                J::release_rows(conn, std::slice::from_ref(key), token, *status, wait)
            }
        }
    }

    /// Writes it, once: after an earlier try whose answer was lost
    /// (`doubtful`) it is looked up first.
    pub fn write_once<C: TrackerConnection>(
        &self,
        conn: &mut C,
        lease: &Lease<J::Key>,
        step: &Step<J::Status>,
        doubtful: bool,
        wait: LockWait,
    ) -> Result<Landing, Fault>
    where
        J: JobStore<C>,
    {
        let status = self.status(step);
        if doubtful && let Some(landing) = landing::<J, C>(conn, lease, step, status)? {
            return Ok(landing);
        }
        if self.write(conn, lease, step, wait)? > 0 {
            return Ok(Landing::Landed);
        }
        // The server may have been at an earlier try all the while, and
        // have ended it since the row was looked at.
        let earlier = if doubtful {
            landing::<J, C>(conn, lease, step, status)?
        } else {
            None
        };
        Ok(earlier.unwrap_or(Landing::Lost))
    }
}

/// What became of an earlier try to write `status`: `None` if the attempt
/// still holds the row.
pub(crate) fn landing<J: JobStore<C>, C: TrackerConnection>(
    conn: &mut C,
    lease: &Lease<J::Key>,
    step: &Step<J::Status>,
    status: J::Status,
) -> Result<Option<Landing>, Fault> {
    let Some(row) = J::row_state(conn, &lease.key)? else {
        return Err(Fault::Untraceable);
    };
    match step.after_lost_answer(&row, &lease.token, lease.lock_at(), status) {
        LostAnswer::Written => Ok(Some(Landing::Landed)),
        LostAnswer::StillHeld => Ok(None),
        LostAnswer::ExpiredFirst => Ok(Some(Landing::Lost)),
        LostAnswer::Unknown => Err(Fault::Untraceable),
    }
}
