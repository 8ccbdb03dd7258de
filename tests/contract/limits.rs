//! Durations and counts at the ends of their types: none of them overflows.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use diesel::prelude::*;
use diesel_status_tracker::clock::from_now;
use diesel_status_tracker::{Error, Result, Retry, StatusTracked, Worker};

use super::database::{TestConnection, TestDb, TestPool};
use super::jobs::{Job, JobUpdates, Status, assert_names, jobs, row};
use super::tasks::{Task, seen, tasks, with_tasks};
use super::worker::{drainable, summary, until};

const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A step whose locks expire before anybody holds them.
struct Fleeting;
step! { Fleeting on Job { const LOCK_EXPIRE: Duration = Duration::from_nanos(999_999); } }

/// The shortest that serves.
struct Hasty;
step! { Hasty on Job { const LOCK_EXPIRE: Duration = Duration::from_millis(1); } }

struct Millennial;
step! { Millennial on Task {
    const LOCK_EXPIRE: Duration = Duration::from_secs(1000 * 365 * 24 * 60 * 60);
} }

struct Eternal;
step! { Eternal on Task {
    const LOCK_EXPIRE: Duration = Duration::MAX;
    const RETRY_DELAY: Option<fn(i32) -> Duration> = Some(|_| Duration::MAX);
    const MAX_RETRY: i32 = i32::MAX;
} }

#[test]
fn a_lock_that_expires_at_once_is_refused() {
    fn failed<T>(ended: Result<T>) -> Error {
        ended.err().unwrap()
    }
    let (db, pool) = drainable(1);
    let before = row(&db, "0");

    for error in [
        failed(Fleeting::create_and_save(&pool, "1", JobUpdates::default())),
        failed(Fleeting::start(&pool, "0")),
        failed(Fleeting::run_next(&pool, |_, _| Ok(()))),
        failed(Fleeting::worker(&pool).run_until_empty(|_, _| Ok(()))),
        failed(Fleeting::expire_locks(&pool)),
    ] {
        assert_err!(error, Misconfigured);
        let message = error.to_string();
        assert!(
            message.contains("LOCK_EXPIRE") && message.contains("Fleeting"),
            "{message}"
        );
    }

    assert_eq!(row(&db, "0"), before);
    let job = Hasty::start(&pool, "0").unwrap();
    until("it has expired", || {
        Hasty::expire_locks(&pool).unwrap() == 1
    });
    assert_names(&job.succeed().unwrap_err(), "0");
}

fn a_lock_lasts<S: StatusTracked<Job = Task>>() {
    let (db, pool) = with_tasks(1..=3);

    let attempt = S::start(&pool, 1).unwrap();
    attempt.renew().unwrap();
    assert_eq!(S::expire_locks(&pool).unwrap(), 0);
    assert!(S::is_locked(&pool, 1).unwrap());
    let held = S::start(&pool, 1).unwrap_err();
    assert!(
        matches!(held, Error::Locked { .. }) && held.to_string().contains("tasks 1"),
        "{held:?}"
    );
    S::reset(&pool, 1).unwrap_err();
    attempt.succeed().unwrap();
    let done = S::worker(&pool).run_until_empty(|_, _| Ok(()));

    assert_eq!(done.unwrap(), summary(|s| s.succeeded = 2));
    assert_eq!(seen(&db, 3), (Status::Succeeded, false, 0));
}

#[test]
fn a_lock_may_last_for_ever() {
    a_lock_lasts::<Millennial>();
    a_lock_lasts::<Eternal>();
}

#[test]
fn a_job_may_wait_for_ever() {
    let (db, pool) = with_tasks(1..=4);
    let ended = Task::run_job(&pool, 1, |_, _| {
        Err::<(), _>(Retry::after(Duration::MAX).into())
    });
    ended.unwrap_err();
    Eternal::run_job(&pool, 2, |_, _| Err::<(), _>("no paper".into())).unwrap_err();
    drop(Eternal::start(&pool, 3).unwrap());
    let done = Eternal::worker(&pool).run_until_empty(|_, _| Err("no paper".into()));
    assert_eq!(done.unwrap(), summary(|s| s.failed = 1));

    let far = tasks::run_at
        .gt(from_now(99 * YEAR))
        .and(tasks::run_at.le(from_now(100 * YEAR)));
    let waiting = tasks::table.filter(far).count();
    assert_eq!(waiting.get_result(&mut *db.conn()), Ok(4_i64));
    for id in 1..=4 {
        assert_eq!(seen(&db, id), (Status::Failed, false, 1));
        let early = Eternal::start(&pool, id).unwrap_err();
        assert_err!(early, NotReady);
    }
}

/// A worker that is to end with the last job, on a database with six of them.
fn drained(set: impl Fn(Worker<Job, TestConnection>) -> Worker<Job, TestConnection>) {
    let (_db, pool) = drainable(6);
    let worker = set(Job::worker(&pool).threads(2));
    let (done, is_done) = mpsc::channel();
    thread::spawn(move || done.send(worker.run_until_empty(|_, _| Ok(()))));
    let done = is_done.recv_timeout(Duration::from_secs(60));
    let done = done.expect("the worker comes to its end").unwrap();
    assert_eq!(done, summary(|s| s.succeeded = 6));
}

#[test]
fn a_worker_may_wait_for_ever_and_claim_without_end() {
    drained(|worker| worker.poll_every(Duration::MAX));
    drained(|worker| worker.finish_within(Duration::MAX));
    drained(|worker| worker.batch(usize::MAX));
    drained(|worker| {
        let worker = worker
            .poll_every(Duration::MAX)
            .finish_within(Duration::MAX);
        worker.batch(usize::MAX)
    });
    drained(|worker| {
        worker
            .poll_every(Duration::ZERO)
            .finish_within(Duration::ZERO)
    });
    drained(|worker| worker.batch(0).threads(0));
}

#[test]
fn a_worker_that_waits_for_ever_can_be_shut_down() {
    let (_db, pool) = drainable(1);
    let worker = Job::worker(&pool)
        .poll_every(Duration::MAX)
        .finish_within(Duration::MAX);
    let handle = worker.handle();
    thread::scope(|scope| {
        let done = scope.spawn(|| worker.run(|_, _| Ok(())).unwrap());
        until("the job is done", || {
            let counts = Job::count_by_status(&pool).unwrap();
            counts == [(Status::Succeeded, 1)]
        });
        assert!(handle.shutdown_and_wait(Duration::MAX));
        assert_eq!(done.join().unwrap(), summary(|s| s.succeeded = 1));
    });
}

#[test]
fn more_threads_than_a_machine_has_are_refused() {
    let (db, pool) = drainable(1);
    let before = row(&db, "0");

    let error = Job::worker(&pool)
        .threads(usize::MAX)
        .run(|_, _| Ok(()))
        .unwrap_err();

    assert_err!(error, Misconfigured);
    assert!(error.to_string().contains("10000 threads"), "{error}");
    assert_eq!(row(&db, "0"), before);
}

fn held(db: &TestDb) -> i64 {
    let held = jobs::table.filter(jobs::lock.is_not_null()).count();
    held.get_result(&mut *db.conn()).unwrap()
}

fn claim_all(pool: &TestPool) -> usize {
    let all = Job::claim_next(pool, usize::MAX).unwrap();
    let count = all.len();
    // An end for each would take its time.
    all.into_iter().for_each(std::mem::forget);
    count
}

#[test]
fn all_ready_jobs_can_be_claimed_by_one_call() {
    let (db, pool) = drainable(3);
    assert_eq!(claim_all(&pool), 3);
    assert_eq!((claim_all(&pool), held(&db)), (0, 3));
}

#[test]
fn more_can_be_claimed_by_one_call_than_a_statement_has_parameters() {
    const MANY: usize = 70_000;
    let db = TestDb::new();
    db.sql("CREATE TABLE digits (n INTEGER NOT NULL)");
    db.sql("INSERT INTO digits VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)");
    db.sql(
        "INSERT INTO jobs (id, status, create_at, update_at, retry, errors)
         SELECT 10000 * a.n + 1000 * b.n + 100 * c.n + 10 * d.n + e.n, 10,
             CURRENT_TIMESTAMP, CURRENT_TIMESTAMP, 0, '{}'
         FROM digits a, digits b, digits c, digits d, digits e WHERE a.n < 7",
    );

    assert_eq!(claim_all(&db.pool(1)), MANY);

    assert_eq!(held(&db), MANY as i64);
}

#[test]
fn prune_with_the_longest_time_deletes_nothing() {
    let (db, pool) = drainable(1);
    Job::run_job(&pool, "0", |_, _| Ok(())).unwrap();
    for age in [Duration::MAX, 1000 * YEAR] {
        assert_eq!(Job::prune(&pool, &[Job::SUCCEEDED], age).unwrap(), 0);
    }
    assert_eq!(row(&db, "0").status, Status::Succeeded);
}
