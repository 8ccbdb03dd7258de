//! What becomes of the jobs that a worker has run.

use std::sync::MutexGuard;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Crew, FIRST_PAUSE, LONGEST_PAUSE, Ran, WorkersDesk};
use crate::connection::TrackerConnection;
use crate::ending::Ending;
use crate::error::BoxError;
use crate::panics::discard;
use crate::running::{RunningJob, Trouble};
use crate::store::JobStore;
use crate::transition::Transition;
use crate::worker::aside::Why;
use crate::worker::finish::{self, Fate, Finish};
use crate::worker::observer::Event;
use status_protocol::backoff;
use status_protocol::panics::caught;

/// The longest pause between two tries of an end that could not be written for
/// a reason of its own, such as a row that another transaction holds.
const LONGEST_PAUSE_OF_ONE: Duration = Duration::from_secs(1);
/// How often such an end is tried before a worker that shuts down gives it up:
/// some two seconds.
const LAST_TRIES: u32 = 5;

/// A job's transaction never gets through.
#[derive(Debug, thiserror::Error)]
#[error(
    "its transaction was rolled back {times} times in a row in favour of others, the last time by: {source}"
)]
struct TooManyConflicts {
    times: i32,
    source: BoxError,
}

impl<J: JobStore<C>, C: TrackerConnection> Crew<J, C> {
    /// Takes note of a job that a panic has dropped, which has recorded it.
    pub(super) fn dropped(&self, begun: Instant) -> MutexGuard<'_, WorkersDesk<J, C>> {
        self.sums().add(Transition::Lost);
        let now = Instant::now();
        let mut desk = self.desk();
        desk.ran(now - begun, now);
        self.wake(&desk);
        desk
    }

    /// Takes note of a job that was run from `begun` on.
    pub(super) fn ran(&self, ran: Ran<J, C>, begun: Instant) -> MutexGuard<'_, WorkersDesk<J, C>> {
        let now = Instant::now();
        let (job, ending, doubtful) = match ran {
            Ran::Due {
                job,
                ending,
                doubtful,
            } => (job, ending, doubtful),
            Ran::Conflict { job, source } => {
                let ending = self.after_conflict(&job, source, now);
                (job, ending, false)
            }
            Ran::Unreached { mut job, error } => {
                tracing::error!(%error, "the transaction could not be had");
                self.end_if_lasting(error);
                job.ended = None;
                let release = job.release();
                (job, release, true)
            }
            Ran::Over(job) => {
                self.over(&job, now - begun);
                discard("the drop of a job", job);
                let mut desk = self.desk();
                desk.ran(now - begun, now);
                self.wake(&desk);
                return desk;
            }
        };
        let is_given_back = matches!(ending, Ending::Release(_));
        let key = job.lease.key.clone();
        let mut due = Finish::new(job, ending, Some(begun));
        due.doubtful = doubtful;
        let ready_at = is_given_back.then(|| {
            // Before anybody can find it ready.
            let mut aside = self.aside();
            match aside.until(&key, now) {
                Some(until) => until,
                None => aside.put(&key, Why::GivenBack, now).0,
            }
        });
        let mut desk = self.desk();
        if let Some(at) = ready_at {
            desk.ready_at(at);
        }
        desk.put_due(due, now);
        desk.ran(now - begun, now);
        desk
    }

    /// What follows where a job's transaction was rolled back in favour of
    /// another: it is given back, but not for ever.
    fn after_conflict(&self, job: &RunningJob<J, C>, source: BoxError, now: Instant) -> Ending<J> {
        let (_, times) = self.aside().put(&job.lease.key, Why::Conflict, now);
        if times < self.step.max_conflicts {
            Trouble::Error(source).discard();
            return job.release();
        }
        self.aside().take(&job.lease.key);
        let trouble = Trouble::Error(TooManyConflicts { times, source }.into());
        let ending = job.ending_after(&trouble);
        trouble.discard();
        ending
    }

    pub(super) fn finish<'a>(
        &'a self,
        desk: MutexGuard<'a, WorkersDesk<J, C>>,
        mut group: Vec<Finish<J, C>>,
    ) -> MutexGuard<'a, WorkersDesk<J, C>> {
        mark_ending(&group);
        drop(desk);
        finish::write(&mut group, &self.step);
        let is_last_chance = self.desk().is_shutting_down();
        let (mut of_their_own, mut of_all) = (Vec::new(), Vec::new());
        for mut finish in group {
            if let Some(error) = finish.error.take() {
                self.end_if_lasting(error);
            }
            match finish.fate {
                Fate::OfAll if is_last_chance && finish.tries > 1 => finish.give_up(),
                // It may be the row's own fault, and would keep the worker for ever.
                Fate::OfAll
                    if finish.is_stuck && finish.job.lease.age() >= self.step.lock_expire =>
                {
                    finish.give_up();
                }
                Fate::OfItsOwn if is_last_chance && finish.tries > LAST_TRIES => finish.give_up(),
                _ => {}
            }
            if finish.fate != Fate::Over && !finish.doubtful {
                // Its lock stands, and is to be renewed until it is written.
                finish.job.lease.set_ending(false);
            }
            match finish.fate {
                Fate::Over => {
                    let elapsed = finish.begun.map(|begun| begun.elapsed());
                    self.over(&finish.job, elapsed.unwrap_or_default());
                    discard("the drop of a job", finish);
                }
                Fate::OfItsOwn => of_their_own.push(finish),
                Fate::OfAll => of_all.push(finish),
            }
        }
        // One that never can be written keeps no other.
        of_all.sort_by_key(|finish| finish.is_stuck);
        let now = Instant::now();
        let mut desk = self.desk();
        for finish in of_their_own {
            let tries = i32::try_from(finish.tries).unwrap_or(i32::MAX);
            let pause = backoff::exponential(FIRST_PAUSE, LONGEST_PAUSE_OF_ONE, tries);
            desk.put_off(finish, pause, now);
        }
        if of_all.is_empty() {
            self.failed_finishes.store(0, Ordering::Relaxed);
            desk.end_finish(now);
        } else {
            let failures = self.failed_finishes.fetch_add(1, Ordering::Relaxed) + 1;
            let pause = backoff::exponential(FIRST_PAUSE, LONGEST_PAUSE, failures);
            desk.fail_finish(of_all, pause, now);
        }
        self.wake(&desk);
        desk
    }

    /// Tells what became of a job.
    fn over(&self, job: &RunningJob<J, C>, elapsed: Duration) {
        if job.ended != Some(Transition::Released) {
            self.aside().take(&job.lease.key);
        }
        self.observe(job, job.ended.unwrap_or(Transition::Lost), elapsed);
    }

    pub(super) fn observe(
        &self,
        job: &RunningJob<J, C>,
        transition: Transition,
        elapsed: Duration,
    ) {
        self.tell(&Event {
            table: J::TABLE,
            key: &job.lease.key,
            transition,
            elapsed,
        });
    }

    pub(super) fn tell(&self, event: &Event<'_>) {
        if event.transition != Transition::Started {
            self.sums().add(event.transition);
        }
        let Some(observer) = &self.observer else {
            return;
        };
        if caught("the observer", || observer.observe(event)).is_err() {
            tracing::error!(?event, "the observer panicked at this event");
        }
    }
}

/// Keeps renewals away from these jobs, from now on: where an answer is lost,
/// the end may have landed, and a renewal would take that for a lost lock.
/// Under the desk's lock, where renewals choose theirs.
fn mark_ending<J: JobStore<C>, C: TrackerConnection>(group: &[Finish<J, C>]) {
    group
        .iter()
        .for_each(|finish| finish.job.lease.set_ending(true));
}
