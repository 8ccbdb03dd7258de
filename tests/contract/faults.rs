//! Lines that break, on databases behind a network. Whatever answer is lost, a
//! job runs once, and what is not known is not claimed.

use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use diesel::prelude::*;
use diesel_status_tracker::{Error, RunningJob, StatusTracked};
use serde_json::json;

use super::database::{TestConnection, TestDb, TestPool, pool_at};
use super::jobs::{Job, JobUpdates, Status, age_lock, assert_names, data, history, jobs, row};
use super::own_statements::{CLAIM, CLAIM_NEXT};
use super::proxy::{Proxy, Turn};
use super::sessions;

type Attempt = RunningJob<Job, TestConnection>;

/// A database with the job "a", and a way to it that can be cut.
fn one_job() -> (TestDb, Proxy, TestPool) {
    let db = TestDb::new();
    let proxy = Proxy::to(db.url());
    let pool = pool_at(proxy.url(), 1, Duration::from_secs(30));
    Job::create_and_save(&db.pool(1), "a", data(json!("old"))).unwrap();
    (db, proxy, pool)
}

/// Holds that the job has succeeded at its first attempt.
fn assert_succeeded(db: &TestDb, id: &str) {
    let job = row(db, id);
    assert_eq!((job.status, job.retry), (Status::Succeeded, 0), "{job:?}");
    assert_eq!((&job.lock, &job.errors), (&None, &json!({})), "{job:?}");
    assert_eq!(job.data, Some(json!("new")), "{job:?}");
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
        let (db, proxy, _) = one_job();
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

/// Calls `work` with a cut at each place where it asks or is answered, one
/// after the other: on a connection that has prepared nothing, and on one that
/// is kept.
fn cut_everywhere(work: impl Fn(&TestDb, &TestPool, &str)) {
    for (turn, is_kept) in [Turn::Request, Turn::Answer]
        .into_iter()
        .flat_map(|turn| [(turn, false), (turn, true)])
    {
        let (db, proxy, mut pool) = one_job();
        for n in 1.. {
            if !is_kept {
                pool = pool_at(proxy.url(), 1, Duration::from_secs(30));
            }
            drop(pool.get().unwrap());
            proxy.cut(turn, n);
            work(&db, &pool, &n.to_string());
            if proxy.spare() {
                assert!(n > 1, "{turn:?} was never cut");
                break;
            }
        }
    }
}

fn create(db: &TestDb, id: &str) {
    Job::create_and_save(&mut *db.conn(), id, data(json!("old"))).unwrap();
}

#[test]
fn wherever_the_line_breaks_a_job_runs_once_and_has_succeeded() {
    cut_everywhere(|db, pool, id| {
        create(db, id);
        let runs = AtomicU32::new(0);
        let ended = Job::run_job(pool, id, |job, updates| {
            runs.fetch_add(1, Ordering::Relaxed);
            assert_eq!(**job, row(db, id));
            *updates = data(json!("new"));
            Ok("value")
        });
        assert_eq!(ended.unwrap(), "value");
        assert_eq!(runs.into_inner(), 1);
        assert_succeeded(db, id);
    });
}

#[test]
fn wherever_the_line_breaks_a_failure_is_counted_once() {
    cut_everywhere(|db, pool, id| {
        create(db, id);
        let ended = Job::run_job(pool, id, |_, updates| {
            *updates = data(json!("new"));
            Err::<(), _>("no paper".into())
        });
        assert!(matches!(ended, Err(Error::Failed { .. })), "{ended:?}");
        let job = row(db, id);
        assert_eq!(
            (job.status, job.retry, &job.lock),
            (Status::Failed, 1, &None)
        );
        assert_eq!(
            (history(&job), &job.data),
            (vec!["no paper"], &Some(json!("old")))
        );
        // Out of the way of those that follow.
        diesel::delete(jobs::table.find(id))
            .execute(&mut *db.conn())
            .unwrap();
    });
}

#[test]
fn wherever_the_line_breaks_the_next_job_is_one_and_runs_once() {
    cut_everywhere(|db, pool, id| {
        create(db, id);
        let spare = format!("{id} spare");
        Job::create_and_save(&db.pool(1), spare.as_str(), data(json!("old"))).unwrap();
        let before = [row(db, id), row(db, &spare)];

        let mut runs = 0;
        let ran = Job::run_next(pool, |job, updates| {
            runs += 1;
            *updates = data(json!("new"));
            Ok(job.id.clone())
        });

        let ran = ran.unwrap().unwrap();
        assert_eq!(runs, 1);
        assert_succeeded(db, &ran);
        let other = &before[usize::from(ran == id)];
        let now = row(db, &other.id);
        // It may have been claimed, and given back.
        let expected = Job {
            lock_at: now.lock_at,
            update_at: now.update_at,
            ..other.clone()
        };
        assert_eq!(now, expected);
        db.sql(&format!("DELETE FROM jobs WHERE id = '{}'", other.id));
    });
}

#[test]
fn wherever_the_line_breaks_a_renewed_lock_is_known_again() {
    cut_everywhere(|db, pool, id| {
        create(db, id);
        Job::run_job(pool, id, |job, updates| {
            age_lock(db, id);
            job.renew()?;
            assert_eq!(Job::expire_locks(&db.pool(1))?, 0);
            age_lock(db, id);
            job.save(data(json!("half")))?;
            assert_eq!(Job::expire_locks(&db.pool(1))?, 0);
            assert_eq!(row(db, id).data, Some(json!("half")));
            *updates = data(json!("new"));
            Ok(())
        })
        .unwrap();
        assert_succeeded(db, id);
    });
}

#[test]
fn a_finish_whose_answer_is_lost_after_a_renewal_whose_answer_was_lost_has_landed() {
    let (db, proxy, pool) = one_job();
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
fn wherever_the_line_breaks_a_job_is_created_or_its_outcome_is_told() {
    let unknown = AtomicU32::new(0);
    cut_everywhere(|db, pool, id| {
        let created = Job::create_and_save(pool, id, data(json!("mine")));

        let stands = row(db, id);
        assert_eq!(stands.data, Some(json!("mine")));
        match created {
            Ok(created) => assert_eq!(created, stands),
            Err(error @ Error::OutcomeUnknown { .. }) => {
                unknown.fetch_add(1, Ordering::Relaxed);
                assert_names(&error, id);
            }
            Err(other) => panic!("{other:?}"),
        }
    });
    assert!(unknown.into_inner() > 0);
}

#[test]
fn wherever_the_line_breaks_a_taken_key_already_exists() {
    cut_everywhere(|db, pool, id| {
        create(db, id);
        let error = Job::create_and_save(pool, id, data(json!("mine"))).unwrap_err();

        // Whose the row is cannot be told once an answer was lost.
        let is_told = matches!(
            error,
            Error::AlreadyExists { .. } | Error::OutcomeUnknown { .. }
        );
        assert!(is_told, "{error:?}");
        assert_eq!(row(db, id).data, Some(json!("old")));
    });
}

#[test]
fn wherever_the_line_breaks_a_job_is_created_if_absent() {
    let absent = AtomicU32::new(0);
    cut_everywhere(|db, pool, id| {
        let created = Job::create_if_absent(pool, id, data(json!("mine")));

        let stands = row(db, id);
        assert_eq!(stands.data, Some(json!("mine")));
        match created.unwrap() {
            Some(created) => assert_eq!(created, stands),
            None => _ = absent.fetch_add(1, Ordering::Relaxed),
        }
    });
    assert!(absent.into_inner() > 0);
}

#[test]
fn in_a_transaction_of_the_callers_a_broken_line_is_an_error_at_once() {
    let (db, proxy, pool) = one_job();
    let before = row(&db, "a");
    let mut conn = pool.get().unwrap();

    let ended = conn.transaction::<(), _, _>(|conn| {
        diesel::delete(jobs::table.find("a")).execute(conn)?;
        proxy.cut(Turn::Request, 1);
        let error = Job::create_and_save(&mut *conn, "b", JobUpdates::default()).unwrap_err();
        assert!(matches!(error, Error::Database { .. }), "{error:?}");
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
        let (db, proxy, _) = one_job();
        let pool = pool_at(proxy.url(), 1, Duration::from_millis(50));
        while pool.get().is_err() {} // connects, however long that takes
        let attempt = Job::start(&pool, "a").unwrap();
        let held = row(&db, "a");

        proxy.goes_away();
        let error = write(attempt).unwrap_err();

        assert!(matches!(error, Error::Database { .. }), "{error:?}");
        assert_names(&error, "a");
        assert_eq!(row(&db, "a"), held);
        let error = Job::start(&pool, "a").unwrap_err();
        assert!(matches!(error, Error::Pool { .. }), "{error:?}");

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
    let (db, proxy, pool) = one_job();
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
