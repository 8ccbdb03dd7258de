//! What only MySQL can get wrong: a transaction that reads from its snapshot,
//! and a claim that takes two statements.

use std::sync::Mutex;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_status_tracker::{Error, StatusTracked};
use serde_json::json;

use super::database::{TestConnection, TestDb, TestPool};
use super::jobs::{Job, JobUpdates, Status, assert_names, data, jobs, row};
use super::pools::Log;
use super::races::Scene;

#[test]
fn a_key_that_was_taken_after_the_transaction_began_is_a_taken_key() {
    let db = TestDb::new();
    let pool = db.pool(2);

    let late = |conn: &mut TestConnection| -> QueryResult<()> {
        // From here on the transaction reads what there is now: no job.
        let seen: i64 = jobs::table.count().get_result(conn)?;
        assert_eq!(seen, 0);
        Job::create_and_save(&pool, "a", data(json!("theirs"))).unwrap();

        let absent = Job::create_if_absent(&mut *conn, "a", data(json!("mine")));
        assert_eq!(absent.unwrap(), None);
        let error = Job::create_and_save(&mut *conn, "a", data(json!("mine"))).unwrap_err();
        assert_err!(error, AlreadyExists);
        let rows = [("a", data(json!("mine"))), ("b", data(json!("mine")))];
        assert_eq!(Job::create_many(conn, rows).unwrap(), 1);
        Ok(())
    };
    db.pool(1)
        .get()
        .unwrap()
        .transaction(|conn| late(conn))
        .unwrap();

    assert_eq!(row(&db, "a").data, Some(json!("theirs")));
    assert_eq!(row(&db, "b").data, Some(json!("mine")));
}

#[test]
fn a_reset_in_a_transaction_that_sees_the_old_row_ends() {
    let db = TestDb::new();
    let pool = db.pool(1);
    Job::create_and_save(&pool, "a", JobUpdates::default()).unwrap();
    // MariaDB's default up to 11.5, and MySQL's.
    let mut conn = TestConnection::establish(db.url()).unwrap();
    conn.batch_execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        .unwrap();
    // MySQL does not know it.
    let _ = conn.batch_execute("SET innodb_snapshot_isolation = OFF");

    let late = |conn: &mut TestConnection| {
        assert!(!Job::is_locked(&mut *conn, "a").unwrap());
        let attempt = Job::start(&pool, "a").unwrap();

        let error = Job::reset(&mut *conn, "a").unwrap_err();

        assert_err!(error, Locked);
        assert_names(&error, "a");
        // What comes next in it is not refused.
        assert!(!Job::is_locked(&mut *conn, "a").unwrap());
        QueryResult::Ok(attempt)
    };
    conn.transaction(late).unwrap().succeed().unwrap();

    Job::reset(&mut conn, "a").unwrap();
    assert_eq!(row(&db, "a").status, Status::Pending);
}

#[test]
fn a_claimed_job_that_cannot_be_read_is_released() {
    let db = TestDb::new();
    let pool = db.pool(1);
    Job::create_and_save(&pool, "a", JobUpdates::default()).unwrap();
    // As where the program is deployed before its migration.
    db.sql("ALTER TABLE jobs DROP COLUMN data");

    type Claim = fn(&TestPool) -> Result<(), Error>;
    let claims: [Claim; 2] = [
        |pool| Job::start(pool, "a").map(drop),
        |pool| Job::run_next(pool, |_, _| Ok(())).map(drop),
    ];
    for claim in claims {
        let error = claim(&pool).unwrap_err();
        assert_err!(error, Database);
        let seen: (Status, Option<String>) = jobs::table
            .select((jobs::status, jobs::lock))
            .get_result(&mut *db.conn())
            .unwrap();
        assert_eq!(seen, (Status::Pending, None));
    }
}

/// The jobs "a" and "b", and "c10" to "c39".
fn with_thirty_more(log: Log) -> Scene {
    let scene = Scene::watched_by(log);
    for n in 10..40 {
        Job::create_and_save(&scene.pool, format!("c{n}"), JobUpdates::default()).unwrap();
    }
    scene
}

/// It reads a longer list, and does not wait for the next search from the front.
#[test]
fn a_worker_that_lost_all_jobs_of_its_list_to_others_looks_behind_them() {
    let log = Log::default();
    let scene = with_thirty_more(log.clone());
    let other = scene.other.clone();
    // After the claim of "a", and its success.
    scene.before_nth(3, "UPDATE", move || {
        let list = Job::claim_next(&other, 17).unwrap();
        assert_eq!((&*list[0].id, &*list[16].id), ("b", "c25"));
        std::mem::forget(list);
    });
    log.take();

    let searches = Mutex::new(Vec::new());
    let second = Mutex::new(None);
    let worker = Job::worker(&scene.pool).threads(1).batch(1);
    let done = worker.run_until_empty(|job, _| {
        let mut searches = searches.lock().unwrap();
        let statements = log.statements().into_iter();
        searches.extend(statements.filter(|sql| sql.contains("UNION ALL")));
        if job.id != "a" {
            second
                .lock()
                .unwrap()
                .get_or_insert_with(|| searches.clone());
        }
        Ok(())
    });
    done.unwrap();

    scene.assert_done();
    let searches = second.into_inner().unwrap().unwrap();
    let are_from_the_front = searches.iter().map(|sql| !sql.contains(">="));
    assert_eq!(are_from_the_front.collect::<Vec<_>>(), [true, false, false]);
}

/// Who loses the first job of a list goes on at a random one, so that two workers do not
/// meet at each job. Those before it are not left to the next search from the front.
#[test]
fn a_worker_that_lost_a_job_to_another_passes_over_no_job() {
    let scene = with_thirty_more(Log::default());
    let other = scene.other.clone();
    scene.before("UPDATE", move || {
        std::mem::forget(Job::start(&other, "a").unwrap());
    });

    let ran = Mutex::new(Vec::new());
    let worker = Job::worker(&scene.pool).threads(1).batch(1);
    let done = worker.run_until_empty(|job, _| {
        ran.lock().unwrap().push(job.id.clone());
        Ok(())
    });
    done.unwrap();

    scene.assert_done();
    let ran = ran.into_inner().unwrap();
    assert_eq!(ran.len(), 31);
    assert!(ran[1..].is_sorted(), "{ran:?}");
}
