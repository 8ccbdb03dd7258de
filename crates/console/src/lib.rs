#![doc = include_str!("../README.md")]
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod actions;
mod catalog;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
mod console;
mod database;
#[cfg(feature = "cli")]
mod demo;
mod describe;
mod description;
mod doctor;
mod durations;
mod error;
#[cfg(feature = "cli")]
mod export;
mod failures;
mod fingerprint;
mod job;
mod jobs;
#[cfg(feature = "cli")]
mod metrics;
mod migration;
mod overview;
mod roles;
mod scaffold;
mod sql;
mod status;
mod table;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod web;

pub use catalog::{Catalog, Column, ColumnKind, DatabaseKind, Index, IndexTerm};
pub use console::Console;
pub use database::{ConsoleConnection, Pool};
pub use describe::describe;
pub use description::{DatabaseUrl, DescribedEntry, Description};
pub use doctor::{Finding, Limits, Severity, doctor};
pub use error::{Error, Result};
pub use migration::{Migration, migration};
pub use roles::tracking;
pub use scaffold::scaffold;
pub use table::Source;
