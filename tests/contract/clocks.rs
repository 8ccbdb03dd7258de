//! Time is the database's: its clock and the workers' may disagree by hours.

use chrono::{DateTime, NaiveDateTime, SubsecRound, TimeDelta};
use diesel::prelude::*;
use diesel_status_tracker::clock::now;
use diesel_status_tracker::{Error, StatusTracked};
use serde_json::Value;

use super::database::{TestConnection, TestDb, far_east};
use super::jobs::{Job, JobUpdates, Status, age_lock, row};
use super::pools::pool_with;
use super::sessions::put_clock_off;

/// The database's time, by a session whose clock nobody has touched.
fn time(db: &TestDb) -> NaiveDateTime {
    diesel::select(now::<diesel::sql_types::Timestamp>())
        .get_result(&mut *db.conn())
        .unwrap()
}

/// Runs a job through all that writes a stamp, and holds that each lies
/// within the time that it took, `off` the hours given.
fn assert_stamps(hours: i64, prepare: fn(&mut TestConnection, i64)) {
    let db = TestDb::new();
    // One connection, prepared in the first call that is looked at.
    let pool = pool_with(db.url(), 1, move |conn| prepare(conn, hours));
    let off = TimeDelta::hours(hours);
    // The stamp in `errors` has whole milliseconds.
    let before = time(&db).trunc_subsecs(3) + off;
    let assert_within = |stamps: &[NaiveDateTime]| {
        let after = time(&db) + off;
        for stamp in stamps {
            assert!(
                before <= *stamp && *stamp <= after,
                "{before} {stamp} {after}"
            );
        }
    };
    let lock_at = || row(&db, "a").lock_at.unwrap();
    let recorded = |errors: &Value| {
        let at = DateTime::parse_from_rfc3339(errors["at"].as_str().unwrap());
        at.unwrap().naive_utc()
    };

    let created = Job::create_and_save(&pool, "a", JobUpdates::default()).unwrap();
    assert_within(&[created.create_at, created.update_at]);

    let attempt = Job::start(&pool, "a").unwrap();
    assert_within(&[attempt.update_at, attempt.lock_at.unwrap()]);
    attempt.renew().unwrap();
    assert_within(&[lock_at()]);
    attempt.save(JobUpdates::default()).unwrap();
    assert_within(&[lock_at(), row(&db, "a").update_at]);
    attempt.fail("no paper").unwrap();
    assert_within(&[row(&db, "a").update_at, recorded(&row(&db, "a").errors)]);

    Job::run_job(&pool, "a", |_, _| Ok(())).unwrap();
    assert_within(&[lock_at(), row(&db, "a").update_at]);
    Job::reset(&pool, "a").unwrap();
    assert_within(&[row(&db, "a").update_at]);

    // By whichever clock a fresh lock were judged but the database's, it
    // would be hours old, or would not expire for hours.
    let attempt = Job::start(&pool, "a").unwrap();
    assert!(Job::is_locked(&pool, "a").unwrap());
    assert_eq!(Job::expire_locks(&pool).unwrap(), 0);
    let error = Job::start(&pool, "a").unwrap_err();
    let Error::Locked { expires_at, .. } = error else {
        panic!("{error:?}")
    };
    let expire = TimeDelta::from_std(Job::LOCK_EXPIRE).unwrap();
    assert_within(&[expires_at.unwrap().naive_utc() - expire]);
    attempt.succeed().unwrap();
}

#[test]
fn every_time_is_the_databases_and_none_the_workers() {
    for hours in [-5, 5] {
        assert_stamps(hours, put_clock_off);
    }
}

#[test]
fn every_time_is_utc_in_a_session_far_from_utc() {
    assert_stamps(0, |conn, _| far_east(conn));
}

#[test]
fn a_lock_expires_by_the_databases_clock() {
    let db = TestDb::new();
    let ahead = pool_with(db.url(), 1, |conn| put_clock_off(conn, 1));
    Job::create_and_save(&ahead, "a", JobUpdates::default()).unwrap();
    // An old lock, by the true clock, of a worker that has died: an hour
    // more makes it two, and the worker's own clock has no say.
    std::mem::forget(Job::start(&db.pool(1), "a").unwrap());
    let held = row(&db, "a");
    assert_eq!(Job::expire_locks(&db.pool(1)).unwrap(), 0);
    assert_eq!(row(&db, "a"), held);

    assert_eq!(Job::expire_locks(&ahead).unwrap(), 1);

    let job = row(&db, "a");
    assert_eq!((job.status, job.retry), (Status::Failed, 1));
}

#[test]
fn a_lock_expires_correctly_in_a_session_far_from_utc() {
    let db = TestDb::new();
    let pool = pool_with(db.url(), 1, far_east);
    for id in ["fresh", "old"] {
        Job::create_and_save(&pool, id, JobUpdates::default()).unwrap();
        std::mem::forget(Job::start(&pool, id).unwrap());
    }
    age_lock(&db, "old");

    assert_eq!(Job::expire_locks(&pool).unwrap(), 1);

    assert_eq!(row(&db, "old").status, Status::Failed);
    assert_eq!(row(&db, "fresh").status, Status::InProgress);
    Job::run_job(&pool, "old", |_, _| Ok(())).unwrap();
    age_lock(&db, "fresh");
    Job::run_job(&pool, "fresh", |job, _| Ok(assert_eq!(job.retry, 1))).unwrap();
}
