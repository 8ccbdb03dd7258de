//! SQLite: a file in a folder of its own.

use diesel::prelude::*;
use diesel::r2d2::{CustomizeConnection, Error};
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use diesel_status_tracker::sqlite::Customizer;
use tempfile::TempDir;

pub type TestConnection = SqliteConnection;

pub const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
/// A time that the database holds and no program reads.
pub const UNREADABLE_TIME: &str = "'yesterday'";
/// A condition that this database cannot evaluate for a row whose `size` is 1.
pub const FAILS_FOR_SIZE_1: &str = "abs(-9223372036854775807 - size) > 0";
/// A column of a key that the database fills in.
pub const GENERATED: &str = "INTEGER NOT NULL DEFAULT (abs(random() % 1000000007))";
/// What stands around a name.
pub const QUOTE: char = '`';
/// A backslash in a string of SQL.
pub const BACKSLASH: &str = "\\";
/// What no connection can be made to.
pub const UNREACHABLE: [&str; 2] = ["/no/such/folder/jobs.db", "file:jobs.db?mode=nonsense"];

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
        of_a: "a",
    },
    Spelling {
        before: "SELECT 1",
        sql_type: "VARCHAR(20) COLLATE NOCASE",
        of_a: "A",
    },
    Spelling {
        before: "SELECT 1",
        sql_type: "VARCHAR(20) COLLATE RTRIM",
        of_a: "a   ",
    },
];

pub struct Home {
    _folder: TempDir,
    url: String,
}

pub fn open() -> (Home, TestConnection) {
    let folder = tempfile::tempdir().unwrap();
    let url = folder.path().join("jobs.db").to_str().unwrap().to_owned();
    let mut conn = TestConnection::establish(&url).unwrap();
    customizer().on_acquire(&mut conn).unwrap();
    let home = Home {
        _folder: folder,
        url,
    };
    (home, conn)
}

impl Home {
    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn drop_by(&self, _: &mut TestConnection) {}
}

pub fn customizer() -> Box<dyn CustomizeConnection<TestConnection, Error>> {
    Box::new(Customizer::default())
}

pub fn dialect(sql: &str) -> String {
    sql.to_owned()
}

/// A trigger of a user's that refuses rows, under a condition on `NEW`, with an
/// error of its own.
pub fn refusal(event: &str, condition: &str, text: &str) -> String {
    format!(
        "CREATE TRIGGER refusal BEFORE {event} FOR EACH ROW WHEN {condition}
         BEGIN SELECT RAISE(ABORT, '{text}'); END"
    )
}

/// Ends the [`refusal`] of rows of `jobs`.
pub const REFUSAL_IS_OVER: &str = "DROP TRIGGER refusal";

/// A trigger that refuses updates of jobs as the database does where another
/// transaction was first, under a condition on `NEW`.
pub fn conflict(condition: &str) -> String {
    format!(
        "CREATE TRIGGER conflict BEFORE UPDATE ON jobs FOR EACH ROW WHEN {condition}
         BEGIN SELECT RAISE(ABORT, 'database is locked'); END"
    )
}

/// Puts the session into a time zone far from UTC, where sessions have one.
pub fn far_east(_: &mut TestConnection) {}

/// Where a listener connects to.
pub fn listened_url(url: &str) -> String {
    url.to_owned()
}

/// What a table needs so that listeners hear of it: nothing.
pub fn notifies(_: &str) -> String {
    "SELECT 1".into()
}
