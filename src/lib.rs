// The links of the README lead to files of the repository. Here they lead to the pages
// of this documentation: where a link is defined twice, the first definition counts.
//! [adopting]: crate::guide::adopting
//! [console]: https://docs.rs/diesel_status_console
//! [databases]: crate::guide::databases
//! [failures]: crate::guide::failures
//! [guarantees]: crate::guide::guarantees
//! [indexes]: crate::guide::indexes
//! [performance]: crate::guide::performance
//! [reliability]: crate::guide
//! [scale]: crate::guide
//! [worker]: crate::guide::worker
//!
#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(missing_docs)]
#![forbid(unsafe_code)]

#[cfg(not(any(feature = "sqlite", feature = "postgres", feature = "mysql")))]
compile_error!(
    "`diesel_status_tracker` needs a database: enable one or more of its features `sqlite` (the default), `postgres` and `mysql`"
);

// Imports point one way: tracked and described, worker, attempt, rows, macros, sql, db, and then
// the rest. `tests/imports.rs` holds that.
mod attempt;
mod db;
mod described;
mod macros;
mod rows;
mod sql;
mod tracked;
mod worker;

mod error;
#[cfg(doc)]
pub mod guide;
mod keys;
#[cfg(feature = "metrics")]
mod metrics;
mod observer;
mod panics;
mod table_info;
mod wake;

pub use attempt::running::RunningJob;
pub use attempt::step::JobStep;
pub use db::connection::TrackerConnection;
pub use db::connection_enum::{ConnectionEnum, InnerConnection};
pub use db::database::Database;
#[cfg(feature = "postgres")]
pub use db::postgres;
#[cfg(feature = "sqlite")]
pub use db::sqlite;
pub use described::{
    ColumnText, DescribedStep, DescribedTable, JobPage, JobQuery, JobState, PagePlace, PassedOver,
    ResetMany, SeenJob, SeenLock, SortBy,
};
pub use error::{Error, PoolTimeout, Result};
pub use macros::status_codes::UnknownCode;
#[cfg(feature = "metrics")]
pub use metrics::MetricsObserver;
pub use observer::{Event, Observer, Observing, Transition, observe};
pub use sql::clock;
pub use sql::described::{DescribedConnection, RowKey};
pub use sql::filter::{Condition, SendsFilter};
pub use sql::results::Order;
pub use sql::store::JobStore;
pub use sql::tracked_table::{ShowsStatus, Tracked};
pub use table_info::{
    Document as ErrorsType, Integer as RetryType, Role, StatusCode, StepCodes, StepInfo,
    TableBuilder, TableInfo,
};
pub use tracked::{Filtered, KeyOf, StatusOf, StatusTracked, UpdatesOf};
pub use worker::{Listener, Summary, Worker, WorkerHandle};

#[doc(inline)]
pub use status_protocol::{BoxError, ErrorEntry, ErrorLog, Failure, Retry, backoff};

/// What `job_table!` expands to. There is no such module outside of these docs.
///
/// This is
/// `job_table! { Job in jobs { key: (id: String), status: i32, updates: JobUpdates, connections: [SqliteConnection] } }`,
/// as the compiler shows it; a test compares the two. The example `macro_free` has the
/// same by hand.
///
/// ```text
#[doc = include_str!("../docs/expansion.rs")]
/// ```
#[cfg(doc)]
pub mod example_generated {}

/// What the generated code names. Not part of the API.
#[doc(hidden)]
pub mod __private {
    pub mod check {
        pub use crate::macros::check::*;
    }
    pub use crate::sql::call::Call;
    pub use crate::sql::columns::{
        ColumnInfo, HasColumns, HasKeyColumns, IsNoNumber, IsNumber, Probe, has_run_at, info,
        key_column, tracked_column_in,
    };
    pub use crate::sql::dialect::Dialect;
    pub use crate::sql::filter::{Filter, NotListed};
    pub use crate::sql::record::Record;
    pub use crate::sql::run::{
        Sends, default_sets_nothing, dialect_of, execute, not_listed, read, sets_nothing,
    };
    pub use crate::sql::template::Statement;
    pub use crate::sql::texts::TableTexts;
    pub use crate::sql::typed::{
        Fragments, NoColumns, TableOn, WithFragments, WithNewRows, read_column, read_row,
        with_keys_alone, with_new_rows,
    };
    pub use diesel;
}
