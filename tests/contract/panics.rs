//! Code of the user's that panics where no job runs: in what an error says of
//! itself, in the policy of a step, in what is dropped. It costs the job one
//! failed attempt, and neither a thread nor the process.

use std::error::Error as StdError;
use std::fmt::{self, Debug, Display, Formatter};
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::prelude::*;
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::{Integer, Text};
use diesel_status_tracker::{BoxError, Error, Event, StatusTracked};
use serde_json::Value;

use super::database::{TestDb, TestPool};
use super::jobs::Status;
use super::process::Worker;
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
fn in_time<T: Send + 'static>(
    pool: &TestPool,
    work: impl FnOnce(TestPool) -> Result<T, Error> + Send + 'static,
) -> T {
    let (done, is_done) = mpsc::channel();
    let pool = pool.clone();
    thread::spawn(move || done.send(work(pool)));
    let done = is_done.recv_timeout(Duration::from_secs(60));
    done.expect("the worker comes to its end").unwrap()
}

fn errors(db: &TestDb, id: i32) -> Value {
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
struct Short;
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

/// A row, and updates, that can hold what panics.
#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = tasks)]
struct Heavy {
    id: i32,
    #[expect(dead_code, reason = "it is read, which panics for some")]
    note: Note,
}

impl Drop for Heavy {
    fn drop(&mut self) {
        assert_ne!(self.id, UNDROPPABLE, "no drop of a row");
    }
}

#[derive(Debug, Default, Insertable, AsChangeset)]
#[diesel(table_name = tasks)]
struct HeavyUpdates {
    priority: Option<Priority>,
}

const UNDROPPABLE: i32 = 7;
const UNWRITABLE: i32 = 13;

#[derive(Debug, AsExpression)]
#[diesel(sql_type = Integer)]
struct Priority(i32);

impl Drop for Priority {
    fn drop(&mut self) {
        assert_ne!(self.0, UNDROPPABLE, "no drop of updates");
    }
}

impl<DB: diesel::backend::Backend> ToSql<Integer, DB> for Priority
where
    i32: ToSql<Integer, DB>,
{
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
        assert_ne!(self.0, UNWRITABLE, "no number");
        self.0.to_sql(out)
    }
}

#[derive(Debug, FromSqlRow)]
struct Note;

impl<DB: diesel::backend::Backend> FromSql<Text, DB> for Note
where
    String: FromSql<Text, DB>,
{
    fn from_sql(bytes: DB::RawValue<'_>) -> deserialize::Result<Self> {
        assert_ne!(String::from_sql(bytes)?, "unreadable");
        Ok(Self)
    }
}

step! { Heavy on Heavy {} }
tracked! {
    Heavy in tasks {
        key: (id: i32), status: Status, updates: HeavyUpdates, columns: { run_at: run_at },
        order_by: (tasks::id.asc()), status_field: none,
    }
}

fn set(updates: &mut HeavyUpdates, priority: i32) -> Result<(), BoxError> {
    updates.priority = Some(Priority(priority));
    Ok(())
}

fn priorities(db: &TestDb) -> Vec<i32> {
    let priorities = tasks::table.select(tasks::priority).order_by(tasks::id);
    priorities.load(&mut *db.conn()).unwrap()
}

/// Drops it while the thread unwinds.
fn unwind_over<T>(held: T) {
    let unwind = move || {
        let _held = held;
        panic!("a jam");
    };
    catch_unwind(AssertUnwindSafe(unwind)).unwrap_err();
}

/// What a process of its own does with the tasks 1, 2 and 7.
pub fn unwind_over_each(pool: &TestPool) {
    unwind_over(Short::start(pool, 1).unwrap());
    let mut attempt = Heavy::start(pool, 2).unwrap();
    set(&mut attempt.updates, UNDROPPABLE).unwrap();
    unwind_over(attempt);
    unwind_over(Heavy::start(pool, UNDROPPABLE).unwrap());
}

#[test]
fn a_panic_while_the_thread_unwinds_does_not_end_the_process() {
    let (db, _pool) = with_tasks([1, 2, UNDROPPABLE]);
    let mut process = Worker::start("unwind", db.url());

    assert_eq!(process.hear().as_deref(), Some("still here"));

    for id in [1, 2, UNDROPPABLE] {
        assert_eq!(seen(&db, id), (Status::Failed, false, 1), "{id}");
        let error = errors(&db, id)["error"].to_string();
        assert!(
            error.contains("the thread panicked while it held the job"),
            "{error}"
        );
    }
}

/// The payload of a panic, which panics with another when it is dropped.
struct Payload;

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
fn updates_that_panic_when_they_are_dropped_do_no_harm() {
    let (db, _) = with_tasks(1..=6);
    let pool = db.pool(2);
    let fail = |updates: &mut HeavyUpdates| {
        set(updates, UNDROPPABLE)?;
        Err::<(), BoxError>("no paper".into())
    };

    Heavy::run_job(&pool, 1, |_, updates| set(updates, UNDROPPABLE)).unwrap();
    Heavy::run_job_in_transaction(&pool, 2, |_, _, updates| set(updates, UNDROPPABLE)).unwrap();
    let done = in_time(&pool, |pool| {
        let worker = Heavy::worker(&pool).threads(2).batch(2);
        worker.run_until_empty(|_, updates| set(updates, UNDROPPABLE))
    });
    assert_eq!(done, summary(|s| s.succeeded = 4));
    assert_eq!(priorities(&db), [UNDROPPABLE; 6]);

    db.sql("UPDATE tasks SET status = 10");
    Heavy::run_job(&pool, 1, |_, updates| fail(updates)).unwrap_err();
    Heavy::run_job_in_transaction(&pool, 2, |_, _, updates| fail(updates)).unwrap_err();
    let mut attempt = Heavy::start(&pool, 3).unwrap();
    set(&mut attempt.updates, UNDROPPABLE).unwrap();
    attempt.fail("no paper").unwrap();
    for id in 1..=3 {
        assert_eq!(seen(&db, id), (Status::Failed, false, 1));
        assert_eq!(errors(&db, id)["error"], "no paper");
    }
    let done = in_time(&pool, move |pool| {
        Heavy::worker(&pool).run_until_empty(move |_, updates| fail(updates))
    });
    assert_eq!(done, summary(|s| (s.failed, s.ignored) = (9, 6)));
}

#[test]
fn a_row_that_panics_when_it_is_dropped_does_no_harm() {
    let (db, _) = with_tasks(5..=9);
    let pool = db.pool(2);

    Heavy::run_job(&pool, UNDROPPABLE, |_, _| Ok(())).unwrap();
    db.sql("UPDATE tasks SET status = 10");
    let done = in_time(&pool, |pool| {
        let worker = Heavy::worker(&pool).threads(2).batch(2);
        worker.run_until_empty(|_, _| Ok(()))
    });

    assert_eq!(done, summary(|s| s.succeeded = 5));
}

#[test]
fn updates_that_panic_when_they_are_written_are_a_failed_attempt() {
    let (db, _) = with_tasks(1..=6);
    let pool = db.pool(2);
    let run: [&dyn Fn(); 3] = [
        &|| {
            drop(Heavy::run_job(&pool, 1, |_, updates| {
                set(updates, UNWRITABLE)
            }))
        },
        &|| {
            drop(Heavy::run_job_in_transaction(&pool, 1, |_, _, updates| {
                set(updates, UNWRITABLE)
            }))
        },
        &|| {
            let mut attempt = Heavy::start(&pool, 1).unwrap();
            set(&mut attempt.updates, UNWRITABLE).unwrap();
            attempt.succeed().unwrap();
        },
    ];
    for run in run {
        catch_unwind(AssertUnwindSafe(run)).unwrap_err();
        assert_eq!(seen(&db, 1), (Status::Failed, false, 1));
        assert_eq!(
            errors(&db, 1)["error"],
            "panic: assertion `left != right` failed: no number\n  left: 13\n right: 13"
        );
        Task::reset(&pool, 1).unwrap();
    }
    db.sql("UPDATE tasks SET errors = '{}'");

    // The connection goes with the panic: nobody is to wait for it.
    let pool = db.pool(4);
    for in_transaction in [false, true] {
        let done = in_time(&pool, move |pool| {
            let worker = Heavy::worker(&pool).threads(2).batch(3);
            let priority = |id| if id == 1 { UNWRITABLE } else { id };
            if in_transaction {
                worker.run_in_transaction_until_empty(|_, task, updates| {
                    set(updates, priority(task.id))
                })
            } else {
                worker.run_until_empty(|task, updates| set(updates, priority(task.id)))
            }
        });

        assert_eq!(
            done,
            summary(|s| (s.succeeded, s.failed, s.ignored) = (5, 2, 1))
        );
        assert_eq!(priorities(&db), [0, 2, 3, 4, 5, 6]);
        assert_eq!(seen(&db, 1), (Status::Ignored, false, 3));
        let errors = errors(&db, 1);
        assert!(
            errors["error"].to_string().contains("no number"),
            "{errors}"
        );
        db.sql("UPDATE tasks SET status = 10, retry = 0, priority = 0");
    }
}

#[test]
fn rows_that_panic_when_they_are_read_are_passed_over() {
    for batch in [1, 3, 20] {
        let (db, _) = with_tasks(1..=9);
        let pool = db.pool(2);
        db.sql("UPDATE tasks SET note = 'unreadable' WHERE id IN (1, 2, 5)");

        let done = in_time(&pool, move |pool| {
            let worker = Heavy::worker(&pool).threads(1).batch(batch);
            worker.run_until_empty(|_, _| Ok(()))
        });

        assert!(done.unreadable > 0);
        assert_eq!(
            done,
            summary(|s| (s.succeeded, s.unreadable) = (6, done.unreadable))
        );
        for id in 1..=9 {
            let expected = match id {
                1 | 2 | 5 => Status::Pending,
                _ => Status::Succeeded,
            };
            assert_eq!(seen(&db, id), (expected, false, 0), "{id}");
        }
        let error = Heavy::start(&pool, 1).unwrap_err();
        assert!(error.to_string().contains("panicked"), "{error}");
        assert_eq!(seen(&db, 1), (Status::Pending, false, 0));
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
