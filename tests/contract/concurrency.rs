//! Many workers at once: threads over one pool, and processes.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::Duration;

use diesel::prelude::*;
use diesel_status_tracker::{Error, StatusTracked};
use serde_json::json;

use super::database::{TestDb, TestPool};
use super::jobs::{Job, JobUpdates, Status, data, jobs};
use super::process::Worker;

fn create(pool: &TestPool, count: usize) {
    let rows = (0..count).map(|n| (n.to_string(), JobUpdates::default()));
    assert_eq!(Job::create_many(pool, rows).unwrap(), count);
}

/// Holds that every job has succeeded, at the first try, with the updates of
/// whoever ran it.
fn assert_all_succeeded(db: &TestDb, count: usize) {
    let rows: Vec<Job> = jobs::table
        .select(Job::as_select())
        .load(&mut *db.conn())
        .unwrap();
    assert_eq!(rows.len(), count);
    for job in rows {
        assert_eq!((job.status, job.retry), (Status::Succeeded, 0), "{job:?}");
        assert_eq!((&job.lock, &job.errors), (&None, &json!({})), "{job:?}");
        assert_eq!(job.data, Some(json!(job.id)), "{job:?}");
    }
}

#[test]
fn one_of_many_concurrent_starts_runs_the_job_and_none_after_it() {
    const THREADS: usize = 32;
    const ROUNDS: usize = 200;
    let db = TestDb::new();
    let pool = db.pool(8);
    create(&pool, ROUNDS);

    let runs: Vec<AtomicU32> = (0..ROUNDS).map(|_| AtomicU32::new(0)).collect();
    let winners: Vec<AtomicU32> = (0..ROUNDS).map(|_| AtomicU32::new(0)).collect();
    // A thread that panicked would leave the others waiting at the barrier.
    let surprises = Mutex::new(Vec::new());
    let together = Barrier::new(THREADS);
    let start_them_all = || {
        for round in 0..ROUNDS {
            let id = round.to_string();
            together.wait();
            let ended = Job::run_job(&pool, id.as_str(), |_, updates| {
                runs[round].fetch_add(1, Ordering::Relaxed);
                *updates = data(json!(id));
                Ok(())
            });
            match ended {
                Ok(()) => _ = winners[round].fetch_add(1, Ordering::Relaxed),
                // The winner is at it, or is done.
                Err(Error::Locked { .. } | Error::AlreadySucceeded { .. }) => {}
                Err(other) => surprises.lock().unwrap().push(other),
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(start_them_all);
        }
    });

    let surprises = surprises.into_inner().unwrap();
    assert!(surprises.is_empty(), "{surprises:?}");
    for round in 0..ROUNDS {
        let seen = [&winners, &runs].map(|counts| counts[round].load(Ordering::Relaxed));
        assert_eq!(seen, [1, 1], "winners and runs of round {round}");
    }
    assert_all_succeeded(&db, ROUNDS);
}

#[test]
fn threads_that_drain_a_table_run_each_job_once() {
    const THREADS: usize = 8;
    const JOBS: usize = 300;
    let db = TestDb::new();
    let pool = db.pool(3);
    create(&pool, JOBS);

    let ran = Mutex::new(Vec::new());
    let together = Barrier::new(THREADS);
    let drain = || {
        together.wait();
        let run = || {
            Job::run_next(&pool, |job, updates| {
                ran.lock().unwrap().push(job.id.clone());
                *updates = data(json!(job.id));
                Ok(())
            })
        };
        while run().unwrap().is_some() {}
    };
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(drain);
        }
    });

    assert_each_once(ran.into_inner().unwrap(), JOBS);
    assert_all_succeeded(&db, JOBS);
}

#[test]
fn processes_that_drain_a_table_run_each_job_once() {
    const JOBS: usize = 150;
    let db = TestDb::new();
    create(&db.pool(1), JOBS);

    let mut workers = [(); 3].map(|()| Worker::start("drain", db.url()));
    for worker in &mut workers {
        assert_eq!(worker.hear().unwrap(), "ready");
    }
    for worker in &mut workers {
        worker.tell("go");
    }
    let mut ran = Vec::new();
    for worker in &mut workers {
        ran.extend(std::iter::from_fn(|| worker.hear()));
    }

    assert_each_once(ran, JOBS);
    assert_all_succeeded(&db, JOBS);
}

fn assert_each_once(mut ran: Vec<String>, count: usize) {
    let mut all: Vec<String> = (0..count).map(|n| n.to_string()).collect();
    all.sort();
    ran.sort();
    assert_eq!(ran, all);
}

#[test]
fn one_connection_serves_any_number_of_running_jobs() {
    let db = TestDb::new();
    let pool = db.pool_within(1, Duration::from_secs(5));
    create(&pool, 6);
    let is_free = || pool.try_get().is_some();

    let attempts = ["0", "1", "2"].map(|id| Job::start(&pool, id).unwrap());
    assert!(is_free());
    Job::run_job(&pool, "3", |job, _| {
        assert!(is_free());
        job.renew()?;
        assert!(is_free());
        job.save(JobUpdates::default())?;
        assert!(is_free());
        Job::run_next(&pool, |next, _| {
            assert!(is_free());
            // They were created at the same time, so either is the next.
            let last = if next.id == "4" { "5" } else { "4" };
            Ok(Job::run_job(&pool, last, |_, _| Ok(()))?)
        })?;
        Ok(())
    })
    .unwrap();
    for attempt in attempts {
        attempt.succeed().unwrap();
    }

    let succeeded = Job::count_by_status(&pool).unwrap();
    assert_eq!(succeeded, [(Status::Succeeded, 6)]);
}
