//! A worker on a table with a `run_at`, with a constraint on what a job
//! writes, and with rows that no struct can hold.

use std::time::Duration;

use diesel::prelude::*;
use diesel_status_tracker::clock::{ago, from_now};
use diesel_status_tracker::{Retry, StatusTracked};
use serde_json::Value;

use super::database::{TestDb, TestPool};
use super::jobs::Status;
use super::worker::{NEVER, Runs, summary};

const TASKS: &str = "CREATE TABLE tasks (
    id VARCHAR(20) NOT NULL PRIMARY KEY, status INTEGER NOT NULL, create_at DATETIME(6) NOT NULL,
    update_at DATETIME(6) NOT NULL, `lock` VARCHAR(32), lock_at DATETIME(6), retry INTEGER NOT NULL,
    errors JSON NOT NULL, run_at DATETIME(6), receipt VARCHAR(20) UNIQUE, note VARCHAR(20) DEFAULT 'a note'
)";

diesel::table! {
    tasks (id) {
        id -> Text, status -> Integer, create_at -> Timestamp, update_at -> Timestamp, lock -> Nullable<Text>,
        lock_at -> Nullable<Timestamp>, retry -> Integer, errors -> Json, run_at -> Nullable<Timestamp>,
        receipt -> Nullable<Text>, note -> Text,
    }
}

#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = tasks)]
struct Task {
    id: String,
    #[expect(dead_code, reason = "it is read, which fails for NULL")]
    note: String,
}

#[derive(Debug, Default, Insertable, AsChangeset)]
#[diesel(table_name = tasks)]
struct TaskUpdates {
    receipt: Option<String>,
}

step! { Task on Task {} }
tracked! {
    Task in tasks {
        key: (id: String), status: Status, updates: TaskUpdates, columns: { run_at: run_at },
        order_by: (tasks::id.asc()), status_field: none,
    }
}

fn tasks(count: usize) -> (TestDb, TestPool) {
    let db = TestDb::with_table(TASKS);
    let pool = db.pool(1);
    let rows = (0..count).map(|n| (n.to_string(), TaskUpdates::default()));
    assert_eq!(Task::create_many(&pool, rows).unwrap(), count);
    (db, pool)
}

/// Status, whether it is locked, `retry`, and the receipt.
type Seen = (Status, bool, i32, Option<String>);

fn seen(db: &TestDb) -> Vec<Seen> {
    tasks::table
        .order_by(tasks::id)
        .select((
            tasks::status,
            tasks::lock.is_not_null(),
            tasks::retry,
            tasks::receipt,
        ))
        .load(&mut *db.conn())
        .unwrap()
}

fn succeeded(receipt: Option<&str>) -> Seen {
    (Status::Succeeded, false, 0, receipt.map(str::to_owned))
}

#[test]
fn a_worker_does_not_wait_for_a_job_with_a_later_run_at() {
    let (db, pool) = tasks(3);
    for (id, at) in [("0", from_now(NEVER)), ("1", ago(NEVER))] {
        diesel::update(tasks::table.find(id))
            .set(tasks::run_at.eq(at))
            .execute(&mut *db.conn())
            .unwrap();
    }

    let runs = Runs::default();
    let done = Task::worker(&pool).batch(5).run_until_empty(|task, _| {
        runs.add(&task.id);
        Ok(())
    });

    assert_eq!(done.unwrap(), summary(|s| s.succeeded = 2));
    assert_eq!(runs.counts(), [("1".into(), 1), ("2".into(), 1)]);
    assert_eq!(seen(&db)[0], (Status::Pending, false, 0, None));
}

#[test]
fn a_worker_does_not_wait_for_a_job_with_a_retry_delay() {
    for (delay, attempts) in [(NEVER, 1), (Duration::ZERO, 3)] {
        let (db, pool) = tasks(2);
        let done = Task::worker(&pool)
            .batch(2)
            .run_until_empty(|task, _| match &*task.id {
                "0" => Err(Retry::after(delay).into()),
                _ => Ok(()),
            });

        let done = done.unwrap();
        assert_eq!(done.failed + done.ignored, attempts);
        assert_eq!(done.succeeded, 1);
        let (status, is_locked, retry, _) = seen(&db).swap_remove(0);
        let expected = if attempts == 3 {
            Status::Ignored
        } else {
            Status::Failed
        };
        assert_eq!(
            (status, is_locked, retry),
            (expected, false, attempts as i32)
        );
    }
}

#[test]
fn an_outcome_that_the_database_refuses_is_the_jobs_own_failure_and_the_others_are_written() {
    for (threads, batch) in [(1, 6), (2, 3), (1, 1)] {
        let (db, pool) = tasks(6);
        db.sql("UPDATE tasks SET receipt = 'taken', status = 40 WHERE id = '5'");
        let worker = Task::worker(&pool).threads(threads).batch(batch);
        let done = worker.run_until_empty(|task, updates| {
            updates.receipt = match &*task.id {
                "0" => None,
                "1" => Some("taken".into()),
                id => Some(id.into()),
            };
            Ok(())
        });

        let expected = summary(|s| (s.succeeded, s.failed, s.ignored) = (4, 2, 1));
        assert_eq!(done.unwrap(), expected);
        let ends = seen(&db);
        assert_eq!(ends[0], succeeded(None));
        assert_eq!(ends[1], (Status::Ignored, false, 3, None));
        for (id, end) in ["2", "3", "4"].iter().zip(&ends[2..]) {
            assert_eq!(*end, succeeded(Some(id)));
        }
        let errors: Value = tasks::table
            .find("1")
            .select(tasks::errors)
            .get_result(&mut *db.conn())
            .unwrap();
        let text = errors["error"].as_str().unwrap().to_lowercase();
        assert!(
            ["unique", "duplicate"]
                .iter()
                .any(|word| text.contains(word)),
            "{text}"
        );
        assert_eq!(errors["history"].as_array().unwrap().len(), 3);
    }
}

#[test]
fn rows_that_cannot_be_read_are_passed_over() {
    for batch in [1, 2, 20] {
        let (db, pool) = tasks(9);
        db.sql("UPDATE tasks SET note = NULL WHERE id IN ('0', '1', '2', '5')");

        let done = Task::worker(&pool)
            .threads(1)
            .batch(batch)
            .run_until_empty(|_, _| Ok(()));

        let done = done.unwrap();
        assert!(done.unreadable > 0);
        assert_eq!(
            done,
            summary(|s| (s.succeeded, s.unreadable) = (5, done.unreadable))
        );
        for (id, end) in seen(&db).into_iter().enumerate() {
            if [0, 1, 2, 5].contains(&id) {
                assert_eq!(end, (Status::Pending, false, 0, None));
            } else {
                assert_eq!(end, succeeded(None));
            }
        }
    }
}
