//! Dead attempts: what is done about them, and about whom it is not.

use std::time::Duration;

use diesel::prelude::*;
use diesel_status_tracker::StatusTracked;
use diesel_status_tracker::clock::{ago, now};
use serde_json::json;

use super::database::TestDb;
use super::jobs::{
    Job, JobUpdates, Status, assert_names, die, history, jobs, one_job, row, set_status,
};

#[test]
fn a_dead_attempt_is_a_failed_one() {
    let (db, pool) = one_job();
    die::<Job>(&db, &pool, "a");
    let dead = row(&db, "a");

    assert_eq!(Job::expire_locks(&pool).unwrap(), 1);

    let job = row(&db, "a");
    let expected = Job {
        status: Status::Failed,
        lock: None,
        retry: 1,
        errors: job.errors.clone(),
        update_at: job.update_at,
        ..dead
    };
    assert_eq!(job, expected);
    assert!(history(&job)[0].contains("the lock expired"));
    assert_eq!(job.errors["attempt"], 1);
    assert_eq!(Job::expire_locks(&pool).unwrap(), 0);
    assert_eq!(row(&db, "a"), job);
    Job::run_job(&pool, "a", |_, _| Ok(())).unwrap();
}

#[test]
fn a_job_that_kills_each_worker_ends_ignored() {
    let (db, pool) = one_job();

    die::<Job>(&db, &pool, "a");
    Job::expire_locks(&pool).unwrap();
    die::<Job>(&db, &pool, "a"); // the next one takes the lock over by itself
    die::<Job>(&db, &pool, "a");
    assert_eq!(row(&db, "a").retry, 2);
    let error = Job::run_job(&pool, "a", |_, _| -> Result<(), _> { panic!("it ran") }).unwrap_err();

    assert_err!(error, Ignored { retry: 3, .. });
    let job = row(&db, "a");
    assert_eq!(
        (job.status, job.retry, job.lock.clone()),
        (Status::Ignored, 3, None)
    );
    assert_eq!(history(&job).len(), 3);
    assert_eq!(job.errors["attempt"], 3);
}

#[test]
fn start_claims_a_job_with_an_expired_lock() {
    let (db, pool) = one_job();
    die::<Job>(&db, &pool, "a");
    let dead = row(&db, "a");

    let attempt = Job::start(&pool, "a").unwrap();

    let job = row(&db, "a");
    assert_eq!(*attempt, job);
    assert_eq!((job.status, job.retry), (Status::InProgress, 1));
    assert_ne!(job.lock, dead.lock);
    assert!(job.lock_at > dead.lock_at);
    assert!(history(&job)[0].contains("the lock expired"));
    attempt.fail("no paper").unwrap();
    let job = row(&db, "a");
    assert_eq!(job.retry, 2);
    assert_eq!(history(&job)[0], "no paper");
}

#[test]
fn live_attempts_are_not_expired() {
    let (db, pool) = one_job();
    let _attempt = Job::start(&pool, "a").unwrap();
    let almost = Job::LOCK_EXPIRE - Duration::from_secs(60);
    diesel::update(jobs::table.find("a"))
        .set(jobs::lock_at.eq(ago(almost)))
        .execute(&mut *db.conn())
        .unwrap();
    let live = row(&db, "a");

    assert_eq!(Job::expire_locks(&pool).unwrap(), 0);
    let error = Job::start(&pool, "a").unwrap_err();

    assert_err!(error, Locked);
    assert_eq!(row(&db, "a"), live);
}

#[test]
fn any_number_of_dead_attempts_is_expired() {
    let db = TestDb::new();
    let pool = db.pool(1);
    let rows = (0..230).map(|n| (n.to_string(), JobUpdates::default()));
    Job::create_many(&pool, rows).unwrap();
    diesel::update(jobs::table)
        .set((
            jobs::status.eq(Status::InProgress),
            jobs::lock.eq("of a dead worker"),
            jobs::lock_at.eq(ago(Duration::from_secs(60 * 60))),
        ))
        .execute(&mut *db.conn())
        .unwrap();
    set_status(&db, "7", Status::Archived); // another step's
    let last_chance = diesel::update(jobs::table.find("8")).set(jobs::retry.eq(2));
    last_chance.execute(&mut *db.conn()).unwrap();

    assert_eq!(Job::expire_locks(&mut *db.conn()).unwrap(), 229);

    let mut counts = Job::count_by_status(&pool).unwrap();
    counts.sort_by_key(|(status, _)| i32::from(*status));
    assert_eq!(
        counts,
        [
            (Status::Failed, 228),
            (Status::Ignored, 1),
            (Status::Archived, 1)
        ]
    );
    let other = row(&db, "7");
    assert_eq!(other.lock.as_deref(), Some("of a dead worker"));
    assert_eq!((other.retry, other.errors), (0, json!({})));
    assert_eq!(row(&db, "8").status, Status::Ignored);
}

#[test]
fn a_lock_by_hand_never_expires_and_the_error_says_so() {
    let (db, pool) = one_job();
    let hands: [(Status, Option<Duration>); 3] = [
        (Status::Pending, Some(Duration::from_secs(60 * 60))),
        (Status::Pending, None),
        (Status::InProgress, None),
    ];
    for (status, lock_age) in hands {
        let lock = (jobs::status.eq(status), jobs::lock.eq("me"));
        let conn = &mut *db.conn();
        match lock_age {
            Some(age) => diesel::update(jobs::table)
                .set((lock, jobs::lock_at.eq(ago(age))))
                .execute(conn),
            None => diesel::update(jobs::table)
                .set((lock, jobs::lock_at.eq(None::<chrono::NaiveDateTime>)))
                .execute(conn),
        }
        .unwrap();
        let before = jobs::table
            .select(Job::as_select())
            .get_result(conn)
            .unwrap();

        assert_eq!(Job::expire_locks(&pool).unwrap(), 0);
        let error = Job::start(&pool, "a").unwrap_err();

        assert_err!(
            error,
            Locked {
                expires_at: None,
                ..
            }
        );
        assert_names(&error, "a");
        assert!(error.to_string().contains("does not expire"), "{error}");
        let after = jobs::table
            .select(Job::as_select())
            .get_result(conn)
            .unwrap();
        assert_eq!(after, before);
    }
}

#[test]
fn a_step_may_have_its_locks_never_expire() {
    struct Eternal;
    step! { Eternal on Job { const LOCK_EXPIRE: Duration = Duration::MAX; } }
    let (db, pool) = one_job();
    let _attempt = Eternal::start(&pool, "a").unwrap();
    db.sql("UPDATE jobs SET lock_at = '2001-01-01 00:00:00.000'");
    let before = row(&db, "a");

    assert_eq!(Eternal::expire_locks(&pool).unwrap(), 0);
    let error = Eternal::start(&pool, "a").unwrap_err();

    assert_err!(
        error,
        Locked {
            expires_at: None,
            ..
        }
    );
    assert!(Eternal::is_locked(&pool, "a").unwrap());
    assert_eq!(row(&db, "a"), before);
}

#[test]
fn a_lock_of_the_future_is_held() {
    let (db, pool) = one_job();
    let attempt = Job::start(&pool, "a").unwrap();
    let an_hour = Duration::from_secs(60 * 60);
    diesel::update(jobs::table)
        .set(jobs::lock_at.eq(diesel_status_tracker::clock::from_now(an_hour)))
        .execute(&mut *db.conn())
        .unwrap();

    assert_eq!(Job::expire_locks(&pool).unwrap(), 0);
    assert!(Job::is_locked(&pool, "a").unwrap());
    attempt.renew().unwrap();
    let passed = jobs::table.filter(jobs::lock_at.le(now())).count();
    assert_eq!(passed.get_result(&mut *db.conn()), Ok(1));
}
