//! Diesel's three connections, and what differs between them.

use diesel::QueryResult;
use diesel::connection::{AnsiTransactionManager, Connection, TransactionManager};
use diesel::r2d2::R2D2Connection;
use diesel::result::{DatabaseErrorKind, Error as DieselError};

use crate::db::database_error::{self as told, Cause, Information};

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

/// One of Diesel's three connections, and what is special to it.
pub trait TrackerConnection:
    R2D2Connection + Connection<TransactionManager = AnsiTransactionManager> + Send + 'static
{
    /// The cause of an error for which Diesel's kind is `Unknown`, as far as the
    /// error itself shows it.
    fn cause_in(error: &Information) -> Cause;

    /// The same. Call it right after the error: it may ask the database.
    fn cause(&mut self, error: &Information) -> Cause {
        Self::cause_in(error)
    }

    /// Whether [`cause_in`](Self::cause_in) knows the language of the messages.
    fn knows_language(&mut self) -> bool {
        true
    }

    /// Learns the texts of transient errors in the database's language, by causing
    /// some. `other` is a connection to the same database. Returns whether the
    /// language is known now.
    fn learn_language(&mut self, other: &mut Self) -> QueryResult<bool> {
        let _ = other;
        Ok(false)
    }

    /// Whether the database may refuse a row to a transaction of this session because
    /// the row has changed since the transaction began.
    fn keeps_snapshots(&mut self) -> QueryResult<bool> {
        Ok(false)
    }

    /// Whether `error` says only that an earlier error has broken the transaction.
    fn is_refusal(&mut self, error: &DieselError) -> bool {
        let _ = error;
        false
    }

    /// How many connections can write at the same time without waiting for each
    /// other.
    const WRITERS: usize = usize::MAX;

    /// Whether a transaction goes on after an error within a savepoint. MySQL ends it
    /// after a deadlock, and with some settings after a lock timeout.
    const SAVEPOINTS_HOLD: bool = true;

    /// Whether a transaction may read an old version of a row while its updates see
    /// the new version, without an error.
    const READS_OLD_ROWS: bool = false;

    /// Runs `work`, whose statements limit how long they wait for a row. In a
    /// transaction of the caller, the caller's limit is restored afterwards.
    fn keeping_lock_wait<T, E: MaybeDatabaseError>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        work(self)
    }

    /// Makes the pool drop this connection instead of using it again. With
    /// `test_on_check_out(false)` a pool would keep a dead connection.
    fn evict(&mut self) {
        AnsiTransactionManager::transaction_manager_status_mut(self).set_in_error();
    }

    /// How many transactions are open, nested in each other.
    fn depth(&mut self) -> QueryResult<u32> {
        let status = AnsiTransactionManager::transaction_manager_status_mut(self);
        Ok(status.transaction_depth()?.map_or(0, u32::from))
    }

    /// Runs `work` in a transaction that writes; in a savepoint if one is open.
    fn write_transaction<T, E: MaybeDatabaseError>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        self.transaction(work)
    }

    /// Runs `work`, then `mark`, in one transaction that commits both or neither.
    /// This holds also if `work` ignored an error at which the database ended the
    /// transaction.
    fn both_or_neither<W, E: MaybeDatabaseError>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<W, E>,
        mark: impl FnOnce(&mut Self, W) -> Result<(), E>,
    ) -> Result<(), E> {
        // After such an error PostgreSQL refuses all statements, `mark` too.
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
        // SQLite refuses a transaction that reads first and writes later at once,
        // without waiting, if another has written in between.
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
        // Without a transaction, the limit ends with the statement.
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
            // If the transaction is broken, its rollback restores the limit.
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
        // Only MariaDB has this. It is on by default from 11.6 on.
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
                // Before the rollback: after it MySQL does not know the code any more.
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
        // Otherwise, what `work` writes after a deadlock would be committed at once.
        self.batch_execute("SET autocommit = 0")?;
        let done = savepoint_then_mark(self, work, mark);
        // Switching it on would commit what is still open.
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

/// Runs `work` in a savepoint, then `mark` in the same transaction. If the database
/// has ended the transaction meanwhile, the savepoint is gone, and its release
/// fails. SQLite and MySQL report that only for the statement that caused it.
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

/// The same, as far as the error itself shows it.
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
            // Diesel has no kind for most transient errors.
            DatabaseErrorKind::Unknown => unknown(&**information),
            _ => Cause::Statement,
        },
        DieselError::BrokenTransactionManager | DieselError::RollbackErrorOnCommit { .. } => {
            Cause::Connection
        }
        _ => Cause::Statement,
    }
}

/// Runs `work`, which writes `statements` times: in one transaction if that is
/// more than once, so that it waits for the disk once.
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
