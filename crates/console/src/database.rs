//! The databases that the console works on by their URLs.

use std::time::Duration;

use diesel::prelude::*;
use diesel::r2d2::{self, ConnectionManager};
use diesel_status_tracker::{ConnectionEnum, InnerConnection};

use crate::error::{Error, Result};

/// A connection to any of the three databases.
#[derive(diesel::MultiConnection)]
#[allow(
    missing_debug_implementations,
    reason = "Diesel's connections have none"
)]
pub enum ConsoleConnection {
    /// PostgreSQL.
    Postgres(PgConnection),
    /// MySQL or MariaDB.
    Mysql(MysqlConnection),
    /// SQLite.
    Sqlite(SqliteConnection),
}

impl ConnectionEnum for ConsoleConnection {
    fn inner(&mut self) -> InnerConnection<'_> {
        match self {
            Self::Postgres(conn) => InnerConnection::Postgres(conn),
            Self::Mysql(conn) => InnerConnection::Mysql(conn),
            Self::Sqlite(conn) => InnerConnection::Sqlite(conn),
        }
    }
}

/// Connections to one database.
pub type Pool = r2d2::Pool<ConnectionManager<ConsoleConnection>>;

/// The longest wait for a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Connects to the database at this URL.
pub(crate) fn connect(url: &str, connections: u32) -> Result<Pool> {
    let is_known = ["postgres://", "postgresql://", "mysql://", "sqlite://"]
        .iter()
        .any(|scheme| url.starts_with(scheme));
    if !is_known {
        return Err(Error::Url(url.into()));
    }
    r2d2::Pool::builder()
        .max_size(connections)
        .connection_timeout(CONNECT_WITHIN)
        .build(ConnectionManager::new(url))
        .map_err(|source| Error::Unreachable {
            url: url.into(),
            source,
        })
}
