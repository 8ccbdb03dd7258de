//! One row that cannot be what it should costs the other jobs nothing.

use std::collections::HashSet;
use std::time::Duration;

use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel_status_tracker::clock::ago;
use diesel_status_tracker::{Retry, StatusTracked};

use super::backend::UNREADABLE_TIME;
use super::database::{TestConnection, TestDb, TestPool};
use super::jobs::{Job, JobUpdates, Status, age_lock, assert_names, jobs, row};
use super::pools::pool_with;
use super::sessions::{
    CHANGES_ARE_UNDONE, check_references, conflict, drop_deletes, drop_updates, refuse,
};
use super::tasks::{Task, tasks, with_tasks};
use super::worker::{NEVER, Runs, summary, until};

/// Keeps the updates of the job "bad" from being made, after which it would be
/// in progress.
type InTheWay = fn(&mut TestConnection, &str);

const IN_THE_WAY: [InTheWay; 3] = [refuse, drop_updates, conflict];
const CLAIM_OF_BAD: &str = "NEW.id = 'bad' AND NEW.status = 20";

/// The jobs "bad", "0", "1" and so on, in the order in which they are claimed.
fn with_a_bad_one(in_the_way: InTheWay, when: &str, good: usize) -> (TestDb, TestPool) {
    let db = TestDb::new();
    let pool = db.pool(2);
    let names = std::iter::once("bad".to_owned()).chain((0..good).map(|n| n.to_string()));
    Job::create_many(&pool, names.map(|id| (id, JobUpdates::default()))).unwrap();
    diesel::update(jobs::table.find("bad"))
        .set(jobs::update_at.eq(ago(NEVER)))
        .execute(&mut *db.conn())
        .unwrap();
    in_the_way(&mut db.conn(), when);
    (db, pool)
}

#[test]
fn a_ready_row_that_cannot_be_claimed_does_not_block_its_batch() {
    for in_the_way in IN_THE_WAY {
        for n in [2, 5, 100] {
            let (db, pool) = with_a_bad_one(in_the_way, CLAIM_OF_BAD, 9);
            let bad = row(&db, "bad");

            let mut got = Vec::new();
            for _ in 0..9 {
                let batch = Job::claim_next(&pool, n).unwrap_or_default();
                got.extend(batch.iter().map(|job| job.id.clone()));
                batch.into_iter().for_each(|job| job.succeed().unwrap());
            }

            got.sort();
            assert_eq!(got, (0..9).map(|n| n.to_string()).collect::<Vec<_>>());
            assert_eq!(row(&db, "bad"), bad);
        }
    }
}

#[test]
fn a_ready_row_that_cannot_be_claimed_is_not_the_next() {
    for in_the_way in IN_THE_WAY {
        let (db, pool) = with_a_bad_one(in_the_way, CLAIM_OF_BAD, 3);
        let bad = row(&db, "bad");
        let next = || Job::run_next(&pool, |job, _| Ok(job.id.clone()));

        let got: HashSet<_> = (0..3).map(|_| next().unwrap().unwrap()).collect();

        assert_eq!(got, ["0", "1", "2"].map(str::to_owned).into());
        // It is named, or there is none: nothing is asked for ever.
        match next() {
            Ok(none) => assert_eq!(none, None),
            Err(error) => assert_names(&error, "bad"),
        }
        assert_eq!(row(&db, "bad"), bad);
    }
}

#[test]
fn a_start_of_a_row_that_cannot_be_claimed_says_why() {
    let (db, pool) = with_a_bad_one(refuse, CLAIM_OF_BAD, 0);
    let before = row(&db, "bad");
    let error = Job::start(&pool, "bad").unwrap_err();
    assert_err!(error, Database);
    assert_names(&error, "bad");
    assert!(error.to_string().contains("not to be had"), "{error}");
    assert_eq!(row(&db, "bad"), before);

    let (db, pool) = with_a_bad_one(drop_updates, CLAIM_OF_BAD, 0);
    let before = row(&db, "bad");
    let error = Job::start(&pool, "bad").unwrap_err();
    assert_err!(error, UpdateDropped);
    assert_names(&error, "bad");
    assert!(error.to_string().contains("trigger"), "{error}");
    assert_eq!(row(&db, "bad"), before);
}

#[test]
fn a_worker_sets_aside_a_row_that_cannot_be_claimed() {
    for in_the_way in IN_THE_WAY {
        for (threads, batch) in [(1, 1), (2, 3), (1, 100)] {
            let (db, pool) = with_a_bad_one(in_the_way, CLAIM_OF_BAD, 20);
            let bad = row(&db, "bad");
            let runs = Runs::default();

            let worker = Job::worker(&pool).threads(threads).batch(batch);
            let done = worker.run_until_empty(|job, _| {
                runs.add(&job.id);
                Ok(())
            });

            let done = done.unwrap();
            assert!(done.refused > 0, "{done}");
            assert_eq!(done.succeeded, 20, "{done}");
            assert_eq!(runs.counts().len(), 20);
            assert_eq!(row(&db, "bad"), bad);
        }
    }
}

#[test]
fn a_dead_row_that_cannot_be_expired_does_not_block_others() {
    for in_the_way in IN_THE_WAY {
        let (db, pool) = with_a_bad_one(in_the_way, "NEW.id = 'bad' AND NEW.status = 30", 130);
        for job in Job::claim_next(&pool, 131).unwrap() {
            std::mem::forget(job);
        }
        let dead = jobs::lock_at.eq(ago(NEVER));
        diesel::update(jobs::table)
            .set(dead)
            .execute(&mut *db.conn())
            .unwrap();
        let bad = row(&db, "bad");

        let expired = Job::expire_locks(&pool).unwrap();
        assert!(expired == 130 || CHANGES_ARE_UNDONE && expired == 131);
        assert!(Job::expire_locks(&pool).unwrap() <= usize::from(CHANGES_ARE_UNDONE));
        assert_eq!(row(&db, "bad"), bad);

        let done = Job::worker(&pool).batch(50).run_until_empty(|_, _| Ok(()));
        let done = done.unwrap();
        assert_eq!(done.succeeded, 130, "{done}");
        assert_eq!(row(&db, "bad"), bad);
    }
}

#[test]
fn dead_rows_in_front_that_cannot_be_expired_hide_none() {
    for in_the_way in IN_THE_WAY {
        let when = "NEW.id LIKE 'bad%' AND NEW.status = 30";
        let (db, pool) = with_a_bad_one(in_the_way, when, 5);
        let bad = (0..250).map(|n| (format!("bad {n}"), JobUpdates::default()));
        Job::create_many(&pool, bad).unwrap();
        for job in Job::claim_next(&pool, 256).unwrap() {
            std::mem::forget(job);
        }
        db.sql("UPDATE jobs SET lock_at = '2001-01-01 00:00:00.000'");
        let last = diesel::update(jobs::table.filter(jobs::id.not_like("bad%")));
        last.set(jobs::lock_at.eq(ago(NEVER)))
            .execute(&mut *db.conn())
            .unwrap();

        let expired = Job::expire_locks(&pool).unwrap();
        assert!(expired == 5 || CHANGES_ARE_UNDONE && expired == 256);
        let good = jobs::table.filter(jobs::id.not_like("bad%").and(jobs::status.eq(30)));
        assert_eq!(good.count().get_result(&mut *db.conn()), Ok(5));
    }
}

#[test]
fn a_worker_counts_a_dead_row_whose_expiry_is_refused_or_dropped() {
    for in_the_way in IN_THE_WAY {
        let (db, pool) = with_a_bad_one(in_the_way, "NEW.id = 'bad' AND NEW.status = 30", 0);
        std::mem::forget(Job::start(&pool, "bad").unwrap());
        age_lock(&db, "bad");

        let done = Job::worker(&pool).run_until_empty(|_, _| Ok(())).unwrap();

        assert!(done.refused > 0 || CHANGES_ARE_UNDONE, "{done}");
    }
}

#[test]
fn a_lock_whose_renewal_always_conflicts_does_not_block_other_renewals() {
    struct Brief;
    step! { Brief on Job { const LOCK_EXPIRE: Duration = Duration::from_secs(2); } }
    let is_renewal = "NEW.id = 'bad' AND NEW.status = 20 AND OLD.status = 20";
    let (db, pool) = with_a_bad_one(conflict, is_renewal, 1);
    let lock_at = |id| row(&db, id).lock_at;

    let worker = Brief::worker(&pool).threads(2).batch(2);
    let done = worker.run_until_empty(|job, _| {
        // Both wait for it, so that both are to be renewed.
        let first = lock_at("0");
        until(format!("{:?} sees a renewal", job.id), || {
            lock_at("0") != first || row(&db, "0").status == Status::Succeeded
        });
        Ok(())
    });

    assert_eq!(done.unwrap(), summary(|s| s.succeeded = 2));
}

#[test]
fn a_row_whose_last_change_has_an_unreadable_time_does_not_block_others() {
    for batch in [1, 2, 100] {
        let (db, pool) = with_a_bad_one(|_, _| (), "", 5);
        db.sql(&format!(
            "UPDATE jobs SET update_at = {UNREADABLE_TIME} WHERE id = 'bad'"
        ));
        let next = Job::claim_next(&pool, batch).unwrap();
        let next: Vec<_> = next.into_iter().map(|job| job.succeed().unwrap()).collect();
        assert!(!next.is_empty());

        let done = Job::worker(&pool)
            .batch(batch)
            .run_until_empty(|_, _| Ok(()));

        done.unwrap();
        let left = Job::count_by_status(&pool).unwrap();
        assert!(
            left.contains(&(Status::Succeeded, 5)) || left.contains(&(Status::Succeeded, 6)),
            "{left:?}"
        );
    }
}

#[test]
fn a_late_job_does_not_wait_for_the_next_poll() {
    let db = TestDb::new();
    let pool = db.pool(2);
    Job::create_and_save(&pool, "a", JobUpdates::default()).unwrap();
    let worker = Job::worker(&pool).threads(1).poll_every(NEVER);
    let handle = worker.handle();

    let done = worker.run(|job, _| {
        match &*job.id {
            "a" => {
                // Written by a transaction that began long ago.
                Job::create_and_save(&pool, "late", JobUpdates::default())?;
                diesel::update(jobs::table.find("late"))
                    .set(jobs::update_at.eq(ago(NEVER)))
                    .execute(&mut *db.conn())?;
            }
            _ => handle.shutdown(),
        }
        Ok(())
    });

    assert_eq!(done.unwrap().succeeded, 2);
}

#[test]
fn in_a_transaction_of_the_callers_a_row_that_cannot_be_expired_is_passed_over_too() {
    let (db, pool) = with_a_bad_one(refuse, "NEW.id = 'bad' AND NEW.status = 30", 3);
    for job in Job::claim_next(&pool, 4).unwrap() {
        let id = job.id.clone();
        std::mem::forget(job);
        age_lock(&db, &id);
    }
    let mut conn = pool.get().unwrap();

    let expired = conn.transaction(|conn| {
        let expired = Job::expire_locks(&mut *conn).unwrap();
        // What comes next in it is not refused.
        diesel::sql_query("UPDATE jobs SET data = NULL").execute(conn)?;
        QueryResult::Ok(expired)
    });

    assert_eq!(expired, Ok(3));
    assert_eq!(row(&db, "0").status, Status::Failed);
    assert_eq!(row(&db, "bad").status, Status::InProgress);
}

#[test]
fn a_row_that_cannot_be_reset_or_deleted_does_not_block_others_and_is_named() {
    for in_the_way in [refuse as InTheWay, conflict] {
        let (db, pool) = with_a_bad_one(in_the_way, "NEW.id = 'bad' AND NEW.status = 10", 700);
        db.sql("UPDATE jobs SET status = 50, retry = 3");
        let keys = || std::iter::once("bad".to_owned()).chain((0..700).map(|n| n.to_string()));
        let error = Job::reset_many(&pool, keys()).unwrap_err();
        assert_names(&error, "bad");
        let counts = |status| {
            let rows = jobs::table.filter(jobs::status.eq(status)).count();
            rows.get_result::<i64>(&mut *db.conn()).unwrap()
        };
        assert_eq!((counts(Status::Pending), counts(Status::Ignored)), (700, 1));

        db.sql(
        "CREATE TABLE notes (job VARCHAR(255) NOT NULL, FOREIGN KEY (job) REFERENCES jobs (id))",
    );
        db.sql("INSERT INTO notes VALUES ('7')");
        diesel::update(jobs::table.filter(jobs::status.eq(Status::Pending)))
            .set((
                jobs::status.eq(Status::Succeeded),
                jobs::update_at.eq(ago(NEVER)),
            ))
            .execute(&mut *db.conn())
            .unwrap();
        let pool = pool_with(db.url(), 1, check_references);
        let error = Job::prune(&pool, &[Job::SUCCEEDED], Duration::from_secs(1)).unwrap_err();
        assert_names(&error, "7");
        let left = jobs::table.select(jobs::id).order_by(jobs::id);
        let left: Vec<String> = left.load(&mut *db.conn()).unwrap();
        assert_eq!(left, ["7", "bad"]);
    }
}

#[test]
fn deletes_that_the_database_drops_hide_no_row_behind_them() {
    const BAD: usize = 1200;
    const GOOD: usize = 30;
    let db = TestDb::new();
    let pool = db.pool(1);
    let bad = (0..BAD).map(|n| format!("bad {n}"));
    let names = bad.chain((0..GOOD).map(|n| format!("good {n}")));
    Job::create_many(&pool, names.map(|id| (id, JobUpdates::default()))).unwrap();
    diesel::update(jobs::table)
        .set((
            jobs::status.eq(Status::Succeeded),
            jobs::update_at.eq(ago(NEVER)),
        ))
        .execute(&mut *db.conn())
        .unwrap();
    drop_deletes(&mut db.conn(), "OLD.id LIKE 'bad%'");
    let prune = || Job::prune(&pool, &[Job::SUCCEEDED], Duration::from_secs(1)).unwrap();

    let pruned = prune();

    let all = if CHANGES_ARE_UNDONE { GOOD + BAD } else { GOOD };
    assert_eq!(pruned, all);
    assert_eq!(prune(), 0);
    let good = jobs::table.filter(jobs::id.like("good%")).count();
    assert_eq!(good.get_result(&mut *db.conn()), Ok(0_i64));
}

#[test]
fn unreadable_rows_in_front_cost_the_same_for_any_number_of_readable_ones() {
    const BAD: i32 = 40;
    const GOOD: i32 = 260;
    for batch in [1, 7, 100] {
        let (db, pool) = with_tasks(1..=BAD + GOOD);
        db.sql(&format!(
            "UPDATE tasks SET note = NULL, priority = 5 WHERE id <= {BAD}"
        ));
        // What is given back stays what it was.
        db.sql("UPDATE tasks SET status = 30, retry = 1 WHERE id = 3");

        let worker = Task::worker(&pool).threads(1).batch(batch);
        let done = worker.run_until_empty(|_, _| Ok(())).unwrap();

        assert_eq!(done.succeeded, GOOD as u64, "{done}");
        // Once each, and some once more after their pause.
        assert!(done.unreadable >= BAD as u64, "{done}");
        assert!(done.unreadable < GOOD as u64, "{done}");
        let left: Vec<(i32, Status, Option<String>)> = tasks::table
            .filter(tasks::id.le(BAD))
            .order_by(tasks::id)
            .select((tasks::id, tasks::status, tasks::lock))
            .load(&mut *db.conn())
            .unwrap();
        for (id, status, lock) in left {
            let was = if id == 3 {
                Status::Failed
            } else {
                Status::Pending
            };
            assert_eq!((status, lock), (was, None), "{id}");
        }
    }
}

#[test]
fn any_number_of_unreadable_rows_in_front_hides_no_readable_one() {
    let (db, pool) = with_tasks(1..=303);
    db.sql("UPDATE tasks SET note = NULL, priority = 5 WHERE id <= 300");
    assert_eq!(
        Task::run_next(&pool, |task, _| Ok(task.id)).unwrap(),
        Some(301)
    );
    let batch = Task::claim_next(&pool, 7).unwrap();
    assert_eq!(
        batch.iter().map(|task| task.id).collect::<Vec<_>>(),
        [302, 303]
    );
}

/// As the database reports it.
fn serialization_failure() -> DieselError {
    let message = "could not serialize access due to concurrent update".to_owned();
    DieselError::DatabaseError(DatabaseErrorKind::SerializationFailure, Box::new(message))
}

#[test]
fn a_job_whose_transaction_always_conflicts_is_ignored_in_the_end() {
    struct Impatient;
    step! { Impatient on Job { const MAX_CONFLICTS: i32 = 3; const MAX_RETRY: i32 = 2; } }
    let db = TestDb::new();
    let pool = db.pool(3);
    let rows = (0..5).map(|n| (n.to_string(), JobUpdates::default()));
    Job::create_many(&pool, rows).unwrap();
    let runs = Runs::default();

    let worker = Impatient::worker(&pool).threads(2).batch(2);
    let done = worker.run_in_transaction_until_empty(|_, job, _| {
        runs.add(&job.id);
        match &*job.id {
            "0" => Err(serialization_failure().into()),
            _ => Ok(()),
        }
    });

    let expected = summary(|s| (s.succeeded, s.released, s.failed, s.ignored) = (4, 4, 1, 1));
    assert_eq!(done.unwrap(), expected);
    assert_eq!(runs.counts()[0], ("0".to_owned(), 6));
    let job = row(&db, "0");
    assert_eq!((job.status, job.retry), (Status::Ignored, 2));
    let text = job.errors["error"].as_str().unwrap();
    assert!(text.contains("3 times in a row"), "{text}");
    assert!(text.contains("could not serialize"), "{text}");
}

#[test]
fn a_released_job_does_not_make_others_wait_for_the_next_poll() {
    let db = TestDb::new();
    let pool = db.pool(1);
    let rows = (0..50).map(|n| (n.to_string(), JobUpdates::default()));
    Job::create_many(&pool, rows).unwrap();
    let runs = Runs::default();

    let worker = Job::worker(&pool).threads(1).batch(5).poll_every(NEVER);
    let done = worker.run_until_empty(|job, _| {
        let n: u32 = job.id.parse()?;
        match runs.add(&job.id) {
            0 if n.is_multiple_of(10) => Err(Retry::release().into()),
            _ => Ok(()),
        }
    });

    let expected = summary(|s| (s.succeeded, s.released) = (50, 5));
    assert_eq!(done.unwrap(), expected);
}
