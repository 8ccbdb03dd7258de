#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod claim;
pub mod clock;
mod column;
mod connection;
mod create;
mod database;
mod error;
mod expiry;
mod failure;
mod guard;
mod job_table;
mod next;
mod protocol;
mod retry;
mod running;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod statement;
mod status;
mod status_codes;
mod store;

pub use connection::TrackerConnection;
pub use database::Database;
pub use error::{BoxError, Error, PoolTimeout, Result};
pub use running::RunningJob;
pub use status::{KeyOf, StatusOf, StatusTracked, UpdatesOf};
pub use status_codes::UnknownCode;
pub use store::{JobStore, Order, ShowsStatus, Tracked};

/// What the generated code names. Not part of the API.
#[doc(hidden)]
pub mod __private {
    pub mod guard {
        pub use crate::guard::*;
    }
    pub use crate::claim::{claim_again, claim_each};
    pub use crate::clock::{ago, now};
    pub use crate::column::{
        ColumnTypes, Columns, ErrorsColumn, HasColumns, IsNoNumber, IsNumber, Probe, RetryColumn,
        TimeColumn,
    };
    #[cfg(feature = "mysql")]
    pub use crate::next::first_ready;
    #[cfg(feature = "postgres")]
    pub use crate::next::{Place, update_next};
    pub use crate::protocol::{RowState, Setback, Step};
    pub use crate::statement::{Code, one_of, unvarying, update};
    pub use crate::store::{Batch, Claimed, DeadAttempt};
    pub use {chrono, diesel, serde_json};
}
