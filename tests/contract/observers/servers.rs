//! What observers are told where the line to the server breaks.

use std::sync::Arc;

use diesel_status_tracker::StatusTracked;
use serde_json::json;

use super::database::TestPool;
use super::faults::{assert_succeeded, one_job_behind_proxy};
use super::jobs::{Job, JobUpdates, Status, data};
use super::observers::Heard;
use super::proxy::Turn;

/// Prepares the statements of a job, so that the next answer is that of a statement.
fn warm_up<S: StatusTracked<Job = Job>>(pool: &TestPool) {
    S::create_and_save(pool, "warm", JobUpdates::default()).unwrap();
    S::run_job(pool, "warm", |_, updates| Ok(*updates = data(json!("new")))).unwrap();
}

#[test]
fn an_outcome_whose_answer_was_lost_is_told_once() {
    struct Own;
    step! { Own on Job {} }
    let (db, proxy, pool) = one_job_behind_proxy();
    warm_up::<Own>(&pool);
    let heard = Heard::default();
    let _observing = Own::observe(heard.clone());
    let mut attempt = Own::start(&pool, "a").unwrap();
    attempt.updates = data(json!("new"));

    proxy.cut(Turn::Answer, 1);
    attempt.succeed().unwrap();

    assert!(!proxy.spare());
    assert_succeeded(&db, "a");
    assert_eq!(heard.lines(), ["started a #1", "succeeded a #1"]);
}

#[test]
fn a_claim_whose_answer_was_lost_is_told_once() {
    struct Own;
    step! { Own on Job {} }
    let (_db, proxy, pool) = one_job_behind_proxy();
    warm_up::<Own>(&pool);
    let heard = Heard::default();
    let _observing = Own::observe(heard.clone());

    proxy.cut(Turn::Answer, 1);
    let attempt = Own::start(&pool, "a").unwrap();

    assert!(!proxy.spare());
    assert_eq!(heard.lines(), ["started a #1"]);
    attempt.succeed().unwrap();
    assert_eq!(heard.lines(), ["succeeded a #1"]);
}

#[test]
fn what_the_database_does_not_tell_is_lost_and_not_created() {
    struct Own;
    step! { Own on Job {} }
    let (db, proxy, pool) = one_job_behind_proxy();
    warm_up::<Own>(&pool);
    let db = Arc::new(db);
    let mut attempt = Own::start(&pool, "a").unwrap();
    attempt.updates = data(json!("new"));
    let heard = Heard::default();
    let _observing = Own::observe(heard.clone());

    // Recorded, and overwritten by another step's calls before anybody can look.
    proxy.cut(Turn::Answer, 1);
    proxy.before_next_connection({
        let db = Arc::clone(&db);
        move || {
            let pool = db.pool(1);
            Job::reset(&pool, "a").unwrap();
            std::mem::forget(Job::start(&pool, "a").unwrap());
        }
    });
    assert_err!(attempt.succeed().unwrap_err(), OutcomeUnknown);
    assert_eq!(heard.lines(), ["lost a #1"]);

    // Wherever the line breaks, a row is told as created where the call says so.
    let mut unknown = 0;
    for turn in 1.. {
        let (_db, proxy, pool) = one_job_behind_proxy();
        warm_up::<Own>(&pool);
        heard.lines();
        proxy.cut(Turn::Answer, turn);
        let told: &[&str] = match Own::create_and_save(&pool, "b", JobUpdates::default()) {
            Ok(_) => &["created b"],
            Err(error) => {
                assert_err!(error, OutcomeUnknown);
                unknown += 1;
                &[]
            }
        };
        assert_eq!(heard.lines(), told);
        if proxy.spare() {
            break;
        }
    }
    assert!(unknown > 0);
}
