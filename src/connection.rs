//! What a call may be given to reach the database: a pool or a connection.

use std::fmt::Display;
use std::sync::Arc;

use diesel::connection::{AnsiTransactionManager, Connection, TransactionManager};
use diesel::r2d2::{ConnectionManager, Pool, PooledConnection, R2D2Connection};

use crate::error::Result;
use crate::retry::{self, Fault};

/// A pool of connections, as `diesel::r2d2` makes it.
pub(crate) type PoolOf<C> = Pool<ConnectionManager<C>>;

/// One of Diesel's three connections, with what the tracker has to know of it.
pub trait TrackerConnection:
    R2D2Connection + Connection<TransactionManager = AnsiTransactionManager> + Send + 'static
{
    /// Parts of the messages of errors that pass by themselves, where Diesel
    /// tells no more than `Unknown`.
    const PASSING: &'static [&'static str];

    /// Has the pool throw this connection away instead of handing it out
    /// again. With `test_on_check_out(false)` a pool keeps dead connections.
    fn evict(&mut self) {
        AnsiTransactionManager::transaction_manager_status_mut(self).set_in_error();
    }

    /// `work` in a transaction that is going to write; a savepoint inside an
    /// open one.
    fn write_transaction<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        self.transaction(work)
    }
}

#[cfg(feature = "sqlite")]
impl TrackerConnection for diesel::SqliteConnection {
    const PASSING: &'static [&'static str] = &["is locked"]; // the database, a table, the schema

    fn write_transaction<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let open = AnsiTransactionManager::transaction_manager_status_mut(self).transaction_depth();
        // A transaction that reads first and writes later is refused at once,
        // past any busy timeout, when another has written in between.
        if matches!(open, Ok(None)) {
            self.immediate_transaction(work)
        } else {
            self.transaction(work)
        }
    }
}

#[cfg(feature = "postgres")]
impl TrackerConnection for diesel::PgConnection {
    const PASSING: &'static [&'static str] = &[
        "deadlock detected",                            // 40P01
        "canceling statement due to lock timeout",      // 55P03
        "could not obtain lock",                        // 55P03
        "canceling statement due to statement timeout", // 57014
    ];
}

#[cfg(feature = "mysql")]
impl TrackerConnection for diesel::MysqlConnection {
    const PASSING: &'static [&'static str] = &[
        "Deadlock found",                     // 1213
        "Lock wait timeout exceeded",         // 1205
        "Record has changed since last read", // 1020, MariaDB's snapshot isolation
    ];
}

/// What the calls take as `db`: `&pool`, `&Arc<Pool>`, or `&mut connection`.
///
/// With a pool, a call borrows a connection for the time of its statements
/// and retries what fails for a passing reason. With a connection it takes
/// part in the caller's open transaction, and the first error is the answer.
/// A `&mut` is moved into the call; write `&mut *conn` to keep it.
pub trait Database {
    /// The connection's type.
    type Connection: TrackerConnection;

    /// Runs `work`, which speaks of `job`. `doubtful` is true when an earlier
    /// try broke off before the database's answer came.
    #[doc(hidden)]
    fn run<T>(
        &mut self,
        job: &dyn Display,
        work: impl FnMut(&mut Self::Connection, bool) -> Result<T, Fault>,
    ) -> Result<T>;

    /// Runs `work` once, on a connection that has just answered.
    #[doc(hidden)]
    fn run_once<T>(
        &mut self,
        job: &dyn Display,
        work: impl FnOnce(&mut Self::Connection) -> Result<T, Fault>,
    ) -> Result<T>;
}

impl<C: TrackerConnection> Database for &PoolOf<C> {
    type Connection = C;

    fn run<T>(
        &mut self,
        job: &dyn Display,
        work: impl FnMut(&mut C, bool) -> Result<T, Fault>,
    ) -> Result<T> {
        retry::run(self, job, work)
    }

    fn run_once<T>(
        &mut self,
        job: &dyn Display,
        work: impl FnOnce(&mut C) -> Result<T, Fault>,
    ) -> Result<T> {
        let mut conn = retry::live_connection(self, job)?;
        work(&mut conn).map_err(|fault| fault.into_error(job))
    }
}

impl<C: TrackerConnection> Database for &Arc<PoolOf<C>> {
    type Connection = C;

    fn run<T>(
        &mut self,
        job: &dyn Display,
        work: impl FnMut(&mut C, bool) -> Result<T, Fault>,
    ) -> Result<T> {
        (&***self).run(job, work)
    }

    fn run_once<T>(
        &mut self,
        job: &dyn Display,
        work: impl FnOnce(&mut C) -> Result<T, Fault>,
    ) -> Result<T> {
        (&***self).run_once(job, work)
    }
}

/// A borrowed connection: one try, since a failed statement may have broken
/// the caller's transaction.
macro_rules! borrowed_connection {
    ([$($generics:tt)*] $type:ty, $connection:ty) => {
        impl $($generics)* Database for &mut $type {
            type Connection = $connection;

            fn run<T>(&mut self, job: &dyn Display, mut work: impl FnMut(&mut $connection, bool) -> Result<T, Fault>) -> Result<T> {
                work(self, false).map_err(|fault| fault.into_error(job))
            }

            fn run_once<T>(&mut self, job: &dyn Display, work: impl FnOnce(&mut $connection) -> Result<T, Fault>) -> Result<T> {
                work(self).map_err(|fault| fault.into_error(job))
            }
        }
    };
}

#[cfg(feature = "sqlite")]
borrowed_connection!([] diesel::SqliteConnection, diesel::SqliteConnection);
#[cfg(feature = "postgres")]
borrowed_connection!([] diesel::PgConnection, diesel::PgConnection);
#[cfg(feature = "mysql")]
borrowed_connection!([] diesel::MysqlConnection, diesel::MysqlConnection);
borrowed_connection!([<C: TrackerConnection>] PooledConnection<ConnectionManager<C>>, C);
