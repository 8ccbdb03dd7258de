//! The guard of an attempt.

use dynamodb_status_tracker::blocking::BlockingCalls;
use dynamodb_status_tracker::{Error, ErrorLog};

use super::database::{other, raw, table, until};
use super::jobs::{Brief, Job, assert_err, version};

#[test]
fn a_late_attempt_writes_nothing() {
    let table = table();
    Brief::create_and_save(&table, "a", version(0)).unwrap();
    let late = || {
        let job = Brief::start(&table, "a").unwrap();
        // Another process watches the lock, takes the job and has it.
        let other = other(&table).build();
        let mut taken = None;
        until("the lock expires", || {
            taken = Brief::start(&other, "a").ok();
            taken.is_some()
        });
        (job, taken.unwrap())
    };
    let (job, taken) = late();
    let before = raw(&table, "a");
    assert_err!(job.renew(), Error::LockLost { .. });
    assert!(job.is_lost());
    assert_err!(job.save(version(5)), Error::LockLost { .. });
    assert_err!(job.succeed(), Error::LockLost { .. });
    assert_eq!(raw(&table, "a"), before);
    taken.succeed().unwrap();
    let done = raw(&table, "a");

    Brief::reset(&table, "a").unwrap();
    let (job, taken) = late();
    let before = raw(&table, "a");
    assert_err!(job.fail("late"), Error::LockLost { .. });
    assert_eq!(raw(&table, "a"), before);
    taken.succeed().unwrap();
    assert_ne!(raw(&table, "a"), done);
}

#[test]
fn an_expired_attempt_writes_nothing_although_nobody_has_taken_the_job() {
    let table = table();
    Brief::create_and_save(&table, "a", version(0)).unwrap();
    let job = Brief::start(&table, "a").unwrap();
    let other = other(&table).build();
    until("the lock expires", || {
        Brief::expire_locks(&other).unwrap() == 1
    });
    let before = raw(&table, "a");
    assert_err!(job.succeed(), Error::LockLost { .. });
    assert_eq!(raw(&table, "a"), before);
}

#[test]
fn a_dropped_attempt_is_a_failed_one() {
    let table = table();
    Job::create_and_save(&table, "a", version(0)).unwrap();
    drop(Job::start(&table, "a").unwrap());
    let job = Job::find(&table, "a").unwrap().unwrap();
    assert_eq!((job.status, job.retry), (30, 1));
    let error = ErrorLog::read(&job.errors).newest().unwrap().error.clone();
    assert!(error.contains("dropped unfinished"), "{error}");
}

#[test]
fn an_attempt_that_is_dropped_in_a_runtime_is_recorded_in_the_background() {
    use dynamodb_status_tracker::Calls;
    let table = table();
    <Job as BlockingCalls>::create_and_save(&table, "a", version(0)).unwrap();
    super::database::run(async {
        drop(<Job as Calls>::start(&table, "a").await.unwrap());
        loop {
            let job = <Job as Calls>::find(&table, "a").await.unwrap().unwrap();
            if job.status == 30 {
                break;
            }
        }
    });
}

#[test]
fn a_checkpoint_stays_when_the_attempt_fails() {
    let table = table();
    Job::create_and_save(&table, "a", version(0)).unwrap();
    let job = Job::start(&table, "a").unwrap();
    job.save(version(3)).unwrap();
    assert_eq!(Job::find(&table, "a").unwrap().unwrap().version, Some(3));
    job.fail("no").unwrap();
    let job = Job::find(&table, "a").unwrap().unwrap();
    assert_eq!((job.status, job.version), (30, Some(3)));
}

#[test]
fn the_guards_own_updates_are_written_on_success() {
    let table = table();
    Job::create_and_save(&table, "a", version(0)).unwrap();
    let mut job = Job::start(&table, "a").unwrap();
    job.updates().version = Some(9);
    job.renew().unwrap();
    job.succeed().unwrap();
    assert_eq!(Job::find(&table, "a").unwrap().unwrap().version, Some(9));
}
