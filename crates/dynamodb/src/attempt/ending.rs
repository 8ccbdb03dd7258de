//! How an attempt ends: its outcome is written, or another one where DynamoDB refuses
//! that.

use status_protocol::{FailedAttempt, Failure};

use super::outcome::{Outcome, WriteResult, in_few_words};
use super::running::{Ended, RunningJob};
use crate::db::fault::{Fault, FaultKind};
use crate::error::{Error, Result};
use crate::tracked::{StatusOf, StatusTracked};

impl<S: StatusTracked> RunningJob<S> {
    /// Ends the attempt.
    pub(crate) async fn end(&mut self, outcome: &Outcome<S>) -> Result<()> {
        match self.try_end(outcome).await {
            Ok(ended) => ended,
            Err(fault) => Err(fault.into_error(&self.name())),
        }
    }

    /// Ends the attempt. A fault: the outcome could not be recorded, and the item is
    /// as it was, or that is not known yet. The call may be repeated.
    pub(crate) async fn try_end(&mut self, outcome: &Outcome<S>) -> Result<Result<()>, Fault> {
        match self.write(outcome, None).await {
            Ok(result) => Ok(self.written(outcome, result)),
            Err(fault) => self.refused(outcome, fault).await,
        }
    }

    async fn write(
        &mut self,
        outcome: &Outcome<S>,
        earlier: Option<StatusOf<S>>,
    ) -> Result<WriteResult, Fault> {
        // Set first, so that `Drop` does not write again.
        self.ended = Some(Ended::Lost);
        self.lease.set_completing();
        let writes = match outcome {
            Outcome::Success(_) => self.writes().clone(),
            Outcome::Failure(_) | Outcome::Release(_) => Vec::new(),
        };
        outcome
            .write_after(&self.table, &self.step, &self.lease, earlier, &writes)
            .await
    }

    fn written(&mut self, outcome: &Outcome<S>, result: WriteResult) -> Result<()> {
        match result {
            WriteResult::Written => {
                self.note_written(outcome);
                Ok(())
            }
            // `refused` has told of an earlier outcome before this.
            WriteResult::EarlierWritten | WriteResult::LockLost => Err(self.lock_lost()),
            WriteResult::Unknown => Err(Error::OutcomeUnknown { job: self.name() }),
        }
    }

    /// DynamoDB refuses the outcome. If that will not pass by itself, the attempt has
    /// failed, or is released; what was to be written for it is not written.
    async fn refused(&mut self, outcome: &Outcome<S>, fault: Fault) -> Result<Result<()>, Fault> {
        let is_conflict = fault.kind == FaultKind::Conflict;
        let gives_up = self.conflicts.saturating_add(1) >= self.step.max_conflicts;
        let mut instead = match outcome {
            Outcome::Success(_) if is_conflict && !gives_up => self.release(),
            Outcome::Success(_) if is_conflict || fault.kind == FaultKind::Permanent => {
                self.failure(Failure::of(&*fault.source), None)
            }
            Outcome::Failure(failed) if fault.is_of_size() => self.in_few_words(failed),
            _ => return Err(fault),
        };
        // An earlier try may have been applied, and may still be on its way.
        let earlier = self
            .lease
            .is_maybe_applied()
            .then(|| outcome.status(&self.step));
        if earlier.is_some() && self.was_written(outcome).await {
            self.note_written(outcome);
            return Ok(Ok(()));
        }
        let mut result = self.write(&instead, earlier).await;
        if let (Outcome::Failure(failed), Err(again)) = (&instead, &result)
            && again.is_of_size()
        {
            instead = self.in_few_words(failed);
            result = self.write(&instead, earlier).await;
        }
        if matches!(result, Ok(WriteResult::EarlierWritten)) {
            self.note_written(outcome);
            return Ok(Ok(()));
        }
        let written = match result {
            Ok(result) => self.written(&instead, result),
            Err(again) => {
                self.span
                    .in_scope(|| tracing::error!(error = %again.source, "could not be recorded"));
                // The first fault is the one to report. The lock will expire.
                return Err(fault);
            }
        };
        if written.is_err() || !matches!(outcome, Outcome::Success(_)) {
            return Ok(written);
        }
        if matches!(instead, Outcome::Release(_)) {
            self.ended = Some(Ended::Conflict);
        }
        Ok(Err(self.failed(fault.source)))
    }

    /// Whether the item tells that an earlier try to write the outcome was applied.
    async fn was_written(&self, outcome: &Outcome<S>) -> bool {
        let look = outcome.was_written(&self.table, &self.step, &self.lease);
        match look.await {
            Ok(was_written) => was_written,
            Err(fault) => {
                // The next write is conditional, and its refusal shows the item too.
                self.span
                    .in_scope(|| tracing::debug!(error = %fault.source, "not looked up"));
                false
            }
        }
    }

    fn in_few_words(&self, failed: &FailedAttempt<StatusOf<S>>) -> Outcome<S> {
        Outcome::Failure(in_few_words(failed, self.table.clock().now()))
    }

    /// Notes and logs that the outcome is written.
    fn note_written(&mut self, outcome: &Outcome<S>) {
        let why = outcome.failure_summary();
        let _entered = self.span.clone().entered();
        self.ended = Some(match outcome {
            Outcome::Success(_) => {
                tracing::info!("succeeded");
                Ended::Succeeded
            }
            Outcome::Failure(failed) => {
                let retry = failed.outcome.retry;
                if failed.outcome.status == self.step.ignored {
                    tracing::error!(error = why, retry, "ignored");
                    Ended::Ignored
                } else {
                    tracing::warn!(error = why, retry, "failed");
                    Ended::Failed
                }
            }
            Outcome::Release(_) => {
                tracing::info!("released");
                Ended::Released
            }
        });
    }
}
