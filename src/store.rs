//! The seam between the calls and the SQL: one method a statement. The code
//! that `job_table!` generates implements it, per connection.

use std::fmt::{self, Debug, Display};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::error::Error;
use crate::keys::KeySet;
use crate::statement::LockWait;
use status_protocol::{FailureOutcome, RowState, Step};

/// A row type whose table is tracked; implemented by `job_table!` alone.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not tracked: its `job_table! {{ {Self} in <table> {{ … }} }}` is missing",
    label = "no `job_table!` names this type",
    note = "write `job_table! {{ {Self} in <table> {{ key: (…), status: …, updates: …, connections: […] }} }}` beside its `impl StatusTracked`"
)]
pub trait Tracked: Sized {
    /// The key, as the calls take it.
    type Key: Clone + PartialEq + Debug + Send + Sync + 'static;
    /// The type of the status codes.
    type Status: Copy + PartialEq + Debug + Send + Sync + 'static;
    /// The columns that the user sets.
    type Updates: Default;
    /// The table's name, for people.
    const TABLE: &'static str;
    /// Whether `job_table!` names a `run_at` column, which makes a job wait.
    const HAS_RUN_AT: bool;
    /// Whether the job that has not changed for the longest time is the next,
    /// since `job_table!` gives no other order.
    const OLDEST_FIRST: bool;
    /// A tracked column that `Updates` sets, if there is one.
    fn tracked_column_in_updates() -> Option<&'static str>;
}

/// A row type that shows its status; implemented by `job_table!`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not hold its status: `job_table!` says `status_field: none`"
)]
pub trait ShowsStatus: Tracked {
    /// The status of this row when it was read.
    fn status(&self) -> Self::Status;
}

/// A job as messages name it: table and key.
pub(crate) struct JobName<'a, J: Tracked>(pub(crate) &'a J::Key);

impl<J: Tracked> Display for JobName<'_, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", J::TABLE, self.0)
    }
}

impl<J: Tracked> JobName<'_, J> {
    pub(crate) fn not_found(&self) -> Error {
        Error::NotFound {
            job: self.to_string(),
        }
    }
}

/// The order in which [`query_by_status`](crate::StatusTracked::query_by_status) lists jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// The job that has not changed for the longest time first.
    #[default]
    OldestFirst,
    /// The job that changed last first.
    NewestFirst,
}

/// A claimed job: the row, and what the user's struct need not hold of it.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Claimed<J: Tracked> {
    pub key: J::Key,
    pub job: J,
    pub lock_at: Option<DateTime<Utc>>,
    pub retry: i32,
    pub errors: Value,
}

/// Which of the ready rows are looked for.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Search<K> {
    /// Not these.
    pub past: KeySet<K>,
    /// Only those that have not changed before. It is of use where the one that
    /// has not changed for the longest time is the first.
    pub since: Option<DateTime<Utc>>,
}

impl<K> Default for Search<K> {
    fn default() -> Self {
        Self {
            past: KeySet::default(),
            since: None,
        }
    }
}

/// A ready row.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Ready<K> {
    pub key: K,
    /// When it last changed.
    pub update_at: Option<DateTime<Utc>>,
}

/// What a claim of the next jobs got.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct Batch<J: Tracked> {
    pub claimed: Vec<Claimed<J>>,
    /// Rows that would have been claimed, and are as they were.
    pub passed_over: Vec<(J::Key, Obstacle)>,
    /// It is known that no row was ready.
    pub none_is_ready: bool,
    /// When that of the claimed rows had changed which had done so last.
    pub reached: Option<DateTime<Utc>>,
}

impl<J: Tracked> Default for Batch<J> {
    fn default() -> Self {
        Self {
            claimed: Vec::new(),
            passed_over: Vec::new(),
            none_is_ready: false,
            reached: None,
        }
    }
}

/// Why one row cannot be changed, while others can.
#[derive(Debug)]
pub enum Obstacle {
    /// Another transaction holds it.
    Held,
    /// The program cannot read it.
    Unreadable(diesel::result::Error),
    /// The database refuses the change: a constraint, a trigger.
    Refused(diesel::result::Error),
    /// The database accepts the change and does nothing: a trigger, a rule.
    Dropped,
}

impl Obstacle {
    /// As an error of `job`.
    pub(crate) fn into_error(self, job: String) -> Error {
        match self {
            Self::Held => Error::Locked {
                job,
                lock_at: None,
                expires_at: None,
            },
            Self::Unreadable(source) | Self::Refused(source) => Error::Database { job, source },
            Self::Dropped => Error::UpdateDropped { job },
        }
    }
}

/// A lock that has expired.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct DeadAttempt<J: Tracked> {
    pub key: J::Key,
    pub lock: String,
    pub retry: i32,
    pub errors: Value,
    pub now: DateTime<Utc>,
}

/// A lock that was renewed.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Renewed<K> {
    pub key: K,
    pub lock: String,
    pub lock_at: Option<DateTime<Utc>>,
}

type Query<T> = diesel::QueryResult<T>;

/// The statements on the table of `Self` over connection `C`. Those that
/// write return how many rows they changed: 1, or 0 when the fence refused.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not tracked over `{C}`: its `job_table!` does not list it in `connections`",
    label = "not listed in `connections`"
)]
#[allow(missing_docs)]
pub trait JobStore<C>: Tracked {
    /// A new row, `None` where the key exists.
    fn insert_row(
        conn: &mut C,
        key: &Self::Key,
        updates: &Self::Updates,
        step: &Step<Self::Status>,
    ) -> Query<Option<Self>>;
    /// New rows in few statements, without those whose key exists. Not atomic by itself.
    fn insert_rows(
        conn: &mut C,
        rows: &[(Self::Key, Self::Updates)],
        step: &Step<Self::Status>,
    ) -> Query<usize>;

    /// Locks one row if it is ready. `S` is the type whose constants `step`
    /// holds: it makes the statement's text.
    fn claim_row<S: 'static>(
        conn: &mut C,
        key: &Self::Key,
        token: &str,
        step: &Step<Self::Status>,
        wait: LockWait,
    ) -> Query<Option<Claimed<Self>>>;
    /// Locks up to `limit` of the rows that `search` looks for, in order. Waits
    /// for none that another transaction holds.
    fn claim_rows<S: 'static>(
        conn: &mut C,
        limit: usize,
        token: &str,
        step: &Step<Self::Status>,
        search: &Search<Self::Key>,
    ) -> Query<Batch<Self>>;
    /// The first `limit` ready rows, in order, read without locks; none that
    /// has changed before `since`.
    fn ready_rows(
        conn: &mut C,
        limit: usize,
        step: &Step<Self::Status>,
        since: Option<DateTime<Utc>>,
    ) -> Query<Vec<Ready<Self::Key>>>;
    /// Those of `keys` whose rows no other transaction holds, and none can
    /// take before this one ends. Waits for none.
    fn free_keys(conn: &mut C, keys: &[Self::Key]) -> Query<Vec<Self::Key>>;
    /// The failures in a row of one row, which may be unreadable otherwise.
    fn retries(conn: &mut C, key: &Self::Key) -> Query<Option<i32>>;
    /// Reads back a row that `token` holds.
    fn claimed_row(conn: &mut C, key: &Self::Key, token: &str) -> Query<Option<Claimed<Self>>>;
    /// The rows that `token` holds.
    fn claimed_keys(conn: &mut C, token: &str, step: &Step<Self::Status>) -> Query<Vec<Self::Key>>;
    /// What decides whether a job may start.
    fn row_state(conn: &mut C, key: &Self::Key) -> Query<Option<RowState<Self::Status>>>;

    fn succeed_row(
        conn: &mut C,
        key: &Self::Key,
        token: &str,
        updates: &Self::Updates,
        step: &Step<Self::Status>,
        wait: LockWait,
    ) -> Query<usize>;
    fn fail_row(
        conn: &mut C,
        key: &Self::Key,
        token: &str,
        setback: FailureOutcome<Self::Status>,
        errors: Value,
        wait: LockWait,
    ) -> Query<usize>;
    /// Marks rows as succeeded that set nothing else; an error where another
    /// transaction holds one of them.
    fn succeed_rows(
        conn: &mut C,
        keys: &[Self::Key],
        token: &str,
        step: &Step<Self::Status>,
    ) -> Query<usize>;
    /// Whether `updates` would not set any column.
    fn sets_nothing(updates: &Self::Updates) -> Query<bool>;
    /// Gives claimed rows back unworked, with this status.
    fn release_rows(
        conn: &mut C,
        keys: &[Self::Key],
        token: &str,
        status: Self::Status,
        wait: LockWait,
    ) -> Query<usize>;
    /// Takes the row for this transaction, if the lock on it still stands: from
    /// then on nobody else can change it.
    fn take_row(conn: &mut C, key: &Self::Key, token: &str) -> Query<bool>;
    /// Renews all locks on `keys` that are one of `tokens`, and tells which
    /// those are, with their new times.
    fn renew_rows(
        conn: &mut C,
        keys: &[Self::Key],
        tokens: &[&str],
        wait: LockWait,
    ) -> Query<Vec<Renewed<Self::Key>>>;
    /// Writes updates in mid-run, and renews the lock: its new time, `None`
    /// when the fence refused.
    fn save_row(
        conn: &mut C,
        key: &Self::Key,
        token: &str,
        updates: &Self::Updates,
    ) -> Query<Option<Option<DateTime<Utc>>>>;

    /// The keys of up to `limit` rows of the step whose lock has expired, the
    /// oldest lock first.
    fn dead_keys(conn: &mut C, limit: usize, step: &Step<Self::Status>) -> Query<Vec<Self::Key>>;
    /// The expired lock on one row of the step, if there is one.
    fn dead_attempt(
        conn: &mut C,
        key: &Self::Key,
        step: &Step<Self::Status>,
    ) -> Query<Option<DeadAttempt<Self>>>;
    /// Ends a dead attempt, unless it was renewed or finished meanwhile.
    fn expire_row(
        conn: &mut C,
        dead: &DeadAttempt<Self>,
        setback: FailureOutcome<Self::Status>,
        errors: Value,
        step: &Step<Self::Status>,
    ) -> Query<usize>;
    /// Back to pending, but for rows that somebody holds or that are another step's.
    fn reset_rows(
        conn: &mut C,
        keys: &[Self::Key],
        step: &Step<Self::Status>,
        wait: LockWait,
    ) -> Query<usize>;

    /// The keys of up to `limit` rows that nobody holds, with one of
    /// `statuses`, and that have not changed for the time `unchanged_for`.
    fn stale_keys(
        conn: &mut C,
        limit: usize,
        statuses: &[Self::Status],
        unchanged_for: Duration,
    ) -> Query<Vec<Self::Key>>;
    /// Deletes those of the rows that are still as [`stale_keys`](Self::stale_keys) found them.
    fn delete_stale_rows(
        conn: &mut C,
        keys: &[Self::Key],
        statuses: &[Self::Status],
        unchanged_for: Duration,
        wait: LockWait,
    ) -> Query<usize>;

    fn row(conn: &mut C, key: &Self::Key) -> Query<Option<Self>>;
    fn rows_by_status(
        conn: &mut C,
        status: Self::Status,
        limit: i64,
        order: Order,
    ) -> Query<Vec<Self>>;
    fn status_counts(conn: &mut C) -> Query<Vec<(Self::Status, i64)>>;
}
