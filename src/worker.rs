//! A worker runs the jobs of a table: threads, batches, renewal, graceful shutdown.

mod completion;
mod exchange;
mod frontier;
mod leases;
mod listener;
mod paused;
mod plan;
mod runtime;
mod scheduler;
mod shutdown;
mod summary;

use std::fmt::{self, Debug};
use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::attempt::outcome::AttemptError;
use crate::attempt::running::RunningJob;
use crate::attempt::step::{JobStep, updates_are_checked};
use crate::attempt::transaction::TransactionResult;
use crate::db::changes::Tells;
use crate::db::connection::TrackerConnection;
use crate::db::pool::AnyPool;
use crate::db::retry::{self, Kept};
use crate::error::{BoxError, Error, Result};
use crate::observer::{Observer, Source};
use crate::sql::filter::Filter;
use crate::sql::store::JobStore;
use crate::sql::tracked_table::Tracked;
use runtime::{Reports, RunResult, Runtime};
use scheduler::{LONGEST_FALSE_ALARM, LONGEST_FALSE_ALARM_OF_A_FILE, MOST_AHEAD, Settings};

pub use listener::Listener;
pub use shutdown::WorkerHandle;
pub use summary::Summary;

/// More threads than any machine runs well. A worker with more is refused before
/// it starts the first, because the rest of the process needs threads too.
const MOST_THREADS: usize = 10_000;

/// The pause between looks that find nothing, by default.
const POLL: Duration = Duration::from_secs(1);
/// The same of a worker that is told of most changes.
const POLL_WHEN_LISTENING: Duration = Duration::from_secs(2);

/// Runs the ready jobs of a step on its own threads; made by
/// [`StatusTracked::worker`](crate::StatusTracked::worker).
///
/// It claims jobs in batches and runs them on its threads. It renews the locks of
/// all jobs that it has claimed, so that a job may run for longer than
/// [`LOCK_EXPIRE`](crate::StatusTracked::LOCK_EXPIRE), and a job can see that its lock is
/// lost ([`RunningJob::is_lost`]). It expires the dead attempts of others. When
/// the database goes away it waits, and then finishes the jobs that it has. Any
/// number of workers, on any number of machines, share one table.
///
/// The outcomes of jobs are written in groups. A worker that is killed loses the
/// outcomes that it has not written yet, those of the last
/// [`finish_within`](Self::finish_within) at most. These jobs run again when their
/// locks expire, and so do the jobs that were running.
///
/// It uses a connection for each claim and each group of outcomes, and none while
/// a job runs. With three connections more than threads it never waits for one.
pub struct Worker<S: JobStep, C: TrackerConnection> {
    pool: AnyPool<C>,
    filter: Option<Filter>,
    settings: Settings,
    observer: Option<Arc<dyn Observer>>,
    listener: Option<Listener<C>>,
    /// The shortest and the longest pause between looks, if they are set.
    poll: Option<RangeInclusive<Duration>>,
    handle: WorkerHandle,
    step: PhantomData<fn() -> S>,
}

impl<S: JobStep, C: TrackerConnection> Worker<S, C>
where
    S::Job: JobStore<C>,
{
    pub(crate) fn new(pool: AnyPool<C>, filter: Option<Filter>) -> Self {
        Self {
            pool,
            filter,
            settings: Settings {
                threads: thread::available_parallelism().map_or(1, usize::from),
                batch: 1,
                // Known when the worker begins, as are the last four.
                poll_every: POLL,
                poll_first: POLL,
                finish_within: Duration::from_millis(10),
                until_empty: false,
                most_ahead: MOST_AHEAD,
                writers: usize::MAX,
                commits_both: false,
                longest_false_alarm: LONGEST_FALSE_ALARM,
            },
            observer: None,
            listener: None,
            poll: None,
            handle: WorkerHandle::default(),
            step: PhantomData,
        }
    }

    /// How many jobs run at a time. By default as many as the machine has
    /// processors. Use more where jobs wait, as for a web service. More than
    /// 10,000 are refused when the worker begins.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.settings.threads = threads.max(1);
        self
    }

    /// How many jobs are claimed at a time, and how many outcomes are written
    /// without waiting for more. 1 by default.
    ///
    /// More is faster for short jobs: 100 for jobs of milliseconds. For long jobs
    /// leave it: no other worker can begin what this one has claimed.
    ///
    /// A claim asks for more where more threads have nothing to do: for a job for each.
    /// While jobs take less than a quarter of the time of a statement, the threads share
    /// statements: one claim brings a batch for each thread, but no more than they do in ten
    /// milliseconds, and at most 1,000 or one batch; the outcomes of all are written
    /// together. With more than 1, the next jobs are claimed when less than a batch is left,
    /// and work for no longer than a claim takes.
    #[must_use]
    pub fn batch(mut self, jobs: usize) -> Self {
        self.settings.batch = jobs.max(1);
        self
    }

    /// How long to wait before looking again when nothing was ready. By default a second,
    /// and two for a worker that [listens](Self::listen); more than a century counts as a
    /// century.
    ///
    /// This is for the jobs of other programs, of which [`listen`](Self::listen) tells
    /// sooner. An idle worker looks at once when a call of its own process, on the same row
    /// type, makes jobs ready: `create…`, `reset`, `reset_many`, `expire_locks`, a released
    /// job, the success of an earlier step. It also looks when one of its own failed jobs
    /// is due, or one that such a call has failed: after `RETRY_DELAY` or `Retry::after`, or
    /// else after a second.
    ///
    /// Only a regular look finds a job that was created with a `run_at` in the future and,
    /// without `listen`, what plain SQL has changed and a job that was created in an open
    /// transaction: the call wakes the worker before the caller commits. After looks that
    /// were for nothing, as where a pool on another database has the same row type, a call
    /// wakes the worker after a pause that grows to a second.
    #[must_use]
    pub fn poll_every(self, pause: Duration) -> Self {
        self.poll_between(pause..=pause)
    }

    /// As [`poll_every`](Self::poll_every), with a pause that follows the work: a tenth
    /// of the time since a job was last found, within these bounds. So it is short while
    /// jobs come, and long when none has come for long.
    ///
    /// This is for databases that do not tell of changes, MariaDB and MySQL: between 5
    /// milliseconds and 1 second, a job that comes ten seconds after the last one waits
    /// half a second on average, and one that comes after a tenth of a second 5 ms.
    #[must_use]
    pub fn poll_between(mut self, pauses: RangeInclusive<Duration>) -> Self {
        self.poll = Some(pauses);
        self
    }

    /// Begins at once with the jobs that other programs make ready, as `listener` hears
    /// of them; see [`Listener`] for what each database needs.
    ///
    /// The regular looks go on. So with [`poll_every`](Self::poll_every) set how long a
    /// job may wait where a notification is missing: it has a `run_at` in the future, or
    /// the transaction that made it ready was open before anybody listened.
    ///
    /// A worker that [runs until nothing is ready](Self::run_until_empty) does not listen.
    #[must_use]
    pub fn listen(mut self, listener: &Listener<C>) -> Self {
        self.listener = Some(listener.clone());
        self
    }

    /// The longest time that the outcome of a job waits to be written together with
    /// others. 10 milliseconds by default; more than a century counts as a century.
    /// The outcome of a lone job is written at once. While the threads share a statement
    /// (see [`batch`](Self::batch)), it may be up to 10 milliseconds more.
    #[must_use]
    pub fn finish_within(mut self, time: Duration) -> Self {
        self.settings.finish_within = time;
        self
    }

    /// Sets an observer of this worker alone, which is told of what the worker does:
    /// each attempt, from its start to its outcome, and each dead attempt of others that
    /// it expires. [`observe`](crate::observe) and
    /// [`StatusTracked::observe`](crate::StatusTracked::observe) hear of that too, and
    /// of all other calls.
    #[must_use]
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// A handle that stops this worker, from any thread.
    pub fn handle(&self) -> WorkerHandle {
        self.handle.clone()
    }
}

impl<S, C> Worker<S, C>
where
    S: JobStep,
    S::Job: JobStore<C> + Send + 'static,
    <S::Job as Tracked>::Updates: Send,
    C: TrackerConnection,
{
    /// Runs `work` for each ready job, until its [`handle`](Self::handle) shuts it
    /// down. Updates, errors, [`Retry`](crate::Retry) and panics of `work` have the
    /// same effect as in [`StatusTracked::run_job`](crate::StatusTracked::run_job).
    ///
    /// # Errors
    ///
    /// Those of its start: [`Error::Database`], [`Error::Pool`],
    /// [`Error::Misconfigured`], [`Error::ThreadNotStarted`]. Later it logs errors
    /// and goes on. Only [`Error::SharedSession`] ends it at any time, because it
    /// would come again each time.
    pub fn run(
        self,
        work: impl Fn(&RunningJob<S::Job, C>, &mut <S::Job as Tracked>::Updates) -> Result<(), BoxError>
        + Sync,
    ) -> Result<Summary> {
        self.work(Kept::none(), |job| perform::<S, C>(job, &work))
    }

    /// The same, until nothing is ready. It does not wait for jobs that others run,
    /// nor for those with a `run_at` in the future. It does wait for a ready job
    /// whose row another transaction holds, and for one that was released: with a
    /// job that is always released it never ends. Rows that cannot be claimed are
    /// set aside, counted, and left as they are.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub fn run_until_empty(
        mut self,
        work: impl Fn(&RunningJob<S::Job, C>, &mut <S::Job as Tracked>::Updates) -> Result<(), BoxError>
        + Sync,
    ) -> Result<Summary> {
        self.settings.until_empty = true;
        self.work(Kept::none(), |job| perform::<S, C>(job, &work))
    }

    /// Runs `work` for each ready job in a transaction of its own, which commits
    /// together with the success mark, until the worker is shut down; see
    /// [`StatusTracked::run_job_in_transaction`](crate::StatusTracked::run_job_in_transaction).
    ///
    /// A transaction holds a connection, and one more connection renews the locks.
    /// So at most one job less than the pool has connections runs at a time. On
    /// SQLite they run one after the other.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run), and [`Error::Misconfigured`] where the database is a
    /// server and the pool has only one connection.
    pub fn run_in_transaction(
        self,
        work: impl Fn(&mut C, &S::Job, &mut <S::Job as Tracked>::Updates) -> Result<(), BoxError> + Sync,
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
        work: impl Fn(&mut C, &S::Job, &mut <S::Job as Tracked>::Updates) -> Result<(), BoxError> + Sync,
    ) -> Result<Summary> {
        self.settings.until_empty = true;
        self.work_in_transactions(work)
    }

    fn work_in_transactions(
        mut self,
        work: impl Fn(&mut C, &S::Job, &mut <S::Job as Tracked>::Updates) -> Result<(), BoxError> + Sync,
    ) -> Result<Summary> {
        let (kept, takes_row) = if retry::facts(&*self.pool)?.writers == 1 {
            // One transaction excludes all others, and renewals too.
            self.settings.threads = 1;
            (Kept::none(), true)
        } else {
            let connections = self.pool.max_size() as usize;
            if connections < 2 {
                return Err(Error::Misconfigured {
                    job: S::Job::table_name().into(),
                    problem: "a worker whose jobs run in transactions needs a pool of at least two connections, so that locks can be renewed while a transaction holds one: raise its `max_size`".into(),
                });
            }
            self.settings.threads = self.settings.threads.min(connections - 1);
            let mut kept = Kept::of(&*self.pool)?;
            // A renewal on another connection would change the row after the
            // transaction began, and the database would refuse the transaction.
            let takes_row =
                retry::run_on(&*self.pool, &mut kept, &S::Job::table_name(), |conn, _| {
                    Ok(conn.keeps_snapshots()?)
                })?;
            (kept, takes_row)
        };
        self.work(kept, |job| transact::<S, C>(job, takes_row, &work))
    }

    fn work(
        mut self,
        kept: Kept<C>,
        run: impl Fn(Box<RunningJob<S::Job, C>>) -> RunResult<S::Job, C> + Sync,
    ) -> Result<Summary> {
        let step = S::step()?;
        updates_are_checked::<S::Job, C>()?;
        let threads = self.settings.threads;
        if threads > MOST_THREADS {
            return Err(Error::Misconfigured {
                job: S::Job::table_name().into(),
                problem: format!(
                    "a worker of {threads} threads; give it at most {MOST_THREADS} threads"
                ),
            });
        }
        let span = tracing::info_span!(
            "worker",
            table = S::Job::table_name(),
            step = std::any::type_name::<S>().rsplit("::").next(),
        );
        let _entered = span.enter();
        let facts = retry::facts(&*self.pool)?;
        self.settings.writers = facts.writers;
        self.settings.commits_both = !facts.reads_old_rows;
        if facts.reads_old_rows {
            // Claims that run at the same time read the same list, and all but one lose. So
            // a worker claims ahead one job for each thread. With 8 processes of 4 threads
            // that claim 10 jobs at a time, this raised 1,200 jobs a second to 3,500.
            self.settings.most_ahead = MOST_AHEAD.min(self.settings.threads);
        }
        if self.listener.is_some() && facts.tells == Tells::FileVersion {
            self.settings.longest_false_alarm = LONGEST_FALSE_ALARM_OF_A_FILE;
        }
        let listener = self.listener.filter(|_| !self.settings.until_empty);
        let by_default = match listener {
            Some(_) => POLL_WHEN_LISTENING,
            None => POLL,
        };
        let poll = self.poll.unwrap_or(by_default..=by_default);
        self.settings.poll_every = *poll.end();
        self.settings.poll_first = *poll.start().min(poll.end());
        let runtime = Arc::new(Runtime::new(
            self.pool,
            step,
            self.filter,
            self.settings,
            Reports {
                source: Source::of::<S>(S::Job::info),
                own: self.observer,
            },
        ));
        let running = self.handle.begin({
            let runtime = Arc::clone(&runtime);
            move || runtime.shut_down()
        });
        if self.handle.is_shut_down() {
            runtime.shut_down();
        }
        tracing::info!("working");
        let not_started = |source| Error::ThreadNotStarted {
            job: S::Job::table_name().into(),
            source,
        };
        let _listening = runtime.listen();
        let hearing = listener.map(|listener| runtime.hear(&listener));
        let hearing = hearing.transpose().map_err(not_started)?;
        runtime.claim_first::<S>(facts)?;
        runtime::work::<S, _, _>(&runtime, kept, &run).map_err(not_started)?;
        drop(hearing);
        let summary = runtime.summary();
        tracing::info!("done: {summary}");
        drop(running);
        if let Some(error) = runtime.lasting_error() {
            return Err(error);
        }
        Ok(summary)
    }
}

/// Runs one job.
fn perform<S: JobStep, C: TrackerConnection>(
    mut job: Box<RunningJob<S::Job, C>>,
    work: impl Fn(&RunningJob<S::Job, C>, &mut <S::Job as Tracked>::Updates) -> Result<(), BoxError>,
) -> RunResult<S::Job, C>
where
    S::Job: JobStore<C>,
{
    let (outcome, result) = job.perform(work);
    if let Err(attempt_error) = result {
        attempt_error.discard();
    }
    RunResult::ToWrite {
        job,
        outcome,
        maybe_applied: false,
    }
}

/// Runs one job in a transaction.
fn transact<S: JobStep, C: TrackerConnection>(
    mut job: Box<RunningJob<S::Job, C>>,
    takes_row: bool,
    work: impl Fn(&mut C, &S::Job, &mut <S::Job as Tracked>::Updates) -> Result<(), BoxError>,
) -> RunResult<S::Job, C>
where
    S::Job: JobStore<C>,
{
    // If the transaction locks the row, a renewal would wait for it. Nobody can
    // expire the lock meanwhile.
    job.attempt.lease.set_completing(takes_row);
    let result = job.transact(takes_row, work);
    if is_still_held(&result) {
        job.attempt.lease.set_completing(false);
    }
    let outcome = match result {
        TransactionResult::Committed(()) => return RunResult::Done(job),
        TransactionResult::LockLost => {
            job.attempt.lock_lost();
            return RunResult::Done(job);
        }
        TransactionResult::Failed(attempt_error) => {
            let outcome = job.attempt.outcome_of(&attempt_error).into();
            attempt_error.discard();
            outcome
        }
        TransactionResult::RolledBack {
            source,
            is_conflict: true,
            ..
        } => return RunResult::Conflict { job, source },
        TransactionResult::RolledBack {
            source,
            is_released,
            ..
        } => {
            AttemptError::Error(source).discard();
            let release = job.attempt.release().into();
            if is_released {
                job.note_written(&release);
                return RunResult::Done(job);
            }
            release
        }
        TransactionResult::Unavailable(error) => return RunResult::Unavailable { job, error },
    };
    RunResult::ToWrite {
        job,
        outcome,
        maybe_applied: false,
    }
}

/// Whether the row certainly has the job's lock, so that it must be renewed.
fn is_still_held<T>(result: &TransactionResult<T>) -> bool {
    match result {
        TransactionResult::Failed(_) => true,
        TransactionResult::RolledBack { is_released, .. } => !is_released,
        TransactionResult::Committed(_)
        | TransactionResult::LockLost
        | TransactionResult::Unavailable(_) => false,
    }
}

impl<S: JobStep, C: TrackerConnection> Debug for Worker<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("table", &<S::Job as Tracked>::table_name())
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
