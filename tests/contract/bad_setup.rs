//! A database that is not as the program thinks, a pool without a connection, a
//! step that contradicts itself: one sentence with the way out, and no row
//! changes.

use std::time::Duration;

use diesel::prelude::*;
use diesel_status_tracker::{Error, Order, Result, StatusTracked};
use serde_json::{Value, json};

use super::database::{TestDb, TestPool, UNREACHABLE, pool_at};
use super::jobs::{
    Job, JobUpdates, Status, age_lock, assert_names, data, jobs, one_job, row, set_status,
};

/// What each call makes of the database, on the job "a" where it takes one.
fn every_call(pool: &TestPool) -> Vec<Error> {
    fn failed<T>(ended: Result<T>) -> Error {
        ended.err().unwrap()
    }
    vec![
        failed(Job::create_and_save(pool, "a", JobUpdates::default())),
        failed(Job::create_if_absent(pool, "a", JobUpdates::default())),
        failed(Job::create_many(pool, [("a", JobUpdates::default())])),
        failed(Job::start(pool, "a")),
        failed(Job::run_job(pool, "a", |_, _| Ok(()))),
        failed(Job::run_next(pool, |_, _| Ok(()))),
        failed(Job::find(pool, "a")),
        failed(Job::query_by_status(
            pool,
            Status::Pending,
            1,
            Order::default(),
        )),
        failed(Job::count_by_status(pool)),
        failed(Job::is_locked(pool, "a")),
        failed(Job::reset(pool, "a")),
        failed(Job::reset_many(pool, ["a"])),
        failed(Job::expire_locks(pool)),
    ]
}

#[test]
fn a_missing_table_is_named() {
    let (db, pool) = one_job();
    db.sql("DROP TABLE jobs");
    for error in every_call(&pool) {
        assert_err!(error, Database);
        assert!(
            error.to_string().starts_with("the database failed on jobs"),
            "{error}"
        );
    }
}

#[test]
fn a_missing_column_is_named_and_nothing_changes() {
    let (db, pool) = one_job();
    let attempt = Job::start(&pool, "a").unwrap();
    db.sql("ALTER TABLE jobs DROP COLUMN data");
    for error in [
        Job::find(&pool, "a").unwrap_err(),
        attempt.save(data(json!(1))).unwrap_err(),
    ] {
        assert_err!(error, Database);
        assert_names(&error, "a");
        assert!(error.to_string().contains("data"), "{error}");
    }
    let seen: (Status, Option<String>, i32) = jobs::table
        .select((jobs::status, jobs::lock, jobs::retry))
        .get_result(&mut *db.conn())
        .unwrap();
    assert_eq!(
        seen,
        (Status::InProgress, Some(attempt.token().to_owned()), 0)
    );
}

#[test]
fn no_connection_is_one_sentence_with_a_way_out() {
    for url in UNREACHABLE {
        let pool = pool_at(url, 1, Duration::from_millis(200));
        for error in [
            Job::start(&pool, "a").unwrap_err(),
            Job::expire_locks(&pool).unwrap_err(),
        ] {
            assert_err!(error, Pool);
            let message = error.to_string();
            assert!(
                message.starts_with("no database connection within 0.2 s: "),
                "{message}"
            );
            assert!(
                message.ends_with("check that the server runs and the URL is right"),
                "{message}"
            );
        }
    }
}

#[test]
fn an_exhausted_pool_says_so_and_the_job_recovers() {
    let db = TestDb::new();
    let pool = db.pool_within(2, Duration::from_millis(100));
    Job::create_and_save(&pool, "a", JobUpdates::default()).unwrap();
    Job::create_and_save(&pool, "b", JobUpdates::default()).unwrap();
    let attempt = Job::start(&pool, "a").unwrap();
    let running = row(&db, "a");

    let taken = [pool.get().unwrap(), pool.get().unwrap()];
    for error in [
        Job::start(&pool, "b").unwrap_err(),
        attempt.succeed().unwrap_err(),
    ] {
        assert_err!(error, Pool);
        assert!(
            error.to_string().contains("all 2 of the pool are in use"),
            "{error}"
        );
    }
    assert_eq!(row(&db, "a"), running);
    assert_eq!(row(&db, "b").status, Status::Pending);

    drop(taken);
    age_lock(&db, "a");
    assert_eq!(Job::expire_locks(&pool).unwrap(), 1);
    assert_eq!(
        (row(&db, "a").status, row(&db, "a").retry),
        (Status::Failed, 1)
    );
}

#[test]
fn codes_that_clash_are_refused_on_first_use() {
    macro_rules! clash {
        ($Step:ident, $succeeded:expr, $more:expr) => {
            struct $Step;
            impl StatusTracked for $Step {
                type Job = Job;
                const PENDING: Status = Status::Pending;
                const IN_PROGRESS: Status = Status::InProgress;
                const FAILED: Status = Status::Failed;
                const SUCCEEDED: Status = $succeeded;
                const IGNORED: Status = Status::Ignored;
                const MORE_PENDING: &'static [Status] = &$more;
            }
        };
    }
    clash! { Twice, Status::Failed, [] }
    clash! { Circle, Status::Succeeded, [Status::Archived, Status::Succeeded] }
    let (db, pool) = one_job();
    set_status(&db, "a", Status::Failed);
    let before = row(&db, "a");

    let twice = [
        Twice::create_and_save(&pool, "b", JobUpdates::default()).err(),
        Twice::create_many(&pool, [("b", JobUpdates::default())]).err(),
        Twice::run_job(&pool, "a", |_, _| Ok(())).err(),
        Twice::run_next(&pool, |_, _| Ok(())).err(),
        Twice::reset(&pool, "a").err(),
        Twice::expire_locks(&pool).err(),
    ];
    for error in twice {
        let error = error.unwrap();
        assert_err!(error, Misconfigured);
        let message = error.to_string();
        assert!(
            message.contains("FAILED and SUCCEEDED") && message.contains("Twice"),
            "{message}"
        );
    }
    let circle = Circle::start(&pool, "a").unwrap_err();
    assert!(
        circle
            .to_string()
            .contains("SUCCEEDED and one of MORE_PENDING"),
        "{circle}"
    );
    assert_eq!(row(&db, "a"), before);
    assert!(Job::find(&pool, "b").unwrap().is_none());
}

mod tracked_column_in_updates {
    use super::*;

    #[derive(Debug, Queryable, Selectable)]
    #[diesel(table_name = jobs)]
    struct Bold {
        #[expect(dead_code, reason = "a row has a field")]
        id: String,
    }

    #[derive(Debug, Default, Insertable, AsChangeset)]
    #[diesel(table_name = jobs)]
    struct BoldUpdates {
        data: Option<Value>,
        retry: Option<i32>,
    }

    step! { Bold on Bold {} }
    tracked! { Bold in jobs { key: (id: String), status: Status, updates: BoldUpdates, status_field: none } }

    #[test]
    fn is_refused_on_first_use() {
        let (db, pool) = one_job();
        let before = row(&db, "a");

        let created = Bold::create_and_save(&pool, "b", BoldUpdates::default()).unwrap_err();
        let started = Bold::run_job(&pool, "a", |_, _| Ok(())).unwrap_err();

        for error in [created, started] {
            assert_err!(error, Misconfigured);
            let message = error.to_string();
            assert!(
                message.contains("`retry`") && message.contains("BoldUpdates"),
                "{message}"
            );
        }
        assert_eq!(row(&db, "a"), before);
        assert!(Job::find(&pool, "b").unwrap().is_none());
    }
}

mod updates_that_write_null {
    use super::*;

    #[derive(Debug, Default, Insertable, AsChangeset)]
    #[diesel(table_name = jobs, treat_none_as_null = true)]
    pub struct EagerUpdates {
        data: Option<Value>,
    }

    #[derive(Debug, Queryable, Selectable)]
    #[diesel(table_name = jobs)]
    pub struct Eager {
        pub status: Status,
    }

    step! { Eager on Eager {} }
    tracked! { Eager in jobs { key: (id: String), status: Status, updates: EagerUpdates } }

    #[test]
    fn is_refused_on_first_use() {
        let (db, pool) = one_job();
        let before = row(&db, "a");

        let started = Eager::run_job(&pool, "a", |_, _| Ok(())).unwrap_err();
        let worked = Eager::worker(&pool)
            .run_until_empty(|_, _| Ok(()))
            .unwrap_err();

        for error in [started, worked] {
            assert_err!(error, Misconfigured);
            let message = error.to_string();
            assert!(message.contains("treat_none_as_null"), "{message}");
        }
        assert_eq!(row(&db, "a"), before);
    }
}
