//! Listening on SQLite: the version of the file, with each kind of journal.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, CustomizeConnection, Error, Pool};
use diesel_status_tracker::{Listener, StatusTracked};

use super::database::{TestDb, TestPool};
use super::jobs::JobUpdates;
use super::pools::{Event, Log};
use super::worker::until;
use super::worker_listen::{Own, create, is_listening, with_worker};

/// The journal is that of the file.
#[derive(Debug)]
struct AnyJournal;

impl CustomizeConnection<SqliteConnection, Error> for AnyJournal {
    fn on_acquire(&self, conn: &mut SqliteConnection) -> Result<(), Error> {
        let patient = conn.batch_execute("PRAGMA busy_timeout = 5000");
        patient.map_err(Error::QueryError)
    }
}

fn pool(url: &str, size: u32) -> TestPool {
    Pool::builder()
        .max_size(size)
        .test_on_check_out(false)
        .connection_customizer(Box::new(AnyJournal))
        .build(ConnectionManager::new(url))
        .unwrap()
}

#[test]
fn each_kind_of_journal_tells_of_changes() {
    for journal in ["WAL", "DELETE", "TRUNCATE", "PERSIST"] {
        let db = TestDb::new();
        db.raw_sql(&format!("PRAGMA journal_mode = {journal}"));
        let pool = pool(db.url(), 2);
        let listener = Listener::at(db.url());
        with_worker(&pool, &listener, |begun| {
            is_listening(&listener);
            for round in 0..20 {
                let id = format!("{journal} {round}");
                create(&db, &id);
                assert_eq!(begun(), id);
            }
        });
    }
}

#[test]
fn while_a_writer_keeps_readers_out_the_listener_waits() {
    let db = TestDb::new();
    db.raw_sql("PRAGMA journal_mode = DELETE");
    let pool = pool(db.url(), 2);
    let (url, log) = (db.url().to_owned(), Log::default());
    let watched = log.clone();
    let listener = Listener::new(move || {
        let mut conn = SqliteConnection::establish(&url)?;
        watched.watch(&mut conn);
        Ok(conn)
    });
    with_worker(&pool, &listener, |begun| {
        is_listening(&listener);
        let asked = |times: usize| {
            let mut asked = 0;
            until("asked", || {
                let is_question = |event: &Event| matches!(event, Event::Started(_));
                asked += log.take().iter().filter(|event| is_question(event)).count();
                asked >= times
            });
        };
        // It asks only while the worker is idle.
        asked(10);
        db.raw_sql("BEGIN EXCLUSIVE");
        create(&db, "a");
        log.take();
        asked(10);
        assert!(listener.is_listening());
        db.raw_sql("COMMIT");
        assert_eq!(begun(), "a");
        assert!(listener.is_listening());
    });
}

#[test]
fn a_database_in_memory_has_no_other_programs_and_works() {
    let db = TestDb::new();
    let listener = Listener::at(":memory:");
    with_worker(&db.pool(1), &listener, |begun| {
        is_listening(&listener);
        Own::create_and_save(&mut *db.conn(), "a", JobUpdates::default()).unwrap();
        assert_eq!(begun(), "a");
    });
}
