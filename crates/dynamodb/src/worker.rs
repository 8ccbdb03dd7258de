//! A worker runs the jobs of a table: several at a time, in batches, with renewal and
//! graceful shutdown.

mod pump;
mod renewal;
mod shutdown;
mod summary;

use std::fmt::{self, Debug};
use std::marker::PhantomData;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use futures_util::future::join_all;
use status_protocol::BoxError;

use crate::attempt::blocking;
use crate::attempt::running::RunningJob;
use crate::error::{Error, Result};
use crate::runtime::block;
use crate::table::Table;
use crate::tracked::{StatusTracked, UpdatesOf, step};
use pump::Pump;

pub use shutdown::WorkerHandle;
pub use summary::Summary;

/// More at a time than any machine runs well.
const MOST_AT_A_TIME: usize = 10_000;

/// Runs the ready jobs of a step; made by [`Calls::worker`](crate::Calls::worker).
///
/// It claims jobs in batches and runs several at a time. It renews the locks of all
/// jobs that it has claimed, so that a job may run for longer than
/// [`LOCK_EXPIRE`](crate::StatusTracked::LOCK_EXPIRE), and a job can see that its lock is
/// lost ([`RunningJob::is_lost`]). It ends the dead attempts that it comes across,
/// once it has watched them for long enough. Any number of workers, on any number of
/// machines, share one table.
///
/// ```no_run
/// # use dynamodb_status_tracker::{Calls, KeyAttributes, Result, StatusTracked, Table, Tracked};
/// # #[derive(serde::Deserialize)] struct Job { id: String }
/// # impl Tracked for Job {
/// #     type Key = String; type Status = i32; type Updates = (); const KEY: KeyAttributes = KeyAttributes::partition("id");
/// # }
/// # impl StatusTracked for Job {
/// #     type Job = Job; const PENDING: i32 = 10; const IN_PROGRESS: i32 = 20; const FAILED: i32 = 30;
/// #     const SUCCEEDED: i32 = 40; const IGNORED: i32 = 50;
/// # }
/// # async fn drain(table: &Table) -> Result<()> {
/// let summary = Job::worker(table)
///     .threads(8)
///     .batch(25)
///     .run_until_empty(async |job, updates| {
///         Ok(()) // the work
///     })
///     .await?;
/// println!("{summary}");
/// # Ok(()) }
/// ```
pub struct Worker<S: StatusTracked> {
    table: Table,
    settings: Settings,
    handle: WorkerHandle,
    step: PhantomData<fn() -> S>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub threads: usize,
    pub batch: usize,
    pub poll_every: Duration,
    pub until_empty: bool,
}

impl<S: StatusTracked> Worker<S> {
    pub(crate) fn new(table: Table) -> Self {
        Self {
            table,
            settings: Settings {
                threads: thread::available_parallelism().map_or(1, usize::from),
                batch: 1,
                poll_every: Duration::from_secs(1),
                until_empty: false,
            },
            handle: WorkerHandle::default(),
            step: PhantomData,
        }
    }

    /// How many jobs run at a time: on so many threads, or in one task. By default as
    /// many as the machine has processors. Use more where jobs wait, as for a web
    /// service. More than 10,000 are refused when the worker begins.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.settings.threads = threads.max(1);
        self
    }

    /// How many jobs are claimed at a time. 1 by default.
    ///
    /// More is cheaper and faster for short jobs: 25 or 100. For long jobs leave it:
    /// no other worker can begin what this one has claimed.
    #[must_use]
    pub fn batch(mut self, jobs: usize) -> Self {
        self.settings.batch = jobs.max(1);
        self
    }

    /// How long to wait before looking again when nothing was ready. A second by
    /// default. Each look costs half a read unit for each shard and each status from
    /// which the step starts.
    #[must_use]
    pub fn poll_every(mut self, pause: Duration) -> Self {
        self.settings.poll_every = pause;
        self
    }

    /// A handle that stops this worker, from anywhere.
    #[must_use]
    pub fn handle(&self) -> WorkerHandle {
        self.handle.clone()
    }

    /// Runs `work` for each ready job, until its [`handle`](Self::handle) shuts it
    /// down. Updates, errors, [`Retry`](crate::Retry) and panics of `work` have the
    /// same effect as in [`Calls::run_job`](crate::Calls::run_job).
    ///
    /// All jobs run in the task that calls this. `work` must not block: for that use
    /// [`run_blocking`](Self::run_blocking).
    ///
    /// # Errors
    ///
    /// Those of its first look for jobs. Later it logs errors and goes on.
    pub async fn run(
        self,
        work: impl AsyncFn(&RunningJob<S>, &mut UpdatesOf<S>) -> Result<(), BoxError>,
    ) -> Result<Summary> {
        let pump = self.pump()?;
        let renewing = renewal::begin(&pump)?;
        let one_at_a_time = async || {
            while let Some(mut job) = pump.next().await {
                let (outcome, result) = job.perform(&work).await;
                pump.finish(job, outcome, result).await;
            }
        };
        join_all((0..pump.settings.threads).map(|_| one_at_a_time())).await;
        drop(renewing);
        pump.summary()
    }

    /// The same, until nothing is ready. It does not wait for jobs that others run,
    /// nor for those whose time has not come. It does wait for those that it has
    /// released itself: with a job that is always released it never ends. Items that
    /// cannot be claimed are counted, and left as they are.
    ///
    /// The index shows a new job after a moment only. So a job that was created just
    /// before may be left.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub async fn run_until_empty(
        mut self,
        work: impl AsyncFn(&RunningJob<S>, &mut UpdatesOf<S>) -> Result<(), BoxError>,
    ) -> Result<Summary> {
        self.settings.until_empty = true;
        self.run(work).await
    }

    /// Runs `work` for each ready job on threads of its own, until it is shut down;
    /// otherwise as [`run`](Self::run).
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run), and [`Error::ThreadNotStarted`].
    pub fn run_blocking(
        self,
        work: impl Fn(&blocking::RunningJob<S>, &mut UpdatesOf<S>) -> Result<(), BoxError> + Sync,
    ) -> Result<Summary> {
        let pump = self.pump()?;
        let renewing = block(async { renewal::begin(&pump) })??;
        let one_at_a_time = || {
            while let Ok(Some(job)) = block(pump.next()) {
                let mut job = blocking::RunningJob::new(job);
                let (outcome, result) = job.perform(&work);
                if block(pump.finish(job.into_inner(), outcome, result)).is_err() {
                    break;
                }
            }
        };
        let started = thread::scope(|scope| {
            for n in 0..pump.settings.threads {
                let thread = thread::Builder::new().name(format!("worker-{n}"));
                if let Err(source) = thread.spawn_scoped(scope, one_at_a_time) {
                    pump.shut_down();
                    return Err(source);
                }
            }
            Ok(())
        });
        drop(renewing);
        started.map_err(|source| Error::ThreadNotStarted {
            job: pump.table.name().into(),
            source,
        })?;
        pump.summary()
    }

    /// The same, until nothing is ready, as [`run_until_empty`](Self::run_until_empty).
    ///
    /// # Errors
    ///
    /// As [`run_blocking`](Self::run_blocking).
    pub fn run_blocking_until_empty(
        mut self,
        work: impl Fn(&blocking::RunningJob<S>, &mut UpdatesOf<S>) -> Result<(), BoxError> + Sync,
    ) -> Result<Summary> {
        self.settings.until_empty = true;
        self.run_blocking(work)
    }

    fn pump(&self) -> Result<Arc<Pump<S>>> {
        let threads = self.settings.threads;
        if threads > MOST_AT_A_TIME {
            return Err(Error::Misconfigured {
                job: self.table.name().into(),
                problem: format!(
                    "a worker of {threads} threads; give it at most {MOST_AT_A_TIME} threads"
                ),
            });
        }
        self.table.index()?;
        let step = step::<S>(&self.table)?;
        Ok(Arc::new(Pump::new(
            self.table.clone(),
            step,
            self.settings,
            self.handle.clone(),
        )))
    }
}

impl<S: StatusTracked> Debug for Worker<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("table", &self.table)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
