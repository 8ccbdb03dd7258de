//! The guard: how it ends, what it writes meanwhile, and that nothing it
//! writes lands once the lock is lost.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use diesel_status_tracker::{Error, RunningJob, StatusTracked};
use serde_json::json;

use super::database::{TestConnection, TestDb, TestPool};
use super::jobs::{
    Job, JobUpdates, Status, age_lock, assert_names, data, history, row, set_status,
};

type Attempt = RunningJob<Job, TestConnection>;

/// A database with the job "a", held by an attempt.
fn one_attempt() -> (TestDb, TestPool, Attempt) {
    let db = TestDb::new();
    let pool = db.pool(2);
    Job::create_and_save(&pool, "a", data(json!("old"))).unwrap();
    let attempt = Job::start(&pool, "a").unwrap();
    (db, pool, attempt)
}

#[test]
fn the_guard_is_the_job_and_holds_it() {
    let (db, pool, mut attempt) = one_attempt();

    let running = row(&db, "a");
    assert_eq!(*attempt, running);
    assert_eq!(running.status, Status::InProgress);
    assert_eq!(running.lock.as_deref(), Some(attempt.token()));
    let again = Job::start(&pool, "a").unwrap_err();
    assert_err!(again, Locked);

    attempt.updates = data(json!("new"));
    attempt.succeed().unwrap();
    let job = row(&db, "a");
    assert_eq!((job.status, job.lock), (Status::Succeeded, None));
    assert_eq!(job.data, Some(json!("new")));
}

#[test]
fn each_attempt_has_its_own_token() {
    let (db, pool, attempt) = one_attempt();
    let mut locks = HashSet::from([attempt.token().to_owned()]);
    attempt.fail("once").unwrap();

    let attempt = Job::start(&pool, "a").unwrap();
    locks.insert(attempt.token().to_owned());

    assert_eq!(locks.len(), 2);
    assert!(locks.contains(&row(&db, "a").lock.unwrap()));
}

#[test]
fn fail_records_the_error_without_the_updates() {
    let (db, _pool, mut attempt) = one_attempt();
    attempt.updates = data(json!("new"));

    attempt.fail("no paper").unwrap();

    let job = row(&db, "a");
    assert_eq!((job.status, job.retry), (Status::Failed, 1));
    assert_eq!((job.lock.as_ref(), &job.data), (None, &Some(json!("old"))));
    assert_eq!(history(&job), ["no paper"]);
}

#[test]
fn a_dropped_attempt_is_a_failed_one() {
    let (db, _pool, attempt) = one_attempt();

    drop(attempt);

    let job = row(&db, "a");
    assert_eq!((job.status, job.retry), (Status::Failed, 1));
    assert_eq!(job.lock, None);
    assert!(history(&job)[0].contains("dropped unfinished"));
}

#[test]
fn an_attempt_that_a_panic_drops_is_a_failed_one() {
    let (db, _pool, attempt) = one_attempt();

    catch_unwind(AssertUnwindSafe(|| {
        let _attempt = attempt;
        panic!("boom");
    }))
    .unwrap_err();

    let job = row(&db, "a");
    assert_eq!((job.status, job.retry), (Status::Failed, 1));
    assert_eq!(job.lock, None);
    assert!(history(&job)[0].contains("panicked"));
}

#[test]
fn renew_moves_the_locks_time_and_nothing_else() {
    let (db, pool, attempt) = one_attempt();
    age_lock(&db, "a");
    let aged = row(&db, "a");

    // From elsewhere, as a heartbeat does.
    std::thread::scope(|scope| scope.spawn(|| attempt.renew()).join().unwrap()).unwrap();

    let renewed = row(&db, "a");
    assert!(renewed.lock_at > aged.lock_at);
    let lock_at = renewed.lock_at;
    assert_eq!(renewed, Job { lock_at, ..aged });
    assert_eq!(Job::expire_locks(&pool).unwrap(), 0);
    assert!(!attempt.is_lost());
    attempt.succeed().unwrap();
    assert_eq!(row(&db, "a").status, Status::Succeeded);
}

#[test]
fn a_checkpoint_stays_when_the_attempt_fails() {
    let (db, pool, mut attempt) = one_attempt();
    age_lock(&db, "a");

    attempt.save(data(json!("half"))).unwrap();
    let saved = row(&db, "a");
    assert_eq!(saved.data, Some(json!("half")));
    assert_eq!(saved.lock.as_deref(), Some(attempt.token()));
    assert_eq!(Job::expire_locks(&pool).unwrap(), 0);

    attempt.updates = data(json!("whole"));
    attempt.fail("no paper").unwrap();
    let job = row(&db, "a");
    assert_eq!(
        (job.status, job.data),
        (Status::Failed, Some(json!("half")))
    );
}

#[test]
fn an_empty_checkpoint_renews() {
    let (db, _pool, attempt) = one_attempt();
    age_lock(&db, "a");
    let aged = row(&db, "a");

    let nothing = JobUpdates::default();
    attempt.save(&nothing).unwrap();

    let saved = row(&db, "a");
    assert!(saved.lock_at > aged.lock_at);
    assert_eq!(saved.data, Some(json!("old")));
}

#[test]
fn a_late_attempt_writes_nothing() {
    let losses: [fn(&TestDb, &TestPool) -> Option<Attempt>; 5] = [
        // Expired, and nobody has it.
        |_, pool| {
            assert_eq!(Job::expire_locks(pool).unwrap(), 1);
            None
        },
        // Another attempt has it.
        |_, pool| Some(Job::start(pool, "a").unwrap()),
        // Another attempt has had it, and succeeded.
        |_, pool| {
            Job::run_job(pool, "a", |_, _| Ok(())).unwrap();
            None
        },
        // It was reset.
        |_, pool| {
            Job::reset(pool, "a").unwrap();
            None
        },
        // Somebody has unlocked it by hand, and said that it is done.
        |db, _| {
            set_status(db, "a", Status::Succeeded);
            db.sql("UPDATE jobs SET `lock` = NULL");
            None
        },
    ];
    let writes: [fn(Attempt) -> Result<(), Error>; 5] = [
        |mut late| {
            late.updates = data(json!("late"));
            late.succeed()
        },
        |late| late.fail("late"),
        |late| {
            assert!(!late.is_lost());
            let renewed = late.renew();
            assert!(late.is_lost());
            renewed
        },
        |late| {
            let saved = late.save(data(json!("late")));
            assert!(late.is_lost());
            saved
        },
        |late| {
            drop(late);
            Err(Error::LockLost {
                job: "jobs \"a\"".into(),
            })
        },
    ];
    let db = TestDb::new();
    let pool = db.pool(2);
    for loss in losses {
        for write in writes {
            Job::create_and_save(&pool, "a", data(json!("old"))).unwrap();
            let late = Job::start(&pool, "a").unwrap();
            age_lock(&db, "a");
            let other = loss(&db, &pool);
            let before = row(&db, "a");

            let error = write(late).unwrap_err();

            assert_err!(error, LockLost);
            assert_names(&error, "a");
            assert_eq!(row(&db, "a"), before);
            if let Some(other) = other {
                other.succeed().unwrap();
                assert_eq!(row(&db, "a").status, Status::Succeeded);
            }
            db.sql("DELETE FROM jobs");
        }
    }
}

#[test]
fn one_connection_serves_any_number_of_running_jobs() {
    let db = TestDb::new();
    let pool = db.pool(1);
    let ids = ["a", "b", "c", "d"];
    Job::create_many(&pool, ids.map(|id| (id, JobUpdates::default()))).unwrap();

    let held = Job::start(&pool, "a").unwrap();
    let dropped = Job::start(&pool, "b").unwrap();
    Job::run_job(&pool, "c", |outer, _| {
        Job::run_job(&pool, "d", |inner, _| {
            inner.save(data(json!("half")))?;
            outer.renew()?;
            drop(dropped);
            Ok(())
        })?;
        held.succeed()?;
        Ok(())
    })
    .unwrap();

    use Status::{Failed, Succeeded};
    let statuses = ids.map(|id| row(&db, id).status);
    assert_eq!(statuses, [Succeeded, Failed, Succeeded, Succeeded]);
}

#[test]
fn a_drop_does_not_wait_for_an_exhausted_pool() {
    let db = TestDb::new();
    // Whoever waits for this pool's whole timeout does not come back.
    let pool = db.pool_within(1, Duration::from_secs(24 * 60 * 60));
    Job::create_and_save(&pool, "a", JobUpdates::default()).unwrap();
    let attempt = Job::start(&pool, "a").unwrap();
    let running = row(&db, "a");

    let taken = pool.get().unwrap();
    std::thread::spawn(move || drop(attempt)).join().unwrap();
    assert_eq!(row(&db, "a"), running);
    drop(taken);

    age_lock(&db, "a");
    assert_eq!(Job::expire_locks(&pool).unwrap(), 1);
    let job = row(&db, "a");
    assert_eq!((job.status, job.retry, job.lock), (Status::Failed, 1, None));
}
