//! The calls, for threads.

use std::time::Duration;

use status_protocol::BoxError;

use crate::attempt::blocking::RunningJob;
use crate::calls::Calls;
use crate::error::Result;
use crate::runtime::block;
use crate::table::Table;
use crate::tracked::{KeyOf, StatusOf, StatusTracked, UpdatesOf};
use crate::worker::Worker;

/// The calls of each [`StatusTracked`] step, for threads: those of
/// [`Calls`], with the same errors, which block until they are done.
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
/// use dynamodb_status_tracker::blocking::BlockingCalls;
///
/// # fn calls(table: &Table) -> Result<()> {
/// Job::create_and_save(table, "job-1", JobUpdates { version: Some(0) })?;
/// Job::run_job(table, "job-1", |job, updates| {
///     updates.version = Some(1);
///     Ok(()) // `?` on any error type
/// })?;
/// # Ok(()) }
/// ```
#[allow(
    clippy::missing_errors_doc,
    reason = "the errors are those of `Calls`, which each call names"
)]
pub trait BlockingCalls: StatusTracked {
    /// As [`Calls::create_and_save`].
    fn create_and_save(
        table: &Table,
        key: impl Into<KeyOf<Self>>,
        updates: UpdatesOf<Self>,
    ) -> Result<Self::Job> {
        block(<Self as Calls>::create_and_save(table, key, updates))?
    }

    /// As [`Calls::create_if_absent`].
    fn create_if_absent(
        table: &Table,
        key: impl Into<KeyOf<Self>>,
        updates: UpdatesOf<Self>,
    ) -> Result<Option<Self::Job>> {
        block(<Self as Calls>::create_if_absent(table, key, updates))?
    }

    /// As [`Calls::create_many`].
    fn create_many<K: Into<KeyOf<Self>>>(
        table: &Table,
        rows: impl IntoIterator<Item = (K, UpdatesOf<Self>)>,
    ) -> Result<usize> {
        block(<Self as Calls>::create_many(table, rows))?
    }

    /// As [`Calls::start`].
    fn start(table: &Table, key: impl Into<KeyOf<Self>>) -> Result<RunningJob<Self>> {
        block(<Self as Calls>::start(table, key))?.map(RunningJob::new)
    }

    /// As [`Calls::run_job`].
    fn run_job<T>(
        table: &Table,
        key: impl Into<KeyOf<Self>>,
        work: impl FnOnce(&RunningJob<Self>, &mut UpdatesOf<Self>) -> Result<T, BoxError>,
    ) -> Result<T> {
        <Self as BlockingCalls>::start(table, key)?.run(work)
    }

    /// As [`Calls::run_next`].
    fn run_next<T>(
        table: &Table,
        work: impl FnOnce(&RunningJob<Self>, &mut UpdatesOf<Self>) -> Result<T, BoxError>,
    ) -> Result<Option<T>> {
        let mut next = <Self as BlockingCalls>::claim_next(table, 1)?;
        next.pop().map(|job| job.run(work)).transpose()
    }

    /// As [`Calls::claim_next`].
    fn claim_next(table: &Table, n: usize) -> Result<Vec<RunningJob<Self>>> {
        let jobs = block(<Self as Calls>::claim_next(table, n))??;
        Ok(jobs.into_iter().map(RunningJob::new).collect())
    }

    /// A worker, which runs the ready jobs on threads of its own: see
    /// [`Worker::run_blocking`].
    fn worker(table: &Table) -> Worker<Self> {
        <Self as Calls>::worker(table)
    }

    /// As [`Calls::find`].
    fn find(table: &Table, key: impl Into<KeyOf<Self>>) -> Result<Option<Self::Job>> {
        block(<Self as Calls>::find(table, key))?
    }

    /// As [`Calls::query_by_status`].
    fn query_by_status(
        table: &Table,
        status: StatusOf<Self>,
        limit: usize,
    ) -> Result<Vec<Self::Job>> {
        block(<Self as Calls>::query_by_status(table, status, limit))?
    }

    /// As [`Calls::count_by_status`].
    fn count_by_status(table: &Table) -> Result<Vec<(StatusOf<Self>, u64)>> {
        block(<Self as Calls>::count_by_status(table))?
    }

    /// As [`Calls::reset`].
    fn reset(table: &Table, key: impl Into<KeyOf<Self>>) -> Result<()> {
        block(<Self as Calls>::reset(table, key))?
    }

    /// As [`Calls::reset_many`].
    fn reset_many<K: Into<KeyOf<Self>>>(
        table: &Table,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<usize> {
        block(<Self as Calls>::reset_many(table, keys))?
    }

    /// As [`Calls::expire_locks`].
    fn expire_locks(table: &Table) -> Result<usize> {
        block(<Self as Calls>::expire_locks(table))?
    }

    /// As [`Calls::prune`].
    fn prune(table: &Table, statuses: &[StatusOf<Self>], unchanged_for: Duration) -> Result<usize> {
        block(<Self as Calls>::prune(table, statuses, unchanged_for))?
    }

    /// As [`Calls::is_locked`].
    fn is_locked(table: &Table, key: impl Into<KeyOf<Self>>) -> Result<bool> {
        block(<Self as Calls>::is_locked(table, key))?
    }
}

impl<S: StatusTracked> BlockingCalls for S {}
