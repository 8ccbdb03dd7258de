//! PostgreSQL's transactions: an error breaks one, and some come at the commit.

use std::sync::{Arc, Mutex};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_status_tracker::{BoxError, StatusTracked};
use serde_json::json;

use super::database::{TestConnection, TestDb};
use super::jobs::{Job, data};
use super::pools::{Event, Log, pool_with};
use super::sessions::{LANGUAGES, serializable};
use super::transaction::{
    LEDGER, assert_failed, assert_pool_is_sound, assert_released, book, bookings, ledger, one_job,
};
use super::worker::{create, summary};

fn fail(conn: &mut TestConnection) -> QueryResult<usize> {
    diesel::sql_query("INSERT INTO no_such_table VALUES (1)").execute(conn)
}

#[test]
fn an_error_that_the_work_ignores_is_a_failed_attempt() {
    let works: [fn(&mut TestConnection); 2] = [
        |_| {},
        |conn| _ = book(conn, "a", 2).unwrap_err(), // refused, and swallowed too
    ];
    for (speak, go_on) in LANGUAGES
        .into_iter()
        .flat_map(|speak| works.map(|work| (speak, work)))
    {
        let (db, _) = one_job();
        let pool = pool_with(db.url(), 1, speak);

        let ended = Job::run_job_in_transaction(&pool, "a", |conn, job, updates| {
            *updates = data(json!("new"));
            book(conn, &job.id, 1)?;
            fail(conn).unwrap_err();
            go_on(conn);
            Ok(())
        });

        let error = assert_failed(&db, ended);
        assert!(error.to_string().contains("pass on every database error"));
        assert_pool_is_sound(&db, &pool);
    }
}

#[test]
fn an_error_in_a_savepoint_can_be_ignored() {
    let (db, pool) = one_job();

    Job::run_job_in_transaction(&pool, "a", |conn, job, _| {
        book(conn, &job.id, 1)?;
        conn.transaction(|conn| {
            book(conn, &job.id, 2)?;
            fail(conn)
        })
        .unwrap_err();
        Ok(())
    })
    .unwrap();

    assert_eq!(bookings(&db, "a"), [1]);
}

#[test]
fn an_error_that_comes_at_the_commit_and_stays_is_a_failed_attempt() {
    let (db, pool) = one_job();
    db.sql("CREATE TABLE once (job TEXT UNIQUE DEFERRABLE INITIALLY DEFERRED)");

    let ended = Job::run_job_in_transaction(&pool, "a", |conn, job, updates| {
        *updates = data(json!("new"));
        book(conn, &job.id, 1)?;
        conn.batch_execute("INSERT INTO once VALUES ('a'), ('a')")?;
        Ok(())
    });

    let error = assert_failed(&db, ended);
    assert!(error.to_string().contains("unique constraint"), "{error}");
    assert_pool_is_sound(&db, &pool);
}

#[test]
fn a_serialization_failure_is_no_failed_attempt_wherever_it_comes() {
    // Each reads what the other writes; the other commits before this statement.
    for statement in ["UPDATE accounts", "UPDATE \"jobs\"", "COMMIT"] {
        let (db, log) = (TestDb::with_table(LEDGER), Log::default());
        db.sql("CREATE TABLE accounts (id INTEGER PRIMARY KEY, sum INTEGER)");
        db.sql("INSERT INTO accounts VALUES (1, 0), (2, 0)");
        let other = Arc::new(Mutex::new(None::<TestConnection>));
        let pool = {
            let (log, other) = (log.clone(), Arc::clone(&other));
            pool_with(db.url(), 1, move |conn| {
                conn.batch_execute("SET default_transaction_isolation = 'serializable'")
                    .unwrap();
                let other = Arc::clone(&other);
                log.watch_and(conn, move |event| {
                    if matches!(event, Event::Started(sql) if sql.starts_with(statement))
                        && let Some(mut other) = other.lock().unwrap().take()
                    {
                        other
                            .batch_execute("UPDATE accounts SET sum = 1 WHERE id = 2; COMMIT")
                            .unwrap();
                    }
                });
            })
        };
        Job::create_and_save(&pool, "a", data(json!("old"))).unwrap();
        let mut theirs = TestConnection::establish(db.url()).unwrap();

        let ended = Job::run_job_in_transaction(&pool, "a", |conn, job, updates| {
            *updates = data(json!("new"));
            book(conn, &job.id, 1)?;
            diesel::sql_query("SELECT sum FROM accounts").execute(conn)?;
            theirs.batch_execute("BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT sum FROM accounts")?;
            *other.lock().unwrap() = Some(theirs);
            diesel::sql_query("UPDATE accounts SET sum = 1 WHERE id = 1").execute(conn)?;
            Ok::<_, BoxError>(())
        });

        assert!(other.lock().unwrap().is_none());
        let error = assert_released(&db, ended);
        assert!(error.to_string().contains("could not serialize"), "{error}");
        let events = log.take();
        let is_failure = |event: &Event| matches!(event, Event::Failed(_));
        let failed = events.iter().position(is_failure).unwrap();
        let started = events[..failed].iter().rev().find_map(|event| match event {
            Event::Started(sql) => Some(sql),
            _ => None,
        });
        let sql = started.unwrap();
        assert!(sql.starts_with(statement), "{sql}");
        assert_pool_is_sound(&db, &pool);
    }
}

/// PostgreSQL rolls some of them back on suspicion: those that have read the
/// same page of a small table.
#[test]
fn serializable_transactions_commit_once_although_some_run_again() {
    const JOBS: usize = 40;
    let db = TestDb::with_table(LEDGER);
    let pool = pool_with(db.url(), 5, serializable);
    create(&pool, JOBS);

    let worker = Job::worker(&pool).threads(4).batch(5);
    let done = worker.run_in_transaction_until_empty(|conn, job, _| {
        book(conn, &job.id, 1)?;
        Ok(())
    });

    let done = done.unwrap();
    let released = done.released;
    assert_eq!(
        done,
        summary(|s| (s.succeeded, s.released) = (JOBS as u64, released))
    );
    for id in 0..JOBS {
        assert_eq!(bookings(&db, &id.to_string()), [1]);
    }
}

#[test]
fn the_work_may_raise_the_isolation_level_of_its_transaction() {
    let (db, pool) = one_job();
    let mut other = TestConnection::establish(db.url()).unwrap();
    let count = || ledger::table.count();

    Job::run_job_in_transaction(&pool, "a", |conn, job, _| {
        conn.batch_execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")?;
        let before: i64 = count().get_result(conn)?;
        book(&mut other, "theirs", 2)?;
        assert_eq!(count().get_result(conn), Ok(before));
        Ok(book(conn, &job.id, 1)?)
    })
    .unwrap();

    assert_eq!(bookings(&db, "a"), [1]);
}
