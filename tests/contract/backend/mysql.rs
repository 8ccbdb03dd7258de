//! MySQL and MariaDB: a database of its own.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::r2d2::{CustomizeConnection, Error};
use diesel_migrations::{EmbeddedMigrations, embed_migrations};

pub type TestConnection = MysqlConnection;

pub const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/mysql");
/// Set where the pools' sessions are to have another isolation level.
const ISOLATION: &str = "STATUS_TRACKER_TEST_ISOLATION";
/// A time that the database holds and no program reads.
pub const UNREADABLE_TIME: &str = "'0000-00-00'";
/// A condition that this database cannot evaluate for a row whose `size` is 1.
pub const FAILS_FOR_SIZE_1: &str = "(SELECT 1 UNION SELECT 1 + (size = 1)) = 1";
/// A column of a key that the database fills in.
pub const GENERATED: &str = "BIGINT NOT NULL AUTO_INCREMENT";
/// What no connection can be made to. An enum of connections also tries them as a file
/// of SQLite's, so they name a folder that does not exist.
pub const UNREACHABLE: [&str; 2] = [
    "mysql://nobody@127.0.0.1:1/none",
    "mysql://127.0.0.1:port/none",
];
/// What stands around a name.
pub const QUOTE: char = '`';
/// A backslash in a string of SQL.
pub const BACKSLASH: &str = "\\\\";

/// Keeps every other session out that says so, until this one ends.
pub const ALONE: &str = "DO GET_LOCK('test_shop', 60)";

/// A type of keys, and another way to write the key "a" that is equal to it.
pub struct Spelling {
    /// What has to be there first.
    pub before: &'static str,
    pub sql_type: &'static str,
    pub of_a: &'static str,
}

pub const SPELLINGS: &[Spelling] = &[
    Spelling {
        before: "SELECT 1",
        sql_type: "CHAR(6)",
        of_a: "a   ",
    },
    Spelling {
        before: "SELECT 1",
        sql_type: "VARCHAR(20) COLLATE utf8mb4_general_ci",
        of_a: "A",
    },
    Spelling {
        before: "SELECT 1",
        sql_type: "VARCHAR(20) COLLATE utf8mb4_general_ci",
        of_a: "A   ",
    },
    Spelling {
        before: "SELECT 1",
        sql_type: "VARCHAR(20) COLLATE utf8mb4_bin",
        of_a: "a  ",
    },
];

pub struct Home {
    database: String,
    url: String,
}

pub fn open() -> (Home, TestConnection) {
    let server = std::env::var("MYSQL_URL").unwrap_or_else(|_| {
        panic!("MYSQL_URL names no server: run `scripts/with-servers cargo test --all-features`")
    });
    let database = format!("test_{}", uuid::Uuid::new_v4().simple());
    let mut conn = TestConnection::establish(&server).unwrap();
    conn.batch_execute(&format!("CREATE DATABASE {database}; USE {database}"))
        .unwrap();
    let (host, _) = server.rsplit_once('/').unwrap();
    let url = format!("{host}/{database}");
    (Home { database, url }, conn)
}

impl Home {
    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn drop_by(&self, conn: &mut TestConnection) {
        // What stays behind after a failed test is in nobody's way.
        let _ = conn.batch_execute(&format!("DROP DATABASE {}", self.database));
    }
}

pub fn customizer() -> Box<dyn CustomizeConnection<TestConnection, Error>> {
    Box::new(AsTheEnvironmentSays)
}

#[derive(Debug)]
struct AsTheEnvironmentSays;

impl CustomizeConnection<TestConnection, Error> for AsTheEnvironmentSays {
    fn on_acquire(&self, conn: &mut TestConnection) -> Result<(), Error> {
        if let Ok(level) = std::env::var(ISOLATION) {
            let set = match level.as_str() {
                // REPEATABLE READ as MariaDB has it from 11.6 on.
                "snapshot" => "SET innodb_snapshot_isolation = ON".to_owned(),
                level => format!("SET SESSION TRANSACTION ISOLATION LEVEL {level}"),
            };
            conn.batch_execute(&set).map_err(Error::QueryError)?;
        }
        Ok(())
    }
}

pub fn dialect(sql: &str) -> String {
    sql.to_owned()
}

/// A trigger of a user's that refuses rows, under a condition on `NEW`, with an
/// error of its own.
pub fn refusal(event: &str, condition: &str, text: &str) -> String {
    format!(
        "CREATE TRIGGER refusal BEFORE {event} FOR EACH ROW
         IF {condition} THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = '{text}'; END IF"
    )
}

/// Ends the [`refusal`] of rows of `jobs`.
pub const REFUSAL_IS_OVER: &str = "DROP TRIGGER refusal";

/// A trigger that refuses updates of jobs as the database does where another
/// transaction was first, under a condition on `NEW`.
pub fn conflict(condition: &str) -> String {
    format!(
        "CREATE TRIGGER conflict BEFORE UPDATE ON jobs FOR EACH ROW
         IF {condition} THEN
             SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213, MESSAGE_TEXT = 'another was first';
         END IF"
    )
}

/// Puts the session into a time zone far from UTC.
pub fn far_east(conn: &mut TestConnection) {
    conn.batch_execute("SET time_zone = '+09:00'").unwrap();
}
