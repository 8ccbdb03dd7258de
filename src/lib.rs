#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod apart;
mod bulk;
mod check;
mod claim;
pub mod clock;
mod column;
mod connection;
mod create;
mod database;
mod database_error;
mod error;
mod expiry;
mod job_table;
mod keys;
mod lease;
mod outcome;
mod panics;
#[cfg(feature = "postgres")]
pub mod postgres;
mod retry;
mod running;
mod sql;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod status;
mod status_codes;
mod store;
mod table_info;
mod transaction;
mod transition;
mod worker;

pub use connection::TrackerConnection;
pub use database::Database;
pub use error::{Error, PoolTimeout, Result};
pub use running::RunningJob;
pub use status::{KeyOf, StatusOf, StatusTracked, UpdatesOf};
pub use status_codes::UnknownCode;
pub use store::{JobStore, Order, ShowsStatus, Tracked};
pub use table_info::{Role, TableInfo};
pub use transition::Transition;
pub use worker::{Event, Observer, Summary, Worker, WorkerHandle};

#[doc(inline)]
pub use status_protocol::{BoxError, ErrorEntry, ErrorLog, Failure, Retry, backoff};

/// What the generated code names. Not part of the API.
#[doc(hidden)]
pub mod __private {
    pub mod check {
        pub use crate::check::*;
    }
    pub use crate::clock::{ago, from_now, now};
    pub use crate::column::{
        ColumnTypes, Columns, ErrorsColumn, HasColumns, IsNoNumber, IsNumber, NoColumn, Probe,
        RetryColumn, TimeColumn, key_column,
    };
    pub use crate::sql::call::Call;
    pub use crate::sql::dialect::{Dialect, LockWait};
    pub use crate::sql::insert::{after_insert, insert_each, insert_new_rows, kept};
    pub use crate::sql::record::Record;
    pub use crate::sql::run::{Sends, execute, read, sets_nothing};
    pub use crate::sql::template::Statement;
    pub use crate::sql::texts::TableTexts;
    pub use crate::sql::typed::{Fragments, TableOn, WithFragments, read_column, read_row};
    pub use crate::store::{Batch, Claimed, DeadAttempt, Obstacle, Ready, Renewed, Search};
    pub use status_protocol::{FailureOutcome, RowState, Step};
    pub use {chrono, diesel, serde_json};
}
