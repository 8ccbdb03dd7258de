//! A console for tables that [`diesel_status_tracker`] tracks.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod catalog;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
mod database;
mod describe;
mod description;
mod doctor;
mod error;
mod migration;
mod roles;
mod scaffold;
mod sql;
mod table;

pub use catalog::{Catalog, Column, ColumnKind, DatabaseKind, Index, IndexTerm};
pub use database::{ConsoleConnection, Pool};
pub use describe::describe;
pub use description::{DatabaseUrl, DescribedEntry, Description};
pub use doctor::{Finding, Limits, Severity, doctor};
pub use error::{Error, Result};
pub use migration::{Migration, migration};
pub use roles::tracking;
pub use scaffold::scaffold;
pub use table::Source;
