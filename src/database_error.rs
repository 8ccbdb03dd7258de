//! Why a statement failed. This is known by codes, and by what is the same in every
//! language. Otherwise it is known by a whole text, never by a part of one, because
//! a part may also occur in another error.

use diesel::result::DatabaseErrorInformation;

/// What Diesel knows of an error of the database.
pub(crate) type Information = dyn DatabaseErrorInformation + Send + Sync;

/// Why a statement failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Another transaction held a row, or a table, for longer than the
    /// statement waits.
    Held,
    /// Another conflict with a transaction, as a deadlock.
    Conflict,
    /// The statement was stopped from outside, as by a timeout.
    Stopped,
    /// The connection must be replaced, although it may answer.
    Connection,
    /// The statement itself is at fault.
    Statement,
    /// Not known: the error is in a language that is not known here.
    Unclear,
}

/// Texts in any language whose cause this process has found out.
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod memory {
    use std::collections::BTreeMap;
    use std::sync::{PoisonError, RwLock};

    use super::Cause;

    static TEXTS: RwLock<BTreeMap<String, Cause>> = RwLock::new(BTreeMap::new());
    /// Enough for all languages of several servers.
    const MOST: usize = 1_000;

    /// The cause of the errors with this text, if it was found out.
    pub fn learned(text: &str) -> Option<Cause> {
        let texts = TEXTS.read().unwrap_or_else(PoisonError::into_inner);
        texts.get(text).copied()
    }

    /// Notes the cause of the errors with this text.
    pub fn learn(text: &str, cause: Cause) {
        if learned(text) != Some(cause) {
            let mut texts = TEXTS.write().unwrap_or_else(PoisonError::into_inner);
            if texts.len() < MOST {
                texts.insert(text.to_owned(), cause);
            }
        }
    }
}

/// Whether a server's setting means English, or no language at all.
#[cfg(any(feature = "postgres", feature = "mysql"))]
fn is_english(setting: &str) -> bool {
    matches!(setting, "C" | "POSIX") || setting.starts_with("C.") || setting.starts_with("en")
}

/// SQLite, whose errors are always English. It may add a name: ": jobs".
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite {
    use super::Cause;

    pub fn cause(text: &str) -> Cause {
        if text == "database is locked" {
            return Cause::Conflict;
        }
        match text.split_once(": ").map_or(text, |(text, _)| text) {
            "database table is locked" | "database schema is locked" => Cause::Conflict,
            // It does not depend on the statement, and somebody may free space.
            "database or disk is full" | "disk I/O error" => Cause::Stopped,
            // The file was not writable when it was opened. The connection keeps that.
            "attempt to write a readonly database" => Cause::Connection,
            _ => Cause::Statement,
        }
    }
}

/// PostgreSQL. Diesel does not give access to its codes (SQLSTATE).
#[cfg(feature = "postgres")]
pub(crate) mod postgres {
    use std::collections::BTreeSet;
    use std::sync::{PoisonError, RwLock};

    use diesel::connection::Connection;
    use diesel::dsl::sql;
    use diesel::prelude::*;
    use diesel::r2d2::R2D2Connection;
    use diesel::result::{DatabaseErrorKind, Error as DieselError};
    use diesel::sql_types::{Bool, Text};

    use super::memory::{learn, learned};
    use super::{Cause, Information, is_english};

    /// The languages whose texts were learned from a server.
    static LANGUAGES: RwLock<BTreeSet<String>> = RwLock::new(BTreeSet::new());

    pub fn cause(error: &Information) -> Cause {
        let text = error.message();
        match text {
            "canceling statement due to lock timeout" => return Cause::Held, // 55P03
            "canceling statement due to statement timeout"
            | "canceling statement due to user request" => return Cause::Stopped, // 57014
            "deadlock detected" => return Cause::Conflict,                   // 40P01
            _ => {}
        }
        let no_lock = [
            "could not obtain lock on relation ",
            "could not obtain lock on row in relation \"",
        ];
        if no_lock.iter().any(|start| text.starts_with(start)) {
            return Cause::Held; // 55P03
        }
        if error.details().is_some_and(is_deadlock) {
            return Cause::Conflict;
        }
        if is_of_statement(error) {
            return Cause::Statement;
        }
        learned(text).unwrap_or(Cause::Unclear)
    }

    /// Whether the error has something that no transient error has.
    fn is_of_statement(error: &Information) -> bool {
        error.message().contains("__diesel_stmt_")
            || error.statement_position().is_some()
            || error.table_name().is_some()
            || error.column_name().is_some()
            || error.constraint_name().is_some()
    }

    fn language(conn: &mut PgConnection) -> QueryResult<String> {
        diesel::select(sql::<Text>("current_setting('lc_messages')")).get_result(conn)
    }

    /// Whether [`cause`] knows the language of the server's messages.
    pub fn knows_language(conn: &mut PgConnection) -> bool {
        let Ok(language) = language(conn) else {
            return false;
        };
        let languages = LANGUAGES.read().unwrap_or_else(PoisonError::into_inner);
        is_english(&language) || languages.contains(&language)
    }

    /// Learns the server's texts for a lock timeout and for a statement timeout, by
    /// causing both: one of two connections waits for the other.
    pub fn learn_language(conn: &mut PgConnection, other: &mut PgConnection) -> QueryResult<bool> {
        let language = language(conn)?;
        let number = uuid::Uuid::new_v4().as_u64_pair().0.cast_signed();
        let lock = format!("pg_advisory_xact_lock({number}) IS NOT NULL");
        let lock = || diesel::select(sql::<Bool>(&lock));
        let no_lock = other.transaction(|other| {
            lock().execute(other)?;
            refused(conn, "lock_timeout", |conn| lock().execute(conn))
        })?;
        let no_time = refused(conn, "statement_timeout", |conn| {
            diesel::select(sql::<Bool>("pg_sleep(10) IS NOT NULL")).execute(conn)
        })?;
        let (Some(no_lock), Some(no_time)) = (no_lock, no_time) else {
            return Ok(false);
        };
        learn(&no_lock, Cause::Held);
        learn(&no_time, Cause::Stopped);
        let mut languages = LANGUAGES.write().unwrap_or_else(PoisonError::into_inner);
        languages.insert(language);
        Ok(true)
    }

    /// The text with which `statement` is refused after the shortest time; `None`
    /// where it is not refused.
    fn refused(
        conn: &mut PgConnection,
        timeout: &str,
        statement: impl FnOnce(&mut PgConnection) -> QueryResult<usize>,
    ) -> QueryResult<Option<String>> {
        let set = format!("set_config('{timeout}', '10ms', true)");
        let refused = conn.transaction(|conn| {
            diesel::select(sql::<Text>(&set)).execute(conn)?;
            statement(conn)
        });
        match refused {
            Err(DieselError::DatabaseError(DatabaseErrorKind::Unknown, error))
                if !is_of_statement(&*error) =>
            {
                Ok(Some(error.message().to_owned()))
            }
            Err(error) => Err(error),
            Ok(_) => Ok(None),
        }
    }

    /// Whether `error` says only that an earlier error has broken the transaction
    /// (25P02). In every language its text is the same for all statements, so the
    /// next statement gives the same text.
    pub fn is_refusal(conn: &mut PgConnection, error: &DieselError) -> bool {
        let DieselError::DatabaseError(_, error) = error else {
            return false;
        };
        matches!(conn.ping(), Err(DieselError::DatabaseError(_, next)) if next.message() == error.message())
    }

    /// Whether `detail` describes a deadlock. It has a line for each process, with
    /// the mode of the lock that it waits for, its number, and the number of the
    /// process that it waits for; these form a circle. Modes and numbers are the
    /// same in every language.
    fn is_deadlock(detail: &str) -> bool {
        let lines: Vec<&str> = detail.lines().collect();
        let names_a_mode =
            |line: &&str| line.contains("ShareLock") || line.contains("ExclusiveLock");
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

    #[cfg(test)]
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
        fn a_deadlock_is_recognized_in_every_language() {
            for [one, other] in LINES {
                assert!(is_deadlock(&format!("{one}\n{other}")), "{one}");
            }
            let three = "Process 1 waits for ExclusiveLock on tuple (0,1) of relation 16384 of database 5; blocked by process 2.
    Process 2 waits for ShareLock on transaction 740; blocked by process 3.
    Process 3 waits for AccessExclusiveLock on relation 16390 of database 5; blocked by process 1.";
            assert!(is_deadlock(three));
        }

        #[test]
        fn other_details_are_not_taken_for_a_deadlock() {
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
}

/// MySQL and MariaDB. The server can be asked for the code of the last error.
#[cfg(feature = "mysql")]
pub(crate) mod mysql {
    use diesel::connection::SimpleConnection;
    use diesel::dsl::sql;
    use diesel::prelude::*;
    use diesel::sql_types::{BigInt, Nullable, Text};

    use super::memory::{learn, learned};
    use super::{Cause, Information, is_english};

    /// The cause, as far as the text shows it.
    pub fn cause_in(error: &Information) -> Cause {
        match error.message() {
            "Lock wait timeout exceeded; try restarting transaction" => Cause::Held,
            "Deadlock found when trying to get lock; try restarting transaction" => Cause::Conflict,
            text => learned(text).unwrap_or(Cause::Unclear),
        }
    }

    /// The cause, asked right after the error.
    pub fn cause(conn: &mut MysqlConnection, error: &Information) -> Cause {
        let text = error.message();
        let cause = match code(conn, text) {
            // The second is MySQL's code for NOWAIT.
            Some(1205 | 3572) => Cause::Held,
            // A deadlock, also of a prepared transaction; MariaDB's snapshot
            // isolation.
            Some(1213 | 1614 | 1020) => Cause::Conflict,
            // Interrupted; out of time, as MariaDB and MySQL say it.
            Some(1317 | 1969 | 3024) => Cause::Stopped,
            // Galera's node has left the cluster; the server shuts down; the
            // connection was killed, or is closed for being idle.
            Some(1047 | 1053 | 1927 | 3169 | 4031) => Cause::Connection,
            Some(_) => return Cause::Statement,
            None => return cause_in(error),
        };
        // The server forgets the code soon.
        learn(text, cause);
        cause
    }

    pub fn knows_language(conn: &mut MysqlConnection) -> bool {
        let language = diesel::select(sql::<Text>("@@lc_messages"));
        let language: QueryResult<String> = language.get_result(conn);
        language.is_ok_and(|language| is_english(&language))
    }

    /// The code of the error with this text, if it is among those of the last
    /// statement that had any.
    fn code(conn: &mut MysqlConnection, text: &str) -> Option<i64> {
        // SHOW WARNINGS cannot be prepared, and Diesel reads no other rows.
        let mut read = |place: &str| -> Option<(Option<i64>, Option<i64>, Option<String>)> {
            conn.batch_execute(&format!(
                "GET DIAGNOSTICS @tracker_errors = NUMBER;
                 GET DIAGNOSTICS CONDITION {place} @tracker_code = MYSQL_ERRNO, @tracker_text = MESSAGE_TEXT"
            ))
            .ok()?;
            let read = diesel::select((
                sql::<Nullable<BigInt>>("CAST(@tracker_errors AS SIGNED)"),
                sql::<Nullable<BigInt>>("CAST(@tracker_code AS SIGNED)"),
                sql::<Nullable<Text>>("@tracker_text"),
            ));
            read.get_result(conn).ok()
        };
        // The last entry is the error, unless MariaDB adds notes on where it was.
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
}
