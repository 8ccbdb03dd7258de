//! What a table over an enum of connections has besides: transactions of the enum,
//! many rows, a connection that is not listed.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use diesel::prelude::*;
use diesel_status_tracker::{BoxError, Error, RunningJob, StatusTracked, Worker};
use serde_json::json;

use super::database::{DbConnection, TestDb, TestPool};
use super::jobs::{Job, JobUpdates, Status, age_lock, data, history, jobs, row};

diesel::table! {
    ledger (job) {
        job -> Text,
    }
}

const LEDGER: &str = "CREATE TABLE ledger (job VARCHAR(40) PRIMARY KEY)";

/// A database with these jobs, none of which has run.
fn with_jobs(ids: &[&str]) -> (TestDb, TestPool) {
    let db = TestDb::with_table(LEDGER);
    let pool = db.pool(3);
    let rows = ids.iter().map(|id| (*id, JobUpdates::default()));
    assert_eq!(Job::create_many(&pool, rows).unwrap(), ids.len());
    (db, pool)
}

/// A write of the user's, in Diesel's DSL, on the enum.
fn book(conn: &mut DbConnection, job: &str) -> QueryResult<usize> {
    diesel::insert_into(ledger::table)
        .values(ledger::job.eq(job.to_owned()))
        .execute(conn)
}

fn booked(db: &TestDb) -> Vec<String> {
    let jobs = ledger::table.select(ledger::job).order(ledger::job);
    jobs.load(&mut *db.conn()).unwrap()
}

#[test]
fn the_writes_of_a_transaction_are_committed_with_the_success() {
    let (db, pool) = with_jobs(&["a"]);

    Job::run_job_in_transaction(&pool, "a", |conn, job, updates| {
        updates.data = Some(json!(1));
        Ok(book(conn, &job.id)?)
    })
    .unwrap();

    assert_eq!(booked(&db), ["a"]);
    let job = row(&db, "a");
    assert_eq!((job.status, job.data), (Status::Succeeded, Some(json!(1))));
}

#[test]
fn a_failed_transaction_leaves_nothing_but_the_failure() {
    let (db, pool) = with_jobs(&["a"]);

    let failed = Job::run_job_in_transaction(&pool, "a", |conn, _, _| {
        book(conn, "a")?;
        Err::<(), BoxError>("no paper".into())
    });

    assert!(matches!(failed, Err(Error::Failed { .. })), "{failed:?}");
    assert!(booked(&db).is_empty());
    assert_eq!(history(&row(&db, "a")), ["no paper"]);
}

/// Also where the database ends the transaction at the error, or goes on after it.
#[test]
fn an_error_of_a_statement_that_the_work_ignores_does_not_commit_a_part() {
    let (db, pool) = with_jobs(&["a"]);

    let result = Job::run_job_in_transaction(&pool, "a", |conn, _, _| {
        book(conn, "a")?;
        let _ignored = book(conn, "a");
        Ok(())
    });

    let is_succeeded = row(&db, "a").status == Status::Succeeded;
    assert_eq!(is_succeeded, result.is_ok());
    assert_eq!(is_succeeded, booked(&db).len() == 1);
}

#[test]
fn a_worker_runs_each_job_in_a_transaction_of_the_enum() {
    let (db, pool) = with_jobs(&["a", "b", "c"]);
    let tries = AtomicUsize::new(0);

    let worker: Worker<Job, DbConnection> = Job::worker(&pool).threads(2).batch(3);
    let summary = worker.run_in_transaction_until_empty(|conn, job, _| {
        book(conn, &job.id)?;
        match tries.fetch_add(1, Ordering::Relaxed) {
            0 => Err("the first one fails".into()),
            _ => Ok(()),
        }
    });

    let summary = summary.unwrap();
    assert_eq!((summary.succeeded, summary.failed), (3, 1));
    assert_eq!(booked(&db), ["a", "b", "c"]);
}

#[test]
fn a_call_takes_part_in_an_open_transaction_of_the_enum() {
    let (db, pool) = with_jobs(&["a", "b"]);
    let conn = &mut *pool.get().unwrap();

    let undone = conn.transaction(|conn| {
        Job::create_and_save(&mut *conn, "c", data(json!(1)))?;
        Job::create_many(&mut *conn, [("d", JobUpdates::default())])?;
        assert_eq!(Job::reset_many(&mut *conn, ["a", "c"])?, 2);
        assert!(Job::find(&mut *conn, "c")?.is_some());
        Err::<(), BoxError>("undo".into())
    });

    assert_eq!(undone.unwrap_err().to_string(), "undo");
    assert!(Job::find(&mut *conn, "c").unwrap().is_none());
    Job::create_and_save(conn, "c", JobUpdates::default()).unwrap();
    assert_eq!(row(&db, "c").status, Status::Pending);
}

#[test]
fn a_lost_attempt_is_expired_and_old_rows_are_pruned() {
    let (db, pool) = with_jobs(&["a", "b"]);
    let attempt: RunningJob<Job, DbConnection> = Job::start(&pool, "a").unwrap();
    attempt.save(data(json!("half"))).unwrap();
    age_lock(&db, "a");

    assert_eq!(Job::expire_locks(&pool).unwrap(), 1);
    let lost = attempt.succeed();
    assert!(matches!(lost, Err(Error::LockLost { .. })), "{lost:?}");
    assert_eq!(row(&db, "a").data, Some(json!("half")));

    Job::run_job(&pool, "b", |_, _| Ok(())).unwrap();
    let hour_ago = jobs::update_at.eq(diesel_status_tracker::clock::ago(Duration::from_secs(3600)));
    let b = diesel::update(jobs::table.find("b")).set(hour_ago);
    b.execute(&mut *db.conn()).unwrap();
    let pruned = Job::prune(&pool, &[Job::SUCCEEDED], Duration::from_secs(60));
    assert_eq!(pruned.unwrap(), 1);
    assert!(Job::find(&pool, "b").unwrap().is_none());
}

/// Tracked over the enum, but only over a connection that this database has not.
mod elsewhere {
    use super::super::jobs::{JobUpdates, Status, jobs};
    use diesel::prelude::*;

    #[derive(Debug, Queryable, Selectable)]
    #[diesel(table_name = jobs)]
    pub struct Elsewhere {
        #[allow(dead_code, reason = "the status is read from the row")]
        pub status: Status,
    }

    step! { Elsewhere on Elsewhere {} }

    tracked_elsewhere! {
        Elsewhere in jobs { key: (id: String), status: Status, updates: JobUpdates }
    }
}

#[test]
fn a_connection_that_is_not_listed_is_named() {
    use elsewhere::Elsewhere;

    let (_db, pool) = with_jobs(&["a"]);
    let conn = &mut *pool.get().unwrap();
    let errors = [
        Elsewhere::create_and_save(&pool, "b", JobUpdates::default()).unwrap_err(),
        Elsewhere::create_many(&pool, [("b", JobUpdates::default())]).unwrap_err(),
        Elsewhere::find(&mut *conn, "a").unwrap_err(),
        Elsewhere::reset(&pool, "a").unwrap_err(),
        Elsewhere::reset_many(&pool, ["a"]).unwrap_err(),
        Elsewhere::start(&pool, "a").unwrap_err(),
        Elsewhere::claim_next(&pool, 3).unwrap_err(),
        Elsewhere::worker(&pool)
            .run_until_empty(|_, _| Ok(()))
            .unwrap_err(),
    ];

    for error in errors {
        assert!(matches!(error, Error::Misconfigured { .. }), "{error:?}");
        let message = error.to_string();
        assert!(
            message.starts_with("jobs cannot be tracked: ")
                && message.contains("Connection, which its `job_table!` does not list"),
            "{message}"
        );
    }
}

#[test]
fn a_condition_is_sent_over_the_connection_that_the_enum_holds() {
    let (db, pool) = with_jobs(&["a", "b", "c", "d"]);

    let first = Job::filter(jobs::id.eq("b")).run_next(&pool, |job, _| Ok(job.id.clone()));
    assert_eq!(first.unwrap().as_deref(), Some("b"));
    let some = Job::filter(jobs::id.eq_any(["b", "d"])).filter(jobs::status.eq(10));
    let worker = some.worker(&pool);
    let done = worker.batch(5).run_until_empty(|_, _| Ok(())).unwrap();

    assert_eq!(done.succeeded, 1);
    for (id, status) in [("a", Status::Pending), ("d", Status::Succeeded)] {
        assert_eq!(row(&db, id).status, status);
    }
}
