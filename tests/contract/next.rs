//! `run_next`: what comes next, what is passed over, and what no struct can hold.

use std::sync::Barrier;
use std::time::Duration;

use diesel::prelude::*;
use diesel_status_tracker::clock::{ago, from_now};
use diesel_status_tracker::{KeyOf, StatusTracked};

use super::database::{TestDb, TestPool};
use super::jobs::{Job, JobUpdates, Status, history, jobs, row, set_status};
use super::tasks::{Task, seen, tasks, with_tasks};

/// Runs jobs until none is free; the keys in the order in which they came.
fn drain<S: StatusTracked>(next: impl Fn() -> Option<KeyOf<S>>) -> Vec<KeyOf<S>> {
    std::iter::from_fn(next).collect()
}

fn next_job(pool: &TestPool) -> Option<String> {
    Job::run_next(pool, |job, _| Ok(job.id.clone())).unwrap()
}

#[test]
fn the_job_that_has_waited_longest_is_next() {
    let db = TestDb::new();
    let pool = db.pool(1);
    for (id, minutes) in [("a", 1), ("b", 3), ("c", 2)] {
        Job::create_and_save(&pool, id, JobUpdates::default()).unwrap();
        diesel::update(jobs::table.find(id))
            .set(jobs::update_at.eq(ago(Duration::from_secs(60 * minutes))))
            .execute(&mut *db.conn())
            .unwrap();
    }

    // A failed one waits its turn like the others.
    db.sql("UPDATE jobs SET status = 30 WHERE id = 'c'");

    assert_eq!(drain::<Job>(|| next_job(&pool)), ["b", "c", "a"]);
    assert!(
        ["a", "b", "c"]
            .iter()
            .all(|id| Job::is_succeeded(&row(&db, id)))
    );
}

#[test]
fn an_empty_table_has_no_next() {
    let db = TestDb::new();
    assert_eq!(next_job(&db.pool(1)), None);
}

#[test]
fn jobs_that_are_not_free_are_passed_over() {
    let db = TestDb::new();
    let pool = db.pool(1);
    let statuses = [
        Status::InProgress,
        Status::Succeeded,
        Status::Ignored,
        Status::Archived,
    ];
    for status in statuses {
        let id = status.to_string();
        Job::create_and_save(&pool, id.as_str(), JobUpdates::default()).unwrap();
        set_status(&db, &id, status);
    }
    Job::create_and_save(&pool, "locked by hand", JobUpdates::default()).unwrap();
    db.sql("UPDATE jobs SET `lock` = 'me' WHERE id = 'locked by hand'");
    Job::create_and_save(&pool, "held", JobUpdates::default()).unwrap();
    let held = Job::start(&pool, "held").unwrap();

    let nothing = Job::run_next(&pool, |_, _| -> Result<(), _> { panic!("it ran") });

    assert_eq!(nothing.unwrap(), None);
    for status in statuses {
        assert_eq!(row(&db, &status.to_string()).status, status);
    }
    assert_eq!(row(&db, "locked by hand").lock.as_deref(), Some("me"));
    held.succeed().unwrap();
}

#[test]
fn a_failed_job_is_claimed_again_until_it_is_ignored() {
    let db = TestDb::new();
    let pool = db.pool(1);
    Job::create_and_save(&pool, "a", JobUpdates::default()).unwrap();

    for attempt in 1..=3 {
        let ended = Job::run_next(&pool, |_, _| Err::<(), _>("no paper".into()));
        assert_err!(ended.unwrap_err(), Failed);
        assert_eq!(row(&db, "a").retry, attempt);
    }

    assert_eq!(next_job(&pool), None);
    let job = row(&db, "a");
    assert_eq!(job.status, Status::Ignored);
    assert_eq!(history(&job).len(), 3);
}

#[test]
fn concurrent_claims_get_different_jobs() {
    const CLAIMERS: usize = 4;
    let db = TestDb::new();
    let pool = db.pool(CLAIMERS as u32);
    let ids: Vec<String> = (0..CLAIMERS).map(|n| n.to_string()).collect();
    Job::create_many(
        &pool,
        ids.iter().map(|id| (id.as_str(), JobUpdates::default())),
    )
    .unwrap();

    let barrier = Barrier::new(CLAIMERS);
    let mut got: Vec<String> = std::thread::scope(|scope| {
        let claim = || {
            barrier.wait();
            Job::run_next(&pool, |job, _| {
                barrier.wait(); // until each has its job
                Ok(job.id.clone())
            })
        };
        let claimers: Vec<_> = (0..CLAIMERS).map(|_| scope.spawn(claim)).collect();
        let ended = claimers.into_iter().map(|claimer| claimer.join().unwrap());
        ended.map(|id| id.unwrap().unwrap()).collect()
    });

    got.sort();
    assert_eq!(got, ids);
}

/// Of tasks, with an order of their own, a `run_at`, and rows that cannot be read.
mod own_order {
    use super::*;

    fn next_task(pool: &TestPool) -> Option<i32> {
        Task::run_next(pool, |task, _| Ok(task.id)).unwrap()
    }

    #[test]
    fn the_tables_own_order_decides_what_is_next() {
        let (db, pool) = with_tasks(1..=4);
        db.sql("UPDATE tasks SET priority = 5 WHERE id = 3");
        db.sql("UPDATE tasks SET priority = -5 WHERE id = 1");
        // Whichever of the statuses it is ready from.
        db.sql("UPDATE tasks SET status = 30 WHERE id IN (1, 2)");

        assert_eq!(drain::<Task>(|| next_task(&pool)), [3, 2, 4, 1]);
    }

    #[test]
    fn a_job_whose_time_has_not_come_waits() {
        let (db, pool) = with_tasks(1..=3);
        let run_at = |id, at: diesel_status_tracker::clock::Clock<_>| {
            diesel::update(tasks::table.find(id))
                .set(tasks::run_at.eq(at))
                .execute(&mut *db.conn())
                .unwrap();
        };
        run_at(1, from_now(Duration::from_secs(60)));
        run_at(2, ago(Duration::from_secs(60)));

        // The third has none, and is due.
        assert_eq!(drain::<Task>(|| next_task(&pool)), [2, 3]);
        let early = Task::start(&pool, 1).unwrap_err();
        assert_err!(
            early,
            NotReady {
                run_at: Some(_),
                ..
            }
        );
        assert!(early.to_string().contains("tasks 1"), "{early}");
        assert_eq!(seen(&db, 1), (Status::Pending, false, 0));

        run_at(1, ago(Duration::from_secs(1)));
        assert_eq!(next_task(&pool), Some(1));
    }

    #[test]
    fn a_row_that_cannot_be_read_is_released_and_named() {
        let (db, pool) = with_tasks([1]);
        db.sql("UPDATE tasks SET note = NULL, status = 30, retry = 2");

        let next = Task::run_next(&pool, |_, _| -> Result<(), _> { panic!("it ran") }).unwrap_err();
        let start = Task::start(&pool, 1).unwrap_err();

        for error in [next, start] {
            assert_err!(error, Database);
            assert!(error.to_string().contains("tasks 1"), "{error}");
        }
        assert_eq!(seen(&db, 1), (Status::Failed, false, 2));
        db.sql("UPDATE tasks SET note = 'mended'");
        assert_eq!(drain::<Task>(|| next_task(&pool)), [1]);
    }

    #[test]
    fn rows_that_cannot_be_read_do_not_stop_the_others() {
        let (db, pool) = with_tasks(1..=9);
        db.sql("UPDATE tasks SET note = NULL WHERE id IN (1, 2, 3, 6)");

        // The first in the order are unreadable, and are passed over.
        let mut done = Vec::new();
        let last = loop {
            match Task::run_next(&pool, |task, _| Ok(task.id)) {
                Ok(Some(id)) => done.push(id),
                other => break other,
            }
        };

        assert_eq!(done, [4, 5, 7, 8, 9]);
        assert_err!(last.unwrap_err(), Database);
        for id in 1..=9 {
            let status = if done.contains(&id) {
                Status::Succeeded
            } else {
                Status::Pending
            };
            assert_eq!(seen(&db, id), (status, false, 0), "{id}");
        }
    }
}
