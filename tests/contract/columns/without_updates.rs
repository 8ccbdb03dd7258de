//! A table of its key and the tracked columns alone: `updates` is left out.

use diesel::prelude::*;
use diesel_status_tracker::{KeyOf, StatusTracked};

use super::super::backend::GENERATED;
use super::super::database::{TestConnection, TestDb};
use super::super::jobs::Status;
use super::{Seen, Shape, age_lock, live, seen};

diesel::table! {
    visits (id) {
        id -> BigInt, status -> Integer, create_at -> Timestamp, update_at -> Timestamp, lock -> Nullable<Text>,
        lock_at -> Nullable<Timestamp>, retry -> Integer, errors -> Nullable<Json>,
    }
}

#[derive(Debug, Clone, PartialEq, Queryable, Selectable)]
#[diesel(table_name = visits)]
struct Visit {
    id: i64,
    status: Status,
}

step! { Visit on Visit {} }
tracked! { Visit in visits { key: (id: i64), status: Status, steps: [Visit] } }

impl Shape for Visit {
    const CREATE: &'static str = "CREATE TABLE visits (
        id BIGINT NOT NULL PRIMARY KEY, status INTEGER NOT NULL, create_at DATETIME(6) NOT NULL,
        update_at DATETIME(6) NOT NULL, `lock` VARCHAR(32), lock_at DATETIME(6), retry INTEGER NOT NULL, errors JSON
    )";
    const NAME: &'static str = "visits 7";

    fn key() -> KeyOf<Self> {
        7
    }

    seen! { visits, Status, i32 }
    age_lock! { visits, lock_at }
}

#[test]
fn without_updates_a_job_has_the_same_life() {
    live::<Visit>();
}

#[test]
fn unit_stands_for_the_updates() {
    let generated = Visit::CREATE.replace("BIGINT NOT NULL PRIMARY KEY", GENERATED);
    let db = TestDb::with_table(&generated.replace("errors JSON", "errors JSON, PRIMARY KEY (id)"));
    let pool = db.pool(1);

    let visit = Visit::create(&pool, ()).unwrap();

    let attempt = Visit::start(&pool, visit.id).unwrap();
    attempt.save(()).unwrap();
    attempt.succeed().unwrap();
    let batch = [0, 1, 2].map(|more| (visit.id + more, ()));
    assert_eq!(Visit::create_many(&pool, batch).unwrap(), 2);
    let done = Visit::worker(&pool)
        .run_until_empty(|_, ()| Ok(()))
        .unwrap();
    assert_eq!(done.succeeded, 2);
    let counts = Visit::count_by_status(&pool).unwrap();
    assert_eq!(counts, [(Status::Succeeded, 3)]);
}
