//! What the calls tell to observers of a step, and of the process.
//!
//! Tests run side by side, so each has a step of its own to observe.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use diesel::prelude::*;
use diesel_status_tracker::{Event, Failure, Observer, Retry, StatusTracked, observe};
use serde_json::json;

use super::jobs::{Job, JobUpdates, Status, age_lock, data, die, jobs, one_job};

/// What was told, a line each: the transition, the key or how many jobs, the attempt,
/// the error.
#[derive(Clone, Default)]
pub struct Heard(Arc<Mutex<Vec<String>>>);

impl Observer for Heard {
    fn observe(&self, event: &Event<'_>) {
        assert_eq!(event.table.to_string(), "jobs");
        let mut line = event.transition.name().to_owned();
        match event.key {
            Some(key) => line += &format!(" {key:?}"),
            None => line += &format!(" {} jobs", event.jobs),
        }
        if let Some(attempt) = event.attempt {
            line += &format!(" #{attempt}");
        }
        if let Some(error) = event.error {
            line += &format!(": {}", error.summary());
        }
        self.0.lock().unwrap().push(line.replace('"', ""));
    }
}

impl Heard {
    /// What was told since the last time.
    pub fn lines(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

const EXPIRED: &str =
    "the lock expired: the worker died, or ran for longer than LOCK_EXPIRE without renewing";

#[test]
fn each_call_tells_what_it_has_done() {
    struct Own;
    step! { Own on Job { const MAX_RETRY: i32 = 2; } }
    let (db, pool) = one_job();
    let heard = Heard::default();
    let _observing = Own::observe(heard.clone());

    Own::create_and_save(&pool, "b", data(json!(0))).unwrap();
    Own::create_if_absent(&pool, "c", data(json!(0))).unwrap();
    assert_eq!(heard.lines(), ["created b", "created c"]);
    Own::create_many(
        &pool,
        ["c", "d", "e"].map(|key| (key, JobUpdates::default())),
    )
    .unwrap();
    assert_eq!(heard.lines(), ["created 2 jobs"]);

    Own::run_job(&pool, "a", |_, _| Ok(())).unwrap();
    assert_eq!(heard.lines(), ["started a #1", "succeeded a #1"]);
    let attempt = Own::start(&pool, "b").unwrap();
    attempt.save(data(json!(1))).unwrap();
    attempt.fail("no paper").unwrap();
    let failed = ["started b #1", "saved b #1", "failed b #1: no paper"];
    assert_eq!(heard.lines(), failed);
    Own::run_job(&pool, "b", |_, _| Err::<(), _>("no ink".into())).unwrap_err();
    assert_eq!(heard.lines(), ["started b #2", "ignored b #2: no ink"]);

    drop(Own::start(&pool, "c").unwrap());
    let dropped =
        "the job was dropped unfinished: neither `succeed` nor `fail` was called".to_owned();
    let lines = ["started c #1".to_owned(), format!("failed c #1: {dropped}")];
    assert_eq!(heard.lines(), lines);
    Own::run_job(&pool, "c", |_, _| Err::<(), _>(Retry::release().into())).unwrap_err();
    assert_eq!(heard.lines(), ["started c #2", "released c #2"]);
    let panics = || Own::run_job(&pool, "c", |_, _| -> Result<(), _> { panic!("no printer") });
    catch_unwind(AssertUnwindSafe(panics)).unwrap_err();
    let ignored = ["started c #2", "ignored c #2: panic: no printer"];
    assert_eq!(heard.lines(), ignored);

    Own::run_next(&pool, |_, _| Ok(())).unwrap().unwrap();
    let next = Own::claim_next(&pool, 5).unwrap().pop().unwrap();
    next.succeed().unwrap();
    let mut lines = heard.lines();
    lines.sort();
    let both = [
        "started d #1",
        "started e #1",
        "succeeded d #1",
        "succeeded e #1",
    ];
    assert_eq!(lines, both);

    Own::reset(&pool, "b").unwrap();
    assert_eq!(heard.lines(), ["reset b"]);
    Own::reset_many(&pool, ["c", "d", "none"]).unwrap();
    assert_eq!(heard.lines(), ["reset 2 jobs"]);
    for ending in ["failed", "ignored"] {
        die::<Own>(&db, &pool, "b");
        heard.lines();
        Own::expire_locks(&pool).unwrap();
        let (name, attempt) = match ending {
            "failed" => ("expired", 1),
            _ => ("expired_ignored", 2),
        };
        assert_eq!(heard.lines(), [format!("{name} b #{attempt}: {EXPIRED}")]);
    }
    // A claim that finds a dead attempt.
    die::<Own>(&db, &pool, "c");
    heard.lines();
    Own::start(&pool, "c").unwrap().succeed().unwrap();
    let lines = [
        format!("expired c #1: {EXPIRED}"),
        "started c #2".to_owned(),
        "succeeded c #2".to_owned(),
    ];
    assert_eq!(heard.lines(), lines);
    diesel::update(jobs::table)
        .set(jobs::update_at.eq(diesel_status_tracker::clock::ago(Duration::from_secs(3600))))
        .execute(&mut *db.conn())
        .unwrap();
    Own::prune(&pool, &[Status::Succeeded], Duration::from_secs(60)).unwrap();
    assert_eq!(heard.lines(), ["pruned 3 jobs"]);
}

#[test]
fn a_job_in_a_transaction_tells_its_start_and_its_outcome() {
    struct Own;
    step! { Own on Job {} }
    let (_db, pool) = one_job();
    let heard = Heard::default();
    let _observing = Own::observe(heard.clone());

    let failing = |_: &mut _, _: &Job, _: &mut JobUpdates| Err::<(), _>("no paper".into());
    Own::run_job_in_transaction(&pool, "a", failing).unwrap_err();
    assert_eq!(heard.lines(), ["started a #1", "failed a #1: no paper"]);
    Own::run_job_in_transaction(&pool, "a", |_, _, _| Ok(())).unwrap();
    assert_eq!(heard.lines(), ["started a #2", "succeeded a #2"]);
}

#[test]
fn what_did_not_happen_is_not_told() {
    struct Own;
    step! { Own on Job {} }
    let (db, pool) = one_job();
    Own::create_and_save(&pool, "held", JobUpdates::default()).unwrap();
    let held = Own::start(&pool, "held").unwrap();
    Own::run_job(&pool, "a", |_, _| Ok(())).unwrap();
    let heard = Heard::default();
    let _observing = Own::observe(heard.clone());

    Own::create_and_save(&pool, "a", JobUpdates::default()).unwrap_err();
    assert!(
        Own::create_if_absent(&pool, "a", JobUpdates::default())
            .unwrap()
            .is_none()
    );
    assert_eq!(
        Own::create_many(&pool, [("a", JobUpdates::default())]).unwrap(),
        0
    );
    for key in ["a", "held", "none"] {
        Own::start(&pool, key).unwrap_err();
    }
    assert!(Own::run_next(&pool, |_, _| Ok(())).unwrap().is_none());
    assert!(Own::claim_next(&pool, 3).unwrap().is_empty());
    Own::reset(&pool, "held").unwrap_err();
    Own::reset(&pool, "none").unwrap_err();
    assert_eq!(Own::reset_many(&pool, ["held", "none"]).unwrap(), 0);
    assert_eq!(Own::expire_locks(&pool).unwrap(), 0);
    assert_eq!(
        Own::prune(&pool, &[Status::Failed], Duration::ZERO).unwrap(),
        0
    );
    Own::find(&pool, "a").unwrap();
    held.renew().unwrap();
    assert_eq!(heard.lines(), [""; 0]);

    // An outcome that comes too late has not happened either.
    age_lock(&db, "held");
    Own::expire_locks(&pool).unwrap();
    heard.lines();
    held.save(data(json!("late"))).unwrap_err();
    assert_eq!(heard.lines(), [""; 0]);
    held.succeed().unwrap_err();
    assert_eq!(heard.lines(), ["lost held #1"]);
}

#[test]
fn a_late_attempt_is_lost_however_it_ends() {
    struct Own;
    step! { Own on Job {} }
    let (db, pool) = one_job();
    let heard = Heard::default();
    let overtake = || {
        age_lock(&db, "a");
        Own::expire_locks(&pool).unwrap();
        Own::reset(&pool, "a").unwrap();
    };
    let late = || {
        let attempt = Own::start(&pool, "a").unwrap();
        overtake();
        attempt
    };
    let observing = Own::observe(heard.clone());
    let mut attempts = vec![late(), late(), late()];
    heard.lines();

    drop(attempts.pop());
    let line = heard.lines().pop().unwrap();
    assert!(line.starts_with("lost a #1: the job was dropped"), "{line}");
    attempts.pop().unwrap().fail("no paper").unwrap_err();
    assert_eq!(heard.lines(), ["lost a #1: no paper"]);
    let last = attempts.pop().unwrap();
    last.run_in_transaction(|_, _, _| Ok(())).unwrap_err();
    assert_eq!(heard.lines(), ["lost a #1"]);
    drop(observing);
}

#[test]
fn an_event_comes_once_the_fact_is_recorded_and_with_no_connection_held() {
    struct Own;
    step! { Own on Job {} }
    // A pool of one connection, which the observer uses.
    let (db, pool) = one_job();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let _observing = Own::observe({
        let (pool, seen) = (pool.clone(), Arc::clone(&seen));
        move |event: &Event<'_>| {
            let status = Own::find(&pool, "a").unwrap().map(|job| job.status);
            seen.lock().unwrap().push((event.transition.name(), status));
        }
    });

    Own::run_job(&pool, "a", |_, _| Err::<(), _>("no paper".into())).unwrap_err();
    Own::reset(&pool, "a").unwrap();
    die::<Own>(&db, &pool, "a");
    Own::run_job_in_transaction(&pool, "a", |_, _, _| Ok(())).unwrap();
    Own::prune(&pool, &[Status::Succeeded], Duration::ZERO).unwrap();
    Own::create_and_save(&pool, "a", JobUpdates::default()).unwrap();
    Own::worker(&pool).run_until_empty(|_, _| Ok(())).unwrap();

    use Status::{Failed, InProgress, Pending, Succeeded};
    let expected = [
        ("started", Some(InProgress)),
        ("failed", Some(Failed)),
        ("reset", Some(Pending)),
        ("started", Some(InProgress)),
        ("expired", Some(Failed)),
        ("started", Some(InProgress)),
        ("succeeded", Some(Succeeded)),
        ("pruned", None),
        ("created", Some(Pending)),
        ("started", Some(InProgress)),
        ("succeeded", Some(Succeeded)),
    ];
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[test]
fn a_step_is_told_of_its_own_events_and_the_process_of_all() {
    struct First;
    step! { First on Job {} }
    struct Second;
    step! { Second on Job {} }
    let (_db, pool) = one_job();
    let (first, all) = (Heard::default(), Arc::new(Mutex::new(Vec::new())));
    let _first = First::observe(first.clone());
    let key = "of this test alone";
    let _all = observe({
        let all = Arc::clone(&all);
        move |event: &Event<'_>| {
            if event.key.is_some_and(|of| format!("{of:?}").contains(key)) {
                all.lock().unwrap().push(event.step.to_owned());
            }
        }
    });

    Second::create_and_save(&pool, key, JobUpdates::default()).unwrap();
    First::run_job(&pool, key, |_, _| Err::<(), _>("no paper".into())).unwrap_err();
    Second::run_job(&pool, key, |_, _| Ok(())).unwrap();

    let lines = [
        format!("started {key} #1"),
        format!("failed {key} #1: no paper"),
    ];
    assert_eq!(first.lines(), lines);
    let all = all.lock().unwrap();
    assert_eq!(*all, ["Second", "First", "First", "Second", "Second"]);
}

#[test]
fn an_observer_is_told_what_redact_leaves() {
    struct Own;
    step! { Own on Job {
        fn redact(failure: &mut Failure) {
            failure.error = failure.error.replace("sk_4f9a", "***");
            failure.traceback.clear();
        }
    } }
    let (_db, pool) = one_job();
    let told = Arc::new(Mutex::new(Vec::new()));
    let _observing = Own::observe({
        let told = Arc::clone(&told);
        move |event: &Event<'_>| {
            let errors = event.error.cloned();
            told.lock().unwrap().extend(errors);
        }
    });

    Own::start(&pool, "a").unwrap().fail("no sk_4f9a").unwrap();
    let worker = Own::worker(&pool).threads(1);
    worker
        .run_until_empty(|_, _| Err("no sk_4f9a".into()))
        .unwrap();

    let told = told.lock().unwrap();
    assert_eq!(told.len(), 3);
    for failure in &*told {
        assert_eq!((&*failure.error, &*failure.traceback), ("no ***", ""));
    }
}

#[test]
fn a_workers_events_are_told_to_all_alike() {
    struct Own;
    step! { Own on Job {} }
    for (threads, batch) in [(1, 1), (2, 4)] {
        let (db, pool) = one_job();
        Own::create_many(&pool, ["b", "c"].map(|key| (key, JobUpdates::default()))).unwrap();
        die::<Own>(&db, &pool, "c");
        let [registered, own] = [Heard::default(), Heard::default()];
        let _observing = Own::observe(registered.clone());
        let worker = Own::worker(&pool).threads(threads).batch(batch);
        let worker = worker.observer(own.clone());
        let done = worker.run_until_empty(|job, updates| {
            *updates = data(json!(1));
            match (&*job.id, job.retry) {
                ("b", 0) => Err("no paper".into()),
                _ => Ok(()),
            }
        });
        done.unwrap();

        let [mut registered, mut own] = [registered.lines(), own.lines()];
        registered.sort();
        own.sort();
        assert_eq!(registered, own);
        let expected = [
            format!("expired c #1: {EXPIRED}"),
            "failed b #1: no paper".to_owned(),
            "started a #1".to_owned(),
            "started b #1".to_owned(),
            "started b #2".to_owned(),
            "started c #2".to_owned(),
            "succeeded a #1".to_owned(),
            "succeeded b #2".to_owned(),
            "succeeded c #2".to_owned(),
        ];
        assert_eq!(own, expected);
    }
}

#[test]
fn the_time_of_an_attempt_comes_with_its_end_alone() {
    struct Own;
    step! { Own on Job {} }
    let (_db, pool) = one_job();
    let told = Arc::new(Mutex::new(Vec::new()));
    let _observing = Own::observe({
        let told = Arc::clone(&told);
        move |event: &Event<'_>| {
            let is_timed = event.elapsed.is_some();
            told.lock()
                .unwrap()
                .push((event.transition.name(), is_timed));
        }
    });
    Own::run_job(&pool, "a", |job, _| Ok(job.save(JobUpdates::default())?)).unwrap();
    Own::reset(&pool, "a").unwrap();
    drop(Own::claim_next(&pool, 1).unwrap());
    Own::run_job_in_transaction(&pool, "a", |_, _, _| Ok(())).unwrap();

    let expected = [
        ("started", false),
        ("saved", false),
        ("succeeded", true),
        ("reset", false),
        ("started", false),
        ("failed", true),
        ("started", false),
        ("succeeded", true),
    ];
    assert_eq!(*told.lock().unwrap(), expected);
}
