//! Errors of a user's own that read like the database's: what a trigger raises
//! is the job's own failure, whatever it says.

use diesel::prelude::*;
use diesel_status_tracker::{BoxError, StatusTracked};
use serde_json::json;

use super::backend::refusal;
use super::database::TestConnection;
use super::jobs::{Job, JobUpdates, Status, assert_names, data, history, jobs, row};
use super::pools::{Event, Log, pool_with};
use super::sessions::LANGUAGES;
use super::transaction::{assert_failed, assert_pool_is_sound, book, one_job};

/// Each has words of an error in it by which a database makes way.
const TEXTS: [&str; 9] = [
    "account 1 is locked",
    "database is locked by the auditor",
    "database table is locked, says the auditor",
    "Deadlock found between two approvals",
    "deadlock detected between two approvals",
    "could not obtain lock on account 1",
    "Lock wait timeout exceeded for account 1",
    "canceling statement due to lock timeout of account 1",
    "Record has changed since last read in account 1",
];

type Work = fn(&mut TestConnection) -> Result<(), BoxError>;

#[test]
fn an_error_of_a_trigger_that_speaks_of_locks_is_a_failed_attempt() {
    let works: [Work; 2] = [
        |conn| Ok(book(conn, "a", 7).map(drop)?),
        |conn| conn.transaction(|conn| Ok(book(conn, "a", 7).map(drop)?)),
    ];
    for speak in LANGUAGES {
        for text in TEXTS {
            for work in works {
                let (db, _) = one_job();
                db.sql(&refusal("INSERT ON ledger", "NEW.worker = 7", text));
                let pool = pool_with(db.url(), 1, speak);

                let ended = Job::run_job_in_transaction(&pool, "a", |conn, _, updates| {
                    *updates = data(json!("new"));
                    work(conn)
                });

                assert_failed(&db, ended);
                assert_eq!(history(&row(&db, "a")), [text]);
                assert_pool_is_sound(&db, &pool);
            }
        }
    }
}

#[test]
fn a_trigger_that_refuses_the_mark_and_speaks_of_locks_is_not_waited_for() {
    for speak in LANGUAGES {
        for text in TEXTS {
            let (db, _) = one_job();
            db.sql(&refusal("UPDATE ON jobs", "NEW.status = 40", text));
            let log = Log::default();
            let watched = log.clone();
            let pool = pool_with(db.url(), 1, move |conn| {
                speak(conn);
                watched.watch(conn);
            });

            let error = Job::run_job(&pool, "a", |_, _| Ok(())).unwrap_err();

            assert_err!(error, Database);
            assert_names(&error, "a");
            assert!(error.to_string().contains(text), "{error}");
            let refused = |event: &Event| matches!(event, Event::Failed(said) if said == text);
            let refusals = log.take().into_iter().filter(refused).count();
            // Where nothing but a text in a foreign language tells a business
            // rule from a lock, it gets a few tries.
            assert!(refusals <= 3, "{text}: tried {refusals} times");
            assert_eq!(row(&db, "a").status, Status::InProgress);
        }
    }
}

#[test]
fn a_trigger_that_refuses_the_mark_in_the_jobs_transaction_is_a_failed_attempt() {
    for speak in LANGUAGES {
        let (db, _) = one_job();
        let text = "account 1 is locked";
        db.sql(&refusal("UPDATE ON jobs", "NEW.status = 40", text));
        let pool = pool_with(db.url(), 1, speak);

        let ended = Job::run_job_in_transaction(&pool, "a", |conn, job, updates| {
            *updates = data(json!("new"));
            book(conn, &job.id, 1)?;
            Ok(())
        });

        let error = assert_failed(&db, ended);
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn a_call_that_a_trigger_refuses_in_the_jobs_transaction_is_a_failed_attempt() {
    for speak in LANGUAGES {
        let (db, _) = one_job();
        let text = "account 1 is locked";
        db.sql(&refusal("INSERT ON jobs", "NEW.id = 'b'", text));
        let pool = pool_with(db.url(), 1, speak);

        let ended = Job::run_job_in_transaction(&pool, "a", |conn, _, _| {
            Job::create_and_save(conn, "b", JobUpdates::default())?;
            Ok(())
        });

        assert_failed(&db, ended);
        let count = jobs::table.count().get_result(&mut *db.conn());
        assert_eq!(count, Ok(1_i64));
    }
}
