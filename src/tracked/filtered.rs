//! `Filtered`: the calls on those ready jobs that a condition lets pass.

use std::fmt::{self, Debug};
use std::marker::PhantomData;
use std::sync::Arc;

use diesel::backend::Backend;
use diesel::query_builder::QueryFragment;
use r2d2::{ManageConnection, Pool};

use super::{StatusTracked, UpdatesOf, claim_several, run_first};
use crate::attempt::running::RunningJob;
use crate::db::connection::TrackerConnection;
use crate::db::pool::AnyPool;
use crate::error::{BoxError, Result};
use crate::sql::filter::{Both, Boxed, Condition, Filter, SendsFilter};
use crate::sql::results::Search;
use crate::sql::store::JobStore;
use crate::worker::Worker;

/// The ready jobs of step `S` that a condition of type `P` lets pass; made by
/// [`StatusTracked::filter`]. Its calls are those of the step, on these jobs alone.
///
/// The condition is part of each statement that finds or claims a job. A job that
/// does not match when it is claimed is left as it is, and one that stops matching
/// afterwards runs to its end. A condition that is NULL for a row does not let it
/// pass, as in Diesel's own `filter`.
///
/// ```
/// # mod schema { diesel::table! { jobs (id) { id -> Text, kind -> Text, size -> Nullable<Integer>, status -> Integer, create_at -> Timestamp,
/// #     update_at -> Timestamp, lock -> Nullable<Text>, lock_at -> Nullable<Timestamp>, retry -> Integer, errors -> Json, } } }
/// # use schema::jobs; use diesel::prelude::*; use diesel::r2d2::{ConnectionManager, Pool};
/// # use diesel_status_tracker::{StatusTracked, job_table};
/// # #[derive(Debug, Clone, Queryable, Selectable)] #[diesel(table_name = jobs)] struct Job { id: String, status: i32 }
/// # #[derive(Default, Insertable, AsChangeset)] #[diesel(table_name = jobs)] struct JobUpdates { kind: Option<String>, size: Option<i32> }
/// # impl StatusTracked for Job { type Job = Job; const PENDING: i32 = 10; const IN_PROGRESS: i32 = 20; const FAILED: i32 = 30;
/// #     const SUCCEEDED: i32 = 40; const IGNORED: i32 = 50; }
/// # #[cfg(feature = "sqlite")]
/// # job_table! { Job in jobs { key: (id: String), status: i32, updates: JobUpdates, connections: [SqliteConnection] } }
/// # #[cfg(not(feature = "sqlite"))] fn main() {}
/// # #[cfg(feature = "sqlite")] fn main() -> Result<(), diesel_status_tracker::Error> {
/// # let pool = Pool::builder().max_size(1).build(ConnectionManager::<SqliteConnection>::new(":memory:")).unwrap();
/// # diesel::sql_query("CREATE TABLE jobs (id TEXT PRIMARY KEY, kind TEXT NOT NULL, size INTEGER, status INTEGER NOT NULL, create_at TIMESTAMP NOT NULL,
/// #     update_at TIMESTAMP NOT NULL, lock TEXT, lock_at TIMESTAMP, retry INTEGER NOT NULL, errors TEXT NOT NULL)")
/// #     .execute(&mut pool.get().unwrap()).unwrap();
/// # for (id, kind, size) in [("job-1", "report", 1), ("job-2", "sms", 500), ("job-3", "mail", 5)] {
/// #     Job::create_and_save(&pool, id, JobUpdates { kind: Some(kind.into()), size: Some(size) })?;
/// # }
/// let messages = Job::filter(jobs::kind.eq_any(["mail", "sms"]));
/// let small = messages.clone().filter(jobs::size.lt(100));
///
/// let id = small.run_next(&pool, |job, _| Ok(job.id.clone()))?;
/// assert_eq!(id.as_deref(), Some("job-3"));
/// assert_eq!(small.run_next(&pool, |_, _| Ok(()))?, None);
///
/// for job in messages.claim_next(&pool, 10)? {
///     assert_eq!(job.id, "job-2");
///     job.succeed()?;
/// }
/// # Ok(()) }
/// ```
///
/// # Speed
///
/// Values in the condition are bound, and each of its shapes is prepared once, as all
/// statements are: up to 32 shapes a table. On SQLite and MySQL, `eq_any` is a list in
/// the text, and Diesel does not keep such a statement prepared: write
/// `kind.eq("mail").or(kind.eq("sms"))` where that counts. PostgreSQL gets an array,
/// and prepares it once, however long it is.
///
/// [The README](crate#filters) shows the indexes.
pub struct Filtered<S, P> {
    condition: Arc<P>,
    step: PhantomData<fn() -> S>,
}

impl<S: StatusTracked, P> Filtered<S, P> {
    pub(super) fn new(condition: P) -> Self {
        Self {
            condition: Arc::new(condition),
            step: PhantomData,
        }
    }

    /// Those of the jobs that this condition lets pass too.
    #[must_use]
    pub fn filter<Q>(self, condition: Q) -> Filtered<S, Both<P, Q>>
    where
        Q: Condition<S::Job> + Send + Sync + 'static,
    {
        Filtered::new(Both(self.condition, condition))
    }

    /// The same jobs of a type that does not tell their condition, as Diesel's
    /// `into_boxed` does: for conditions that are put together when the program runs.
    ///
    /// ```
    /// # mod schema { diesel::table! { jobs (id) { id -> Text, kind -> Text, tenant -> Integer, status -> Integer, create_at -> Timestamp,
    /// #     update_at -> Timestamp, lock -> Nullable<Text>, lock_at -> Nullable<Timestamp>, retry -> Integer, errors -> Json, } } }
    /// # use schema::jobs; use diesel::prelude::*;
    /// # use diesel_status_tracker::{StatusTracked, job_table};
    /// # #[derive(Debug, Clone, Queryable, Selectable)] #[diesel(table_name = jobs)] struct Job { id: String, status: i32 }
    /// # #[derive(Default, Insertable, AsChangeset)] #[diesel(table_name = jobs)] struct JobUpdates { kind: Option<String> }
    /// # impl StatusTracked for Job { type Job = Job; const PENDING: i32 = 10; const IN_PROGRESS: i32 = 20; const FAILED: i32 = 30;
    /// #     const SUCCEEDED: i32 = 40; const IGNORED: i32 = 50; }
    /// # #[cfg(feature = "sqlite")]
    /// # job_table! { Job in jobs { key: (id: String), status: i32, updates: JobUpdates, connections: [SqliteConnection] } }
    /// # #[cfg(not(feature = "sqlite"))] fn main() {}
    /// # #[cfg(feature = "sqlite")] fn main() {
    /// # let tenant = Some(7);
    /// use diesel::sqlite::Sqlite;
    ///
    /// let mut chosen = Job::filter(jobs::kind.eq("mail")).into_boxed::<Sqlite>();
    /// if let Some(tenant) = tenant {
    ///     chosen = chosen.filter(jobs::tenant.eq(tenant)).into_boxed();
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn into_boxed<DB: Backend>(self) -> Filtered<S, Boxed<DB>>
    where
        P: QueryFragment<DB> + Send + Sync + 'static,
    {
        Filtered::new(Boxed::of(self.condition))
    }

    /// Claims the next of these jobs and runs it, as [`StatusTracked::run_next`] does.
    /// `None` if none of them is free now.
    ///
    /// # Errors
    ///
    /// As [`StatusTracked::run_next`]; and [`Error::Database`](crate::Error::Database),
    /// with the name of the table, if the database cannot evaluate the condition, as
    /// with a division by zero. Nothing is claimed then. A database may evaluate the
    /// condition for any row of the table, also for one that is not ready.
    pub fn run_next<M, T>(
        &self,
        pool: &Pool<M>,
        work: impl FnOnce(&RunningJob<S::Job, M::Connection>, &mut UpdatesOf<S>) -> Result<T, BoxError>,
    ) -> Result<Option<T>>
    where
        M: ManageConnection<Connection: TrackerConnection + SendsFilter<S::Job, P>>,
        S::Job: JobStore<M::Connection>,
    {
        run_first(self.claim_next(pool, 1)?, work)
    }

    /// Claims up to `n` of these jobs at a time, as [`StatusTracked::claim_next`] does.
    ///
    /// # Errors
    ///
    /// As [`StatusTracked::claim_next`]; and [`Error::Database`](crate::Error::Database),
    /// with the name of the table, if the database cannot evaluate the condition.
    /// Nothing is claimed then.
    pub fn claim_next<M>(
        &self,
        pool: &Pool<M>,
        n: usize,
    ) -> Result<Vec<RunningJob<S::Job, M::Connection>>>
    where
        M: ManageConnection<Connection: TrackerConnection + SendsFilter<S::Job, P>>,
        S::Job: JobStore<M::Connection>,
    {
        let search = Search {
            filter: Some(self.over::<M::Connection>()),
            ..Search::default()
        };
        claim_several::<S, _>(&AnyPool::of(pool), n, &search)
    }

    /// A worker that runs these jobs; see [`StatusTracked::worker`]. Workers with
    /// different conditions, and others without one, share a table.
    ///
    /// Its [`run_until_empty`](Worker::run_until_empty) ends when none of *these* jobs
    /// is ready. It expires the dead attempts of all jobs of the step, whatever the
    /// condition: nobody else may be there to do it.
    ///
    /// If the database cannot evaluate the condition at the start, the worker ends with
    /// [`Error::Database`](crate::Error::Database), which names the table. Later it logs
    /// that, and tries again after a pause.
    pub fn worker<M>(&self, pool: &Pool<M>) -> Worker<S, M::Connection>
    where
        M: ManageConnection<Connection: TrackerConnection + SendsFilter<S::Job, P>>,
        S::Job: JobStore<M::Connection>,
    {
        Worker::new(AnyPool::of(pool), Some(self.over::<M::Connection>()))
    }

    /// The condition as it is sent over `C`.
    fn over<C: SendsFilter<S::Job, P>>(&self) -> Filter {
        Filter::over::<C, S::Job, P>(&self.condition)
    }
}

impl<S, P> Clone for Filtered<S, P> {
    fn clone(&self) -> Self {
        Self {
            condition: Arc::clone(&self.condition),
            step: PhantomData,
        }
    }
}

impl<S, P> Debug for Filtered<S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filtered")
            .field("step", &std::any::type_name::<S>())
            .field("condition", &std::any::type_name::<P>())
            .finish()
    }
}
