//! One job by its key.

use dynamodb_status_tracker::blocking::BlockingCalls;
use dynamodb_status_tracker::{BoxError, Error, ErrorLog, Failure};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::database::{entries, raw, set, table, text};
use super::jobs::{Job, assert_err, step, version};
use aws_sdk_dynamodb::types::AttributeValue;

#[test]
fn success_writes_the_updates_with_the_mark_and_passes_the_value() {
    let table = table();
    Job::create_and_save(&table, "a", version(0)).unwrap();
    let value = Job::run_job(&table, "a", |job, updates| {
        assert_eq!((job.status, job.version), (20, Some(0)));
        assert_eq!(text(&raw(&table, "a").unwrap(), "lock"), job.token());
        updates.version = Some(1);
        Ok("value")
    });
    assert_eq!(value.unwrap(), "value");
    let job = Job::find(&table, "a").unwrap().unwrap();
    assert_eq!((job.status, job.version, job.retry), (40, Some(1), 0));
    assert!(!raw(&table, "a").unwrap().contains_key("lock"));
    assert_eq!(entries(&table), [], "a finished job has left the index");
}

#[test]
fn a_failed_job_does_not_write_its_updates() {
    let table = table();
    Job::create_and_save(&table, "a", version(0)).unwrap();
    let run = Job::run_job(&table, "a", |_, updates| {
        updates.version = Some(1);
        Err::<(), BoxError>(anyhow::anyhow!("no ink").context("cannot print").into())
    });
    let Err(Error::Failed { job, source }) = run else {
        panic!("{run:?}");
    };
    assert!(job.ends_with(r#" "a""#), "{job}");
    assert_eq!(source.to_string(), "cannot print");
    let job = Job::find(&table, "a").unwrap().unwrap();
    assert_eq!((job.status, job.version, job.retry), (30, Some(0), 1));
    let log = ErrorLog::read(&job.errors);
    let newest = log.newest().unwrap();
    assert_eq!(newest.error, "cannot print\nno ink");
    assert_eq!(newest.attempt, Some(1));
    assert!(newest.at.is_some());
    assert_eq!(entries(&table).len(), 1, "it is still open");
}

#[test]
fn after_max_retry_failures_a_job_is_ignored_and_keeps_their_history() {
    let table = table();
    Job::create_and_save(&table, "a", version(0)).unwrap();
    for n in 1..=3 {
        Job::start(&table, "a")
            .unwrap()
            .fail(format!("failure {n}"))
            .unwrap();
    }
    assert_err!(Job::start(&table, "a"), Error::Ignored { retry: 3, .. });
    let job = Job::find(&table, "a").unwrap().unwrap();
    assert_eq!((job.status, job.retry), (50, 3));
    let log = ErrorLog::read(&job.errors);
    let errors: Vec<_> = log
        .entries()
        .iter()
        .map(|entry| entry.error.as_str())
        .collect();
    assert_eq!(errors, ["failure 3", "failure 2", "failure 1"]);
    assert_eq!(entries(&table), []);
}

#[test]
fn a_panic_is_recorded_and_goes_on() {
    let table = table();
    Job::create_and_save(&table, "a", version(0)).unwrap();
    let run = catch_unwind(AssertUnwindSafe(|| {
        Job::run_job(&table, "a", |_, _| -> Result<(), BoxError> {
            panic!("out of ink")
        })
    }));
    assert_eq!(run.unwrap_err().downcast_ref::<&str>(), Some(&"out of ink"));
    let job = Job::find(&table, "a").unwrap().unwrap();
    assert_eq!(job.status, 30);
    assert_eq!(
        ErrorLog::read(&job.errors).newest().unwrap().error,
        "panic: out of ink"
    );
}

#[test]
fn a_start_that_is_refused_says_why_and_changes_nothing() {
    let table = table();
    assert_err!(Job::start(&table, "a"), Error::NotFound { .. });
    Job::create_and_save(&table, "a", version(0)).unwrap();
    let held = Job::start(&table, "a").unwrap();
    let before = raw(&table, "a");
    let error = Job::start(&table, "a").unwrap_err();
    assert!(
        error
            .to_string()
            .contains("is locked: watched from here since"),
        "{error}"
    );
    assert_err!(
        Err::<(), _>(error),
        Error::Locked {
            dead_at: Some(_),
            ..
        }
    );
    assert_eq!(raw(&table, "a"), before);
    held.succeed().unwrap();
    let before = raw(&table, "a");
    assert_err!(Job::start(&table, "a"), Error::AlreadySucceeded { .. });
    set(&table, "b", "status", Some(AttributeValue::N("99".into())));
    assert_err!(
        Job::start(&table, "b"),
        Error::NotReady { run_at: None, .. }
    );
    assert_eq!(raw(&table, "a"), before);
}

#[test]
fn an_item_that_cannot_be_read_is_released_and_named() {
    let table = table();
    Job::create_and_save(&table, "a", version(0)).unwrap();
    set(
        &table,
        "a",
        "version",
        Some(AttributeValue::S("seven".into())),
    );
    let error = Job::start(&table, "a").unwrap_err();
    assert!(
        error.to_string().contains(r#""a" cannot be read"#),
        "{error}"
    );
    let item = raw(&table, "a").unwrap();
    assert_eq!(
        (text(&item, "status"), text(&item, "retry")),
        ("10".into(), "0".into())
    );
    assert!(!item.contains_key("lock"));
    set(
        &table,
        "b",
        "status",
        Some(AttributeValue::S("unheard of".into())),
    );
    assert_err!(Job::start(&table, "b"), Error::Unreadable { .. });
}

#[test]
fn null_as_lock_is_no_lock() {
    let table = table();
    Job::create_and_save(&table, "a", version(0)).unwrap();
    set(&table, "a", "lock", Some(AttributeValue::Null(true)));
    Job::run_job(&table, "a", |_, _| Ok(())).unwrap();
}

step! { Redacted {
    fn redact(failure: &mut Failure) {
        failure.traceback.clear();
        failure.error = failure.error.replace("secret", "***");
    }
} }

#[test]
fn what_redact_removes_is_written_nowhere() {
    let table = table();
    Redacted::create_and_save(&table, "a", version(0)).unwrap();
    Redacted::start(&table, "a")
        .unwrap()
        .fail("the secret")
        .unwrap();
    Redacted::start(&table, "a")
        .unwrap()
        .fail("another secret")
        .unwrap();
    let item = format!("{:?}", raw(&table, "a"));
    assert!(
        !item.contains("secret") && item.contains("another ***"),
        "{item}"
    );
}

#[test]
fn a_failure_is_recorded_in_few_words_where_the_item_has_no_room() {
    let table = table();
    Job::create_and_save(&table, "a", version(0)).unwrap();
    // DynamoDB takes 400 KB an item.
    set(
        &table,
        "a",
        "big",
        Some(AttributeValue::S("x".repeat(398_000))),
    );
    Job::start(&table, "a")
        .unwrap()
        .fail("long ".repeat(10_000))
        .unwrap();
    let job = Job::find(&table, "a").unwrap().unwrap();
    assert_eq!((job.status, job.retry), (30, 1));
    assert!(
        ErrorLog::read(&job.errors)
            .newest()
            .unwrap()
            .error
            .starts_with("long long")
    );
}
