//! Code of the user's that panics where no job runs: in what an error says of
//! itself, in the policy of a step, in what is dropped. It costs the job one
//! failed attempt, and neither a thread nor the process.

use std::error::Error as StdError;
use std::fmt::{self, Debug, Display, Formatter};
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use diesel::prelude::*;
use diesel_status_tracker::{BoxError, Error, Event, StatusTracked};
use serde_json::Value;

use super::database::{TestDb, TestPool};
use super::jobs::Status;
use super::tasks::{Task, die, seen, tasks, with_tasks};
use super::worker::summary;

/// What of an error panics, or has no end.
#[derive(Clone, Copy, PartialEq)]
enum Broken {
    Display,
    Debug,
    Source,
    Endless,
    Drop,
}

struct BrokenError(Broken);

impl Display for BrokenError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("no pa")?;
        assert!(self.0 != Broken::Display, "no display");
        f.write_str("per")
    }
}

impl Debug for BrokenError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        assert!(self.0 != Broken::Debug, "no debug");
        f.write_str("NoPaper")
    }
}

impl StdError for BrokenError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        assert!(self.0 != Broken::Source, "no source");
        (self.0 == Broken::Endless).then_some(self as _)
    }
}

impl Drop for BrokenError {
    fn drop(&mut self) {
        assert!(self.0 != Broken::Drop, "no drop");
    }
}

/// The errors that say what is wrong with them, and where in `errors` that is.
const ERRORS: [(Broken, &str, &str); 4] = [
    (
        Broken::Display,
        "error",
        "no pa (its `Display` panicked: no display)",
    ),
    (
        Broken::Debug,
        "traceback",
        "(its `Debug` panicked: no debug)",
    ),
    (Broken::Source, "error", "no paper\n(its `source` panicked)"),
    (
        Broken::Endless,
        "error",
        "no paper\n(and more sources, which are left out)",
    ),
];

/// Every way to run a job that ends with an error.
const WAYS: [fn(&TestPool, Broken); 7] = [
    |pool, broken| {
        told(Task::run_job(pool, 1, |_, _| fail(broken)));
    },
    |pool, broken| {
        told(Task::run_next(pool, |_, _| fail(broken)));
    },
    |pool, broken| {
        Task::start(pool, 1)
            .unwrap()
            .fail(BrokenError(broken))
            .unwrap()
    },
    |pool, broken| {
        told(Task::run_job_in_transaction(pool, 1, |_, _, _| {
            fail(broken)
        }));
    },
    |pool, broken| {
        let mut next = Task::claim_next(pool, 5).unwrap();
        told(next.remove(0).run_in_transaction(|_, _, _| fail(broken)));
    },
    |pool, broken| {
        let done = in_time(pool, move |pool| {
            Once::worker(&pool).run_until_empty(|_, _| fail(broken))
        });
        assert_eq!(done, summary(|s| s.ignored = 1));
    },
    |pool, broken| {
        let done = in_time(pool, move |pool| {
            Once::worker(&pool).run_in_transaction_until_empty(|_, _, _| fail(broken))
        });
        assert_eq!(done, summary(|s| s.ignored = 1));
    },
];

/// A step that tries each job once.
struct Once;
step! { Once on Task { const MAX_RETRY: i32 = 1; } }

fn fail(broken: Broken) -> Result<(), BoxError> {
    Err(BrokenError(broken).into())
}

/// Holds that the caller gets the error, and can show it.
fn told<T: Debug>(ended: Result<T, Error>) {
    let error = ended.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("failed, and the failure is recorded: no pa"),
        "{error}"
    );
    let Error::Failed { source, .. } = error else {
        unreachable!()
    };
    assert!(source.is::<BrokenError>());
    let _dropped = catch_unwind(AssertUnwindSafe(|| drop(source)));
}

/// What a worker does, which is to come to its end.
pub fn in_time<T: Send + 'static>(
    pool: &TestPool,
    work: impl FnOnce(TestPool) -> Result<T, Error> + Send + 'static,
) -> T {
    let (done, is_done) = mpsc::channel();
    let pool = pool.clone();
    thread::spawn(move || done.send(work(pool)));
    let done = is_done.recv_timeout(Duration::from_secs(60));
    done.expect("the worker comes to its end").unwrap()
}

pub fn errors(db: &TestDb, id: i32) -> Value {
    let errors = tasks::table.find(id).select(tasks::errors);
    errors.get_result(&mut *db.conn()).unwrap()
}

#[test]
fn an_error_that_cannot_be_shown_is_a_failed_attempt_that_says_so() {
    for way in WAYS {
        for (broken, field, text) in ERRORS {
            let (db, _) = with_tasks([1]);
            let pool = db.pool(2);

            way(&pool, broken);

            let (status, is_locked, retry) = seen(&db, 1);
            assert!(matches!(status, Status::Failed | Status::Ignored));
            assert_eq!((is_locked, retry), (false, 1));
            assert_eq!(errors(&db, 1)[field], text);
        }
    }
}

#[test]
fn an_error_that_cannot_be_dropped_is_a_failed_attempt() {
    for way in WAYS {
        let (db, _) = with_tasks([1]);
        let pool = db.pool(2);

        way(&pool, Broken::Drop);

        assert_eq!(seen(&db, 1).2, 1);
        assert_eq!(errors(&db, 1)["error"], "no paper");
    }
}

/// A step whose schedule is too short.
pub struct Short;
step! { Short on Task {
    const RETRY_DELAY: Option<fn(i32) -> Duration> = Some(|retry| SCHEDULE[retry.unsigned_abs() as usize]);
} }
static SCHEDULE: [Duration; 1] = [Duration::ZERO];
const TOO_SHORT: &str = "`RETRY_DELAY` panicked, so the job is ready at once: \
    panic: index out of bounds: the len is 1 but the index is 1";

/// Every way in which an attempt fails, and what is recorded of it.
const FAILURES: [(fn(&TestDb, &TestPool), &str); 8] = [
    (
        |_, pool| {
            drop(Short::run_job(pool, 1, |_, _| Err::<(), _>("no paper".into())).unwrap_err())
        },
        "no paper",
    ),
    (
        |_, pool| drop(Short::run_next(pool, |_, _| Err::<(), _>("no paper".into())).unwrap_err()),
        "no paper",
    ),
    (
        |_, pool| Short::start(pool, 1).unwrap().fail("no paper").unwrap(),
        "no paper",
    ),
    (
        |_, pool| {
            let run =
                || Short::run_job(pool, 1, |_, _| -> Result<(), BoxError> { panic!("a jam") });
            catch_unwind(AssertUnwindSafe(run)).unwrap_err();
        },
        "panic: a jam",
    ),
    (
        |_, pool| {
            let ended =
                Short::run_job_in_transaction(pool, 1, |_, _, _| Err::<(), _>("no paper".into()));
            ended.unwrap_err();
        },
        "no paper",
    ),
    (
        |_, pool| drop(Short::start(pool, 1).unwrap()),
        "the job was dropped unfinished: neither `succeed` nor `fail` was called",
    ),
    (
        |db, pool| {
            die::<Short>(db, pool, 1);
            assert_eq!(Short::expire_locks(pool).unwrap(), 1);
        },
        EXPIRED,
    ),
    (
        |db, pool| {
            die::<Short>(db, pool, 1);
            // It takes the lock over, and is dropped.
            Short::start(pool, 1).unwrap().succeed().unwrap();
            db.sql("UPDATE tasks SET status = 30, retry = 1");
        },
        EXPIRED,
    ),
];
const EXPIRED: &str =
    "the lock expired: the worker died, or ran for longer than LOCK_EXPIRE without renewing";

#[test]
fn a_job_whose_delay_panics_is_ready_at_once_and_says_so() {
    for (fail, text) in FAILURES {
        let (db, _) = with_tasks([1]);
        let pool = db.pool(2);

        fail(&db, &pool);

        assert_eq!(seen(&db, 1), (Status::Failed, false, 1));
        assert_eq!(errors(&db, 1)["error"], format!("{text}\n{TOO_SHORT}"));
        assert_eq!(
            Short::run_next(&pool, |task, _| Ok(task.id)).unwrap(),
            Some(1)
        );
    }
}

#[test]
fn a_worker_goes_on_where_delays_panic() {
    for threads in [1, 3] {
        let (db, _) = with_tasks(1..=20);
        let pool = db.pool(2);
        die::<Short>(&db, &pool, 1);
        let done = in_time(&pool, move |pool| {
            let worker = Short::worker(&pool).threads(threads).batch(4);
            worker.run_until_empty(|task, _| match task.id {
                2 => Err("no paper".into()),
                _ => Ok(()),
            })
        });

        let expected = summary(|s| (s.succeeded, s.failed, s.ignored, s.expired) = (19, 2, 1, 1));
        assert_eq!(done, expected);
        assert_eq!(seen(&db, 2), (Status::Ignored, false, 3));
    }
}

/// The payload of a panic, which panics with another when it is dropped.
pub struct Payload;

impl Drop for Payload {
    fn drop(&mut self) {
        panic_any(Self);
    }
}

#[test]
fn a_panic_whose_payload_panics_is_a_failed_attempt() {
    let (db, _) = with_tasks(1..=6);
    let pool = db.pool(2);

    let run = || {
        Once::run_job(&pool, 1, |_, _| -> Result<(), BoxError> {
            panic_any(Payload)
        })
    };
    std::mem::forget(catch_unwind(AssertUnwindSafe(run)).unwrap_err());
    let done = in_time(&pool, |pool| {
        let worker = Once::worker(&pool).threads(2).batch(2);
        worker.run_until_empty(|task, _| match task.id {
            2 => panic_any(Payload),
            _ => Ok(()),
        })
    });
    assert_eq!(done, summary(|s| (s.succeeded, s.ignored) = (4, 1)));
    db.sql("UPDATE tasks SET status = 10 WHERE id = 3");
    let done = in_time(&pool, |pool| {
        let worker = Once::worker(&pool);
        worker.run_in_transaction_until_empty(|_, _, _| panic_any(Payload))
    });
    assert_eq!(done, summary(|s| s.ignored = 1));

    for id in [1, 2, 3] {
        assert_eq!(seen(&db, id), (Status::Ignored, false, 1));
        assert_eq!(errors(&db, id)["error"], "panic: the payload is no text");
    }
}

#[test]
fn an_observer_whose_panics_panic_does_no_harm() {
    let (db, _) = with_tasks(1..=6);
    let pool = db.pool(2);
    die::<Short>(&db, &pool, 1);

    let done = in_time(&pool, |pool| {
        let worker = Task::worker(&pool).threads(2).batch(2);
        let worker = worker.observer(|_: &Event<'_>| panic_any(Payload));
        worker.run_until_empty(|_, _| Ok(()))
    });

    assert_eq!(done, summary(|s| (s.succeeded, s.expired) = (6, 1)));
}

#[test]
fn jobs_that_panic_do_not_stop_the_others() {
    let (db, _) = with_tasks(1..=50);
    let pool = db.pool(2);

    let done = in_time(&pool, |pool| {
        let worker = Once::worker(&pool).threads(4).batch(10);
        worker.run_until_empty(|task, _| match task.id {
            10 => fail(Broken::Display),
            20 => fail(Broken::Debug),
            30 => fail(Broken::Endless),
            40 => panic_any(Payload),
            _ => Ok(()),
        })
    });

    assert_eq!(done, summary(|s| (s.succeeded, s.ignored) = (46, 4)));
    let left = tasks::table.filter(tasks::lock.is_not_null()).count();
    assert_eq!(left.get_result(&mut *db.conn()), Ok(0_i64));
}
