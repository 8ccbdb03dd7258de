//! A line that is cut at each place in turn, on databases behind a network:
//! a job runs once whatever is lost, and what is not known is not claimed.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use diesel_status_tracker::{Error, StatusTracked};
use serde_json::json;

use super::database::{TestDb, TestPool, pool_at};
use super::faults::{assert_succeeded, create, one_job_behind_proxy};
use super::jobs::{Job, Status, age_lock, assert_names, data, history, row};
use super::proxy::Turn;

/// Calls `work` with a cut at each place where it asks or is answered, one
/// after the other: on a connection that has prepared nothing, and on one that
/// is kept.
pub fn cut_everywhere(work: impl Fn(&TestDb, &TestPool, &str)) {
    let turns = [Turn::Request, Turn::Answer].map(|turn| [(turn, false), (turn, true)]);
    for (turn, is_kept) in turns.concat() {
        let (db, proxy, mut pool) = one_job_behind_proxy();
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
        assert_err!(ended.unwrap_err(), Failed);
        let job = row(db, id);
        assert_eq!(
            (job.status, job.retry, &job.lock),
            (Status::Failed, 1, &None)
        );
        assert_eq!(
            (history(&job), &job.data),
            (vec!["no paper"], &Some(json!("old")))
        );
    });
}

#[test]
fn wherever_the_line_breaks_the_next_job_is_one_and_runs_once() {
    cut_everywhere(|db, pool, id| {
        db.sql("DELETE FROM jobs");
        let spare = format!("{id} spare");
        create(db, id);
        create(db, &spare);
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
    });
}

#[test]
fn wherever_the_line_breaks_a_renewed_lock_is_recognized() {
    cut_everywhere(|db, pool, id| {
        create(db, id);
        Job::run_job(pool, id, |job, updates| {
            age_lock(db, id);
            job.renew()?;
            assert_eq!(Job::expire_locks(&mut *db.conn())?, 0);
            age_lock(db, id);
            job.save(data(json!("half")))?;
            assert_eq!(Job::expire_locks(&mut *db.conn())?, 0);
            assert_eq!(row(db, id).data, Some(json!("half")));
            *updates = data(json!("new"));
            Ok(())
        })
        .unwrap();
        assert_succeeded(db, id);
    });
}

#[test]
fn wherever_the_line_breaks_a_job_is_created_or_the_outcome_is_unknown() {
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
