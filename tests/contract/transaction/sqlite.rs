//! SQLite's transactions: one that writes at a time, and a few errors end one.

use std::sync::{Arc, Mutex};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_status_tracker::{BoxError, StatusTracked};
use serde_json::json;

use super::database::{TestConnection, TestDb};
use super::jobs::{Job, JobUpdates, Status, age_lock, data, row};
use super::pools::{Event, Log, pool_with};
use super::sessions::impatient;
use super::transaction::{
    LEDGER, assert_failed, assert_pool_is_sound, assert_released, book, bookings, one_job,
};

#[test]
fn an_error_that_ends_the_transaction_is_a_failed_attempt_even_if_it_is_ignored() {
    let ends: [fn() -> Result<(), BoxError>; 2] = [|| Ok(()), || Err("no paper".into())];
    for end in ends {
        let (db, pool) = one_job();
        db.sql("CREATE TABLE once (job TEXT UNIQUE ON CONFLICT ROLLBACK)");

        let ended = Job::run_job_in_transaction(&pool, "a", |conn, job, updates| {
            *updates = data(json!("new"));
            book(conn, &job.id, 1)?;
            let twice = diesel::sql_query("INSERT INTO once VALUES ('a'), ('a')");
            twice.execute(conn).unwrap_err();
            end()
        });

        assert_failed(&db, ended);
        assert_pool_is_sound(&db, &pool);
    }
}

#[test]
fn a_transaction_waits_for_another_and_the_work_runs_once() {
    let (db, log) = (TestDb::with_table(LEDGER), Log::default());
    let other = Arc::new(Mutex::new(None::<TestConnection>));
    let pool = {
        let (log, other) = (log.clone(), Arc::clone(&other));
        pool_with(db.url(), 1, move |conn| {
            impatient(conn);
            let (other, mut tries) = (Arc::clone(&other), 0);
            log.watch_and(conn, move |event| {
                let mut other = other.lock().unwrap();
                if other.is_some() && matches!(event, Event::Transaction) {
                    tries += 1;
                }
                if tries == 2 {
                    tries = 0;
                    other.take().unwrap().batch_execute("ROLLBACK").unwrap();
                }
            });
        })
    };
    Job::create_and_save(&pool, "a", JobUpdates::default()).unwrap();
    let attempt = Job::start(&pool, "a").unwrap();
    let mut writer = TestConnection::establish(db.url()).unwrap();
    writer.batch_execute("BEGIN IMMEDIATE").unwrap();
    *other.lock().unwrap() = Some(writer);
    let mut runs = 0;

    attempt
        .run_in_transaction(|conn, job, _| {
            runs += 1;
            Ok(book(conn, &job.id, 1)?)
        })
        .unwrap();

    assert!(other.lock().unwrap().is_none(), "one try was enough");
    assert_eq!((runs, bookings(&db, "a")), (1, vec![1]));
    let job = row(&db, "a");
    assert_eq!((job.status, job.retry), (Status::Succeeded, 0));
}

#[test]
fn a_conflict_that_is_passed_on_is_no_failed_attempt() {
    let (db, pool) = one_job();
    let mut theirs = TestConnection::establish(db.url()).unwrap();

    let ended = Job::run_job_in_transaction(&pool, "a", |conn, job, updates| {
        *updates = data(json!("new"));
        book(conn, &job.id, 1)?;
        book(&mut theirs, &job.id, 2)?;
        Ok(())
    });

    let error = assert_released(&db, ended);
    assert_eq!(error.to_string(), "database is locked");
    assert_pool_is_sound(&db, &pool);
}

#[test]
fn an_attempt_that_has_lost_its_lock_does_not_begin_its_transaction() {
    let (db, pool) = one_job();
    let attempt = Job::start(&pool, "a").unwrap();
    // As while it waits for another transaction.
    age_lock(&db, "a");
    assert_eq!(Job::expire_locks(&pool).unwrap(), 1);
    let expired = row(&db, "a");

    let ended = attempt.run_in_transaction(|_, _, _| -> Result<(), _> { panic!("it ran") });

    let error = ended.unwrap_err();
    assert_err!(error, LockLost);
    assert_eq!(row(&db, "a"), expired);
}

#[test]
fn on_a_connection_that_only_reads_the_work_is_not_begun() {
    let (db, pool) = one_job();
    let attempt = Job::start(&pool, "a").unwrap();
    // As when it was opened while the file could not be written to.
    let only_reads = "PRAGMA query_only = ON";
    pool.get().unwrap().batch_execute(only_reads).unwrap();
    let mut runs = 0;

    attempt
        .run_in_transaction(|conn, job, _| {
            runs += 1;
            Ok(book(conn, &job.id, 1)?)
        })
        .unwrap();

    assert_eq!((runs, bookings(&db, "a")), (1, vec![1]));
    assert_eq!(row(&db, "a").status, Status::Succeeded);
}
