//! Diesel's three connections, with what the tracker has to know of each.

use diesel::QueryResult;
use diesel::connection::{AnsiTransactionManager, Connection, TransactionManager};
use diesel::r2d2::{ConnectionManager, Pool, R2D2Connection};

/// A pool of connections, as `diesel::r2d2` makes it.
pub(crate) type PoolOf<C> = Pool<ConnectionManager<C>>;

/// One of Diesel's three connections, with what the tracker has to know of it.
pub trait TrackerConnection:
    R2D2Connection + Connection<TransactionManager = AnsiTransactionManager> + Send + 'static
{
    /// Parts of the messages of errors by which one transaction made way for
    /// another, where Diesel tells no more than `Unknown`.
    const CONFLICTS: &'static [&'static str];
    /// Those of them by which a row was held for longer than the statement
    /// waits for it.
    const HELD: &'static [&'static str] = &[];
    /// The same for other errors that pass by themselves.
    const PASSING: &'static [&'static str] = &[];
    /// What a connection says that has to be replaced, though it answers.
    const BROKEN: &'static [&'static str] = &[];
    /// How many connections of one process can write at the same time without
    /// waiting for each other.
    const WRITERS: usize = usize::MAX;

    /// Has the pool throw this connection away instead of handing it out
    /// again. With `test_on_check_out(false)` a pool keeps dead connections.
    fn evict(&mut self) {
        AnsiTransactionManager::transaction_manager_status_mut(self).set_in_error();
    }

    /// How many transactions are open, each in the one before.
    fn depth(&mut self) -> QueryResult<u32> {
        let status = AnsiTransactionManager::transaction_manager_status_mut(self);
        Ok(status.transaction_depth()?.map_or(0, u32::from))
    }

    /// `work` in a transaction that is going to write; a savepoint inside an
    /// open one.
    fn write_transaction<T, E: From<diesel::result::Error>>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        self.transaction(work)
    }

    /// `work`, then `mark`, in one transaction that commits both or neither:
    /// also where `work` swallowed an error at which the database ended the
    /// transaction by itself.
    fn both_or_neither<W>(
        &mut self,
        work: impl FnOnce(&mut Self) -> QueryResult<W>,
        mark: impl FnOnce(&mut Self, W) -> QueryResult<()>,
    ) -> QueryResult<()> {
        // PostgreSQL refuses all that follows such an error, `mark` too.
        self.write_transaction(|conn| {
            let done = work(conn)?;
            mark(conn, done)
        })
    }
}

#[cfg(feature = "sqlite")]
impl TrackerConnection for diesel::SqliteConnection {
    const WRITERS: usize = 1;
    const CONFLICTS: &'static [&'static str] = &["is locked"]; // the database, a table, the schema
    // Opened while the file could not be written to, and so for ever.
    const BROKEN: &'static [&'static str] = &["attempt to write a readonly database"];

    fn write_transaction<T, E: From<diesel::result::Error>>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        // A transaction that reads first and writes later is refused at once,
        // past any busy timeout, when another has written in between.
        if self.depth() == Ok(0) {
            self.immediate_transaction(work)
        } else {
            self.transaction(work)
        }
    }

    fn both_or_neither<W>(
        &mut self,
        work: impl FnOnce(&mut Self) -> QueryResult<W>,
        mark: impl FnOnce(&mut Self, W) -> QueryResult<()>,
    ) -> QueryResult<()> {
        savepoint_then_mark(self, work, mark)
    }
}

#[cfg(feature = "postgres")]
impl TrackerConnection for diesel::PgConnection {
    const CONFLICTS: &'static [&'static str] = &[
        "deadlock detected",                       // 40P01
        "canceling statement due to lock timeout", // 55P03
        "could not obtain lock",                   // 55P03
    ];
    const HELD: &'static [&'static str] = &[
        "canceling statement due to lock timeout", // 55P03
        "could not obtain lock",                   // 55P03
    ];
    const PASSING: &'static [&'static str] = &["canceling statement due to statement timeout"]; // 57014
}

#[cfg(feature = "mysql")]
impl TrackerConnection for diesel::MysqlConnection {
    const CONFLICTS: &'static [&'static str] = &[
        "Deadlock found",                     // 1213
        "Lock wait timeout exceeded",         // 1205
        "Record has changed since last read", // 1020, MariaDB's snapshot isolation
    ];
    const HELD: &'static [&'static str] = &["Lock wait timeout exceeded"]; // 1205

    fn both_or_neither<W>(
        &mut self,
        work: impl FnOnce(&mut Self) -> QueryResult<W>,
        mark: impl FnOnce(&mut Self, W) -> QueryResult<()>,
    ) -> QueryResult<()> {
        use diesel::connection::SimpleConnection;
        // What `work` writes after a deadlock would be committed at once.
        self.batch_execute("SET autocommit = 0")?;
        let done = savepoint_then_mark(self, work, mark);
        // Switching it on commits what is still open.
        if self.depth() != Ok(0) || self.batch_execute("SET autocommit = 1").is_err() {
            self.evict();
        }
        done
    }
}

/// `work` in a savepoint, whose end fails if the transaction is another by
/// then: SQLite and MySQL end one by themselves, and say so only to whoever
/// sent the statement. Then `mark`, in the same transaction.
#[cfg(any(feature = "sqlite", feature = "mysql"))]
fn savepoint_then_mark<C: TrackerConnection, W>(
    conn: &mut C,
    work: impl FnOnce(&mut C) -> QueryResult<W>,
    mark: impl FnOnce(&mut C, W) -> QueryResult<()>,
) -> QueryResult<()> {
    conn.write_transaction(|conn| {
        let done = conn.transaction(work)?;
        mark(conn, done)
    })
}

/// `work`, which writes `statements` times: in one transaction where that is
/// more than once, for one wait for the disk; a statement alone needs none.
pub(crate) fn together<C: TrackerConnection, T, E: From<diesel::result::Error>>(
    conn: &mut C,
    statements: usize,
    work: impl FnOnce(&mut C) -> Result<T, E>,
) -> Result<T, E> {
    if statements > 1 {
        conn.write_transaction(work)
    } else {
        work(conn)
    }
}
