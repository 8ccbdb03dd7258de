//! The reads: one job, those of a status, how many, and who is locked.

use std::sync::Arc;
use std::time::Duration;

use diesel::prelude::*;
use diesel_status_tracker::clock::ago;
use diesel_status_tracker::{Order, StatusTracked};

use super::database::{TestDb, TestPool};
use super::jobs::{Job, JobUpdates, Status, age_lock, assert_names, jobs, row, set_status};

/// Jobs "a", "b", "c", of which "b" has waited longest and "a" least.
fn three_jobs() -> (TestDb, TestPool) {
    let db = TestDb::new();
    let pool = db.pool(1);
    for (id, minutes) in [("a", 1), ("b", 3), ("c", 2)] {
        Job::create_and_save(&pool, id, JobUpdates::default()).unwrap();
        diesel::update(jobs::table.find(id))
            .set(jobs::update_at.eq(ago(Duration::from_secs(60 * minutes))))
            .execute(&mut *db.conn())
            .unwrap();
    }
    (db, pool)
}

fn ids(jobs: &[Job]) -> Vec<&str> {
    jobs.iter().map(|job| job.id.as_str()).collect()
}

#[test]
fn find_reads_the_row_or_none() {
    let (db, pool) = three_jobs();
    let expected = Some(row(&db, "b"));

    assert_eq!(Job::find(&pool, "b").unwrap(), expected);
    assert_eq!(
        Job::find(&mut *db.conn(), "b".to_owned()).unwrap(),
        expected
    );
    assert_eq!(Job::find(&Arc::new(pool), "d").unwrap(), None);
}

#[test]
fn jobs_are_listed_by_status_up_to_a_limit_in_either_order() {
    let (db, pool) = three_jobs();
    let list = |status, limit, order| Job::query_by_status(&pool, status, limit, order).unwrap();

    assert_eq!(
        ids(&list(Status::Pending, 9, Order::default())),
        ["b", "c", "a"]
    );
    assert_eq!(
        ids(&list(Status::Pending, 2, Order::OldestFirst)),
        ["b", "c"]
    );
    assert_eq!(
        ids(&list(Status::Pending, 2, Order::NewestFirst)),
        ["a", "c"]
    );
    assert!(list(Status::Pending, 0, Order::NewestFirst).is_empty());

    set_status(&db, "c", Status::Failed);
    assert_eq!(list(Status::Failed, 9, Order::default()), [row(&db, "c")]);
    assert_eq!(ids(&list(Status::Pending, 9, Order::default())), ["b", "a"]);
    assert!(list(Status::Ignored, 9, Order::default()).is_empty());
}

#[test]
fn statuses_with_rows_are_counted() {
    let (db, pool) = three_jobs();
    set_status(&db, "c", Status::Archived);

    let mut counts = Job::count_by_status(&pool).unwrap();

    counts.sort_by_key(|(status, _)| i32::from(*status));
    assert_eq!(counts, [(Status::Pending, 2), (Status::Archived, 1)]);
    db.sql("DELETE FROM jobs");
    assert_eq!(Job::count_by_status(&mut *db.conn()).unwrap(), []);
}

#[test]
fn a_job_is_in_one_status_at_a_time() {
    let (db, pool) = three_jobs();
    let statuses = [
        Status::Pending,
        Status::InProgress,
        Status::Failed,
        Status::Succeeded,
        Status::Ignored,
    ];
    let is: [fn(&Job) -> bool; 5] = [
        Job::is_pending,
        Job::is_in_progress,
        Job::is_failed,
        Job::is_succeeded,
        Job::is_ignored,
    ];
    for (n, status) in statuses.into_iter().enumerate() {
        set_status(&db, "a", status);
        let job = Job::find(&pool, "a").unwrap().unwrap();
        let yes: Vec<_> = (0..5).filter(|m| is[*m](&job)).collect();
        assert_eq!(yes, [n], "{status}");
    }
}

#[test]
fn a_job_is_locked_while_somebody_holds_it() {
    let (db, pool) = three_jobs();
    let is_locked = || Job::is_locked(&pool, "a").unwrap();
    assert!(!is_locked());

    let attempt = Job::start(&pool, "a").unwrap();
    assert!(is_locked());
    age_lock(&db, "a");
    assert!(!is_locked());
    attempt.renew().unwrap();
    assert!(is_locked());
    attempt.succeed().unwrap();
    assert!(!is_locked());

    // By hand: that lock does not expire.
    db.sql("UPDATE jobs SET `lock` = 'me', status = 10");
    assert!(is_locked());
    age_lock(&db, "a");
    assert!(is_locked());
}

#[test]
fn is_locked_of_a_missing_job_is_an_error() {
    let (_db, pool) = three_jobs();
    let error = Job::is_locked(&pool, "d").unwrap_err();
    assert_err!(error, NotFound);
    assert_names(&error, "d");
}
