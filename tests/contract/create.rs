//! Creating jobs: one, one if absent, many; through a pool, through a
//! connection, in the caller's transaction.

use std::sync::{Arc, Barrier};
use std::time::Duration;

use chrono::{NaiveDateTime, TimeDelta, Utc};
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, PooledConnection};
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel_status_tracker::clock::now;
use diesel_status_tracker::{Error, StatusTracked};
use serde_json::json;

use super::database::{TestConnection, TestDb, far_east};
use super::jobs::{Job, JobUpdates, Status, assert_names, data, jobs, row, set_status};

type Pooled = PooledConnection<ConnectionManager<TestConnection>>;

fn count(db: &TestDb) -> i64 {
    jobs::table.count().get_result(&mut *db.conn()).unwrap()
}

#[test]
fn a_new_job_is_pending_and_has_the_databases_time() {
    fn time(db: &TestDb) -> NaiveDateTime {
        diesel::select(now::<diesel::sql_types::Timestamp>())
            .get_result(&mut *db.conn())
            .unwrap()
    }
    let db = TestDb::new();

    let before = time(&db);
    let created = Job::create_and_save(&db.pool(1), "a", data(json!({"version": 0}))).unwrap();
    let after = time(&db);

    let expected = Job {
        id: "a".into(),
        status: Status::Pending,
        create_at: created.create_at,
        update_at: created.create_at,
        lock: None,
        lock_at: None,
        retry: 0,
        data: Some(json!({"version": 0})),
        errors: json!({}),
    };
    assert_eq!(created, expected);
    assert_eq!(row(&db, "a"), expected);
    assert!(before <= created.create_at && created.create_at <= after);
}

#[test]
fn times_are_utc_in_every_session_time_zone() {
    let db = TestDb::new();
    let mut conn = db.conn();
    far_east(&mut conn);

    let created = Job::create_and_save(&mut *conn, "a", JobUpdates::default()).unwrap();

    let apart = created.create_at - Utc::now().naive_utc();
    assert!(apart.abs() < TimeDelta::hours(1), "{apart}");
}

#[test]
fn a_taken_key_already_exists_and_its_row_stays() {
    let db = TestDb::new();
    let pool = db.pool(1);
    Job::create_and_save(&pool, "a", data(json!(1))).unwrap();
    set_status(&db, "a", Status::Succeeded);
    let before = row(&db, "a");

    let error = Job::create_and_save(&pool, "a", data(json!(2))).unwrap_err();

    assert_err!(error, AlreadyExists);
    assert_names(&error, "a");
    assert_eq!(row(&db, "a"), before);
}

#[test]
fn enqueueing_twice_is_harmless() {
    let db = TestDb::new();
    let pool = db.pool(1);

    let first = Job::create_if_absent(&pool, "a", data(json!(1))).unwrap();
    let second = Job::create_if_absent(&pool, "a", data(json!(2))).unwrap();

    assert_eq!(first, Some(row(&db, "a")));
    assert_eq!(second, None);
    assert_eq!(row(&db, "a").data, Some(json!(1)));
}

#[test]
fn many_are_created_at_once_and_those_that_exist_are_skipped() {
    let db = TestDb::new();
    let pool = db.pool(1);
    Job::create_and_save(&pool, "700", data(json!("old"))).unwrap();
    // More than one statement's worth; every other one has no data.
    let updates = |n| {
        if n % 2 == 1 {
            data(json!(n))
        } else {
            JobUpdates::default()
        }
    };

    let rows = (0..1100).map(|n| (n.to_string(), updates(n)));
    // The first of two rows with one key counts.
    let rows = rows.chain([("1099".into(), JobUpdates::default())]);

    let created = Job::create_many(&pool, rows).unwrap();

    assert_eq!(created, 1099);
    assert_eq!(count(&db), 1100);
    assert_eq!(row(&db, "700").data, Some(json!("old")));
    let last = row(&db, "1099");
    assert_eq!((last.status, last.retry), (Status::Pending, 0));
    assert_eq!((last.data, last.errors), (Some(json!(1099)), json!({})));
    assert_eq!(row(&db, "1098").data, None);
}

#[test]
fn one_of_many_concurrent_calls_creates_the_job() {
    const CREATORS: usize = 4;
    let db = TestDb::new();
    let pool = db.pool(CREATORS as u32);

    let barrier = Barrier::new(CREATORS);
    let created = std::thread::scope(|scope| {
        let create = || {
            barrier.wait();
            Job::create_if_absent(&pool, "a", JobUpdates::default()).unwrap()
        };
        let creators: Vec<_> = (0..CREATORS).map(|_| scope.spawn(create)).collect();
        let ended = creators.into_iter().map(|creator| creator.join().unwrap());
        ended.flatten().count()
    });

    assert_eq!((created, count(&db)), (1, 1));
}

#[test]
fn creating_no_rows_does_nothing() {
    let db = TestDb::new();
    let none: [(&str, JobUpdates); 0] = [];
    assert_eq!(Job::create_many(&db.pool(1), none).unwrap(), 0);
    assert_eq!(count(&db), 0);
}

#[test]
fn every_kind_of_database_argument_works() {
    let db = TestDb::new();
    let pool = Arc::new(db.pool(1));

    Job::create_and_save(&*pool, "pool", JobUpdates::default()).unwrap();
    Job::create_and_save(&pool, "arc", JobUpdates::default()).unwrap();
    let mut pooled = pool.get().unwrap();
    Job::create_and_save(&mut pooled, "pooled", JobUpdates::default()).unwrap();
    let plain: &mut TestConnection = &mut pooled;
    Job::create_if_absent(&mut *plain, "plain", JobUpdates::default()).unwrap();
    Job::create_many(plain, [("many", JobUpdates::default())]).unwrap();

    let mut ids: Vec<String> = jobs::table.select(jobs::id).load(&mut *db.conn()).unwrap();
    ids.sort();
    assert_eq!(ids, ["arc", "many", "plain", "pool", "pooled"]);
}

#[test]
fn jobs_created_in_a_transaction_go_with_its_rollback() {
    let db = TestDb::new();
    let mut conn = db.pool(1).get().unwrap();

    let rolled_back = conn.transaction::<(), _, _>(|conn| {
        Job::create_and_save(&mut *conn, "a", JobUpdates::default()).unwrap();
        Job::create_if_absent(&mut *conn, "b", JobUpdates::default()).unwrap();
        Job::create_many(&mut *conn, [("c", JobUpdates::default())]).unwrap();
        Err(DieselError::RollbackTransaction)
    });

    assert_eq!(rolled_back, Err(DieselError::RollbackTransaction));
    assert_eq!(count(&db), 0);
}

#[test]
fn jobs_commit_together_with_the_business_write() {
    let db = TestDb::new();
    let pool = db.pool(1);
    Job::create_and_save(&pool, "business", JobUpdates::default()).unwrap();

    let write = |conn: &mut Pooled| {
        Job::create_and_save(&mut *conn, "a", JobUpdates::default()).unwrap();
        Job::create_many(&mut *conn, [("b", JobUpdates::default())]).unwrap();
        diesel::update(jobs::table.find("business"))
            .set(jobs::data.eq(json!("done")))
            .execute(conn)
    };
    pool.get().unwrap().transaction(write).unwrap();

    assert_eq!(count(&db), 3);
    assert_eq!(row(&db, "business").data, Some(json!("done")));
    assert_eq!(row(&db, "b").status, Status::Pending);
}

#[test]
fn a_conflict_does_not_break_the_callers_transaction() {
    let db = TestDb::new();
    let pool = db.pool(1);
    Job::create_and_save(&pool, "a", data(json!("old"))).unwrap();

    let write = |conn: &mut Pooled| -> QueryResult<()> {
        let error = Job::create_and_save(&mut *conn, "a", data(json!(1))).unwrap_err();
        assert_err!(error, AlreadyExists);
        let absent = Job::create_if_absent(&mut *conn, "a", data(json!(2))).unwrap();
        assert_eq!(absent, None);
        let rows = [("a", data(json!(3))), ("b", data(json!(3)))];
        assert_eq!(Job::create_many(&mut *conn, rows).unwrap(), 1);
        Ok(())
    };
    pool.get().unwrap().transaction(write).unwrap();

    assert_eq!(row(&db, "a").data, Some(json!("old")));
    assert_eq!(row(&db, "b").data, Some(json!(3)));
}

/// A table with a unique index beside its key.
mod unique {
    use super::*;

    const ORDERS: &str = "CREATE TABLE orders (
        id INTEGER NOT NULL PRIMARY KEY, status INTEGER NOT NULL, create_at DATETIME(6) NOT NULL,
        update_at DATETIME(6) NOT NULL, `lock` VARCHAR(32), lock_at DATETIME(6), retry INTEGER NOT NULL,
        errors JSON NOT NULL, reference INTEGER UNIQUE
    )";

    diesel::table! {
        orders (id) {
            id -> Integer, status -> Integer, create_at -> Timestamp, update_at -> Timestamp, lock -> Nullable<Text>,
            lock_at -> Nullable<Timestamp>, retry -> Integer, errors -> Json, reference -> Nullable<Integer>,
        }
    }

    #[derive(Debug, Queryable, Selectable)]
    #[diesel(table_name = orders)]
    struct Order {
        status: Status,
    }

    #[derive(Debug, Clone, Copy, Default, Insertable, AsChangeset)]
    #[diesel(table_name = orders)]
    struct OrderUpdates {
        reference: Option<i32>,
    }

    step! { Order on Order {} }
    tracked! { Order in orders { key: (id: i32), status: Status, updates: OrderUpdates } }

    fn reference(number: i32) -> OrderUpdates {
        OrderUpdates {
            reference: Some(number),
        }
    }

    fn ids(db: &TestDb) -> Vec<i32> {
        let ids = orders::table.select(orders::id).order_by(orders::id);
        ids.load(&mut *db.conn()).unwrap()
    }

    fn is_unique_violation(error: &Error) -> bool {
        matches!(
            error,
            Error::Database {
                source: DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, _),
                ..
            }
        )
    }

    #[test]
    fn a_conflict_on_another_unique_index_stays_an_error() {
        let db = TestDb::with_table(ORDERS);
        let pool = db.pool(1);
        let first = Order::create_and_save(&pool, 1, reference(7)).unwrap();
        assert!(Order::is_pending(&first));

        let saved = Order::create_and_save(&pool, 2, reference(7)).unwrap_err();
        let absent = Order::create_if_absent(&pool, 2, reference(7)).unwrap_err();

        for error in [saved, absent] {
            assert!(is_unique_violation(&error), "{error:?}");
            assert!(error.to_string().contains("orders 2"), "{error}");
        }
        assert_eq!(ids(&db), [1]);
    }

    #[test]
    fn many_are_created_all_or_none() {
        let db = TestDb::with_table(ORDERS);
        let pool = db.pool_within(1, Duration::from_secs(5));
        Order::create_and_save(&pool, 0, reference(0)).unwrap();

        // The last row of the second statement is refused.
        let rows = (1..=600).map(|n| (n, reference(n % 600)));
        let error = Order::create_many(&pool, rows).unwrap_err();

        assert!(is_unique_violation(&error), "{error:?}");
        assert!(error.to_string().contains("orders"), "{error}");
        assert_eq!(ids(&db), [0]);
        assert_eq!(Order::create_many(&pool, [(1, reference(1))]).unwrap(), 1);
    }
}
