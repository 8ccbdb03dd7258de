#![doc = include_str!("../README.md")]
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod actions;
mod console;
mod database;
mod description;
mod durations;
mod error;
mod failures;
mod fingerprint;
mod job;
mod jobs;
mod overview;
mod sql;
mod status;
mod table;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod web;

pub use console::Console;
pub use database::{ConsoleConnection, Pool};
pub use description::{DatabaseUrl, DescribedEntry, Description};
pub use error::{Error, Result};
pub use table::Source;
