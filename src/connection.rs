//! Diesel's three connections, with what the tracker has to know of each.

use diesel::QueryResult;
use diesel::connection::{AnsiTransactionManager, Connection, TransactionManager};
use diesel::r2d2::{ConnectionManager, Pool, R2D2Connection};
use diesel::result::{DatabaseErrorKind, Error as DieselError};

use crate::database_error::{self as told, Cause, Information};

/// A pool of connections, as `diesel::r2d2` makes it.
pub(crate) type PoolOf<C> = Pool<ConnectionManager<C>>;

/// An error of the tracker's own transactions.
pub trait MaybeDatabaseError: From<DieselError> {
    /// The database's error, if it is one.
    fn database_error(&self) -> Option<&DieselError>;
}

impl MaybeDatabaseError for DieselError {
    fn database_error(&self) -> Option<&DieselError> {
        Some(self)
    }
}

/// One of Diesel's three connections, with what the tracker has to know of it.
pub trait TrackerConnection:
    R2D2Connection + Connection<TransactionManager = AnsiTransactionManager> + Send + 'static
{
    /// The cause of an error of which Diesel tells no more than `Unknown`, as
    /// far as the error itself tells it.
    fn cause_in(error: &Information) -> Cause;

    /// The same, asked right after the error: the database may know more.
    fn cause(&mut self, error: &Information) -> Cause {
        Self::cause_in(error)
    }

    /// Whether [`cause_in`](Self::cause_in) knows the language of the messages.
    fn knows_language(&mut self) -> bool {
        true
    }

    /// Has the database say what it says when it makes way, where only this
    /// tells it; `other` is a connection to the same database.
    fn learn_language(&mut self, other: &mut Self) -> QueryResult<bool> {
        let _ = other;
        Ok(false)
    }

    /// Whether a transaction of this session may be refused a row because it was
    /// changed since the transaction began.
    fn keeps_snapshots(&mut self) -> QueryResult<bool> {
        Ok(false)
    }

    /// Whether `error` is what the database answers to any statement in a
    /// transaction that an earlier error has broken.
    fn is_refusal(&mut self, error: &DieselError) -> bool {
        let _ = error;
        false
    }

    /// How many connections of one process can write at the same time without
    /// waiting for each other.
    const WRITERS: usize = usize::MAX;

    /// Whether a transaction goes on after an error within a savepoint. MySQL ends
    /// it after a deadlock, and by its settings after a lock timeout.
    const SAVEPOINTS_HOLD: bool = true;

    /// Whether a transaction may read a row as it was before, while its updates
    /// meet the row as it is now, and that is no error.
    const READS_OLD_ROWS: bool = false;

    /// `work`, whose statements limit how long they wait for a row. Where that
    /// is in a transaction of the caller's, it has its own limit again
    /// afterwards.
    fn keeping_lock_wait<T, E: MaybeDatabaseError>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        work(self)
    }

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
    fn write_transaction<T, E: MaybeDatabaseError>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        self.transaction(work)
    }

    /// `work`, then `mark`, in one transaction that commits both or neither:
    /// also where `work` swallowed an error at which the database ended the
    /// transaction by itself.
    fn both_or_neither<W, E: MaybeDatabaseError>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<W, E>,
        mark: impl FnOnce(&mut Self, W) -> Result<(), E>,
    ) -> Result<(), E> {
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

    fn cause_in(error: &Information) -> Cause {
        told::sqlite::cause(error.message())
    }

    fn write_transaction<T, E: MaybeDatabaseError>(
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

    fn both_or_neither<W, E: MaybeDatabaseError>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<W, E>,
        mark: impl FnOnce(&mut Self, W) -> Result<(), E>,
    ) -> Result<(), E> {
        savepoint_then_mark(self, work, mark)
    }
}

#[cfg(feature = "postgres")]
impl TrackerConnection for diesel::PgConnection {
    fn cause_in(error: &Information) -> Cause {
        told::postgres::cause(error)
    }

    fn knows_language(&mut self) -> bool {
        told::postgres::knows_language(self)
    }

    fn learn_language(&mut self, other: &mut Self) -> QueryResult<bool> {
        told::postgres::learn_language(self, other)
    }

    fn keeps_snapshots(&mut self) -> QueryResult<bool> {
        use diesel::RunQueryDsl as _;
        let keeps = "current_setting('transaction_isolation') <> 'read committed'";
        let keeps = diesel::dsl::sql::<diesel::sql_types::Bool>(keeps);
        diesel::select(keeps).get_result(self)
    }

    fn is_refusal(&mut self, error: &DieselError) -> bool {
        told::postgres::is_refusal(self, error)
    }

    fn keeping_lock_wait<T, E: MaybeDatabaseError>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        use diesel::RunQueryDsl as _;
        use diesel::dsl::sql;
        use diesel::sql_types::Text;
        // Without one, the limit ends with the statement.
        if self.depth()? == 0 {
            return work(self);
        }
        let own = diesel::select(sql::<Text>("current_setting('lock_timeout')"));
        let own: String = own.get_result(self)?;
        let done = work(self);
        let put_back = sql::<Text>("set_config('lock_timeout', ").bind::<Text, _>(own);
        let put_back = diesel::select(put_back.sql(", true)")).execute(self);
        match (done, put_back) {
            (Ok(_), Err(error)) => Err(error.into()),
            // Where the transaction is broken, its rollback puts the limit back.
            (done, _) => done,
        }
    }
}

#[cfg(feature = "mysql")]
impl TrackerConnection for diesel::MysqlConnection {
    const SAVEPOINTS_HOLD: bool = false;
    const READS_OLD_ROWS: bool = true;

    fn cause_in(error: &Information) -> Cause {
        told::mysql::cause_in(error)
    }

    fn cause(&mut self, error: &Information) -> Cause {
        told::mysql::cause(self, error)
    }

    fn knows_language(&mut self) -> bool {
        told::mysql::knows_language(self)
    }

    fn keeps_snapshots(&mut self) -> QueryResult<bool> {
        use diesel::RunQueryDsl as _;
        // MariaDB's alone. Its default is on from 11.6 on.
        let setting = "SHOW SESSION VARIABLES LIKE 'innodb_snapshot_isolation'";
        let setting: Vec<Variable> = diesel::sql_query(setting).load(self)?;
        Ok(setting.iter().any(|setting| setting.value == "ON"))
    }

    fn write_transaction<T, E: MaybeDatabaseError>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        self.transaction(|conn| {
            work(conn).inspect_err(|error| {
                // Before the rollback, after which MySQL does not know the code.
                if let Some(error) = error.database_error() {
                    cause_of(conn, error);
                }
            })
        })
    }

    fn both_or_neither<W, E: MaybeDatabaseError>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<W, E>,
        mark: impl FnOnce(&mut Self, W) -> Result<(), E>,
    ) -> Result<(), E> {
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

/// What MySQL shows of a variable.
#[cfg(feature = "mysql")]
#[derive(diesel::QueryableByName)]
struct Variable {
    #[diesel(sql_type = diesel::sql_types::Text, column_name = "Value")]
    value: String,
}

/// `work` in a savepoint, whose end fails if the transaction is another by
/// then: SQLite and MySQL end one by themselves, and say so only to whoever
/// sent the statement. Then `mark`, in the same transaction.
#[cfg(any(feature = "sqlite", feature = "mysql"))]
fn savepoint_then_mark<C: TrackerConnection, W, E: MaybeDatabaseError>(
    conn: &mut C,
    work: impl FnOnce(&mut C) -> Result<W, E>,
    mark: impl FnOnce(&mut C, W) -> Result<(), E>,
) -> Result<(), E> {
    conn.write_transaction(|conn| {
        let done = conn.transaction(work)?;
        mark(conn, done)
    })
}

/// Why `conn` has just failed with `error`.
pub(crate) fn cause_of<C: TrackerConnection>(conn: &mut C, error: &DieselError) -> Cause {
    cause_by(error, |information| conn.cause(information))
}

/// The same, as far as the error itself tells it.
pub(crate) fn cause_in<C: TrackerConnection>(error: &DieselError) -> Cause {
    cause_by(error, C::cause_in)
}

fn cause_by(error: &DieselError, unknown: impl FnOnce(&Information) -> Cause) -> Cause {
    match error {
        DieselError::DatabaseError(kind, information) => match kind {
            DatabaseErrorKind::SerializationFailure => Cause::Conflict,
            // A server that has become a read-only replica stays one.
            DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::ReadOnlyTransaction => {
                Cause::Connection
            }
            // Diesel has no kind for most errors that pass by themselves.
            DatabaseErrorKind::Unknown => unknown(&**information),
            _ => Cause::Statement,
        },
        DieselError::BrokenTransactionManager | DieselError::RollbackErrorOnCommit { .. } => {
            Cause::Connection
        }
        _ => Cause::Statement,
    }
}

/// `work`, which writes `statements` times: in one transaction where that is
/// more than once, for one wait for the disk; a statement alone needs none.
pub(crate) fn together<C: TrackerConnection, T, E: MaybeDatabaseError>(
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
