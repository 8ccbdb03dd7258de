//! Where `errors` is text, it holds anything.

use diesel::prelude::*;
use diesel_status_tracker::StatusTracked;
use serde_json::{Value, json};

use super::super::database::TestDb;
use super::super::jobs::Status;

const TASKS: &str = "CREATE TABLE tasks (
    id INTEGER NOT NULL PRIMARY KEY, status INTEGER NOT NULL, create_at DATETIME(6) NOT NULL,
    update_at DATETIME(6) NOT NULL, `lock` VARCHAR(32), lock_at DATETIME(6), retry BIGINT NOT NULL,
    errors TEXT, note VARCHAR(20)
)";

diesel::table! {
    tasks (id) {
        id -> Integer, status -> Integer, create_at -> Timestamp, update_at -> Timestamp, lock -> Nullable<Text>,
        lock_at -> Nullable<Timestamp>, retry -> BigInt, errors -> Nullable<Text>, note -> Nullable<Text>,
    }
}

#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = tasks)]
struct Task {
    status: Status,
    retry: i64,
    errors: Option<String>,
}

#[derive(Debug, Default, Insertable, AsChangeset)]
#[diesel(table_name = tasks)]
struct TaskUpdates {
    note: Option<String>,
}

step! { Task on Task {} }
tracked! { Task in tasks { key: (id: i32), status: Status, updates: TaskUpdates } }

/// What is found in `errors`, and what the history keeps of it.
fn texts() -> Vec<(Option<&'static str>, Vec<Value>)> {
    let found = |value| vec![json!({ "found": value })];
    vec![
        (None, vec![]),
        (Some("null"), vec![]),
        (Some(" { } "), vec![]),
        (Some(""), found(json!(""))),
        (Some("no paper"), found(json!("no paper"))),
        (
            Some("{\"error\": \"cut in the mid"),
            found(json!("{\"error\": \"cut in the mid")),
        ),
        (Some("{\"a\": 1}"), found(json!({"a": 1}))),
        (Some("[[], 2]"), found(json!([[], 2]))),
        (Some("{\"history\": []}"), vec![]),
        (
            Some("{\"history\": [1, \"b\"]}"),
            vec![json!(1), json!("b")],
        ),
    ]
}

fn with_text(text: Option<&str>) -> TestDb {
    let db = TestDb::with_table(TASKS);
    Task::create_and_save(&mut *db.conn(), 1, TaskUpdates::default()).unwrap();
    let change = diesel::update(tasks::table).set(tasks::errors.eq(text));
    change.execute(&mut *db.conn()).unwrap();
    db
}

#[test]
fn any_text_in_errors_is_kept_and_does_no_harm() {
    for (text, kept) in texts() {
        let db = with_text(text);
        let pool = db.pool(1);

        Task::start(&pool, 1).unwrap().fail("too late").unwrap();
        db.sql("UPDATE tasks SET status = 20, `lock` = 'x', lock_at = '2001-01-01 00:00:00.000'");
        assert_eq!(Task::expire_locks(&pool).unwrap(), 1);

        let row = Task::find(&pool, 1).unwrap().unwrap();
        assert_eq!((row.status, row.retry), (Status::Failed, 2));
        let errors: Value = serde_json::from_str(&row.errors.unwrap()).unwrap();
        assert_eq!(errors["history"][1]["error"], "too late");
        assert_eq!(errors["history"].as_array().unwrap()[2..], kept, "{text:?}");
        Task::reset(&pool, 1).unwrap();
        Task::run_job(&pool, 1, |_, _| Ok(())).unwrap();
    }
}

#[test]
fn a_count_that_is_too_large_is_limited() {
    for (retry, status) in [(i64::MAX, Status::Ignored), (i64::MIN, Status::Failed)] {
        let db = with_text(None);
        let pool = db.pool(1);
        let change = diesel::update(tasks::table).set(tasks::retry.eq(retry));
        change.execute(&mut *db.conn()).unwrap();

        let ended = Task::run_job(&pool, 1, |_, _| Err::<(), _>("too late".into()));

        assert_err!(ended.unwrap_err(), Failed);
        let row = Task::find(&pool, 1).unwrap().unwrap();
        assert_eq!(row.status, status);
    }
}
