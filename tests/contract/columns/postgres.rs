//! Columns that PostgreSQL alone has: times with a zone, jsonb, its enums.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_status_tracker::StatusTracked;

use super::columns::{Seen, Shape, age_lock, assert_waits_for_its_time, live, seen};
use super::database::{TestConnection, TestDb, far_east};
use super::jobs::Status;

pub mod sql_types {
    #[derive(diesel::sql_types::SqlType, diesel::query_builder::QueryId)]
    #[diesel(postgres_type(name = "stage"))]
    pub struct Stage;
}

#[derive(Debug, Clone, Copy, PartialEq, diesel_derive_enum::DbEnum)]
#[ExistingTypePath = "crate::postgres::own_columns::sql_types::Stage"]
pub enum Stage {
    Booked,
    Running,
    Broken,
    Held,
    Cancelled,
}

diesel::table! {
    use diesel::sql_types::*;
    use super::sql_types::Stage;

    visits (id) {
        id -> BigInt, status -> Stage, create_at -> Timestamptz, update_at -> Timestamptz, lock -> Nullable<Text>,
        lock_at -> Timestamptz, retry -> Integer, errors -> Nullable<Jsonb>, not_before -> Nullable<Timestamptz>,
        note -> Nullable<Text>,
    }
}

#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = visits)]
struct Visit {
    create_at: DateTime<Utc>,
    status: Stage,
}

#[derive(Debug, Default, Insertable, AsChangeset)]
#[diesel(table_name = visits)]
struct VisitUpdates {
    note: Option<String>,
}

impl StatusTracked for Visit {
    type Job = Visit;
    const PENDING: Stage = Stage::Booked;
    const IN_PROGRESS: Stage = Stage::Running;
    const FAILED: Stage = Stage::Broken;
    const SUCCEEDED: Stage = Stage::Held;
    const IGNORED: Stage = Stage::Cancelled;
}

tracked! {
    Visit in visits { key: (id: i64), status: Stage, updates: VisitUpdates, columns: { run_at: not_before } }
}

impl Shape for Visit {
    const CREATE: &'static str = "CREATE TYPE stage AS ENUM ('booked', 'running', 'broken', 'held', 'cancelled');
        CREATE TABLE visits (
            id BIGINT NOT NULL PRIMARY KEY, status stage NOT NULL, create_at TIMESTAMPTZ NOT NULL,
            update_at TIMESTAMPTZ NOT NULL, lock TEXT, lock_at TIMESTAMPTZ NOT NULL, retry INTEGER NOT NULL,
            errors JSONB, not_before TIMESTAMPTZ, note TEXT
        )";
    const NAME: &'static str = "visits 5000000000";

    fn key() -> i64 {
        5_000_000_000
    }

    seen! { visits, Stage, i32 }

    age_lock! { visits, lock_at }
}

#[test]
fn times_with_a_zone_and_jsonb_and_an_enum_of_the_database() {
    live::<Visit>();
}

#[test]
fn times_with_a_zone_are_compared_correctly() {
    let db = TestDb::with_table(Visit::CREATE);
    let pool = db.pool(1);
    far_east(&mut pool.get().unwrap());
    let visit = Visit::create_and_save(&pool, 1, VisitUpdates::default()).unwrap();
    assert!(Visit::is_pending(&visit) && visit.create_at <= Utc::now());
    assert_waits_for_its_time!(Visit in visits by not_before, db, &pool);
}

/// Names that the statement which claims the next rows uses itself.
mod taken_names {
    use super::*;

    diesel::table! {
        picked (place) {
            place -> Integer, status -> Integer, create_at -> Timestamp, update_at -> Timestamp, lock -> Nullable<Text>,
            lock_at -> Nullable<Timestamp>, retry -> Integer, errors -> Json, note -> Nullable<Text>,
        }
    }

    #[derive(Debug, Queryable, Selectable)]
    #[diesel(table_name = picked)]
    struct Picked {
        place: i32,
    }

    #[derive(Debug, Default, Insertable, AsChangeset)]
    #[diesel(table_name = picked)]
    struct PickedUpdates {
        note: Option<String>,
    }

    step! { Picked on Picked {} }
    tracked! {
        Picked in picked { key: (place: i32), status: Status, updates: PickedUpdates, status_field: none }
    }

    #[test]
    fn a_table_may_have_any_name_and_its_key_too() {
        let db = TestDb::with_table(
            "CREATE TABLE picked (
                place INTEGER NOT NULL PRIMARY KEY, status INTEGER NOT NULL, create_at TIMESTAMP NOT NULL,
                update_at TIMESTAMP NOT NULL, lock TEXT, lock_at TIMESTAMP, retry INTEGER NOT NULL,
                errors JSON NOT NULL, note TEXT
            )",
        );
        let pool = db.pool(1);
        Picked::create_and_save(&pool, 3, PickedUpdates::default()).unwrap();

        let next = Picked::run_next(&pool, |picked, _| Ok(picked.place));

        assert_eq!(next.unwrap(), Some(3));
    }
}

#[test]
fn a_new_row_that_a_trigger_drops_is_an_error() {
    use super::generated::{Mail, all, generated_mails, to};

    let db = generated_mails();
    db.sql(
        "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
         CREATE TRIGGER drops BEFORE INSERT ON mails FOR EACH ROW EXECUTE FUNCTION nothing()",
    );

    let error = Mail::create(&db.pool(1), to("ada")).unwrap_err();

    assert_err!(error, NotCreated);
    assert!(error.to_string().contains("a trigger or a rule"), "{error}");
    assert_eq!(all(&db), []);
}
