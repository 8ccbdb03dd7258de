//! The first ready rows of a table: what each database needs to find them by
//! an index, and to keep claimers out of each other's way.

#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;

#[cfg(feature = "mysql")]
pub use mysql::first_ready;
#[cfg(feature = "postgres")]
pub use postgres::{Place, Since, update_next};
