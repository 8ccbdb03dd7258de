//! What a step keeps of a failure: `redact` sees each text before the row does.

use std::panic::{AssertUnwindSafe, catch_unwind};

use diesel_status_tracker::{BoxError, Error, Failure, StatusTracked};
use serde_json::json;

use super::database::TestDb;
use super::jobs::{Job, Status, age_lock, history, one_job, row};

const SECRET: &str = "sk_4f9a";

/// A step that does not say it.
struct Discreet;
step! { Discreet on Job {
    const MAX_RETRY: i32 = 99;
    fn redact(failure: &mut Failure) {
        for text in [&mut failure.error, &mut failure.traceback] {
            *text = text.replace(SECRET, "***");
        }
    }
} }

/// The same, tried once.
struct Once;
step! { Once on Job {
    const MAX_RETRY: i32 = 1;
    fn redact(failure: &mut Failure) {
        Discreet::redact(failure);
    }
} }

fn refused() -> BoxError {
    format!("the key {SECRET} is not valid").into()
}

/// What `errors` holds, after so many failures that were redacted.
fn assert_redacted(db: &TestDb, failures: i32) {
    let job = row(db, "a");
    assert_eq!(job.retry, failures);
    let errors = job.errors.to_string();
    assert!(
        errors.contains("the key *** is not valid") && !errors.contains(SECRET),
        "{errors}"
    );
}

#[test]
fn neither_the_error_nor_its_traceback_nor_the_history_shows_the_secret() {
    let (db, pool) = one_job();
    let source = anyhow::anyhow!("the key {SECRET} is not valid").context("no answer");

    Discreet::run_job(&pool, "a", |_, _| Err::<(), _>(source.into())).unwrap_err();
    assert_redacted(&db, 1);
    assert_eq!(
        history(&row(&db, "a")),
        ["no answer\nthe key *** is not valid"]
    );
    Discreet::start(&pool, "a")
        .unwrap()
        .fail(refused())
        .unwrap();

    assert_redacted(&db, 2);
}

#[test]
fn the_caller_gets_the_error_as_it_is() {
    let (_db, pool) = one_job();

    let ended = Discreet::run_job(&pool, "a", |_, _| Err::<(), _>(refused()));

    let Error::Failed { source, .. } = ended.unwrap_err() else {
        panic!("it did not fail")
    };
    assert_eq!(source.to_string(), refused().to_string());
}

#[test]
fn a_panic_does_not_show_the_secret() {
    let (db, pool) = one_job();

    let panic = catch_unwind(AssertUnwindSafe(|| {
        Discreet::run_job(&pool, "a", |_, _| -> Result<(), BoxError> {
            panic!("{}", refused())
        })
    }));

    assert!(panic.is_err());
    assert_redacted(&db, 1);
    assert_eq!(history(&row(&db, "a")), ["panic: the key *** is not valid"]);
}

#[test]
fn a_transaction_that_fails_does_not_show_the_secret() {
    let (db, pool) = one_job();

    Discreet::run_job_in_transaction(&pool, "a", |_, _, _| Err::<(), _>(refused())).unwrap_err();

    assert_redacted(&db, 1);
}

#[test]
fn a_worker_does_not_show_the_secret() {
    let (db, pool) = one_job();

    let done = Once::worker(&pool).run_until_empty(|_, _| Err(refused()));

    assert_eq!(done.unwrap().ignored, 1);
    assert_redacted(&db, 1);
}

#[test]
fn a_worker_in_transactions_does_not_show_the_secret() {
    let (db, _) = one_job();
    let pool = db.pool(2);

    let done = Once::worker(&pool).run_in_transaction_until_empty(|_, _, _| Err(refused()));

    assert_eq!(done.unwrap().ignored, 1);
    assert_redacted(&db, 1);
}

#[test]
fn a_secret_where_a_long_error_is_cut_is_not_cut_in_two() {
    let (db, pool) = one_job();

    for before in 8 * 1024 - SECRET.len()..8 * 1024 {
        let long = "x".repeat(before) + SECRET + &"x".repeat(100);
        Discreet::start(&pool, "a").unwrap().fail(long).unwrap();

        let error = row(&db, "a").errors["error"].clone();
        let error = error.as_str().unwrap();
        assert!(!error.contains("sk") && error.ends_with("(cut at 8 KiB)"));
    }
}

#[test]
fn a_text_that_redact_makes_longer_is_cut_too() {
    struct Verbose;
    step! { Verbose on Job { fn redact(failure: &mut Failure) { failure.error = "\0".repeat(1024 * 1024); } } }
    let (db, pool) = one_job();

    Verbose::start(&pool, "a")
        .unwrap()
        .fail("no paper")
        .unwrap();

    let job = row(&db, "a");
    let error = history(&job)[0];
    assert!(error.ends_with("(cut at 8 KiB)") && !error.contains('\0'));
}

#[test]
fn a_redaction_that_panics_keeps_neither_text_and_the_failure_counts() {
    struct Clumsy;
    step! { Clumsy on Job { fn redact(_: &mut Failure) { panic!("no pattern") } } }
    let (db, pool) = one_job();

    Clumsy::run_job(&pool, "a", |_, _| Err::<(), _>(refused())).unwrap_err();

    let job = row(&db, "a");
    assert_eq!(
        (job.status, job.retry, job.lock.as_ref()),
        (Status::Failed, 1, None)
    );
    assert_eq!(job.errors["traceback"], json!(""));
    assert!(history(&job)[0].contains("`redact` panicked"));
}

#[test]
fn texts_of_the_tracker_itself_are_not_redacted() {
    struct Mute;
    step! { Mute on Job { fn redact(failure: &mut Failure) { failure.error.clear(); } } }
    let (db, pool) = one_job();
    let late = Mute::start(&pool, "a").unwrap();
    age_lock(&db, "a");

    Mute::expire_locks(&pool).unwrap();

    assert!(history(&row(&db, "a"))[0].contains("the lock expired"));
    drop(late);
}
