//! What is told of an attempt: to observers, and to workers that wait.

use std::time::{Duration, Instant};

use super::RunningJob;
use crate::attempt::outcome::Outcome;
use crate::db::connection::TrackerConnection;
use crate::observer::{Event, Observer, Transition};
use crate::sql::store::JobStore;
use crate::wake;

/// When a worker looks for a failed job that is ready again at once. Not sooner, so that
/// a job that fails each time does not keep an idle worker busy.
const RETRY_LOOK: Duration = Duration::from_secs(1);

impl<J: JobStore<C>, C: TrackerConnection> RunningJob<J, C> {
    /// The business logic has ended; what follows does not count as its time.
    pub(crate) fn work_ended(&mut self) {
        if self.source.may_be_heard() {
            self.work_ended_at(Instant::now());
        }
    }

    pub(crate) fn work_ended_at(&mut self, now: Instant) {
        if self.took.is_none() {
            self.took = self.started_at.map(|at| now.saturating_duration_since(at));
        }
    }

    /// The attempt is over: wakes who waits for the job, and tells the observers.
    pub(crate) fn is_over(&self, outcome: Option<&Outcome<J>>) {
        if let Some((status, delay)) = self.left(outcome) {
            wake::ring(J::info, &status, delay, None);
        }
        self.tell_end(None, outcome);
    }

    /// The status that the attempt has left in the row, and how long after that the job
    /// is of use to a worker. `None` where the attempt has lost the row.
    pub(crate) fn left(
        &self,
        outcome: Option<&Outcome<J>>,
    ) -> Option<(J::Status, Option<Duration>)> {
        Some(match self.ended? {
            Transition::Succeeded => (self.step.succeeded, None),
            Transition::Ignored { .. } => (self.step.ignored, None),
            Transition::Released => (self.released_status(), None),
            Transition::Failed { .. } => {
                let delay = outcome.and_then(Outcome::delay);
                (self.step.failed, Some(delay.unwrap_or(RETRY_LOOK)))
            }
            _ => return None,
        })
    }

    /// Tells what became of the job, with the outcome that was to be recorded.
    pub(crate) fn tell_end(&self, own: Option<&dyn Observer>, outcome: Option<&Outcome<J>>) {
        let transition = self.ended.unwrap_or(Transition::Lost);
        self.tell(own, transition, outcome);
    }

    pub(super) fn tell(
        &self,
        own: Option<&dyn Observer>,
        transition: Transition,
        outcome: Option<&Outcome<J>>,
    ) {
        if let Some(audience) = self.source.audience(own) {
            audience.tell(&Event {
                key: Some(&self.lease.key),
                attempt: Some(self.retry.saturating_add(1)),
                error: outcome.and_then(Outcome::failure),
                elapsed: self.took,
                ..self.source.event(transition)
            });
        }
    }
}
