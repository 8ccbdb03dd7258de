//! Jobs with an order of their own, a `run_at`, and a struct that cannot hold
//! what the database allows.

use std::time::Duration;

use diesel::prelude::*;
use diesel_status_tracker::StatusTracked;
use diesel_status_tracker::clock::ago;

use super::database::{TestDb, TestPool};
use super::jobs::Status;

const TASKS: &str = "CREATE TABLE tasks (
    id INTEGER NOT NULL PRIMARY KEY, status INTEGER NOT NULL, create_at DATETIME(6) NOT NULL,
    update_at DATETIME(6) NOT NULL, `lock` VARCHAR(32), lock_at DATETIME(6), retry INTEGER NOT NULL,
    errors JSON NOT NULL, run_at DATETIME(6), priority INTEGER NOT NULL DEFAULT 0, note VARCHAR(20) DEFAULT 'a note'
)";

diesel::table! {
    tasks (id) {
        id -> Integer, status -> Integer, create_at -> Timestamp, update_at -> Timestamp, lock -> Nullable<Text>,
        lock_at -> Nullable<Timestamp>, retry -> Integer, errors -> Json, run_at -> Nullable<Timestamp>,
        priority -> Integer, note -> Text,
    }
}

#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = tasks)]
pub struct Task {
    pub id: i32,
    #[expect(dead_code, reason = "it is read, which fails for NULL")]
    note: String,
}

#[derive(Debug, Default, Insertable, AsChangeset)]
#[diesel(table_name = tasks)]
pub struct TaskUpdates {
    pub priority: Option<i32>,
}

step! { Task on Task {} }
tracked! {
    Task in tasks {
        key: (id: i32), status: Status, updates: TaskUpdates, columns: { run_at: run_at },
        order_by: (tasks::priority.desc(), tasks::id.asc()), status_field: none,
    }
}

/// A database with these tasks, and a pool of one connection.
pub fn with_tasks(ids: impl IntoIterator<Item = i32>) -> (TestDb, TestPool) {
    let db = TestDb::with_table(TASKS);
    let pool = db.pool(1);
    let rows = ids.into_iter().map(|id| (id, TaskUpdates::default()));
    Task::create_many(&pool, rows).unwrap();
    (db, pool)
}

/// Leaves a task as a worker of this step does that dies; its lock has expired.
pub fn die<S: StatusTracked<Job = Task>>(db: &TestDb, pool: &TestPool, id: i32) {
    std::mem::forget(S::start(pool, id).unwrap());
    diesel::update(tasks::table.find(id))
        .set(tasks::lock_at.eq(ago(Duration::from_secs(60 * 60))))
        .execute(&mut *db.conn())
        .unwrap();
}

/// Status, whether it is locked, and `retry`.
pub fn seen(db: &TestDb, id: i32) -> (Status, bool, i32) {
    tasks::table
        .find(id)
        .select((tasks::status, tasks::lock.is_not_null(), tasks::retry))
        .get_result(&mut *db.conn())
        .unwrap()
}
