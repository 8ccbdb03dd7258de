//! MySQL's deadlocks.

use std::sync::{Arc, Mutex};
use std::thread;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_status_tracker::StatusTracked;
use serde_json::json;

use super::database::{TestConnection, TestDb};
use super::jobs::{Job, JobUpdates, Status, data, jobs, row};
use super::pools::{Event, Log, pool_with};
use super::races::Scene;
use super::sessions::{LANGUAGES, impatient};

/// What the database has refused.
fn failures(log: &Log) -> Vec<Event> {
    let failed = |event: &Event| matches!(event, Event::Failed(_));
    log.take().into_iter().filter(failed).collect()
}

/// Whether another transaction has written to the job "a".
fn is_written_to(db: &TestDb) -> bool {
    let probe = "SELECT id FROM jobs WHERE id = 'a' FOR UPDATE NOWAIT";
    db.conn().batch_execute(probe).is_err()
}

#[test]
fn a_deadlock_is_tried_again() {
    LANGUAGES
        .into_iter()
        .for_each(is_tried_again_after_a_deadlock);
}

fn is_tried_again_after_a_deadlock(speak: fn(&mut TestConnection)) {
    let (db, log) = (TestDb::new(), Log::default());
    // A success of the tracker writes, by a trigger of the user's, to a row more.
    db.sql("CREATE TABLE accounts (id INTEGER PRIMARY KEY, booked INTEGER NOT NULL)");
    for id in 1..=50 {
        db.sql(&format!("INSERT INTO accounts VALUES ({id}, 0)"));
    }
    db.sql(
        "CREATE TRIGGER book AFTER UPDATE ON jobs FOR EACH ROW
             UPDATE accounts SET booked = booked + 1 WHERE id = 1 AND NEW.status = 40",
    );
    let watched = log.clone();
    let pool = pool_with(db.url(), 1, move |conn| {
        speak(conn);
        watched.watch(conn);
    });
    Job::create_and_save(&pool, "a", JobUpdates::default()).unwrap();
    let mut attempt = Job::start(&pool, "a").unwrap();
    attempt.updates = data(json!("new"));
    // The transaction that has written less is the one to be refused.
    let mut other = TestConnection::establish(db.url()).unwrap();
    other
        .batch_execute("BEGIN; UPDATE accounts SET booked = booked + 1")
        .unwrap();

    thread::scope(|scope| {
        let finish = scope.spawn(|| attempt.succeed());
        while !is_written_to(&db) && !finish.is_finished() {}
        diesel::update(jobs::table.find("a"))
            .set(jobs::data.eq(json!("the other's")))
            .execute(&mut other)
            .unwrap();
        other.batch_execute("COMMIT").unwrap();
        finish.join().unwrap().unwrap();
    });

    let failures = failures(&log);
    let [Event::Failed(message)] = &failures[..] else {
        panic!("{failures:?}");
    };
    assert!(message.contains("Deadlock"), "{message}");
    let job = row(&db, "a");
    assert_eq!((job.status, job.retry), (Status::Succeeded, 0));
    assert_eq!((job.errors, job.data), (json!({}), Some(json!("new"))));
}

/// In a transaction of the tracker's own, which is rolled back before the error
/// comes to whoever decides to try again.
#[test]
fn many_new_rows_wait_for_one_that_another_is_just_creating() {
    for speak in LANGUAGES {
        let db = TestDb::new();
        let other = Arc::new(Mutex::new(None::<TestConnection>));
        let pool = {
            let other = Arc::clone(&other);
            pool_with(db.url(), 1, move |conn| {
                speak(conn);
                impatient(conn);
                let other = Arc::clone(&other);
                let mut refusals = 0;
                Log::default().watch_and(conn, move |event| {
                    refusals += u32::from(matches!(event, Event::Failed(_)));
                    if refusals == 2 {
                        *other.lock().unwrap() = None;
                    }
                });
            })
        };
        let mut theirs = TestConnection::establish(db.url()).unwrap();
        theirs.batch_execute("BEGIN").unwrap();
        Job::create_and_save(&mut theirs, "b", JobUpdates::default()).unwrap();
        *other.lock().unwrap() = Some(theirs);

        let rows = ["a", "b", "c"].map(|id| (id, JobUpdates::default()));
        assert_eq!(Job::create_many(&pool, rows).unwrap(), 3);

        assert!(other.lock().unwrap().is_none(), "nothing was in the way");
    }
}

/// A batch is claimed in several goes where others are at its rows too; what
/// the goes before a deadlock have brought is not forgotten.
#[test]
fn a_deadlock_within_a_batch_loses_no_job() {
    let scene = Scene::new();
    Job::create_and_save(&scene.other, "c", JobUpdates::default()).unwrap();
    scene.db.sql(
        "CREATE TRIGGER deadlock BEFORE UPDATE ON jobs FOR EACH ROW
         BEGIN
             IF NEW.id = 'c' AND @refused IS NULL THEN
                 SET @refused = 1;
                 SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213, MESSAGE_TEXT = 'Deadlock found';
             END IF;
         END",
    );

    let other = scene.other.clone();
    scene.before("BEGIN", move || {
        std::mem::forget(Job::start(&other, "a").unwrap());
    });
    let batch = Job::claim_next(&scene.pool, 2).unwrap();

    scene.assert_done();
    let held: Vec<_> = batch.iter().map(|attempt| attempt.id.clone()).collect();
    assert_eq!(held, ["b"]);
    assert_eq!(row(&scene.db, "c").status, Status::Pending);
}

/// Who claims from a list that has grown old meanwhile waits for none of the
/// rows that another has taken, though it is just writing to them.
#[test]
fn a_batch_does_not_wait_for_a_job_that_another_holds() {
    let log = Log::default();
    let scene = Scene::watched_by(log.clone());
    let wait = "SET innodb_lock_wait_timeout = 1";
    scene.pool.get().unwrap().batch_execute(wait).unwrap();
    let writer = TestConnection::establish(scene.db.url()).unwrap();
    // Its transaction lasts as long as it does: past the claim.
    let writer = Arc::new(Mutex::new(writer));

    let (other, writes) = (scene.other.clone(), Arc::clone(&writer));
    scene.before("BEGIN", move || {
        std::mem::forget(Job::start(&other, "a").unwrap());
        let write = "BEGIN; UPDATE jobs SET retry = 1 WHERE id = 'a'";
        writes.lock().unwrap().batch_execute(write).unwrap();
    });
    let batch = Job::claim_next(&scene.pool, 2).unwrap();

    scene.assert_done();
    let held: Vec<_> = batch.iter().map(|attempt| attempt.id.clone()).collect();
    assert_eq!(held, ["b"]);
    assert_eq!(failures(&log), [], "it has waited");
}
