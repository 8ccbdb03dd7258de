//! Working off a table: threads, batches, renewal, graceful shutdown.

mod aside;
mod crew;
mod desk;
mod finish;
mod frontier;
mod leases;
mod observer;
mod shutdown;

use std::fmt::{self, Debug};
use std::marker::PhantomData;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::connection::{PoolOf, TrackerConnection};
use crate::error::{BoxError, Error, Result};
use crate::retry::{self, Kept};
use crate::running::{RunningJob, Trouble};
use crate::status::{StatusTracked, UpdatesOf, step};
use crate::store::{JobStore, Tracked};
use crate::transaction::Outcome;
use crew::{Crew, Ran};
use desk::Settings;

pub use observer::{Event, Observer, Summary};
pub use shutdown::WorkerHandle;

/// More than any machine runs well. They are refused before the first is
/// started, since others need threads too.
const MOST_THREADS: usize = 10_000;

/// Works off the ready jobs of a step with threads of its own; made by
/// [`StatusTracked::worker`].
///
/// It claims jobs in batches and hands them to its threads; it renews the
/// locks of all that it has in hand, so that a job may run for longer than
/// [`LOCK_EXPIRE`](StatusTracked::LOCK_EXPIRE), and tells a job whose lock is
/// lost ([`RunningJob::is_lost`]); it ends the dead attempts of others; when
/// the database goes away it waits for it, and finishes then what it has in
/// hand. Any number of workers, on any number of machines, share one table.
///
/// The ends of jobs are written in groups. A worker that is killed loses the
/// marks that it had not written yet, those of
/// [`finish_within`](Self::finish_within) at the most: these jobs run again
/// when their locks expire, as do those that were running.
///
/// It uses a connection for each claim and each group of ends, and none while
/// a job runs: as many connections as threads, and three, never wait.
pub struct Worker<S: StatusTracked, C: TrackerConnection> {
    pool: PoolOf<C>,
    settings: Settings,
    observer: Option<Arc<dyn Observer>>,
    handle: WorkerHandle,
    step: PhantomData<fn() -> S>,
}

impl<S: StatusTracked, C: TrackerConnection> Worker<S, C>
where
    S::Job: JobStore<C>,
{
    pub(crate) fn new(pool: PoolOf<C>) -> Self {
        Self {
            pool,
            settings: Settings {
                threads: thread::available_parallelism().map_or(1, usize::from),
                batch: 1,
                poll_every: Duration::from_secs(1),
                finish_within: Duration::from_millis(10),
                until_empty: false,
                writers: C::WRITERS,
            },
            observer: None,
            handle: WorkerHandle::default(),
            step: PhantomData,
        }
    }

    /// How many jobs run at a time. By default as many as the machine has
    /// processors; more where jobs wait for others, as for a web service. More
    /// than 10,000 are refused when the worker begins.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.settings.threads = threads.max(1);
        self
    }

    /// How many jobs are claimed at a time, and how many ends are written
    /// without waiting for more. 1 by default.
    ///
    /// More is faster for short jobs: 100 for jobs of milliseconds. For long
    /// ones leave it: what one worker has claimed, no other can begin.
    #[must_use]
    pub fn batch(mut self, jobs: usize) -> Self {
        self.settings.batch = jobs.max(1);
        self
    }

    /// How long to wait, when nothing was ready, before looking again. A
    /// second by default; more than a century counts as one.
    #[must_use]
    pub fn poll_every(mut self, pause: Duration) -> Self {
        self.settings.poll_every = pause;
        self
    }

    /// How long the end of a job waits at the most to be written together
    /// with others. 10 milliseconds by default; more than a century counts as
    /// one. The end of a lone job is written at once.
    #[must_use]
    pub fn finish_within(mut self, time: Duration) -> Self {
        self.settings.finish_within = time;
        self
    }

    /// Is told of each transition.
    #[must_use]
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// What stops this worker, from any thread.
    pub fn handle(&self) -> WorkerHandle {
        self.handle.clone()
    }
}

impl<S, C> Worker<S, C>
where
    S: StatusTracked,
    S::Job: JobStore<C> + Send + 'static,
    UpdatesOf<S>: Send,
    C: TrackerConnection,
{
    /// Runs `work` for each ready job, until it is shut down by its
    /// [`handle`](Self::handle). Updates, errors, [`Retry`](crate::Retry) and
    /// panics of `work` are treated as by [`StatusTracked::run_job`].
    ///
    /// # Errors
    ///
    /// Those of its first look at the table: [`Error::Database`],
    /// [`Error::Pool`], [`Error::Misconfigured`]. From then on it logs errors
    /// and goes on; but [`Error::SharedSession`], which would come again and
    /// again, ends it at any time.
    pub fn run(
        self,
        work: impl Fn(&RunningJob<S::Job, C>, &mut UpdatesOf<S>) -> Result<(), BoxError> + Sync,
    ) -> Result<Summary> {
        self.work(Kept::none(), |job| perform::<S, C>(job, &work))
    }

    /// The same, until nothing is ready. Jobs that others run, and those whose
    /// time lies ahead, are not waited for; a ready job whose row another
    /// transaction holds is, and so is one that was released. A job that is
    /// always released never lets it end. Rows that cannot be claimed are set
    /// aside, counted, and left as they are.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub fn run_until_empty(
        mut self,
        work: impl Fn(&RunningJob<S::Job, C>, &mut UpdatesOf<S>) -> Result<(), BoxError> + Sync,
    ) -> Result<Summary> {
        self.settings.until_empty = true;
        self.work(Kept::none(), |job| perform::<S, C>(job, &work))
    }

    /// Runs `work` for each ready job in a transaction of its own, which
    /// commits together with the success mark, until it is shut down; see
    /// [`StatusTracked::run_job_in_transaction`].
    ///
    /// A transaction holds its connection, so as many run at a time as the
    /// pool has connections, but one: with that the locks are renewed. On
    /// SQLite they run one after the other.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run), and [`Error::Misconfigured`] where the pool has
    /// one connection only and the database is a server.
    pub fn run_in_transaction(
        self,
        work: impl Fn(&mut C, &S::Job, &mut UpdatesOf<S>) -> Result<(), BoxError> + Sync,
    ) -> Result<Summary> {
        self.work_in_transactions(work)
    }

    /// The same, until nothing is ready, as [`run_until_empty`](Self::run_until_empty).
    ///
    /// # Errors
    ///
    /// As [`run_in_transaction`](Self::run_in_transaction).
    pub fn run_in_transaction_until_empty(
        mut self,
        work: impl Fn(&mut C, &S::Job, &mut UpdatesOf<S>) -> Result<(), BoxError> + Sync,
    ) -> Result<Summary> {
        self.settings.until_empty = true;
        self.work_in_transactions(work)
    }

    fn work_in_transactions(
        mut self,
        work: impl Fn(&mut C, &S::Job, &mut UpdatesOf<S>) -> Result<(), BoxError> + Sync,
    ) -> Result<Summary> {
        let (kept, takes_row) = if C::WRITERS == 1 {
            // One transaction keeps all others out, renewals among them.
            self.settings.threads = 1;
            (Kept::none(), true)
        } else {
            let connections = self.pool.max_size() as usize;
            if connections < 2 {
                return Err(Error::Misconfigured {
                    job: S::Job::TABLE.into(),
                    problem: "a worker whose jobs run in transactions needs a pool of two connections at least, so that locks can be renewed while a transaction holds one: raise its `max_size`".into(),
                });
            }
            self.settings.threads = self.settings.threads.min(connections - 1);
            let mut kept = Kept::of(&self.pool)?;
            // A renewal from without would be a change since it began.
            let takes_row = retry::run_on(&self.pool, &mut kept, &S::Job::TABLE, |conn, _| {
                Ok(conn.keeps_snapshots()?)
            })?;
            (kept, takes_row)
        };
        self.work(kept, |job| transact::<S, C>(job, takes_row, &work))
    }

    fn work(
        self,
        kept: Kept<C>,
        run: impl Fn(Box<RunningJob<S::Job, C>>) -> Ran<S::Job, C> + Sync,
    ) -> Result<Summary> {
        let step = step::<S>()?;
        let threads = self.settings.threads;
        if threads > MOST_THREADS {
            return Err(Error::Misconfigured {
                job: S::Job::TABLE.into(),
                problem: format!(
                    "a worker of {threads} threads; give it {MOST_THREADS} threads at the most"
                ),
            });
        }
        let span = tracing::info_span!(
            "worker",
            table = S::Job::TABLE,
            step = std::any::type_name::<S>().rsplit("::").next(),
        );
        let _entered = span.enter();
        let crew = Arc::new(Crew::new(self.pool, step, self.settings, self.observer));
        let running = self.handle.begin({
            let crew = Arc::clone(&crew);
            move || crew.shut_down()
        });
        if self.handle.is_shut_down() {
            crew.shut_down();
        }
        tracing::info!("working");
        crew.claim_first::<S>()?;
        crew::work::<S, _, _>(&crew, kept, &run).map_err(|error| Error::Misconfigured {
            job: S::Job::TABLE.into(),
            problem: format!("the machine gives no more threads: {error}"),
        })?;
        let summary = crew.summary();
        tracing::info!("done: {summary}");
        drop(running);
        if let Some(error) = crew.lasting_error() {
            return Err(error);
        }
        Ok(summary)
    }
}

/// Runs one job.
fn perform<S: StatusTracked, C: TrackerConnection>(
    mut job: Box<RunningJob<S::Job, C>>,
    work: impl Fn(&RunningJob<S::Job, C>, &mut UpdatesOf<S>) -> Result<(), BoxError>,
) -> Ran<S::Job, C>
where
    S::Job: JobStore<C>,
{
    let (ending, result) = job.perform(work);
    if let Err(trouble) = result {
        trouble.discard();
    }
    Ran::Due {
        job,
        ending,
        doubtful: false,
    }
}

/// Runs one job in a transaction.
fn transact<S: StatusTracked, C: TrackerConnection>(
    mut job: Box<RunningJob<S::Job, C>>,
    takes_row: bool,
    work: impl Fn(&mut C, &S::Job, &mut UpdatesOf<S>) -> Result<(), BoxError>,
) -> Ran<S::Job, C>
where
    S::Job: JobStore<C>,
{
    // Where the transaction has the row, a renewal would wait for it, and
    // nobody can expire the lock meanwhile.
    job.lease.set_ending(takes_row);
    let outcome = job.transact(takes_row, work);
    if is_still_held(&outcome) {
        job.lease.set_ending(false);
    }
    let (ending, doubtful) = match outcome {
        Outcome::Committed(()) => return Ran::Over(job),
        Outcome::LockLost => {
            job.lock_lost();
            return Ran::Over(job);
        }
        Outcome::Failed(trouble) => {
            let ending = job.ending_after(&trouble);
            trouble.discard();
            (ending, false)
        }
        Outcome::MadeWay {
            source,
            is_conflict: true,
            ..
        } => return Ran::Conflict { job, source },
        Outcome::MadeWay {
            source, doubtful, ..
        } => {
            Trouble::Error(source).discard();
            (job.release(), doubtful)
        }
        Outcome::Unreached(error) => return Ran::Unreached { job, error },
    };
    Ran::Due {
        job,
        ending,
        doubtful,
    }
}

/// Whether the row bears the job's lock for sure, so that it is to be renewed.
fn is_still_held<T>(outcome: &Outcome<T>) -> bool {
    match outcome {
        Outcome::Failed(_) => true,
        Outcome::MadeWay { doubtful, .. } => !doubtful,
        Outcome::Committed(_) | Outcome::LockLost | Outcome::Unreached(_) => false,
    }
}

impl<S: StatusTracked, C: TrackerConnection> Debug for Worker<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("table", &<S::Job as Tracked>::TABLE)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
