//! What an error asks for with `Retry`, however it is wrapped, and how long a
//! failed job waits.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use anyhow::Context;
use diesel::prelude::*;
use diesel_status_tracker::clock::{ago, from_now};
use diesel_status_tracker::{BoxError, Error, Retry, StatusTracked};
use serde_json::{Value, json};

use super::database::{TestDb, TestPool};
use super::jobs::{Job, JobUpdates, Status, history, jobs, row};
use super::tasks::{Task, die, seen, tasks, with_tasks};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// A step on the same jobs: each failure in a row costs them an hour more.
struct Slow;
step! { Slow on Task {
    const RETRY_DELAY: Option<fn(i32) -> Duration> = Some(|retry| HOUR * retry.unsigned_abs());
} }

#[derive(Debug, thiserror::Error)]
#[error("printing")]
struct Printing(#[source] BoxError);

const WRAPPERS: i32 = 6;
/// In each wrapper, ended in each of two ways.
const ENDS: i32 = 2 * WRAPPERS;

/// The errors in which what `retry` makes can come, and what is recorded of
/// each before and after the text of the `Retry`.
fn wrapped(retry: fn() -> Retry) -> [(BoxError, &'static str, &'static str); WRAPPERS as usize] {
    let anyhow = |error: anyhow::Result<()>| -> BoxError {
        let question_mark = || Ok(error?);
        question_mark().unwrap_err()
    };
    [
        (retry().into(), "", ""),
        (Printing(retry().into()).into(), "printing\n", ""),
        (retry().because("no paper").into(), "", "\nno paper"),
        (anyhow(Err(retry().into())), "", ""),
        (anyhow(Err(retry()).context("printing")), "printing\n", ""),
        (
            anyhow(Err(retry().because("no paper")).context("printing")),
            "printing\n",
            "\nno paper",
        ),
    ]
}

/// Ends the tasks from 1 to `ENDS`, each with another of the errors, and holds
/// that the caller is told so.
fn end_each(pool: &TestPool, retry: fn() -> Retry, is_told: fn(&Error) -> bool) {
    for (id, (error, ..)) in (1..).zip(wrapped(retry)) {
        let told = Task::run_job(pool, id, |_, _| Err::<(), _>(error)).unwrap_err();
        assert!(is_told(&told), "{told:?}");
    }
    for (id, (error, ..)) in (WRAPPERS + 1..).zip(wrapped(retry)) {
        Task::start(pool, id).unwrap().fail(error).unwrap();
    }
}

fn is_failed(error: &Error) -> bool {
    matches!(error, Error::Failed { .. })
}

fn is_released(error: &Error) -> bool {
    matches!(error, Error::Released { .. })
}

fn errors(db: &TestDb, id: i32) -> Value {
    let errors = tasks::table.find(id).select(tasks::errors);
    errors.get_result(&mut *db.conn()).unwrap()
}

/// Holds that each of the errors of [`end_each`] was recorded, with what led to it.
fn assert_recorded(db: &TestDb, retry: fn() -> Retry) {
    let text = retry().to_string();
    let recorded = wrapped(retry).map(|(_, before, after)| format!("{before}{text}{after}"));
    for (id, expected) in (1..).zip(recorded.iter().chain(&recorded)) {
        assert_eq!(errors(db, id)["error"], *expected, "{id}");
    }
}

/// Whether the job waits for about so many hours from now.
fn waits(db: &TestDb, id: i32, hours: u32) -> bool {
    let latest = HOUR * hours;
    let waiting = tasks::run_at
        .le(from_now(latest))
        .and(tasks::run_at.gt(from_now(latest - HOUR / 2)));
    let row = tasks::table.find(id).filter(waiting).count();
    row.get_result(&mut *db.conn()) == Ok(1_i64)
}

fn has_no_run_at(db: &TestDb, id: i32) -> bool {
    let row = tasks::table.find(id).select(tasks::run_at.is_null());
    row.get_result(&mut *db.conn()).unwrap()
}

/// Lets all the time pass for which a job waits.
fn let_come_due(db: &TestDb) {
    diesel::update(tasks::table)
        .set(tasks::run_at.eq(ago(HOUR)))
        .execute(&mut *db.conn())
        .unwrap();
}

fn assert_waits_for_its_time<S: StatusTracked<Job = Task>>(pool: &TestPool, id: i32) {
    let early = S::start(pool, id).unwrap_err();
    assert_err!(
        early,
        NotReady {
            run_at: Some(_),
            ..
        }
    );
}

#[test]
fn a_job_is_tried_again_no_sooner_than_its_error_asks_for() {
    let (db, pool) = with_tasks(1..=ENDS);
    let in_two_hours = || Retry::after(HOUR * 2);

    end_each(&pool, in_two_hours, is_failed);

    assert_recorded(&db, in_two_hours);
    for id in 1..=ENDS {
        assert_eq!(seen(&db, id), (Status::Failed, false, 1), "{id}");
        assert!(waits(&db, id, 2), "{id}");
        assert_waits_for_its_time::<Task>(&pool, id);
    }
    assert_eq!(Task::run_next(&pool, |_, _| Ok(())).unwrap(), None);

    let_come_due(&db);
    for id in 1..=ENDS {
        let next = Task::run_next(&pool, |task, _| Ok(task.id)).unwrap();
        assert_eq!(next, Some(id));
    }
}

#[test]
fn at_its_last_try_a_job_that_asks_for_more_time_is_ignored() {
    let (db, pool) = with_tasks(1..=ENDS);
    db.sql("UPDATE tasks SET status = 30, retry = 2");

    end_each(&pool, || Retry::after(HOUR), is_failed);

    for id in 1..=ENDS {
        assert_eq!(seen(&db, id), (Status::Ignored, false, 3), "{id}");
        assert!(has_no_run_at(&db, id), "{id}");
    }
}

#[test]
fn a_job_that_is_never_to_be_tried_again_is_ignored_at_once() {
    let (db, pool) = with_tasks(1..=ENDS);

    end_each(&pool, Retry::never, is_failed);

    assert_recorded(&db, Retry::never);
    for id in 1..=ENDS {
        assert_eq!(seen(&db, id), (Status::Ignored, false, 1), "{id}");
        assert!(has_no_run_at(&db, id), "{id}");
    }
    assert_eq!(Task::run_next(&pool, |_, _| Ok(())).unwrap(), None);
}

#[test]
fn a_released_job_is_as_if_it_had_not_been_claimed() {
    for (odd, status, retry) in [
        ("status = 10, retry = 0", Status::Pending, 0),
        ("status = 30, retry = 2", Status::Failed, 2),
    ] {
        let (db, pool) = with_tasks(1..=ENDS);
        db.sql(&format!("UPDATE tasks SET {odd}, errors = '[1]'"));

        end_each(&pool, Retry::release, is_released);

        for id in 1..=ENDS {
            assert_eq!(seen(&db, id), (status, false, retry), "{id}");
            assert_eq!(errors(&db, id), json!([1]), "{id}");
            let next = Task::run_next(&pool, |task, _| Ok(task.id)).unwrap();
            assert_eq!(next, Some(id));
        }
    }
}

#[test]
fn a_released_job_goes_behind_those_that_have_waited_for_longer() {
    let db = TestDb::new();
    let pool = db.pool(1);
    for (id, hours) in [("first", 2), ("second", 1)] {
        Job::create_and_save(&pool, id, JobUpdates::default()).unwrap();
        diesel::update(jobs::table.find(id))
            .set(jobs::update_at.eq(ago(HOUR * hours)))
            .execute(&mut *db.conn())
            .unwrap();
    }
    let next = || Job::run_next(&pool, |job, _| Ok(job.id.clone())).unwrap();

    let released = Job::run_next(&pool, |job, _| {
        assert_eq!(job.id, "first");
        Err::<(), _>(Retry::release().into())
    });

    assert!(is_released(&released.unwrap_err()));
    assert_eq!(
        [next(), next()],
        ["second", "first"].map(|id| Some(id.into()))
    );
}

#[test]
fn the_error_comes_back_as_it_was_returned() {
    let (_db, pool) = with_tasks([1, 2]);
    for (id, retry) in [(1, Retry::never()), (2, Retry::release())] {
        let error = Task::run_job(&pool, id, |_, _| Err::<(), _>(retry.into())).unwrap_err();
        let (Error::Failed { source, .. } | Error::Released { source, .. }) = error else {
            panic!("{error:?}")
        };
        assert!(source.is::<Retry>(), "{source:?}");
    }
}

#[test]
fn a_transaction_that_returns_a_retry_is_rolled_back_and_the_retry_has_its_effect() {
    let (db, pool) = with_tasks(1..=3);
    let end = |id, error: Retry| {
        Task::run_job_in_transaction(&pool, id, |conn, _, _| {
            diesel::update(tasks::table.find(id))
                .set(tasks::priority.eq(7))
                .execute(conn)?;
            Err::<(), _>(error.into())
        })
        .unwrap_err()
    };

    assert!(is_failed(&end(1, Retry::after(HOUR))));
    assert!(is_failed(&end(2, Retry::never())));
    assert!(is_released(&end(3, Retry::release())));

    assert_eq!(seen(&db, 1), (Status::Failed, false, 1));
    assert!(waits(&db, 1, 1));
    assert_eq!(seen(&db, 2), (Status::Ignored, false, 1));
    assert_eq!(seen(&db, 3), (Status::Pending, false, 0));
    let written = tasks::table.filter(tasks::priority.eq(7)).count();
    assert_eq!(written.get_result(&mut *db.conn()), Ok(0_i64));
}

#[test]
fn without_a_run_at_column_a_job_is_ready_at_once() {
    let db = TestDb::new();
    let pool = db.pool(1);
    Job::create_and_save(&pool, "a", JobUpdates::default()).unwrap();

    let error = Job::run_job(&pool, "a", |_, _| Err::<(), _>(Retry::after(HOUR).into()));

    assert!(is_failed(&error.unwrap_err()));
    let job = row(&db, "a");
    assert_eq!((job.status, job.retry), (Status::Failed, 1));
    assert_eq!(history(&job), [Retry::after(HOUR).to_string()]);
    Job::run_job(&pool, "a", |_, _| Ok(())).unwrap();
}

/// Every way in which an attempt fails.
const FAILURES: [fn(&TestDb, &TestPool, i32); 6] = [
    |_, pool, id| {
        let error = Slow::run_job(pool, id, |_, _| Err::<(), _>("no paper".into()));
        assert!(is_failed(&error.unwrap_err()));
    },
    |_, pool, id| {
        let jam = || Slow::run_job(pool, id, |_, _| -> Result<(), BoxError> { panic!("a jam") });
        catch_unwind(AssertUnwindSafe(jam)).unwrap_err();
    },
    |_, pool, id| Slow::start(pool, id).unwrap().fail("no paper").unwrap(),
    |_, pool, id| drop(Slow::start(pool, id).unwrap()),
    |db, pool, id| {
        die::<Slow>(db, pool, id);
        assert_eq!(Slow::expire_locks(pool).unwrap(), 1);
    },
    |db, pool, id| {
        die::<Slow>(db, pool, id);
        // It takes the lock over, and finds a job that waits, or is ignored.
        let refused = Slow::start(pool, id).unwrap_err();
        assert!(
            matches!(
                refused,
                Error::NotReady {
                    run_at: Some(_),
                    ..
                } | Error::Ignored { retry: 3, .. }
            ),
            "{refused:?}"
        );
    },
];

#[test]
fn however_a_job_fails_it_waits_longer_each_time() {
    for fail in FAILURES {
        let (db, pool) = with_tasks([1]);
        for retry in 1..Slow::MAX_RETRY {
            fail(&db, &pool, 1);
            assert_eq!(seen(&db, 1), (Status::Failed, false, retry));
            assert!(waits(&db, 1, retry.unsigned_abs()), "{retry}");
            assert_waits_for_its_time::<Slow>(&pool, 1);
            assert_eq!(Slow::run_next(&pool, |_, _| Ok(())).unwrap(), None);
            let_come_due(&db);
        }

        db.sql("UPDATE tasks SET run_at = NULL");
        fail(&db, &pool, 1);

        assert_eq!(seen(&db, 1), (Status::Ignored, false, Slow::MAX_RETRY));
        assert!(has_no_run_at(&db, 1));
    }
}

#[test]
fn the_delay_of_an_error_comes_before_that_of_the_step() {
    let (db, pool) = with_tasks(1..=4);
    let end = |id, error: Retry| Slow::start(&pool, id).unwrap().fail(error).unwrap();

    end(1, Retry::after(HOUR * 5));
    end(2, Retry::after(Duration::ZERO));
    end(3, Retry::never());
    end(4, Retry::release());

    assert!(waits(&db, 1, 5));
    Slow::run_job(&pool, 2, |_, _| Ok(())).unwrap();
    assert_eq!(seen(&db, 3), (Status::Ignored, false, 1));
    assert!(has_no_run_at(&db, 3));
    assert_eq!(seen(&db, 4), (Status::Pending, false, 0));
    assert!(has_no_run_at(&db, 4));
}

#[test]
fn a_reset_job_does_not_wait_any_more() {
    let (db, pool) = with_tasks([1]);
    Slow::start(&pool, 1).unwrap().fail("no paper").unwrap();
    assert!(waits(&db, 1, 1));

    Slow::reset(&pool, 1).unwrap();

    Slow::run_job(&pool, 1, |_, _| Ok(())).unwrap();
}
