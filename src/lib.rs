#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod apart;
mod bulk;
mod claim;
pub mod clock;
mod column;
mod connection;
mod create;
mod database;
mod database_error;
mod error;
mod expiry;
mod guard;
mod job_table;
#[cfg(feature = "postgres")]
mod key;
mod keys;
mod lease;
mod next;
mod outcome;
mod panics;
#[cfg(feature = "postgres")]
pub mod postgres;
mod retry;
mod running;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod statement;
mod status;
mod status_codes;
mod store;
mod texts;
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
pub use transition::Transition;
pub use worker::{Event, Observer, Summary, Worker, WorkerHandle};

#[doc(inline)]
pub use status_protocol::{BoxError, ErrorEntry, ErrorLog, Failure, Retry, backoff};

/// What the generated code names. Not part of the API.
#[doc(hidden)]
pub mod __private {
    pub mod guard {
        pub use crate::guard::*;
    }
    pub use crate::claim::{claim_by_key, claim_by_keys, held_by};
    pub use crate::clock::{ago, from_now, now, stamp};
    pub use crate::column::{
        ColumnTypes, Columns, ErrorsColumn, HasColumns, IsNoNumber, IsNumber, Lenient, Probe,
        RetryColumn, TimeColumn,
    };
    #[cfg(feature = "postgres")]
    pub use crate::key::{key_value, read_key};
    #[cfg(feature = "mysql")]
    pub use crate::next::first_ready;
    #[cfg(feature = "postgres")]
    pub use crate::next::{Place, Since, update_next};
    pub use crate::statement::{
        Code, LimitsLockWait, LockWait, any_of, bound, delete, kept, narrowed, one_of, padded,
        unvarying, update,
    };
    pub use crate::store::{Batch, Claimed, DeadAttempt, Obstacle, Ready, Renewed, Search};
    pub use crate::texts::Texts;
    pub use status_protocol::{FailureOutcome, RowState, Step};
    pub use {chrono, diesel, serde_json};
}
