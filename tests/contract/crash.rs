//! Workers that die, or are overtaken, as processes do.

use diesel::prelude::*;
use diesel_status_tracker::StatusTracked;
use serde_json::json;

use super::database::TestDb;
use super::jobs::{Job, JobUpdates, Status, age_lock, data, history, jobs, one_job, row};
use super::process::Worker;

/// A worker that holds the job "a".
fn holder(db: &TestDb) -> Worker {
    let mut worker = Worker::start("hold", db.url());
    let lock = worker.hear().unwrap();
    assert_eq!(row(db, "a").lock, Some(lock));
    worker
}

#[test]
fn a_killed_worker_leaves_a_lock_whose_expiry_is_one_failed_attempt() {
    let (db, pool) = one_job();
    let mut worker = holder(&db);
    let held = row(&db, "a");

    worker.kill();

    assert_eq!(row(&db, "a"), held);
    assert_eq!(Job::expire_locks(&pool).unwrap(), 0, "the lock is fresh");
    let early = Job::start(&pool, "a").unwrap_err();
    assert_err!(early, Locked);
    assert_eq!(row(&db, "a"), held);

    age_lock(&db, "a");
    let aged = row(&db, "a");
    assert_eq!(Job::expire_locks(&pool).unwrap(), 1);
    let expired = row(&db, "a");
    let entry = json!({
        "error": expired.errors["error"], "traceback": "", "attempt": 1, "at": expired.errors["at"],
    });
    let mut errors = entry.clone();
    errors["history"] = json!([entry]);
    let expected = Job {
        status: Status::Failed,
        lock: None,
        retry: 1,
        errors,
        update_at: expired.update_at,
        ..aged
    };
    assert_eq!(expired, expected);
    assert!(history(&expired)[0].contains("lock expired"));

    assert_eq!(Job::expire_locks(&pool).unwrap(), 0);
    Job::run_job(&pool, "a", |_, _| Ok(())).unwrap();
    assert_eq!(row(&db, "a").status, Status::Succeeded);
}

#[test]
fn a_start_expires_the_attempt_of_a_killed_worker_and_counts_it() {
    let (db, pool) = one_job();
    let mut worker = holder(&db);
    let dead = row(&db, "a");
    worker.kill();
    age_lock(&db, "a");

    Job::run_job(&pool, "a", |job, updates| {
        assert_eq!((job.status, job.retry), (Status::InProgress, 1));
        assert_ne!(job.lock, dead.lock);
        assert!(history(job)[0].contains("lock expired"));
        *updates = data(json!("new"));
        Ok(())
    })
    .unwrap();

    let job = row(&db, "a");
    assert_eq!((job.status, job.retry), (Status::Succeeded, 0));
    assert_eq!((job.lock.as_ref(), &job.data), (None, &Some(json!("new"))));
    assert_eq!(history(&job).len(), 1);
}

#[test]
fn a_job_that_kills_its_worker_every_time_ends_ignored() {
    let (db, pool) = one_job();

    for retry in 0..Job::MAX_RETRY {
        // From the second on, the worker expires its predecessor's lock itself.
        let mut worker = Worker::start("die", db.url());
        assert_eq!(worker.hear(), None);
        let job = row(&db, "a");
        assert_eq!((job.status, job.retry), (Status::InProgress, retry));
        age_lock(&db, "a");
    }
    let error = Job::start(&pool, "a").unwrap_err();

    assert_err!(error, Ignored { retry: 3, .. });
    let job = row(&db, "a");
    assert_eq!((job.status, job.retry), (Status::Ignored, Job::MAX_RETRY));
    assert_eq!((job.lock.as_ref(), history(&job).len()), (None, 3));
    assert_eq!(Job::run_next(&pool, |_, _| Ok(())).unwrap(), None);
}

#[test]
fn a_worker_killed_in_mid_drain_loses_nothing_and_no_success_runs_twice() {
    const JOBS: usize = 60;
    let db = TestDb::new();
    let pool = db.pool(1);
    let rows = (0..JOBS).map(|n| (n.to_string(), JobUpdates::default()));
    Job::create_many(&pool, rows).unwrap();
    let all = || -> Vec<Job> {
        let rows = jobs::table.order_by(jobs::id).select(Job::as_select());
        rows.load(&mut *db.conn()).unwrap()
    };

    let mut ran = Vec::new();
    let mut workers = [(); 3].map(|()| Worker::start("drain", db.url()));
    for worker in &mut workers {
        assert_eq!(worker.hear().unwrap(), "ready");
    }
    for worker in &mut workers {
        worker.tell("go");
    }
    // One after its first jobs, wherever it is; one at once; the last drains.
    ran.extend(std::iter::from_fn(|| workers[0].hear()).take(3));
    workers[0].kill();
    workers[1].kill();
    for worker in &mut workers {
        ran.extend(std::iter::from_fn(|| worker.hear()));
    }

    let before = all();
    let held: Vec<_> = before.iter().filter(|job| job.lock.is_some()).collect();
    assert!(held.len() <= 2, "{held:?}");
    for job in &held {
        assert_eq!(job.status, Status::InProgress);
        age_lock(&db, &job.id);
    }
    assert_eq!(Job::expire_locks(&pool).unwrap(), held.len());
    let rerun = || {
        Job::run_next(&pool, |job, updates| {
            *updates = data(json!(job.id));
            Ok(job.id.clone())
        })
    };
    let mut again: Vec<String> = std::iter::from_fn(|| rerun().unwrap()).collect();

    again.sort();
    let held: Vec<_> = held.iter().map(|job| job.id.clone()).collect();
    assert_eq!(again, held, "what nobody held had succeeded");
    for (before, after) in before.into_iter().zip(all()) {
        if held.contains(&before.id) {
            assert_eq!((after.status, after.retry), (Status::Succeeded, 0));
            assert_eq!(
                (&after.data, history(&after).len()),
                (&Some(json!(after.id)), 1)
            );
        } else {
            assert_eq!(before.status, Status::Succeeded);
            assert_eq!(before.data, Some(json!(before.id)));
            assert_eq!(after, before);
        }
    }
    ran.sort();
    let mut once = ran.clone();
    once.dedup();
    assert_eq!(ran, once);
}

#[test]
fn a_worker_that_was_stopped_and_expired_changes_nothing() {
    for ending in ["succeed", "fail"] {
        let (db, pool) = one_job();
        let mut worker = holder(&db);
        worker.signal("STOP");
        age_lock(&db, "a");
        Job::run_job(&pool, "a", |_, updates| {
            *updates = data(json!("the other's"));
            Ok(())
        })
        .unwrap();
        let overtaken = row(&db, "a");
        assert_eq!(overtaken.data, Some(json!("the other's")));

        worker.signal("CONT");

        for order in ["renew", "save", ending] {
            assert_eq!(worker.ask(order), "lock lost");
            assert_eq!(row(&db, "a"), overtaken);
        }
    }
}
