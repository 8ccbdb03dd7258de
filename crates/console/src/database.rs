//! The databases that the console works on by their URLs.

use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use diesel::connection::{CacheSize, SimpleConnection};
use diesel::prelude::*;
use diesel::r2d2::{self, ConnectionManager};
use diesel_status_tracker::{BoxError, ConnectionEnum, InnerConnection};

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
    let unreachable = |source: BoxError| Error::Unreachable {
        url: without_password(url),
        source,
    };
    try_once(url).map_err(unreachable)?;
    builder(connections)
        .min_idle(Some(1))
        .build(ConnectionManager::new(url))
        .map_err(|source| unreachable(source.into()))
}

/// The same for a program that goes on: a server that cannot be reached is tried again
/// whenever it is asked. Second, why it cannot be reached now.
#[cfg(feature = "cli")]
pub(crate) fn connect_lasting(url: &str, connections: u32) -> Result<(Pool, Option<Error>)> {
    match connect(url, connections) {
        Err(error @ Error::Unreachable { .. }) => {
            let pool = builder(connections).min_idle(Some(0));
            Ok((
                pool.build_unchecked(ConnectionManager::new(url)),
                Some(error),
            ))
        }
        connected => connected.map(|pool| (pool, None)),
    }
}

fn builder(connections: u32) -> r2d2::Builder<ConnectionManager<ConsoleConnection>> {
    r2d2::Pool::builder()
        .max_size(connections)
        .connection_timeout(CONNECT_WITHIN)
        .connection_customizer(Box::new(Settings))
}

/// Connects once, to learn what is wrong: an enum of connections does not tell what the
/// driver has said, and a pool tries again until its time is over.
fn try_once(url: &str) -> Result<(), BoxError> {
    let (tell, told) = mpsc::channel();
    let asked = url.to_owned();
    // A driver may wait for minutes. After too long, nobody listens to the thread.
    thread::spawn(move || tell.send(open(&asked)).is_ok());
    let opened = told.recv_timeout(CONNECT_WITHIN);
    let opened = opened.unwrap_or_else(|_| {
        Err(format!("it does not answer within {} s", CONNECT_WITHIN.as_secs()).into())
    });
    opened.map_err(|error| {
        let text = error.to_string();
        let lines: Vec<_> = text.lines().map(str::trim).collect();
        let mut text = lines.join(" ");
        // A driver shows what it takes for no URL.
        if let Some((_, password, _)) = around_password(url).filter(|(_, text, _)| !text.is_empty())
        {
            text = text.replace(password, "…");
        }
        text.into()
    })
}

fn open(url: &str) -> Result<(), BoxError> {
    if url.starts_with("sqlite://") {
        let mut conn = SqliteConnection::establish(url)?;
        // The file is read only now.
        conn.batch_execute("PRAGMA busy_timeout = 2000; SELECT count(*) FROM sqlite_master")?;
    } else if url.starts_with("mysql://") {
        MysqlConnection::establish(url)?;
    } else {
        PgConnection::establish(url)?;
    }
    Ok(())
}

/// The URL as messages show it.
fn without_password(url: &str) -> String {
    match around_password(url) {
        Some((before, _, after)) => format!("{before}…{after}"),
        None => url.into(),
    }
}

/// The password in a URL, and what stands before and after it.
fn around_password(url: &str) -> Option<(&str, &str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    // The host cannot hold an `@`, a password may.
    let (user, host) = rest.rsplit_once('@')?;
    let (name, password) = user.split_once(':')?;
    let before = scheme.len() + "://".len() + name.len() + 1;
    let after = url.len() - host.len() - 1;
    Some((&url[..before], password, &url[after..]))
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
