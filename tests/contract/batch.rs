//! `claim_next`: so many jobs at a time, each with a guard of its own.

use std::collections::HashSet;
use std::sync::Barrier;
use std::time::Duration;

use diesel::prelude::*;
use diesel_status_tracker::StatusTracked;
use diesel_status_tracker::clock::ago;
use serde_json::json;

use super::database::{TestDb, TestPool};
use super::jobs::{Job, JobUpdates, Status, data, history, jobs, row};
use super::pools::{Log, pool_with};
use super::tasks::{Task, seen, with_tasks};

/// Jobs "0" to "n - 1", each of which has waited a minute longer than the next.
fn queue(n: u32) -> (TestDb, TestPool) {
    let db = TestDb::new();
    let pool = db.pool(1);
    let rows = (0..n).map(|id| (id.to_string(), JobUpdates::default()));
    Job::create_many(&pool, rows).unwrap();
    for id in 0..n {
        let waited = Duration::from_secs(60 * u64::from(n - id));
        diesel::update(jobs::table.find(id.to_string()))
            .set(jobs::update_at.eq(ago(waited)))
            .execute(&mut *db.conn())
            .unwrap();
    }
    (db, pool)
}

/// The keys of the next jobs, which nobody works on from then on.
fn claimed(pool: &TestPool, n: usize) -> Vec<String> {
    let batch = Job::claim_next(pool, n).unwrap();
    batch
        .into_iter()
        .map(|job| forget(job, |job| job.id.clone()))
        .collect()
}

/// As [`claimed`], of tasks.
fn claimed_tasks(pool: &TestPool, n: usize) -> Vec<i32> {
    let batch = Task::claim_next(pool, n).unwrap();
    batch
        .into_iter()
        .map(|task| forget(task, |task| task.id))
        .collect()
}

/// Leaves the job held.
fn forget<G, T>(guard: G, read: impl Fn(&G) -> T) -> T {
    let value = read(&guard);
    std::mem::forget(guard);
    value
}

#[test]
fn those_that_have_waited_longest_are_claimed_in_order() {
    let (db, pool) = queue(7);
    // A failed one waits its turn like the others.
    db.sql("UPDATE jobs SET status = 30, retry = 1 WHERE id = '1'");

    assert_eq!(claimed(&pool, 3), ["0", "1", "2"]);
    assert_eq!(claimed(&pool, 3), ["3", "4", "5"]);
    // Fewer where fewer are free.
    assert_eq!(claimed(&pool, 3), ["6"]);
    assert!(claimed(&pool, 3).is_empty());
}

#[test]
fn the_tables_own_order_decides_on_a_batch() {
    let (db, pool) = with_tasks(1..=6);
    db.sql("UPDATE tasks SET priority = 5 WHERE id IN (3, 6)");
    db.sql("UPDATE tasks SET priority = -5 WHERE id = 1");
    db.sql("UPDATE tasks SET status = 30 WHERE id IN (2, 6)");

    assert_eq!(claimed_tasks(&pool, 4), [3, 6, 2, 4]);
    assert_eq!(claimed_tasks(&pool, 4), [5, 1]);
}

#[test]
fn each_job_of_a_batch_is_its_own_attempt() {
    let (db, pool) = queue(5);
    let before = row(&db, "4");
    let mut batch = Job::claim_next(&pool, 4).unwrap().into_iter();
    let mut next = || batch.next().unwrap();

    let mut done = next();
    done.updates = data(json!("done"));
    let (failed, dropped, running) = (next(), next(), next());
    for job in [&done, &failed, &dropped, &running] {
        assert_eq!(**job, row(&db, &job.id));
        assert_eq!(row(&db, &job.id).lock.as_deref(), Some(job.token()));
    }
    done.succeed().unwrap();
    failed.fail("no paper").unwrap();
    drop(dropped);
    running.save(data(json!("half"))).unwrap();

    let jobs = ["0", "1", "2", "3"].map(|id| row(&db, id));
    let states = jobs
        .each_ref()
        .map(|job| (job.status, job.retry, job.lock.is_some()));
    assert_eq!(
        states,
        [
            (Status::Succeeded, 0, false),
            (Status::Failed, 1, false),
            (Status::Failed, 1, false),
            (Status::InProgress, 0, true)
        ]
    );
    let written = jobs.each_ref().map(|job| job.data.clone());
    assert_eq!(
        written,
        [Some(json!("done")), None, None, Some(json!("half"))]
    );
    assert_eq!(history(&jobs[1]), ["no paper"]);
    assert!(history(&jobs[2])[0].contains("dropped unfinished"));
    running.succeed().unwrap();
    assert_eq!(row(&db, "4"), before);
}

#[test]
fn an_empty_batch_sends_no_statement() {
    let (db, _) = queue(1);
    let log = Log::default();
    let watched = log.clone();
    let pool = pool_with(db.url(), 1, move |conn| watched.watch(conn));

    assert!(Job::claim_next(&pool, 0).unwrap().is_empty());

    assert_eq!(log.take(), []);
    assert_eq!(pool.state().connections, 0);
}

#[test]
fn a_held_job_is_not_in_a_batch() {
    let (db, pool) = queue(6);
    let _held = Job::start(&pool, "0").unwrap();
    db.sql("UPDATE jobs SET `lock` = 'me' WHERE id = '2'");
    db.sql("UPDATE jobs SET status = 40 WHERE id = '4'");

    assert_eq!(claimed(&pool, 6), ["1", "3", "5"]);

    assert_eq!(row(&db, "2").lock.as_deref(), Some("me"));
    assert_eq!(row(&db, "4").status, Status::Succeeded);
}

#[test]
fn a_job_whose_time_has_not_come_is_not_in_a_batch() {
    let (db, pool) = with_tasks(1..=3);
    db.sql("UPDATE tasks SET run_at = '2999-01-01 00:00:00.000' WHERE id = 2");

    assert_eq!(claimed_tasks(&pool, 3), [1, 3]);
    assert_eq!(seen(&db, 2), (Status::Pending, false, 0));
}

#[test]
fn concurrent_batches_share_no_job() {
    const CLAIMERS: u32 = 4;
    const BATCH: usize = 7;
    let (db, _) = queue(100);
    let pool = db.pool(CLAIMERS);

    let barrier = Barrier::new(CLAIMERS as usize);
    let got: Vec<String> = std::thread::scope(|scope| {
        let claim_all = || {
            barrier.wait();
            let mut mine = Vec::new();
            loop {
                let batch = Job::claim_next(&pool, BATCH).unwrap();
                assert!(batch.len() <= BATCH, "{}", batch.len());
                if batch.is_empty() {
                    break;
                }
                mine.extend(batch);
            }
            barrier.wait(); // until nothing is left, and all is held
            mine.into_iter()
                .map(|job| {
                    let id = job.id.clone();
                    job.succeed().unwrap();
                    id
                })
                .collect::<Vec<_>>()
        };
        let claimers: Vec<_> = (0..CLAIMERS).map(|_| scope.spawn(claim_all)).collect();
        let got = claimers.into_iter().map(|claimer| claimer.join().unwrap());
        got.flatten().collect()
    });

    assert_eq!(got.len(), 100);
    assert_eq!(got.iter().collect::<HashSet<_>>().len(), 100);
    let counts = Job::count_by_status(&pool).unwrap();
    assert_eq!(counts, [(Status::Succeeded, 100)]);
}

#[test]
fn rows_that_cannot_be_read_do_not_block_their_batch() {
    for n in [2, 3, 5, 100] {
        let (db, pool) = with_tasks(1..=9);
        // The first in the order are the last in the table.
        db.sql("UPDATE tasks SET priority = id");
        db.sql("UPDATE tasks SET note = NULL WHERE id IN (9, 8, 7, 4)");

        let mut got = Vec::new();
        let last = loop {
            match Task::claim_next(&pool, n) {
                Ok(batch) => {
                    assert!((1..=n).contains(&batch.len()), "{} of {n}", batch.len());
                    got.extend(batch.into_iter().map(|task| forget(task, |task| task.id)));
                }
                Err(error) => break error,
            }
        };

        assert_eq!(got, [6, 5, 3, 2, 1], "{n} at a time");
        assert_err!(last, Database);
        for unreadable in [9, 8, 7, 4] {
            assert_eq!(seen(&db, unreadable), (Status::Pending, false, 0));
        }
        for held in got {
            assert_eq!(seen(&db, held), (Status::InProgress, true, 0));
        }
    }
}

#[test]
fn a_row_alone_that_cannot_be_read_is_named() {
    let (db, pool) = with_tasks([1]);
    db.sql("UPDATE tasks SET note = NULL, status = 30, retry = 2");

    let error = Task::claim_next(&pool, 5).unwrap_err();

    assert_err!(error, Database);
    assert!(error.to_string().contains("tasks 1"), "{error}");
    assert_eq!(seen(&db, 1), (Status::Failed, false, 2));
}
