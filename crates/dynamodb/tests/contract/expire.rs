//! A lock counts as abandoned after it was watched, whatever the clocks say.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use dynamodb_status_tracker::blocking::BlockingCalls;
use dynamodb_status_tracker::{Error, ErrorLog};

use super::database::{other, raw, set, table, text, until};
use super::jobs::{Brief, Job, assert_err, step, version};

step! { Long { const LOCK_EXPIRE: Duration = Duration::from_secs(3_600); } }

/// Leaves the job as a killed worker does.
fn die<S: BlockingCalls<Job = Job>>(table: &dynamodb_status_tracker::Table, id: &str) {
    std::mem::forget(S::start(table, id).unwrap());
}

#[test]
fn a_dead_attempt_counts_as_one_failure_and_the_job_runs_again() {
    let table = table();
    Brief::create_and_save(&table, "a", version(0)).unwrap();
    die::<Brief>(&table, "a");
    until("the lock expires", || {
        Brief::run_job(&table, "a", |_, _| Ok(())).is_ok()
    });
    let job = Brief::find(&table, "a").unwrap().unwrap();
    assert_eq!((job.status, job.retry), (40, 0));
    let log = ErrorLog::read(&job.errors);
    assert_eq!(log.entries().len(), 1);
    assert!(
        log.entries()[0].error.contains("watched it for 50ms"),
        "{log:?}"
    );
}

#[test]
fn a_job_that_kills_its_worker_every_time_ends_ignored() {
    let table = table();
    Brief::create_and_save(&table, "a", version(0)).unwrap();
    for _ in 0..3 {
        until("it can be started", || {
            Brief::start(&table, "a").map(std::mem::forget).is_ok()
        });
    }
    until("it is ignored", || {
        matches!(
            Brief::start(&table, "a"),
            Err(Error::Ignored { retry: 3, .. })
        )
    });
}

#[test]
fn the_first_look_only_begins_the_watch() {
    let table = table();
    Brief::create_and_save(&table, "a", version(0)).unwrap();
    die::<Brief>(&table, "a");
    // However old its stamp is, in whatever clock.
    set(
        &table,
        "a",
        "lock_at",
        Some(AttributeValue::S("2001-01-01T00:00:00.000Z".into())),
    );
    for ahead in [-7_200, 0, 7_200] {
        let fresh = other(&table).clock_ahead(ahead).build();
        assert_err!(Brief::start(&fresh, "a"), Error::Locked { .. });
    }
}

#[test]
fn workers_whose_clocks_differ_by_hours_do_not_expire_a_live_attempt_and_do_expire_a_dead_one() {
    let table = table();
    Long::create_and_save(&table, "alive", version(0)).unwrap();
    Brief::create_and_save(&table, "dead", version(0)).unwrap();
    let alive = Long::start(&table, "alive").unwrap();
    die::<Brief>(&table, "dead");
    for ahead in [-5 * 3_600, 5 * 3_600] {
        let watcher = other(&table).clock_ahead(ahead).build();
        for _ in 0..5 {
            assert_err!(Long::start(&watcher, "alive"), Error::Locked { .. });
            assert_eq!(Long::expire_locks(&watcher).unwrap(), 0);
        }
    }
    let ahead = other(&table).clock_ahead(-5 * 3_600).build();
    until("the dead one is expired", || {
        Brief::start(&ahead, "dead").is_ok_and(|job| job.succeed().is_ok())
    });
    alive.succeed().unwrap();
}

#[test]
fn an_attempt_that_renews_is_not_expired_however_long_it_is_watched() {
    step! { Watched { const LOCK_EXPIRE: Duration = Duration::from_millis(400); } }
    let table = table();
    Watched::create_and_save(&table, "a", version(0)).unwrap();
    let job = Watched::start(&table, "a").unwrap();
    let watcher = other(&table).build();
    let began = std::time::Instant::now();
    while began.elapsed() < Duration::from_millis(1_200) {
        let asked = std::time::Instant::now();
        job.renew().unwrap();
        let expired = Watched::expire_locks(&watcher).unwrap();
        // A machine that stood still for so long did not renew in time.
        if asked.elapsed() < Duration::from_millis(200) {
            assert_eq!(expired, 0);
        } else if expired > 0 {
            return;
        }
    }
    job.succeed().unwrap();
}

#[test]
fn expire_locks_ends_dead_attempts_and_leaves_the_others() {
    let table = table();
    Brief::create_many(&table, (0..30).map(|n| (n.to_string(), version(0)))).unwrap();
    for n in 0..10 {
        die::<Brief>(&table, &n.to_string());
    }
    let watcher = other(&table).build();
    let mut expired = 0;
    until("all are expired", || {
        expired += Brief::expire_locks(&watcher).unwrap();
        expired == 10
    });
    assert_eq!(Brief::expire_locks(&watcher).unwrap(), 0);
    assert_eq!(Brief::query_by_status(&table, 30, 100).unwrap().len(), 10);
    assert_eq!(Brief::query_by_status(&table, 10, 100).unwrap().len(), 20);
}

#[test]
fn a_search_comes_across_dead_attempts_and_takes_their_jobs() {
    let table = table();
    Brief::create_and_save(&table, "a", version(0)).unwrap();
    die::<Brief>(&table, "a");
    let other = other(&table).build();
    let mut job = None;
    until("the job is claimed", || {
        job = Brief::claim_next(&other, 1).unwrap().pop();
        job.is_some()
    });
    let job = job.unwrap();
    assert_eq!(job.retry, 1);
    job.succeed().unwrap();
}

#[test]
fn a_lock_by_hand_never_expires() {
    let table = table();
    Brief::create_and_save(&table, "a", version(0)).unwrap();
    set(&table, "a", "lock", Some(AttributeValue::S("ada".into())));
    let error = Brief::start(&table, "a").unwrap_err();
    assert_err!(Err::<(), _>(error), Error::Locked { dead_at: None, .. });
    assert_eq!(text(&raw(&table, "a").unwrap(), "lock"), "ada");
    assert!(Brief::claim_next(&table, 1).unwrap().is_empty());
}
