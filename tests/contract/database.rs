//! A fresh database for each test, gone at its end.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::r2d2::{ConnectionManager, Pool};
use diesel_migrations::MigrationHarness;

use super::backend::{self, Home};
pub use super::backend::{BACKSLASH, QUOTE, TestConnection, UNREACHABLE, far_east};

pub type TestPool = Pool<ConnectionManager<TestConnection>>;

/// An empty database with the tables of the migrations.
pub struct TestDb {
    home: Home,
    /// For looking at the rows, past the tracker and past the pool under test.
    conn: Mutex<TestConnection>,
}

impl TestDb {
    pub fn new() -> Self {
        Self::at(backend::open())
    }

    /// With the tables of the migrations in an empty database.
    pub fn at((home, mut conn): (Home, TestConnection)) -> Self {
        conn.run_pending_migrations(backend::MIGRATIONS).unwrap();
        Self {
            home,
            conn: Mutex::new(conn),
        }
    }

    /// With one more table. `sql` creates it in MySQL's dialect, of which
    /// SQLite understands all that the tests use.
    pub fn with_table(sql: &str) -> Self {
        let db = Self::new();
        db.sql(sql);
        db
    }

    /// Changes the database in a way that no test needs to see.
    pub fn sql(&self, sql: &str) {
        self.conn().batch_execute(&backend::dialect(sql)).unwrap();
    }

    /// The same, in the words of this database.
    pub fn raw_sql(&self, sql: &str) {
        self.conn().batch_execute(sql).unwrap();
    }

    /// A connection of the test's own. One at a time: drop it before the next.
    pub fn conn(&self) -> MutexGuard<'_, TestConnection> {
        self.conn.lock().unwrap()
    }

    pub fn url(&self) -> &str {
        self.home.url()
    }

    pub fn pool(&self, size: u32) -> TestPool {
        self.pool_within(size, Duration::from_secs(30))
    }

    /// A pool that waits for `timeout` where no connection is to be had.
    pub fn pool_within(&self, size: u32, timeout: Duration) -> TestPool {
        pool_at(self.url(), size, timeout)
    }
}

impl Drop for TestDb {
    fn drop(&mut self) {
        // After a panic too; one inside this would abort and hide it.
        if let Ok(conn) = self.conn.get_mut() {
            self.home.drop_by(conn);
        }
    }
}

/// A pool that opens its connections when they are first needed.
pub fn pool_at(url: &str, size: u32, timeout: Duration) -> TestPool {
    Pool::builder()
        .max_size(size)
        .min_idle(Some(0))
        .test_on_check_out(false)
        .connection_timeout(timeout)
        .connection_customizer(backend::customizer())
        .build_unchecked(ConnectionManager::new(url))
}
