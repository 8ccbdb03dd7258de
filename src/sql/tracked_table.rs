//! What `job_table!` says of a row type, and how messages name its jobs.

use std::fmt::Debug;

use crate::table_info::TableInfo;

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
    /// What is known of the table.
    fn info() -> &'static TableInfo;
    /// The table's name in messages and in the log: with its schema, if it is not in
    /// the default one.
    #[must_use]
    fn table_name() -> &'static str {
        Self::info().full_name()
    }
    /// A status code as a number, where the column holds numbers.
    #[doc(hidden)]
    fn number(status: Self::Status) -> Option<i64>;
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
