//! The next ready jobs, by the index.

use std::collections::HashSet;
use std::sync::{Barrier, Mutex};
use std::thread;

use aws_sdk_dynamodb::types::AttributeValue;
use dynamodb_status_tracker::Error;
use dynamodb_status_tracker::blocking::BlockingCalls;

use super::database::{builder, entries, other, set, table};
use super::jobs::{Job, assert_err, version};

#[test]
fn a_claim_does_not_change_the_index_and_success_leaves_it() {
    let table = table();
    Job::create_and_save(&table, "a", version(0)).unwrap();
    let before = entries(&table);
    let job = Job::claim_next(&table, 1).unwrap().pop().unwrap();
    job.renew().unwrap();
    assert_eq!(entries(&table), before);
    assert!(Job::claim_next(&table, 1).unwrap().is_empty());
    job.succeed().unwrap();
    assert_eq!(entries(&table), []);
}

#[test]
fn concurrent_batches_share_no_job() {
    let table = builder().shards(4).build();
    Job::create_many(&table, (0..200).map(|n| (n.to_string(), version(0)))).unwrap();
    let (begin, claimed) = (Barrier::new(8), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let table = other(&table).shards(4).build();
                begin.wait();
                loop {
                    let jobs = Job::claim_next(&table, 7).unwrap();
                    if jobs.is_empty() {
                        break;
                    }
                    for job in jobs {
                        claimed.lock().unwrap().push(job.id.clone());
                        job.succeed().unwrap();
                    }
                }
            });
        }
    });
    let claimed = claimed.into_inner().unwrap();
    assert_eq!(claimed.len(), 200);
    assert_eq!(claimed.iter().collect::<HashSet<_>>().len(), 200);
}

#[test]
fn jobs_are_found_in_all_shards() {
    let table = builder().shards(16).build();
    Job::create_many(&table, (0..64).map(|n| (n.to_string(), version(0)))).unwrap();
    let queues: HashSet<_> = entries(&table)
        .iter()
        .map(|entry| super::database::text(entry, "queue"))
        .collect();
    assert!(queues.len() > 4, "{queues:?}");
    let jobs = Job::claim_next(&table, 100).unwrap();
    assert_eq!(jobs.len(), 64);
    for job in jobs {
        job.succeed().unwrap();
    }
}

#[test]
fn an_item_that_cannot_be_read_does_not_block_the_others() {
    let table = table();
    Job::create_many(&table, ["a", "b", "c"].map(|id| (id, version(0)))).unwrap();
    set(
        &table,
        "a",
        "version",
        Some(AttributeValue::S("seven".into())),
    );
    set(
        &table,
        "b",
        "status",
        Some(AttributeValue::S("unheard of".into())),
    );
    let jobs = Job::claim_next(&table, 3).unwrap();
    assert_eq!(
        jobs.iter().map(|job| job.id.as_str()).collect::<Vec<_>>(),
        ["c"]
    );
    for job in jobs {
        job.succeed().unwrap();
    }
    assert_err!(Job::claim_next(&table, 1), Error::Unreadable { .. });
}

#[test]
fn none_is_next_where_none_is_ready() {
    let table = table();
    assert_eq!(Job::run_next(&table, |_, _| Ok(())).unwrap(), None);
    assert!(Job::claim_next(&table, 0).unwrap().is_empty());
}
