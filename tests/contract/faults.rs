//! Lines that break, on databases behind a network.

use std::mem::ManuallyDrop;
use std::time::Duration;

use diesel::prelude::*;
use diesel_status_tracker::{Error, RunningJob, StatusTracked};
use serde_json::json;

use super::database::{TestConnection, TestDb, TestPool, pool_at};
use super::jobs::{Job, JobUpdates, Status, age_lock, assert_names, data, jobs, row};
use super::own_statements::{CLAIM, CLAIM_NEXT};
use super::proxy::{Proxy, Turn};
use super::sessions;

type Attempt = RunningJob<Job, TestConnection>;

/// A database with the job "a", and a way to it that can be cut.
pub fn one_job_behind_proxy() -> (TestDb, Proxy, TestPool) {
    let db = TestDb::new();
    let proxy = Proxy::to(db.url());
    let pool = pool_at(proxy.url(), 1, Duration::from_secs(30));
    create(&db, "a");
    (db, proxy, pool)
}

/// Holds that the job has succeeded at its first attempt.
pub fn assert_succeeded(db: &TestDb, id: &str) {
    let job = row(db, id);
    assert_eq!((job.status, job.retry), (Status::Succeeded, 0), "{job:?}");
    assert_eq!((&job.lock, &job.errors), (&None, &json!({})), "{job:?}");
    assert_eq!(job.data, Some(json!("new")), "{job:?}");
}

pub fn create(db: &TestDb, id: &str) {
    Job::create_and_save(&mut *db.conn(), id, data(json!("old"))).unwrap();
}

#[test]
fn a_pool_full_of_dead_connections_still_runs_a_job() {
    // More than the tries that a passing error gets.
    const CONNECTIONS: u32 = 16;
    let ends: [fn(&TestDb, &Proxy, &[i64]); 2] = [
        |_, proxy, _| proxy.cut_all(),
        |db, _, numbers| {
            numbers
                .iter()
                .for_each(|number| sessions::end(&mut db.conn(), *number))
        },
    ];
    for end in ends {
        let (db, proxy, _) = one_job_behind_proxy();
        let pool = pool_at(proxy.url(), CONNECTIONS, Duration::from_secs(30));
        let mut held: Vec<_> = (0..CONNECTIONS).map(|_| pool.get().unwrap()).collect();
        let numbers: Vec<_> = held.iter_mut().map(|conn| sessions::number(conn)).collect();
        drop(held);
        assert_eq!(pool.state().idle_connections, CONNECTIONS);
        end(&db, &proxy, &numbers);

        Job::run_job(&pool, "a", |_, updates| Ok(*updates = data(json!("new")))).unwrap();

        assert_succeeded(&db, "a");
        assert!(pool.state().connections < CONNECTIONS);
        // What cannot be repeated needs a connection that lives, too.
        Job::create_many(&pool, [("b", JobUpdates::default())]).unwrap();
    }
}

#[test]
fn an_outcome_counts_as_written_after_a_lost_answer_and_a_lost_renewal() {
    let (db, proxy, pool) = one_job_behind_proxy();
    let mut attempt = Job::start(&pool, "a").unwrap();
    attempt.updates = data(json!("new"));

    proxy.cut(Turn::Answer, 1);
    attempt.renew().unwrap();
    assert!(!proxy.spare());
    // The renewal is to be prepared once more, the finish for the first time.
    attempt.renew().unwrap();
    Job::create_and_save(&pool, "b", JobUpdates::default()).unwrap();
    Job::run_job(&pool, "b", |_, updates| Ok(*updates = data(json!("new")))).unwrap();
    proxy.cut(Turn::Answer, 1);
    attempt.succeed().unwrap();

    assert!(!proxy.spare());
    assert_succeeded(&db, "a");
}

#[test]
fn in_a_transaction_of_the_callers_a_broken_line_is_an_error_at_once() {
    let (db, proxy, pool) = one_job_behind_proxy();
    let before = row(&db, "a");
    let mut conn = pool.get().unwrap();

    let ended = conn.transaction::<(), _, _>(|conn| {
        diesel::delete(jobs::table.find("a")).execute(conn)?;
        proxy.cut(Turn::Request, 1);
        let error = Job::create_and_save(&mut *conn, "b", JobUpdates::default()).unwrap_err();
        assert_err!(error, Database);
        assert_names(&error, "b");
        Err(diesel::result::Error::RollbackTransaction)
    });

    ended.unwrap_err();
    let ids: Vec<String> = jobs::table.select(jobs::id).load(&mut *db.conn()).unwrap();
    assert_eq!((ids, row(&db, "a")), (vec!["a".to_owned()], before));
}

#[test]
fn a_server_that_stays_away_is_an_error_and_the_job_recovers_by_expiry() {
    let writes: [fn(Attempt) -> Result<(), Error>; 4] = [
        |attempt| attempt.succeed(),
        |attempt| attempt.fail("no paper"),
        |attempt| ManuallyDrop::new(attempt).renew(),
        |attempt| ManuallyDrop::new(attempt).save(JobUpdates::default()),
    ];
    for write in writes {
        let (db, proxy, _) = one_job_behind_proxy();
        let pool = pool_at(proxy.url(), 1, Duration::from_millis(50));
        while pool.get().is_err() {} // connects, however long that takes
        let attempt = Job::start(&pool, "a").unwrap();
        let held = row(&db, "a");

        proxy.goes_away();
        let error = write(attempt).unwrap_err();

        assert_err!(error, Database);
        assert_names(&error, "a");
        assert_eq!(row(&db, "a"), held);
        let error = Job::start(&pool, "a").unwrap_err();
        assert_err!(error, Pool);

        proxy.returns();
        let pool = pool_at(proxy.url(), 1, Duration::from_secs(30));
        age_lock(&db, "a");
        assert_eq!(Job::expire_locks(&pool).unwrap(), 1);
        let job = row(&db, "a");
        assert_eq!((job.status, job.retry), (Status::Failed, 1));
        assert_eq!(job.data, Some(json!("old")));
        Job::run_job(&pool, "a", |_, _| Ok(())).unwrap();
    }
}

#[test]
fn a_job_asks_the_server_once_a_statement_and_never_for_a_ping() {
    let (db, proxy, pool) = one_job_behind_proxy();
    for id in ["b", "c", "d"] {
        create(&db, id);
    }
    let ask = || {
        let before = proxy.requests();
        Job::run_job(&pool, "a", |_, _| Ok(())).unwrap();
        let by_key = proxy.requests() - before;
        Job::run_next(&pool, |_, _| Ok(())).unwrap().unwrap();
        Job::reset(&pool, "a").unwrap();
        [by_key, proxy.requests() - before - by_key - 1]
    };
    ask(); // prepares

    assert_eq!(ask(), [CLAIM.len() + 1, CLAIM_NEXT.len() + 1]);
}
