//! The threads of a worker, and what they share.

mod both;
mod claims;
mod flusher;
mod maintenance;

use std::sync::atomic::AtomicI32;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::completion::Completion;
use super::frontier::Frontier;
use super::leases::{self, Leases};
use super::listener::{Hearing, Listener, News};
use super::paused::PausedJobs;
use super::scheduler::{Role, Scheduler, Settings, Task, after};
use super::summary::Summary;
use crate::attempt::outcome::Outcome;
use crate::attempt::running::RunningJob;
use crate::db::connection::TrackerConnection;
use crate::db::pool::AnyPool;
use crate::db::retry::{self, Kept};
use crate::error::{BoxError, Error, Result};
use crate::observer::{Observer, Source, Transition};
use crate::sql::filter::Filter;
use crate::sql::store::JobStore;
use crate::wake::{self, Bell, Sleeper};
use status_protocol::Step;
use status_protocol::panics::caught;

/// Pauses after errors of the database, in addition to those between the tries
/// of each statement.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What came of running a job.
pub(super) enum RunResult<J: JobStore<C>, C: TrackerConnection> {
    /// Its outcome is to be written. `maybe_applied`: that may have happened already.
    ToWrite {
        job: Box<RunningJob<J, C>>,
        outcome: Outcome<J>,
        maybe_applied: bool,
    },
    /// Its transaction was rolled back because of a conflict.
    Conflict {
        job: Box<RunningJob<J, C>>,
        source: BoxError,
    },
    /// It had no transaction, or what came of the transaction is not known.
    Unavailable {
        job: Box<RunningJob<J, C>>,
        error: Error,
    },
    /// Its outcome is written, or lost.
    Done(Box<RunningJob<J, C>>),
}

impl<J: JobStore<C>, C: TrackerConnection> RunResult<J, C> {
    fn job(&mut self) -> &mut RunningJob<J, C> {
        match self {
            Self::ToWrite { job, .. }
            | Self::Conflict { job, .. }
            | Self::Unavailable { job, .. }
            | Self::Done(job) => job,
        }
    }
}

/// Where a worker reports what it does.
pub(super) struct Reports {
    pub source: Source,
    /// Its own observer.
    pub own: Option<Arc<dyn Observer>>,
}

/// Jobs are boxed because they are large and move between threads often.
type JobScheduler<J, C> = Scheduler<Box<RunningJob<J, C>>, Completion<J, C>>;

/// What the threads share.
pub(super) struct Runtime<J: JobStore<C>, C: TrackerConnection> {
    pool: AnyPool<C>,
    step: Step<J::Status>,
    /// Which of the ready jobs it takes.
    filter: Option<Filter>,
    settings: Settings,
    scheduler: Mutex<JobScheduler<J, C>>,
    /// The worker threads wait on this, and the flusher on the next.
    worker_threads: Condvar,
    flusher: Condvar,
    /// The maintenance threads wait on this between two rounds.
    maintenance: Condvar,
    /// Rings when a call of this process makes jobs ready.
    bell: Arc<Bell>,
    leases: Leases<J::Key>,
    /// Jobs that are not to be claimed for a while.
    paused: Mutex<PausedJobs<J::Key>>,
    frontier: Mutex<Frontier>,
    reports: Reports,
    summary: Mutex<Summary>,
    /// The error that ended the worker, because it would come again each time.
    lasting_error: Mutex<Option<Error>>,
    failed_claims: AtomicI32,
    /// Claims in a row that found only rows that others hold.
    held_claims: AtomicI32,
    failed_flushes: AtomicI32,
    /// How often in a row a flush and a claim could not be one commit.
    failed_both: AtomicI32,
}

impl<J: JobStore<C>, C: TrackerConnection> Runtime<J, C> {
    pub fn new(
        pool: AnyPool<C>,
        step: Step<J::Status>,
        filter: Option<Filter>,
        settings: Settings,
        reports: Reports,
    ) -> Self {
        Self {
            scheduler: Mutex::new(Scheduler::new(settings.clone(), Instant::now())),
            pool,
            step,
            filter,
            settings,
            worker_threads: Condvar::new(),
            flusher: Condvar::new(),
            maintenance: Condvar::new(),
            bell: Arc::default(),
            leases: Leases::default(),
            paused: Mutex::new(PausedJobs::default()),
            frontier: Mutex::new(Frontier::new(Instant::now())),
            reports,
            summary: Mutex::new(Summary::default()),
            lasting_error: Mutex::new(None),
            failed_claims: AtomicI32::new(0),
            held_claims: AtomicI32::new(0),
            failed_flushes: AtomicI32::new(0),
            failed_both: AtomicI32::new(0),
        }
    }

    /// Has the calls of this process wake the worker, until the return value is dropped.
    pub fn listen(self: &Arc<Self>) -> wake::Registration
    where
        J: Send + 'static,
        J::Updates: Send,
        C: 'static,
    {
        let ready = self.step.ready();
        let runtime = Arc::downgrade(self);
        wake::register(Sleeper {
            table: J::info(),
            wants: Box::new(move |status| {
                let status = status.downcast_ref::<J::Status>();
                status.is_some_and(|status| ready.contains(status))
            }),
            bell: Arc::clone(&self.bell),
            wake: Box::new(move |delay| {
                if let Some(runtime) = runtime.upgrade() {
                    runtime.woken(delay);
                }
            }),
        })
    }

    /// Has a listener wake the worker, until the return value is dropped.
    pub fn hear(self: &Arc<Self>, listener: &Listener<C>) -> std::io::Result<Hearing<C>>
    where
        J: Send + 'static,
        J::Updates: Send,
        C: 'static,
    {
        self.scheduler().set_deaf(true);
        let runtime = Arc::downgrade(self);
        listener.tell(J::info(), Arc::clone(&self.bell), move |news| {
            if let Some(runtime) = runtime.upgrade() {
                runtime.told(news);
            }
        })
    }

    fn told(&self, news: News) {
        let must_wake = self.bell.ring();
        match news {
            News::Changed if must_wake => self.woken(None),
            News::Changed => {}
            News::Listening | News::Deaf => {
                self.scheduler().set_deaf(news == News::Deaf);
                self.woken(None);
            }
        }
    }

    /// A call of this process has made jobs ready, or they will be after `delay`.
    fn woken(&self, delay: Option<Duration>) {
        let mut scheduler = self.scheduler();
        let now = Instant::now();
        match delay {
            Some(delay) => scheduler.due_at(due(now, delay)),
            None => scheduler.ring(now),
        }
        self.wake(&mut scheduler, now);
    }

    fn own_observer(&self) -> Option<&dyn Observer> {
        self.reports.own.as_deref()
    }

    pub fn summary(&self) -> Summary {
        *self.sums()
    }

    fn sums(&self) -> MutexGuard<'_, Summary> {
        lock(&self.summary)
    }

    /// Claims no more jobs, and releases those that are not begun.
    pub fn shut_down(&self) {
        let mut scheduler = self.scheduler();
        let now = Instant::now();
        for job in scheduler.shut_down() {
            release(&mut scheduler, job, now);
        }
        drop(scheduler);
        self.wake_all();
    }

    /// Ends the worker if the error would come again each time.
    fn end_if_lasting(&self, error: Error) {
        if retry::is_lasting(&error) {
            lock(&self.lasting_error).get_or_insert(error);
            self.shut_down();
        }
    }

    /// Does `work`. The text of its error or of its panic, if it was not done.
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

    /// The error that ended the worker too early.
    pub fn lasting_error(&self) -> Option<Error> {
        lock(&self.lasting_error).take()
    }

    /// The body of a worker thread: claims jobs, runs each with `run`, and writes
    /// outcomes.
    pub fn run_worker_thread<S: 'static>(
        &self,
        run: &impl Fn(Box<RunningJob<J, C>>) -> RunResult<J, C>,
    ) {
        let mut scheduler = self.scheduler();
        loop {
            let now = Instant::now();
            let task = scheduler.next(Role::WorkerThread, now);
            if scheduler.announce_due() {
                self.flusher.notify_one();
            }
            if !matches!(task, Task::Wait(_)) && scheduler.wakes_another(now) {
                self.worker_threads.notify_one();
            }
            match task {
                Task::Run(job) => {
                    drop(scheduler);
                    let ran = caught("a worker's thread", || match self.refreshed(job) {
                        Ok(mut job) => {
                            job.attempt.started_for(self.own_observer(), Instant::now());
                            run(job)
                        }
                        Err(ran) => ran,
                    });
                    scheduler = match ran {
                        Ok(ran) => self.ran(ran, now),
                        Err(_) => self.dropped(now),
                    };
                }
                Task::Flush(group) => {
                    scheduler = self.flush(scheduler, group);
                }
                Task::FlushAndClaim(group, claim) => {
                    scheduler = self.flush_and_claim::<S>(scheduler, group, claim);
                }
                Task::Claim(claim) => {
                    drop(scheduler);
                    scheduler = self.claim::<S>(claim);
                }
                Task::Wait(time) => {
                    scheduler.begin_idle();
                    scheduler = wait(&self.worker_threads, scheduler, time);
                    scheduler.end_idle();
                }
                Task::Stop => break,
            }
        }
        drop(scheduler);
        self.wake_all();
    }

    /// The body of the flusher: writes what is due while all worker threads are busy.
    pub fn run_flusher(&self) {
        let mut scheduler = self.scheduler();
        loop {
            let now = Instant::now();
            match scheduler.next(Role::Flusher, now) {
                Task::Flush(group) => {
                    self.wake(&mut scheduler, now);
                    scheduler = self.flush(scheduler, group);
                }
                Task::Stop => return,
                Task::Wait(time) => scheduler = wait(&self.flusher, scheduler, time),
                Task::Run(_) | Task::Claim(_) | Task::FlushAndClaim(..) => {
                    unreachable!("only a worker thread gets these")
                }
            }
        }
    }

    /// Makes sure that a job that has waited for long does not begin with an expired
    /// lock: the thread that renews locks may have had no connection.
    fn refreshed(
        &self,
        mut job: Box<RunningJob<J, C>>,
    ) -> Result<Box<RunningJob<J, C>>, RunResult<J, C>> {
        if job.attempt.lease.age() > self.step.lock_expire / 3 * 2 {
            let lease = std::slice::from_ref(&job.attempt.lease);
            if let Err(error) = leases::renew::<J, C>(&self.pool, &mut Kept::none(), lease) {
                tracing::warn!(%error, "the lock of a job that is not begun cannot be renewed");
            }
        }
        if job.is_lost() {
            job.attempt.ended = Some(Transition::Lost);
            return Err(RunResult::Done(job));
        }
        if job.attempt.lease.age() >= self.step.lock_expire {
            let outcome = job.attempt.release().into();
            return Err(RunResult::ToWrite {
                job,
                outcome,
                maybe_applied: true,
            });
        }
        Ok(job)
    }

    fn scheduler(&self) -> MutexGuard<'_, JobScheduler<J, C>> {
        // No code of the user runs under this lock.
        lock(&self.scheduler)
    }

    fn paused(&self) -> MutexGuard<'_, PausedJobs<J::Key>> {
        lock(&self.paused)
    }

    /// Wakes an idle thread if there is something for it, which then wakes the next.
    fn wake(&self, scheduler: &mut JobScheduler<J, C>, now: Instant) {
        if scheduler.is_over() {
            self.wake_all();
        } else if scheduler.wakes_another(now) {
            self.worker_threads.notify_one();
        }
    }

    fn wake_all(&self) {
        self.worker_threads.notify_all();
        self.flusher.notify_all();
        self.maintenance.notify_all();
    }
}

/// When a job is ready that was to wait for `delay`. Its `run_at` may be rounded up, and
/// a look that comes too early would find nothing.
fn due(now: Instant, delay: Duration) -> Instant {
    after(after(now, delay), Duration::from_millis(10))
}

/// Poison is ignored: the data is complete at any time, also if a thread panics.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Releases a job that was not begun.
fn release<J: JobStore<C>, C: TrackerConnection>(
    scheduler: &mut JobScheduler<J, C>,
    job: Box<RunningJob<J, C>>,
    now: Instant,
) {
    let release = job.attempt.release().into();
    scheduler.add_due(Completion::new(job, release), now);
}

fn wait<'a, T>(
    condvar: &Condvar,
    locked: MutexGuard<'a, T>,
    time: Option<Duration>,
) -> MutexGuard<'a, T> {
    match time {
        Some(time) => {
            condvar
                .wait_timeout(locked, time)
                .unwrap_or_else(PoisonError::into_inner)
                .0
        }
        None => condvar.wait(locked).unwrap_or_else(PoisonError::into_inner),
    }
}

/// Runs the threads until the work is over. An error where the machine cannot
/// start another thread. Locks are renewed on the connection that is `kept`.
pub(super) fn work<S, J, C>(
    runtime: &Runtime<J, C>,
    kept: Kept<C>,
    run: &(impl Fn(Box<RunningJob<J, C>>) -> RunResult<J, C> + Sync),
) -> std::io::Result<()>
where
    S: 'static,
    J: JobStore<C> + Send,
    J::Updates: Send,
    C: TrackerConnection,
{
    let named = |name: &str| thread::Builder::new().name(format!("{} {name}", J::table_name()));
    thread::scope(|scope| {
        let renewal = named("renewal").spawn_scoped(scope, || runtime.renew(kept));
        let expiry = named("expiry").spawn_scoped(scope, || runtime.expire());
        let mut started = renewal.and(expiry).map(|_| ());
        for n in 1..=runtime.settings.threads {
            let thread =
                named(&n.to_string()).spawn_scoped(scope, || runtime.run_worker_thread::<S>(run));
            started = started.and(thread.map(|_| ()));
            if started.is_err() {
                break;
            }
        }
        if started.is_err() {
            runtime.shut_down();
        }
        runtime.run_flusher();
        started
    })
}
