//! Diesel's three connections, with what the tracker has to know of each.

use diesel::connection::{AnsiTransactionManager, Connection, TransactionManager};
use diesel::r2d2::{ConnectionManager, Pool, R2D2Connection};

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
    fn write_transaction<T, E: From<diesel::result::Error>>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        self.transaction(work)
    }
}

#[cfg(feature = "sqlite")]
impl TrackerConnection for diesel::SqliteConnection {
    const PASSING: &'static [&'static str] = &["is locked"]; // the database, a table, the schema

    fn write_transaction<T, E: From<diesel::result::Error>>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
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
