//! A worker that is shut down: what runs is finished, the rest is given back.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use diesel::r2d2::event::TimeoutEvent;
use diesel::r2d2::{ConnectionManager, HandleEvent, Pool};
use diesel_status_tracker::{StatusTracked, Summary, Transition, WorkerHandle};
use serde_json::json;

use super::backend;
use super::database::{TestDb, TestPool};
use super::jobs::{Job, Status, data, row};
use super::pools::{Event, Log, pool_with};
use super::worker::{NEVER, create, drainable, rows, summary, until};
use super::worker_statements::is_look_for_the_dead;
use super::worker_told::Told;

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);

#[test]
fn a_worker_that_is_shut_down_before_it_runs_does_nothing() {
    let (db, pool) = drainable(3);
    let before = rows(&db);
    let worker = Job::worker(&pool);
    let handle = worker.handle();
    assert!(!handle.is_shut_down());

    handle.shutdown();
    assert!(handle.shutdown_and_wait(LONG), "nothing runs");

    assert!(handle.is_shut_down());
    assert_eq!(worker.run(|_, _| Ok(())).unwrap(), Summary::default());
    assert_eq!(rows(&db), before);
}

#[test]
fn a_shutdown_finishes_running_jobs_and_releases_claimed_ones() {
    let db = TestDb::new();
    let pool = db.pool(2);
    create(&pool, 5);
    // One of them has failed before.
    Job::start(&pool, "3").unwrap().fail("no paper").unwrap();
    let failed = row(&db, "3");
    let told = Told::default();
    let worker = Job::worker(&pool)
        .threads(2)
        .batch(5)
        .observer(told.clone());
    let handle = worker.handle();

    let ((begun, begins), go) = (mpsc::channel(), Barrier::new(3));
    let done = thread::scope(|scope| {
        let work = scope.spawn(|| {
            let done = worker.run(|job, updates| {
                begun.send(job.id.clone())?;
                go.wait();
                Ok(*updates = data(json!("new")))
            });
            done.unwrap()
        });
        let running: Vec<String> = begins.iter().take(2).collect();
        let waits = |job: &Job| !running.contains(&job.id);
        assert!(
            rows(&db).iter().all(|job| job.lock.is_some()),
            "all are claimed"
        );

        assert!(!handle.shutdown_and_wait(Duration::ZERO), "two still run");
        until("the others are given back", || {
            rows(&db)
                .iter()
                .filter(|job| waits(job))
                .all(|job| job.lock.is_none())
        });
        Job::create_and_save(&pool, "late", data(json!("old"))).unwrap();
        assert!(!handle.shutdown_and_wait(Duration::ZERO), "two still run");
        for job in rows(&db) {
            let released = if job.id == "3" {
                Status::Failed
            } else {
                Status::Pending
            };
            let status = if waits(&job) {
                released
            } else {
                Status::InProgress
            };
            assert_eq!(job.status, status, "{job:?}");
        }
        go.wait();
        assert!(handle.shutdown_and_wait(LONG));

        for job in rows(&db) {
            if !waits(&job) {
                assert_eq!(
                    (job.status, job.retry, &job.lock),
                    (Status::Succeeded, 0, &None)
                );
                assert_eq!(job.data, Some(json!("new")));
            } else if job.id == "3" {
                assert_eq!(
                    (job.status, job.retry, &job.errors),
                    (Status::Failed, 1, &failed.errors)
                );
                assert_eq!(told.of(&job.id), [Transition::Released]);
            } else {
                assert_eq!(
                    (job.status, job.retry, &job.errors),
                    (Status::Pending, 0, &json!({}))
                );
                let released = [Transition::Released];
                assert_eq!(
                    told.of(&job.id),
                    if job.id == "late" { &[][..] } else { &released }
                );
            }
        }
        work.join().unwrap()
    });

    assert_eq!(done, summary(|s| (s.succeeded, s.released) = (2, 3)));
}

#[test]
fn a_worker_that_waits_for_jobs_is_shut_down_by_any_handle() {
    let (_db, pool) = drainable(1);
    let worker = Job::worker(&pool).threads(2).poll_every(NEVER);
    let handle = worker.handle();
    let (done, is_done) = mpsc::channel();

    let stopper = thread::spawn({
        let handle = handle.clone();
        move || {
            is_done.recv().unwrap();
            handle.shutdown_and_wait(LONG)
        }
    });
    let summary_of_it = worker.run(|_, _| Ok(done.send(())?));

    assert!(stopper.join().unwrap());
    assert_eq!(summary_of_it.unwrap(), summary(|s| s.succeeded = 1));
    assert!(handle.is_shut_down());
    assert!(handle.shutdown_and_wait(Duration::ZERO));
}

#[test]
fn a_job_shuts_its_worker_down() {
    for until_empty in [false, true] {
        let (db, pool) = drainable(4);
        let worker = Job::worker(&pool).threads(1).batch(3);
        let handle = worker.handle();
        let work = |_: &_, _: &mut _| {
            handle.shutdown();
            assert!(
                !handle.shutdown_and_wait(Duration::ZERO),
                "it waits for itself"
            );
            Ok(())
        };
        let done = if until_empty {
            worker.run_until_empty(work)
        } else {
            worker.run(work)
        };

        assert_eq!(
            done.unwrap(),
            summary(|s| (s.succeeded, s.released) = (1, 2))
        );
        let counts = Job::count_by_status(&pool).unwrap();
        let expected = [(Status::Pending, 3), (Status::Succeeded, 1)];
        assert!(
            expected.iter().all(|count| counts.contains(count)),
            "{counts:?}"
        );
        assert!(rows(&db).iter().all(|job| job.lock.is_none()));
    }
}

#[test]
fn jobs_that_are_claimed_after_the_shutdown_are_released() {
    let (db, log) = (TestDb::new(), Log::default());
    // Set once the next claim is to be the last.
    let last = Arc::new(Mutex::new(None::<WorkerHandle>));
    let pool = pool_with(db.url(), 1, {
        let last = Arc::clone(&last);
        move |conn| {
            let last = Arc::clone(&last);
            log.watch_and(conn, move |event| {
                let is_claim = matches!(event, Event::Started(sql) if sql.contains("ORDER BY"))
                    && !is_look_for_the_dead(event);
                if is_claim && let Some(handle) = last.lock().unwrap().take() {
                    handle.shutdown();
                }
            });
        }
    });
    create(&pool, 5);
    let worker = Job::worker(&pool).threads(1).batch(2).finish_within(NEVER);
    let handle = worker.handle();

    let ran = AtomicU32::new(0);
    let done = worker.run(|_, _| {
        if ran.fetch_add(1, Ordering::Relaxed) == 1 {
            *last.lock().unwrap() = Some(handle.clone());
        }
        Ok(())
    });

    assert_eq!(
        done.unwrap(),
        summary(|s| (s.succeeded, s.released) = (2, 2))
    );
    assert_eq!(ran.into_inner(), 2);
    for job in rows(&db) {
        assert_eq!((job.lock, job.retry, job.errors), (None, 0, json!({})));
    }
}

#[test]
fn waiting_outcomes_are_written_at_the_shutdown() {
    let (db, pool) = drainable(2);
    let worker = Job::worker(&pool).threads(1).batch(3).finish_within(NEVER);
    // It is told to stop in the second of two, of a batch of three.
    let (handle, ran) = (worker.handle(), AtomicU32::new(0));
    let done = worker.poll_every(NEVER).run(|_, _| {
        if ran.fetch_add(1, Ordering::Relaxed) == 1 {
            handle.shutdown();
        }
        Ok(())
    });

    assert_eq!(done.unwrap(), summary(|s| s.succeeded = 2));
    assert!(rows(&db).iter().all(|job| job.status == Status::Succeeded));
}

/// Tells when somebody has waited for a connection in vain.
#[derive(Debug)]
struct Waiting(mpsc::Sender<()>);

impl HandleEvent for Waiting {
    fn handle_timeout(&self, _: TimeoutEvent) {
        let _ = self.0.send(()); // nobody may listen any more
    }
}

/// Runs a job that shuts the worker down and takes its only connection away,
/// until the worker has waited so often for it in vain. Tells what the worker
/// has done, and how often it has waited.
fn shut_down_without_a_connection(until_waits: usize) -> (Summary, usize) {
    let db = TestDb::new();
    create(&db.pool(1), 1);
    let (waiting, waits) = mpsc::channel();
    let pool: TestPool = Pool::builder()
        .max_size(1)
        .test_on_check_out(false)
        .connection_timeout(Duration::from_millis(500))
        .connection_customizer(backend::customizer())
        .event_handler(Box::new(Waiting(waiting)))
        .build_unchecked(ConnectionManager::new(db.url()));
    let mut conn = loop {
        if let Ok(conn) = pool.get() {
            break conn;
        }
    };
    let has_looked = Arc::new(AtomicBool::new(false));
    let looked = Arc::clone(&has_looked);
    Log::default().watch_and(&mut conn, move |event| {
        looked.fetch_or(is_look_for_the_dead(event), Ordering::Relaxed);
    });
    drop(conn);

    let taken = Mutex::new(None);
    let take = || {
        let mut taken = taken.lock().unwrap();
        *taken = pool.try_get();
        taken.is_some()
    };
    let worker = Job::worker(&pool).threads(1);
    let handle = worker.handle();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let waited = scope.spawn({
            let (done, taken) = (&done, &taken);
            move || {
                let mut waited = 0;
                while !done.load(Ordering::Relaxed) {
                    let mut taken = taken.lock().unwrap();
                    let waits = waits.try_iter().count();
                    if taken.is_some() {
                        waited += waits;
                    }
                    if waited >= until_waits {
                        *taken = None;
                    }
                    drop(taken);
                    thread::yield_now();
                }
                waited
            }
        });
        let summary = worker.run(|_, _| {
            // Nobody but the job's end needs a connection from then on.
            until("the look for the dead", || {
                has_looked.load(Ordering::Relaxed)
            });
            until("it is over", take);
            Ok(handle.shutdown())
        });
        done.store(true, Ordering::Relaxed);
        drop(taken.lock().unwrap().take());
        (summary.unwrap(), waited.join().unwrap())
    })
}

#[test]
fn a_worker_that_shuts_down_writes_an_outcome_again_after_the_database_was_away() {
    let (done, waits) = shut_down_without_a_connection(1);
    assert_eq!(done, summary(|s| s.succeeded = 1));
    assert!(waits > 0);
}

#[test]
fn a_worker_that_shuts_down_does_not_wait_for_ever_for_the_database() {
    let (done, waits) = shut_down_without_a_connection(10);
    assert_eq!(done, summary(|s| s.lost = 1));
    assert!(waits > 0);
}
