//! Tables that are known at run time alone: a described table and a typed one see and
//! do the same.

use std::time::Duration;

use diesel::prelude::*;
use diesel_status_tracker::{
    DescribedTable, Error, JobQuery, PagePlace, RowKey, StatusCode, StatusTracked, StepInfo,
    TableInfo,
};

use super::database::{TestDb, TestPool};
use super::jobs::{Job, JobUpdates, Status, age_lock, die, history, jobs, row, set_status};

pub fn described() -> DescribedTable {
    DescribedTable::new(TableInfo::of::<Job>().unwrap())
}

pub fn code(status: Status) -> StatusCode {
    StatusCode::Number(status.into())
}

pub fn create(pool: &TestPool, ids: &[&str]) {
    for id in ids {
        Job::create_and_save(pool, *id, JobUpdates::default()).unwrap();
    }
}

/// Jobs in every state that a row can have, named so that each has a twin: `held-1`
/// and `held-2`.
fn twins(db: &TestDb, pool: &TestPool) -> Vec<&'static str> {
    let states = [
        ("pending", Status::Pending),
        ("failed", Status::Failed),
        ("succeeded", Status::Succeeded),
        ("ignored", Status::Ignored),
        ("archived", Status::Archived),
    ];
    for number in [1, 2] {
        for (name, status) in states {
            let id = format!("{name}-{number}");
            create(pool, &[&id]);
            set_status(db, &id, status);
        }
        for name in ["held", "dead", "by-hand"] {
            create(pool, &[&format!("{name}-{number}")]);
        }
        std::mem::forget(Job::start(pool, format!("held-{number}")).unwrap());
        die::<Job>(db, pool, &format!("dead-{number}"));
        db.sql(&format!(
            "UPDATE jobs SET `lock` = 'me' WHERE id = 'by-hand-{number}'"
        ));
    }
    let mut names: Vec<_> = states.map(|(name, _)| name).into();
    names.extend(["held", "dead", "by-hand", "missing"]);
    names
}

/// What a row says besides its key and its times, and what an error says besides the
/// key.
fn outcome<T: std::fmt::Debug>(db: &TestDb, id: &str, done: Result<T, Error>) -> String {
    let row = jobs::table
        .find(id)
        .select(Job::as_select())
        .get_result::<Job>(&mut *db.conn())
        .optional()
        .unwrap();
    let row = row.map(|job| {
        let errors = job.errors.get("error").cloned();
        let has_lock_at = job.lock_at.is_some();
        (
            i64::from(job.status),
            job.lock.is_some(),
            has_lock_at,
            job.retry,
            errors,
        )
    });
    let done = done.map_err(|error| {
        // The refusal of another step's row names the status in the words of each.
        let kind = format!("{error:?}");
        kind.split(' ').next().unwrap().to_owned()
    });
    format!("{done:?} {row:?}")
}

#[test]
fn a_described_table_and_a_typed_one_see_the_same() {
    let db = TestDb::new();
    let pool = db.pool(2);
    twins(&db, &pool);
    let table = described();

    let mut typed: Vec<_> = Job::count_by_status(&pool)
        .unwrap()
        .into_iter()
        .map(|(status, count)| (code(status).to_string(), count))
        .collect();
    let mut seen: Vec<_> = table
        .count_by_status(&pool)
        .unwrap()
        .into_iter()
        .map(|(status, count)| (status.to_string(), count))
        .collect();
    typed.sort();
    seen.sort();
    assert_eq!(seen, typed);

    for status in [Status::Pending, Status::InProgress, Status::Archived] {
        let mut typed = Job::query_by_status(&pool, status, 10, Default::default()).unwrap();
        // Rows with one time have no order there.
        typed.sort_by_key(|job| (job.update_at, job.id.clone()));
        let seen = table.list(&pool, &JobQuery::of([code(status)])).unwrap();
        assert!(!seen.has_more);
        assert_eq!(seen.jobs.len(), typed.len());
        for (seen, typed) in seen.jobs.iter().zip(typed) {
            assert_eq!(seen.key.parts(), [typed.id]);
            assert_eq!(seen.status, code(status));
            assert_eq!(seen.create_at.unwrap().naive_utc(), typed.create_at);
            assert_eq!(seen.update_at.unwrap().naive_utc(), typed.update_at);
            assert_eq!(seen.lock_at.map(|at| at.naive_utc()), typed.lock_at);
            assert_eq!((&seen.lock, seen.retry), (&typed.lock, typed.retry));
            let found = table.find(&mut *db.conn(), &seen.key).unwrap().unwrap();
            assert_eq!((found.key, found.lock), (seen.key.clone(), typed.lock));
        }
    }
    assert!(table.find(&pool, "missing").unwrap().is_none());
}

#[test]
fn a_described_table_and_a_typed_one_reset_the_same() {
    let db = TestDb::new();
    let pool = db.pool(2);
    let step = described().steps().next().unwrap();
    for name in twins(&db, &pool) {
        let (one, other) = (format!("{name}-1"), format!("{name}-2"));
        let typed = Job::reset(&pool, one.as_str());
        let typed = outcome(&db, &one, typed);
        let seen = step.reset(&pool, other.as_str());
        assert_eq!(outcome(&db, &other, seen), typed, "{name}");
    }
}

#[test]
fn a_described_table_and_a_typed_one_expire_and_prune_the_same() {
    let look = |act: &dyn Fn(&TestPool) -> usize| {
        let db = TestDb::new();
        let pool = db.pool(2);
        let names = twins(&db, &pool);
        db.sql("UPDATE jobs SET update_at = '2020-01-01 00:00:00.000' WHERE id LIKE '%-1'");
        let count = act(&pool);
        let rows = names.iter().map(|name| {
            let ids = [1, 2].map(|number| format!("{name}-{number}"));
            ids.map(|id| outcome(&db, &id, Ok(())))
        });
        (count, rows.collect::<Vec<_>>())
    };
    let table = described();
    let step = table.steps().next().unwrap();
    let expired = look(&|pool| step.expire_locks(pool).unwrap());
    assert_eq!(expired, look(&|pool| Job::expire_locks(pool).unwrap()));
    assert_eq!(expired.0, 2);

    let hour = Duration::from_secs(60 * 60);
    let statuses = [Status::Succeeded, Status::Archived, Status::InProgress];
    let codes = statuses.map(code);
    let pruned = look(&|pool| table.prune(pool, &codes, hour).unwrap());
    assert_eq!(
        pruned,
        look(&|pool| Job::prune(pool, &statuses, hour).unwrap())
    );
    assert_eq!(pruned.0, 2);
}

#[test]
fn of_many_jobs_those_that_are_passed_over_are_named_with_the_reason() {
    let db = TestDb::new();
    let pool = db.pool(2);
    twins(&db, &pool);
    let step = described().steps().next().unwrap();

    let keys = [
        "failed-1",
        "held-1",
        "archived-1",
        "missing",
        "ignored-1",
        "failed-1",
    ];
    let done = step.reset_many(&pool, keys).unwrap();

    assert_eq!(done.count, 2);
    let told: Vec<_> = done
        .passed_over
        .iter()
        .map(|job| (job.key.parts()[0].as_str(), &job.error))
        .collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert_eq!(told[0].0, "held-1");
    assert_err!(told[0].1, Locked);
    assert_err!(told[1].1, NotReady);
    assert_err!(told[2].1, NotFound);
    assert!(told[1].1.to_string().contains("status is 90"), "{told:?}");
}

#[test]
fn an_ignored_job_keeps_the_reason_beside_its_earlier_failures() {
    let db = TestDb::new();
    let pool = db.pool(2);
    create(&pool, &["a"]);
    Job::run_job(&pool, "a", |_, _| Err::<(), _>("no paper".into())).unwrap_err();
    let step = described().steps().next().unwrap();

    step.ignore(&pool, "a", "the printer was sold").unwrap();

    let job = row(&db, "a");
    assert_eq!((job.status, job.retry), (Status::Ignored, 1));
    assert_eq!(
        history(&job),
        ["ignored by hand: the printer was sold", "no paper"]
    );
    assert_err!(step.ignore(&pool, "a", "again").unwrap_err(), Ignored);
    Job::reset(&pool, "a").unwrap();
    Job::run_job(&pool, "a", |_, _| Ok(())).unwrap();
}

#[test]
fn what_a_live_attempt_holds_and_what_is_done_is_not_ignored() {
    let db = TestDb::new();
    let pool = db.pool(2);
    twins(&db, &pool);
    let step = described().steps().next().unwrap();
    let ignore = |id: &str| {
        let before = outcome(&db, id, Ok(()));
        let error = step.ignore(&pool, id, "for no reason").unwrap_err();
        assert_eq!(outcome(&db, id, Ok(())), before);
        error
    };

    assert_err!(ignore("held-1"), Locked);
    assert_err!(ignore("succeeded-1"), AlreadySucceeded);
    assert_err!(ignore("archived-1"), NotReady);
    assert_err!(ignore("missing"), NotFound);
    for id in ["pending-1", "failed-1", "dead-1", "by-hand-1"] {
        step.ignore(&mut *db.conn(), id, "for a reason").unwrap();
        assert_eq!(row(&db, id).status, Status::Ignored, "{id}");
    }
}

#[test]
fn an_attempt_whose_worker_is_known_to_be_dead_is_expired_now() {
    let db = TestDb::new();
    let pool = db.pool(2);
    create(&pool, &["a"]);
    let table = described();
    let step = table.steps().next().unwrap();
    let attempt = Job::start(&pool, "a").unwrap();
    let seen = table
        .find(&pool, "a")
        .unwrap()
        .unwrap()
        .seen_lock()
        .unwrap();

    step.expire(&pool, "a", &seen).unwrap();

    let job = row(&db, "a");
    assert_eq!(
        (job.status, job.retry, &job.lock),
        (Status::Failed, 1, &None)
    );
    assert!(history(&job)[0].contains("ended by hand"), "{job:?}");
    assert_err!(attempt.succeed().unwrap_err(), LockLost);
    assert_err!(step.expire(&pool, "a", &seen).unwrap_err(), AttemptChanged);
    assert_err!(step.expire(&pool, "b", &seen).unwrap_err(), NotFound);
}

#[test]
fn an_attempt_that_has_renewed_its_lock_or_began_since_is_not_expired() {
    let db = TestDb::new();
    let pool = db.pool(2);
    create(&pool, &["a"]);
    let table = described();
    let step = table.steps().next().unwrap();
    let seen = || {
        table
            .find(&pool, "a")
            .unwrap()
            .unwrap()
            .seen_lock()
            .unwrap()
    };
    let attempt = Job::start(&pool, "a").unwrap();
    // So that the renewal writes another time, however fast it comes.
    age_lock(&db, "a");
    let before_renewal = seen();
    attempt.renew().unwrap();

    let late = step.expire(&pool, "a", &before_renewal).unwrap_err();

    assert_err!(late, AttemptChanged);
    let before_end = seen();
    attempt.fail("no paper").unwrap();
    let next = Job::start(&pool, "a").unwrap();
    let late = step.expire(&pool, "a", &before_end).unwrap_err();
    assert_err!(late, AttemptChanged);
    next.succeed().unwrap();
    assert_eq!(row(&db, "a").status, Status::Succeeded);
}

#[test]
fn what_the_description_does_not_have_is_a_clear_error() {
    let db = TestDb::new();
    let pool = db.pool(1);
    let table = described();
    let step = table.step("Resize").unwrap_err();
    assert!(step.to_string().contains("no step `Resize`"), "{step}");
    let key = table.find(&pool, ["a", "b"]).unwrap_err();
    assert!(key.to_string().contains(r#"("a", "b")"#), "{key}");
    let none = JobQuery::of([]);
    assert!(table.list(&pool, &none).unwrap().jobs.is_empty());

    let codes = table.steps().next().unwrap().info().codes().clone();
    let info = TableInfo::named("no such table")
        .key(["id"])
        .usual_columns();
    let info = info.step(StepInfo::new("job", codes)).build().unwrap();
    let missing = DescribedTable::new(info);
    let step = missing.step("job").unwrap();
    for error in [
        missing.find(&pool, "a").unwrap_err(),
        missing.row(&pool, "a", 100).unwrap_err(),
        step.reset(&pool, "a").unwrap_err(),
    ] {
        assert!(error.to_string().contains("no such table"), "{error}");
    }
    let place = PagePlace {
        time: None,
        key: RowKey::from(["a", "b"]),
    };
    let page = JobQuery::of([code(Status::Pending)]).after(place);
    assert_err!(table.list(&pool, &page).unwrap_err(), Misconfigured);
}
