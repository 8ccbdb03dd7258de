//! PostgreSQL: a schema of its own.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::r2d2::{CustomizeConnection, Error, NopConnectionCustomizer};
use diesel_migrations::{EmbeddedMigrations, embed_migrations};

pub type TestConnection = PgConnection;

pub const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/postgres");
/// A time that the database holds and no program reads.
pub const UNREADABLE_TIME: &str = "'infinity'";
/// What no connection can be made to.
pub const UNREACHABLE: [&str; 2] = [
    "postgres://nobody@127.0.0.1:1/none",
    "postgres://127.0.0.1:port/",
];

/// Keeps every other session out that says so, until this one ends.
pub const ALONE: &str = "SET client_min_messages = warning; SELECT pg_advisory_lock(7117)";

pub struct Home {
    schema: String,
    url: String,
}

pub fn open() -> (Home, TestConnection) {
    let server = std::env::var("POSTGRES_URL").unwrap_or_else(|_| {
        panic!("POSTGRES_URL names no server: run `scripts/with-servers cargo test --all-features`")
    });
    let schema = format!("test_{}", uuid::Uuid::new_v4().simple());
    let url = format!("{server}?options=-csearch_path%3D{schema}");
    let mut conn = TestConnection::establish(&url).unwrap();
    conn.batch_execute(&format!("CREATE SCHEMA {schema}"))
        .unwrap();
    (Home { schema, url }, conn)
}

impl Home {
    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn drop_by(&self, conn: &mut TestConnection) {
        // What stays behind after a failed test is in nobody's way.
        let _ = conn.batch_execute(&format!(
            "SET client_min_messages = warning; DROP SCHEMA {} CASCADE",
            self.schema
        ));
    }
}

pub fn customizer() -> Box<dyn CustomizeConnection<TestConnection, Error>> {
    Box::new(NopConnectionCustomizer)
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

/// Puts the session into a time zone far from UTC.
pub fn far_east(conn: &mut TestConnection) {
    conn.batch_execute("SET TIME ZONE 'Asia/Tokyo'").unwrap();
}
