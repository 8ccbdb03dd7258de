//! The databases that the console works on by their URLs.

use std::path::Path;
use std::time::Duration;

use diesel::connection::{CacheSize, SimpleConnection};
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

/// What a connection is told when it is made.
#[derive(Debug)]
struct Settings;

impl r2d2::CustomizeConnection<ConsoleConnection, r2d2::Error> for Settings {
    fn on_acquire(&self, conn: &mut ConsoleConnection) -> Result<(), r2d2::Error> {
        let settings = match conn {
            ConsoleConnection::Sqlite(_) => "PRAGMA busy_timeout = 5000",
            ConsoleConnection::Postgres(conn) => {
                // A pooler may stand before the server, and give each transaction
                // another session.
                conn.set_prepared_statement_cache_size(CacheSize::Disabled);
                "SET application_name = 'status-console'"
            }
            ConsoleConnection::Mysql(_) => return Ok(()),
        };
        conn.batch_execute(settings)
            .map_err(r2d2::Error::QueryError)
    }
}

/// Connects to the database at this URL.
pub(crate) fn connect(url: &str, connections: u32) -> Result<Pool> {
    let is_known = ["postgres://", "postgresql://", "mysql://", "sqlite://"]
        .iter()
        .any(|scheme| url.starts_with(scheme));
    if !is_known {
        return Err(Error::Url(without_password(url)));
    }
    if let Some(path) = url.strip_prefix("sqlite://")
        && !Path::new(path).exists()
    {
        return Err(Error::NoFile(path.into()));
    }
    r2d2::Pool::builder()
        .max_size(connections)
        .min_idle(Some(1))
        .connection_timeout(CONNECT_WITHIN)
        .connection_customizer(Box::new(Settings))
        .build(ConnectionManager::new(url))
        .map_err(|source| Error::Unreachable {
            url: without_password(url),
            source,
        })
}

/// The URL as messages show it.
fn without_password(url: &str) -> String {
    let hidden = || {
        let (scheme, rest) = url.split_once("://")?;
        // The host cannot hold an `@`, a password may.
        let (user, host) = rest.rsplit_once('@')?;
        let (name, _) = user.split_once(':')?;
        Some(format!("{scheme}://{name}:…@{host}"))
    };
    hidden().unwrap_or_else(|| url.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_shows_no_password() {
        for (url, shown) in [
            ("mysql://me:a@b:c@host/jobs", "mysql://me:…@host/jobs"),
            ("postgres://me@host/jobs", "postgres://me@host/jobs"),
            ("sqlite://a/b", "sqlite://a/b"),
        ] {
            assert_eq!(without_password(url), shown);
        }
        let error = connect("redis://me:secret@host", 1).unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn a_wrong_path_makes_no_empty_database() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jobs.db");
        let error = connect(&format!("sqlite://{}", path.display()), 1).unwrap_err();
        assert!(matches!(error, Error::NoFile(_)), "{error}");
        assert!(!path.exists());
    }
}
