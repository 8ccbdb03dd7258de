//! A worker.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use dynamodb_status_tracker::blocking::BlockingCalls;
use dynamodb_status_tracker::{BoxError, Retry};

use super::database::{builder, other, run, set, table, until};
use super::jobs::{Brief, Job, version};

#[test]
fn each_job_runs_once_whatever_the_threads_and_the_batches() {
    for (threads, batch, shards) in [(1, 1, 1), (4, 1, 2), (4, 25, 3)] {
        let table = builder().shards(shards).build();
        Job::create_many(&table, (0..60).map(|n| (n.to_string(), version(0)))).unwrap();
        let runs = Mutex::new(HashMap::new());
        let summary = Job::worker(&table)
            .threads(threads)
            .batch(batch)
            .run_blocking_until_empty(|job, updates| {
                *runs.lock().unwrap().entry(job.id.clone()).or_insert(0) += 1;
                updates.version = Some(1);
                Ok(())
            })
            .unwrap();
        assert_eq!((summary.succeeded, summary.lost), (60, 0));
        let runs = runs.into_inner().unwrap();
        assert!(runs.len() == 60 && runs.values().all(|runs| *runs == 1));
        assert_eq!(Job::count_by_status(&table).unwrap(), [(40, 60)]);
    }
}

#[test]
fn an_async_worker_runs_several_jobs_at_a_time() {
    use dynamodb_status_tracker::Calls;
    let table = builder().shards(2).build();
    <Job as BlockingCalls>::create_many(&table, (0..20).map(|n| (n.to_string(), version(0))))
        .unwrap();
    let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let meeting = tokio::sync::Barrier::new(5);
    let summary = run(<Job as Calls>::worker(&table)
        .threads(5)
        .batch(5)
        .run_until_empty(async |_, _| {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            meeting.wait().await;
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        }))
    .unwrap();
    assert_eq!(summary.succeeded, 20);
    assert_eq!(most.into_inner(), 5);
}

#[test]
fn jobs_that_fail_or_panic_do_not_stop_the_others() {
    let table = table();
    Job::create_many(&table, (0..12).map(|n| (n.to_string(), version(n)))).unwrap();
    set(
        &table,
        "11",
        "version",
        Some(AttributeValue::S("seven".into())),
    );
    let summary = Job::worker(&table)
        .threads(3)
        .batch(4)
        .run_blocking_until_empty(|job, _| match job.version {
            Some(0) => panic!("out of ink"),
            Some(1) => Err("no")?,
            Some(2) => Err(Retry::never())?,
            _ => Ok(()),
        })
        .unwrap();
    assert_eq!(
        (summary.succeeded, summary.failed, summary.ignored),
        (8, 4, 3)
    );
    assert_eq!(summary.refused, 1);
}

#[test]
fn a_released_job_is_run_again() {
    let table = table();
    Job::create_and_save(&table, "a", version(0)).unwrap();
    let runs = AtomicUsize::new(0);
    let summary = Job::worker(&table)
        .threads(2)
        .run_blocking_until_empty(|_, _| match runs.fetch_add(1, Ordering::SeqCst) {
            0 | 1 => Err(Retry::release())?,
            _ => Ok(()),
        })
        .unwrap();
    assert_eq!((summary.released, summary.succeeded), (2, 1));
    assert_eq!(Job::find(&table, "a").unwrap().unwrap().retry, 0);
}

#[test]
fn a_shutdown_finishes_running_jobs_and_releases_claimed_ones() {
    let table = table();
    Job::create_many(&table, (0..5).map(|n| (n.to_string(), version(0)))).unwrap();
    let worker = Job::worker(&table).threads(1).batch(5);
    let handle = worker.handle();
    let summary = worker
        .run_blocking(|_, _| {
            handle.shutdown();
            Ok(())
        })
        .unwrap();
    assert_eq!((summary.succeeded, summary.released), (1, 4));
    let mut counts = Job::count_by_status(&table).unwrap();
    counts.sort_unstable();
    assert_eq!(counts, [(10, 4), (40, 1)]);
}

#[test]
fn an_idle_worker_shuts_down_at_once() {
    let table = table();
    let worker = Job::worker(&table)
        .threads(4)
        .poll_every(Duration::from_secs(3_600));
    let handle = worker.handle();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| worker.run_blocking(|_, _| Ok(())));
        handle.shutdown();
        assert_eq!(running.join().unwrap().unwrap().succeeded, 0);
    });
}

#[test]
fn jobs_that_run_or_wait_for_longer_than_a_lock_lasts_keep_their_locks() {
    use super::jobs::step;
    use dynamodb_status_tracker::StatusTracked;
    step! { Renewed { const LOCK_EXPIRE: Duration = Duration::from_millis(600); } }
    let table = table();
    Renewed::create_many(&table, ["a", "b"].map(|id| (id, version(0)))).unwrap();
    let renewals = |id: &str| -> u64 {
        let item = super::database::raw(&table, id).unwrap();
        super::database::text(&item, "renewals").parse().unwrap()
    };
    let summary = Renewed::worker(&table)
        .threads(1)
        .batch(2)
        .run_blocking_until_empty(|job, _| {
            // The other one waits, or has been finished before.
            until("both are renewed", || renewals(&job.id) >= 2);
            Ok(())
        })
        .unwrap();
    assert_eq!((summary.succeeded, summary.lost), (2, 0));
    assert_eq!(Renewed::SUCCEEDED, 40);
}

#[test]
fn a_worker_takes_the_jobs_of_a_dead_one() {
    let table = table();
    Brief::create_many(&table, (0..5).map(|n| (n.to_string(), version(0)))).unwrap();
    Brief::claim_next(&table, 5)
        .unwrap()
        .into_iter()
        .for_each(std::mem::forget);
    let worker = Brief::worker(&other(&table).build())
        .threads(2)
        .poll_every(Duration::from_millis(5));
    let (handle, runs) = (worker.handle(), AtomicUsize::new(0));
    let summary = worker
        .run_blocking(|job, _| {
            assert_eq!(job.retry, 1);
            if runs.fetch_add(1, Ordering::SeqCst) == 4 {
                handle.shutdown();
            }
            Ok::<(), BoxError>(())
        })
        .unwrap();
    assert_eq!(summary.succeeded, 5);
}

#[test]
fn a_worker_that_cannot_begin_says_why() {
    let nowhere = dynamodb_status_tracker::Table::builder(
        super::database::client(&super::database::url(), 1),
        "no_such_table",
    );
    let error = Job::worker(&nowhere.index("open_jobs").build())
        .run_blocking(|_, _| Ok(()))
        .unwrap_err();
    assert!(
        error.to_string().contains("ResourceNotFoundException"),
        "{error}"
    );
}
