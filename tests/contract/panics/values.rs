//! Rows and updates that panic: when they are read, when they are written, when they
//! are dropped.

use std::panic::{AssertUnwindSafe, catch_unwind};

use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::prelude::*;
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::{Integer, Text};
use diesel_status_tracker::{BoxError, StatusTracked};

use super::database::{TestDb, TestPool};
use super::jobs::Status;
use super::panics::{Short, errors, in_time};
use super::process::Worker;
use super::tasks::{Task, seen, tasks, with_tasks};
use super::worker::summary;

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

/// The seventh panics when it is dropped, also while the panic of the ninth unwinds.
#[test]
fn rows_that_panic_when_they_are_read_are_passed_over() {
    for batch in [1, 3, 20] {
        let (db, _) = with_tasks(1..=9);
        let pool = db.pool(2);
        db.sql("UPDATE tasks SET note = 'unreadable' WHERE id IN (1, 2, 5, 9)");

        let done = in_time(&pool, move |pool| {
            let worker = Heavy::worker(&pool).threads(1).batch(batch);
            worker.run_until_empty(|_, _| Ok(()))
        });

        assert!(done.unreadable > 0);
        assert_eq!(
            done,
            summary(|s| (s.succeeded, s.unreadable) = (5, done.unreadable))
        );
        for id in 1..=9 {
            let expected = match id {
                1 | 2 | 5 | 9 => Status::Pending,
                _ => Status::Succeeded,
            };
            assert_eq!(seen(&db, id), (expected, false, 0), "{id}");
        }
        let error = Heavy::start(&pool, 1).unwrap_err();
        assert!(error.to_string().contains("panicked"), "{error}");
        assert_eq!(seen(&db, 1), (Status::Pending, false, 0));
    }
}
