//! A partitioned table: the time of creation is part of the key. The time of the
//! last change may be NULL, as in many tables that are older than their tracking.

use chrono::{DateTime, NaiveDateTime};
use diesel::prelude::*;
use diesel_status_tracker::{KeyOf, Order, StatusTracked};
use serde_json::Value;

use super::super::database::{TestConnection, TestDb};
use super::{Seen, Shape, age_lock, live};

diesel::table! {
    visits (id, created) {
        id -> BigInt, created -> Timestamp, status -> Integer, changed -> Nullable<Timestamp>,
        lock -> Nullable<Text>, lock_at -> Nullable<Timestamp>, retry -> Integer, errors -> Text,
        data -> Nullable<Text>,
    }
}

#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = visits)]
pub struct Visit {
    pub id: i64,
}

#[derive(Debug, Default, Insertable, AsChangeset)]
#[diesel(table_name = visits)]
pub struct VisitUpdates {
    data: Option<String>,
}

impl StatusTracked for Visit {
    type Job = Visit;
    const PENDING: i32 = 10;
    const IN_PROGRESS: i32 = 20;
    const FAILED: i32 = 30;
    const SUCCEEDED: i32 = 40;
    const IGNORED: i32 = 50;
}

tracked! {
    Visit in visits {
        key: (id: i64, created: NaiveDateTime),
        status: i32,
        updates: VisitUpdates,
        columns: { create_at: created, update_at: changed },
        status_field: none,
    }
}

fn noon() -> NaiveDateTime {
    DateTime::from_timestamp(1_800_000_000, 0)
        .unwrap()
        .naive_utc()
}

impl Shape for Visit {
    const CREATE: &'static str = "CREATE TABLE visits (
        id BIGINT NOT NULL, created DATETIME(6) NOT NULL, status INTEGER NOT NULL, changed DATETIME(6),
        `lock` VARCHAR(32), lock_at DATETIME(6), retry INTEGER NOT NULL, errors TEXT NOT NULL, data TEXT,
        PRIMARY KEY (id, created)
    )";
    const NAME: &'static str = "visits (7, 2027-01-15T08:00:00)";

    fn key() -> KeyOf<Self> {
        (7, noon()).into()
    }

    fn seen(conn: &mut TestConnection) -> Seen<Self> {
        let row: (i32, Option<String>, i32, String) = visits::table
            .find((7, noon()))
            .select((visits::status, visits::lock, visits::retry, visits::errors))
            .get_result(conn)
            .unwrap();
        let document: Value = serde_json::from_str(&row.3).unwrap();
        (row.0, row.1, row.2.into(), document)
    }

    age_lock! { visits, lock_at }
}

#[test]
fn the_time_of_creation_may_be_part_of_the_key() {
    live::<Visit>();
}

#[test]
fn a_row_that_was_never_changed_comes_before_all_others() {
    let db = TestDb::with_table(Visit::CREATE);
    let pool = db.pool(1);
    let keys = [1, 2, 3].map(|id| (id, noon()));
    Visit::create_many(&pool, keys.map(|key| (key, VisitUpdates::default()))).unwrap();
    let never_changed = diesel::update(visits::table.find((2, noon())))
        .set(visits::changed.eq(None::<NaiveDateTime>));
    never_changed.execute(&mut *db.conn()).unwrap();

    let listed = |order| {
        let jobs = Visit::query_by_status(&pool, Visit::PENDING, 10, order).unwrap();
        jobs.iter().map(|job| job.id).collect::<Vec<_>>()
    };
    assert_eq!(listed(Order::OldestFirst)[0], 2);
    assert_eq!(listed(Order::NewestFirst)[2], 2);
    let next = Visit::claim_next(&pool, 1).unwrap();
    assert_eq!(next[0].id, 2);
    drop(next);
    let done = Visit::worker(&pool).threads(1).batch(2);
    let done = done.run_until_empty(|_, _| Ok(())).unwrap();
    assert_eq!(done.succeeded, 3);
}
