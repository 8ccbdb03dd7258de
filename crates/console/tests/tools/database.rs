//! A database of a test's own: on SQLite always, on the servers where POSTGRES_URL and
//! MYSQL_URL name them.

use std::env;
use std::sync::atomic::{AtomicUsize, Ordering};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_status_console::{Catalog, ConsoleConnection};
use tempfile::TempDir;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Sqlite,
    Postgres,
    Mysql,
}

pub struct TestDatabase {
    pub kind: Kind,
    pub url: String,
    /// The server, and the name of the database on it.
    server: Option<(String, String)>,
    _folder: Option<TempDir>,
}

/// An empty database on each of them.
pub fn databases() -> Vec<TestDatabase> {
    [Kind::Sqlite, Kind::Postgres, Kind::Mysql]
        .into_iter()
        .filter_map(TestDatabase::new)
        .collect()
}

impl TestDatabase {
    pub fn new(kind: Kind) -> Option<Self> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let variable = match kind {
            Kind::Sqlite => {
                let folder = tempfile::tempdir().unwrap();
                let url = format!("sqlite://{}/jobs.db", folder.path().display());
                return Some(Self {
                    kind,
                    url,
                    server: None,
                    _folder: Some(folder),
                });
            }
            Kind::Postgres => "POSTGRES_URL",
            Kind::Mysql => "MYSQL_URL",
        };
        let server = env::var(variable).ok()?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tools_{}_{number}", std::process::id());
        let mut conn = ConsoleConnection::establish(&server).unwrap();
        conn.batch_execute(&format!("CREATE DATABASE {name}"))
            .unwrap();
        let (address, _) = server.rsplit_once('/').unwrap();
        Some(Self {
            kind,
            url: format!("{address}/{name}"),
            server: Some((server, name)),
            _folder: None,
        })
    }

    pub fn connect(&self) -> ConsoleConnection {
        ConsoleConnection::establish(&self.url).unwrap()
    }

    pub fn sql(&self, sql: &str) {
        let done = self.connect().batch_execute(sql);
        done.unwrap_or_else(|error| panic!("{:?}: {error}\n{sql}", self.kind));
    }

    pub fn catalog(&self, table: &str) -> Catalog {
        Catalog::read(&mut self.connect(), table).unwrap()
    }

    /// The one for this database.
    pub fn pick<'a>(&self, sqlite: &'a str, postgres: &'a str, mysql: &'a str) -> &'a str {
        match self.kind {
            Kind::Sqlite => sqlite,
            Kind::Postgres => postgres,
            Kind::Mysql => mysql,
        }
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let Some((server, name)) = &self.server else {
            return;
        };
        let force = match self.kind {
            Kind::Postgres => " WITH (FORCE)",
            _ => "",
        };
        let mut conn = ConsoleConnection::establish(server).unwrap();
        conn.batch_execute(&format!("DROP DATABASE {name}{force}"))
            .unwrap();
    }
}
