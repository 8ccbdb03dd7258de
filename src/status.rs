//! `StatusTracked`: a step's codes and policy, and the calls it provides.

use std::time::Duration;

use crate::claim;
use crate::connection::{PoolOf, TrackerConnection};
use crate::create;
use crate::database::Database;
use crate::error::{BoxError, Error, Result};
use crate::expiry;
use crate::protocol::Step;
use crate::retry::Fault;
use crate::running::RunningJob;
use crate::store::{JobName, JobStore, Order, ShowsStatus, Tracked};

/// The type of a step's keys.
pub type KeyOf<S> = <<S as StatusTracked>::Job as Tracked>::Key;
/// The type of a step's status codes.
pub type StatusOf<S> = <<S as StatusTracked>::Job as Tracked>::Status;
/// The type of a step's updates.
pub type UpdatesOf<S> = <<S as StatusTracked>::Job as Tracked>::Updates;

/// One step of tracked work on the rows of a table: five status codes and a
/// policy. Implementing it provides the calls.
///
/// A plain table has one step, implemented on the row type itself; a pipeline
/// has several, each a type of its own with the same [`Job`](Self::Job). The
/// row type needs a [`job_table!`](crate::job_table).
///
/// The five codes must differ; integers and fieldless enums are compared at
/// compile time where `job_table!` lists the step in `steps`, all others on
/// first use ([`Error::Misconfigured`]).
///
/// Calls that take `db` accept `&pool`, `&Arc<Pool>` or `&mut connection`, see
/// [`Database`]. All of them can return [`Error::Database`], [`Error::Pool`]
/// and [`Error::Misconfigured`]; their docs name the others.
///
/// ```
/// # mod schema { diesel::table! { jobs (id) { id -> Text, status -> Integer, create_at -> Timestamp, update_at -> Timestamp,
/// #     lock -> Nullable<Text>, lock_at -> Nullable<Timestamp>, retry -> Integer, data -> Nullable<Json>, errors -> Json, } } }
/// # use schema::jobs; use diesel::prelude::*; use std::time::Duration;
/// # #[derive(Debug, Clone, Queryable, Selectable)] #[diesel(table_name = jobs)]
/// # struct Job { id: String, status: i32 }
/// # #[derive(Default, Insertable, AsChangeset)] #[diesel(table_name = jobs)]
/// # struct JobUpdates { data: Option<serde_json::Value> }
/// use diesel_status_tracker::{StatusTracked, job_table};
///
/// impl StatusTracked for Job {
///     type Job = Job;
///     const PENDING: i32 = 10;
///     const IN_PROGRESS: i32 = 20;
///     const FAILED: i32 = 30;
///     const SUCCEEDED: i32 = 40;
///     const IGNORED: i32 = 50;
///     const MAX_RETRY: i32 = 5;
///     const LOCK_EXPIRE: Duration = Duration::from_secs(60);
/// }
/// # #[cfg(feature = "sqlite")]
/// job_table! {
///     Job in jobs { key: (id: String), status: i32, updates: JobUpdates, connections: [SqliteConnection], steps: [Job] }
/// }
/// # fn main() {}
/// ```
pub trait StatusTracked: Sized + 'static {
    /// The row type, named in a [`job_table!`](crate::job_table).
    type Job: Tracked;

    /// A new job, and one that was reset.
    const PENDING: StatusOf<Self>;
    /// An attempt is running.
    const IN_PROGRESS: StatusOf<Self>;
    /// The last attempt failed; it may be tried again.
    const FAILED: StatusOf<Self>;
    /// Done; never run again unless reset.
    const SUCCEEDED: StatusOf<Self>;
    /// Failed `MAX_RETRY` times in a row; left alone until reset.
    const IGNORED: StatusOf<Self>;
    /// More statuses from which this step starts, such as an earlier step's
    /// `SUCCEEDED`. None by default.
    const MORE_PENDING: &'static [StatusOf<Self>] = &[];
    /// After this time without a renewal a lock counts as abandoned, and its
    /// worker as dead. 15 minutes by default; longer than any attempt takes,
    /// unless the attempt calls [`renew`](RunningJob::renew).
    const LOCK_EXPIRE: Duration = Duration::from_secs(15 * 60);
    /// Failures in a row, crashes included, after which a job is ignored.
    /// 3 by default.
    const MAX_RETRY: i32 = 3;

    /// Inserts a `PENDING` row and returns it.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`] where the key is taken;
    /// [`Error::OutcomeUnknown`] where it is taken after the answer to a
    /// first try was lost.
    fn create_and_save<D: Database>(
        db: D,
        key: impl Into<KeyOf<Self>>,
        updates: UpdatesOf<Self>,
    ) -> Result<Self::Job>
    where
        Self::Job: JobStore<D::Connection>,
    {
        let key = key.into();
        create::one(db, &key, &updates, &step::<Self>()?, |doubtful| {
            if doubtful {
                Err(Fault::Untraceable)
            } else {
                Ok(())
            }
        })?
        .ok_or_else(|| Error::AlreadyExists {
            job: JobName::<Self::Job>(&key).to_string(),
        })
    }

    /// Inserts a `PENDING` row and returns it, or `None` where the key exists.
    ///
    /// # Errors
    ///
    /// None of its own.
    fn create_if_absent<D: Database>(
        db: D,
        key: impl Into<KeyOf<Self>>,
        updates: UpdatesOf<Self>,
    ) -> Result<Option<Self::Job>>
    where
        Self::Job: JobStore<D::Connection>,
    {
        create::one(db, &key.into(), &updates, &step::<Self>()?, |_| Ok(()))
    }

    /// Inserts `PENDING` rows in few statements and one transaction, and tells
    /// how many are new; rows whose key exists are skipped.
    ///
    /// # Errors
    ///
    /// [`Error::OutcomeUnknown`] where an answer was lost and what is found
    /// does not tell which rows are new: all are there, or none. After any
    /// other error nothing was inserted, and the call can be made again; up
    /// to 10,000 rows, it retries passing errors itself.
    fn create_many<D, K>(
        db: D,
        rows: impl IntoIterator<Item = (K, UpdatesOf<Self>)>,
    ) -> Result<usize>
    where
        D: Database,
        K: Into<KeyOf<Self>>,
        Self::Job: JobStore<D::Connection>,
    {
        let rows = rows.into_iter().map(|(key, updates)| (key.into(), updates));
        create::many::<D, Self::Job>(db, rows, &step::<Self>()?)
    }

    /// Claims the job and returns the guard of the attempt.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Locked`], [`Error::AlreadySucceeded`],
    /// [`Error::Ignored`], [`Error::NotReady`]: the row is as it was.
    fn start<C: TrackerConnection>(
        pool: &PoolOf<C>,
        key: impl Into<KeyOf<Self>>,
    ) -> Result<RunningJob<Self::Job, C>>
    where
        Self::Job: JobStore<C>,
    {
        claim::by_key::<Self, _, _>(pool, &key.into(), step::<Self>()?)
    }

    /// Claims the job, runs `work`, and records success together with the
    /// updates that `work` set, or the failure without them. A panic is
    /// recorded as a failure, then goes on.
    ///
    /// # Errors
    ///
    /// Those of [`start`](Self::start) before `work` runs. Then
    /// [`Error::Failed`] with the error of `work`, or what
    /// [`RunningJob::succeed`] returns.
    fn run_job<C, T>(
        pool: &PoolOf<C>,
        key: impl Into<KeyOf<Self>>,
        work: impl FnOnce(&RunningJob<Self::Job, C>, &mut UpdatesOf<Self>) -> Result<T, BoxError>,
    ) -> Result<T>
    where
        C: TrackerConnection,
        Self::Job: JobStore<C>,
    {
        Self::start(pool, key)?.run(work)
    }

    /// Claims the next ready job, in the order of `job_table!`, and runs it as
    /// [`run_job`](Self::run_job) does. `None` when none is free right now:
    /// some may be held that will be ready again.
    ///
    /// # Errors
    ///
    /// Those of [`run_job`](Self::run_job), without the refusals.
    fn run_next<C, T>(
        pool: &PoolOf<C>,
        work: impl FnOnce(&RunningJob<Self::Job, C>, &mut UpdatesOf<Self>) -> Result<T, BoxError>,
    ) -> Result<Option<T>>
    where
        C: TrackerConnection,
        Self::Job: JobStore<C>,
    {
        claim::next::<Self, _, _>(pool, step::<Self>()?)?
            .map(|job: RunningJob<Self::Job, C>| job.run(work))
            .transpose()
    }

    /// Reads a row, `None` where no row has the key.
    ///
    /// # Errors
    ///
    /// None of its own.
    fn find<D: Database>(mut db: D, key: impl Into<KeyOf<Self>>) -> Result<Option<Self::Job>>
    where
        Self::Job: JobStore<D::Connection>,
    {
        let key = key.into();
        db.run(&JobName::<Self::Job>(&key), |conn, _| {
            Ok(Self::Job::row(conn, &key)?)
        })
    }

    /// Reads up to `limit` rows with this status.
    ///
    /// # Errors
    ///
    /// None of its own.
    fn query_by_status<D: Database>(
        mut db: D,
        status: StatusOf<Self>,
        limit: i64,
        order: Order,
    ) -> Result<Vec<Self::Job>>
    where
        Self::Job: JobStore<D::Connection>,
    {
        db.run(&Self::Job::TABLE, |conn, _| {
            Ok(Self::Job::rows_by_status(conn, status, limit, order)?)
        })
    }

    /// Counts the rows of the table by status, those of other steps too.
    /// Statuses without a row are left out.
    ///
    /// # Errors
    ///
    /// None of its own.
    fn count_by_status<D: Database>(mut db: D) -> Result<Vec<(StatusOf<Self>, i64)>>
    where
        Self::Job: JobStore<D::Connection>,
    {
        db.run(&Self::Job::TABLE, |conn, _| {
            Ok(Self::Job::status_counts(conn)?)
        })
    }

    /// Makes a job `PENDING` again, with `retry` 0 and due now. It serves
    /// failed, ignored and succeeded jobs, and rows of this step that were
    /// left odd by hand; `errors` stays.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::Locked`] while an attempt holds it;
    /// [`Error::NotReady`] where the row is in another step.
    fn reset<D: Database>(mut db: D, key: impl Into<KeyOf<Self>>) -> Result<()>
    where
        Self::Job: JobStore<D::Connection>,
    {
        let (key, step) = (key.into(), step::<Self>()?);
        let name = JobName::<Self::Job>(&key);
        let refusal = db.run(&name, |conn, _| {
            loop {
                if Self::Job::reset_row(conn, &key, &step)? > 0 {
                    return Ok(None);
                }
                let row = Self::Job::row_state(conn, &key)?;
                // Between the two statements the attempt that held it may have
                // ended, which does not go on for ever.
                if !row.as_ref().is_some_and(|row| step.may_reset(row)) {
                    return Ok(Some(row));
                }
            }
        })?;
        match refusal {
            None => {
                tracing::info!(job = %name, "reset");
                Ok(())
            }
            Some(None) => Err(name.not_found()),
            Some(Some(row)) => Err(claim::refused(step.why_not_reset(&row), name.to_string())),
        }
    }

    /// [`reset`](Self::reset)s the jobs with these keys, and tells how many
    /// were; those that are missing, held or in another step are skipped.
    ///
    /// # Errors
    ///
    /// None of its own. After an error some may have been reset.
    fn reset_many<D, K>(mut db: D, keys: impl IntoIterator<Item = K>) -> Result<usize>
    where
        D: Database,
        K: Into<KeyOf<Self>>,
        Self::Job: JobStore<D::Connection>,
    {
        let step = step::<Self>()?;
        let mut count = 0;
        for key in keys {
            let key = key.into();
            count += db.run(&JobName::<Self::Job>(&key), |conn, _| {
                Ok(Self::Job::reset_row(conn, &key, &step)?)
            })?;
        }
        Ok(count)
    }

    /// Ends the attempts of this step whose lock has expired, and tells how
    /// many: each counts as failed, is recorded in `errors`, and leaves the
    /// job ready again or ignored. [`start`](Self::start) does so for its own
    /// job; call this now and then for the others, by one worker or by all.
    ///
    /// # Errors
    ///
    /// None of its own. After an error some may have been expired.
    fn expire_locks<D: Database>(db: D) -> Result<usize>
    where
        Self::Job: JobStore<D::Connection>,
    {
        expiry::expire_all::<D, Self::Job>(db, &step::<Self>()?)
    }

    /// Whether the row was `PENDING` when it was read.
    fn is_pending(job: &Self::Job) -> bool
    where
        Self::Job: ShowsStatus,
    {
        job.status() == Self::PENDING
    }

    /// Whether an attempt of this step was running when the row was read.
    fn is_in_progress(job: &Self::Job) -> bool
    where
        Self::Job: ShowsStatus,
    {
        job.status() == Self::IN_PROGRESS
    }

    /// Whether the row was `FAILED` when it was read.
    fn is_failed(job: &Self::Job) -> bool
    where
        Self::Job: ShowsStatus,
    {
        job.status() == Self::FAILED
    }

    /// Whether the row was `SUCCEEDED` when it was read.
    fn is_succeeded(job: &Self::Job) -> bool
    where
        Self::Job: ShowsStatus,
    {
        job.status() == Self::SUCCEEDED
    }

    /// Whether the row was `IGNORED` when it was read.
    fn is_ignored(job: &Self::Job) -> bool
    where
        Self::Job: ShowsStatus,
    {
        job.status() == Self::IGNORED
    }

    /// Whether a live attempt, of any step, or a hand holds the job right
    /// now: asked of the database, since only its clock tells whether a lock
    /// has expired.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    fn is_locked<D: Database>(mut db: D, key: impl Into<KeyOf<Self>>) -> Result<bool>
    where
        Self::Job: JobStore<D::Connection>,
    {
        let (key, step) = (key.into(), step::<Self>()?);
        let name = JobName::<Self::Job>(&key);
        match db.run(&name, |conn, _| Ok(Self::Job::row_state(conn, &key)?))? {
            Some(row) => Ok(step.is_locked(&row)),
            None => Err(name.not_found()),
        }
    }
}

/// The constants of `S` as values, checked.
fn step<S: StatusTracked>() -> Result<Step<StatusOf<S>>> {
    let step = Step {
        pending: S::PENDING,
        in_progress: S::IN_PROGRESS,
        failed: S::FAILED,
        succeeded: S::SUCCEEDED,
        ignored: S::IGNORED,
        more_pending: S::MORE_PENDING,
        lock_expire: S::LOCK_EXPIRE,
        max_retry: S::MAX_RETRY,
    };
    let problem = if let Some((one, other)) = step.clash() {
        format!(
            "{one} and {other} of step `{}` are the same status; give each its own",
            std::any::type_name::<S>()
        )
    } else if let Some(column) = S::Job::tracked_column_in_updates() {
        format!(
            "`{}` sets the tracked column `{column}`; take that field out",
            std::any::type_name::<UpdatesOf<S>>()
        )
    } else {
        return Ok(step);
    };
    Err(Error::Misconfigured {
        job: S::Job::TABLE.into(),
        problem,
    })
}
