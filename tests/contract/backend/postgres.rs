//! PostgreSQL: a schema of its own.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::r2d2::{CustomizeConnection, Error};
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use diesel_status_tracker::postgres::Customizer;

pub type TestConnection = PgConnection;

pub const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/postgres");
/// A time that the database holds and no program reads.
pub const UNREADABLE_TIME: &str = "'infinity'";
/// A condition that this database cannot evaluate for a row whose `size` is 1.
pub const FAILS_FOR_SIZE_1: &str = "100 / (size - 1) < 200";
/// A column of a key that the database fills in.
pub const GENERATED: &str = "BIGINT NOT NULL GENERATED ALWAYS AS IDENTITY";
/// What stands around a name.
pub const QUOTE: char = '"';
/// A backslash in a string of SQL.
pub const BACKSLASH: &str = "\\";
/// What no connection can be made to. An enum of connections also tries them as a file
/// of SQLite's, so they name a folder that does not exist.
pub const UNREACHABLE: [&str; 2] = [
    "postgres://nobody@127.0.0.1:1/none",
    "postgres://127.0.0.1:port/",
];

/// Keeps every other session out that says so, until this one ends.
pub const ALONE: &str = "SET client_min_messages = warning; SELECT pg_advisory_lock(7117)";

/// Set where the pools' sessions are to have another isolation level.
const ISOLATION: &str = "STATUS_TRACKER_TEST_ISOLATION";
/// Set where all tests are to go through PgBouncer.
const ALL_BEHIND_PGBOUNCER: &str = "STATUS_TRACKER_TEST_PGBOUNCER";
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
        sql_type: "VARCHAR(20)",
        of_a: "a",
    },
    Spelling {
        before: "SELECT 1",
        sql_type: "CHAR(6)",
        of_a: "a",
    },
    Spelling {
        before: "SELECT 1",
        sql_type: "CHAR(6)",
        of_a: "a     ",
    },
    Spelling {
        before: "CREATE COLLATION caseless (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
        sql_type: "VARCHAR(20) COLLATE caseless",
        of_a: "A",
    },
    Spelling {
        before: "CREATE COLLATION caseless (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
        sql_type: "CHAR(6) COLLATE caseless",
        of_a: "A     ",
    },
];

pub struct Home {
    url: String,
    /// A schema or a database.
    place: String,
    is_database: bool,
}

/// The server that a variable of the environment names.
fn server(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} names no server: run `scripts/with-servers cargo test --all-features`")
    })
}

pub fn open() -> (Home, TestConnection) {
    if std::env::var_os(ALL_BEHIND_PGBOUNCER).is_some() {
        return open_behind_pgbouncer();
    }
    let server = server("POSTGRES_URL");
    let schema = format!("test_{}", uuid::Uuid::new_v4().simple());
    let url = format!("{server}?options=-csearch_path%3D{schema}");
    let mut conn = TestConnection::establish(&url).unwrap();
    conn.batch_execute(&format!("CREATE SCHEMA {schema}"))
        .unwrap();
    let home = Home {
        url,
        place: schema,
        is_database: false,
    };
    (home, conn)
}

/// A database that is reached through PgBouncer, in transaction mode; the
/// connection is not.
pub fn open_behind_pgbouncer() -> (Home, TestConnection) {
    let database = format!("test_{}", uuid::Uuid::new_v4().simple());
    let at = |url: String| {
        let (host, _) = url.rsplit_once('/').unwrap();
        format!("{host}/{database}")
    };
    let mut server_conn = TestConnection::establish(&server("POSTGRES_URL")).unwrap();
    server_conn
        .batch_execute(&format!("CREATE DATABASE {database} TEMPLATE template0"))
        .unwrap();
    let conn = TestConnection::establish(&at(server("POSTGRES_URL"))).unwrap();
    let url = at(server("PGBOUNCER_URL"));
    let home = Home {
        url,
        place: database,
        is_database: true,
    };
    (home, conn)
}

impl Home {
    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn drop_by(&self, conn: &mut TestConnection) {
        let place = &self.place;
        // What stays behind after a failed test is in nobody's way.
        let _ = if self.is_database {
            let drop = format!("DROP DATABASE {place} WITH (FORCE)");
            let server = TestConnection::establish(&server("POSTGRES_URL"));
            server.unwrap().batch_execute(&drop)
        } else {
            conn.batch_execute(&format!(
                "SET client_min_messages = warning; DROP SCHEMA {place} CASCADE"
            ))
        };
    }
}

pub fn customizer() -> Box<dyn CustomizeConnection<TestConnection, Error>> {
    Box::new(AsTheEnvironmentSays)
}

#[derive(Debug)]
struct AsTheEnvironmentSays;

impl CustomizeConnection<TestConnection, Error> for AsTheEnvironmentSays {
    fn on_acquire(&self, conn: &mut TestConnection) -> Result<(), Error> {
        let customizer = Customizer {
            prepared_statements: std::env::var_os(ALL_BEHIND_PGBOUNCER).is_none(),
            english_messages: false,
            ..Customizer::default()
        };
        customizer.on_acquire(conn)?;
        if let Ok(level) = std::env::var(ISOLATION) {
            let set = format!("SET default_transaction_isolation = '{level}'");
            conn.batch_execute(&set).map_err(Error::QueryError)?;
        }
        Ok(())
    }
}

pub fn dialect(sql: &str) -> String {
    sql.replace("DATETIME(6)", "TIMESTAMP").replace('`', "\"")
}

/// A trigger of a user's that refuses rows, under a condition on `NEW`, with an
/// error of its own.
pub fn refusal(event: &str, condition: &str, text: &str) -> String {
    format!(
        "CREATE FUNCTION refusal() RETURNS trigger LANGUAGE plpgsql
             AS 'BEGIN RAISE EXCEPTION ''{text}''; END';
         CREATE TRIGGER refusal BEFORE {event} FOR EACH ROW WHEN ({condition})
             EXECUTE FUNCTION refusal()"
    )
}

/// Ends the [`refusal`] of rows of `jobs`.
pub const REFUSAL_IS_OVER: &str = "DROP TRIGGER refusal ON jobs";

/// A trigger that refuses updates of jobs as the database does where another
/// transaction was first, under a condition on `NEW`.
pub fn conflict(condition: &str) -> String {
    format!(
        "CREATE FUNCTION conflict() RETURNS trigger LANGUAGE plpgsql
             AS 'BEGIN RAISE EXCEPTION ''another was first'' USING ERRCODE = ''40001''; END';
         CREATE TRIGGER conflict BEFORE UPDATE ON jobs FOR EACH ROW WHEN ({condition})
             EXECUTE FUNCTION conflict()"
    )
}

/// Puts the session into a time zone far from UTC.
pub fn far_east(conn: &mut TestConnection) {
    conn.batch_execute("SET TIME ZONE 'Asia/Tokyo'").unwrap();
}
