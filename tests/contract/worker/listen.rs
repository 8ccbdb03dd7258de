//! A worker that listens begins at once with what other programs make ready. All workers
//! here look at the table once an hour by themselves, once they listen.
//!
//! To a worker for `Own`, the calls for `Job` are those of another program.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use diesel::prelude::*;
use diesel_status_tracker::{Listener, StatusTracked};

use super::database::{TestConnection, TestDb, TestPool, UNREACHABLE};
use super::jobs::{Job, JobUpdates, Status, jobs as job_rows};
use super::worker::{NEVER, until};

/// A test that would hang is to fail.
const LONG: Duration = Duration::from_secs(60);

pub type TestListener = Listener<TestConnection>;

#[derive(Queryable, Selectable)]
#[diesel(table_name = job_rows)]
pub struct Own {
    id: String,
}

step! { Own on Own {} }
tracked! {
    Own in job_rows { key: (id: String), status: Status, updates: JobUpdates, status_field: none }
}

/// Runs a worker while `then` works, which gets what tells the keys of the jobs in the
/// order in which they begin.
pub fn with_worker(
    pool: &TestPool,
    listener: &TestListener,
    then: impl FnOnce(&dyn Fn() -> String),
) {
    let worker = Own::worker(pool)
        .threads(2)
        .poll_every(NEVER)
        .listen(listener);
    let handle = worker.handle();
    let (begun, begins) = mpsc::channel();
    thread::scope(|scope| {
        let running = scope.spawn(|| worker.run(move |job, _| Ok(begun.send(job.id.clone())?)));
        // Also when `then` panics, so that the test ends.
        let stop = Stop(&handle);
        then(&|| begins.recv_timeout(LONG).expect("the worker is not woken"));
        drop(stop);
        running.join().unwrap().unwrap();
    });
}

struct Stop<'a>(&'a diesel_status_tracker::WorkerHandle);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.shutdown();
    }
}

/// Creates the job, as another program does.
pub fn create(db: &TestDb, id: &str) {
    Job::create_and_save(&mut *db.conn(), id, JobUpdates::default()).unwrap();
}

/// Waits until the job has succeeded.
fn succeeded(db: &TestDb, id: &str) {
    until(format_args!("{id} has succeeded"), || {
        let status = job_rows::table.find(id).select(job_rows::status);
        status.get_result(&mut *db.conn()) == Ok(Status::Succeeded)
    });
}

#[test]
fn a_listener_that_cannot_connect_leaves_the_worker_to_its_looks() {
    let db = TestDb::new();
    let pool = db.pool(4);
    let listener = Listener::at(UNREACHABLE[0]);
    with_worker(&pool, &listener, |begun| {
        create(&db, "a");
        assert_eq!(begun(), "a");
        assert!(!listener.is_listening());
    });
}

#[test]
fn a_listener_that_panics_leaves_the_worker_to_its_looks() {
    let db = TestDb::new();
    let pool = db.pool(4);
    let listener = Listener::new(|| panic!("no line"));
    with_worker(&pool, &listener, |begun| {
        create(&db, "a");
        assert_eq!(begun(), "a");
    });
}

#[test]
fn a_listener_that_hangs_delays_neither_the_looks_nor_the_end_of_a_worker() {
    let db = TestDb::new();
    let pool = db.pool(4);
    let (release, released) = mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let listener = Listener::new(move || {
        // Until the test is over: then the sender is gone.
        let _ = released.lock().unwrap().recv();
        Err(ConnectionError::BadConnection("too late".into()))
    });
    with_worker(&pool, &listener, |begun| {
        create(&db, "a");
        assert_eq!(begun(), "a");
    });
    drop(release);
}

#[test]
fn between_two_bounds_looks_follow_the_work() {
    let db = TestDb::new();
    let pool = db.pool(4);
    let worker = Own::worker(&pool).poll_between(Duration::from_millis(1)..=NEVER);
    let handle = worker.handle();
    let (begun, begins) = mpsc::channel();
    thread::scope(|scope| {
        let running = scope.spawn(|| worker.run(move |job, _| Ok(begun.send(job.id.clone())?)));
        let stop = Stop(&handle);
        for id in ["a", "b", "c"] {
            create(&db, id);
            assert_eq!(begins.recv_timeout(LONG).unwrap(), id);
            succeeded(&db, id);
        }
        drop(stop);
        running.join().unwrap().unwrap();
    });
}

only! { [mysql]
    #[test]
    fn where_the_database_tells_nothing_the_worker_looks_each_second() {
        let db = TestDb::new();
        let pool = db.pool(4);
        let listener = Listener::at(db.url());
        with_worker(&pool, &listener, |begun| {
            create(&db, "a");
            assert_eq!(begun(), "a");
            assert!(!listener.is_listening());
        });
    }
}

only! { [sqlite postgres]
    pub fn is_listening(listener: &TestListener) {
        until("listening", || listener.is_listening());
    }

    mod told {
        use super::*;

        use std::sync::atomic::{AtomicBool, Ordering};

        use diesel_status_tracker::{BoxError, clock::ago};

        use super::super::backend::listened_url;
        use super::super::pools::{Log, pool_with};

        const LETTERS: &str = "CREATE TABLE letters (
            id INTEGER NOT NULL PRIMARY KEY, status INTEGER NOT NULL, create_at DATETIME(6) NOT NULL,
            update_at DATETIME(6) NOT NULL, `lock` VARCHAR(32), lock_at DATETIME(6), retry INTEGER NOT NULL,
            errors JSON NOT NULL
        )";

        diesel::table! {
            letters (id) {
                id -> Integer, status -> Integer, create_at -> Timestamp, update_at -> Timestamp, lock -> Nullable<Text>,
                lock_at -> Nullable<Timestamp>, retry -> Integer, errors -> Json,
            }
        }

        #[derive(Queryable, Selectable)]
        #[diesel(table_name = letters)]
        struct Letter {
            id: i32,
        }

        tracked! { Letter in letters { key: (id: i32), status: Status, status_field: none } }
        step! { Letter on Letter {} }

        fn listener(db: &TestDb) -> TestListener {
            Listener::at(listened_url(db.url()))
        }

        /// Inserts a row by plain SQL.
        fn insert(db: &TestDb, id: &str, status: Status) {
            let now = ago(Duration::ZERO);
            diesel::insert_into(job_rows::table)
                .values((
                    job_rows::id.eq(id),
                    job_rows::status.eq(status),
                    job_rows::create_at.eq(now),
                    job_rows::update_at.eq(now),
                    job_rows::retry.eq(0),
                    job_rows::errors.eq(serde_json::json!({})),
                ))
                .execute(&mut *db.conn())
                .unwrap();
        }

        #[test]
        fn what_other_programs_make_ready_is_begun_at_once() {
            let db = TestDb::new();
            // Of one connection: the listener takes none from the pool.
            let pool = db.pool(1);
            let listener = listener(&db);
            with_worker(&pool, &listener, |begun| {
                is_listening(&listener);
                for round in 0..10 {
                    let id = format!("call {round}");
                    create(&db, &id);
                    assert_eq!(begun(), id);
                    let id = format!("plain {round}");
                    insert(&db, &id, Status::Pending);
                    assert_eq!(begun(), id);
                    succeeded(&db, &id);
                    Job::reset(&mut *db.conn(), &id).unwrap();
                    assert_eq!(begun(), id);
                    succeeded(&db, &id);
                    let again = diesel::update(job_rows::table.find(&id));
                    let again = again.set(job_rows::status.eq(Status::Failed));
                    again.execute(&mut *db.conn()).unwrap();
                    assert_eq!(begun(), id);
                    let rows = (0..3).map(|n| (format!("many {round} {n}"), JobUpdates::default()));
                    assert_eq!(Job::create_many(&mut *db.conn(), rows).unwrap(), 3);
                    let mut many = [begun(), begun(), begun()];
                    many.sort_unstable();
                    assert_eq!(many, [0, 1, 2].map(|n| format!("many {round} {n}")));
                }
            });
            assert!(!listener.is_listening());
        }

        #[test]
        fn what_was_created_before_anybody_listened_is_found() {
            let db = TestDb::new();
            let pool = db.pool(4);
            let let_go = std::sync::Arc::new(AtomicBool::new(false));
            let (may, url) = (let_go.clone(), listened_url(db.url()));
            let listener = Listener::new(move || match may.load(Ordering::SeqCst) {
                true => TestConnection::establish(&url),
                false => Err(ConnectionError::BadConnection("not yet".into())),
            });
            with_worker(&pool, &listener, |begun| {
                create(&db, "a");
                let_go.store(true, Ordering::SeqCst);
                assert_eq!(begun(), "a");
                is_listening(&listener);
                create(&db, "b");
                assert_eq!(begun(), "b");
            });
        }

        #[test]
        fn a_job_of_an_open_transaction_is_begun_when_that_commits() {
            let db = TestDb::new();
            let pool = db.pool(4);
            let listener = listener(&db);
            with_worker(&pool, &listener, |begun| {
                is_listening(&listener);
                db.conn()
                    .transaction(|conn| {
                        // Of the worker's own type: the call wakes it too early.
                        Own::create_and_save(&mut *conn, "a", JobUpdates::default()).unwrap();
                        QueryResult::Ok(())
                    })
                    .unwrap();
                assert_eq!(begun(), "a");
            });
        }

        #[test]
        fn one_listener_serves_workers_of_several_tables_that_come_and_go() {
            let db = TestDb::with_table(LETTERS);
            db.raw_sql(&super::super::backend::notifies("letters"));
            let pool = db.pool(6);
            let listener = listener(&db);
            let letter = |id: i32| {
                let now = ago(Duration::ZERO);
                let row = (
                    letters::id.eq(id),
                    letters::status.eq(10),
                    letters::create_at.eq(now),
                    letters::update_at.eq(now),
                    letters::retry.eq(0),
                    letters::errors.eq(serde_json::json!({})),
                );
                diesel::insert_into(letters::table).values(row).execute(&mut *db.conn()).unwrap();
            };
            with_worker(&pool, &listener, |begun| {
                is_listening(&listener);
                for round in 0..3 {
                    let worker = Letter::worker(&pool).threads(1).poll_every(NEVER).listen(&listener);
                    let handle = worker.handle();
                    let (letter_begun, letter_begins) = mpsc::channel();
                    thread::scope(|scope| {
                        let work = |letter: &Letter| Ok::<_, BoxError>(letter_begun.send(letter.id)?);
                        let running = scope.spawn(move || worker.run(|letter, _| work(letter)));
                        let stop = Stop(&handle);
                        for n in 0..3 {
                            let id = 10 * round + n;
                            letter(id);
                            assert_eq!(letter_begins.recv_timeout(LONG).unwrap(), id);
                            create(&db, &id.to_string());
                            assert_eq!(begun(), id.to_string());
                        }
                        drop(stop);
                        running.join().unwrap().unwrap();
                    });
                    assert!(listener.is_listening());
                }
            });
            assert!(!listener.is_listening());
        }

        #[test]
        fn many_changes_that_make_no_job_ready_cause_few_looks() {
            const CHANGES: usize = 500;
            let (db, log) = (TestDb::new(), Log::default());
            let watched = log.clone();
            let pool = pool_with(db.url(), 2, move |conn| watched.watch(conn));
            let listener = listener(&db);
            with_worker(&pool, &listener, |begun| {
                is_listening(&listener);
                log.take();
                for n in 0..CHANGES {
                    insert(&db, &format!("done {n}"), Status::Succeeded);
                }
                let looks = log.statements().len();
                assert!(looks < CHANGES / 4, "{looks} statements for {CHANGES} changes");
                create(&db, "a");
                assert_eq!(begun(), "a");
            });
        }

        #[test]
        fn a_worker_that_listens_sends_no_statement_while_nothing_changes() {
            let (db, log) = (TestDb::new(), Log::default());
            let watched = log.clone();
            let pool = pool_with(db.url(), 2, move |conn| watched.watch(conn));
            let listener = listener(&db);
            with_worker(&pool, &listener, |begun| {
                is_listening(&listener);
                create(&db, "a");
                assert_eq!(begun(), "a");
                succeeded(&db, "a");
                // Its own changes cause a last look. Then there are two hundred ticks.
                let mut quiet = 0;
                until("quiet", || {
                    quiet = if log.take().is_empty() { quiet + 1 } else { 0 };
                    quiet == 400
                });
            });
        }
    }
}
