//! `StatusTracked`: the codes and the policy of a step, and its calls.

mod filtered;
mod step;
mod step_info;

use std::any::TypeId;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use r2d2::{ManageConnection, Pool};

use crate::attempt::claim;
use crate::attempt::expiry;
use crate::attempt::running::RunningJob;
use crate::db::connection::TrackerConnection;
use crate::db::database::Database;
use crate::db::pool::AnyPool;
use crate::db::retry::Fault;
use crate::error::{BoxError, Error, Result};
use crate::observer::{self, Observer, Observing, Source, Transition};
use crate::rows::bulk;
use crate::rows::create;
use crate::rows::reset;
use crate::sql::filter::Condition;
use crate::sql::results::{Obstacle, Order, Search};
use crate::sql::store::JobStore;
use crate::sql::table_rows::RowName;
use crate::sql::table_rows::Typed;
use crate::sql::tracked_table::{ShowsStatus, Tracked};
use crate::worker::Worker;
use status_protocol::Failure;

pub use filtered::Filtered;
pub(crate) use step::step;
use step::step_over;

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
    /// More statuses from which this step starts, such as the `SUCCEEDED` of an
    /// earlier step. None by default.
    const MORE_PENDING: &'static [StatusOf<Self>] = &[];
    /// After this time without a renewal a lock counts as abandoned, and its worker
    /// as dead. 15 minutes by default. It must be longer than any attempt takes,
    /// unless the attempt calls [`renew`](RunningJob::renew). Less than a
    /// millisecond is refused on first use; more than a century counts as a century.
    const LOCK_EXPIRE: Duration = Duration::from_secs(15 * 60);
    /// Failures in a row, crashes included, after which a job is ignored.
    /// 3 by default.
    const MAX_RETRY: i32 = 3;
    /// How long a job waits after its failure number `retry` in a row, crashes
    /// included, before it is ready again; see [`backoff`](crate::backoff).
    /// `None` by default: it is ready at once. The table needs a `run_at` column:
    /// without one, a step that sets this does not compile. If it panics, the job is
    /// ready at once, and its `errors` say so. A delay of more than a century counts
    /// as a century.
    ///
    /// ```compile_fail,E0080
    /// # mod schema { diesel::table! { jobs (id) { id -> Text, status -> Integer, create_at -> Timestamp, update_at -> Timestamp,
    /// #     lock -> Nullable<Text>, lock_at -> Nullable<Timestamp>, retry -> Integer, data -> Nullable<Json>, errors -> Json, } } }
    /// # use schema::jobs; use diesel::prelude::*; use std::time::Duration;
    /// # use diesel_status_tracker::{StatusTracked, backoff, job_table};
    /// # #[derive(Debug, Clone, Queryable, Selectable)] #[diesel(table_name = jobs)]
    /// # struct Job { id: String, status: i32 }
    /// # #[derive(Default, Insertable, AsChangeset)] #[diesel(table_name = jobs)]
    /// # struct JobUpdates { data: Option<serde_json::Value> }
    /// # job_table! { Job in jobs { key: (id: String), status: i32, updates: JobUpdates, connections: [SqliteConnection] } }
    /// impl StatusTracked for Job {
    ///     // …
    /// #   type Job = Job;
    /// #   const PENDING: i32 = 10;
    /// #   const IN_PROGRESS: i32 = 20;
    /// #   const FAILED: i32 = 30;
    /// #   const SUCCEEDED: i32 = 40;
    /// #   const IGNORED: i32 = 50;
    ///     const RETRY_DELAY: Option<fn(i32) -> Duration> = Some(|_| backoff::constant(Duration::from_secs(60)));
    /// }
    /// # fn main() { let _ = Job::reset(&mut SqliteConnection::establish(":memory:").unwrap(), "job-1"); }
    /// ```
    const RETRY_DELAY: Option<fn(retry: i32) -> Duration> = None;
    /// Conflicts in a row after which a worker counts a failed attempt. A conflict:
    /// the database rolls back the transaction of the job because of another
    /// transaction. Before that the worker releases the job each time, and runs it
    /// again after a pause that grows from a tenth of a second to ten seconds. 10 by
    /// default: released nine times, in about 16 to 33 seconds, and the tenth
    /// conflict is the failure. See [`Worker::run_in_transaction`].
    const MAX_CONFLICTS: i32 = 10;

    /// Changes what is recorded of a failed attempt: nothing by default.
    ///
    /// It is called for each error and each panic of the business logic, before
    /// anything of it is written to `errors` or to the log. It gets up to 64 KiB of
    /// each text; of the result 8 KiB are kept. The caller gets the error as it is.
    /// If `redact` itself panics, neither text is kept.
    ///
    /// It is not called for what this crate records itself, such as an expired lock.
    /// The database's answers to the statements of this crate are logged as they
    /// are. Rust's panic hook prints a panic as it is, too.
    ///
    /// ```
    /// # mod schema { diesel::table! { jobs (id) { id -> Text, status -> Integer, create_at -> Timestamp, update_at -> Timestamp,
    /// #     lock -> Nullable<Text>, lock_at -> Nullable<Timestamp>, retry -> Integer, data -> Nullable<Json>, errors -> Json, } } }
    /// # use schema::jobs; use diesel::prelude::*; use diesel::r2d2::{ConnectionManager, Pool};
    /// # #[derive(Debug, Clone, Queryable, Selectable)] #[diesel(table_name = jobs)]
    /// # struct Job { status: i32, errors: serde_json::Value }
    /// # #[derive(Default, Insertable, AsChangeset)] #[diesel(table_name = jobs)]
    /// # struct JobUpdates { data: Option<serde_json::Value> }
    /// use diesel_status_tracker::{Failure, StatusTracked, job_table};
    ///
    /// impl StatusTracked for Job {
    ///     // …
    /// #   type Job = Job;
    /// #   const PENDING: i32 = 10;
    /// #   const IN_PROGRESS: i32 = 20;
    /// #   const FAILED: i32 = 30;
    /// #   const SUCCEEDED: i32 = 40;
    /// #   const IGNORED: i32 = 50;
    ///     fn redact(failure: &mut Failure) {
    ///         failure.traceback.clear();
    ///         failure.error = without_keys(&failure.error);
    ///     }
    /// }
    ///
    /// fn without_keys(text: &str) -> String {
    ///     let words = text.split(' ');
    ///     let shown = words.map(|word| if word.starts_with("sk_") { "***" } else { word });
    ///     shown.collect::<Vec<_>>().join(" ")
    /// }
    /// # #[cfg(feature = "sqlite")]
    /// # job_table! { Job in jobs { key: (id: String), status: i32, updates: JobUpdates, connections: [SqliteConnection] } }
    ///
    /// # #[cfg(not(feature = "sqlite"))] fn main() {}
    /// # #[cfg(feature = "sqlite")] fn main() -> Result<(), diesel_status_tracker::Error> {
    /// # let pool = Pool::builder().max_size(1).build(ConnectionManager::<SqliteConnection>::new(":memory:")).unwrap();
    /// # diesel::sql_query("CREATE TABLE jobs (id TEXT PRIMARY KEY, status INTEGER NOT NULL, create_at TIMESTAMP NOT NULL,
    /// #     update_at TIMESTAMP NOT NULL, lock TEXT, lock_at TIMESTAMP, retry INTEGER NOT NULL, data TEXT, errors TEXT NOT NULL)")
    /// #     .execute(&mut pool.get().unwrap()).unwrap();
    /// # Job::create_and_save(&pool, "job-1", JobUpdates::default())?;
    /// Job::start(&pool, "job-1")?.fail("the key sk_4f9a is not valid")?;
    ///
    /// let job = Job::find(&pool, "job-1")?.unwrap();
    /// assert_eq!(job.errors["error"], "the key *** is not valid");
    /// # Ok(()) }
    /// ```
    fn redact(failure: &mut Failure) {
        let _as_it_is = failure;
    }

    /// Tells `observer` of every transition that the calls of this step make in this
    /// process, until the return value is dropped. See [`Observer`].
    ///
    /// ```
    /// # mod schema { diesel::table! { jobs (id) { id -> Text, status -> Integer, create_at -> Timestamp, update_at -> Timestamp,
    /// #     lock -> Nullable<Text>, lock_at -> Nullable<Timestamp>, retry -> Integer, data -> Nullable<Json>, errors -> Json, } } }
    /// # use schema::jobs; use diesel::prelude::*; use diesel::r2d2::{ConnectionManager, Pool};
    /// # #[derive(Debug, Clone, Queryable, Selectable)] #[diesel(table_name = jobs)]
    /// # struct Job { status: i32 }
    /// # #[derive(Default, Insertable, AsChangeset)] #[diesel(table_name = jobs)]
    /// # struct JobUpdates { data: Option<serde_json::Value> }
    /// # use diesel_status_tracker::{StatusTracked, job_table};
    /// # impl StatusTracked for Job { type Job = Job; const PENDING: i32 = 10; const IN_PROGRESS: i32 = 20; const FAILED: i32 = 30; const SUCCEEDED: i32 = 40; const IGNORED: i32 = 50; }
    /// # #[cfg(feature = "sqlite")]
    /// # job_table! { Job in jobs { key: (id: String), status: i32, updates: JobUpdates, connections: [SqliteConnection] } }
    /// # #[cfg(not(feature = "sqlite"))] fn main() {}
    /// # #[cfg(feature = "sqlite")] fn main() -> Result<(), diesel_status_tracker::Error> {
    /// # let pool = Pool::builder().max_size(1).build(ConnectionManager::<SqliteConnection>::new(":memory:")).unwrap();
    /// # diesel::sql_query("CREATE TABLE jobs (id TEXT PRIMARY KEY, status INTEGER NOT NULL, create_at TIMESTAMP NOT NULL,
    /// #     update_at TIMESTAMP NOT NULL, lock TEXT, lock_at TIMESTAMP, retry INTEGER NOT NULL, data TEXT, errors TEXT NOT NULL)")
    /// #     .execute(&mut pool.get().unwrap()).unwrap();
    /// use std::sync::mpsc;
    /// use diesel_status_tracker::Event;
    ///
    /// let (sender, told) = mpsc::channel();
    /// let observing = Job::observe(move |event: &Event<'_>| {
    ///     let _gone = sender.send((event.step.to_owned(), event.transition.name()));
    /// });
    ///
    /// Job::create_and_save(&pool, "job-1", JobUpdates::default())?;
    /// Job::run_job(&pool, "job-1", |_job, _updates| Ok(()))?;
    ///
    /// drop(observing);
    /// let told: Vec<_> = told.iter().collect();
    /// assert_eq!(told, ["created", "started", "succeeded"].map(|name| ("Job".to_owned(), name)));
    /// # Ok(()) }
    /// ```
    fn observe(observer: impl Observer + 'static) -> Observing {
        observer::register(Some(TypeId::of::<Self>()), Arc::new(observer))
    }

    /// Inserts a `PENDING` row and returns it.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`] if the key exists; [`Error::OutcomeUnknown`] if it
    /// exists after the answer to an earlier try was lost.
    fn create_and_save<D: Database>(
        db: D,
        key: impl Into<KeyOf<Self>>,
        updates: UpdatesOf<Self>,
    ) -> Result<Self::Job>
    where
        Self::Job: JobStore<D::Connection>,
    {
        let key = key.into();
        let job = create::one(
            db,
            &key,
            &updates,
            &step_over::<Self, D::Connection>()?,
            |maybe_applied| {
                if maybe_applied {
                    Err(Fault::RowChanged)
                } else {
                    Ok(())
                }
            },
        )?
        .ok_or_else(|| Error::AlreadyExists {
            job: RowName::of::<Self::Job>(&key).to_string(),
        })?;
        pending::<Self>(Transition::Created, 1, Some(&key));
        Ok(job)
    }

    /// Inserts a `PENDING` row and returns it, or `None` where the key exists.
    ///
    /// # Errors
    ///
    /// Only those of all calls.
    fn create_if_absent<D: Database>(
        db: D,
        key: impl Into<KeyOf<Self>>,
        updates: UpdatesOf<Self>,
    ) -> Result<Option<Self::Job>>
    where
        Self::Job: JobStore<D::Connection>,
    {
        let key = key.into();
        let step = step_over::<Self, D::Connection>()?;
        let created = create::one(db, &key, &updates, &step, |_| Ok(()))?;
        if created.is_some() {
            pending::<Self>(Transition::Created, 1, Some(&key));
        }
        Ok(created)
    }

    /// Inserts a `PENDING` row whose key the database makes, and returns it.
    ///
    /// Each column of the key needs a default in the table: `bigserial`, `GENERATED …
    /// AS IDENTITY`, any `DEFAULT`, SQLite's `INTEGER PRIMARY KEY`. On MySQL and MariaDB
    /// the key is one `AUTO_INCREMENT` column, the only ones whose value they tell; the
    /// time of creation may be part of the key beside it. A key of which the caller
    /// knows a part is inserted by [`create_and_save`](Self::create_and_save), or by
    /// plain Diesel. The row type should hold the key.
    ///
    /// ```
    /// # mod schema { diesel::table! { mails (id) { id -> BigInt, status -> Integer, create_at -> Timestamp, update_at -> Timestamp,
    /// #     lock -> Nullable<Text>, lock_at -> Nullable<Timestamp>, retry -> Integer, errors -> Json, sent_to -> Text, } } }
    /// # use schema::mails; use diesel::prelude::*; use diesel::r2d2::{ConnectionManager, Pool};
    /// # use diesel_status_tracker::{StatusTracked, job_table};
    /// # #[derive(Debug, Queryable, Selectable)] #[diesel(table_name = mails)]
    /// # struct Mail { id: i64, status: i32 }
    /// # #[derive(Default, Insertable, AsChangeset)] #[diesel(table_name = mails)]
    /// # struct MailUpdates { sent_to: Option<String> }
    /// # impl StatusTracked for Mail { type Job = Mail; const PENDING: i32 = 10; const IN_PROGRESS: i32 = 20; const FAILED: i32 = 30; const SUCCEEDED: i32 = 40; const IGNORED: i32 = 50; }
    /// # #[cfg(feature = "sqlite")]
    /// job_table! {
    ///     Mail in mails { key: (id: i64), status: i32, updates: MailUpdates, connections: [SqliteConnection] }
    /// }
    /// # #[cfg(not(feature = "sqlite"))] fn main() {}
    /// # #[cfg(feature = "sqlite")] fn main() -> Result<(), diesel_status_tracker::Error> {
    /// # let pool = Pool::builder().max_size(1).build(ConnectionManager::<SqliteConnection>::new(":memory:")).unwrap();
    /// # diesel::sql_query("CREATE TABLE mails (id INTEGER PRIMARY KEY, status INTEGER NOT NULL, create_at TIMESTAMP NOT NULL,
    /// #     update_at TIMESTAMP NOT NULL, lock TEXT, lock_at TIMESTAMP, retry INTEGER NOT NULL, errors TEXT NOT NULL, sent_to TEXT NOT NULL)")
    /// #     .execute(&mut pool.get().unwrap()).unwrap();
    ///
    /// let mail = Mail::create(&pool, MailUpdates { sent_to: Some("ada@example.org".into()) })?;
    /// assert_eq!(mail.id, 1);
    /// Mail::run_job(&pool, mail.id, |_, _| Ok(()))?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::NotCreated`] if the database makes no key; nothing was inserted.
    /// [`Error::OutcomeUnknown`] if the connection broke before the answer came: an
    /// insert without a key is not repeated, since it could become two rows.
    fn create<D: Database>(db: D, updates: UpdatesOf<Self>) -> Result<Self::Job>
    where
        Self::Job: JobStore<D::Connection>,
    {
        let job = create::without_key(db, &updates, &step_over::<Self, D::Connection>()?)?;
        pending::<Self>(Transition::Created, 1, None);
        Ok(job)
    }

    /// Inserts `PENDING` rows in few statements and one transaction, and returns how
    /// many are new. Rows whose key exists are skipped.
    ///
    /// # Errors
    ///
    /// [`Error::OutcomeUnknown`] if an answer was lost and the table does not tell
    /// which rows are new: either all exist, or none. After any other error nothing
    /// was inserted, and the call can be repeated. With up to 10,000 rows it tries
    /// again itself after a transient error.
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
        let created = create::many::<D, Self::Job>(db, rows, &step_over::<Self, D::Connection>()?)?;
        pending::<Self>(Transition::Created, created, None);
        Ok(created)
    }

    /// Claims the job and returns the guard of the attempt.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Locked`], [`Error::AlreadySucceeded`],
    /// [`Error::Ignored`], [`Error::NotReady`], [`Error::UpdateDropped`]: the
    /// row is as it was.
    fn start<M: ManageConnection<Connection: TrackerConnection>>(
        pool: &Pool<M>,
        key: impl Into<KeyOf<Self>>,
    ) -> Result<RunningJob<Self::Job, M::Connection>>
    where
        Self::Job: JobStore<M::Connection>,
    {
        claim::by_key::<Self, _, _>(
            &AnyPool::of(pool),
            &key.into(),
            step_over::<Self, M::Connection>()?,
        )
    }

    /// Claims the job, runs `work`, and records success together with the updates
    /// that `work` has set, or the failure without them. A panic is recorded as a
    /// failure, then goes on.
    ///
    /// # Errors
    ///
    /// Those of [`start`](Self::start) before `work` runs. After that
    /// [`Error::Failed`] or [`Error::Released`] with the error of `work`, see
    /// [`Retry`](crate::Retry); or what [`RunningJob::succeed`] returns.
    fn run_job<M, T>(
        pool: &Pool<M>,
        key: impl Into<KeyOf<Self>>,
        work: impl FnOnce(
            &RunningJob<Self::Job, M::Connection>,
            &mut UpdatesOf<Self>,
        ) -> Result<T, BoxError>,
    ) -> Result<T>
    where
        M: ManageConnection<Connection: TrackerConnection>,
        Self::Job: JobStore<M::Connection>,
    {
        Self::start(pool, key)?.run(work)
    }

    /// Claims the next ready job, in the order of `job_table!`, and runs it as
    /// [`run_job`](Self::run_job) does. `None` if no ready job is free now: others
    /// may hold some that will be ready again.
    ///
    /// # Errors
    ///
    /// Those of [`run_job`](Self::run_job), without the refusals.
    fn run_next<M, T>(
        pool: &Pool<M>,
        work: impl FnOnce(
            &RunningJob<Self::Job, M::Connection>,
            &mut UpdatesOf<Self>,
        ) -> Result<T, BoxError>,
    ) -> Result<Option<T>>
    where
        M: ManageConnection<Connection: TrackerConnection>,
        Self::Job: JobStore<M::Connection>,
    {
        run_first(Self::claim_next(pool, 1)?, work)
    }

    /// Claims up to `n` ready jobs at a time, in the order of `job_table!`, each with
    /// its own guard. It does not wait for jobs that others are claiming. It returns
    /// fewer, or none, if fewer are free now: others may hold some that will be ready
    /// again.
    ///
    /// More than 1,000 are claimed by several statements. If one of these fails, the
    /// jobs of the earlier ones are returned.
    ///
    /// All locks begin at the same time. So `LOCK_EXPIRE` must be longer than the
    /// time until the last job is done, or you [`renew`](RunningJob::renew) those that
    /// wait, as the worker does.
    ///
    /// # Errors
    ///
    /// [`Error::Database`] or [`Error::UpdateDropped`], with the name of a row, if
    /// none of the ready rows can be claimed: the row type does not fit them, or the
    /// database refuses or drops the update. If others can be claimed, such rows are
    /// logged and passed over.
    fn claim_next<M: ManageConnection<Connection: TrackerConnection>>(
        pool: &Pool<M>,
        n: usize,
    ) -> Result<Vec<RunningJob<Self::Job, M::Connection>>>
    where
        Self::Job: JobStore<M::Connection>,
    {
        claim_several::<Self, _>(&AnyPool::of(pool), n, &Search::default())
    }

    /// Those ready jobs that a condition lets pass, in Diesel's DSL: for a table that
    /// holds jobs of many kinds, or of many customers. The result has the calls
    /// [`run_next`](Filtered::run_next), [`claim_next`](Filtered::claim_next) and
    /// [`worker`](Filtered::worker).
    ///
    /// `Job::filter(jobs::kind.eq("mail")).run_next(&pool, …)`
    ///
    /// The condition owns its values, since a worker may outlive the caller. One that
    /// is put together when the program runs is [`into_boxed`](Filtered::into_boxed).
    /// See [`Filtered`].
    fn filter<P>(condition: P) -> Filtered<Self, P>
    where
        P: Condition<Self::Job> + Send + Sync + 'static,
    {
        Filtered::new(condition)
    }

    /// A worker, which runs the ready jobs on its own threads; see [`Worker`].
    ///
    /// ```no_run
    /// # use diesel::prelude::*; use diesel_status_tracker::{JobStore, StatusTracked};
    /// # fn main() {}
    /// # #[cfg(feature = "sqlite")]
    /// # fn drain<Job: StatusTracked<Job = Job> + JobStore<SqliteConnection> + Send>(
    /// #     pool: diesel::r2d2::Pool<diesel::r2d2::ConnectionManager<SqliteConnection>>) -> Result<(), diesel_status_tracker::Error>
    /// # where diesel_status_tracker::UpdatesOf<Job>: Send {
    /// let summary = Job::worker(&pool).threads(4).batch(10).run_until_empty(|job, updates| {
    ///     Ok(()) // the work
    /// })?;
    /// println!("{summary}");
    /// # Ok(()) }
    /// ```
    fn worker<M: ManageConnection<Connection: TrackerConnection>>(
        pool: &Pool<M>,
    ) -> Worker<Self, M::Connection>
    where
        Self::Job: JobStore<M::Connection>,
    {
        Worker::new(AnyPool::of(pool), None)
    }

    /// Claims the job, then runs `work` in a transaction that commits together with
    /// the success mark, or not at all. What `work` writes on the connection that it
    /// gets happens exactly once, however often the job is attempted, by however many
    /// workers, and whenever one dies.
    ///
    /// An error or a panic of `work`, a lost lock or a failed commit rolls everything
    /// back. A failure is then recorded as by [`run_job`](Self::run_job). The same
    /// happens if an error broke the transaction and `work` ignored it.
    ///
    /// # Errors
    ///
    /// Those of [`start`](Self::start) before `work` runs. After that
    /// [`Error::Failed`] with the error of `work` or of the commit;
    /// [`Error::Released`] if the database rolled the transaction back because of
    /// another (a deadlock, a serialization failure, a lock timeout), or if the
    /// connection broke at the end: no attempt is counted, and the job is ready again;
    /// [`Error::LockLost`] if the attempt was expired; [`Error::OutcomeUnknown`] if
    /// the answer to the commit was lost and the row has changed since.
    fn run_job_in_transaction<M, T>(
        pool: &Pool<M>,
        key: impl Into<KeyOf<Self>>,
        work: impl FnOnce(&mut M::Connection, &Self::Job, &mut UpdatesOf<Self>) -> Result<T, BoxError>,
    ) -> Result<T>
    where
        M: ManageConnection<Connection: TrackerConnection>,
        Self::Job: JobStore<M::Connection>,
    {
        Self::start(pool, key)?.run_in_transaction(work)
    }

    /// Reads a row, `None` where no row has the key.
    ///
    /// # Errors
    ///
    /// Only those of all calls.
    fn find<D: Database>(mut db: D, key: impl Into<KeyOf<Self>>) -> Result<Option<Self::Job>>
    where
        Self::Job: JobStore<D::Connection>,
    {
        let key = key.into();
        db.run(&RowName::of::<Self::Job>(&key), |conn, _| {
            Ok(Self::Job::row(conn, &key)?)
        })
    }

    /// Reads up to `limit` rows with this status.
    ///
    /// # Errors
    ///
    /// Only those of all calls.
    fn query_by_status<D: Database>(
        mut db: D,
        status: StatusOf<Self>,
        limit: i64,
        order: Order,
    ) -> Result<Vec<Self::Job>>
    where
        Self::Job: JobStore<D::Connection>,
    {
        db.run(&Self::Job::table_name(), |conn, _| {
            Ok(Self::Job::rows_by_status(conn, status, limit, order)?)
        })
    }

    /// Counts the rows of the table by status, those of other steps too.
    /// Statuses without a row are left out.
    ///
    /// # Errors
    ///
    /// Only those of all calls.
    fn count_by_status<D: Database>(mut db: D) -> Result<Vec<(StatusOf<Self>, i64)>>
    where
        Self::Job: JobStore<D::Connection>,
    {
        db.run(&Self::Job::table_name(), |conn, _| {
            Ok(Self::Job::status_counts(conn)?)
        })
    }

    /// Makes a job `PENDING` again, with `retry` 0 and ready now. Use it for failed,
    /// ignored and succeeded jobs, and for rows of this step that somebody has changed
    /// by hand. `errors` stays.
    ///
    /// It waits for a row that another transaction holds, but not for ever: a quarter
    /// of a second at each try on PostgreSQL, a second on MariaDB. With a pool there
    /// are up to ten tries, with a connection one. MySQL waits for
    /// `innodb_lock_wait_timeout`.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::Locked`] while an attempt holds it;
    /// [`Error::NotReady`] where the row is in another step;
    /// [`Error::UpdateDropped`] where a trigger or a rule drops the update;
    /// [`Error::Database`] where another transaction holds the row for longer
    /// than this call waits.
    ///
    /// In a transaction of yours on MySQL or MariaDB, [`Error::Locked`] may
    /// also mean that the row has changed since the transaction began to read: the
    /// transaction still sees the old row. End it, then call again.
    fn reset<D: Database>(db: D, key: impl Into<KeyOf<Self>>) -> Result<()>
    where
        Self::Job: JobStore<D::Connection>,
    {
        let (key, step) = (key.into(), step::<Self>()?);
        reset::one(db, &Typed::<Self::Job>::new(), &key, &step)?;
        pending::<Self>(Transition::Reset, 1, Some(&key));
        Ok(())
    }

    /// [`reset`](Self::reset)s the jobs with these keys, and returns how many it has
    /// reset. It skips keys without a row, jobs that an attempt holds, jobs of another
    /// step, and jobs whose update a trigger or a rule drops. A row that another
    /// transaction holds is tried again for about a second.
    ///
    /// # Errors
    ///
    /// They come after all other jobs have been reset, and name the first row that
    /// could not be: [`Error::Locked`] if another transaction still holds it,
    /// [`Error::Database`] if the database refuses the update. After any other error
    /// some jobs may have been reset.
    fn reset_many<D, K>(db: D, keys: impl IntoIterator<Item = K>) -> Result<usize>
    where
        D: Database,
        K: Into<KeyOf<Self>>,
        Self::Job: JobStore<D::Connection>,
    {
        let keys = keys.into_iter().map(Into::into);
        let (step, mut count) = (step::<Self>()?, 0);
        let reset = reset::many(db, &Typed::<Self::Job>::new(), keys, &step, &mut count);
        pending::<Self>(Transition::Reset, count, None);
        reset.map(|()| count)
    }

    /// Deletes the rows that have one of `statuses`, that nobody holds, and that have
    /// not changed for the time `unchanged_for`. Returns how many. Use it for tables
    /// that should not grow for ever:
    /// `Job::prune(&pool, &[Job::SUCCEEDED, Job::IGNORED], a_month)`.
    ///
    /// It deletes in chunks, each in its own short transaction if `db` is a pool. With
    /// an index on the finished rows it does not read all others, as the README shows.
    ///
    /// # Errors
    ///
    /// [`Error::Database`] if a row of another table refers to one of the rows. It
    /// comes after all others have been deleted. Rows that another transaction holds,
    /// and those whose deletion a trigger or a rule drops, are logged and stay. After
    /// any other error some rows may have been deleted.
    fn prune<D: Database>(
        db: D,
        statuses: &[StatusOf<Self>],
        unchanged_for: Duration,
    ) -> Result<usize>
    where
        Self::Job: JobStore<D::Connection>,
    {
        step::<Self>()?;
        let (table, mut count) = (Typed::<Self::Job>::new(), 0);
        let pruned = bulk::prune(db, &table, statuses, unchanged_for, &mut count);
        source::<Self>().tell(Transition::Pruned, count, None);
        pruned.map(|()| count)
    }

    /// Ends the attempts of this step whose lock has expired, and returns how many.
    /// Each counts as failed, is recorded in `errors`, and makes the job ready again
    /// or ignored. [`start`](Self::start) does that for its own job. Call this now and
    /// then for the others, from one process or from all.
    ///
    /// # Errors
    ///
    /// Only those of all calls. After an error some may have been expired.
    fn expire_locks<D: Database>(db: D) -> Result<usize>
    where
        Self::Job: JobStore<D::Connection>,
    {
        let table = Typed::<Self::Job>::new();
        let step = step::<Self>()?;
        let mut once = expiry::Once {
            table: &table,
            step: &step,
            source: Some(source::<Self>()),
        };
        expiry::expire_all(db, &table, &step, &mut once)
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

    /// Whether a live attempt, of any step, or a lock by hand holds the job now. It
    /// asks the database, since only the database's clock tells whether a lock has
    /// expired.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    fn is_locked<D: Database>(mut db: D, key: impl Into<KeyOf<Self>>) -> Result<bool>
    where
        Self::Job: JobStore<D::Connection>,
    {
        let (key, step) = (key.into(), step::<Self>()?);
        let name = RowName::of::<Self::Job>(&key);
        match db.run(&name, |conn, _| Ok(Self::Job::row_state(conn, &key)?))? {
            Some(row) => Ok(step.is_locked(&row)),
            None => Err(name.not_found()),
        }
    }
}

/// Claims up to `n` of the ready jobs that `search` looks for.
fn claim_several<S: StatusTracked, C: TrackerConnection>(
    pool: &AnyPool<C>,
    n: usize,
    search: &Search<KeyOf<S>>,
) -> Result<Vec<RunningJob<S::Job, C>>>
where
    S::Job: JobStore<C>,
{
    let step = step_over::<S, C>()?;
    if n == 0 {
        return Ok(Vec::new());
    }
    let mut next = claim::next::<S, S::Job, _>(pool, n, step, search, None)?;
    match passed_over(S::Job::table_name(), next.passed_over) {
        Some(error) if next.jobs.is_empty() => Err(error),
        _ => {
            for job in &mut next.jobs {
                job.attempt.started();
            }
            Ok(next.jobs)
        }
    }
}

/// Logs why rows were passed over, but for those that another transaction holds.
/// Returns the first error.
fn passed_over<K: Debug>(table: &str, rows: Vec<(K, Obstacle)>) -> Option<Error> {
    let mut first = None;
    for (key, obstacle) in rows {
        if matches!(obstacle, Obstacle::Held) {
            continue;
        }
        let error = obstacle.into_error(RowName::new(table, &key).to_string());
        tracing::error!(%error, "passed over");
        first.get_or_insert(error);
    }
    first
}

/// Runs the job that was claimed, if one was.
fn run_first<J: JobStore<C>, C: TrackerConnection, T>(
    mut claimed: Vec<RunningJob<J, C>>,
    work: impl FnOnce(&RunningJob<J, C>, &mut J::Updates) -> Result<T, BoxError>,
) -> Result<Option<T>> {
    claimed.pop().map(|job| job.run(work)).transpose()
}

/// So many jobs are pending now: wakes the workers of this process, and tells the
/// observers.
fn pending<S: StatusTracked>(transition: Transition, jobs: usize, key: Option<&dyn Debug>) {
    if jobs > 0 {
        let source = source::<S>();
        source.ring(&S::PENDING, None);
        source.tell(transition, jobs, key);
    }
}

/// The step, as its calls report.
fn source<S: StatusTracked>() -> Source {
    Source::of::<S>(<S::Job as Tracked>::info)
}
