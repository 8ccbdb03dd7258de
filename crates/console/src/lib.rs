//! A console for tables that [`diesel_status_tracker`] tracks.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod database;
mod error;

pub use database::{ConsoleConnection, Pool};
pub use error::{Error, Result};
