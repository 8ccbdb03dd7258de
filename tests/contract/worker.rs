//! A worker that drains a table: each job once, whatever becomes of it, and
//! what the worker tells of it.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use std::{fmt, thread};

use diesel::prelude::*;
use diesel_status_tracker::{Retry, StatusTracked, Summary};
use serde_json::json;

use super::database::{TestDb, TestPool, UNREACHABLE, pool_at};
use super::jobs::{Job, Status, data, history, jobs, row};

/// So long that no end is written before its group is whole.
pub const NEVER: Duration = Duration::from_secs(60 * 60);

/// Jobs "0", "1" and so on.
pub fn create(pool: &TestPool, count: usize) {
    let rows = (0..count).map(|n| (n.to_string(), data(json!("old"))));
    assert_eq!(Job::create_many(pool, rows).unwrap(), count);
}

/// A database with so many jobs, and a pool of one connection: more are never
/// needed at a time.
pub fn drainable(count: usize) -> (TestDb, TestPool) {
    let db = TestDb::new();
    let pool = db.pool(1);
    create(&pool, count);
    (db, pool)
}

pub fn rows(db: &TestDb) -> Vec<Job> {
    let rows = jobs::table.order_by(jobs::id).select(Job::as_select());
    rows.load(&mut *db.conn()).unwrap()
}

/// A summary with these counts, and zeros.
pub fn summary(set: impl FnOnce(&mut Summary)) -> Summary {
    let mut summary = Summary::default();
    set(&mut summary);
    summary
}

/// Waits for something that another thread is going to do.
pub fn until(what: impl fmt::Display, mut is_so: impl FnMut() -> bool) {
    // A test that would hang is to fail.
    for _ in 0..20_000 {
        if is_so() {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
    panic!("still not so: {what}");
}

/// Counts the runs of each job.
#[derive(Default)]
pub struct Runs(Mutex<HashMap<String, u32>>);

impl Runs {
    /// One more, and how many it were before.
    pub fn add(&self, id: &str) -> u32 {
        let mut runs = self.0.lock().unwrap();
        let count = runs.entry(id.to_owned()).or_default();
        *count += 1;
        *count - 1
    }

    /// In the order of their keys.
    pub fn counts(&self) -> Vec<(String, u32)> {
        let mut counts: Vec<_> = self.0.lock().unwrap().clone().into_iter().collect();
        counts.sort();
        counts
    }

    pub fn assert_once_each(&self, db: &TestDb) {
        let once = rows(db).into_iter().map(|job| (job.id, 1));
        assert_eq!(self.counts(), once.collect::<Vec<_>>());
    }
}

#[test]
fn each_job_runs_once_whatever_the_threads_and_the_batches() {
    const JOBS: usize = 25;
    for (threads, batch) in [(1, 1), (1, 10), (3, 1), (4, 7), (2, 100)] {
        for sets_updates in [false, true] {
            let (db, pool) = drainable(JOBS);
            let runs = Runs::default();
            let worker = Job::worker(&pool).threads(threads).batch(batch);
            let done = worker.run_until_empty(|job, updates| {
                runs.add(&job.id);
                assert_eq!(
                    (job.status, &job.data),
                    (Status::InProgress, &Some(json!("old")))
                );
                if sets_updates {
                    *updates = data(json!(job.id));
                }
                Ok(())
            });

            assert_eq!(done.unwrap(), summary(|s| s.succeeded = JOBS as u64));
            runs.assert_once_each(&db);
            for job in rows(&db) {
                let new = if sets_updates { &*job.id } else { "old" };
                assert_eq!((job.status, job.retry), (Status::Succeeded, 0), "{job:?}");
                assert_eq!((&job.lock, &job.errors), (&None, &json!({})), "{job:?}");
                assert_eq!(job.data, Some(json!(new)));
            }
        }
    }
}

#[test]
fn outcomes_of_more_jobs_than_fit_into_one_statement_are_written_together() {
    const JOBS: usize = 1234;
    let (db, pool) = drainable(JOBS);

    let worker = Job::worker(&pool)
        .threads(2)
        .batch(1000)
        .finish_within(NEVER);
    let done = worker.run_until_empty(|_, _| Ok(()));

    assert_eq!(done.unwrap(), summary(|s| s.succeeded = JOBS as u64));
    let counts = Job::count_by_status(&mut *db.conn()).unwrap();
    assert_eq!(counts, [(Status::Succeeded, JOBS as i64)]);
}

#[test]
fn nothing_to_do_is_done_at_once() {
    let (_db, pool) = drainable(0);
    let done = Job::worker(&pool).threads(3).run_until_empty(|_, _| Ok(()));
    assert_eq!(done.unwrap(), Summary::default());
}

#[test]
fn a_job_that_fails_is_tried_again_until_it_is_ignored() {
    for (threads, batch) in [(1, 1), (2, 3)] {
        let (db, pool) = drainable(4);
        let runs = Runs::default();
        let worker = Job::worker(&pool).threads(threads).batch(batch);
        let done = worker.run_until_empty(|job, updates| {
            let earlier = runs.add(&job.id);
            *updates = data(json!("new"));
            match (&*job.id, earlier) {
                ("0", _) => Err("no paper".into()),
                ("1", 0) => Err("no ink".into()),
                ("2", _) => panic!("no printer"),
                _ => Ok(()),
            }
        });

        let expected = summary(|s| (s.succeeded, s.failed, s.ignored) = (2, 2 + 1 + 2, 2));
        assert_eq!(done.unwrap(), expected);
        let runs: Vec<u32> = runs.counts().into_iter().map(|(_, runs)| runs).collect();
        assert_eq!(runs, [3, 2, 3, 1]);
        let jobs = rows(&db);
        for (job, text) in [(&jobs[0], "no paper"), (&jobs[2], "panic: no printer")] {
            assert_eq!((job.status, job.retry), (Status::Ignored, 3));
            assert_eq!((&job.lock, &job.data), (&None, &Some(json!("old"))));
            assert_eq!(history(job), [text; 3]);
        }
        for job in [&jobs[1], &jobs[3]] {
            assert_eq!((job.status, job.retry), (Status::Succeeded, 0));
            assert_eq!(job.data, Some(json!("new")));
        }
        assert_eq!(history(&jobs[1]), ["no ink"]);
    }
}

#[test]
fn an_error_decides_what_becomes_of_the_job() {
    let (db, pool) = drainable(3);
    let runs = Runs::default();
    let done = Job::worker(&pool)
        .threads(1)
        .batch(3)
        .run_until_empty(|job, _| match (&*job.id, runs.add(&job.id)) {
            ("0", _) => Err(Retry::never().because("no such customer").into()),
            ("1", 0) => Err(Retry::release().into()),
            ("2", 0) => Err("no paper".into()),
            ("2", 1) => Err(Retry::release().into()),
            _ => Ok(()),
        });

    let expected = summary(|s| (s.succeeded, s.failed, s.ignored, s.released) = (2, 1, 1, 2));
    assert_eq!(done.unwrap(), expected);
    let jobs = rows(&db);
    assert_eq!((jobs[0].status, jobs[0].retry), (Status::Ignored, 1));
    assert!(history(&jobs[0])[0].contains("no such customer"));
    assert_eq!(jobs[1].status, Status::Succeeded);
    assert_eq!(jobs[1].errors, json!({}), "a release is recorded nowhere");
    assert_eq!(jobs[2].status, Status::Succeeded);
    assert_eq!(history(&jobs[2]), ["no paper"]);
}

#[test]
fn a_job_that_another_creates_is_run_too() {
    for threads in [1, 3] {
        let (db, pool) = drainable(1);
        let runs = Runs::default();
        let done = Job::worker(&pool)
            .threads(threads)
            .batch(5)
            .run_until_empty(|job, updates| {
                runs.add(&job.id);
                let n: u32 = job.id.parse()?;
                if n < 5 {
                    Job::create_and_save(&pool, (n + 1).to_string(), data(json!("old")))?;
                }
                Ok(*updates = data(json!("new")))
            });

        assert_eq!(done.unwrap(), summary(|s| s.succeeded = 6));
        runs.assert_once_each(&db);
    }
}

#[test]
fn jobs_that_others_hold_are_not_waited_for() {
    let (db, pool) = drainable(3);
    let held = Job::start(&pool, "1").unwrap();
    let before = row(&db, "1");

    let done = Job::worker(&pool).batch(10).run_until_empty(|_, _| Ok(()));

    assert_eq!(done.unwrap(), summary(|s| s.succeeded = 2));
    assert_eq!(row(&db, "1"), before);
    held.succeed().unwrap();
}

#[test]
fn workers_share_a_table() {
    const JOBS: usize = 200;
    const WORKERS: u64 = 3;
    let db = TestDb::new();
    let pool = db.pool(3);
    create(&pool, JOBS);
    let runs = Runs::default();

    let succeeded: u64 = thread::scope(|scope| {
        let work = || {
            let worker = Job::worker(&pool).threads(2).batch(10);
            let done = worker.run_until_empty(|job, _| {
                runs.add(&job.id);
                Ok(())
            });
            let done = done.unwrap();
            assert_eq!(done, summary(|s| s.succeeded = done.succeeded));
            done.succeeded
        };
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap())
            .sum()
    });

    assert_eq!(succeeded, JOBS as u64);
    runs.assert_once_each(&db);
}

#[test]
fn the_first_error_is_the_callers_and_nothing_runs() {
    let runs = AtomicU32::new(0);
    let work = |pool: &TestPool| {
        let done = Job::worker(pool).threads(2).run_until_empty(|_, _| {
            runs.fetch_add(1, Ordering::Relaxed);
            Ok(())
        });
        done.unwrap_err()
    };

    let (db, pool) = drainable(1);
    db.sql("ALTER TABLE jobs DROP COLUMN data");
    let error = work(&pool);
    assert_err!(error, Database);
    assert!(
        error.to_string().starts_with("the database failed on jobs"),
        "{error}"
    );
    db.sql("DROP TABLE jobs");
    let error = work(&pool);
    assert_err!(error, Database);
    for url in UNREACHABLE {
        let error = work(&pool_at(url, 1, Duration::from_millis(200)));
        assert_err!(error, Pool);
    }
    assert_eq!(runs.into_inner(), 0);
}

/// A step whose codes clash; seen on first use, for want of `steps`.
struct Clashing;
impl StatusTracked for Clashing {
    type Job = Job;
    const PENDING: Status = Status::Pending;
    const IN_PROGRESS: Status = Status::InProgress;
    const FAILED: Status = Status::Failed;
    const SUCCEEDED: Status = Status::Failed;
    const IGNORED: Status = Status::Ignored;
}

#[test]
fn a_step_that_contradicts_itself_does_not_work() {
    let (db, pool) = drainable(1);
    let before = row(&db, "0");
    let error = Clashing::worker(&pool).run(|_, _| Ok(())).unwrap_err();
    assert_err!(error, Misconfigured);
    assert_eq!(row(&db, "0"), before);
}
