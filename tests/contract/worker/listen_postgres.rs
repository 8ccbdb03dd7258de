//! Listening on PostgreSQL: the trigger, lost connections, poolers, who pays for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Oid};
use diesel_status_tracker::{Listener, StatusTracked};

use super::backend::{listened_url, notifies, open_behind_pgbouncer};
use super::database::TestDb;
use super::jobs::{Job, JobUpdates};
use super::pgbouncer::right;
use super::worker::until;
use super::worker_listen::{Own, TestListener, create, is_listening, with_worker};

/// The sessions that listen for this test's jobs.
const LISTENING: &str = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND classid = 1953653099 \
     AND objid = 'jobs'::regclass AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

fn listening(db: &TestDb) -> i64 {
    let count = sql::<BigInt>(&format!("(SELECT count(*) FROM ({LISTENING}) AS them)"));
    diesel::select(count).get_result(&mut *db.conn()).unwrap()
}

fn terminate(db: &TestDb) {
    db.raw_sql(&format!(
        "SELECT pg_terminate_backend(pid) FROM ({LISTENING}) AS them"
    ));
}

/// A listener that gets connections while the flag is set.
fn switched(db: &TestDb) -> (TestListener, Arc<AtomicBool>) {
    let is_on = Arc::new(AtomicBool::new(true));
    let (switch, url) = (Arc::clone(&is_on), listened_url(db.url()));
    let listener = Listener::new(move || match switch.load(Ordering::SeqCst) {
        true => PgConnection::establish(&url),
        false => Err(ConnectionError::BadConnection("switched off".into())),
    });
    (listener, is_on)
}

#[test]
fn after_a_lost_connection_the_worker_looks_by_itself_until_it_listens_again() {
    let db = TestDb::new();
    let pool = db.pool(4);
    let (listener, is_on) = switched(&db);
    with_worker(&pool, &listener, |begun| {
        for round in 0..3 {
            is_listening(&listener);
            is_on.store(false, Ordering::SeqCst);
            terminate(&db);
            until("deaf", || !listener.is_listening());
            let id = format!("deaf {round}");
            create(&db, &id);
            assert_eq!(begun(), id);
            is_on.store(true, Ordering::SeqCst);
            is_listening(&listener);
            let id = format!("listening {round}");
            create(&db, &id);
            assert_eq!(begun(), id);
        }
    });
    until("closed", || listening(&db) == 0);
}

#[test]
fn nobody_is_notified_where_nobody_listens() {
    let db = TestDb::new();
    let mut other = PgConnection::establish(&listened_url(db.url())).unwrap();
    let number: u32 = diesel::select(sql::<Oid>("'jobs'::regclass::oid"))
        .get_result(&mut *db.conn())
        .unwrap();
    other
        .batch_execute(&format!("LISTEN status_tracker_{number}"))
        .unwrap();
    let mut heard = || {
        // The answer to a statement comes after the notifications before it.
        other.batch_execute("SELECT 1").unwrap();
        other.notifications_iter().map(Result::unwrap).count()
    };
    create(&db, "a");
    assert_eq!(heard(), 0);

    let pool = db.pool(4);
    let (listener, _) = switched(&db);
    with_worker(&pool, &listener, |begun| {
        assert_eq!(begun(), "a");
        is_listening(&listener);
        assert_eq!(listening(&db), 1);
        create(&db, "b");
        assert_eq!(begun(), "b");
        until("heard", || heard() > 0);
        // A thousand rows of one transaction are one notification.
        let rows = (0..1000).map(|n| (n.to_string(), JobUpdates::default()));
        heard();
        Job::create_many(&mut *db.conn(), rows).unwrap();
        let _first = begun();
        assert_eq!(heard(), 1);
    });
    until("closed", || listening(&db) == 0);
    heard();
    create(&db, "c");
    assert_eq!(heard(), 0);
}

#[test]
fn without_the_trigger_the_regular_looks_remain() {
    let db = TestDb::new();
    db.raw_sql("DROP TRIGGER jobs_created ON jobs; DROP TRIGGER jobs_ready ON jobs");
    let pool = db.pool(4);
    let (listener, _) = switched(&db);
    let worker = Own::worker(&pool)
        .poll_every(std::time::Duration::from_millis(20))
        .listen(&listener);
    let handle = worker.handle();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| worker.run(|_, _| Ok(handle.shutdown())));
        is_listening(&listener);
        create(&db, "a");
        assert_eq!(running.join().unwrap().unwrap().succeeded, 1);
    });
}

#[test]
fn the_rows_of_partitions_are_heard_of_as_those_of_their_table() {
    let db = TestDb::new();
    db.raw_sql(
        "DROP TABLE jobs;
         CREATE TABLE jobs (id TEXT NOT NULL PRIMARY KEY, status INTEGER NOT NULL, create_at TIMESTAMP NOT NULL,
             update_at TIMESTAMP NOT NULL, lock TEXT, lock_at TIMESTAMP, retry INTEGER NOT NULL DEFAULT 0,
             data JSON, errors JSON NOT NULL DEFAULT '{}') PARTITION BY HASH (id);
         CREATE TABLE jobs_even PARTITION OF jobs FOR VALUES WITH (MODULUS 2, REMAINDER 0);
         CREATE TABLE jobs_odd PARTITION OF jobs FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
    );
    db.raw_sql(&notifies("jobs"));
    let pool = db.pool(4);
    let (listener, _) = switched(&db);
    with_worker(&pool, &listener, |begun| {
        is_listening(&listener);
        for id in ["a", "b", "c", "d"] {
            create(&db, id);
            assert_eq!(begun(), id);
            until("done", || Job::reset(&mut *db.conn(), id).is_ok());
            assert_eq!(begun(), id);
        }
    });
}

#[test]
fn a_pooler_that_shares_sessions_is_found_out() {
    let db = TestDb::at(open_behind_pgbouncer());
    let pool = right(&db, 4);
    let listener = TestListener::at(db.url());
    with_worker(&pool, &listener, |begun| {
        create(&db, "a");
        assert_eq!(begun(), "a");
        assert!(!listener.is_listening());
    });
    // No session of the pooler counts as a listener.
    assert_eq!(listening(&db), 0);

    // With a way to the server itself, the pool may stay behind the pooler.
    let listener = TestListener::at(listened_url(db.url()));
    with_worker(&pool, &listener, |begun| {
        is_listening(&listener);
        create(&db, "b");
        assert_eq!(begun(), "b");
    });
}
