//! What happens after a job has run: its outcome is written, and reported.

use std::sync::MutexGuard;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{FIRST_PAUSE, JobScheduler, LONGEST_PAUSE, RunResult, Runtime, due};
use crate::attempt::outcome::{AttemptError, Outcome, Unsuccessful};
use crate::attempt::running::RunningJob;
use crate::db::connection::TrackerConnection;
use crate::error::BoxError;
use crate::observer::Transition;
use crate::panics::discard;
use crate::sql::store::JobStore;
use crate::wake;
use crate::worker::completion::{self, Completion, WriteState};
use crate::worker::paused::PauseReason;
use status_protocol::backoff;

/// The longest pause between two tries of an outcome that could not be written
/// because of its own row, such as one that another transaction holds.
const LONGEST_PAUSE_OF_ONE: Duration = Duration::from_secs(1);
/// How often a worker that shuts down tries such an outcome before it gives up:
/// about two seconds.
const LAST_TRIES: u32 = 5;

/// The transaction of a job was rolled back too often.
#[derive(Debug, thiserror::Error)]
#[error(
    "its transaction was rolled back {times} times in a row because of conflicts with others, the last time: {source}"
)]
struct TooManyConflicts {
    times: i32,
    source: BoxError,
}

impl<J: JobStore<C>, C: TrackerConnection> Runtime<J, C> {
    /// A panic has dropped the job, and the drop has recorded a failure.
    pub(super) fn dropped(&self, begun: Instant) -> MutexGuard<'_, JobScheduler<J, C>> {
        self.sums().add(Transition::Lost);
        let now = Instant::now();
        let mut scheduler = self.scheduler();
        scheduler.ran(now - begun, now);
        self.wake(&mut scheduler, now);
        scheduler
    }

    /// A job has run since `begun`.
    pub(super) fn ran(
        &self,
        mut ran: RunResult<J, C>,
        begun: Instant,
    ) -> MutexGuard<'_, JobScheduler<J, C>> {
        let now = Instant::now();
        ran.job().attempt.work_ended_at(now);
        let (job, outcome, maybe_applied) = match ran {
            RunResult::ToWrite {
                job,
                outcome,
                maybe_applied,
            } => (job, outcome, maybe_applied),
            RunResult::Conflict { job, source } => {
                let outcome = self.after_conflict(&job, source, now);
                (job, outcome, false)
            }
            RunResult::Unavailable { mut job, error } => {
                tracing::error!(%error, "no transaction for the job, or its commit is not known");
                self.end_if_lasting(error);
                job.attempt.ended = None;
                let release = job.attempt.release().into();
                (job, release, true)
            }
            RunResult::Done(job) => {
                // Its transaction has released it.
                let is_released = job.attempt.ended == Some(Transition::Released);
                let ready_at = self.pause_or_resume(&job, is_released, now);
                if let Some((status, delay)) = job.attempt.left(None) {
                    self.ring_others(&status, delay);
                }
                self.report(&job, None);
                discard("the drop of a job", job);
                let mut scheduler = self.scheduler();
                if let Some(at) = ready_at {
                    scheduler.ready_at(at);
                }
                scheduler.ran(now - begun, now);
                self.wake(&mut scheduler, now);
                return scheduler;
            }
        };
        let is_released = matches!(outcome, Outcome::Unsuccessful(Unsuccessful::Release(_)));
        // Before anybody can find it ready: what the next attempt adds must stay.
        let ready_at = self.pause_or_resume(&job, is_released, now);
        let mut due = Completion::new(job, outcome);
        due.maybe_applied = maybe_applied;
        let mut scheduler = self.scheduler();
        if let Some(at) = ready_at {
            scheduler.ready_at(at);
        }
        scheduler.add_due(due, now);
        scheduler.ran(now - begun, now);
        scheduler
    }

    /// Pauses a job that is released, unless it is paused already, and returns when it
    /// is ready again. If the job is not released, its earlier pauses are forgotten.
    fn pause_or_resume(
        &self,
        job: &RunningJob<J, C>,
        is_released: bool,
        now: Instant,
    ) -> Option<Instant> {
        let key = &job.attempt.lease.key;
        let mut paused = self.paused();
        if !is_released {
            paused.resume(key);
            return None;
        }
        let until = paused.until(key, now);
        Some(until.unwrap_or_else(|| paused.pause(key, PauseReason::Released, now).0))
    }

    /// What follows where a job's transaction was rolled back because of a conflict:
    /// the job is released, and fails after `MAX_CONFLICTS` conflicts in a row.
    fn after_conflict(&self, job: &RunningJob<J, C>, source: BoxError, now: Instant) -> Outcome<J> {
        let (_, times) = self
            .paused()
            .pause(&job.attempt.lease.key, PauseReason::Conflict, now);
        if times < self.step.max_conflicts {
            AttemptError::Error(source).discard();
            return job.attempt.release().into();
        }
        let attempt_error = AttemptError::Error(TooManyConflicts { times, source }.into());
        let outcome = job.attempt.outcome_of(&attempt_error).into();
        attempt_error.discard();
        outcome
    }

    pub(super) fn flush<'a>(
        &'a self,
        scheduler: MutexGuard<'a, JobScheduler<J, C>>,
        group: Vec<Completion<J, C>>,
    ) -> MutexGuard<'a, JobScheduler<J, C>> {
        mark_completing(&group);
        drop(scheduler);
        self.write(group)
    }

    /// Writes a group that is excluded from renewals, and reports what came of it.
    pub(super) fn write(
        &self,
        mut group: Vec<Completion<J, C>>,
    ) -> MutexGuard<'_, JobScheduler<J, C>> {
        completion::write(&mut group, &self.step);
        self.written(group)
    }

    /// Reports what came of a group that was to be written.
    pub(super) fn written(
        &self,
        group: Vec<Completion<J, C>>,
    ) -> MutexGuard<'_, JobScheduler<J, C>> {
        let is_last_chance = {
            let (mut scheduler, now) = (self.scheduler(), Instant::now());
            scheduler.flushed(now);
            self.wake(&mut scheduler, now);
            scheduler.is_shutting_down()
        };
        let (mut row_blocked, mut all_blocked) = (Vec::new(), Vec::new());
        // Statuses that others may wait for, each with the shortest delay.
        let mut left: Vec<(J::Status, Option<Duration>)> = Vec::new();
        let (mut due_times, mut done) = (Vec::new(), Vec::new());
        for mut completion in group {
            if let Some(error) = completion.error.take() {
                self.end_if_lasting(error);
            }
            match completion.state {
                WriteState::AllBlocked if is_last_chance && completion.tries > 1 => {
                    completion.give_up()
                }
                // The row may be at fault. It would keep the worker from ending for ever.
                WriteState::AllBlocked
                    if completion.is_stuck
                        && completion.job.attempt.lease.age() >= self.step.lock_expire =>
                {
                    completion.give_up();
                }
                WriteState::RowBlocked if is_last_chance && completion.tries > LAST_TRIES => {
                    completion.give_up()
                }
                _ => {}
            }
            if completion.state != WriteState::Done && !completion.maybe_applied {
                // The attempt still holds the lock, which must be renewed until then.
                completion.job.attempt.lease.set_completing(false);
            }
            match completion.state {
                WriteState::Done => {
                    if let Some((status, delay)) = completion
                        .job
                        .attempt
                        .left(completion.outcome.unsuccessful())
                    {
                        due_times.extend(delay.map(|delay| due(Instant::now(), delay)));
                        match left.iter_mut().find(|(other, _)| *other == status) {
                            Some((_, shortest)) => *shortest = delay.min(*shortest),
                            None => left.push((status, delay)),
                        }
                    }
                    done.push(completion);
                }
                WriteState::RowBlocked => row_blocked.push(completion),
                WriteState::AllBlocked => all_blocked.push(completion),
            }
        }
        // An outcome that can never be written must not delay the others.
        all_blocked.sort_by_key(|completion| completion.is_stuck);
        for (status, delay) in left {
            self.ring_others(&status, delay);
        }
        // An observer may be slow.
        for completion in done {
            self.report(&completion.job, Some(&completion.outcome));
            discard("the drop of a job", completion);
        }
        let now = Instant::now();
        let mut scheduler = self.scheduler();
        for at in due_times {
            scheduler.due_at(at);
        }
        for completion in row_blocked {
            let tries = i32::try_from(completion.tries).unwrap_or(i32::MAX);
            let pause = backoff::exponential(FIRST_PAUSE, LONGEST_PAUSE_OF_ONE, tries);
            scheduler.postpone(completion, pause, now);
        }
        if all_blocked.is_empty() {
            self.failed_flushes.store(0, Ordering::Relaxed);
            scheduler.end_flush(now);
        } else {
            let failures = self.failed_flushes.fetch_add(1, Ordering::Relaxed) + 1;
            let pause = backoff::exponential(FIRST_PAUSE, LONGEST_PAUSE, failures);
            scheduler.fail_flush(all_blocked, pause, now);
        }
        self.wake(&mut scheduler, now);
        scheduler
    }

    /// Wakes the other workers of this process that look for jobs with this status.
    pub(super) fn ring_others(&self, status: &J::Status, delay: Option<Duration>) {
        wake::ring(J::info, status, delay, Some(&self.bell));
    }

    /// Reports what became of a job, with the outcome that was to be written.
    fn report(&self, job: &RunningJob<J, C>, outcome: Option<&Outcome<J>>) {
        self.sums()
            .add(job.attempt.ended.unwrap_or(Transition::Lost));
        job.attempt
            .tell_end(self.own_observer(), outcome.and_then(Outcome::unsuccessful));
    }
}

/// Excludes these jobs from renewals from now on. Where an answer is lost, the
/// outcome may have been applied, and a renewal would take that for a lost lock.
/// Call it under the scheduler's lock, under which renewals choose their jobs.
pub(super) fn mark_completing<J: JobStore<C>, C: TrackerConnection>(group: &[Completion<J, C>]) {
    group
        .iter()
        .for_each(|completion| completion.job.attempt.lease.set_completing(true));
}
