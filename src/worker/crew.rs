//! The threads of a worker, and what they share.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::desk::{Desk, Found, Settings, Task, Who};
use super::finish::{self, Finish};
use super::observer::{Event, Observer, Summary};
use super::upkeep::{self, Leases};
use crate::backoff;
use crate::claim;
use crate::connection::{PoolOf, TrackerConnection};
use crate::ending::Ending;
use crate::error::{Error, Result};
use crate::expiry;
use crate::protocol::Step;
use crate::retry;
use crate::running::RunningJob;
use crate::store::JobStore;
use crate::transition::Transition;

/// Pauses after errors of the database, beside those between the tries of
/// each statement.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What came of a job that was run.
pub(super) enum Ran<J: JobStore<C>, C: TrackerConnection> {
    /// Its end is to be written; `doubtful`: it may have been by now.
    Due {
        job: Box<RunningJob<J, C>>,
        ending: Ending<J>,
        doubtful: bool,
    },
    /// Its end is written, or lost.
    Over(Box<RunningJob<J, C>>),
    /// Its transaction could not be had, or it cannot be known how it ended.
    Unreached {
        job: Box<RunningJob<J, C>>,
        error: Error,
    },
}

/// Jobs are large, and change hands often: so they are boxed.
type WorkersDesk<J, C> = Desk<Box<RunningJob<J, C>>, Finish<J, C>>;

/// What the threads share.
pub(super) struct Crew<J: JobStore<C>, C: TrackerConnection> {
    pool: PoolOf<C>,
    step: Step<J::Status>,
    settings: Settings,
    desk: Mutex<WorkersDesk<J, C>>,
    /// Waited on by the hands, and by the keeper.
    hands: Condvar,
    keeper: Condvar,
    /// Waited on between two rounds of upkeep.
    upkeep: Condvar,
    leases: Leases<J::Key>,
    observer: Option<Arc<dyn Observer>>,
    summary: Mutex<Summary>,
    /// What ended the worker: it would have come again and again.
    lasting_error: Mutex<Option<Error>>,
    failed_claims: AtomicI32,
    failed_finishes: AtomicI32,
}

impl<J: JobStore<C>, C: TrackerConnection> Crew<J, C> {
    pub fn new(
        pool: PoolOf<C>,
        step: Step<J::Status>,
        settings: Settings,
        observer: Option<Arc<dyn Observer>>,
    ) -> Self {
        Self {
            desk: Mutex::new(Desk::new(settings.clone(), Instant::now())),
            pool,
            step,
            settings,
            hands: Condvar::new(),
            keeper: Condvar::new(),
            upkeep: Condvar::new(),
            leases: Leases::default(),
            observer,
            summary: Mutex::new(Summary::default()),
            lasting_error: Mutex::new(None),
            failed_claims: AtomicI32::new(0),
            failed_finishes: AtomicI32::new(0),
        }
    }

    pub fn summary(&self) -> Summary {
        *self.sums()
    }

    fn sums(&self) -> MutexGuard<'_, Summary> {
        // Counts are whole at any time.
        self.summary.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims no more, and gives back what is not begun.
    pub fn shut_down(&self) {
        let mut desk = self.desk();
        let now = Instant::now();
        for job in desk.shut_down() {
            give_back(&mut desk, job, now);
        }
        drop(desk);
        self.wake_all();
    }

    /// Ends the worker where an error would come again and again.
    fn end_if_lasting(&self, error: Error) {
        if retry::is_lasting(&error) {
            let mut first = self
                .lasting_error
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert(error);
            drop(first);
            self.shut_down();
        }
    }

    /// What ended the worker before its time.
    pub fn lasting_error(&self) -> Option<Error> {
        let mut error = self
            .lasting_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        error.take()
    }

    /// One of the threads that run jobs, which `run` does.
    pub fn hand<S: 'static>(&self, run: &impl Fn(Box<RunningJob<J, C>>) -> Ran<J, C>) {
        let mut desk = self.desk();
        loop {
            let now = Instant::now();
            let task = desk.next(Who::Hand, now);
            if desk.announce_due() {
                self.keeper.notify_one();
            }
            match task {
                Task::Run(mut job) if job.is_lost() => {
                    drop(desk);
                    job.ended = Some(Transition::Lost);
                    desk = self.ran(Ran::Over(job), now);
                }
                Task::Run(job) => {
                    drop(desk);
                    self.observe(&job, Transition::Started, Duration::ZERO);
                    job.started();
                    let ran = run(job);
                    desk = self.ran(ran, now);
                }
                Task::Finish(group) => {
                    desk = self.finish(desk, group);
                }
                Task::Claim { quiet } => {
                    drop(desk);
                    desk = self.claim::<S>(quiet);
                }
                Task::Wait(time) => {
                    desk.idle += 1;
                    desk = wait(&self.hands, desk, time);
                    desk.idle -= 1;
                }
                Task::Stop => break,
            }
        }
        drop(desk);
        self.wake_all();
    }

    /// The thread that writes what is due while all hands are at work.
    pub fn keep(&self) {
        let mut desk = self.desk();
        loop {
            match desk.next(Who::Keeper, Instant::now()) {
                Task::Finish(group) => {
                    desk = self.finish(desk, group);
                }
                Task::Stop => return,
                Task::Wait(time) => desk = wait(&self.keeper, desk, time),
                Task::Run(_) | Task::Claim { .. } => unreachable!("these are for the hands"),
            }
        }
    }

    /// The thread that renews locks and ends dead attempts, until the others
    /// are done.
    pub fn keep_up(&self) {
        let interval = (self.step.lock_expire / 3).max(Duration::from_millis(1));
        let mut failures = 0;
        let mut desk = self.desk();
        let mut next = Instant::now() + interval;
        loop {
            if desk.is_over() {
                return;
            }
            let left = next.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                desk = wait(&self.upkeep, desk, Some(left));
                continue;
            }
            // Ends that are being written now are left out, and no other is
            // begun until this is done.
            desk.set_renewing(true);
            let leases = self.leases.standing();
            drop(desk);
            let renewed = upkeep::renew::<J, C>(&self.pool, &leases);
            drop(leases);
            self.desk().set_renewing(false);
            self.wake_all();
            let done = renewed.and_then(|()| self.expire());
            next = Instant::now()
                + match done {
                    Ok(()) => {
                        failures = 0;
                        interval
                    }
                    Err(error) => {
                        failures += 1;
                        tracing::error!(%error, "locks are neither renewed nor expired");
                        self.end_if_lasting(error);
                        backoff::exponential(FIRST_PAUSE, LONGEST_PAUSE, failures).min(interval)
                    }
                };
            desk = self.desk();
        }
    }

    /// Ends the dead attempts of others.
    pub fn expire(&self) -> Result<()> {
        let mut expired = false;
        expiry::expire_all::<_, J>(&self.pool, &self.step, |key, retry| {
            expired = true;
            self.tell(&Event {
                table: J::TABLE,
                key,
                transition: Transition::Expired { retry },
                elapsed: Duration::ZERO,
            });
        })?;
        if expired {
            self.desk().poll(Instant::now());
            self.wake_all();
        }
        Ok(())
    }

    /// The first claim, whose error is the caller's: the table is there, and
    /// the database can be had.
    pub fn claim_first<S: 'static>(&self) -> Result<()> {
        let task = self.desk().next(Who::Hand, Instant::now());
        match task {
            Task::Claim { quiet } => self.try_claim::<S>(quiet),
            _ => Ok(()),
        }
    }

    fn claim<S: 'static>(&self, quiet: bool) -> MutexGuard<'_, WorkersDesk<J, C>> {
        if let Err(error) = self.try_claim::<S>(quiet) {
            let failures = self.failed_claims.fetch_add(1, Ordering::Relaxed) + 1;
            let pause = backoff::exponential(FIRST_PAUSE, LONGEST_PAUSE, failures);
            tracing::error!(%error, ?pause, "no jobs could be claimed");
            self.desk().fail_claim(pause, Instant::now());
            self.end_if_lasting(error);
        }
        self.desk()
    }

    fn try_claim<S: 'static>(&self, quiet: bool) -> Result<()> {
        let wanted = self.settings.batch;
        let next = claim::next::<S, J, C>(&self.pool, wanted, self.step)?;
        let mut found = match next.jobs.len() {
            0 => Found::Nothing,
            n if n < wanted => Found::Some,
            _ => Found::Enough,
        };
        if next.unreadable.is_some() {
            self.sums().unreadable += 1;
        } else if found == Found::Nothing && quiet && self.settings.until_empty {
            // A claim skips rows that another is just at.
            let ready = retry::run(&self.pool, &J::TABLE, |conn, _| {
                Ok(J::has_ready_row(conn, &self.step)?)
            })?;
            if ready {
                found = Found::Contended;
            }
        }
        self.failed_claims.store(0, Ordering::Relaxed);
        self.leases.add(next.jobs.iter().map(|job| &job.lease));
        let now = Instant::now();
        let mut desk = self.desk();
        desk.end_claim(found, quiet, backoff::constant(FIRST_PAUSE), now);
        if desk.is_shutting_down() {
            for job in next.jobs {
                give_back(&mut desk, Box::new(job), now);
            }
        } else {
            desk.claimed(next.jobs.into_iter().map(Box::new));
        }
        self.wake(&desk);
        Ok(())
    }

    /// Takes note of a job that was run from `begun` on.
    fn ran(&self, ran: Ran<J, C>, begun: Instant) -> MutexGuard<'_, WorkersDesk<J, C>> {
        let now = Instant::now();
        let (job, ending, doubtful) = match ran {
            Ran::Due {
                job,
                ending,
                doubtful,
            } => (job, ending, doubtful),
            Ran::Unreached { mut job, error } => {
                tracing::error!(%error, "the transaction could not be had");
                self.end_if_lasting(error);
                job.ended = None;
                let release = job.release();
                (job, release, true)
            }
            Ran::Over(job) => {
                self.over(&job, now - begun);
                drop(job);
                let mut desk = self.desk();
                desk.ran(now - begun, now);
                self.wake(&desk);
                return desk;
            }
        };
        let mut due = Finish::new(job, ending, Some(begun));
        due.doubtful = doubtful;
        let is_release = matches!(due.ending, Ending::Release(_));
        let mut desk = self.desk();
        if is_release {
            desk.hold_off(now);
        }
        desk.put_due(due, now);
        desk.ran(now - begun, now);
        desk
    }

    fn finish<'a>(
        &'a self,
        desk: MutexGuard<'a, WorkersDesk<J, C>>,
        mut group: Vec<Finish<J, C>>,
    ) -> MutexGuard<'a, WorkersDesk<J, C>> {
        mark_ending(&group);
        drop(desk);
        finish::write(&mut group, &self.step);
        let is_last_chance = self.desk().is_shutting_down();
        let mut put_back = Vec::new();
        for mut finish in group {
            if let Some(error) = finish.error.take() {
                self.end_if_lasting(error);
            }
            if finish.job.ended.is_none() && is_last_chance && finish.tries > 1 {
                tracing::error!(job = finish.job.name(), "given up; its lock will expire");
                finish.job.ended = Some(Transition::Lost);
            }
            if finish.job.ended.is_none() {
                put_back.push(finish);
            } else {
                let elapsed = finish.begun.map(|begun| begun.elapsed());
                self.over(&finish.job, elapsed.unwrap_or_default());
            }
        }
        let pause = if put_back.is_empty() {
            self.failed_finishes.store(0, Ordering::Relaxed);
            Duration::ZERO
        } else {
            let failures = self.failed_finishes.fetch_add(1, Ordering::Relaxed) + 1;
            backoff::exponential(FIRST_PAUSE, LONGEST_PAUSE, failures)
        };
        let mut desk = self.desk();
        desk.end_finish(put_back, pause, Instant::now());
        self.wake(&desk);
        desk
    }

    /// Tells what became of a job.
    fn over(&self, job: &RunningJob<J, C>, elapsed: Duration) {
        self.observe(job, job.ended.unwrap_or(Transition::Lost), elapsed);
    }

    fn observe(&self, job: &RunningJob<J, C>, transition: Transition, elapsed: Duration) {
        self.tell(&Event {
            table: J::TABLE,
            key: &job.lease.key,
            transition,
            elapsed,
        });
    }

    fn tell(&self, event: &Event<'_>) {
        if event.transition != Transition::Started {
            self.sums().add(event.transition);
        }
        let Some(observer) = &self.observer else {
            return;
        };
        if catch_unwind(AssertUnwindSafe(|| observer.observe(event))).is_err() {
            tracing::error!(?event, "the observer panicked");
        }
    }

    fn desk(&self) -> MutexGuard<'_, WorkersDesk<J, C>> {
        // No user code runs under this lock.
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something has changed that others may wait for.
    fn wake(&self, desk: &WorkersDesk<J, C>) {
        if desk.is_over() {
            self.wake_all();
        } else if desk.idle > 0 {
            self.hands.notify_all();
        }
    }

    fn wake_all(&self) {
        self.hands.notify_all();
        self.keeper.notify_all();
        self.upkeep.notify_all();
    }
}

/// Has a job that was not begun given back.
fn give_back<J: JobStore<C>, C: TrackerConnection>(
    desk: &mut WorkersDesk<J, C>,
    job: Box<RunningJob<J, C>>,
    now: Instant,
) {
    let release = job.release();
    desk.put_due(Finish::new(job, release, None), now);
}

/// Keeps renewals away from these jobs, from now on: where an answer is lost,
/// the end may have landed, and a renewal would take that for a lost lock.
/// Under the desk's lock, where renewals choose theirs.
fn mark_ending<J: JobStore<C>, C: TrackerConnection>(group: &[Finish<J, C>]) {
    group
        .iter()
        .for_each(|finish| finish.job.lease.set_ending(true));
}

fn wait<'a, T>(
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    time: Option<Duration>,
) -> MutexGuard<'a, T> {
    match time {
        Some(time) => {
            condvar
                .wait_timeout(guard, time)
                .unwrap_or_else(PoisonError::into_inner)
                .0
        }
        None => condvar.wait(guard).unwrap_or_else(PoisonError::into_inner),
    }
}

/// Runs the threads until the work is over; fails where the machine has no
/// threads to give.
pub(super) fn work<S, J, C>(
    crew: &Crew<J, C>,
    run: &(impl Fn(Box<RunningJob<J, C>>) -> Ran<J, C> + Sync),
) -> std::io::Result<()>
where
    S: 'static,
    J: JobStore<C> + Send,
    J::Updates: Send,
    C: TrackerConnection,
{
    let named = |name: &str| thread::Builder::new().name(format!("{} {name}", J::TABLE));
    thread::scope(|scope| {
        let upkeep = named("upkeep").spawn_scoped(scope, || crew.keep_up());
        let mut started = upkeep.map(|_| ());
        for n in 1..=crew.settings.threads {
            let hand = named(&n.to_string()).spawn_scoped(scope, || crew.hand::<S>(run));
            started = started.and(hand.map(|_| ()));
        }
        if started.is_err() {
            crew.shut_down();
        }
        crew.keep();
        started
    })
}
