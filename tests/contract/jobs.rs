//! The jobs of most tests: those of the migrations.

use std::time::Duration;

use chrono::NaiveDateTime;
use diesel::prelude::*;
use diesel_status_tracker::clock::ago;
use diesel_status_tracker::{Error, StatusTracked, status_codes};
use serde_json::{Value, json};

use super::database::{TestDb, TestPool};

diesel::table! {
    jobs (id) {
        id -> Text,
        status -> Integer,
        create_at -> Timestamp,
        update_at -> Timestamp,
        lock -> Nullable<Text>,
        lock_at -> Nullable<Timestamp>,
        retry -> Integer,
        data -> Nullable<Json>,
        errors -> Json,
    }
}

status_codes! {
    pub enum Status {
        Pending = 10,
        InProgress = 20,
        Failed = 30,
        Succeeded = 40,
        Ignored = 50,
        /// The tracker's step does not know this one.
        Archived = 90,
    }
}

/// The whole row, so that two of them tell whether anything has changed.
#[derive(Debug, Clone, PartialEq, Queryable, Selectable)]
#[diesel(table_name = jobs)]
pub struct Job {
    pub id: String,
    pub status: Status,
    pub create_at: NaiveDateTime,
    pub update_at: NaiveDateTime,
    pub lock: Option<String>,
    pub lock_at: Option<NaiveDateTime>,
    pub retry: i32,
    pub data: Option<Value>,
    pub errors: Value,
}

#[derive(Debug, Clone, Default, Insertable, AsChangeset)]
#[diesel(table_name = jobs)]
pub struct JobUpdates {
    pub data: Option<Value>,
}

step! { Job on Job {} }

tracked! {
    Job in jobs { key: (id: String), status: Status, updates: JobUpdates, steps: [Job] }
}

/// A database with the job "a", of which nothing has run.
pub fn one_job() -> (TestDb, TestPool) {
    one_job_in(TestDb::new())
}

/// The same in a database that has more tables.
pub fn one_job_in(db: TestDb) -> (TestDb, TestPool) {
    let pool = db.pool(1);
    Job::create_and_save(&pool, "a", data(json!("old"))).unwrap();
    (db, pool)
}

pub fn data(data: Value) -> JobUpdates {
    JobUpdates { data: Some(data) }
}

/// The row as it stands, read by plain Diesel.
pub fn row(db: &TestDb, id: &str) -> Job {
    jobs::table
        .find(id)
        .select(Job::as_select())
        .get_result(&mut *db.conn())
        .unwrap()
}

pub fn set_status(db: &TestDb, id: &str, status: Status) {
    diesel::update(jobs::table.find(id))
        .set(jobs::status.eq(status))
        .execute(&mut *db.conn())
        .unwrap();
}

/// Leaves a job as a worker of this step does that dies; its lock has expired.
pub fn die<S: StatusTracked<Job = Job>>(db: &TestDb, pool: &TestPool, id: &str) {
    std::mem::forget(S::start(pool, id).unwrap());
    age_lock(db, id);
}

/// Makes the lock on a job old enough to count as abandoned, by any step here.
pub fn age_lock(db: &TestDb, id: &str) {
    diesel::update(jobs::table.find(id))
        .set(jobs::lock_at.eq(ago(Duration::from_secs(60 * 60))))
        .execute(&mut *db.conn())
        .unwrap();
}

/// Holds that a message says which job it is about.
pub fn assert_names(error: &Error, id: &str) {
    let message = error.to_string();
    assert!(message.contains(&format!("jobs {id:?}")), "{message}");
}

/// The texts of the failures in `errors`, newest first.
pub fn history(job: &Job) -> Vec<&str> {
    let entries = job.errors["history"].as_array().unwrap();
    entries
        .iter()
        .map(|entry| entry["error"].as_str().unwrap())
        .collect()
}
