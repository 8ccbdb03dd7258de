//! The locks of what a worker has in hand: renewed, lost, and those of others.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use chrono::{NaiveDateTime, TimeDelta};
use diesel::prelude::*;
use diesel_status_tracker::clock::from_now;
use diesel_status_tracker::{BoxError, Retry, StatusTracked, Transition};
use serde_json::json;

use super::database::{TestDb, TestPool};
use super::jobs::{Job, JobUpdates, Status, age_lock, data, history, jobs, row};
use super::pools::{Event, Log, pool_with};
use super::worker::{NEVER, create, drainable, rows, summary, until};
use super::worker_statements::is_look_for_the_dead;
use super::worker_told::Told;

/// A step whose locks are renewed three times a second.
struct Brief;
step! { Brief on Job { const LOCK_EXPIRE: Duration = Duration::from_secs(1); } }

/// Gives the row to another, as one without a clock would have it.
fn steal(db: &TestDb, id: &str) {
    diesel::update(jobs::table.find(id))
        .set((
            jobs::lock.eq("another's"),
            jobs::lock_at.eq(from_now(NEVER)),
        ))
        .execute(&mut *db.conn())
        .unwrap();
}

/// What becomes of a job between its end and the writing of it.
type Meanwhile = fn(&TestDb, &str);

const STOLEN: Meanwhile = steal;
const FINISHED_BY_ANOTHER: Meanwhile = |db, id| {
    age_lock(db, id);
    let mut conn = db.conn();
    assert_eq!(Job::expire_locks(&mut *conn).unwrap(), 1);
    drop(conn);
    Job::run_job(&db.pool(1), id, |_, updates| {
        Ok(*updates = data(json!("the other's")))
    })
    .unwrap();
};
const DELETED: Meanwhile = |db, id| {
    let deleted = diesel::delete(jobs::table.find(id)).execute(&mut *db.conn());
    assert_eq!(deleted, Ok(1));
};

/// How the jobs of a group end.
type End = fn(&mut JobUpdates) -> Result<(), BoxError>;

const AS_IT_IS: End = |_| Ok(());
const WITH_UPDATES: End = |updates| Ok(*updates = data(json!("new")));
const IGNORED: End = |_| Err(Retry::never().into());

#[test]
fn in_a_group_only_the_outcome_of_an_expired_job_is_not_written() {
    for meanwhile in [STOLEN, FINISHED_BY_ANOTHER, DELETED] {
        for (end, status, new) in [
            (AS_IT_IS, Status::Succeeded, "old"),
            (WITH_UPDATES, Status::Succeeded, "new"),
            (IGNORED, Status::Ignored, "old"),
        ] {
            let (db, pool) = drainable(4);
            let (ended, left) = (Mutex::new(Vec::<String>::new()), Mutex::new(None));
            let told = Told::default();
            let worker = Job::worker(&pool).threads(1).batch(4).finish_within(NEVER);
            let done = worker
                .observer(told.clone())
                .run_until_empty(|job, updates| {
                    let mut ended = ended.lock().unwrap();
                    if ended.len() == 3 {
                        // None of the ends before is written yet.
                        meanwhile(&db, &ended[1]);
                        *left.lock().unwrap() = Some(rows(&db));
                    }
                    ended.push(job.id.clone());
                    end(updates)
                });

            let expected = summary(|s| {
                *(if status == Status::Ignored {
                    &mut s.ignored
                } else {
                    &mut s.succeeded
                }) = 3;
                s.lost = 1;
            });
            assert_eq!(done.unwrap(), expected);
            let ended = ended.into_inner().unwrap();
            assert_eq!(told.of(&ended[1]), [Transition::Started, Transition::Lost]);
            let find = |rows: &[Job], id: &str| rows.iter().find(|job| job.id == id).cloned();
            let left = left.into_inner().unwrap().unwrap();
            assert_eq!(find(&rows(&db), &ended[1]), find(&left, &ended[1]));
            for id in [&ended[0], &ended[2], &ended[3]] {
                let job = row(&db, id);
                assert_eq!((job.status, &job.lock), (status, &None));
                assert_eq!(job.data, Some(json!(new)));
            }
        }
    }
}

#[test]
fn a_job_that_was_expired_before_its_outcome_was_written_runs_again() {
    let (db, pool) = drainable(3);
    let ended = Mutex::new(Vec::<String>::new());
    let worker = Job::worker(&pool).threads(1).batch(3).finish_within(NEVER);
    let done = worker.run_until_empty(|job, _| {
        let mut ended = ended.lock().unwrap();
        if ended.len() == 2 {
            age_lock(&db, &ended[0]);
            assert_eq!(Job::expire_locks(&mut *db.conn())?, 1);
        }
        Ok(ended.push(job.id.clone()))
    });

    assert_eq!(done.unwrap(), summary(|s| (s.succeeded, s.lost) = (3, 1)));
    let ended = ended.into_inner().unwrap();
    assert_eq!((ended.len(), &ended[3]), (4, &ended[0]));
    assert!(history(&row(&db, &ended[0]))[0].contains("lock expired"));
}

fn lock_at(db: &TestDb, id: &str) -> NaiveDateTime {
    row(db, id).lock_at.unwrap()
}

#[test]
fn jobs_that_run_or_wait_for_longer_than_a_lock_lasts_keep_their_locks() {
    let (db, pool) = drainable(3);
    let first = Mutex::new(true);
    let worker = Brief::worker(&pool).threads(1).batch(3);
    let done = worker.run_until_empty(|_, _| {
        if std::mem::take(&mut *first.lock().unwrap()) {
            let claimed: Vec<_> = rows(&db)
                .into_iter()
                .map(|job| job.lock_at.unwrap())
                .collect();
            for (n, claimed) in claimed.into_iter().enumerate() {
                // As the database sees it, its first lock has expired.
                let expired = claimed + TimeDelta::seconds(1);
                until("renewed", || lock_at(&db, &n.to_string()) > expired);
            }
            assert_eq!(Brief::expire_locks(&mut *db.conn())?, 0);
        }
        Ok(())
    });

    assert_eq!(done.unwrap(), summary(|s| s.succeeded = 3));
    for job in rows(&db) {
        assert_eq!((job.status, &job.errors), (Status::Succeeded, &json!({})));
    }
}

#[test]
fn the_locks_of_several_claims_are_renewed_by_one_statement() {
    const JOBS: usize = 3;
    let db = Arc::new(TestDb::new());
    // The times of the locks before each update.
    let times = Arc::new(Mutex::new(Vec::new()));
    let pool = {
        let (db, times) = (Arc::clone(&db), Arc::clone(&times));
        pool_with(db.clone().url(), 2, move |conn| {
            let (db, times) = (Arc::clone(&db), Arc::clone(&times));
            Log::default().watch_and(conn, move |event| {
                if matches!(event, Event::Started(sql) if sql.starts_with("UPDATE")) {
                    let all = rows(&db).into_iter().map(|job| job.lock_at);
                    times.lock().unwrap().push(all.collect::<Vec<_>>());
                }
            });
        })
    };
    create(&pool, JOBS);

    let (running, renewed) = (Barrier::new(JOBS + 1), Barrier::new(JOBS + 1));
    thread::scope(|scope| {
        let work = scope.spawn(|| {
            let worker = Brief::worker(&pool).threads(JOBS).batch(1);
            worker.run_until_empty(|_, _| {
                running.wait();
                renewed.wait();
                Ok(())
            })
        });
        running.wait();
        let locks: Vec<_> = rows(&db).into_iter().map(|job| job.lock).collect();
        assert!(locks[0] != locks[1] && locks[1] != locks[2], "three claims");
        times.lock().unwrap().clear();
        until("three rounds", || times.lock().unwrap().len() >= 3);
        let rounds = times.lock().unwrap().clone();
        renewed.wait();
        assert_eq!(work.join().unwrap().unwrap(), summary(|s| s.succeeded = 3));

        for (one, next) in rounds.iter().zip(&rounds[1..]) {
            let changed = one.iter().zip(next).filter(|(old, new)| old != new);
            assert_eq!(changed.count(), JOBS, "{rounds:?}");
        }
    });
}

#[test]
fn no_outcome_and_no_claim_is_sent_while_locks_are_renewed() {
    let db = Arc::new(TestDb::new());
    create(&db.pool(1), 2);
    let (renewing, first) = (Arc::new(Barrier::new(2)), AtomicBool::new(true));
    // What was sent during the first renewal, and after it.
    let sent = Arc::new(Mutex::new([Vec::new(), Vec::new()]));
    let period = Arc::new(AtomicUsize::new(1));
    let pool = {
        let renewals = Arc::new(AtomicUsize::new(0));
        let (db, renewing, sent) = (Arc::clone(&db), Arc::clone(&renewing), Arc::clone(&sent));
        pool_with(db.clone().url(), 4, move |conn| {
            let (db, renewing, sent) = (Arc::clone(&db), Arc::clone(&renewing), Arc::clone(&sent));
            let (period, renewals) = (Arc::clone(&period), Arc::clone(&renewals));
            Log::default().watch_and(conn, move |event| {
                let Event::Started(sql) = event else { return };
                let is_renewal = sql.starts_with("UPDATE") && !sql.contains("status");
                if is_renewal && renewals.fetch_add(1, Ordering::Relaxed) == 0 {
                    period.store(0, Ordering::Relaxed);
                    // The job comes to its end, and another is ready.
                    renewing.wait();
                    for _ in 0..100 {
                        Job::count_by_status(&mut *db.conn()).unwrap();
                    }
                    period.store(1, Ordering::Relaxed);
                } else if !is_look_for_the_dead(event) {
                    let period = period.load(Ordering::Relaxed);
                    sent.lock().unwrap()[period].push(sql.clone());
                }
            });
        })
    };
    let worker = Brief::worker(&pool).threads(1).batch(1);
    let done = worker.run_until_empty(|_, _| {
        if first.swap(false, Ordering::Relaxed) {
            renewing.wait();
        }
        Ok(())
    });

    assert_eq!(done.unwrap(), summary(|s| s.succeeded = 2));
    let [during, after] = &*sent.lock().unwrap();
    assert_eq!(*during, Vec::<String>::new());
    assert!(!after.is_empty());
}

#[test]
fn a_job_that_lost_its_lock_can_see_that_and_its_outcome_is_dropped() {
    for end in [AS_IT_IS, WITH_UPDATES, IGNORED] {
        let (db, pool) = drainable(2);
        let stolen = Mutex::new(None);
        let told = Told::default();
        let worker = Brief::worker(&pool)
            .threads(1)
            .batch(2)
            .observer(told.clone());
        let done = worker.run_until_empty(|job, updates| {
            let mut stolen = stolen.lock().unwrap();
            if stolen.is_some() {
                return Ok(());
            }
            assert!(!job.is_lost());
            steal(&db, &job.id);
            *stolen = Some(row(&db, &job.id));
            until("the loss is told", || job.is_lost());
            end(updates)
        });

        assert_eq!(done.unwrap(), summary(|s| (s.succeeded, s.lost) = (1, 1)));
        let stolen = stolen.into_inner().unwrap().unwrap();
        assert_eq!(row(&db, &stolen.id), stolen);
        assert_eq!(told.of(&stolen.id), [Transition::Started, Transition::Lost]);
    }
}

/// Leaves the job as a worker does that dies; it is not expired before its lock is aged.
fn die_unnoticed(db: &TestDb, pool: &TestPool, id: &str) {
    std::mem::forget(Brief::start(pool, id).unwrap());
    diesel::update(jobs::table.find(id))
        .set(jobs::lock_at.eq(from_now(NEVER)))
        .execute(&mut *db.conn())
        .unwrap();
}

#[test]
fn dead_attempts_of_others_are_expired_at_the_start() {
    let (db, pool) = drainable(2);
    die_unnoticed(&db, &pool, "1");
    age_lock(&db, "1");
    let told = Told::default();

    let worker = Job::worker(&pool).threads(1).observer(told.clone());
    let done = worker.run_until_empty(|_, _| Ok(()));

    assert_eq!(
        done.unwrap(),
        summary(|s| (s.succeeded, s.expired) = (2, 1))
    );
    told.assert_expired_and_succeeded("1");
    assert_eq!(history(&row(&db, "1")).len(), 1);
}

#[test]
fn a_worker_does_not_end_its_own_attempts_however_old_their_locks_are() {
    let db = TestDb::new();
    create(&db.pool(1), 1);
    let is_old = Arc::new(AtomicBool::new(false));
    let has_looked = Arc::new(AtomicBool::new(false));
    let pool = {
        let (is_old, has_looked) = (Arc::clone(&is_old), Arc::clone(&has_looked));
        pool_with(db.url(), 3, move |conn| {
            let (is_old, has_looked) = (Arc::clone(&is_old), Arc::clone(&has_looked));
            Log::default().watch_and(conn, move |event| {
                if is_look_for_the_dead(event) {
                    until("the lock is old", || is_old.load(Ordering::Relaxed));
                    has_looked.store(true, Ordering::Relaxed);
                }
            });
        })
    };
    let worker = Job::worker(&pool).threads(1);
    let done = worker.run_until_empty(|job, _| {
        age_lock(&db, &job.id);
        is_old.store(true, Ordering::Relaxed);
        until("the look", || has_looked.load(Ordering::Relaxed));
        until("it is over", || {
            let state = pool.state();
            state.connections == state.idle_connections
        });
        Ok(())
    });

    assert_eq!(done.unwrap(), summary(|s| s.succeeded = 1));
}

#[test]
fn dead_attempts_of_others_are_expired_while_jobs_run() {
    let (db, pool) = drainable(2);
    die_unnoticed(&db, &pool, "1");
    let told = Told::default();

    let worker = Brief::worker(&pool).threads(1).observer(told.clone());
    let done = worker.run_until_empty(|job, _| {
        if job.id == "0" {
            age_lock(&db, "1");
            until("its end", || row(&db, "1").status == Status::Failed);
        }
        Ok(())
    });

    assert_eq!(
        done.unwrap(),
        summary(|s| (s.succeeded, s.expired) = (2, 1))
    );
    told.assert_expired_and_succeeded("1");
}

#[test]
fn an_expiry_wakes_a_waiting_worker() {
    let (db, log) = (TestDb::new(), Log::default());
    let watched = log.clone();
    let pool = pool_with(db.url(), 2, move |conn| watched.watch(conn));
    create(&pool, 1);
    die_unnoticed(&db, &pool, "0");
    log.take();

    let worker = Brief::worker(&pool).threads(1).poll_every(NEVER);
    let handle = worker.handle();
    let done = thread::scope(|scope| {
        let work = scope.spawn(|| worker.run(|_, _| Ok(handle.shutdown())));
        // For dead attempts, then for jobs; the next look for jobs lies far ahead.
        let mut looks = 0;
        until("two looks", || {
            looks += log.statements().len();
            looks >= 2
        });
        age_lock(&db, "0");
        work.join().unwrap()
    });

    assert_eq!(
        done.unwrap(),
        summary(|s| (s.succeeded, s.expired) = (1, 1))
    );
}
