//! What one observer costs the calls and the other observers: nothing.

use std::sync::{Mutex, mpsc};
use std::thread;

use diesel::prelude::*;
use diesel_status_tracker::{Event, StatusTracked, Transition};

use super::jobs::{Job, JobUpdates, Status, one_job, row};
use super::observers::Heard;

#[test]
fn an_observer_that_is_taken_away_is_told_no_more() {
    struct Own;
    step! { Own on Job {} }
    let (_db, pool) = one_job();
    let [first, second] = [Heard::default(), Heard::default()];
    let observing = Own::observe(first.clone());
    let _second = Own::observe(second.clone());
    let attempt = Own::start(&pool, "a").unwrap();
    drop(observing);
    attempt.succeed().unwrap();

    assert_eq!(first.lines(), ["started a #1"]);
    assert_eq!(second.lines(), ["started a #1", "succeeded a #1"]);
}

#[test]
fn an_observer_that_panics_disturbs_neither_the_call_nor_the_others() {
    struct Own;
    step! { Own on Job {} }
    let (db, pool) = one_job();
    let heard = Heard::default();
    let _panics = Own::observe(|event: &Event<'_>| panic!("{event:?}"));
    let _observing = Own::observe(heard.clone());

    drop(Own::start(&pool, "a").unwrap());
    Own::run_job(&pool, "a", |_, _| Ok(())).unwrap();
    Own::reset(&pool, "a").unwrap();

    assert_eq!(row(&db, "a").status, Status::Pending);
    assert_eq!(heard.lines().len(), 5);
}

#[test]
fn a_slow_observer_costs_its_own_caller_alone() {
    struct Own;
    step! { Own on Job {} }
    let (_db, pool) = one_job();
    Own::create_and_save(&pool, "b", JobUpdates::default()).unwrap();
    let ((entered, has_entered), (go_on, may_go_on)) = (mpsc::channel(), mpsc::channel::<()>());
    let may_go_on = Mutex::new(may_go_on);
    let observing = Own::observe(move |event: &Event<'_>| {
        let is_of_a = event.key.is_some_and(|key| format!("{key:?}") == "\"a\"");
        if is_of_a && event.transition == Transition::Started {
            entered.send(()).unwrap();
            may_go_on.lock().unwrap().recv().unwrap();
        }
    });
    thread::scope(|scope| {
        let slow = scope.spawn(|| Own::run_job(&pool, "a", |_, _| Ok(())));
        has_entered.recv().unwrap();

        Own::run_job(&pool, "b", |_, _| Ok(())).unwrap();
        // It can be taken away meanwhile.
        drop(observing);

        go_on.send(()).unwrap();
        slow.join().unwrap().unwrap();
    });
}

#[test]
fn in_a_transaction_of_the_callers_an_event_comes_before_the_commit() {
    struct Own;
    step! { Own on Job {} }
    let (db, pool) = one_job();
    let heard = Heard::default();
    let _observing = Own::observe(heard.clone());
    let mut conn = pool.get().unwrap();
    let rolled_back = conn.transaction(|conn| {
        Own::create_and_save(&mut *conn, "b", JobUpdates::default()).unwrap();
        assert_eq!(heard.lines(), ["created b"]);
        Err::<(), _>(diesel::result::Error::RollbackTransaction)
    });
    rolled_back.unwrap_err();
    drop(conn);

    assert_eq!(
        heard.lines(),
        [""; 0],
        "nothing says that it was rolled back"
    );
    assert!(Own::find(&mut *db.conn(), "b").unwrap().is_none());
}
