#![doc = include_str!("../README.md")]
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod attempt;
pub mod blocking;
mod calls;
mod capacity;
mod clock;
mod db;
mod error;
mod item;
mod rows;
mod runtime;
mod sightings;
mod table;
mod tracked;
mod worker;

pub use attempt::running::RunningJob;
pub use calls::Calls;
pub use capacity::Capacity;
pub use error::{Error, Result};
pub use item::names::{Attributes, KeyAttributes};
pub use status_protocol::{BoxError, ErrorEntry, ErrorLog, Failure, Retry, backoff};
pub use table::{Table, TableBuilder};
pub use tracked::{KeyOf, StatusOf, StatusTracked, Tracked, UpdatesOf};
pub use worker::{Summary, Worker, WorkerHandle};
