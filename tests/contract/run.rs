//! `run_job`: what a success, a failure and a panic leave in the row, and who
//! is refused.

use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::time::Duration;

use diesel_status_tracker::{BoxError, Error, StatusTracked};
use serde_json::{Value, json};

use super::database::TestPool;
use super::jobs::{
    Job, JobUpdates, Status, age_lock, assert_names, data, history, one_job, row, set_status,
};

fn fail(pool: &TestPool, message: &str) -> Error {
    Job::run_job(pool, "a", |_, _| Err::<(), _>(message.into())).unwrap_err()
}

#[test]
fn success_writes_the_updates_with_the_mark_and_passes_the_value() {
    let (db, pool) = one_job();
    let before = row(&db, "a");

    let value = Job::run_job(&pool, "a", |job, updates| {
        let running = row(&db, "a");
        assert_eq!(running.status, Status::InProgress);
        assert!(running.lock.is_some() && running.lock_at.is_some());
        assert_eq!(**job, running);
        *updates = data(json!("new"));
        Ok(job.id.len())
    });

    assert_eq!(value.unwrap(), 1);
    let after = row(&db, "a");
    assert!(after.update_at >= before.update_at && after.lock_at.is_some());
    let expected = Job {
        status: Status::Succeeded,
        data: Some(json!("new")),
        update_at: after.update_at,
        lock_at: after.lock_at,
        ..before
    };
    assert_eq!(after, expected);
}

#[test]
fn a_failed_job_does_not_write_its_updates() {
    let (db, pool) = one_job();
    let before = row(&db, "a");

    let ended = Job::run_job(&pool, "a", |_, updates| {
        *updates = data(json!("new"));
        Err::<(), _>("no paper".into())
    });

    let error = ended.unwrap_err();
    assert_err!(error, Failed);
    assert_names(&error, "a");
    let after = row(&db, "a");
    let at = after.errors["at"].as_str().unwrap();
    chrono::DateTime::parse_from_rfc3339(at).unwrap();
    let entry = json!({
        "error": "no paper", "traceback": "\"no paper\"", "attempt": 1, "at": at,
    });
    let mut errors = entry.clone();
    errors["history"] = json!([entry]);
    let expected = Job {
        status: Status::Failed,
        retry: 1,
        errors,
        update_at: after.update_at,
        lock_at: after.lock_at,
        ..before
    };
    assert_eq!(after, expected);
}

#[test]
fn the_third_failure_of_three_is_ignored() {
    let (db, pool) = one_job();

    for (retry, status) in [
        (1, Status::Failed),
        (2, Status::Failed),
        (3, Status::Ignored),
    ] {
        fail(&pool, "no paper");
        let job = row(&db, "a");
        assert_eq!((job.retry, job.status, job.lock), (retry, status, None));
    }

    let before = row(&db, "a");
    let error = Job::run_job(&pool, "a", |_, _| -> Result<(), _> { panic!("it ran") }).unwrap_err();
    assert_err!(error, Ignored { retry: 3, .. });
    assert_names(&error, "a");
    assert_eq!(row(&db, "a"), before);
}

#[test]
fn a_success_forgets_the_failures_but_not_the_errors() {
    let (db, pool) = one_job();
    fail(&pool, "no paper");
    fail(&pool, "no ink");
    let errors = row(&db, "a").errors;

    Job::run_job(&pool, "a", |_, _| Ok(())).unwrap();

    let job = row(&db, "a");
    assert_eq!((job.status, job.retry), (Status::Succeeded, 0));
    assert_eq!(job.errors, errors);
    assert_eq!(history(&job), ["no ink", "no paper"]);
}

#[test]
fn the_history_holds_the_last_ten_failures_newest_first() {
    struct Patient;
    step! { Patient on Job { const MAX_RETRY: i32 = 20; } }
    let (db, pool) = one_job();

    for n in 1..=12 {
        let ended = Patient::run_job(&pool, "a", |_, _| Err::<(), _>(format!("no {n}").into()));
        assert_err!(ended.unwrap_err(), Failed);
    }

    let job = row(&db, "a");
    assert_eq!((job.status, job.retry), (Status::Failed, 12));
    let expected: Vec<_> = (3..=12).rev().map(|n| format!("no {n}")).collect();
    assert_eq!(history(&job), expected);
    assert_eq!(job.errors["error"], "no 12");
    assert_eq!(job.errors["attempt"], 12);
    assert_eq!(job.errors["history"][9]["attempt"], 3);
}

#[test]
fn a_start_that_is_refused_says_why_and_changes_nothing() {
    let (db, pool) = one_job();
    let refused = |id: &str| {
        Job::run_job(&pool, id, |_, _| -> Result<(), _> { panic!("it ran") }).unwrap_err()
    };

    let missing = refused("b");
    assert_err!(missing, NotFound);
    assert_names(&missing, "b");

    set_status(&db, "a", Status::Succeeded);
    let before = row(&db, "a");
    let succeeded = refused("a");
    assert_err!(succeeded, AlreadySucceeded);
    assert_names(&succeeded, "a");
    assert_eq!(row(&db, "a"), before);

    // Another step's, and one that was left behind by hand.
    for status in [Status::Archived, Status::InProgress] {
        set_status(&db, "a", status);
        let before = row(&db, "a");
        let odd = refused("a");
        match &odd {
            Error::NotReady {
                status: found,
                run_at: None,
                ..
            } => assert_eq!(*found, status.to_string()),
            other => panic!("{other:?}"),
        }
        assert_names(&odd, "a");
        assert_eq!(row(&db, "a"), before);
    }
}

#[test]
fn a_held_job_is_locked_and_the_error_says_until_when() {
    let (db, pool) = one_job();

    Job::run_job(&pool, "a", |_, _| {
        let before = row(&db, "a");
        let error = Job::run_job(&pool, "a", |_, _| -> Result<(), _> { panic!("it ran") });
        let error = error.unwrap_err();
        assert_names(&error, "a");
        let Error::Locked {
            lock_at,
            expires_at,
            ..
        } = error
        else {
            panic!("{error:?}")
        };
        assert_eq!(lock_at, before.lock_at.map(|at| at.and_utc()));
        let expire = chrono::TimeDelta::from_std(Job::LOCK_EXPIRE).unwrap();
        assert_eq!(expires_at, lock_at.map(|at| at + expire));
        assert_eq!(row(&db, "a"), before);
        Ok(())
    })
    .unwrap();
}

#[test]
fn the_error_comes_back_as_it_was_and_is_recorded_with_its_causes() {
    #[derive(Debug, PartialEq)]
    struct NoPaper(Jam);
    #[derive(Debug, PartialEq)]
    struct Jam;
    impl std::fmt::Display for NoPaper {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("no paper")
        }
    }
    impl std::fmt::Display for Jam {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("paper jam")
        }
    }
    impl std::error::Error for NoPaper {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }
    impl std::error::Error for Jam {}
    let (db, pool) = one_job();

    let ended = Job::run_job(&pool, "a", |_, _| Err::<(), _>(NoPaper(Jam).into()));

    let error: &dyn std::error::Error = &ended.unwrap_err();
    let source = error.source().unwrap();
    assert_eq!(source.downcast_ref(), Some(&NoPaper(Jam)));
    let errors = row(&db, "a").errors;
    assert_eq!(errors["error"], "no paper\npaper jam");
    assert_eq!(errors["traceback"], "NoPaper(Jam)");
}

#[test]
fn any_error_type_works_with_a_question_mark() {
    fn work(kind: u8) -> Result<i32, BoxError> {
        Ok(match kind {
            0 => "x".parse::<i32>()?,
            1 => std::fs::read("/no/such/file")?.len().try_into()?,
            2 => serde_json::from_str("{")?,
            _ => Err("a text")?,
        })
    }
    struct Patient;
    step! { Patient on Job { const MAX_RETRY: i32 = 9; } }
    let (db, pool) = one_job();

    for (kind, part) in [
        (0, "invalid digit"),
        (1, "No such file"),
        (2, "line 1"),
        (3, "a text"),
    ] {
        let ended = Patient::run_job(&pool, "a", |_, _| work(kind));
        assert_err!(ended.unwrap_err(), Failed);
        let errors = row(&db, "a").errors;
        assert!(errors["error"].as_str().unwrap().contains(part), "{errors}");
    }
}

#[test]
fn a_panic_is_recorded_and_goes_on() {
    let panics: [(fn(), &str); 3] = [
        (|| panic!("boom"), "panic: boom"),
        (|| panic_any("boom 2".to_owned()), "panic: boom 2"),
        (|| panic_any(7_u8), "panic: the payload is no text"),
    ];
    for (boom, message) in panics {
        let (db, pool) = one_job();

        let ended = catch_unwind(AssertUnwindSafe(|| {
            Job::run_job(&pool, "a", |_, updates| {
                *updates = data(json!("new"));
                boom();
                Ok(())
            })
        }));

        let payload = ended.unwrap_err();
        match message {
            "panic: boom" => assert_eq!(payload.downcast_ref::<&str>(), Some(&"boom")),
            "panic: boom 2" => assert_eq!(payload.downcast_ref::<String>().unwrap(), "boom 2"),
            _ => assert_eq!(payload.downcast_ref::<u8>(), Some(&7)),
        }
        let job = row(&db, "a");
        assert_eq!(
            (job.status, job.retry, job.lock.clone()),
            (Status::Failed, 1, None)
        );
        assert_eq!(job.data, Some(json!("old")));
        assert_eq!(history(&job), [message]);
    }
}

#[test]
fn a_success_or_failure_that_comes_too_late_is_lock_lost() {
    for late in [Ok(()), Err(())] {
        let (db, pool) = one_job();
        let mut expired = None;

        let ended = Job::run_job(&pool, "a", |_, updates| {
            *updates = data(json!("new"));
            age_lock(&db, "a");
            assert_eq!(Job::expire_locks(&pool).unwrap(), 1);
            expired = Some(row(&db, "a"));
            late.map_err(|()| "no paper".into())
        });

        let error = ended.unwrap_err();
        assert_err!(error, LockLost);
        assert_names(&error, "a");
        assert_eq!(Some(row(&db, "a")), expired);
    }
}

#[test]
fn a_step_decides_its_policy() {
    struct Strict;
    step! { Strict on Job { const MAX_RETRY: i32 = 1; const LOCK_EXPIRE: Duration = Duration::from_secs(7200); } }
    let (db, pool) = one_job();

    let attempt = Strict::start(&pool, "a").unwrap();
    age_lock(&db, "a"); // by an hour: long enough for the other step only
    assert_eq!(Strict::expire_locks(&pool).unwrap(), 0);
    attempt.fail("no paper").unwrap();

    let job = row(&db, "a");
    assert_eq!((job.status, job.retry), (Status::Ignored, 1));
    assert_eq!(job.errors["attempt"], Value::from(1));
    Strict::create_and_save(&pool, "b", JobUpdates::default()).unwrap();
    assert_eq!(row(&db, "b").status, Status::Pending);
}
