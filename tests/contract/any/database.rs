//! A fresh database for each test, whose pools hold an enum of connections.

use std::any::Any;
use std::ops::Deref;
use std::time::Duration;

use diesel::r2d2::{ConnectionManager, CustomizeConnection, Error, Pool};
use diesel_status_tracker::{ConnectionEnum, InnerConnection};

use super::backend;
use super::plain;
pub use super::plain::{TestConnection, UNREACHABLE};
pub use crate::any::DbConnection;

pub type TestPool = Pool<ConnectionManager<DbConnection>>;

/// The test's own connection is that of the database, and no enum.
pub struct TestDb(plain::TestDb);

impl TestDb {
    pub fn new() -> Self {
        Self(plain::TestDb::new())
    }

    pub fn with_table(sql: &str) -> Self {
        Self(plain::TestDb::with_table(sql))
    }

    pub fn pool(&self, size: u32) -> TestPool {
        self.pool_within(size, Duration::from_secs(30))
    }

    /// A pool that waits for `timeout` where no connection is to be had.
    pub fn pool_within(&self, size: u32, timeout: Duration) -> TestPool {
        pool_at(self.url(), size, timeout)
    }
}

/// A pool that opens its connections when they are first needed.
pub fn pool_at(url: &str, size: u32, timeout: Duration) -> TestPool {
    Pool::builder()
        .max_size(size)
        .min_idle(Some(0))
        .test_on_check_out(false)
        .connection_timeout(timeout)
        .connection_customizer(Box::new(Prepare))
        .build_unchecked(ConnectionManager::new(url))
}

impl Deref for TestDb {
    type Target = plain::TestDb;

    fn deref(&self) -> &plain::TestDb {
        &self.0
    }
}

/// The connection of this database that the enum holds.
pub fn held(conn: &mut DbConnection) -> &mut TestConnection {
    let conn: &mut dyn Any = match conn.inner() {
        InnerConnection::Sqlite(conn) => conn,
        InnerConnection::Postgres(conn) => conn,
        InnerConnection::Mysql(conn) => conn,
        _ => unreachable!("a connection that the enum does not have"),
    };
    conn.downcast_mut().unwrap()
}

#[derive(Debug)]
struct Prepare;

impl CustomizeConnection<DbConnection, Error> for Prepare {
    fn on_acquire(&self, conn: &mut DbConnection) -> Result<(), Error> {
        backend::customizer().on_acquire(held(conn))
    }
}
