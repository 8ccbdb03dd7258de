//! How long each statement waits for a row that another transaction holds: an
//! own call for a moment; what is one of many, or can be done later, not at all.

use std::time::Duration;

use diesel_status_tracker::{Retry, StatusTracked};
use serde_json::json;

use super::database::{TestDb, TestPool};
use super::jobs::{Job, Status, age_lock, data, row};
use super::own_statements::{BRIEFLY, NEVER};
use super::pools::{Log, pool_with};
use super::sessions::refuse;
use super::tasks::{Task, with_tasks};
use super::worker::{self, create, summary, until};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Wait {
    Briefly,
    Never,
}
use Wait::{Briefly, Never};

/// So many jobs, and a log of what a pool of so many connections runs.
fn jobs(count: usize, connections: u32) -> (TestDb, TestPool, Log) {
    let (db, log) = (TestDb::new(), Log::default());
    let watched = log.clone();
    let pool = pool_with(db.url(), connections, move |conn| watched.watch(conn));
    create(&pool, count);
    log.take();
    (db, pool, log)
}

/// How long the updates and deletions since the last look would wait.
fn waits(log: &Log) -> Vec<Wait> {
    let is_change = |sql: &String| {
        sql.starts_with("UPDATE") || sql.starts_with("DELETE") || sql.contains("tracker_written")
    };
    let wait = |sql: String| match (sql.contains(BRIEFLY), sql.contains(NEVER)) {
        (true, false) => Briefly,
        (false, true) => Never,
        _ => panic!("it waits for as long as the session says: {sql}"),
    };
    let statements = log.statements().into_iter();
    statements.filter(is_change).map(wait).collect()
}

#[test]
fn a_call_for_one_job_waits_for_a_moment() {
    let (_db, pool, log) = jobs(1, 1);
    let ends: [fn(&TestPool); 4] = [
        |pool| Job::start(pool, "0").unwrap().fail("no paper").unwrap(),
        |pool| drop(Job::start(pool, "0").unwrap()),
        |pool| {
            let released = Job::run_job(pool, "0", |_, _| Err::<(), _>(Retry::release().into()));
            assert_err!(released.unwrap_err(), Released);
        },
        |pool| Job::run_job_in_transaction(pool, "0", |_, _, _| Ok(())).unwrap(),
    ];
    for end in ends {
        end(&pool);
        assert_eq!(waits(&log), [Briefly; 2]);
    }
    Job::reset(&pool, "0").unwrap();
    assert_eq!(waits(&log), [Briefly]);
    let attempt = Job::start(&pool, "0").unwrap();
    attempt.renew().unwrap();
    attempt.save(data(json!("half"))).unwrap();
    attempt.succeed().unwrap();
    assert_eq!(waits(&log), [Briefly; 4]);
}

#[test]
fn a_search_for_the_next_jobs_or_for_dead_attempts_does_not_wait() {
    let (db, pool, log) = jobs(7, 1);
    let mut claimed = Job::claim_next(&pool, 1).unwrap();
    claimed.extend(Job::claim_next(&pool, 5).unwrap());
    assert_eq!(claimed.len(), 6);
    assert!(!waits(&log).contains(&Briefly));
    for job in claimed {
        age_lock(&db, &job.id.clone());
        std::mem::forget(job);
    }
    assert_eq!(Job::expire_locks(&pool).unwrap(), 6);
    assert_eq!(waits(&log), [Never; 6]);

    // One by one, since they cannot be claimed together.
    refuse(&mut db.conn(), "NEW.id = '0' AND NEW.status = 20");
    assert_eq!(Job::claim_next(&pool, 7).unwrap().len(), 6);
    let waits = waits(&log);
    // They are dropped then, each with an end of its own.
    let (claims, ends) = waits.split_at(waits.len() - 6);
    assert!(claims.len() >= 7 && !claims.contains(&Briefly), "{waits:?}");
    assert_eq!(ends, [Briefly; 6]);
}

#[test]
fn an_unreadable_row_is_released_without_waiting() {
    let (db, _) = with_tasks([1]);
    db.sql("UPDATE tasks SET note = NULL");
    let log = Log::default();
    let watched = log.clone();
    let pool = pool_with(db.url(), 1, move |conn| watched.watch(conn));

    Task::start(&pool, 1).unwrap_err();

    assert_eq!(waits(&log), [Briefly, Never]);
}

#[test]
fn many_are_changed_together_with_a_short_wait_and_one_by_one_without() {
    let (db, pool, log) = jobs(4, 1);
    let keys = || (0..4).map(|n| n.to_string());
    assert_eq!(Job::reset_many(&pool, keys()).unwrap(), 4);
    assert_eq!(waits(&log), [Briefly]);
    refuse(&mut db.conn(), "NEW.id = '0' AND NEW.status = 10");
    Job::reset_many(&pool, keys()).unwrap_err();
    assert_eq!(waits(&log), [Briefly, Never, Never, Never, Never]);

    let all = [Job::PENDING];
    assert_eq!(Job::prune(&pool, &all, Duration::ZERO).unwrap(), 4);
    assert_eq!(waits(&log), [Briefly]);
}

#[test]
fn a_workers_outcomes_wait_shortly_when_written_together_and_not_when_written_alone() {
    struct Once;
    step! { Once on Job { const MAX_RETRY: i32 = 1; } }
    for new in [None, Some(json!("new"))] {
        let (db, pool, log) = jobs(3, 1);
        refuse(&mut db.conn(), "NEW.id = '0' AND NEW.status = 40");
        let worker = Once::worker(&pool).threads(1).batch(3);
        let worker = worker.finish_within(worker::NEVER);
        let done = worker.run_until_empty(|_, updates| {
            log.take();
            Ok(updates.data = new.clone())
        });

        assert_eq!(
            done.unwrap(),
            summary(|s| (s.succeeded, s.ignored) = (2, 1))
        );
        let mut waits = waits(&log);
        // Together, in one statement or several; each by itself; after each refusal
        // of "0" a renewal of its lock, and its next try; its failure.
        assert_eq!(waits[0], Briefly);
        waits.dedup_by(|wait, last| (*wait, *last) == (Briefly, Briefly));
        let alone = [Never, Never, Never, Briefly, Never, Briefly, Never, Briefly];
        assert_eq!(waits[1..], alone);
    }
}

#[test]
fn the_outcome_of_a_workers_lone_job_waits_shortly_for_a_held_row() {
    let (_db, pool, log) = jobs(1, 1);
    let done = Job::worker(&pool).threads(1).run_until_empty(|_, _| {
        log.take();
        Ok(())
    });
    assert_eq!(done.unwrap(), summary(|s| s.succeeded = 1));
    assert_eq!(waits(&log), [Briefly]);
}

#[test]
fn a_workers_renewal_does_not_wait_for_held_rows() {
    struct Brief;
    step! { Brief on Job { const LOCK_EXPIRE: Duration = Duration::from_millis(300); } }
    let (db, pool, log) = jobs(2, 2);
    let worker = Brief::worker(&pool).threads(1).batch(2);
    let done = worker.run_until_empty(|job, _| {
        log.take();
        let claimed = row(&db, &job.id).lock_at;
        until("renewed", || row(&db, &job.id).lock_at > claimed);
        assert!(waits(&log).contains(&Never));
        Ok(())
    });
    assert_eq!(done.unwrap(), summary(|s| s.succeeded = 2));
}
