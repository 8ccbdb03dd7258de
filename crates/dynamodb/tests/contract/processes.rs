//! Processes that are killed: this test program, run once more for the one test that
//! plays a worker's part.

use std::env;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use dynamodb_status_tracker::blocking::BlockingCalls;
use dynamodb_status_tracker::{StatusTracked, Table};

use super::families::database::{INDEX, builder, client, run, until, url};
use super::families::jobs::{Job, step, version};
use super::transaction::entry;

const PART: &str = "STATUS_TRACKER_TEST_TABLE";
const JOBS: usize = 1_000;

// A job is killed often, and must not be given up.
step! { Tireless {
    const LOCK_EXPIRE: Duration = Duration::from_secs(1);
    const MAX_RETRY: i32 = i32::MAX;
} }

/// A worker in a process of its own, which dies with this value at the latest.
struct Worker(Child);

impl Worker {
    fn start(table: &Table) -> Self {
        let (_crate, module) = module_path!().split_once("::").unwrap();
        let process = Command::new(env::current_exe().unwrap())
            .args(["--exact", &format!("{module}::plays_a_part")])
            .env(PART, table.name())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(process.unwrap())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The part of a worker. As a test of its own it does nothing.
#[test]
fn plays_a_part() {
    let Ok(name) = env::var(PART) else { return };
    let table = Table::builder(client(&url(), 3), name)
        .index(INDEX)
        .shards(4)
        .build();
    let worker = Tireless::worker(&table)
        .threads(2)
        .batch(10)
        .poll_every(Duration::from_millis(50));
    worker
        .run_blocking(|job, updates| {
            updates.version = Some(1);
            job.commit_with(entry(&table, &job.id));
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_thousand_jobs_whose_workers_are_killed_are_booked_once_each() {
    let (table, table_client) = (builder().shards(4).build(), client(&url(), 3));
    Job::create_many(&table, (0..JOBS).map(|n| (n.to_string(), version(0)))).unwrap();
    // A job and its entry are written together, so the entries tell the progress.
    let booked = || {
        let told = run(table_client
            .describe_table()
            .table_name(table.name())
            .send())
        .unwrap();
        told.table().unwrap().item_count().unwrap() as usize - JOBS
    };
    let mut workers: Vec<_> = (0..3).map(|_| Worker::start(&table)).collect();
    // SIGKILL for one of them each time that so many more are done.
    let (mut killed, mut next) = (0, 40);
    while next < JOBS {
        until("there is progress", || booked() >= next);
        let n = killed % workers.len();
        workers[n] = Worker::start(&table);
        killed += 1;
        next += 60;
    }
    until("all are done", || booked() == JOBS);
    drop(workers);
    assert!(killed >= 15);
    assert_eq!(ledger(&table), JOBS);
    let jobs = Job::query_by_status(&table, Job::SUCCEEDED, usize::MAX).unwrap();
    assert_eq!(jobs.len(), JOBS);
    assert!(jobs.iter().all(|job| job.version == Some(1)));
}

/// How many entries there are. Each is of another job, since a key exists once; none
/// can have been written twice, since its condition would have failed its job.
fn ledger(table: &Table) -> usize {
    let client = client(&url(), 3);
    let (mut count, mut from) = (0, None);
    loop {
        let scan = client
            .scan()
            .table_name(table.name())
            .filter_expression("begins_with(id, :ledger)")
            .expression_attribute_values(
                ":ledger",
                aws_sdk_dynamodb::types::AttributeValue::S("ledger ".into()),
            )
            .set_exclusive_start_key(from.take());
        let page = run(scan.send()).unwrap();
        count += page.count() as usize;
        match page.last_evaluated_key {
            Some(key) => from = Some(key),
            None => return count,
        }
    }
}
