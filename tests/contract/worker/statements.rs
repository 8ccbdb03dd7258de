//! What jobs cost that a worker runs: one statement for the ends of many.

use std::thread;

use diesel::prelude::*;
use diesel_status_tracker::{BoxError, StatusTracked};
use serde_json::json;

use super::database::{TestConnection, TestDb, TestPool};
use super::jobs::{Job, JobUpdates, Status, data, jobs as job_rows};
use super::own_statements::{CLAIM_NEXT, CLAIM_TEN, END_AND_CLAIM, END_AND_NO_CLAIM, NONE_LEFT};
use super::pools::{Event, Log, pool_with, verb};
use super::worker::{NEVER, create, summary, until};

/// A search from where the last one has ended, before one from the front.
const SINCE: &[&str] = &[NONE_LEFT[0]];

type Worker = diesel_status_tracker::Worker<Job, TestConnection>;

fn jobs(count: usize) -> (TestDb, TestPool, Log) {
    let (db, log) = (TestDb::new(), Log::default());
    let watched = log.clone();
    let pool = pool_with(db.url(), 1, move |conn| watched.watch(conn));
    create(&pool, count);
    log.take();
    (db, pool, log)
}

/// Runs ten jobs by one thread, which writes no end before its group is whole,
/// and returns the first words of the statements, and the transactions among
/// the ends.
fn ten(
    batched: impl FnOnce(Worker) -> Worker,
    end: impl Fn(&mut JobUpdates) -> Result<(), BoxError> + Sync,
) -> (Vec<String>, usize) {
    let (_db, pool, log) = jobs(10);
    let worker = batched(Job::worker(&pool).threads(1)).finish_within(NEVER);
    let claimed = std::sync::Mutex::new(Vec::new());
    let done = worker.run_until_empty(|_, updates| {
        claimed.lock().unwrap().extend(log.take());
        end(updates)
    });
    assert_eq!(done.unwrap(), summary(|s| s.succeeded = 10));

    let after = log.take();
    let is_end = |event: &Event| {
        matches!(event, Event::Started(sql)
            if sql.starts_with("UPDATE") || sql.contains("tracker_written"))
    };
    let ends = &after[..after.iter().rposition(is_end).unwrap()];
    let transactions = ends.iter().filter(|event| **event == Event::Transaction);
    let transactions = transactions.count();
    let mut events: Vec<_> = claimed.into_inner().unwrap();
    events.extend(after);
    let all = events.len();
    events.retain(|event| !is_look_for_the_dead(event));
    assert_eq!(all - events.len(), 1);
    let events = events.into_iter();
    let first_words = events.filter_map(|event| match event {
        Event::Started(sql) => Some(verb(&sql).to_owned()),
        Event::Failed(message) => panic!("{message}"),
        _ => None,
    });
    let is_statement = |word: &String| is_statement(word);
    (first_words.filter(is_statement).collect(), transactions)
}

/// The first look for dead attempts, which has a thread of its own.
pub fn is_look_for_the_dead(event: &Event) -> bool {
    let text = match event {
        Event::Started(sql) => sql.replace(['`', '"'], ""),
        _ => return false,
    };
    text.starts_with("SELECT") && text.contains("ORDER BY lock_at")
}

fn is_statement(word: &str) -> bool {
    !["BEGIN", "COMMIT"].contains(&word)
}

/// All of ten jobs that are claimed together, with these ends. With the last one comes
/// a claim, which finds nothing.
fn all_of_ten(ends: &[&'static str]) -> Vec<&'static str> {
    let all = [CLAIM_TEN, ends, END_AND_NO_CLAIM, SINCE, NONE_LEFT].concat();
    all.into_iter().filter(|word| is_statement(word)).collect()
}

#[test]
fn ten_outcomes_without_updates_take_one_statement() {
    let (statements, transactions) = ten(|worker| worker.batch(10), |_| Ok(()));
    assert_eq!(statements, all_of_ten(&[]));
    assert_eq!(transactions, END_AND_NO_CLAIM.len() - 1);
}

#[test]
fn ten_outcomes_with_updates_take_one_transaction() {
    let set = |updates: &mut JobUpdates| Ok(*updates = data(json!("new")));
    let (statements, transactions) = ten(|worker| worker.batch(10), set);
    assert_eq!(statements, all_of_ten(&["UPDATE"; 9]));
    assert_eq!(transactions, 1);
}

#[test]
fn without_batches_an_outcome_and_the_next_claim_are_one_commit() {
    let set = |updates: &mut JobUpdates| Ok(*updates = data(json!("new")));
    for (statements, _) in [ten(|worker| worker, |_| Ok(())), ten(|worker| worker, set)] {
        let next = [END_AND_CLAIM; 9].concat();
        let all = [CLAIM_NEXT, &next, END_AND_NO_CLAIM, SINCE, NONE_LEFT];
        assert_eq!(statements, all.concat());
    }
}

/// A row type of its own, so that the calls of other tests do not wake its worker.
#[derive(Queryable, Selectable)]
#[diesel(table_name = job_rows)]
struct Own {
    #[expect(dead_code, reason = "a row has to hold something")]
    id: String,
}

step! { Own on Own {} }
tracked! {
    Own in job_rows { key: (id: String), status: Status, updates: JobUpdates, status_field: none }
}

#[test]
fn a_waiting_worker_sends_no_statement_whatever_other_programs_do() {
    let (db, pool, log) = jobs(0);
    let worker = Own::worker(&pool).threads(3).batch(5).poll_every(NEVER);
    let handle = worker.handle();
    let done = thread::scope(|scope| {
        let work = scope.spawn(|| worker.run(|_, _| Ok(())));
        let first_look = 1 + NONE_LEFT.len();
        let mut statements = Vec::new();
        until("its first look", || {
            statements.extend(log.statements());
            statements.len() >= first_look
        });
        // To the worker these are the calls of another program.
        create(&db.pool(1), 5);
        for _ in 0..100 {
            Job::count_by_status(&mut *db.conn()).unwrap();
        }
        handle.shutdown();
        let done = work.join().unwrap();
        statements.extend(log.statements());
        let statements = statements
            .iter()
            .filter(|sql| !sql.starts_with(['B', 'R', 'C']));
        assert_eq!(statements.count(), first_look);
        done
    });
    assert_eq!(done.unwrap(), summary(|_| {}));
}
