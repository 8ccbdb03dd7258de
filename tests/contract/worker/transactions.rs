//! A worker whose jobs run in transactions of their own: what they write and
//! the success mark land together.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::Timestamp;
use diesel_status_tracker::clock::{ago, from_now};
use diesel_status_tracker::{Event, Observer, Retry, StatusTracked, Transition};
use serde_json::json;

use super::database::{TestConnection, TestDb, TestPool};
use super::jobs::{Job, Status, data, history, jobs, row};
use super::pools::pool_with;
use super::sessions::LEVELS;
use super::worker::{NEVER, Runs, create, rows, summary, until};
use super::worker_told::Told;

diesel::table! {
    entries (id) {
        id -> Integer,
        job -> Text,
    }
}

const ENTRIES: &str =
    "CREATE TABLE entries (id INTEGER NOT NULL PRIMARY KEY, job VARCHAR(255) NOT NULL)";

fn drainable(count: usize) -> (TestDb, TestPool) {
    let db = TestDb::with_table(ENTRIES);
    let pool = db.pool(4);
    create(&pool, count);
    (db, pool)
}

fn book(conn: &mut TestConnection, job: &Job) -> QueryResult<()> {
    let id: i32 = job.id.parse().unwrap();
    diesel::insert_into(entries::table)
        .values((entries::id.eq(id), entries::job.eq(&job.id)))
        .execute(conn)?;
    Ok(())
}

fn booked(db: &TestDb) -> Vec<String> {
    let booked = entries::table.order_by(entries::job).select(entries::job);
    booked.load(&mut *db.conn()).unwrap()
}

/// Its locks expire so late that renewals come in time on a busy machine.
struct Brief;
step! { Brief on Job { const LOCK_EXPIRE: Duration = Duration::from_secs(2); } }

#[test]
fn the_writes_of_a_job_commit_with_its_success_mark_or_not_at_all() {
    for (threads, batch) in [(1, 1), (2, 4)] {
        let (db, pool) = drainable(6);
        let (runs, told) = (Runs::default(), Told::default());
        let worker = Job::worker(&pool)
            .threads(threads)
            .batch(batch)
            .observer(told.clone());
        let done = worker.run_in_transaction_until_empty(|conn, job, updates| {
            book(conn, job)?;
            *updates = data(json!("new"));
            match (&*job.id, runs.add(&job.id)) {
                ("1", _) => Err("no paper".into()),
                ("2", 0) => panic!("no printer"),
                ("3", 0) => Err(Retry::release().into()),
                // Swallowed, but the transaction of it is over on some databases.
                ("4", _) => Ok(book(conn, job)?),
                _ => Ok(()),
            }
        });

        let expected = summary(|s| {
            (s.succeeded, s.failed, s.ignored, s.released) = (4, 2 + 1 + 2, 2, 1);
        });
        assert_eq!(done.unwrap(), expected);
        assert_eq!(booked(&db), ["0", "2", "3", "5"]);
        for job in rows(&db) {
            let is_booked = booked(&db).contains(&job.id);
            let status = if is_booked {
                Status::Succeeded
            } else {
                Status::Ignored
            };
            let new = if is_booked { "new" } else { "old" };
            assert_eq!((job.status, &job.lock), (status, &None), "{job:?}");
            assert_eq!(job.data, Some(json!(new)));
        }
        assert_eq!(history(&row(&db, "1")), ["no paper"; 3]);
        assert_eq!(history(&row(&db, "2")), ["panic: no printer"]);
        assert_eq!(told.of("0"), [Transition::Started, Transition::Succeeded]);
    }
}

#[test]
fn a_worker_runs_until_it_is_shut_down() {
    let (db, pool) = drainable(3);
    let worker = Job::worker(&pool).threads(1).batch(3).poll_every(NEVER);
    let (handle, runs) = (worker.handle(), Runs::default());
    let done = worker.run_in_transaction(|conn, job, _| {
        runs.add(&job.id);
        if runs.counts().len() == 2 {
            handle.shutdown();
        }
        Ok(book(conn, job)?)
    });

    assert_eq!(
        done.unwrap(),
        summary(|s| (s.succeeded, s.released) = (2, 1))
    );
    let done: Vec<_> = runs.counts().into_iter().map(|(id, _)| id).collect();
    assert_eq!(booked(&db), done);
}

#[test]
fn the_writes_of_an_expired_job_are_rolled_back() {
    let (db, pool) = drainable(2);
    let (db, told) = (Arc::new(db), Told::default());
    let steal = {
        let (db, told) = (Arc::clone(&db), told.clone());
        // Before its transaction begins: on SQLite it has the file for itself.
        move |event: &Event<'_>| {
            told.observe(event);
            if event.transition == Transition::Started
                && format!("{:?}", event.key.unwrap()) == "\"1\""
            {
                diesel::update(jobs::table.find("1"))
                    .set((
                        jobs::lock.eq("another's"),
                        jobs::lock_at.eq(from_now(NEVER)),
                    ))
                    .execute(&mut *db.conn())
                    .unwrap();
            }
        }
    };
    let worker = Job::worker(&pool).threads(1).batch(2).observer(steal);
    let done = worker.run_in_transaction_until_empty(|conn, job, updates| {
        *updates = data(json!("new"));
        Ok(book(conn, job)?)
    });

    assert_eq!(done.unwrap(), summary(|s| (s.succeeded, s.lost) = (1, 1)));
    assert_eq!(booked(&db), ["0"]);
    let job = row(&db, "1");
    assert_eq!(
        (job.status, job.lock.as_deref()),
        (Status::InProgress, Some("another's"))
    );
    assert_eq!((job.data, job.errors), (Some(json!("old")), json!({})));
    assert_eq!(told.of("1"), [Transition::Started, Transition::Lost]);
}

#[test]
fn a_long_transaction_and_the_jobs_that_wait_behind_it_are_not_expired() {
    LEVELS.into_iter().for_each(a_long_transaction_at);
}

fn a_long_transaction_at(level: fn(&mut TestConnection)) {
    let (db, _) = drainable(3);
    let pool = pool_with(db.url(), 4, level);
    let runs = Runs::default();
    let worker = Brief::worker(&pool).threads(1).batch(3);
    let done = worker.run_in_transaction_until_empty(|conn, job, _| {
        book(conn, job)?;
        runs.add(&job.id);
        if runs.counts().len() == 1 {
            // From here on, a transaction that keeps a snapshot has one.
            let _: i64 = entries::table.count().get_result(conn)?;
            let is_over = ago::<Timestamp>(Brief::LOCK_EXPIRE).gt(job.lock_at.unwrap());
            until("its first lock has expired", || {
                diesel::select(is_over).get_result(conn) == Ok(true)
            });
        }
        Ok(())
    });

    assert_eq!(done.unwrap(), summary(|s| s.succeeded = 3));
    runs.assert_once_each(&db);
    assert_eq!(booked(&db), ["0", "1", "2"]);
}

#[test]
fn an_outcome_that_waits_to_be_written_keeps_its_lock() {
    struct Brief;
    step! { Brief on Job { const LOCK_EXPIRE: Duration = Duration::from_millis(600); } }
    let (db, pool) = drainable(2);
    let (db, begun) = (Arc::new(db), Arc::new(Mutex::new(Vec::new())));
    let worker = Brief::worker(&pool)
        .threads(1)
        .batch(2)
        .finish_within(NEVER);
    let renewed = Arc::new(AtomicBool::new(false));
    let worker = worker.observer({
        let (db, was_renewed) = (Arc::clone(&db), Arc::clone(&renewed));
        // Before a transaction begins: on SQLite it has the file for itself.
        move |event: &Event<'_>| {
            let mut begun = begun.lock().unwrap();
            if event.transition == Transition::Started {
                begun.push(format!("{:?}", event.key.unwrap()).replace('"', ""));
                if begun.len() == 2 {
                    let ended = row(&db, &begun[0]).lock_at;
                    until("renewed", || row(&db, &begun[0]).lock_at > ended);
                    was_renewed.store(true, Ordering::Relaxed);
                }
            }
        }
    });
    let ran = AtomicU32::new(0);
    let done = worker.run_in_transaction_until_empty(|_, _, _| {
        match ran.fetch_add(1, Ordering::Relaxed) {
            0 => Err(Retry::never().into()),
            _ => Ok(()),
        }
    });
    // A panic of the observer is only logged.
    assert!(renewed.load(Ordering::Relaxed));
    assert_eq!(
        done.unwrap(),
        summary(|s| (s.succeeded, s.ignored) = (1, 1))
    );
}
