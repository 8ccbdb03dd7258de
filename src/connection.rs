//! Diesel's three connections, with what the tracker has to know of each.

use diesel::QueryResult;
use diesel::connection::{AnsiTransactionManager, Connection, TransactionManager};
use diesel::r2d2::{ConnectionManager, Pool, R2D2Connection};
use diesel::result::{DatabaseErrorInformation, DatabaseErrorKind, Error as DieselError};

/// A pool of connections, as `diesel::r2d2` makes it.
pub(crate) type PoolOf<C> = Pool<ConnectionManager<C>>;

/// What Diesel tells of an error of the database.
type Information = dyn DatabaseErrorInformation + Send + Sync;

/// Why the database did not do what it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Another transaction was in the way: a deadlock, a lock that was not to
    /// be had in time.
    Conflict,
    /// The statement was stopped from outside, as by a timeout.
    Stopped,
    /// The connection has to be replaced, though it answers.
    Connection,
    /// The statement itself is at fault.
    Statement,
    /// The error does not tell, at least not in a language that is known here.
    Unclear,
}

/// An error of the tracker's own transactions.
pub trait MaybeDatabaseError: From<DieselError> {
    /// The database's error, if it is one.
    fn database_error(&mut self) -> Option<&mut DieselError>;
}

impl MaybeDatabaseError for DieselError {
    fn database_error(&mut self) -> Option<&mut DieselError> {
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

    /// Whether the messages are in the language that [`cause_in`](Self::cause_in)
    /// reads.
    fn speaks_english(&mut self) -> bool {
        true
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

    fn cause_in(error: &Information) -> Cause {
        // SQLite speaks English alone. It may add a name: ": jobs".
        let text = error.message();
        match text.split_once(": ").map_or(text, |(text, _)| text) {
            "database is locked" | "database table is locked" | "database schema is locked" => {
                Cause::Conflict
            }
            // Opened while the file could not be written to, and so for ever.
            "attempt to write a readonly database" => Cause::Connection,
            _ => Cause::Statement,
        }
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
    // Diesel keeps the code (SQLSTATE) to itself.
    fn cause_in(error: &Information) -> Cause {
        let text = error.message();
        if text == "deadlock detected" || error.details().is_some_and(is_deadlock) {
            return Cause::Conflict; // 40P01
        }
        match text {
            "canceling statement due to lock timeout" => return Cause::Conflict, // 55P03
            "canceling statement due to statement timeout"
            | "canceling statement due to user request" => return Cause::Stopped, // 57014
            _ => {}
        }
        let no_lock = [
            "could not obtain lock on relation ",
            "could not obtain lock on row in relation \"",
        ];
        if no_lock.iter().any(|start| text.starts_with(start)) {
            return Cause::Conflict; // 55P03
        }
        // None of those that pass by themselves tells any of this.
        let is_of_statement = text.contains("__diesel_stmt_")
            || error.statement_position().is_some()
            || error.table_name().is_some()
            || error.column_name().is_some()
            || error.constraint_name().is_some();
        if is_of_statement {
            Cause::Statement
        } else {
            Cause::Unclear
        }
    }

    fn speaks_english(&mut self) -> bool {
        use diesel::RunQueryDsl as _;
        let setting = diesel::dsl::sql::<diesel::sql_types::Text>("current_setting('lc_messages')");
        let setting: QueryResult<String> = diesel::select(setting).get_result(self);
        setting.is_ok_and(|name| is_english(&name))
    }

    fn is_refusal(&mut self, error: &DieselError) -> bool {
        // 25P02 has one text, whatever the statement, in whatever language:
        // the next statement's answer shows it.
        let DieselError::DatabaseError(_, error) = error else {
            return false;
        };
        matches!(self.ping(), Err(DieselError::DatabaseError(_, next)) if next.message() == error.message())
    }
}

/// Whether the server's setting names English, or no language at all.
#[cfg(any(feature = "postgres", feature = "mysql"))]
fn is_english(setting: &str) -> bool {
    matches!(setting, "C" | "POSIX") || setting.starts_with("C.") || setting.starts_with("en")
}

/// Whether `detail` is PostgreSQL's of a deadlock: one line for each process,
/// with the mode of the lock that it waits for, its number, and the number of
/// the process that it waits for, in a circle. Modes and numbers are the same
/// in every language.
#[cfg(feature = "postgres")]
fn is_deadlock(detail: &str) -> bool {
    let lines: Vec<&str> = detail.lines().collect();
    let names_a_mode = |line: &&str| line.contains("ShareLock") || line.contains("ExclusiveLock");
    if lines.len() < 2 || !lines.iter().all(names_a_mode) {
        return false;
    }
    let numbers = |line: &str| -> Vec<u64> {
        let digits = line.split(|c: char| !c.is_ascii_digit());
        digits.filter_map(|number| number.parse().ok()).collect()
    };
    let next = lines.iter().cycle().skip(1);
    lines.iter().zip(next).all(|(line, next)| {
        let next = numbers(next);
        numbers(line).iter().any(|number| next.contains(number))
    })
}

#[cfg(feature = "mysql")]
impl TrackerConnection for diesel::MysqlConnection {
    fn cause_in(error: &Information) -> Cause {
        match error.message() {
            "Deadlock found when trying to get lock; try restarting transaction"
            | "Lock wait timeout exceeded; try restarting transaction" => Cause::Conflict,
            text if text.starts_with("Record has changed since last read in table '") => {
                Cause::Conflict
            }
            _ => Cause::Unclear,
        }
    }

    fn cause(&mut self, error: &Information) -> Cause {
        match mysql_code(self, error.message()) {
            // A deadlock, also of prepared transactions; a lock wait, also
            // with NOWAIT; MariaDB's snapshot isolation.
            Some(1213 | 1614 | 1205 | 3572 | 1020) => Cause::Conflict,
            // Interrupted; out of time, as MariaDB and MySQL say it.
            Some(1317 | 1969 | 3024) => Cause::Stopped,
            // Galera's node has left the cluster; the server shuts down; the
            // connection was killed, or is closed for being idle.
            Some(1047 | 1053 | 1927 | 3169 | 4031) => Cause::Connection,
            Some(_) => Cause::Statement,
            None => Self::cause_in(error),
        }
    }

    fn speaks_english(&mut self) -> bool {
        use diesel::RunQueryDsl as _;
        let setting = diesel::dsl::sql::<diesel::sql_types::Text>("@@lc_messages");
        let setting: QueryResult<String> = diesel::select(setting).get_result(self);
        setting.is_ok_and(|name| is_english(&name))
    }

    fn write_transaction<T, E: MaybeDatabaseError>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        self.transaction(|conn| {
            work(conn).map_err(|mut error| {
                // Before the rollback, after which the server knows no more.
                if let Some(error) = error.database_error() {
                    mark_cause(conn, error);
                }
                error
            })
        })
    }

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

/// The code of the error with this text, if it is among those of the last
/// statement that had any.
#[cfg(feature = "mysql")]
fn mysql_code(conn: &mut diesel::MysqlConnection, text: &str) -> Option<i64> {
    use diesel::RunQueryDsl as _;
    use diesel::connection::SimpleConnection as _;
    use diesel::sql_types::{BigInt, Nullable, Text};
    // SHOW WARNINGS cannot be prepared, and Diesel reads no other rows.
    let mut read = |place: &str| -> Option<(Option<i64>, Option<i64>, Option<String>)> {
        conn.batch_execute(&format!(
            "GET DIAGNOSTICS @tracker_errors = NUMBER;
             GET DIAGNOSTICS CONDITION {place} @tracker_code = MYSQL_ERRNO, @tracker_text = MESSAGE_TEXT"
        ))
        .ok()?;
        let read = diesel::select((
            diesel::dsl::sql::<Nullable<BigInt>>("CAST(@tracker_errors AS SIGNED)"),
            diesel::dsl::sql::<Nullable<BigInt>>("CAST(@tracker_code AS SIGNED)"),
            diesel::dsl::sql::<Nullable<Text>>("@tracker_text"),
        ));
        read.get_result(conn).ok()
    };
    // The last is the error, but for MariaDB's notes on where it was.
    let (count, mut code, mut message) = read("@tracker_errors")?;
    let mut place = 0;
    while message.as_deref() != Some(text) {
        place += 1;
        if place >= count? {
            return None;
        }
        (_, code, message) = read(&place.to_string())?;
    }
    code
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

/// Why `conn` has just failed with `error`.
pub(crate) fn cause_of<C: TrackerConnection>(conn: &mut C, error: &DieselError) -> Cause {
    match error {
        DieselError::DatabaseError(kind, information) => match kind {
            DatabaseErrorKind::SerializationFailure => Cause::Conflict,
            // A server that has become a read-only replica stays one.
            DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::ReadOnlyTransaction => {
                Cause::Connection
            }
            // Diesel has no kind for most errors that pass by themselves.
            DatabaseErrorKind::Unknown => conn.cause(&**information),
            _ => Cause::Statement,
        },
        DieselError::BrokenTransactionManager | DieselError::RollbackErrorOnCommit { .. } => {
            Cause::Connection
        }
        _ => Cause::Statement,
    }
}

/// The same; and a conflict gets the kind that says so, which stays with the
/// error, while the connection goes on to other things.
pub(crate) fn mark_cause<C: TrackerConnection>(conn: &mut C, error: &mut DieselError) -> Cause {
    let cause = cause_of(conn, error);
    if let (Cause::Conflict, DieselError::DatabaseError(kind, _)) = (cause, error) {
        *kind = DatabaseErrorKind::SerializationFailure;
    }
    cause
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

#[cfg(all(test, feature = "postgres"))]
mod tests {
    use super::is_deadlock;

    /// As PostgreSQL's catalogs word a line, for processes 117 and 118.
    const LINES: [[&str; 2]; 11] = [
        [
            "Process 117 waits for ShareLock on transaction 741; blocked by process 118.",
            "Process 118 waits for ShareLock on transaction 740; blocked by process 117.",
        ],
        [
            "Prozess 117 wartet auf ShareLock-Sperre auf Transaktion 741; blockiert von Prozess 118.",
            "Prozess 118 wartet auf ShareLock-Sperre auf Transaktion 740; blockiert von Prozess 117.",
        ],
        [
            "El proceso 117 espera ShareLock en transacción 741; bloqueado por proceso 118.",
            "El proceso 118 espera ShareLock en transacción 740; bloqueado por proceso 117.",
        ],
        [
            "Le processus 117 attend ShareLock sur transaction 741 ; bloqué par le processus 118.",
            "Le processus 118 attend ShareLock sur transaction 740 ; bloqué par le processus 117.",
        ],
        [
            "Il processo 117 è in attesa di ShareLock su transazione 741; bloccato dal processo 118.",
            "Il processo 118 è in attesa di ShareLock su transazione 740; bloccato dal processo 117.",
        ],
        [
            "プロセス 117 は ShareLock を トランザクション 741 で待機していましたが、プロセス 118 でブロックされました",
            "プロセス 118 は ShareLock を トランザクション 740 で待機していましたが、プロセス 117 でブロックされました",
        ],
        [
            "117 프로세스가 ShareLock 상태로 지연되고 있음(해당 작업: 741 트랜잭션); 118 프로세스에 의해 블록킹되었음",
            "118 프로세스가 ShareLock 상태로 지연되고 있음(해당 작업: 740 트랜잭션); 117 프로세스에 의해 블록킹되었음",
        ],
        [
            "Процесс 117 ожидает в режиме ShareLock блокировку \"транзакция 741\"; заблокирован процессом 118.",
            "Процесс 118 ожидает в режиме ShareLock блокировку \"транзакция 740\"; заблокирован процессом 117.",
        ],
        [
            "Process 117 väntar på ShareLock för transaktion 741; blockerad av process 118.",
            "Process 118 väntar på ShareLock för transaktion 740; blockerad av process 117.",
        ],
        [
            "Процес 117 очікує в режимі ShareLock блокування \"транзакція 741\"; заблокований процесом 118.",
            "Процес 118 очікує в режимі ShareLock блокування \"транзакція 740\"; заблокований процесом 117.",
        ],
        [
            "进程117等待在事务 741上的ShareLock; 由进程118阻塞.",
            "进程118等待在事务 740上的ShareLock; 由进程117阻塞.",
        ],
    ];

    #[test]
    fn a_deadlock_is_known_by_its_circle_in_every_language() {
        for [one, other] in LINES {
            assert!(is_deadlock(&format!("{one}\n{other}")), "{one}");
        }
        let three = "Process 1 waits for ExclusiveLock on tuple (0,1) of relation 16384 of database 5; blocked by process 2.
Process 2 waits for ShareLock on transaction 740; blocked by process 3.
Process 3 waits for AccessExclusiveLock on relation 16390 of database 5; blocked by process 1.";
        assert!(is_deadlock(three));
    }

    #[test]
    fn other_details_are_no_deadlock() {
        for detail in [
            "",
            "account 1 is locked",
            "Key (id)=(1) already exists.",
            "order 1 waits for account 2\naccount 2 waits for order 1",
            "Process 117 waits for ShareLock on transaction 741; blocked by process 118.",
            "Process 1 waits for ShareLock on transaction 7; blocked by process 2.
Process 3 waits for ShareLock on transaction 8; blocked by process 4.",
        ] {
            assert!(!is_deadlock(detail), "{detail}");
        }
    }
}
