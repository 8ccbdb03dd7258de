//! The database as Diesel shows it: pools and connections, and which faults pass
//! by themselves.

pub(crate) mod changes;
pub(crate) mod connection;
pub(crate) mod connection_enum;
pub(crate) mod database;
pub(crate) mod database_error;
pub(crate) mod pool;
#[cfg(feature = "postgres")]
pub mod postgres;
pub(crate) mod retry;
#[cfg(feature = "sqlite")]
pub mod sqlite;
