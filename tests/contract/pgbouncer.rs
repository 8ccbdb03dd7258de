//! Behind PgBouncer in transaction mode, where each transaction gets another
//! session of the server.

use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::r2d2::CustomizeConnection;
use diesel_status_tracker::postgres::Customizer;
use diesel_status_tracker::{BoxError, Error, StatusTracked};
use serde_json::json;

use super::backend::open_behind_pgbouncer;
use super::database::{TestConnection, TestDb, TestPool};
use super::jobs::{Job, JobUpdates, Status, age_lock, assert_names, data, row};
use super::pools::{Event, Log, pool_with};
use super::transaction::{LEDGER, NOBODY, book, bookings};
use super::worker::{create, rows};

fn behind_pgbouncer() -> TestDb {
    let db = TestDb::at(open_behind_pgbouncer());
    db.sql(LEDGER);
    db
}

/// A pool as the documentation wants it.
pub fn right(db: &TestDb, size: u32) -> TestPool {
    let customizer = Customizer {
        prepared_statements: false,
        ..Customizer::default()
    };
    pool_with(db.url(), size, move |conn| {
        customizer.on_acquire(conn).unwrap();
    })
}

/// A pool that prepares statements, with a log of what it does.
fn wrong(db: &TestDb) -> (TestPool, Log) {
    let log = Log::default();
    let watched = log.clone();
    (pool_with(db.url(), 2, move |conn| watched.watch(conn)), log)
}

/// Whether PostgreSQL has said so.
fn is_shared_session(error: &Error) -> bool {
    matches!(error, Error::SharedSession { .. })
}

#[test]
fn without_prepared_statements_every_call_works() {
    let db = behind_pgbouncer();
    let pool = right(&db, 4);
    create(&pool, 9);

    std::thread::scope(|scope| {
        for id in ["0", "1", "2", "3"] {
            let pool = &pool;
            scope.spawn(move || {
                Job::run_job(pool, id, |job, updates| {
                    job.renew()?;
                    job.save(data(json!("half")))?;
                    Ok(*updates = data(json!(id)))
                })
                .unwrap();
            });
        }
    });
    let failed = Job::run_job(&pool, "4", |_, _| Err::<(), _>("no paper".into()));
    assert_err!(failed.unwrap_err(), Failed);
    Job::run_next(&pool, |_, _| Ok(())).unwrap().unwrap();
    for attempt in Job::claim_next(&pool, 2).unwrap() {
        attempt.succeed().unwrap();
    }
    Job::run_job_in_transaction(&pool, "8", |conn, job, _| {
        book(conn, &job.id, 1)?;
        Ok(())
    })
    .unwrap();
    let rolled_back = Job::run_job_in_transaction(&pool, "4", |conn, job, _| {
        book(conn, &job.id, 1)?;
        Err::<(), BoxError>("no ink".into())
    });
    assert!(rolled_back.is_err());
    assert_eq!(
        (bookings(&db, "8"), bookings(&db, "4")),
        (vec![1], NOBODY.into())
    );

    Job::reset(&pool, "4").unwrap();
    std::mem::forget(Job::start(&pool, "4").unwrap());
    age_lock(&db, "4");
    assert_eq!(Job::expire_locks(&pool).unwrap(), 1);
    let done = Job::worker(&pool)
        .threads(2)
        .batch(3)
        .run_until_empty(|_, _| Ok(()));
    assert_eq!(done.unwrap().succeeded, 1);
    assert!(rows(&db).iter().all(|job| job.status == Status::Succeeded));

    assert_eq!(
        Job::reset_many(&pool, ["0", "1", "2", "3", "4"]).unwrap(),
        5
    );
    let worker = Job::worker(&pool).threads(4);
    let done = worker.run_in_transaction_until_empty(|conn, job, _| {
        book(conn, &job.id, 2)?;
        Ok(())
    });
    assert_eq!(done.unwrap().succeeded, 5);
    for id in ["0", "1", "2", "3", "4"] {
        assert_eq!(bookings(&db, id), [2]);
    }
    assert_eq!(
        Job::prune(&pool, &[Status::Succeeded], Duration::ZERO).unwrap(),
        9
    );
}

/// Each of them is the first that its connection prepares.
const CALLS: [fn(&TestPool) -> Result<(), Error>; 5] = [
    |pool| Job::find(pool, "a").map(drop),
    |pool| Job::start(pool, "a").map(std::mem::forget),
    |pool| Job::run_next(pool, |_, _| Ok(())).map(drop),
    |pool| Job::claim_next(pool, 5).map(std::mem::forget),
    |pool| Job::expire_locks(pool).map(drop),
];

#[test]
fn a_statement_that_is_prepared_already_is_told_of_at_once() {
    for call in CALLS {
        let db = behind_pgbouncer();
        Job::create_and_save(&mut *db.conn(), "a", JobUpdates::default()).unwrap();
        let (first, (second, log)) = (wrong(&db).0, wrong(&db));
        let before = row(&db, "a");
        Job::find(&first, "none").unwrap();

        let error = call(&second).unwrap_err();

        assert!(is_shared_session(&error), "{error:?}");
        let message = error.to_string();
        for part in ["jobs", "already exists", "prepared_statements: false"] {
            assert!(message.contains(part), "{message}");
        }
        assert!(std::error::Error::source(&error).is_some());
        let failed = |event: &Event| matches!(event, Event::Failed(_));
        assert_eq!(log.take().into_iter().filter(failed).count(), 1);
        assert_eq!(row(&db, "a"), before);
    }
}

/// How many sessions PgBouncer opens for a database and a user: its default.
const SESSIONS: usize = 20;

/// A session of the server that nobody else gets meanwhile.
fn hold_a_session(db: &TestDb) -> TestConnection {
    let mut conn = TestConnection::establish(db.url()).unwrap();
    conn.batch_execute("BEGIN").unwrap();
    conn
}

#[test]
fn a_statement_that_is_missing_is_told_of_at_once_in_any_language() {
    for language in ["C", "de_DE.UTF-8"] {
        let db = behind_pgbouncer();
        let (pool, _) = wrong(&db);
        let first = hold_a_session(&db);
        Job::find(&pool, "a").unwrap(); // prepared on a second
        let _second = hold_a_session(&db);
        drop(first);
        let mut third = hold_a_session(&db);
        let speak = format!("SET lc_messages = '{language}'; COMMIT");
        third.batch_execute(&speak).unwrap();

        let error = Job::find(&pool, "a").unwrap_err();

        assert!(is_shared_session(&error), "{error:?}");
        assert_names(&error, "a");
    }
}

/// As another client of the pooler would: what Diesel is going to prepare.
fn prepare_many(conn: &mut TestConnection) {
    conn.batch_execute(
        "DO $$ BEGIN FOR n IN 1..9 LOOP BEGIN
             EXECUTE 'PREPARE __diesel_stmt_' || n || ' AS SELECT 1';
         EXCEPTION WHEN duplicate_prepared_statement THEN NULL; END; END LOOP; END $$",
    )
    .unwrap();
}

#[test]
fn a_shared_session_in_a_jobs_transaction_is_no_failed_attempt() {
    type Work = fn(&mut TestConnection) -> Result<(), BoxError>;
    let works: [Work; 3] = [
        |conn| Ok(super::jobs::jobs::table.find("a").execute(conn).map(drop)?),
        |conn| Ok(Job::find(conn, "a").map(drop)?),
        |_| Ok(()), // the mark
    ];
    for work in works {
        let db = behind_pgbouncer();
        Job::create_and_save(&mut *db.conn(), "a", JobUpdates::default()).unwrap();
        let (pool, _) = wrong(&db);
        let attempt = Job::start(&pool, "a").unwrap();
        let held = row(&db, "a");
        prepare_many(&mut TestConnection::establish(db.url()).unwrap());

        let error = attempt
            .run_in_transaction(|conn, _, _| work(conn))
            .unwrap_err();

        assert!(is_shared_session(&error), "{error:?}");
        assert_names(&error, "a");
        assert_eq!(row(&db, "a"), held, "it recovers by expiry");
    }
}

#[test]
fn a_worker_ends_with_a_shared_session() {
    let db = behind_pgbouncer();
    create(&right(&db, 1), 3);
    let (pool, _) = wrong(&db);
    // All connections share the one session that is left.
    let _others: Vec<_> = (1..SESSIONS).map(|_| hold_a_session(&db)).collect();

    let done = Job::worker(&pool).threads(1).run(|_, _| {
        prepare_many(&mut TestConnection::establish(db.url())?);
        Ok(())
    });

    let error = done.unwrap_err();
    assert!(is_shared_session(&error), "{error:?}");
    let failed = |job: &Job| job.retry > 0 || job.status == Status::Failed;
    assert!(!rows(&db).iter().any(failed));
}

#[test]
fn a_worker_of_transactions_ends_with_a_shared_session() {
    let db = behind_pgbouncer();
    create(&right(&db, 1), 3);
    let (pool, _) = wrong(&db);

    let done = Job::worker(&pool)
        .threads(1)
        .run_in_transaction(|conn, job, _| {
            conn.transaction(|conn| Ok::<_, BoxError>(prepare_many(conn)))?;
            book(conn, &job.id, 1)?;
            Ok(())
        });

    let error = done.unwrap_err();
    assert!(is_shared_session(&error), "{error:?}");
    let failed = |job: &Job| job.retry > 0 || job.status == Status::Failed;
    assert!(!rows(&db).iter().any(failed));
}
