//! Workers in processes of their own, one of which is killed.

use std::collections::HashSet;

use diesel_status_tracker::StatusTracked;

use super::database::TestDb;
use super::jobs::{Job, Status, age_lock};
use super::process::Worker;
use super::worker::{Runs, create, rows};

const JOBS: usize = 2000;

fn two_workers(parts: [&str; 2]) -> (TestDb, [Worker; 2]) {
    let db = TestDb::new();
    create(&db.pool(1), JOBS);
    let mut workers = parts.map(|part| Worker::start(part, db.url()));
    for worker in &mut workers {
        assert_eq!(worker.hear().unwrap(), "ready");
    }
    (db, workers)
}

/// Takes note of all that a worker still says.
fn hear_out(runs: &Runs, worker: &mut Worker) {
    while let Some(id) = worker.hear() {
        runs.add(&id);
    }
}

fn assert_all_succeeded(db: &TestDb) {
    let counts = Job::count_by_status(&mut *db.conn()).unwrap();
    assert_eq!(counts, [(Status::Succeeded, JOBS as i64)]);
}

#[test]
fn two_processes_run_each_job_once() {
    let (db, mut workers) = two_workers(["work"; 2]);
    let runs = Runs::default();
    for worker in &mut workers {
        worker.tell("go");
    }
    for worker in &mut workers {
        hear_out(&runs, worker);
    }

    runs.assert_once_each(&db);
    assert_all_succeeded(&db);
}

#[test]
fn only_the_claimed_jobs_of_a_killed_process_run_again() {
    // It cannot do many of them before it is killed, however late that is.
    let (db, mut workers) = two_workers(["work a little", "work"]);
    let runs = Runs::default();
    let [dead, other] = &mut workers;
    dead.tell("go");
    for _ in 0..100 {
        runs.add(&dead.hear().unwrap());
    }
    other.tell("go");
    runs.add(&other.hear().unwrap());
    dead.kill();
    hear_out(&runs, dead);
    hear_out(&runs, other);

    let left: Vec<Job> = rows(&db)
        .into_iter()
        .filter(|job| job.status != Status::Succeeded)
        .collect();
    assert!(left.len() <= JOBS / 10, "{} in hand", left.len());
    for job in &left {
        assert_eq!(job.status, Status::InProgress);
        age_lock(&db, &job.id);
    }
    let mut third = Worker::start("work", db.url());
    third.hear().unwrap();
    third.tell("go");
    let again = Runs::default();
    hear_out(&again, &mut third);

    let again: HashSet<_> = again.counts().into_iter().collect();
    let left: HashSet<_> = left.into_iter().map(|job| (job.id, 1)).collect();
    assert_eq!(again, left);
    assert!(runs.counts().iter().all(|(_, runs)| *runs == 1));
    assert_all_succeeded(&db);
}
