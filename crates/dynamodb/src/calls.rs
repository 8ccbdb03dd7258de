//! The calls, for those who have a runtime.

use std::future::Future;
use std::time::Duration;

use status_protocol::BoxError;

use crate::attempt::claim;
use crate::attempt::running::RunningJob;
use crate::error::{Error, Result};
use crate::item::key::ItemKey;
use crate::rows::{bulk, create, read, reset};
use crate::table::Table;
use crate::tracked::{KeyOf, StatusOf, StatusTracked, Tracked, UpdatesOf, step};
use crate::worker::Worker;

/// The calls of each [`StatusTracked`] step, for programs with a Tokio runtime.
/// Import it, or [`BlockingCalls`](crate::blocking::BlockingCalls) for threads: both
/// have the same names, so import one of them in a module.
///
/// All calls can return [`Error::Database`], [`Error::Throttled`] and
/// [`Error::Misconfigured`]; their docs name the others.
///
/// ```no_run
/// # use dynamodb_status_tracker::{KeyAttributes, Result, StatusTracked, Table, Tracked};
/// # #[derive(serde::Deserialize)] struct Job { id: String }
/// # #[derive(Default, serde::Serialize)] struct JobUpdates { version: Option<i32> }
/// # impl Tracked for Job {
/// #     type Key = String; type Status = i32; type Updates = JobUpdates; const KEY: KeyAttributes = KeyAttributes::partition("id");
/// # }
/// # impl StatusTracked for Job {
/// #     type Job = Job; const PENDING: i32 = 10; const IN_PROGRESS: i32 = 20; const FAILED: i32 = 30;
/// #     const SUCCEEDED: i32 = 40; const IGNORED: i32 = 50;
/// # }
/// use dynamodb_status_tracker::Calls;
///
/// # async fn calls(table: &Table) -> Result<()> {
/// Job::create_and_save(table, "job-1", JobUpdates { version: Some(0) }).await?;
/// Job::run_job(table, "job-1", async |job, updates| {
///     updates.version = Some(1);
///     Ok(()) // `?` on any error type
/// })
/// .await?;
/// # Ok(()) }
/// ```
pub trait Calls: StatusTracked {
    /// Creates a `PENDING` item and returns it.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`] if the key exists; [`Error::Unreadable`] if the item
    /// was created and the item type does not fit it.
    fn create_and_save(
        table: &Table,
        key: impl Into<KeyOf<Self>>,
        updates: UpdatesOf<Self>,
    ) -> impl Future<Output = Result<Self::Job>>;

    /// Creates a `PENDING` item and returns it, or `None` where the key exists.
    ///
    /// # Errors
    ///
    /// [`Error::Unreadable`], as [`create_and_save`](Self::create_and_save).
    fn create_if_absent(
        table: &Table,
        key: impl Into<KeyOf<Self>>,
        updates: UpdatesOf<Self>,
    ) -> impl Future<Output = Result<Option<Self::Job>>>;

    /// Creates `PENDING` items, 16 at a time, and returns how many are new. Items
    /// whose key exists are skipped.
    ///
    /// # Errors
    ///
    /// After an error some items may have been created; the call can be repeated.
    fn create_many<K: Into<KeyOf<Self>>>(
        table: &Table,
        rows: impl IntoIterator<Item = (K, UpdatesOf<Self>)>,
    ) -> impl Future<Output = Result<usize>>;

    /// Claims the job and returns the guard of the attempt.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Locked`], [`Error::AlreadySucceeded`],
    /// [`Error::Ignored`], [`Error::NotReady`]: the item is as it was.
    /// [`Error::Unreadable`]: it was claimed and released.
    fn start(
        table: &Table,
        key: impl Into<KeyOf<Self>>,
    ) -> impl Future<Output = Result<RunningJob<Self>>>;

    /// Claims the job, runs `work`, and records success together with the updates
    /// that `work` has set, or the failure without them. A panic is recorded as a
    /// failure, then goes on.
    ///
    /// # Errors
    ///
    /// Those of [`start`](Self::start) before `work` runs. After that
    /// [`Error::Failed`] or [`Error::Released`] with the error of `work`, see
    /// [`Retry`](crate::Retry); or what [`RunningJob::succeed`] returns.
    fn run_job<T>(
        table: &Table,
        key: impl Into<KeyOf<Self>>,
        work: impl AsyncFnOnce(&RunningJob<Self>, &mut UpdatesOf<Self>) -> Result<T, BoxError>,
    ) -> impl Future<Output = Result<T>>;

    /// Claims one of the next ready jobs and runs it as [`run_job`](Self::run_job)
    /// does. `None` if no ready job is free now: others may hold some that will be
    /// ready again, and the index may lag behind.
    ///
    /// # Errors
    ///
    /// Those of [`run_job`](Self::run_job), without the refusals.
    fn run_next<T>(
        table: &Table,
        work: impl AsyncFnOnce(&RunningJob<Self>, &mut UpdatesOf<Self>) -> Result<T, BoxError>,
    ) -> impl Future<Output = Result<Option<T>>>;

    /// Claims up to `n` of the next ready jobs, each with its own guard. It returns
    /// fewer, or none, if fewer are free now: others may hold some that will be ready
    /// again, and the index may lag behind. The oldest jobs come first, but not in
    /// a strict order.
    ///
    /// It ends the attempts of dead workers that it comes across, once their locks
    /// were watched for `LOCK_EXPIRE`.
    ///
    /// # Errors
    ///
    /// [`Error::Unreadable`] if none of the ready jobs can be read. If others can,
    /// such items are logged and passed over.
    fn claim_next(table: &Table, n: usize) -> impl Future<Output = Result<Vec<RunningJob<Self>>>>;

    /// A worker, which runs the ready jobs; see [`Worker`].
    fn worker(table: &Table) -> Worker<Self>;

    /// Reads an item, `None` where no item has the key.
    ///
    /// # Errors
    ///
    /// [`Error::Unreadable`].
    fn find(
        table: &Table,
        key: impl Into<KeyOf<Self>>,
    ) -> impl Future<Output = Result<Option<Self::Job>>>;

    /// Reads up to `limit` items with this status, in any order. It reads the table
    /// from its beginning until it has found so many, and that costs read units for
    /// all that it reads.
    ///
    /// # Errors
    ///
    /// [`Error::Unreadable`].
    fn query_by_status(
        table: &Table,
        status: StatusOf<Self>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Self::Job>>>;

    /// Counts the items of the table by status, those of other steps too. It reads
    /// the whole table.
    ///
    /// # Errors
    ///
    /// Only those of all calls.
    fn count_by_status(table: &Table) -> impl Future<Output = Result<Vec<(StatusOf<Self>, u64)>>>;

    /// Makes a job `PENDING` again, with `retry` 0 and ready now. Use it for failed,
    /// ignored and succeeded jobs, and for items of this step that somebody has
    /// changed by hand. `errors` stays.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::Locked`] while an attempt holds it;
    /// [`Error::NotReady`] where the item is in another step;
    /// [`Error::Unreadable`].
    fn reset(table: &Table, key: impl Into<KeyOf<Self>>) -> impl Future<Output = Result<()>>;

    /// [`reset`](Self::reset)s the jobs with these keys, 16 at a time, and returns how
    /// many it has reset. It skips keys without an item, jobs that an attempt holds,
    /// and jobs of another step.
    ///
    /// # Errors
    ///
    /// They come after all other jobs have been reset.
    fn reset_many<K: Into<KeyOf<Self>>>(
        table: &Table,
        keys: impl IntoIterator<Item = K>,
    ) -> impl Future<Output = Result<usize>>;

    /// Looks at all open jobs of this step, and ends the attempts whose lock this
    /// [`Table`] has watched for `LOCK_EXPIRE` without a renewal. Returns how many.
    /// Each counts as failed, is recorded in `errors`, and makes the job ready again
    /// or ignored.
    ///
    /// The first look only begins the watch. So call it again and again, from a
    /// process that stays. Workers need no such call: they end the dead attempts that
    /// they come across.
    ///
    /// It reads each open job: half a read unit each, or more for items of more than
    /// 4 KB.
    ///
    /// # Errors
    ///
    /// Only those of all calls. After an error some may have been ended.
    fn expire_locks(table: &Table) -> impl Future<Output = Result<usize>>;

    /// Deletes the items that have one of `statuses`, that nobody holds, and that have
    /// not changed for the time `unchanged_for`, by the clocks of the workers that
    /// changed them. Returns how many. It reads the whole table.
    ///
    /// # Errors
    ///
    /// They come after all others have been deleted.
    fn prune(
        table: &Table,
        statuses: &[StatusOf<Self>],
        unchanged_for: Duration,
    ) -> impl Future<Output = Result<usize>>;

    /// Whether an attempt, of any step, or a lock by hand holds the job now. A lock
    /// that this [`Table`] has watched for `LOCK_EXPIRE` does not count.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Unreadable`].
    fn is_locked(table: &Table, key: impl Into<KeyOf<Self>>) -> impl Future<Output = Result<bool>>;
}

impl<S: StatusTracked> Calls for S {
    async fn create_and_save(
        table: &Table,
        key: impl Into<KeyOf<S>>,
        updates: UpdatesOf<S>,
    ) -> Result<S::Job> {
        let key = key_of::<S>(table, key)?;
        let created = create::one::<S>(table, &key, &updates, &step::<S>(table)?).await?;
        created.ok_or_else(|| Error::AlreadyExists {
            job: key.to_string(),
        })
    }

    async fn create_if_absent(
        table: &Table,
        key: impl Into<KeyOf<S>>,
        updates: UpdatesOf<S>,
    ) -> Result<Option<S::Job>> {
        let key = key_of::<S>(table, key)?;
        create::one::<S>(table, &key, &updates, &step::<S>(table)?).await
    }

    async fn create_many<K: Into<KeyOf<S>>>(
        table: &Table,
        rows: impl IntoIterator<Item = (K, UpdatesOf<S>)>,
    ) -> Result<usize> {
        let step = step::<S>(table)?;
        let rows = rows
            .into_iter()
            .map(|(key, updates)| Ok((key_of::<S>(table, key)?, updates)));
        create::many::<S>(table, rows, &step).await
    }

    async fn start(table: &Table, key: impl Into<KeyOf<S>>) -> Result<RunningJob<S>> {
        let key = key_of::<S>(table, key)?;
        claim::by_key::<S>(table, &key, &step::<S>(table)?).await
    }

    async fn run_job<T>(
        table: &Table,
        key: impl Into<KeyOf<S>>,
        work: impl AsyncFnOnce(&RunningJob<S>, &mut UpdatesOf<S>) -> Result<T, BoxError>,
    ) -> Result<T> {
        S::start(table, key).await?.run(work).await
    }

    async fn run_next<T>(
        table: &Table,
        work: impl AsyncFnOnce(&RunningJob<S>, &mut UpdatesOf<S>) -> Result<T, BoxError>,
    ) -> Result<Option<T>> {
        match S::claim_next(table, 1).await?.pop() {
            Some(job) => job.run(work).await.map(Some),
            None => Ok(None),
        }
    }

    async fn claim_next(table: &Table, n: usize) -> Result<Vec<RunningJob<S>>> {
        let next = claim::next::<S>(table, n, &step::<S>(table)?, &|_| true).await?;
        let mut first = None;
        for (_, error) in next.passed_over {
            tracing::error!(%error, "passed over");
            first.get_or_insert(error);
        }
        match first {
            Some(error) if next.jobs.is_empty() => Err(error),
            _ => {
                next.jobs.iter().for_each(RunningJob::started);
                Ok(next.jobs)
            }
        }
    }

    fn worker(table: &Table) -> Worker<S> {
        Worker::new(table.clone())
    }

    async fn find(table: &Table, key: impl Into<KeyOf<S>>) -> Result<Option<S::Job>> {
        read::find::<S>(table, &key_of::<S>(table, key)?).await
    }

    async fn query_by_status(
        table: &Table,
        status: StatusOf<S>,
        limit: usize,
    ) -> Result<Vec<S::Job>> {
        read::by_status::<S>(table, status, limit).await
    }

    async fn count_by_status(table: &Table) -> Result<Vec<(StatusOf<S>, u64)>> {
        read::counts::<S>(table).await
    }

    async fn reset(table: &Table, key: impl Into<KeyOf<S>>) -> Result<()> {
        let key = key_of::<S>(table, key)?;
        reset::one::<S>(table, &key, &step::<S>(table)?).await
    }

    async fn reset_many<K: Into<KeyOf<S>>>(
        table: &Table,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<usize> {
        let step = step::<S>(table)?;
        let keys = keys.into_iter().map(|key| key_of::<S>(table, key));
        reset::many::<S>(table, keys, &step).await
    }

    async fn expire_locks(table: &Table) -> Result<usize> {
        bulk::expire_all::<S>(table, &step::<S>(table)?).await
    }

    async fn prune(
        table: &Table,
        statuses: &[StatusOf<S>],
        unchanged_for: Duration,
    ) -> Result<usize> {
        bulk::prune::<S>(table, statuses, unchanged_for).await
    }

    async fn is_locked(table: &Table, key: impl Into<KeyOf<S>>) -> Result<bool> {
        let key = key_of::<S>(table, key)?;
        read::is_locked::<S>(table, &key, &step::<S>(table)?).await
    }
}

fn key_of<S: StatusTracked>(table: &Table, key: impl Into<KeyOf<S>>) -> Result<ItemKey> {
    ItemKey::of(table.name(), &S::Job::KEY, &key.into())
}
