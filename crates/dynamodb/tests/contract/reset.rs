//! Reset, counts, searches, deletion.

use std::time::Duration;

use dynamodb_status_tracker::blocking::BlockingCalls;
use dynamodb_status_tracker::{Error, StatusTracked};

use super::database::{entries, other, table};
use super::jobs::{Job, assert_err, version};

#[test]
fn reset_makes_a_job_new_and_keeps_its_errors() {
    let table = table();
    assert_err!(Job::reset(&table, "a"), Error::NotFound { .. });
    Job::create_and_save(&table, "a", version(0)).unwrap();
    for _ in 0..3 {
        Job::start(&table, "a").unwrap().fail("no").unwrap();
    }
    Job::reset(&table, "a").unwrap();
    let job = Job::find(&table, "a").unwrap().unwrap();
    assert_eq!((job.status, job.retry), (10, 0));
    assert_eq!(job.errors["error"], "no");
    assert_eq!(entries(&table).len(), 1);
    Job::start(&table, "a").unwrap().succeed().unwrap();
    Job::reset(&table, "a").unwrap();
    Job::start(&table, "a").unwrap().succeed().unwrap();
}

#[test]
fn a_held_job_is_not_reset() {
    let table = table();
    Job::create_and_save(&table, "a", version(0)).unwrap();
    let held = Job::start(&table, "a").unwrap();
    assert!(Job::is_locked(&table, "a").unwrap());
    assert_err!(Job::reset(&table, "a"), Error::Locked { .. });
    held.succeed().unwrap();
    assert!(!Job::is_locked(&table, "a").unwrap());
}

#[test]
fn reset_many_skips_what_it_may_not_reset() {
    let table = table();
    let ids = ["a", "b", "c"];
    Job::create_many(&table, ids.map(|id| (id, version(0)))).unwrap();
    for id in ["a", "b"] {
        Job::start(&table, id).unwrap().succeed().unwrap();
    }
    let held = Job::start(&table, "c").unwrap();
    assert_eq!(Job::reset_many(&table, ["a", "b", "c", "d"]).unwrap(), 2);
    held.succeed().unwrap();
    let mut counts = Job::count_by_status(&table).unwrap();
    counts.sort_unstable();
    assert_eq!(counts, [(10, 2), (40, 1)]);
    assert_eq!(Job::query_by_status(&table, 10, 10).unwrap().len(), 2);
    assert_eq!(Job::query_by_status(&table, 10, 1).unwrap().len(), 1);
}

#[test]
fn only_old_finished_items_that_nobody_holds_are_pruned() {
    let table = table();
    Job::create_many(&table, ["a", "b", "c"].map(|id| (id, version(0)))).unwrap();
    Job::start(&table, "a").unwrap().succeed().unwrap();
    let held = Job::start(&table, "b").unwrap();
    let statuses = [Job::SUCCEEDED, Job::IN_PROGRESS];
    assert_eq!(
        Job::prune(&table, &statuses, Duration::from_secs(60)).unwrap(),
        0
    );
    let later = other(&table).clock_ahead(120).build();
    assert_eq!(
        Job::prune(&later, &statuses, Duration::from_secs(60)).unwrap(),
        1
    );
    assert_eq!(Job::find(&table, "a").unwrap(), None);
    held.succeed().unwrap();
    assert!(Job::find(&table, "c").unwrap().is_some());
}
