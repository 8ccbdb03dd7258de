//! What a transaction needs: one connection, no more statements than it must, and what
//! becomes of one that gets no connection.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use diesel::r2d2::event::{HandleEvent, TimeoutEvent};
use diesel::r2d2::{ConnectionManager, Pool};
use diesel_status_tracker::StatusTracked;

use super::backend;
use super::database::{TestDb, TestPool};
use super::jobs::{Job, JobUpdates, row};
use super::own_statements::{CLAIM, TRANSACTION};
use super::pools::{Log, pool_with, verb};
use super::transaction::{LEDGER, book, bookings, never, one_job};

#[test]
fn a_connection_is_held_while_the_transaction_runs_and_no_longer() {
    let (db, pool) = one_job();

    let attempt = Job::start(&pool, "a").unwrap();
    assert_eq!(pool.state().idle_connections, 1);
    attempt
        .run_in_transaction(|conn, job, _| {
            let state = pool.state();
            assert_eq!((state.connections, state.idle_connections), (1, 0));
            Ok(book(conn, &job.id, 1)?)
        })
        .unwrap();

    let state = pool.state();
    assert_eq!((state.connections, state.idle_connections), (1, 1));
    assert_eq!(bookings(&db, "a"), [1]);
}

/// Tells when somebody has waited for a connection in vain.
#[derive(Debug)]
struct Waiting(mpsc::Sender<()>);

impl HandleEvent for Waiting {
    fn handle_timeout(&self, _: TimeoutEvent) {
        self.0.send(()).unwrap();
    }
}

#[test]
fn a_transaction_that_cannot_begin_is_no_failed_attempt() {
    let db = TestDb::with_table(LEDGER);
    let (waiting, waits) = mpsc::channel();
    let pool: TestPool = Pool::builder()
        .max_size(1)
        .connection_timeout(Duration::from_millis(500))
        .connection_customizer(backend::customizer())
        .event_handler(Box::new(Waiting(waiting)))
        .build(ConnectionManager::new(db.url()))
        .unwrap();
    Job::create_and_save(&pool, "a", JobUpdates::default()).unwrap();
    let attempt = Job::start(&pool, "a").unwrap();
    let before = row(&db, "a");
    let held = pool.get().unwrap();

    let error = thread::scope(|scope| {
        scope.spawn(move || {
            waits.recv().unwrap();
            drop(held);
        });
        attempt.run_in_transaction(never).unwrap_err()
    });

    assert_err!(error, Pool);
    assert_eq!(row(&db, "a"), before, "it recovers by expiry");
}

#[test]
fn a_transaction_takes_no_more_statements_than_it_must() {
    let (db, log) = (TestDb::with_table(LEDGER), Log::default());
    let watched = log.clone();
    let pool = pool_with(db.url(), 1, move |conn| watched.watch(conn));
    Job::create_and_save(&pool, "a", JobUpdates::default()).unwrap();
    log.take();

    Job::run_job_in_transaction(&pool, "a", |conn, job, _| Ok(book(conn, &job.id, 1)?)).unwrap();

    let statements = log.statements();
    let verbs = statements.iter().map(|sql| verb(sql));
    assert_eq!(verbs.collect::<Vec<_>>(), [CLAIM, TRANSACTION].concat());
}
