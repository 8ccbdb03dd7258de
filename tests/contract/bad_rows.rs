//! Rows as hands leave them, every combination of status, lock, its time,
//! retries and errors: each call works, or says which job is odd and how.
//! Nothing is lost, and `reset` mends what this step can have.

mod odd;
mod plain_text;

use std::collections::BTreeMap;

use diesel_status_tracker::{Order, StatusTracked};
use serde_json::json;

use super::backend::UNREADABLE_TIME;
use super::database::TestDb;
use super::jobs::{Job, Status, assert_names, data};
use odd::{Fate, Odd, failed, read, with_rows};

/// The rows that are not to change, as they are.
fn kept(
    before: &BTreeMap<String, Job>,
    odds: &[Odd],
    stays: impl Fn(&Odd) -> bool,
) -> BTreeMap<String, Job> {
    let stay = odds.iter().filter(|odd| odd.is_known() && stays(odd));
    stay.map(|odd| (odd.id.clone(), before[&odd.id].clone()))
        .collect()
}

/// Holds that none of `kept` has changed, and that no row is gone.
fn assert_kept(after: &BTreeMap<String, Job>, odds: &[Odd], kept: &BTreeMap<String, Job>) {
    assert_eq!(
        after.len(),
        odds.iter().filter(|odd| odd.is_known()).count()
    );
    for (id, row) in kept {
        assert_eq!(&after[id], row);
    }
}

#[test]
fn calls_that_only_read_return_the_rows() {
    let odds = Odd::all();
    let db = with_rows(&odds);
    let pool = db.pool(1);
    let rows = read(&db);

    for odd in &odds {
        let found = Job::find(&pool, &*odd.id);
        let locked = Job::is_locked(&pool, &*odd.id);
        if odd.is_known() {
            assert_eq!(found.unwrap().as_ref(), rows.get(&odd.id));
            assert_eq!(
                locked.unwrap(),
                odd.lock.is_some() && !odd.is_dead(),
                "{odd:?}"
            );
        } else {
            for error in [found.unwrap_err(), locked.unwrap_err()] {
                assert_eq!(Fate::of::<()>(&Err(error)), Fate::Unreadable);
            }
        }
    }
    let statuses = [10, 20, 30, 40, 50, 90].map(|code| Status::try_from(code).unwrap());
    for status in statuses {
        let listed = Job::query_by_status(&pool, status, i64::MAX, Order::default()).unwrap();
        let expected = rows.values().filter(|row| row.status == status);
        assert_eq!(listed.len(), expected.count());
    }
    let counts = Job::count_by_status(&pool).unwrap_err();
    assert_eq!(Fate::of::<()>(&Err(counts)), Fate::Unreadable);
    assert_eq!(read(&db), rows);
}

#[test]
fn a_start_works_or_says_why_not() {
    let odds = Odd::all();
    let db = with_rows(&odds);
    let pool = db.pool(1);
    let before = read(&db);

    for odd in &odds {
        let started = Job::start(&pool, &*odd.id);
        assert_eq!(Fate::of(&started), odd.fate_of_start(), "{odd:?}");
        match started {
            Err(error) => assert_names(&error, &odd.id),
            Ok(attempt) if odd.errors == "{}" => attempt.succeed().unwrap(),
            Ok(attempt) => attempt.fail("no paper").unwrap(),
        }
    }

    let after = read(&db);
    let refused = |odd: &Odd| odd.fate_of_start() != Fate::Done && !odd.is_dead();
    assert_kept(&after, &odds, &kept(&before, &odds, refused));
    for odd in odds.iter().filter(|odd| odd.is_dead() || odd.is_ready()) {
        let row = &after[&odd.id];
        assert_eq!(row.lock, None, "{odd:?}");
        let is_tried = odd.fate_of_start() == Fate::Done;
        let retry = if odd.is_dead() {
            odd.after_failure().1
        } else {
            odd.retry
        };
        let (end, texts) = match (is_tried, odd.errors, odd.is_dead()) {
            (false, _, _) => (odd.after_failure(), vec!["lock expired"]),
            (true, "{}", true) => ((Status::Succeeded, 0), vec!["lock expired"]),
            (true, "{}", false) => {
                assert_eq!((row.status, row.retry), (Status::Succeeded, 0));
                assert_eq!(row.errors, json!({}));
                continue;
            }
            (true, _, true) => (failed(retry), vec!["no paper", "lock expired"]),
            (true, _, false) => (failed(retry), vec!["no paper"]),
        };
        assert_eq!((row.status, row.retry), end, "{odd:?}");
        odd.assert_recorded(&row.errors, &texts);
    }
}

#[test]
fn only_dead_attempts_expire() {
    let odds = Odd::all();
    let db = with_rows(&odds);
    let pool = db.pool(1);
    let before = read(&db);

    let dead: Vec<_> = odds.iter().filter(|odd| odd.is_dead()).collect();
    assert_eq!(Job::expire_locks(&pool).unwrap(), dead.len());
    assert_eq!(Job::expire_locks(&pool).unwrap(), 0);

    let after = read(&db);
    assert_kept(&after, &odds, &kept(&before, &odds, |odd| !odd.is_dead()));
    for odd in dead {
        let row = &after[&odd.id];
        assert_eq!((row.status, row.retry), odd.after_failure(), "{odd:?}");
        assert_eq!(row.lock, None);
        odd.assert_recorded(&row.errors, &["lock expired"]);
    }
}

#[test]
fn only_ready_jobs_are_claimed() {
    let odds = Odd::all();
    let db = with_rows(&odds);
    let pool = db.pool(1);
    let before = read(&db);
    let ready: Vec<_> = odds.iter().filter(|odd| odd.is_ready()).collect();

    Job::run_next(&pool, |_, updates| Ok(*updates = data(json!("next")))).unwrap();
    let claimed = Job::claim_next(&pool, odds.len()).unwrap();

    assert_eq!(claimed.len() + 1, ready.len());
    for attempt in claimed {
        attempt.succeed().unwrap();
    }
    let after = read(&db);
    assert_kept(&after, &odds, &kept(&before, &odds, |odd| !odd.is_ready()));
    for odd in ready {
        let row = &after[&odd.id];
        assert_eq!((row.status, row.retry), (Status::Succeeded, 0), "{odd:?}");
        assert_eq!(row.errors, before[&odd.id].errors);
    }
}

#[test]
fn a_reset_corrects_a_row_or_says_why_not() {
    let odds = Odd::all();
    let db = with_rows(&odds);
    let pool = db.pool(1);
    let before = read(&db);

    for odd in &odds {
        let reset = Job::reset(&pool, &*odd.id);
        assert_eq!(Fate::of(&reset), odd.fate_of_reset(), "{odd:?}");
        if let Err(error) = reset {
            assert_names(&error, &odd.id);
        }
    }
    let is_reset = |odd: &Odd| odd.fate_of_reset() == Fate::Done;
    let after = read(&db);
    assert_kept(&after, &odds, &kept(&before, &odds, |odd| !is_reset(odd)));

    // What was held is mended once that is as long ago as of the dead.
    db.sql("UPDATE jobs SET lock_at = '2001-01-01 00:00:00.000' WHERE lock_at IS NOT NULL");
    let ours = || odds.iter().filter(|odd| odd.is_of_this_step());
    let keys = odds.iter().map(|odd| &*odd.id);
    assert_eq!(Job::reset_many(&pool, keys).unwrap(), ours().count());
    let after = read(&db);
    for odd in ours() {
        let row = &after[&odd.id];
        assert_eq!((row.status, row.retry), (Status::Pending, 0), "{odd:?}");
        assert_eq!((&row.lock, &row.errors), (&None, &before[&odd.id].errors));
    }
    let done = Job::worker(&pool).batch(100).run_until_empty(|_, _| Ok(()));
    assert_eq!(done.unwrap().succeeded, ours().count() as u64);
}

#[test]
fn a_worker_runs_the_jobs_that_can_be_run_and_ends() {
    let odds = Odd::all();
    let db = with_rows(&odds);
    let pool = db.pool(2);
    let before = read(&db);

    let worker = Job::worker(&pool).threads(2).batch(20);
    let done = worker
        .run_until_empty(|_, _| Err("no paper".into()))
        .unwrap();

    let after = read(&db);
    let ends = |odd: &Odd| odd.is_ready() || odd.is_dead();
    assert_kept(&after, &odds, &kept(&before, &odds, |odd| !ends(odd)));
    let ended: Vec<_> = odds.iter().filter(|odd| ends(odd)).collect();
    let dead = ended.iter().filter(|odd| odd.is_dead()).count();
    assert_eq!(done.expired, dead as u64, "{done:?}");
    for odd in ended {
        let row = &after[&odd.id];
        assert_eq!((row.status, &row.lock), (Status::Ignored, &None), "{odd:?}");
    }
}

#[test]
fn a_lock_time_that_cannot_be_read_is_named_and_corrected() {
    let db = TestDb::new();
    let pool = db.pool(1);
    Job::create_and_save(&pool, "a", data(json!("old"))).unwrap();
    for status in [10, 20, 30, 40, 50] {
        for lock in ["NULL", "'me'"] {
            db.sql(&format!(
                "UPDATE jobs SET status = {status}, retry = 0, `lock` = {lock}, lock_at = {UNREADABLE_TIME}"
            ));
            let answers = [
                Job::is_locked(&pool, "a").err(),
                Job::expire_locks(&pool).err(),
                Job::run_job(&pool, "a", |_, _| Ok(())).err(),
                Job::run_next(&pool, |_, _| Ok(())).err(),
                Job::reset(&pool, "a").err(),
            ];
            for error in answers.into_iter().flatten() {
                assert_names(&error, "a");
            }
            // It is the lock that says that somebody holds it.
            db.sql("UPDATE jobs SET `lock` = NULL");
            Job::reset(&pool, "a").unwrap();
            Job::run_job(&pool, "a", |_, _| Ok(())).unwrap();
        }
    }
}
