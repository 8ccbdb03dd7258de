//! A database behind a network that goes away while a worker is at it: it goes
//! on, and what has succeeded does not run again.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use diesel_status_tracker::{Retry, StatusTracked, Summary};
use serde_json::json;

use super::database::{TestDb, TestPool, pool_at};
use super::jobs::{Job, JobUpdates, Status, data, row};
use super::pools::{Event, Log, pool_with};
use super::proxy::{Proxy, Turn};
use super::sessions;
use super::worker::{NEVER, Runs, create, rows, summary, until};

/// So many jobs, and a way to them that can be cut.
fn jobs_of(db: &TestDb, count: usize) -> Arc<Proxy> {
    create(&db.pool(1), count);
    Arc::new(Proxy::to(db.url()))
}

fn six_jobs() -> (TestDb, Arc<Proxy>) {
    let db = TestDb::new();
    let proxy = jobs_of(&db, 6);
    (db, proxy)
}

/// Where each place is cut in turn, the fewest that take every statement more than
/// once: two batches of two.
const FEW: usize = 4;

/// A pool of so many connections. A new one takes the place of one that broke
/// at once, however busy the machine is.
fn pool(proxy: &Proxy, size: u32) -> TestPool {
    pool_at(proxy.url(), size, Duration::from_secs(30))
}

/// The same, which does not wait for long once it is open.
fn hasty_pool(proxy: &Proxy) -> TestPool {
    let pool = pool_at(proxy.url(), 1, Duration::from_millis(300));
    while pool.get().is_err() {}
    pool
}

/// How a job ends.
type End = fn(&mut JobUpdates);

const AS_IT_IS: End = |_| {};
const WITH_UPDATES: End = |updates| *updates = data(json!("new"));

fn assert_six_succeeded_once(db: &TestDb, runs: &Runs, done: Summary, data: &str) {
    assert_succeeded_once(6, db, runs, done, data);
}

fn assert_succeeded_once(count: usize, db: &TestDb, runs: &Runs, done: Summary, data: &str) {
    assert_eq!(done, summary(|s| s.succeeded = count as u64));
    runs.assert_once_each(db);
    for job in rows(db) {
        assert_eq!((job.status, job.retry), (Status::Succeeded, 0), "{job:?}");
        assert_eq!((&job.lock, &job.errors), (&None, &json!({})), "{job:?}");
        assert_eq!(job.data, Some(json!(data)));
    }
}

/// Calls `work` with an empty table and a cut at the first place where the worker asks
/// or is answered, at the second, and so on, until there is no place left; `work` tells
/// whether its cut was still to come. Several at once: most of it is waiting.
fn cut_everywhere(work: impl Fn(&TestDb, Turn, usize) -> bool + Sync) {
    const AT_ONCE: usize = 4;
    thread::scope(|scope| {
        for turn in [Turn::Request, Turn::Answer] {
            for first in 1..=AT_ONCE {
                let work = &work;
                scope.spawn(move || {
                    let db = TestDb::new();
                    let mut places = (first..).step_by(AT_ONCE);
                    let is_past = |n: &usize| {
                        db.sql("DELETE FROM jobs");
                        work(&db, turn, *n)
                    };
                    let end = places.find(is_past).unwrap();
                    assert!(end > 6, "{turn:?} was never cut");
                });
            }
        }
    });
}

fn each_job_runs_once(batch: usize, end: End, new: &str) {
    cut_everywhere(|db, turn, n| {
        let proxy = jobs_of(db, FEW);
        let pool = pool(&proxy, 1);
        proxy.cut(turn, n);
        let runs = Runs::default();
        let worker = Job::worker(&pool)
            .threads(1)
            .batch(batch)
            .finish_within(NEVER);
        let done = worker.run_until_empty(|job, updates| {
            runs.add(&job.id);
            Ok(end(updates))
        });
        assert_succeeded_once(FEW, db, &runs, done.unwrap(), new);
        proxy.spare()
    });
}

#[test]
fn wherever_the_line_breaks_each_job_runs_once_and_has_succeeded() {
    each_job_runs_once(1, AS_IT_IS, "old");
}

#[test]
fn wherever_the_line_breaks_each_job_of_a_batch_runs_once_and_has_succeeded() {
    each_job_runs_once(2, AS_IT_IS, "old");
}

#[test]
fn wherever_the_line_breaks_each_job_of_a_batch_keeps_its_updates() {
    each_job_runs_once(2, WITH_UPDATES, "new");
}

#[test]
fn wherever_the_line_breaks_a_transaction_happens_once() {
    cut_everywhere(|db, turn, n| {
        let proxy = jobs_of(db, FEW);
        let pool = pool(&proxy, 2);
        proxy.cut(turn, n);
        let worker = Job::worker(&pool).threads(1).batch(2);
        let done = worker.run_in_transaction_until_empty(|_, _, updates| Ok(WITH_UPDATES(updates)));

        // One of them may have been given back, and run again.
        let done = done.unwrap();
        assert_eq!(
            (done.succeeded, done.failed, done.lost),
            (FEW as u64, 0, 0),
            "{turn:?} {n}: {done}"
        );
        assert!(done.released <= 1, "{done}");
        for job in rows(db) {
            assert_eq!((job.status, &job.errors), (Status::Succeeded, &json!({})));
            assert_eq!(job.data, Some(json!("new")));
        }
        proxy.spare()
    });
}

/// On PostgreSQL a claim of the next jobs may come with it.
fn is_change(sql: &str) -> bool {
    sql.starts_with("UPDATE") || sql.contains("tracker_written")
}

/// An end is looked up by the time of its lock, once its answer is lost.
#[test]
fn an_outcome_whose_answer_is_lost_after_a_renewal_counts_as_written() {
    struct Brief;
    step! { Brief on Job { const LOCK_EXPIRE: Duration = Duration::from_secs(1); } }
    let (db, proxy) = six_jobs();
    let is_to_be_cut = Arc::new(AtomicBool::new(false));
    let pool = {
        let (proxy, is_to_be_cut) = (Arc::clone(&proxy), Arc::clone(&is_to_be_cut));
        pool_with(proxy.clone().url(), 1, move |conn| {
            let (proxy, is_to_be_cut) = (Arc::clone(&proxy), Arc::clone(&is_to_be_cut));
            Log::default().watch_and(conn, move |event| {
                let is_end = matches!(event, Event::Started(sql)
                    if is_change(sql) && sql.contains("retry"));
                if is_end && is_to_be_cut.swap(false, Ordering::Relaxed) {
                    proxy.cut(Turn::Answer, 1);
                }
            });
        })
    };
    let (runs, ran) = (Runs::default(), AtomicU32::new(0));
    let worker = Brief::worker(&pool).threads(1).batch(1);
    let done = worker.run_until_empty(|job, _| {
        runs.add(&job.id);
        // The others have prepared all statements.
        if ran.fetch_add(1, Ordering::Relaxed) == 5 {
            let claimed = row(&db, &job.id).lock_at;
            until("renewed", || row(&db, &job.id).lock_at > claimed);
            is_to_be_cut.store(true, Ordering::Relaxed);
        }
        Ok(())
    });

    assert_six_succeeded_once(&db, &runs, done.unwrap(), "old");
    assert!(!is_to_be_cut.load(Ordering::Relaxed) && !proxy.spare());
}

/// The row of such an end bears no lock, as that of a job which was overtaken.
#[test]
fn an_outcome_whose_answer_is_lost_is_looked_up_before_it_counts_as_a_lost_lock() {
    struct Brief;
    step! { Brief on Job { const LOCK_EXPIRE: Duration = Duration::from_millis(600); } }
    let db = Arc::new(TestDb::new());
    create(&db.pool(1), 2);
    let proxy = Arc::new(Proxy::to(db.url()));
    // One for the jobs and their ends, and one that is kept for renewals.
    let pool = pool_at(proxy.url(), 2, Duration::from_millis(300));
    let mut conns = [(); 2].map(|()| {
        loop {
            if let Ok(conn) = pool.get() {
                break conn;
            }
        }
    });
    let is_cut = Arc::new(AtomicBool::new(false));
    for conn in &mut conns {
        let (db, proxy, is_cut) = (Arc::clone(&db), Arc::clone(&proxy), Arc::clone(&is_cut));
        Log::default().watch_and(conn, move |event| {
            let is_end = matches!(event, Event::Started(sql)
                if sql.starts_with("UPDATE") && sql.contains("errors") && !sql.contains("RETURNING"));
            if !is_end || is_cut.swap(true, Ordering::Relaxed) {
                return;
            }
            // When it has been prepared and done. No other way leads to the
            // database until locks have been renewed since.
            let db = Arc::clone(&db);
            proxy.before_next_connection(move || {
                let waiting = || rows(&db).into_iter().find(|job| job.lock.is_some());
                until("the end has landed", || rows(&db).iter().any(|job| job.retry == 1));
                for _ in 0..2 {
                    let before = waiting().unwrap().lock_at;
                    until("renewed", || waiting().unwrap().lock_at > before);
                }
            });
            proxy.cut(Turn::Answer, 2);
        });
    }
    drop(conns);

    let ran = AtomicU32::new(0);
    let worker = Brief::worker(&pool).threads(1).batch(2);
    let worker = worker.finish_within(Duration::ZERO);
    let done = worker.run_in_transaction_until_empty(|_, _, _| {
        match ran.fetch_add(1, Ordering::Relaxed) {
            // It is not run again, which would hide what became of its end.
            0 => Err(Retry::never().into()),
            _ => Ok(()),
        }
    });

    assert_eq!(
        done.unwrap(),
        summary(|s| (s.succeeded, s.ignored) = (1, 1))
    );
    assert!(is_cut.load(Ordering::Relaxed) && !proxy.spare());
}

#[test]
fn sessions_that_the_server_ends_are_replaced() {
    for (threads, batch) in [(1, 3), (2, 2)] {
        let (db, _) = six_jobs();
        let open = Arc::new(Mutex::new(Vec::new()));
        let opened = Arc::clone(&open);
        let pool = pool_with(db.url(), 3, move |conn| {
            opened.lock().unwrap().push(sessions::number(conn));
        });
        let runs = Runs::default();
        let worker = Job::worker(&pool).threads(threads).batch(batch);
        let done = worker.run_until_empty(|job, updates| {
            runs.add(&job.id);
            for number in std::mem::take(&mut *open.lock().unwrap()) {
                sessions::end(&mut db.conn(), number);
            }
            Ok(WITH_UPDATES(updates))
        });
        assert_six_succeeded_once(&db, &runs, done.unwrap(), "new");
    }
}

/// Takes the server away until a pool has tried to connect some times.
fn go_away(proxy: &Arc<Proxy>, tries: u32) {
    fn count_down(proxy: Arc<Proxy>, tries: u32) {
        if tries == 0 {
            return proxy.returns();
        }
        let line = Arc::clone(&proxy);
        line.before_next_connection(move || count_down(proxy, tries - 1));
    }
    count_down(Arc::clone(proxy), tries);
    proxy.goes_away();
}

#[test]
fn no_job_begins_while_no_outcome_can_be_written() {
    for (batch, end, new) in [(1, AS_IT_IS, "old"), (6, WITH_UPDATES, "new")] {
        let (db, proxy) = six_jobs();
        let pool = hasty_pool(&proxy);
        let runs = Runs::default();
        // The end of each job is tried before the next begins.
        let worker = Job::worker(&pool).threads(1).batch(batch);
        let worker = worker.finish_within(Duration::ZERO);
        let done = worker.run_until_empty(|job, updates| {
            assert!(!proxy.is_away(), "it would be done in vain");
            runs.add(&job.id);
            if runs.counts().len().is_multiple_of(3) {
                go_away(&proxy, 4);
            }
            Ok(end(updates))
        });
        assert_six_succeeded_once(&db, &runs, done.unwrap(), new);
    }
}

#[test]
fn a_worker_waits_for_a_server_that_is_away_for_longer_than_the_tries() {
    for (at, end, new) in [
        (0, AS_IT_IS, "old"),
        (2, AS_IT_IS, "old"),
        (2, WITH_UPDATES, "new"),
    ] {
        let (db, proxy) = six_jobs();
        let pool = hasty_pool(&proxy);
        let (runs, ran) = (Runs::default(), AtomicU32::new(0));
        let worker = Job::worker(&pool).threads(1).batch(3).finish_within(NEVER);
        let done = worker.run_until_empty(|job, updates| {
            runs.add(&job.id);
            if ran.fetch_add(1, Ordering::Relaxed) == at {
                go_away(&proxy, 4);
            }
            Ok(end(updates))
        });
        assert_six_succeeded_once(&db, &runs, done.unwrap(), new);
    }
}
