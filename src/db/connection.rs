//! Diesel's three connections, and what differs between them.

use diesel::QueryResult;
use diesel::connection::TransactionManager;
use diesel::r2d2::R2D2Connection;
use diesel::result::{DatabaseErrorKind, Error as DieselError};

use crate::db::changes::{Tells, TellsChanges};
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

/// What is known of a database without asking it.
#[derive(Debug)]
pub struct Facts {
    /// How many connections can write at the same time without waiting for each
    /// other.
    pub(crate) writers: usize,
    /// Whether a transaction goes on after an error within a savepoint. MySQL ends it
    /// after a deadlock, and with some settings after a lock timeout.
    pub(crate) savepoints_hold: bool,
    /// Whether a transaction may read an old version of a row while its updates see
    /// the new version, without an error.
    pub(crate) reads_old_rows: bool,
    /// Whether a transaction refuses all statements after an error.
    refuses_after_error: bool,
    /// How it tells what other connections have changed.
    pub(crate) tells: Tells,
    /// Whether the database may end a transaction at an error, and then commits each
    /// statement that follows at once.
    commits_after_error: bool,
    /// The cause of an error for which Diesel's kind is `Unknown`, as far as the
    /// error itself shows it.
    cause_in: fn(&Information) -> Cause,
}

/// One of Diesel's three connections, or an enum of them (see
/// [`ConnectionEnum`](crate::ConnectionEnum)), and what is special to it.
pub trait TrackerConnection: R2D2Connection + TellsChanges + Send + 'static {
    /// What is known of the database. `None` if only a connection tells which
    /// database it is.
    #[doc(hidden)]
    const FACTS: Option<&'static Facts>;

    /// What is known of the database of this connection.
    #[doc(hidden)]
    fn facts(&mut self) -> &'static Facts;

    /// The cause of an error for which Diesel's kind is `Unknown`. Call it right
    /// after the error: it may ask the database.
    #[doc(hidden)]
    fn cause(&mut self, error: &Information) -> Cause {
        (self.facts().cause_in)(error)
    }

    /// Whether [`cause`](Self::cause) knows the language of the messages.
    #[doc(hidden)]
    fn knows_language(&mut self) -> bool {
        true
    }

    /// Learns the texts of transient errors in the database's language, by causing
    /// some. `other` is a connection to the same database. Returns whether the
    /// language is known now.
    #[doc(hidden)]
    fn learn_language(&mut self, other: &mut Self) -> QueryResult<bool> {
        let _ = other;
        Ok(false)
    }

    /// Whether the database may refuse a row to a transaction of this session because
    /// the row has changed since the transaction began.
    #[doc(hidden)]
    fn keeps_snapshots(&mut self) -> QueryResult<bool> {
        Ok(false)
    }

    /// Whether `error` says only that an earlier error has broken the transaction.
    #[doc(hidden)]
    fn is_refusal(&mut self, error: &DieselError) -> bool {
        let _ = error;
        false
    }

    /// Begins a transaction that writes; a savepoint if one is open.
    #[doc(hidden)]
    fn begin_write(&mut self) -> QueryResult<()> {
        Self::TransactionManager::begin_transaction(self)
    }

    /// The caller's own limit of the wait for a row, if a statement of this crate
    /// changes it for the rest of the open transaction.
    #[doc(hidden)]
    fn own_lock_wait(&mut self) -> QueryResult<Option<String>> {
        Ok(None)
    }

    /// Restores what [`own_lock_wait`](Self::own_lock_wait) has returned.
    #[doc(hidden)]
    fn restore_lock_wait(&mut self, own: String) -> QueryResult<()> {
        let _ = own;
        Ok(())
    }

    /// Runs `work`, whose statements limit how long they wait for a row. In a
    /// transaction of the caller, the caller's limit is restored afterwards.
    #[doc(hidden)]
    fn keeping_lock_wait<T, E: MaybeDatabaseError>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        // Without a transaction, the limit ends with the statement.
        let own = match self.depth()? {
            0 => None,
            _ => self.own_lock_wait()?,
        };
        let done = work(self);
        match own.map(|own| self.restore_lock_wait(own)) {
            Some(Err(error)) if done.is_ok() => Err(error.into()),
            // If the transaction is broken, its rollback restores the limit.
            _ => done,
        }
    }

    /// Makes the pool drop this connection instead of using it again. With
    /// `test_on_check_out(false)` a pool would keep a dead connection.
    #[doc(hidden)]
    fn evict(&mut self) {
        Self::TransactionManager::transaction_manager_status_mut(self).set_in_error();
    }

    /// How many transactions are open, nested in each other.
    #[doc(hidden)]
    fn depth(&mut self) -> QueryResult<u32> {
        let status = Self::TransactionManager::transaction_manager_status_mut(self);
        Ok(status.transaction_depth()?.map_or(0, u32::from))
    }

    /// Runs `work` in a transaction that writes; in a savepoint if one is open.
    #[doc(hidden)]
    fn write_transaction<T, E: MaybeDatabaseError>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        self.begin_write()?;
        let error = match work(self) {
            Ok(value) => {
                Self::TransactionManager::commit_transaction(self)?;
                return Ok(value);
            }
            Err(error) => error,
        };
        // Before the rollback: after it MySQL does not know the code any more.
        if let Some(error) = error.database_error() {
            cause_of(self, error);
        }
        match Self::TransactionManager::rollback_transaction(self) {
            // The first error is the one that tells what happened.
            Ok(()) | Err(DieselError::BrokenTransactionManager) => Err(error),
            Err(rollback) => Err(rollback.into()),
        }
    }

    /// Runs `work`, then `mark`, in one transaction that commits both or neither.
    /// This holds also if `work` ignored an error at which the database ended the
    /// transaction.
    #[doc(hidden)]
    fn both_or_neither<W, E: MaybeDatabaseError>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<W, E>,
        mark: impl FnOnce(&mut Self, W) -> Result<(), E>,
    ) -> Result<(), E> {
        let facts = self.facts();
        if facts.refuses_after_error {
            // After such an error the database refuses `mark` too.
            return self.write_transaction(|conn| {
                let done = work(conn)?;
                mark(conn, done)
            });
        }
        if facts.commits_after_error {
            // Otherwise, what `work` writes after a deadlock would be committed at once.
            self.batch_execute("SET autocommit = 0")?;
        }
        // If the database has ended the transaction meanwhile, the savepoint is gone,
        // and its release fails. SQLite and MySQL report that only for the statement
        // that caused it.
        let done = self.write_transaction(|conn| {
            let done = conn.transaction(work)?;
            mark(conn, done)
        });
        // Switching it on would commit what is still open.
        if facts.commits_after_error
            && (self.depth() != Ok(0) || self.batch_execute("SET autocommit = 1").is_err())
        {
            self.evict();
        }
        done
    }
}

#[cfg(feature = "sqlite")]
static SQLITE: Facts = Facts {
    writers: 1,
    savepoints_hold: true,
    reads_old_rows: false,
    refuses_after_error: false,
    tells: Tells::FileVersion,
    commits_after_error: false,
    cause_in: |error| told::sqlite::cause(error.message()),
};

#[cfg(feature = "sqlite")]
impl TrackerConnection for diesel::SqliteConnection {
    const FACTS: Option<&'static Facts> = Some(&SQLITE);

    fn facts(&mut self) -> &'static Facts {
        &SQLITE
    }

    fn begin_write(&mut self) -> QueryResult<()> {
        use diesel::connection::AnsiTransactionManager;
        // SQLite refuses a transaction that reads first and writes later at once,
        // without waiting, if another has written in between.
        if self.depth() == Ok(0) {
            AnsiTransactionManager::begin_transaction_sql(self, "BEGIN IMMEDIATE")
        } else {
            AnsiTransactionManager::begin_transaction(self)
        }
    }
}

#[cfg(feature = "postgres")]
static POSTGRES: Facts = Facts {
    writers: usize::MAX,
    savepoints_hold: true,
    reads_old_rows: false,
    refuses_after_error: true,
    tells: Tells::Notifications,
    commits_after_error: false,
    cause_in: |error| told::postgres::cause(error),
};

#[cfg(feature = "postgres")]
impl TrackerConnection for diesel::PgConnection {
    const FACTS: Option<&'static Facts> = Some(&POSTGRES);

    fn facts(&mut self) -> &'static Facts {
        &POSTGRES
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

    fn own_lock_wait(&mut self) -> QueryResult<Option<String>> {
        use diesel::RunQueryDsl as _;
        use diesel::dsl::sql;
        use diesel::sql_types::Text;
        let own = diesel::select(sql::<Text>("current_setting('lock_timeout')"));
        own.get_result(self).map(Some)
    }

    fn restore_lock_wait(&mut self, own: String) -> QueryResult<()> {
        use diesel::RunQueryDsl as _;
        use diesel::dsl::sql;
        use diesel::sql_types::Text;
        let put_back = sql::<Text>("set_config('lock_timeout', ").bind::<Text, _>(own);
        diesel::select(put_back.sql(", true)")).execute(self)?;
        Ok(())
    }
}

#[cfg(feature = "mysql")]
static MYSQL: Facts = Facts {
    writers: usize::MAX,
    savepoints_hold: false,
    reads_old_rows: true,
    refuses_after_error: false,
    tells: Tells::Nothing,
    commits_after_error: true,
    cause_in: |error| told::mysql::cause_in(error),
};

#[cfg(feature = "mysql")]
impl TrackerConnection for diesel::MysqlConnection {
    const FACTS: Option<&'static Facts> = Some(&MYSQL);

    fn facts(&mut self) -> &'static Facts {
        &MYSQL
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
}

/// What MySQL shows of a variable.
#[cfg(feature = "mysql")]
#[derive(diesel::QueryableByName)]
struct Variable {
    #[diesel(sql_type = diesel::sql_types::Text, column_name = "Value")]
    value: String,
}

/// Why `conn` has just failed with `error`.
pub(crate) fn cause_of<C: TrackerConnection>(conn: &mut C, error: &DieselError) -> Cause {
    cause_by(error, |information| conn.cause(information))
}

/// The same, as far as the error itself shows it.
pub(crate) fn cause_in(facts: &Facts, error: &DieselError) -> Cause {
    cause_by(error, facts.cause_in)
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
