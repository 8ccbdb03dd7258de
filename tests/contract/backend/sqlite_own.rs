//! What only SQLite can get wrong: its files, and times that are text.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use diesel::connection::{InstrumentationEvent, SimpleConnection};
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, CustomizeConnection, Pool};
use diesel_status_tracker::sqlite::Customizer;
use diesel_status_tracker::{Error, StatusTracked};

use super::database::{TestDb, TestPool, pool_at};
use super::jobs::{Job, JobUpdates, Status, assert_names, row};
use super::pools::{Event, Log, pool_with};
use super::sessions::impatient;
use super::worker::summary;

#[test]
fn a_file_that_is_no_database_is_a_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("notes.txt");
    std::fs::write(&file, "these are notes, and no database ".repeat(99)).unwrap();
    let url = file.to_str().unwrap();

    let pool = pool_at(url, 1, Duration::from_millis(200));
    let error = Job::start(&pool, "a").unwrap_err();

    assert_err!(error, Pool);
    assert!(
        error.to_string().contains("file is not a database"),
        "{error}"
    );
}

#[test]
fn a_file_that_cannot_be_written_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jobs.db");
    let mut conn = SqliteConnection::establish(file.to_str().unwrap()).unwrap();
    diesel_migrations::MigrationHarness::run_pending_migrations(
        &mut conn,
        super::backend::MIGRATIONS,
    )
    .unwrap();
    Job::create_and_save(&mut conn, "a", JobUpdates::default()).unwrap();
    let url = format!("file:{}?mode=ro", file.display());
    let read_only: TestPool = Pool::builder().build_unchecked(ConnectionManager::new(url));

    for error in [
        Job::start(&read_only, "a").unwrap_err(),
        Job::run_next(&read_only, |_, _| Ok(())).unwrap_err(),
        Job::create_and_save(&read_only, "b", JobUpdates::default()).unwrap_err(),
    ] {
        assert_err!(error, Database);
        assert!(error.to_string().contains("readonly database"), "{error}");
    }
    let job = Job::find(&read_only, "a").unwrap().unwrap();
    assert_eq!((job.status, job.lock), (Status::Pending, None));
}

/// Panics when a call asks more than any call has to.
fn bounded(pool: &TestPool) {
    let mut asked = 0;
    pool.get()
        .unwrap()
        .set_instrumentation(move |event: InstrumentationEvent<'_>| {
            asked += usize::from(matches!(event, InstrumentationEvent::StartQuery { .. }));
            assert!(asked < 2000, "it asks for ever");
        });
}

/// A connection that was opened while the file could not be written to stays
/// as it is when the file can be again.
#[test]
fn a_connection_that_only_reads_is_replaced() {
    let db = TestDb::new();
    Job::create_and_save(&db.pool(1), "a", JobUpdates::default()).unwrap();
    let is_first = AtomicBool::new(true);
    let pool = pool_with(db.url(), 1, move |conn| {
        if is_first.swap(false, Ordering::Relaxed) {
            conn.batch_execute("PRAGMA query_only = ON").unwrap();
        }
    });
    Job::run_job(&pool, "a", |_, _| Ok(())).unwrap();
    assert_eq!(row(&db, "a").status, Status::Succeeded);
}

/// Another program may hold the file for longer than all tries of a claim.
#[test]
fn a_worker_whose_first_look_finds_the_file_locked_does_not_end() {
    let db = TestDb::new();
    Job::create_and_save(&db.pool(1), "a", JobUpdates::default()).unwrap();
    let mut other = SqliteConnection::establish(db.url()).unwrap();
    other.batch_execute("BEGIN IMMEDIATE").unwrap();
    let (other, refusals) = (Arc::new(Mutex::new(Some(other))), AtomicUsize::new(0));
    let refusals = Arc::new(refusals);
    let pool = pool_with(db.url(), 1, move |conn| {
        impatient(conn);
        let (other, refusals) = (Arc::clone(&other), Arc::clone(&refusals));
        Log::default().watch_and(conn, move |event| {
            let is_refusal = matches!(event, Event::Failed(text) if text.contains("locked"));
            if is_refusal && refusals.fetch_add(1, Ordering::Relaxed) == 11 {
                drop(other.lock().unwrap().take());
            }
        });
    });

    let done = Job::worker(&pool).threads(1).run_until_empty(|_, _| Ok(()));

    assert_eq!(done.unwrap(), summary(|s| s.succeeded = 1));
}

#[test]
fn a_lock_time_in_another_format_does_not_make_start_loop_for_ever() {
    struct Hasty;
    step! { Hasty on Job { const LOCK_EXPIRE: Duration = Duration::from_millis(1); } }
    let db = TestDb::new();
    let pool = db.pool(1);
    Job::create_and_save(&pool, "a", JobUpdates::default()).unwrap();
    // Diesel reads it as expired, while SQLite, which compares text, does not.
    db.sql(
        "UPDATE jobs SET status = 20, lock = 'me', lock_at = strftime('%Y-%m-%dT%H:%M:%f', 'now', '-1 second')",
    );
    bounded(&pool);

    match Hasty::start(&pool, "a") {
        Ok(attempt) => attempt.succeed().unwrap(),
        Err(error) => assert!(matches!(error, Error::Locked { .. }), "{error:?}"),
    }
}

#[test]
fn a_lock_time_that_sqlite_writes_itself_expires() {
    let db = TestDb::new();
    let pool = db.pool(1);
    Job::create_and_save(&pool, "a", JobUpdates::default()).unwrap();
    db.sql("UPDATE jobs SET status = 20, lock = 'me', lock_at = datetime('now', '-1 hour')");
    bounded(&pool);

    Job::run_job(&pool, "a", |_, _| Ok(())).unwrap();

    let job = row(&db, "a");
    assert_eq!((job.status, job.retry), (Status::Succeeded, 0));
    assert_eq!(job.errors["attempt"], 1);
}

#[test]
fn errors_that_are_no_json_are_named_and_do_not_block_others() {
    let db = TestDb::new();
    let pool = db.pool(1);
    for id in ["a", "b"] {
        Job::create_and_save(&pool, id, JobUpdates::default()).unwrap();
    }
    let spoil = "UPDATE jobs SET errors = 'no paper' WHERE id = 'a'";
    let dead = "UPDATE jobs SET status = 20, lock = 'x', lock_at = '2001-01-01 00:00:00.000'";
    db.sql(&format!("{dead}; {spoil}"));

    assert_eq!(Job::expire_locks(&pool).unwrap(), 1);
    assert_eq!(Job::expire_locks(&pool).unwrap(), 0);
    for error in [
        Job::start(&pool, "a").unwrap_err(),
        Job::find(&pool, "a").unwrap_err(),
    ] {
        assert_err!(error, Database);
        assert_names(&error, "a");
    }
    Job::reset(&pool, "a").unwrap();
    let error = Job::start(&pool, "a").unwrap_err();
    assert_err!(error, Database);
    let error = Job::run_job(&pool, "b", |_, _| Ok(()));
    error.unwrap();
    assert_names(&Job::run_next(&pool, |_, _| Ok(())).unwrap_err(), "a");

    db.sql("UPDATE jobs SET errors = '{}'");
    assert_eq!(row(&db, "a").status, Status::Pending);
    Job::run_job(&pool, "a", |_, _| Ok(())).unwrap();
}

#[test]
fn a_busy_timeout_without_end_is_a_long_one() {
    #[derive(QueryableByName)]
    struct Timeout {
        #[diesel(sql_type = diesel::sql_types::BigInt)]
        timeout: i64,
    }
    for (busy_timeout, expected) in [
        (Duration::MAX, i32::MAX.into()),
        (Duration::from_secs(5), 5000),
        (Duration::ZERO, 0),
    ] {
        let customizer = Customizer {
            busy_timeout,
            ..Customizer::default()
        };
        let mut conn = SqliteConnection::establish(":memory:").unwrap();
        customizer.on_acquire(&mut conn).unwrap();
        let read = diesel::sql_query("PRAGMA busy_timeout").get_result::<Timeout>(&mut conn);
        assert_eq!(read.unwrap().timeout, expected);
    }
}

/// More of them than are looked at in one go.
#[test]
fn dead_attempts_that_a_trigger_restores_hide_no_other() {
    let db = TestDb::new();
    let pool = db.pool(1);
    let rows = (0..=100).map(|n| (n.to_string(), JobUpdates::default()));
    Job::create_many(&pool, rows).unwrap();
    db.sql(
        "UPDATE jobs SET status = 20, lock = 'of a dead worker', lock_at = '2001-01-01 00:00:00.000';
         UPDATE jobs SET lock_at = '2002-01-01 00:00:00.000' WHERE id = '7';
         CREATE TRIGGER back AFTER UPDATE ON jobs WHEN NEW.id <> '7' BEGIN
             UPDATE jobs SET status = 20, lock = OLD.lock, lock_at = OLD.lock_at WHERE id = NEW.id;
         END",
    );

    assert_eq!(Job::expire_locks(&pool).unwrap(), 101);

    assert_eq!(row(&db, "7").status, Status::Failed);
    assert_eq!(row(&db, "8").status, Status::InProgress);
}
