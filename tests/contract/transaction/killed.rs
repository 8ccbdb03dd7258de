//! Workers that are killed while their transactions run.

use std::iter;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use diesel::prelude::*;
use diesel_status_tracker::StatusTracked;
use serde_json::json;

use super::database::TestDb;
use super::jobs::{Job, JobUpdates, Status, age_lock, history, jobs, row};
use super::process::Worker;
use super::transaction::{LEDGER, Tireless, book, bookings, ledger, one_job};

#[test]
fn a_worker_killed_in_mid_transaction_leaves_nothing_of_it() {
    let (db, pool) = one_job();
    let mut worker = Worker::start("hang", db.url());
    assert_eq!(worker.hear().as_deref(), Some("booked"));

    worker.kill();
    age_lock(&db, "a");
    Job::run_job_in_transaction(&pool, "a", |conn, job, _| Ok(book(conn, &job.id, 2)?)).unwrap();

    assert_eq!(bookings(&db, "a"), [2]);
    let job = row(&db, "a");
    assert_eq!((job.status, job.retry), (Status::Succeeded, 0));
    assert!(history(&job)[0].contains("lock expired"));
}

#[test]
fn a_thousand_jobs_whose_workers_are_killed_are_booked_once_each() {
    const JOBS: usize = 1000;
    let db = TestDb::with_table(LEDGER);
    let pool = db.pool(3);
    let rows = (0..JOBS).map(|n| (n.to_string(), JobUpdates::default()));
    Job::create_many(&pool, rows).unwrap();
    let is_done = |counts: Vec<_>| counts == [(Status::Succeeded, JOBS as i64)];
    let held = || -> Vec<String> {
        let held = jobs::table.filter(jobs::lock.is_not_null());
        held.select(jobs::id).load(&mut *db.conn()).unwrap()
    };
    let (workers, killed_at_work) = (AtomicUsize::new(0), AtomicUsize::new(0));
    // Several that expire many at once may deadlock, and `age_lock` with them.
    let one_at_a_time = Mutex::new(());

    let supervise = || {
        while !is_done(Job::count_by_status(&pool).unwrap()) {
            // Each gets somewhat farther than the one before.
            let steps = 1 + workers.fetch_add(1, Ordering::Relaxed) * 7 % 50;
            let mut worker = Worker::start("book", db.url());
            let mut heard = iter::repeat_with(|| worker.hear().unwrap()).take(steps);
            let is_idle = heard.any(|said| said == "idle");
            worker.kill();
            if !is_idle && iter::from_fn(|| worker.hear()).all(|said| said != "idle") {
                killed_at_work.fetch_add(1, Ordering::Relaxed);
            }
            // What the dead hold, and the living too: they are overtaken.
            let _turn = one_at_a_time.lock().unwrap();
            held().iter().for_each(|id| age_lock(&db, id));
            Tireless::expire_locks(&pool).unwrap();
        }
    };
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(supervise);
        }
    });

    assert!(killed_at_work.into_inner() >= 20);
    let mut booked: Vec<String> = ledger::table
        .select(ledger::job)
        .load(&mut *db.conn())
        .unwrap();
    assert_eq!(booked.len(), JOBS);
    booked.sort();
    booked.dedup();
    assert_eq!(booked.len(), JOBS);
    let rows: Vec<Job> = jobs::table
        .select(Job::as_select())
        .load(&mut *db.conn())
        .unwrap();
    for job in rows {
        assert_eq!((&job.lock, job.retry), (&None, 0));
        assert_eq!(job.data, Some(json!(job.id)));
    }
}
