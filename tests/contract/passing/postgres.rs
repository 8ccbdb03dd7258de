//! PostgreSQL's serialization failures and deadlocks.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_status_tracker::StatusTracked;
use serde_json::json;

use super::database::{TestConnection, TestDb};
use super::jobs::{Job, JobUpdates, Status, data, jobs, row};
use super::pools::{Event, Log, pool_with};
use super::sessions::{LANGUAGES, number, waits};
use super::worker::{create, summary, until};

fn establish(db: &TestDb, sql: &str) -> TestConnection {
    let mut conn = TestConnection::establish(db.url()).unwrap();
    conn.batch_execute(sql).unwrap();
    conn
}

fn write_to_the_job(conn: &mut TestConnection) {
    diesel::update(jobs::table.find("a"))
        .set(jobs::data.eq(json!("the other's")))
        .execute(conn)
        .unwrap();
}

/// Holds that the job has succeeded at the first attempt and the second try.
fn assert_tried_twice(db: &TestDb, log: &Log, refusal: &str) {
    let failed = |event: &Event| matches!(event, Event::Failed(_));
    let failures: Vec<_> = log.take().into_iter().filter(failed).collect();
    assert_eq!(failures, [Event::Failed(refusal.to_owned())]);
    let job = row(db, "a");
    assert_eq!((job.status, job.retry), (Status::Succeeded, 0));
    assert_eq!((job.errors, job.data), (json!({}), Some(json!("new"))));
}

#[test]
fn a_serialization_failure_is_tried_again() {
    let (db, log) = (TestDb::new(), Log::default());
    let watched = log.clone();
    let pool = pool_with(db.url(), 1, move |conn| {
        conn.batch_execute("SET default_transaction_isolation = 'serializable'")
            .unwrap();
        watched.watch(conn);
    });
    Job::create_and_save(&pool, "a", JobUpdates::default()).unwrap();
    let mut attempt = Job::start(&pool, "a").unwrap();
    attempt.updates = data(json!("new"));
    let tracker = number(&mut pool.get().unwrap());
    let mut other = establish(&db, "BEGIN");
    write_to_the_job(&mut other);

    thread::scope(|scope| {
        let finish = scope.spawn(|| attempt.succeed());
        while !waits(&mut other, tracker) && !finish.is_finished() {}
        other.batch_execute("COMMIT").unwrap();
        finish.join().unwrap().unwrap();
    });

    assert_tried_twice(
        &db,
        &log,
        "could not serialize access due to concurrent update",
    );
}

#[test]
fn a_deadlock_is_tried_again() {
    for (speak, refusal) in LANGUAGES
        .into_iter()
        .zip(["deadlock detected", "Verklemmung (Deadlock) entdeckt"])
    {
        is_tried_again_after_a_deadlock(speak, refusal);
    }
}

fn is_tried_again_after_a_deadlock(speak: fn(&mut TestConnection), refusal: &str) {
    let (db, log) = (TestDb::new(), Log::default());
    // A success of the tracker writes, by a trigger of the user's, to two
    // rows more: to the gate, which the test opens, and to the account.
    db.sql(
        "CREATE TABLE rows (name TEXT PRIMARY KEY); INSERT INTO rows VALUES ('gate'), ('account');
         CREATE FUNCTION book() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN
             PERFORM * FROM rows WHERE name = ''gate'' FOR UPDATE;
             PERFORM * FROM rows WHERE name = ''account'' FOR UPDATE;
             RETURN NEW; END';
         CREATE TRIGGER book AFTER UPDATE ON jobs FOR EACH ROW WHEN (NEW.status = 40) EXECUTE FUNCTION book()",
    );
    let watched = log.clone();
    let pool = pool_with(db.url(), 1, move |conn| {
        speak(conn);
        // The session that looks for the deadlock is the one to be refused.
        conn.batch_execute("SET deadlock_timeout = '1ms'").unwrap();
        watched.watch(conn);
    });
    Job::create_and_save(&pool, "a", JobUpdates::default()).unwrap();
    let mut attempt = Job::start(&pool, "a").unwrap();
    attempt.updates = data(json!("new"));
    let tracker = number(&mut pool.get().unwrap());
    let lock = |name| format!("BEGIN; SELECT * FROM rows WHERE name = '{name}' FOR UPDATE");
    let mut gate = establish(&db, &lock("gate"));
    let mut other = establish(
        &db,
        &format!("SET deadlock_timeout = '1h'; {}", lock("account")),
    );
    let other_session = number(&mut other);

    thread::scope(|scope| {
        let finish = scope.spawn(|| attempt.succeed());
        while !waits(&mut gate, tracker) && !finish.is_finished() {}
        let write = scope.spawn(|| {
            write_to_the_job(&mut other);
            other.batch_execute("COMMIT").unwrap();
        });
        while !waits(&mut gate, other_session) && !write.is_finished() {}
        gate.batch_execute("COMMIT").unwrap();
        write.join().unwrap();
        finish.join().unwrap().unwrap();
    });

    assert_tried_twice(&db, &log, refusal);
}

/// Its lock would expire, and the job run again.
#[test]
fn the_lock_of_a_job_whose_outcome_waits_for_its_row_is_renewed() {
    struct Brief;
    step! { Brief on Job { const LOCK_EXPIRE: Duration = Duration::from_millis(600); } }
    let (db, log) = (TestDb::new(), Log::default());
    let watched = log.clone();
    let pool = pool_with(db.url(), 3, move |conn| watched.watch(conn));
    create(&pool, 2);
    // As of a row that is held, but that lets its lock be renewed.
    let refusal = "RAISE EXCEPTION 'canceling statement due to lock timeout'";
    db.sql(&format!(
        "CREATE FUNCTION held() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {refusal}; END $$;
         CREATE TRIGGER held BEFORE UPDATE ON jobs FOR EACH ROW WHEN (NEW.id = '0' AND NEW.status = 40) EXECUTE FUNCTION held()"
    ));

    let is_renewed = AtomicBool::new(false);
    let worker = Brief::worker(&pool).threads(2).batch(1);
    let done = worker.run_until_empty(|job, _| {
        if job.id == "1" {
            let refused = |event: &Event| matches!(event, Event::Failed(_));
            until("refused", || log.take().iter().any(refused));
            let before = row(&db, "0").lock_at;
            let renewed = || until("renewed", || row(&db, "0").lock_at > before);
            is_renewed.store(
                catch_unwind(AssertUnwindSafe(renewed)).is_ok(),
                Ordering::Relaxed,
            );
            db.sql("DROP TRIGGER held ON jobs");
        }
        Ok(())
    });

    assert_eq!(done.unwrap(), summary(|s| s.succeeded = 2));
    assert!(is_renewed.load(Ordering::Relaxed));
}
