//! One winner.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use dynamodb_status_tracker::Error;
use dynamodb_status_tracker::blocking::BlockingCalls;

use super::database::table;
use super::jobs::{Job, version};

#[test]
fn one_of_32_concurrent_starts_runs_the_job_and_none_after_it() {
    const ROUNDS: usize = 200;
    const THREADS: usize = 32;
    let table = table();
    let begin = Barrier::new(THREADS);
    let runs: Vec<_> = (0..ROUNDS).map(|_| AtomicUsize::new(0)).collect();
    Job::create_many(&table, (0..ROUNDS).map(|n| (n.to_string(), version(0)))).unwrap();
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for (n, runs) in runs.iter().enumerate() {
                    begin.wait();
                    let run = Job::run_job(&table, n.to_string(), |_, _| {
                        runs.fetch_add(1, Ordering::SeqCst);
                        Ok(())
                    });
                    match run {
                        Ok(()) | Err(Error::Locked { .. } | Error::AlreadySucceeded { .. }) => {}
                        other => panic!("{other:?}"),
                    }
                }
            });
        }
    });
    assert!(
        runs.iter().all(|runs| runs.load(Ordering::SeqCst) == 1),
        "{runs:?}"
    );
    assert_eq!(Job::count_by_status(&table).unwrap(), [(40, 200)]);
}
