//! What somebody decides by looking at a job is done only to a job that is still so.

use std::time::Duration;

use diesel_status_tracker::{DescribedStep, SeenJob, StatusTracked, StepInfo, TableInfo};

use super::database::{TestDb, TestPool};
use super::described::{create, described};
use super::described_keys::numbers;
use super::jobs::{Job, Status, history, row, set_status};

fn step() -> DescribedStep {
    described().steps().next().unwrap()
}

fn seen(pool: &TestPool, id: &str) -> SeenJob {
    described().find(pool, id).unwrap().unwrap().seen()
}

/// A failed job of this name, as it is seen.
fn failed(pool: &TestPool, id: &'static str) -> SeenJob {
    create(pool, &[id]);
    Job::run_job(pool, id, |_, _| Err::<(), _>("no paper".into())).unwrap_err();
    seen(pool, id)
}

/// Tries both on the job, which stays as it is, and says why.
macro_rules! assert_both_refused {
    ($db:expr, $pool:expr, $id:expr, $seen:expr, $error:ident) => {
        let before = row(&$db, $id);
        let reset = step().reset_if_unchanged(&$pool, $id, &$seen).unwrap_err();
        assert_err!(reset, $error);
        let ignored = step().ignore_if_unchanged(&$pool, $id, &$seen, "no paper");
        assert_err!(ignored.unwrap_err(), $error);
        let after = row(&$db, $id);
        assert_eq!(
            (after.status, after.retry, after.update_at, history(&after)),
            (
                before.status,
                before.retry,
                before.update_at,
                history(&before)
            ),
            "{}",
            $id
        );
    };
}

#[test]
fn a_job_that_has_changed_since_it_was_seen_is_left_as_it_is() {
    let db = TestDb::new();
    let pool = db.pool(2);

    let before = failed(&pool, "again");
    // So that the next failure writes another time, however fast it comes.
    db.sql("UPDATE jobs SET update_at = '2020-01-01 00:00:00.000' WHERE id = 'again'");
    let aged = seen(&pool, "again");
    assert_both_refused!(db, pool, "again", before, JobChanged);
    Job::run_job(&pool, "again", |_, _| Err::<(), _>("no ink".into())).unwrap_err();
    assert_both_refused!(db, pool, "again", aged, JobChanged);

    let before = failed(&pool, "held");
    let attempt = Job::start(&pool, "held").unwrap();
    assert_both_refused!(db, pool, "held", before, Locked);
    attempt.succeed().unwrap();

    let before = failed(&pool, "by hand");
    // Somebody who leaves the time as it was.
    set_status(&db, "by hand", Status::Pending);
    assert_both_refused!(db, pool, "by hand", before, JobChanged);

    let before = failed(&pool, "gone");
    db.sql("DELETE FROM jobs WHERE id = 'gone'");
    let late = step().reset_if_unchanged(&pool, "gone", &before);
    assert_err!(late.unwrap_err(), NotFound);
}

/// The statement that changes the row says what it has to be like, so that nobody comes
/// in between: of many who have seen the same, one does it.
#[test]
fn of_all_who_have_seen_the_same_one_does_it() {
    const MANY: usize = 4;
    let db = TestDb::new();
    let pool = db.pool(u32::try_from(MANY).unwrap());
    for id in ["a", "b", "c"] {
        let before = failed(&pool, id);
        db.sql(&format!(
            "UPDATE jobs SET update_at = '2020-01-01 00:00:00.000' WHERE id = '{id}'"
        ));
        let before = SeenJob {
            update_at: seen(&pool, id).update_at,
            ..before
        };
        let barrier = std::sync::Barrier::new(MANY);
        let one = || {
            barrier.wait();
            step().reset_if_unchanged(&pool, id, &before)
        };
        let done = std::thread::scope(|scope| {
            let all: Vec<_> = (0..MANY).map(|_| scope.spawn(one)).collect();
            let ended = all.into_iter().map(|one| one.join().unwrap());
            ended.collect::<Vec<_>>()
        });
        let (fine, late): (Vec<_>, Vec<_>) = done.into_iter().partition(Result::is_ok);
        assert_eq!(fine.len(), 1, "{late:?}");
        for error in late {
            assert_err!(error.unwrap_err(), JobChanged);
        }
    }
}

#[test]
fn a_job_that_is_still_as_it_was_seen_is_changed() {
    let db = TestDb::new();
    let pool = db.pool(1);
    let before = failed(&pool, "a");
    step().reset_if_unchanged(&pool, "a", &before).unwrap();
    let job = row(&db, "a");
    assert_eq!((job.status, job.retry), (Status::Pending, 0));

    let reset = seen(&pool, "a");
    step()
        .ignore_if_unchanged(&mut *pool.get().unwrap(), "a", &reset, "sold")
        .unwrap();
    let job = row(&db, "a");
    assert_eq!(job.status, Status::Ignored);
    assert_eq!(history(&job)[0], "ignored by hand: sold");
    // What is ignored is not ignored again, seen or not.
    let ignored = seen(&pool, "a");
    let again = step().ignore_if_unchanged(&pool, "a", &ignored, "sold");
    assert_err!(again.unwrap_err(), Ignored);
}

#[test]
fn a_job_that_was_never_changed_is_known_by_that() {
    let db = TestDb::new();
    let pool = db.pool(1);
    db.sql(
        "CREATE TABLE `jobs_of_it` (id INTEGER NOT NULL PRIMARY KEY, status INTEGER NOT NULL, create_at DATETIME(6) NOT NULL,
            update_at DATETIME(6), `lock` VARCHAR(32), lock_at DATETIME(6), retry INTEGER NOT NULL, errors JSON NOT NULL)",
    );
    for id in 1..=2 {
        db.sql(&format!(
            "INSERT INTO `jobs_of_it` (id, status, create_at, retry, errors) VALUES ({id}, 30, '2020-01-01 00:00:00.000', 1, '{{}}')"
        ));
    }
    let info = TableInfo::named("jobs_of_it").key(["id"]).usual_columns();
    let info = info
        .time(diesel_status_tracker::Role::UpdateAt, false, true)
        .step(StepInfo::new("it", numbers()).with_lock_expire(Duration::from_secs(60)));
    let table = diesel_status_tracker::DescribedTable::new(info.build().unwrap());
    let step = table.step("it").unwrap();
    let seen = table.find(&pool, "1").unwrap().unwrap().seen();
    assert_eq!(seen.update_at, None);

    step.reset_if_unchanged(&pool, "1", &seen).unwrap();
    step.ignore_if_unchanged(&pool, "2", &seen, "old").unwrap();

    for id in ["1", "2"] {
        let late = step.reset_if_unchanged(&pool, id, &seen);
        assert_err!(late.unwrap_err(), JobChanged);
    }
}
