//! All SQL, and how it becomes a query of Diesel's.
//!
//! A reader begins with [`statements`]: every text, with named parts.
//! [`template`] finds the parts in a text, [`query`] writes them for one
//! table and binds the values, [`record`] reads what comes back, and
//! [`dialect`] holds what differs from one database to the other.

pub mod backend;
pub mod call;
pub mod calls;
pub mod clock;
pub mod columns;
pub mod described;
pub mod dialect;
pub mod filter;
pub mod insert;
mod new_rows;
mod page;
mod prepared;
pub mod query;
pub mod record;
pub mod results;
pub mod run;
pub mod statements;
pub mod store;
pub mod table_rows;
pub mod template;
pub mod texts;
pub mod tracked_table;
pub mod typed;
mod unused;
mod written;

#[cfg(test)]
mod tests;
