//! `job_table!`: the code that ties a row type to its table.
//!
//! How it works: the macro matches its entries once and hands them down as
//! token trees. `columns` gives every tracked column its name, `tracked`
//! writes what does not depend on a connection, and `store` how the user's types
//! are bound and read, once for each connection; `backends` holds what differs from
//! one to the other. All generated items live in one `const _`, so that
//! nothing but the impls is visible outside. The macros that are not
//! `job_table!` itself are hidden, and may change at any time.

mod backends;
mod columns;
mod entries;
mod key;
mod store;
mod tracked;

/// Tracks the rows of a table: generates, for the row type, what
/// [`StatusTracked`](crate::StatusTracked) needs to know of its table.
///
/// ```
/// # mod schema { diesel::table! { invoices (tenant, number) { tenant -> BigInt, number -> Text, state -> Text,
/// #     created -> Timestamp, changed -> Timestamp, lease -> Nullable<Text>, lease_at -> Timestamp,
/// #     failures -> SmallInt, problems -> Nullable<Text>, not_before -> Nullable<Timestamp>, priority -> Integer, sent_to -> Nullable<Text>, } } }
/// # use schema::invoices; use diesel::prelude::*; use diesel_status_tracker::{job_table, StatusTracked};
/// # #[derive(Queryable, Selectable)] #[diesel(table_name = invoices)] struct Invoice { number: String }
/// # #[derive(Default, Insertable, AsChangeset)] #[diesel(table_name = invoices)] struct InvoiceUpdates { sent_to: Option<String> }
/// # #[derive(Debug, Clone, Copy, PartialEq, diesel::expression::AsExpression, diesel::deserialize::FromSqlRow)]
/// # #[diesel(sql_type = diesel::sql_types::Text)] enum State { New, Sending, Failed, Sent, Dropped }
/// # impl<DB: diesel::backend::Backend> diesel::serialize::ToSql<diesel::sql_types::Text, DB> for State where str: diesel::serialize::ToSql<diesel::sql_types::Text, DB> {
/// #     fn to_sql<'b>(&'b self, out: &mut diesel::serialize::Output<'b, '_, DB>) -> diesel::serialize::Result {
/// #         match self { Self::New => "new", Self::Sending => "sending", Self::Failed => "failed", Self::Sent => "sent", Self::Dropped => "dropped" }.to_sql(out) } }
/// # impl<DB: diesel::backend::Backend> diesel::deserialize::FromSql<diesel::sql_types::Text, DB> for State where String: diesel::deserialize::FromSql<diesel::sql_types::Text, DB> {
/// #     fn from_sql(bytes: DB::RawValue<'_>) -> diesel::deserialize::Result<Self> {
/// #         Ok(match String::from_sql(bytes)?.as_str() { "new" => Self::New, "sending" => Self::Sending, "failed" => Self::Failed, "sent" => Self::Sent, "dropped" => Self::Dropped, other => return Err(format!("unknown state {other}").into()) }) } }
/// # impl StatusTracked for Invoice { type Job = Invoice; const PENDING: State = State::New; const IN_PROGRESS: State = State::Sending; const FAILED: State = State::Failed; const SUCCEEDED: State = State::Sent; const IGNORED: State = State::Dropped; }
/// # #[cfg(feature = "sqlite")]
/// job_table! {
///     Invoice in invoices {
///         key: (tenant: i64, number: String),       // one column or several, with their Rust types
///         status: State,                            // the type of the status codes
///         updates: InvoiceUpdates,                  // the columns that the user sets
///         connections: [SqliteConnection],          // PgConnection, MysqlConnection, enums of them; each may have a #[cfg(…)]
///         // All that follows is optional, in this order:
///         columns: {                                // own names; run_at and started_at only if the table has them
///             status: state, create_at: created, update_at: changed, lock: lease, lock_at: lease_at,
///             retry: failures, errors: problems, run_at: not_before,
///         },
///         order_by: (invoices::priority.desc(), invoices::created.asc()),   // default: oldest update_at
///         steps: [Invoice],                         // codes are checked when this compiles: numbers and fieldless enums
///         status_field: none,                       // the row type's field with the status; default: named as the column
///     }
/// }
/// # fn main() {}
/// ```
///
/// # What the columns may be
///
/// | column | type |
/// |---|---|
/// | key | any type and number of columns, unique together; two are the same where the database says so |
/// | `status` | any type that is `Copy + PartialEq + Debug` and maps to its column |
/// | `create_at`, `update_at` | `Timestamp` or `Timestamptz`, nullable or not: NULL is before all times; on MySQL `DATETIME(6)`, or times lose their digits. `create_at` may be part of the key |
/// | `lock` | `Nullable<Text>`, room for 32 characters |
/// | `lock_at` | as `create_at`, nullable or not |
/// | `retry` | any integer |
/// | `errors` | `Json`, `Jsonb` or `Text`, nullable or not; eleven errors of 16 KiB, escaped: on MySQL `JSON` or `MEDIUMTEXT`, not `TEXT` |
/// | `run_at`, if there is one | as `lock_at`; a NULL is due |
/// | `started_at`, if there is one | as `create_at`, nullable: when the running or the last attempt began |
///
/// The row type derives `Queryable` and `Selectable`, and need not hold the
/// tracked columns. The `updates` type derives `Default`, `Insertable` and
/// `AsChangeset`, and must not set a tracked column other than `run_at`. A table that
/// has no columns of the user's leaves `updates` out, and the calls take `()` in
/// their place. A
/// status type that converts into `i64` stands as a number in the SQL, which
/// lets the database use a partial index.
///
/// # Connections
///
/// `connections` takes Diesel's three by their names. Any other name is that of an enum
/// of them, see [`ConnectionEnum`](crate::ConnectionEnum); those that it may hold stand
/// beside it.
///
/// # What it expands to
///
/// The page [`example_generated`](crate::example_generated) shows it.
///
/// Implementations of [`Tracked`](crate::Tracked), of
/// [`ShowsStatus`](crate::ShowsStatus) unless `status_field` is `none`, and
/// of [`JobStore`](crate::JobStore) for each connection. A key of several
/// columns gets a struct with one public field a column, `From` the tuple of
/// anything that converts into them.
#[macro_export]
macro_rules! job_table {
    ($Job:ident in $($table:ident)::+ {
        key: $key:tt,
        status: $Status:ty,
        $(updates: $Updates:ty,)?
        connections: [$($(#[$only:meta])* $($Connection:ident)::+),+ $(,)?]
        $(, columns: { $($role:ident : $column:ident),* $(,)? })?
        $(, order_by: $order_by:tt)?
        $(, steps: [$($Step:ty),* $(,)?])?
        $(, status_field: $field:ident)?
        $(,)?
    }) => {
        $($($crate::__job_table_codes! { $Step })*)?
        // The user's types are named in this block only, whose own names begin with
        // `JobTable`: further in they go by these, and no name of the macro's can
        // stand for one of the user's.
        const _: () = {
            type JobTableRow = $Job;
            type JobTableStatus = $Status;
            $crate::__job_table_updates! { [$($table)::+] [$($Updates)?] }
            $crate::__job_table_key! { @struct $key }
            $crate::__job_table_key! { @struct_of_columns $key }
            $crate::__job_table_columns! { [$($(($role: $column))*)?] [$($table)::+] [$($field)?] }
            $crate::__job_table_has_key_columns! { [$($table)::+] $key }
            $crate::__job_table_tracked! { [$($table)::+] $key [$($order_by)?] }
            $crate::__job_table_backends! {
                [$({ [$(#[$only])*] $($Connection)::+ })+]
                [$({ [$(#[$only])*] $($Connection)::+ })+]
                { $key [$($order_by)?] [$($Updates)?; $($table)::+] }
            }
        };
    };
    ($Job:ident in $($table:ident)::+ { $($entries:tt)* }) => {
        $crate::__job_table_misfit! { $($entries)* }
    };
    ($($other:tt)*) => {
        $crate::__job_table_misfit! {}
    };
}
