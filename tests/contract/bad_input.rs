//! What nobody wants to find in a row or in an error: each is answered by one
//! clear error, and no row is the worse for it.

use diesel::prelude::*;
use diesel_status_tracker::{Error, Order, StatusTracked};
use serde_json::json;

use super::database::TestDb;
use super::jobs::{Job, JobUpdates, Status, assert_names, data, history, jobs, one_job, row};

#[test]
fn any_text_is_a_key() {
    let (db, pool) = one_job();
    for id in [
        "",
        "'; DROP TABLE jobs; --",
        "a\"b\\c\nd",
        "\u{1f4e6} é",
        "%",
        "?",
    ] {
        let updates = data(json!({"'": "\\\"\n\u{1f4e6}"}));
        Job::create_and_save(&pool, id, updates.clone()).unwrap();
        Job::run_job(&pool, id, |_, _| Ok(())).unwrap();
        let job = row(&db, id);
        assert_eq!((job.status, job.data), (Status::Succeeded, updates.data));
    }
    assert_eq!(row(&db, "a").status, Status::Pending);
}

#[test]
fn a_status_that_no_code_stands_for_is_an_error_of_its_job_alone() {
    let (db, pool) = one_job();
    Job::create_and_save(&pool, "b", JobUpdates::default()).unwrap();
    db.sql("UPDATE jobs SET status = 77 WHERE id = 'a'");

    let of_job = [
        Job::start(&pool, "a").err(),
        Job::find(&pool, "a").err(),
        Job::is_locked(&pool, "a").err(),
        Job::reset(&pool, "a").err(),
    ];
    for error in of_job {
        let error = error.unwrap();
        assert_err!(error, Database);
        assert_names(&error, "a");
        let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| {
            error.source()
        });
        let told: String = causes.map(ToString::to_string).collect();
        assert!(told.contains("77 is no code of `Status`"), "{told}");
    }
    let of_table = Job::count_by_status(&pool).unwrap_err();
    assert_err!(of_table, Database);
    assert!(of_table.to_string().contains("jobs"), "{of_table}");

    let status: i32 = jobs::table
        .find("a")
        .select(jobs::status)
        .get_result(&mut *db.conn())
        .unwrap();
    assert_eq!(status, 77);
    let next = Job::run_next(&pool, |job, _| Ok(job.id.clone()));
    assert_eq!(next.unwrap().as_deref(), Some("b"));
    let done = Job::query_by_status(&pool, Status::Succeeded, 9, Order::default());
    assert_eq!(done.unwrap(), [row(&db, "b")]);
}

#[test]
fn content_of_others_in_errors_is_kept_in_the_history() {
    let (db, pool) = one_job();
    for found in [
        json!([1, {"two": 2}]),
        json!("a text"),
        json!(7.5),
        json!(true),
        json!({"error": "RuntimeError()", "traceback": "line 1"}),
        json!({"history": "long", "note": "mine"}),
    ] {
        diesel::update(jobs::table)
            .set((
                jobs::errors.eq(&found),
                jobs::retry.eq(0),
                jobs::status.eq(Status::Pending),
            ))
            .execute(&mut *db.conn())
            .unwrap();

        Job::start(&pool, "a").unwrap().fail("no paper").unwrap();

        let errors = row(&db, "a").errors;
        assert_eq!(errors["error"], "no paper");
        assert_eq!(errors["history"][0]["error"], "no paper");
        assert_eq!(errors["history"][1], json!({"found": found}));
    }
}

#[test]
fn a_long_error_is_cut() {
    let (db, pool) = one_job();
    let long = "\u{e9}".repeat(5 * 1024 * 1024);

    let ended = Job::run_job(&pool, "a", |_, _| Err::<(), _>(long.clone().into()));

    // The caller gets it whole.
    let Error::Failed { source, .. } = ended.unwrap_err() else {
        panic!("it did not fail")
    };
    assert_eq!(source.to_string(), long);
    let job = row(&db, "a");
    for text in [&job.errors["error"], &job.errors["traceback"]] {
        let text = text.as_str().unwrap();
        assert!(text.contains("\u{e9}\u{e9}") && text.ends_with("(cut at 8 KiB)"));
        assert!((8 * 1024..9 * 1024).contains(&text.len()), "{}", text.len());
    }
    assert_eq!((job.status, job.retry), (Status::Failed, 1));
}

#[test]
fn ten_long_errors_fit_into_the_column() {
    struct Patient;
    step! { Patient on Job { const MAX_RETRY: i32 = 99; } }
    let (db, pool) = one_job();

    for n in 0..11 {
        // The quotes and lines of a backtrace take two characters each in JSON.
        let long = format!("{n}{}", "\"\n".repeat(10_000));
        Patient::start(&pool, "a").unwrap().fail(long).unwrap();
    }

    let job = row(&db, "a");
    assert_eq!(job.retry, 11);
    let firsts: Vec<_> = history(&job).iter().map(|text| &text[..1]).collect();
    assert_eq!(firsts, ["1", "9", "8", "7", "6", "5", "4", "3", "2", "1"]);
}

#[test]
fn nul_characters_in_an_error_do_no_harm() {
    let (db, pool) = one_job();

    Job::start(&pool, "a").unwrap().fail("no\0paper").unwrap();

    let job = row(&db, "a");
    assert_eq!(job.status, Status::Failed);
    let error = history(&job)[0];
    assert!(error.starts_with("no") && error.ends_with("paper") && !error.contains('\0'));
}

/// The database allows what the schema of the program does not: a NULL.
mod unreadable {
    use super::*;

    diesel::table! {
        tasks (id) {
            id -> Integer, status -> Integer, create_at -> Timestamp, update_at -> Timestamp, lock -> Nullable<Text>,
            lock_at -> Nullable<Timestamp>, retry -> Integer, errors -> Json, note -> Nullable<Text>,
        }
    }

    #[derive(Debug, Queryable, Selectable)]
    #[diesel(table_name = tasks)]
    struct Task {
        status: Status,
    }

    #[derive(Debug, Default, Insertable, AsChangeset)]
    #[diesel(table_name = tasks)]
    struct TaskUpdates {
        note: Option<String>,
    }

    step! { Task on Task {} }
    tracked! { Task in tasks { key: (id: i32), status: Status, updates: TaskUpdates } }

    #[test]
    fn a_dead_row_that_cannot_be_read_does_not_block_other_expiries() {
        let db = TestDb::with_table(
            "CREATE TABLE tasks (
                id INTEGER NOT NULL PRIMARY KEY, status INTEGER NOT NULL, create_at DATETIME(6) NOT NULL,
                update_at DATETIME(6) NOT NULL, `lock` VARCHAR(32), lock_at DATETIME(6), retry INTEGER,
                errors JSON NOT NULL, note VARCHAR(20)
            )",
        );
        let pool = db.pool(1);
        let rows = (1..=3).map(|id| (id, TaskUpdates::default()));
        Task::create_many(&pool, rows).unwrap();
        db.sql("UPDATE tasks SET status = 20, `lock` = 'x', lock_at = '2001-01-01 00:00:00.000'");
        db.sql("UPDATE tasks SET retry = NULL WHERE id = 2");

        let ended = Task::expire_locks(&pool);

        let statuses = [1, 3].map(|id| Task::find(&pool, id).unwrap().unwrap().status);
        assert_eq!(statuses, [Status::Failed, Status::Failed], "{ended:?}");
    }
}
