//! Success together with other writes, or neither.

use std::sync::Barrier;
use std::thread;

use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem};
use dynamodb_status_tracker::blocking::BlockingCalls;
use dynamodb_status_tracker::{Error, ErrorLog, Table};

use super::families::database::{INDEX, client, other, raw, table, until, url};
use super::families::jobs::{Brief, Job, assert_err, step, version};
use super::families::proxy::{Fate, Proxy};

/// An entry of the ledger, which may be written once.
pub fn entry(table: &Table, id: &str) -> TransactWriteItem {
    let put = Put::builder()
        .table_name(table.name())
        .item("id", AttributeValue::S(format!("ledger {id}")))
        .condition_expression("attribute_not_exists(id)")
        .build()
        .unwrap();
    TransactWriteItem::builder().put(put).build()
}

#[test]
fn the_writes_commit_with_the_updates_and_the_success_mark() {
    let table = table();
    Job::create_and_save(&table, "a", version(0)).unwrap();
    Job::run_job(&table, "a", |job, updates| {
        job.commit_with(entry(&table, "a"));
        updates.version = Some(1);
        assert_eq!(raw(&table, "ledger a"), None);
        Ok(())
    })
    .unwrap();
    assert!(raw(&table, "ledger a").is_some());
    let job = Job::find(&table, "a").unwrap().unwrap();
    assert_eq!((job.status, job.version), (40, Some(1)));
}

#[test]
fn a_failure_drops_the_writes() {
    let table = table();
    Job::create_and_save(&table, "a", version(0)).unwrap();
    let run = Job::run_job(&table, "a", |job, _| {
        job.commit_with(entry(&table, "a"));
        Err::<(), _>("no".into())
    });
    assert_err!(run, Error::Failed { .. });
    assert_eq!(raw(&table, "ledger a"), None);
}

#[test]
fn a_condition_of_the_users_that_is_false_is_a_failed_attempt() {
    let table = table();
    Job::create_and_save(&table, "a", version(0)).unwrap();
    for _ in 0..2 {
        Job::reset(&table, "a").unwrap();
        let run = Job::run_job(&table, "a", |job, updates| {
            job.commit_with(entry(&table, "a"));
            updates.version = Some(job.version.unwrap() + 1);
            Ok(())
        });
        if let Err(error) = run {
            assert_err!(Err::<(), _>(error), Error::Failed { .. });
        }
    }
    let job = Job::find(&table, "a").unwrap().unwrap();
    assert_eq!((job.status, job.retry, job.version), (30, 1, Some(1)));
    let error = ErrorLog::read(&job.errors).newest().unwrap().error.clone();
    assert!(error.contains("write 1: ConditionalCheckFailed"), "{error}");
}

#[test]
fn a_transaction_that_dynamodb_never_takes_is_a_failed_attempt() {
    let table = table();
    Job::create_and_save(&table, "a", version(0)).unwrap();
    let job = Job::start(&table, "a").unwrap();
    for n in 0..101 {
        job.commit_with(entry(&table, &n.to_string()));
    }
    assert_err!(job.succeed(), Error::Failed { .. });
    assert_eq!(Job::find(&table, "a").unwrap().unwrap().status, 30);
}

#[test]
fn a_late_attempt_commits_nothing() {
    let table = table();
    Brief::create_and_save(&table, "a", version(0)).unwrap();
    let late = Brief::start(&table, "a").unwrap();
    late.commit_with(entry(&table, "a"));
    let other = other(&table).build();
    until("the lock expires", || {
        Brief::expire_locks(&other).unwrap() == 1
    });
    assert_err!(late.succeed(), Error::LockLost { .. });
    assert_eq!(raw(&table, "ledger a"), None);
}

#[test]
fn wherever_the_line_breaks_all_is_written_once() {
    let table = table();
    let proxy = Proxy::before(&url());
    for attempts in [1, 3] {
        let through = Table::builder(client(&proxy.url, attempts), table.name())
            .index(INDEX)
            .build();
        for fate in [Fate::Throttle, Fate::Fail, Fate::CutBefore, Fate::CutAfter] {
            let id = format!("{attempts} {fate:?}");
            Job::create_and_save(&table, &*id, version(0)).unwrap();
            let mut harmed = false;
            proxy.decide(move |operation| {
                if operation == "TransactWriteItems" && !harmed {
                    harmed = true;
                    return fate;
                }
                Fate::Pass
            });
            Job::run_job(&through, &*id, |job, _| {
                job.commit_with(entry(&table, &id));
                Ok(())
            })
            .unwrap();
            assert!(raw(&table, &format!("ledger {id}")).is_some(), "{id}");
            let job = Job::find(&table, &*id).unwrap().unwrap();
            assert_eq!((job.status, job.retry), (40, 0), "{id}");
        }
    }
}

#[test]
fn a_commit_whose_answer_was_lost_is_one_although_the_next_try_is_refused_for_good() {
    let table = table();
    let proxy = Proxy::before(&url());
    for attempts in [1, 3] {
        let through = Table::builder(client(&proxy.url, attempts), table.name())
            .index(INDEX)
            .build();
        let id = attempts.to_string();
        Job::create_and_save(&table, &*id, version(0)).unwrap();
        let mut fates = [Fate::CutAfter, Fate::Deny].into_iter();
        proxy.decide(move |operation| match operation {
            "TransactWriteItems" => fates.next().unwrap_or(Fate::Pass),
            _ => Fate::Pass,
        });
        Job::run_job(&through, &*id, |job, _| {
            job.commit_with(entry(&table, &id));
            Ok(())
        })
        .unwrap();
        let job = Job::find(&table, &*id).unwrap().unwrap();
        assert_eq!((job.status, job.retry), (40, 0));
        assert!(raw(&table, &format!("ledger {id}")).is_some());
    }
}

step! { Meeting { const MAX_CONFLICTS: i32 = 2; } }

#[test]
fn a_transaction_that_meets_others_each_time_is_released_and_counts_as_failed_in_the_end() {
    let table = table();
    let proxy = Proxy::before(&url());
    let through = Table::builder(client(&proxy.url, 1), table.name())
        .index(INDEX)
        .build();
    Meeting::create_and_save(&table, "a", version(0)).unwrap();
    let conflicts = |left: usize| {
        let mut left = left;
        move |operation: &str| {
            if operation != "TransactWriteItems" || left == 0 {
                return Fate::Pass;
            }
            left -= 1;
            Fate::Conflict
        }
    };
    let book = || {
        Meeting::run_job(&through, "a", |job, _| {
            job.commit_with(entry(&table, "a"));
            Ok(())
        })
    };
    proxy.decide(conflicts(usize::MAX));
    assert_err!(book(), Error::Released { .. });
    let job = Meeting::find(&table, "a").unwrap().unwrap();
    assert_eq!((job.status, job.retry), (10, 0));
    // A worker counts the conflicts of a job.
    let worker = Meeting::worker(&through).threads(1);
    let handle = worker.handle();
    let runs = std::sync::atomic::AtomicUsize::new(0);
    let summary = worker
        .run_blocking(|job, _| {
            job.commit_with(entry(&table, "a"));
            if runs.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 1 {
                handle.shutdown();
            }
            Ok(())
        })
        .unwrap();
    assert_eq!((summary.released, summary.failed), (1, 1));
    // One that passes costs nothing.
    proxy.decide(conflicts(2));
    book().unwrap();
    assert!(raw(&table, "ledger a").is_some());
}

#[test]
fn two_jobs_that_want_one_entry_do_not_both_get_it() {
    let table = table();
    for id in ["a", "b"] {
        Job::create_and_save(&table, id, version(0)).unwrap();
    }
    let begin = Barrier::new(2);
    let succeeded = thread::scope(|scope| {
        let (table, begin) = (&table, &begin);
        let running = ["a", "b"].map(|id| {
            scope.spawn(move || {
                let run = Job::run_job(table, id, |job, _| {
                    job.commit_with(entry(table, "shared"));
                    begin.wait();
                    Ok(())
                });
                usize::from(run.is_ok())
            })
        });
        running
            .into_iter()
            .map(|run| run.join().unwrap())
            .sum::<usize>()
    });
    assert_eq!(succeeded, 1);
}
