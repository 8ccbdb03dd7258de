//! What an error asks for, and backoff.

use std::time::Duration;

use dynamodb_status_tracker::blocking::BlockingCalls;
use dynamodb_status_tracker::{BoxError, Error, Retry};

use super::database::{entries, other, raw, table, text};
use super::jobs::{Job, assert_err, step, version};

const HOUR: Duration = Duration::from_secs(3_600);

step! { Slow { const RETRY_DELAY: Option<fn(i32) -> Duration> = Some(|retry| HOUR * retry.cast_unsigned()); } }
step! { Odd { const RETRY_DELAY: Option<fn(i32) -> Duration> = Some(|_| panic!("no delay today")); } }

fn fail_with(table: &dynamodb_status_tracker::Table, retry: Retry) -> Error {
    let run = Job::run_job(table, "a", |_, _| {
        Err::<(), BoxError>(anyhow::Error::from(retry).context("why").into())
    });
    run.unwrap_err()
}

#[test]
fn never_ignores_the_job_at_once() {
    let table = table();
    Job::create_and_save(&table, "a", version(0)).unwrap();
    let error = fail_with(&table, Retry::never());
    assert_err!(Err::<(), _>(error), Error::Failed { .. });
    assert_err!(Job::start(&table, "a"), Error::Ignored { retry: 1, .. });
}

#[test]
fn a_released_job_is_as_if_it_had_not_been_claimed() {
    let table = table();
    Job::create_and_save(&table, "a", version(0)).unwrap();
    let error = fail_with(&table, Retry::release());
    assert_err!(Err::<(), _>(error), Error::Released { .. });
    let job = Job::find(&table, "a").unwrap().unwrap();
    assert_eq!((job.status, job.retry), (10, 0));
    Job::start(&table, "a").unwrap().succeed().unwrap();
}

#[test]
fn after_makes_the_job_wait_and_others_do_not_see_it_as_ready() {
    let table = table();
    Job::create_and_save(&table, "a", version(0)).unwrap();
    fail_with(&table, Retry::after(HOUR));
    assert_err!(
        Job::start(&table, "a"),
        Error::NotReady {
            run_at: Some(_),
            ..
        }
    );
    assert!(Job::claim_next(&table, 1).unwrap().is_empty());
    assert_eq!(entries(&table).len(), 1);
    // Two hours later by another machine's clock.
    let later = other(&table).clock_ahead(7_200).build();
    let jobs = Job::claim_next(&later, 1).unwrap();
    assert_eq!(jobs.len(), 1);
    for job in jobs {
        job.succeed().unwrap();
    }
    assert!(!raw(&table, "a").unwrap().contains_key("run_at"));
}

#[test]
fn however_a_job_fails_it_waits_longer_each_time() {
    let table = table();
    Slow::create_and_save(&table, "a", version(0)).unwrap();
    let mut run_at = Vec::new();
    for n in 0..2 {
        let later = other(&table).clock_ahead(n * 2 * 3_600).build();
        drop(Slow::start(&later, "a").unwrap());
        run_at.push(text(&raw(&table, "a").unwrap(), "run_at"));
    }
    assert!(run_at[0] < run_at[1], "{run_at:?}");
    Slow::reset(&table, "a").unwrap();
    Slow::start(&table, "a").unwrap().succeed().unwrap();
}

#[test]
fn a_policy_that_panics_is_recorded_and_the_job_is_ready_at_once() {
    let table = table();
    Odd::create_and_save(&table, "a", version(0)).unwrap();
    Odd::start(&table, "a").unwrap().fail("plain").unwrap();
    let job = Odd::find(&table, "a").unwrap().unwrap();
    assert!(
        job.errors["error"]
            .as_str()
            .unwrap()
            .contains("no delay today")
    );
    Odd::start(&table, "a").unwrap().succeed().unwrap();
}
