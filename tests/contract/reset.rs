//! `reset`: whom it serves, whom it refuses.

use std::time::Duration;

use diesel::prelude::*;
use diesel_status_tracker::StatusTracked;
use diesel_status_tracker::clock::{from_now, now};

use super::database::{TestDb, TestPool};
use super::jobs::{
    Job, JobUpdates, Status, age_lock, assert_names, history, jobs, one_job, row, set_status,
};
use super::sessions::{CHANGES_ARE_UNDONE, drop_updates};

/// Holds that the job is as new, and can be had.
fn assert_fresh(db: &TestDb, pool: &TestPool, before: Job) {
    let after = row(db, "a");
    let expected = Job {
        status: Status::Pending,
        lock: None,
        retry: 0,
        update_at: after.update_at,
        ..before
    };
    assert_eq!(after, expected);
    Job::run_job(pool, "a", |_, _| Ok(())).unwrap();
}

#[test]
fn an_ignored_job_has_its_tries_again_and_keeps_its_errors() {
    let (db, pool) = one_job();
    for _ in 0..3 {
        Job::start(&pool, "a").unwrap().fail("no paper").unwrap();
    }
    let before = row(&db, "a");
    assert_eq!(before.status, Status::Ignored);

    Job::reset(&pool, "a").unwrap();

    assert_eq!(history(&row(&db, "a")).len(), 3);
    assert_fresh(&db, &pool, before);
}

#[test]
fn every_job_that_nobody_holds_can_be_reset() {
    let (db, pool) = one_job();
    // The last three are odd: in progress without a lock, a lock without a
    // time, in progress with a lock whose time has passed.
    for odd in [
        "status = 10",
        "status = 30, retry = 2",
        "status = 40",
        "status = 50, retry = 3",
        "status = 20, retry = 1",
        "status = 10, retry = 1, `lock` = 'me', lock_at = NULL",
        "status = 20, retry = 1, `lock` = 'me', lock_at = '2001-01-01 00:00:00.000'",
    ] {
        db.sql(&format!("UPDATE jobs SET {odd}"));
        let before = row(&db, "a");
        Job::reset(&mut *db.conn(), "a").unwrap();
        assert_fresh(&db, &pool, before);
    }
}

#[test]
fn a_held_job_is_not_reset_until_its_lock_expires() {
    let (db, pool) = one_job();
    let attempt = Job::start(&pool, "a").unwrap();
    let held = row(&db, "a");

    let error = Job::reset(&pool, "a").unwrap_err();
    assert_err!(
        error,
        Locked {
            expires_at: Some(_),
            ..
        }
    );
    assert_names(&error, "a");
    assert_eq!(row(&db, "a"), held);

    age_lock(&db, "a");
    let aged = row(&db, "a");
    Job::reset(&pool, "a").unwrap();
    drop(attempt); // writes nothing any more
    assert_fresh(&db, &pool, aged);
}

#[test]
fn a_refused_reset_says_when_it_will_work() {
    let (db, pool) = one_job();
    diesel::update(jobs::table)
        .set((jobs::lock.eq("me"), jobs::lock_at.eq(now())))
        .execute(&mut *db.conn())
        .unwrap();

    let error = Job::reset(&pool, "a").unwrap_err();

    // Locked by hand, and reset once that is as old as a dead attempt.
    assert_err!(
        error,
        Locked {
            expires_at: Some(_),
            ..
        }
    );
}

#[test]
fn a_job_of_another_step_is_not_reset() {
    let (db, pool) = one_job();
    set_status(&db, "a", Status::Archived);
    let before = row(&db, "a");

    let error = Job::reset(&pool, "a").unwrap_err();

    assert_err!(error, NotReady);
    assert_names(&error, "a");
    assert_eq!(row(&db, "a"), before);
}

#[test]
fn a_missing_job_is_not_reset() {
    let (_db, pool) = one_job();
    let error = Job::reset(&pool, "b").unwrap_err();
    assert_err!(error, NotFound);
    assert_names(&error, "b");
}

#[test]
fn a_reset_that_the_database_drops_is_a_clear_error() {
    let (db, pool) = one_job();
    set_status(&db, "a", Status::Ignored);
    drop_updates(&mut db.conn(), "NEW.status = 10");
    let before = row(&db, "a");

    let in_transaction = || {
        let reset = |conn: &mut super::database::TestConnection| {
            QueryResult::Ok(Job::reset(&mut *conn, "a"))
        };
        db.conn().transaction(reset).unwrap()
    };
    for done in [Job::reset(&pool, "a"), in_transaction()] {
        if CHANGES_ARE_UNDONE {
            done.unwrap();
            continue;
        }
        let error = done.unwrap_err();
        assert_err!(error, UpdateDropped);
        assert_names(&error, "a");
        assert!(error.to_string().contains("trigger"), "{error}");
    }
    assert_eq!(row(&db, "a"), before);
}

#[test]
fn of_many_jobs_those_that_can_be_reset_are_reset_and_counted() {
    let (db, pool) = one_job();
    for (id, status) in [
        ("b", Status::Ignored),
        ("c", Status::Succeeded),
        ("d", Status::Archived),
    ] {
        Job::create_and_save(&pool, id, JobUpdates::default()).unwrap();
        set_status(&db, id, status);
    }
    let _held = Job::start(&pool, "a").unwrap();

    let count = Job::reset_many(&pool, ["a", "b", "c", "d", "missing"]).unwrap();

    assert_eq!(count, 2);
    let statuses = ["a", "b", "c", "d"].map(|id| row(&db, id).status);
    use Status::{Archived, InProgress, Pending};
    assert_eq!(statuses, [InProgress, Pending, Pending, Archived]);

    // Keys come from any query of the user's, and reset joins a transaction.
    db.sql("UPDATE jobs SET status = 50 WHERE id IN ('b', 'c')");
    let ignored = jobs::table
        .filter(jobs::status.eq(Status::Ignored))
        .select(jobs::id);
    let reset_all = |conn: &mut super::database::TestConnection| {
        let keys: Vec<String> = ignored.load(conn)?;
        QueryResult::Ok(Job::reset_many(conn, keys).unwrap())
    };
    assert_eq!(db.conn().transaction(reset_all), Ok(2));
}

mod due {
    use super::*;

    const TASKS: &str = "CREATE TABLE tasks (
        id INTEGER NOT NULL PRIMARY KEY, status INTEGER NOT NULL, create_at DATETIME(6) NOT NULL,
        update_at DATETIME(6) NOT NULL, `lock` VARCHAR(32), lock_at DATETIME(6), retry INTEGER NOT NULL,
        errors JSON NOT NULL, not_before DATETIME(6)
    )";

    diesel::table! {
        tasks (id) {
            id -> Integer, status -> Integer, create_at -> Timestamp, update_at -> Timestamp, lock -> Nullable<Text>,
            lock_at -> Nullable<Timestamp>, retry -> Integer, errors -> Json, not_before -> Nullable<Timestamp>,
        }
    }

    #[derive(Debug, Queryable, Selectable)]
    #[diesel(table_name = tasks)]
    struct Task {
        #[expect(dead_code, reason = "a row has a field")]
        id: i32,
    }

    /// `run_at` is the user's to set.
    #[derive(Debug, Default, Insertable, AsChangeset)]
    #[diesel(table_name = tasks)]
    struct TaskUpdates {
        not_before: Option<chrono::NaiveDateTime>,
    }

    step! { Task on Task {} }
    tracked! {
        Task in tasks {
            key: (id: i32), status: Status, updates: TaskUpdates, columns: { run_at: not_before }, status_field: none,
        }
    }

    #[test]
    fn a_reset_job_is_due_now() {
        let db = TestDb::with_table(TASKS);
        let pool = db.pool(1);
        let tomorrow = chrono::Utc::now().naive_utc() + chrono::TimeDelta::days(1);
        Task::create_and_save(
            &pool,
            1,
            TaskUpdates {
                not_before: Some(tomorrow),
            },
        )
        .unwrap();
        let early = Task::start(&pool, 1).unwrap_err();
        assert_err!(
            early,
            NotReady {
                run_at: Some(_),
                ..
            }
        );

        Task::reset(&pool, 1).unwrap();

        let due: bool = tasks::table
            .select(
                tasks::not_before
                    .lt(from_now(Duration::from_secs(60)))
                    .assume_not_null(),
            )
            .get_result(&mut *db.conn())
            .unwrap();
        assert!(due);
        Task::run_job(&pool, 1, |_, _| Ok(())).unwrap();
    }
}
