//! The threads of a worker, and what they share.

mod claims;
mod ends;
mod upkeep;

use std::sync::atomic::AtomicI32;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::aside::Aside;
use super::desk::{Desk, Settings, Task, Who};
use super::finish::Finish;
use super::frontier::Frontier;
use super::leases::{self, Leases};
use super::observer::{Observer, Summary};
use crate::connection::{PoolOf, TrackerConnection};
use crate::ending::Ending;
use crate::error::{BoxError, Error, Result};
use crate::retry::{self, Kept};
use crate::running::RunningJob;
use crate::store::JobStore;
use crate::transition::Transition;
use status_protocol::Step;
use status_protocol::panics::caught;

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
    /// Its transaction was rolled back in favour of another.
    Conflict {
        job: Box<RunningJob<J, C>>,
        source: BoxError,
    },
    /// Its transaction could not be had, or it cannot be known how it ended.
    Unreached {
        job: Box<RunningJob<J, C>>,
        error: Error,
    },
    /// Its end is written, or lost.
    Over(Box<RunningJob<J, C>>),
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
    /// Jobs that are not to be claimed for a while.
    aside: Mutex<Aside<J::Key>>,
    frontier: Mutex<Frontier>,
    observer: Option<Arc<dyn Observer>>,
    summary: Mutex<Summary>,
    /// What ended the worker: it would have come again and again.
    lasting_error: Mutex<Option<Error>>,
    failed_claims: AtomicI32,
    /// Claims in a row that found nothing but rows that others hold.
    held_claims: AtomicI32,
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
            aside: Mutex::new(Aside::default()),
            frontier: Mutex::new(Frontier::new(Instant::now())),
            observer,
            summary: Mutex::new(Summary::default()),
            lasting_error: Mutex::new(None),
            failed_claims: AtomicI32::new(0),
            held_claims: AtomicI32::new(0),
            failed_finishes: AtomicI32::new(0),
        }
    }

    pub fn summary(&self) -> Summary {
        *self.sums()
    }

    fn sums(&self) -> MutexGuard<'_, Summary> {
        lock(&self.summary)
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
            lock(&self.lasting_error).get_or_insert(error);
            self.shut_down();
        }
    }

    /// Why `work` was not done: its error, or its panic.
    fn tried<T>(&self, what: &str, work: impl FnOnce() -> Result<T>) -> Result<T, String> {
        match caught(what, work) {
            Ok(done) => done.map_err(|error| {
                let message = error.to_string();
                self.end_if_lasting(error);
                message
            }),
            Err(message) => Err(format!("panic: {message}")),
        }
    }

    /// What ended the worker before its time.
    pub fn lasting_error(&self) -> Option<Error> {
        lock(&self.lasting_error).take()
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
                Task::Run(job) => {
                    drop(desk);
                    let ran = caught("a worker's thread", || match self.refreshed(job) {
                        Ok(job) => {
                            self.observe(&job, Transition::Started, Duration::ZERO);
                            job.started();
                            run(job)
                        }
                        Err(ran) => ran,
                    });
                    desk = match ran {
                        Ok(ran) => self.ran(ran, now),
                        Err(_) => self.dropped(now),
                    };
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

    /// A job that waited for long is not begun on a lock that has expired: the
    /// thread that renews it may have had no connection.
    fn refreshed(
        &self,
        mut job: Box<RunningJob<J, C>>,
    ) -> Result<Box<RunningJob<J, C>>, Ran<J, C>> {
        if job.lease.age() > self.step.lock_expire / 3 * 2 {
            let lease = std::slice::from_ref(&job.lease);
            if let Err(error) = leases::renew::<J, C>(&self.pool, &mut Kept::none(), lease) {
                tracing::warn!(%error, "a job that waits to begin cannot be renewed");
            }
        }
        if job.is_lost() {
            job.ended = Some(Transition::Lost);
            return Err(Ran::Over(job));
        }
        if job.lease.age() >= self.step.lock_expire {
            let ending = job.release();
            return Err(Ran::Due {
                job,
                ending,
                doubtful: true,
            });
        }
        Ok(job)
    }

    fn desk(&self) -> MutexGuard<'_, WorkersDesk<J, C>> {
        // No user code runs under this lock.
        lock(&self.desk)
    }

    fn aside(&self) -> MutexGuard<'_, Aside<J::Key>> {
        lock(&self.aside)
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

/// What is behind these locks is whole at any time, also where a thread panics.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
/// threads to give. Locks are renewed on the connection that is `kept`.
pub(super) fn work<S, J, C>(
    crew: &Crew<J, C>,
    kept: Kept<C>,
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
        let renewal = named("renewal").spawn_scoped(scope, || crew.renew(kept));
        let expiry = named("expiry").spawn_scoped(scope, || crew.expire());
        let mut started = renewal.and(expiry).map(|_| ());
        for n in 1..=crew.settings.threads {
            let hand = named(&n.to_string()).spawn_scoped(scope, || crew.hand::<S>(run));
            started = started.and(hand.map(|_| ()));
            if started.is_err() {
                break;
            }
        }
        if started.is_err() {
            crew.shut_down();
        }
        crew.keep();
        started
    })
}
