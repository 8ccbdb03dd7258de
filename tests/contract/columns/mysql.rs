//! Columns that MySQL alone has: its own type of times, and unsigned numbers.

use chrono::NaiveDateTime;
use diesel::prelude::*;
use diesel_status_tracker::StatusTracked;

use super::columns::{Seen, Shape, age_lock, assert_waits_for_its_time, live, seen};
use super::database::{TestConnection, TestDb, far_east};
use super::jobs::Status;

diesel::table! {
    visits (id) {
        id -> Unsigned<BigInt>, status -> Integer, create_at -> Datetime, update_at -> Datetime, lock -> Nullable<Text>,
        lock_at -> Datetime, retry -> Unsigned<TinyInt>, errors -> Nullable<Json>, not_before -> Nullable<Datetime>,
        note -> Nullable<Text>,
    }
}

#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = visits)]
struct Visit {
    create_at: NaiveDateTime,
    status: Status,
}

#[derive(Debug, Default, Insertable, AsChangeset)]
#[diesel(table_name = visits)]
struct VisitUpdates {
    note: Option<String>,
}

step! { Visit on Visit {} }
tracked! {
    Visit in visits { key: (id: u64), status: Status, updates: VisitUpdates, columns: { run_at: not_before } }
}

impl Shape for Visit {
    const CREATE: &'static str = "CREATE TABLE visits (
        id BIGINT UNSIGNED NOT NULL PRIMARY KEY, status INTEGER NOT NULL, create_at DATETIME(6) NOT NULL,
        update_at DATETIME(6) NOT NULL, `lock` CHAR(32), lock_at DATETIME(6) NOT NULL, retry TINYINT UNSIGNED NOT NULL,
        errors JSON, not_before DATETIME(6), note TEXT
    )";
    const NAME: &'static str = "visits 18446744073709551615";

    fn key() -> u64 {
        u64::MAX
    }

    seen! { visits, Status, u8 }

    age_lock! { visits, lock_at }
}

#[test]
fn datetimes_and_unsigned_numbers() {
    live::<Visit>();
}

#[test]
fn datetimes_are_compared_correctly() {
    let db = TestDb::with_table(Visit::CREATE);
    let pool = db.pool(1);
    far_east(&mut pool.get().unwrap());
    let visit = Visit::create_and_save(&pool, 1_u64, VisitUpdates::default()).unwrap();
    assert!(Visit::is_pending(&visit) && visit.create_at <= chrono::Utc::now().naive_utc());
    assert_waits_for_its_time!(Visit in visits by not_before, db, &pool);
}

/// MySQL tells no other key than a number that it has counted.
#[test]
fn a_key_that_mysql_makes_and_does_not_tell_is_refused_and_nothing_is_inserted() {
    use super::generated::{Mail, MailUpdates, all, generated_mails, to};

    let db = generated_mails();
    let pool = db.pool(1);
    // `LAST_INSERT_ID()` of the one session tells this key from now on.
    Mail::create(&pool, to("ada")).unwrap();
    db.sql("DELETE FROM mails; ALTER TABLE mails MODIFY id BIGINT NOT NULL DEFAULT 1");

    let error = Mail::create(&pool, MailUpdates::default()).unwrap_err();
    assert_err!(error, NotCreated);
    let error = Mail::create(&pool, to("grace")).unwrap_err();

    assert_err!(error, NotCreated);
    assert!(
        error.to_string().contains("the database makes no key"),
        "{error}"
    );
    assert_eq!(all(&db), []);
    assert_eq!(Mail::create_and_save(&pool, 1, to("ada")).unwrap().id, 1);
}
