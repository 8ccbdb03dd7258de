//! What a job costs: how many statements, and that they stay prepared.

use std::collections::HashSet;

use diesel_status_tracker::StatusTracked;
use serde_json::json;

use super::database::{TestDb, TestPool};
use super::jobs::{Job, JobUpdates, age_lock, data};
use super::own_statements::{CLAIM, CLAIM_NEXT, CLAIM_TEN, NONE_LEFT, ROWS_AN_INSERT};
use super::pools::{Event, Log, pool_with, verb};

/// Jobs "0" to "9", over one connection.
fn jobs() -> (TestDb, TestPool, Log) {
    let (db, log) = (TestDb::new(), Log::default());
    let watched = log.clone();
    let pool = pool_with(db.url(), 1, move |conn| watched.watch(conn));
    let rows = (0..10).map(|n| (n.to_string(), JobUpdates::default()));
    Job::create_many(&pool, rows).unwrap();
    log.take();
    (db, pool, log)
}

/// Holds that what was run since the last look is this, by its first words,
/// and nothing else: no ping, and no transaction that is not named.
fn assert_ran(log: &Log, statements: &[&[&str]]) {
    let events = log.take();
    let is_failed = |event: &&Event| matches!(event, Event::Failed(_));
    assert_eq!(events.iter().find(is_failed), None);
    let started = events.iter().filter_map(|event| match event {
        Event::Started(sql) => Some(verb(sql)),
        _ => None,
    });
    assert_eq!(started.collect::<Vec<_>>(), statements.concat());
}

fn fail(pool: &TestPool, id: &str) {
    let ended = Job::run_job(pool, id, |_, _| Err::<(), _>("no paper".into()));
    assert_err!(ended.unwrap_err(), Failed);
}

#[test]
fn a_job_takes_a_claim_and_an_outcome() {
    let (_db, pool, log) = jobs();
    const FINISH: &[&str] = &["UPDATE"];

    Job::run_job(&pool, "0", |_, updates| Ok(*updates = data(json!("new")))).unwrap();
    assert_ran(&log, &[CLAIM, FINISH]);
    fail(&pool, "1");
    assert_ran(&log, &[CLAIM, FINISH]);
    drop(Job::start(&pool, "2").unwrap());
    assert_ran(&log, &[CLAIM, FINISH]);
    assert!(Job::run_next(&pool, |_, _| Ok(())).unwrap().is_some());
    assert_ran(&log, &[CLAIM_NEXT, FINISH]);
}

#[test]
fn a_refusal_takes_two_statements() {
    let (_db, pool, log) = jobs();
    Job::run_job(&pool, "0", |_, _| Ok(())).unwrap();
    let held = Job::start(&pool, "1").unwrap();
    log.take();

    for refused in ["0", "1", "none"] {
        Job::start(&pool, refused).unwrap_err();
        assert_ran(&log, &[&["UPDATE", "SELECT"]]);
    }
    held.succeed().unwrap();
}

#[test]
fn nothing_to_do_takes_one_statement() {
    let (_db, pool, log) = jobs();
    while Job::run_next(&pool, |_, _| Ok(())).unwrap().is_some() {}
    log.take();

    assert_eq!(Job::run_next(&pool, |_, _| Ok(())).unwrap(), None);
    assert_ran(&log, &[NONE_LEFT]);
    assert_eq!(Job::expire_locks(&pool).unwrap(), 0);
    assert_ran(&log, &[&["SELECT"]]);
}

#[test]
fn a_batch_takes_few_statements() {
    let (_db, pool, log) = jobs();

    let batch = Job::claim_next(&pool, 10).unwrap();

    assert_eq!(batch.len(), 10);
    assert_ran(&log, &[CLAIM_TEN]);
}

#[test]
fn after_the_first_batch_every_statement_is_prepared() {
    let (_db, pool, log) = jobs();
    let claim_and_finish = || {
        let batch = Job::claim_next(&pool, 3).unwrap();
        assert_eq!(batch.len(), 3);
        for job in batch {
            job.succeed().unwrap();
        }
    };
    claim_and_finish();
    log.take();

    claim_and_finish();

    let is_new = |event: &&Event| matches!(event, Event::Prepared(_));
    let events = log.take();
    assert_eq!(events.iter().find(is_new), None);
}

#[test]
fn after_the_first_job_every_statement_is_prepared() {
    let (db, pool, log) = jobs();
    let everything = |[a, b, c, d]: [&str; 4]| {
        Job::run_job(&pool, a, |job, updates| {
            job.renew()?;
            job.save(data(json!("half")))?;
            *updates = data(json!("new"));
            Ok(())
        })
        .unwrap();
        Job::start(&pool, a).unwrap_err();
        Job::reset(&pool, a).unwrap();
        Job::run_job(&pool, a, |_, _| Ok(())).unwrap();
        fail(&pool, b);
        Job::run_job(&pool, b, |_, _| Ok(())).unwrap();
        Job::run_next(&pool, |_, _| Ok(())).unwrap();
        std::mem::forget(Job::start(&pool, c).unwrap());
        age_lock(&db, c);
        assert_eq!(Job::expire_locks(&pool).unwrap(), 1);
        std::mem::forget(Job::start(&pool, c).unwrap());
        age_lock(&db, c);
        Job::run_job(&pool, c, |_, _| Ok(())).unwrap();
        Job::find(&pool, d).unwrap();
    };

    everything(["9", "8", "7", "6"]);
    let (mut started, mut prepared) = (HashSet::new(), HashSet::new());
    for event in log.take() {
        match event {
            Event::Started(sql) => _ = started.insert(sql),
            Event::Prepared(sql) => assert!(prepared.insert(sql.clone()), "twice: {sql}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(started, prepared);

    everything(["5", "4", "3", "2"]);
    for event in log.take() {
        match event {
            Event::Started(sql) => assert!(prepared.contains(&sql), "{sql}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn inserts_stay_prepared_of_one_row_and_of_many() {
    let (_db, pool, log) = jobs();
    let create = |from: usize| {
        Job::create_and_save(&pool, from.to_string(), data(json!(1))).unwrap();
        let rows = (1..=ROWS_AN_INSERT).map(|n| ((from + n).to_string(), data(json!(n))));
        assert_eq!(Job::create_many(&pool, rows).unwrap(), ROWS_AN_INSERT);
    };
    create(1_000);
    let prepared = log.take().into_iter().filter_map(|event| match event {
        Event::Prepared(sql) => Some(sql),
        _ => None,
    });
    let prepared: HashSet<_> = prepared.collect();

    create(2_000);

    let mut inserts = log.statements();
    inserts.retain(|sql| verb(sql) == "INSERT");
    assert_eq!(inserts.len(), 2);
    assert!(inserts.iter().all(|sql| prepared.contains(sql)));
}
