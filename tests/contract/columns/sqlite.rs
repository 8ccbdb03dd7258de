//! Columns that SQLite alone has: times with a zone, and binary JSON.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_status_tracker::StatusTracked;

use super::columns::{Seen, Shape, age_lock, assert_waits_for_its_time, live, seen};
use super::database::{TestConnection, TestDb};
use super::jobs::Status;

diesel::table! {
    visits (id) {
        id -> BigInt, status -> Integer, create_at -> TimestamptzSqlite, update_at -> TimestamptzSqlite,
        lock -> Nullable<Text>, lock_at -> TimestamptzSqlite, retry -> Integer, errors -> Nullable<Jsonb>,
        not_before -> Nullable<TimestamptzSqlite>, note -> Nullable<Text>,
    }
}

#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = visits)]
struct Visit {
    create_at: DateTime<Utc>,
    status: Status,
}

#[derive(Debug, Default, Insertable, AsChangeset)]
#[diesel(table_name = visits)]
struct VisitUpdates {
    note: Option<String>,
}

step! { Visit on Visit {} }
tracked! {
    Visit in visits { key: (id: i64), status: Status, updates: VisitUpdates, columns: { run_at: not_before } }
}

impl Shape for Visit {
    const CREATE: &'static str = "CREATE TABLE visits (
        id INTEGER NOT NULL PRIMARY KEY, status INTEGER NOT NULL, create_at TEXT NOT NULL, update_at TEXT NOT NULL,
        lock TEXT, lock_at TEXT NOT NULL, retry INTEGER NOT NULL, errors BLOB, not_before TEXT, note TEXT
    )";
    const NAME: &'static str = "visits 5000000000";

    fn key() -> i64 {
        5_000_000_000
    }

    seen! { visits, Status, i32 }

    age_lock! { visits, lock_at }
}

#[test]
fn times_with_a_zone_and_binary_json() {
    live::<Visit>();
}

#[test]
fn times_with_a_zone_are_compared_correctly() {
    let db = TestDb::with_table(Visit::CREATE);
    let pool = db.pool(1);
    let visit = Visit::create_and_save(&pool, 1, VisitUpdates::default()).unwrap();
    assert!(Visit::is_pending(&visit) && visit.create_at <= Utc::now());
    assert_waits_for_its_time!(Visit in visits by not_before, db, &pool);
}

#[test]
fn a_new_row_that_a_trigger_drops_is_an_error() {
    use super::generated::{Mail, all, generated_mails, to};

    let db = generated_mails();
    db.sql("CREATE TRIGGER drops BEFORE INSERT ON mails BEGIN SELECT RAISE(IGNORE); END");

    let error = Mail::create(&db.pool(1), to("ada")).unwrap_err();

    assert_err!(error, NotCreated);
    assert!(error.to_string().contains("a trigger or a rule"), "{error}");
    assert_eq!(all(&db), []);
}
