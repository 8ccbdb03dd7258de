//! `run_job_in_transaction`: what the business logic writes lands together
//! with the success mark, once, or not at all.

use std::panic::{AssertUnwindSafe, catch_unwind};

use diesel::connection::{AnsiTransactionManager, TransactionManager};
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel_status_tracker::{BoxError, Error, Retry, StatusTracked};
use serde_json::json;

use super::database::{TestConnection, TestDb, TestPool};
use super::jobs::{
    Job, JobUpdates, Status, age_lock, assert_names, data, history, one_job_in, row,
};
use super::pools::{Log, pool_with};

/// No key: what is booked twice is there twice.
pub const LEDGER: &str = "CREATE TABLE ledger (job VARCHAR(255) NOT NULL, worker INTEGER NOT NULL)";

diesel::table! {
    ledger (job, worker) { job -> Text, worker -> Integer, }
}

/// A step that never gives up.
pub struct Tireless;
step! { Tireless on Job { const MAX_RETRY: i32 = i32::MAX; } }

/// A database with the job "a", of which nothing has run, and a ledger.
pub fn one_job() -> (TestDb, TestPool) {
    one_job_in(TestDb::with_table(LEDGER))
}

/// The business write.
pub fn book(conn: &mut TestConnection, job: &str, worker: i32) -> QueryResult<usize> {
    diesel::insert_into(ledger::table)
        .values((ledger::job.eq(job), ledger::worker.eq(worker)))
        .execute(conn)
}

pub fn never(_: &mut TestConnection, _: &Job, _: &mut JobUpdates) -> Result<(), BoxError> {
    panic!("it ran")
}

pub const NOBODY: [i32; 0] = [];

/// Who has booked a job, as others see it.
pub fn bookings(db: &TestDb, job: &str) -> Vec<i32> {
    let rows = ledger::table.filter(ledger::job.eq(job));
    rows.select(ledger::worker).load(&mut *db.conn()).unwrap()
}

/// Holds that the job "a" has failed once, and left nothing but the record.
pub fn assert_failed(db: &TestDb, ended: Result<(), Error>) -> BoxError {
    let job = row(db, "a");
    assert_eq!((job.status, job.retry), (Status::Failed, 1), "{job:?}");
    assert_eq!((&job.lock, &job.data), (&None, &Some(json!("old"))));
    assert_eq!(history(&job).len(), 1);
    assert_eq!(bookings(db, "a"), NOBODY);
    match ended {
        Err(Error::Failed { source, .. }) => source,
        other => panic!("{other:?}"),
    }
}

/// Holds that the job "a" is as if it had not been claimed.
pub fn assert_released(db: &TestDb, ended: Result<(), Error>) -> BoxError {
    let job = row(db, "a");
    assert_eq!((job.status, job.retry), (Status::Pending, 0), "{job:?}");
    assert_eq!((&job.lock, &job.data), (&None, &Some(json!("old"))));
    assert_eq!(job.errors, json!({}));
    assert_eq!(bookings(db, "a"), NOBODY);
    match ended {
        Err(Error::Released { source, .. }) => source,
        other => panic!("{other:?}"),
    }
}

/// Holds that the pool serves on: what a connection of it writes, others see.
pub fn assert_pool_is_sound(db: &TestDb, pool: &TestPool) {
    book(&mut pool.get().unwrap(), "sound", 0).unwrap();
    assert_eq!(bookings(db, "sound"), [0]);
    Job::run_job_in_transaction(pool, "a", |conn, job, _| Ok(book(conn, &job.id, 9)?)).unwrap();
    assert_eq!(bookings(db, "a"), [9]);
}

#[test]
fn the_work_commits_with_the_updates_and_the_success_mark_and_returns_its_value() {
    let (db, pool) = one_job();
    let before = row(&db, "a");

    let value = Job::run_job_in_transaction(&pool, "a", |conn, job, updates| {
        *updates = data(json!("new"));
        book(conn, &job.id, 1)?;
        let running = row(&db, "a");
        assert_eq!(running.status, Status::InProgress);
        assert!(running.lock.is_some());
        assert_eq!(*job, running);
        assert_eq!(bookings(&db, "a"), NOBODY);
        Ok(job.id.len())
    });

    assert_eq!(value.unwrap(), 1);
    let after = row(&db, "a");
    let expected = Job {
        status: Status::Succeeded,
        data: Some(json!("new")),
        update_at: after.update_at,
        lock_at: after.lock_at,
        ..before
    };
    assert_eq!(after, expected);
    assert_eq!(bookings(&db, "a"), [1]);
    let again = Job::run_job_in_transaction(&pool, "a", never).unwrap_err();
    assert_err!(again, AlreadySucceeded);
}

#[test]
fn the_guards_updates_are_those_that_the_work_begins_with() {
    let (db, pool) = one_job();
    let mut attempt = Job::start(&pool, "a").unwrap();
    attempt.updates = data(json!("the guard's"));

    attempt
        .run_in_transaction(|conn, job, updates| {
            assert_eq!(updates.data, Some(json!("the guard's")));
            Ok(book(conn, &job.id, 1)?)
        })
        .unwrap();

    assert_eq!(row(&db, "a").data, Some(json!("the guard's")));
    assert_eq!(bookings(&db, "a"), [1]);
}

#[test]
fn an_error_rolls_everything_back_and_is_a_failed_attempt() {
    #[derive(Debug, PartialEq, thiserror::Error)]
    #[error("no paper")]
    struct NoPaper;
    let (db, pool) = one_job();

    let ended = Job::run_job_in_transaction(&pool, "a", |conn, job, updates| {
        *updates = data(json!("new"));
        book(conn, &job.id, 1)?;
        Err(NoPaper.into())
    });

    assert_names(ended.as_ref().unwrap_err(), "a");
    let error = assert_failed(&db, ended);
    assert_eq!(error.downcast_ref(), Some(&NoPaper));
    assert_eq!(history(&row(&db, "a")), ["no paper"]);
    assert_pool_is_sound(&db, &pool);
}

#[test]
fn a_database_error_that_is_passed_on_is_a_failed_attempt() {
    let (db, pool) = one_job();

    let ended = Job::run_job_in_transaction(&pool, "a", |conn, job, _| {
        book(conn, &job.id, 1)?;
        diesel::sql_query("INSERT INTO no_such_table VALUES (1)").execute(conn)?;
        Ok(())
    });

    let error = assert_failed(&db, ended);
    assert!(error.to_string().contains("no_such_table"), "{error}");
    assert_pool_is_sound(&db, &pool);
}

#[test]
fn a_panic_rolls_everything_back_is_recorded_and_goes_on() {
    // How deep in transactions of the work's own.
    let panics: [fn(&mut TestConnection); 3] = [
        |_| panic!("boom"),
        |conn| {
            conn.transaction(|_| -> QueryResult<()> { panic!("boom") })
                .unwrap()
        },
        |conn| {
            conn.transaction(|conn| {
                book(conn, "a", 2)?;
                conn.transaction(|_| -> QueryResult<()> { panic!("boom") })
            })
            .unwrap();
        },
    ];
    for boom in panics {
        let (db, pool) = one_job();

        let ended = catch_unwind(AssertUnwindSafe(|| {
            Job::run_job_in_transaction(&pool, "a", |conn, job, updates| {
                *updates = data(json!("new"));
                book(conn, &job.id, 1)?;
                boom(conn);
                Ok(())
            })
        }));

        assert_eq!(ended.unwrap_err().downcast_ref::<&str>(), Some(&"boom"));
        let job = row(&db, "a");
        assert_eq!((job.status, job.retry), (Status::Failed, 1));
        assert_eq!((&job.lock, &job.data), (&None, &Some(json!("old"))));
        assert_eq!(history(&job), ["panic: boom"]);
        assert_eq!(bookings(&db, "a"), NOBODY);
        assert_pool_is_sound(&db, &pool);
    }
}

#[test]
fn a_transaction_that_the_work_leaves_open_is_a_failed_attempt() {
    let leave: [fn(&mut TestConnection); 2] = [
        |conn| AnsiTransactionManager::begin_transaction(conn).unwrap(),
        |conn| {
            let boom = || conn.transaction(|_| -> QueryResult<()> { panic!("boom") });
            catch_unwind(AssertUnwindSafe(boom)).unwrap_err();
        },
    ];
    for leave in leave {
        let (db, pool) = one_job();

        let ended = Job::run_job_in_transaction(&pool, "a", |conn, job, updates| {
            *updates = data(json!("new"));
            book(conn, &job.id, 1)?;
            leave(conn);
            Ok(())
        });

        assert_failed(&db, ended);
        assert_pool_is_sound(&db, &pool);
    }
}

#[test]
fn a_retry_has_its_effect() {
    let (db, pool) = one_job();
    let end_by = |error: fn() -> Retry| {
        Job::run_job_in_transaction(&pool, "a", |conn, job, updates| {
            *updates = data(json!("new"));
            book(conn, &job.id, 1)?;
            Err(error().into())
        })
    };

    assert_released(&db, end_by(Retry::release));

    let ended = end_by(Retry::never);
    assert_err!(ended.unwrap_err(), Failed);
    let job = row(&db, "a");
    assert_eq!((job.status, job.retry), (Status::Ignored, 1));
    assert_eq!((job.lock, job.data), (None, Some(json!("old"))));
    assert_eq!(bookings(&db, "a"), NOBODY);
}

/// As the database returns it.
fn serialization_failure() -> DieselError {
    let text = "could not serialize access".to_owned();
    DieselError::DatabaseError(DatabaseErrorKind::SerializationFailure, Box::new(text))
}

#[test]
fn a_conflict_that_is_passed_on_is_no_failed_attempt_unless_a_retry_says_so() {
    let (db, pool) = one_job();
    let end_by = |error: fn() -> BoxError| {
        Job::run_job_in_transaction(&pool, "a", |conn, job, updates| {
            *updates = data(json!("new"));
            book(conn, &job.id, 1)?;
            Err(error())
        })
    };

    let error = assert_released(&db, end_by(|| serialization_failure().into()));
    assert!(error.is::<DieselError>(), "{error:?}");

    let ended = end_by(|| Retry::never().because(serialization_failure()).into());
    assert_err!(ended.unwrap_err(), Failed);
    assert_eq!(row(&db, "a").status, Status::Ignored);
}

#[test]
fn a_release_after_a_failure_keeps_the_count() {
    let (db, pool) = one_job();
    Job::start(&pool, "a").unwrap().fail("no paper").unwrap();
    let failed = row(&db, "a");

    let ended = Job::run_job_in_transaction(&pool, "a", |conn, job, _| {
        book(conn, &job.id, 1)?;
        Err::<(), _>(serialization_failure().into())
    });

    assert_err!(ended.unwrap_err(), Released);
    let job = row(&db, "a");
    assert_eq!((job.status, job.retry), (Status::Failed, 1));
    assert_eq!((job.lock, job.errors), (None, failed.errors));
    assert_eq!(bookings(&db, "a"), NOBODY);
}

#[test]
fn an_attempt_that_has_lost_its_lock_writes_nothing() {
    let ends: [fn() -> Result<(), BoxError>; 3] = [
        || Ok(()),
        || Err("no paper".into()),
        || Err(serialization_failure().into()),
    ];
    let overtake: [fn(&TestDb); 2] = [
        |db| assert_eq!(Job::expire_locks(&db.pool(1)).unwrap(), 1),
        |db| {
            let theirs = |conn: &mut TestConnection, job: &Job, updates: &mut JobUpdates| {
                *updates = data(json!("theirs"));
                Ok(book(conn, &job.id, 2)?)
            };
            Job::run_job_in_transaction(&db.pool(1), "a", theirs).unwrap();
        },
    ];
    for end in ends {
        for overtake in overtake {
            let (db, log) = (TestDb::with_table(LEDGER), Log::default());
            let watched = log.clone();
            let pool = pool_with(db.url(), 1, move |conn| watched.watch(conn));
            Job::create_and_save(&pool, "a", data(json!("old"))).unwrap();
            let attempt = Job::start(&pool, "a").unwrap();
            age_lock(&db, "a");
            overtake(&db);
            let (left, booked) = (row(&db, "a"), bookings(&db, "a"));
            log.take();

            let ended = attempt.run_in_transaction(|conn, job, updates| {
                *updates = data(json!("ours"));
                book(conn, &job.id, 1)?;
                end()
            });

            let error = ended.unwrap_err();
            assert_err!(error, LockLost);
            assert_names(&error, "a");
            assert_eq!((row(&db, "a"), bookings(&db, "a")), (left, booked));
            let updates = log.statements();
            let updates = updates.iter().filter(|sql| sql.starts_with("UPDATE"));
            assert_eq!(updates.count(), 1, "once lost, it is not tried again");
        }
    }
}
