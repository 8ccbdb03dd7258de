//! What only a server with several writers can get wrong: a deadlock.

use std::sync::Barrier;

use diesel_status_tracker::StatusTracked;

use super::database::TestDb;
use super::jobs::{Job, JobUpdates, Status};

#[test]
fn two_calls_that_create_the_same_rows_in_opposite_order_both_succeed() {
    let db = TestDb::new();
    let pool = db.pool(2);
    // Each holds what the other goes on with: one statement's worth of rows.
    let barrier = Barrier::new(2);
    let create = |first: usize, second: usize| {
        let keys = (first..first + 500).chain(std::iter::once_with(|| {
            barrier.wait();
            second
        }));
        let keys = keys.chain(second + 1..second + 500);
        Job::create_many(&pool, keys.map(|n| (n.to_string(), JobUpdates::default())))
    };

    let (one, other) = std::thread::scope(|scope| {
        let one = scope.spawn(|| create(0, 500));
        let other = scope.spawn(|| create(500, 0));
        (one.join().unwrap(), other.join().unwrap())
    });

    assert_eq!(one.unwrap() + other.unwrap(), 1000);
    assert_eq!(
        Job::count_by_status(&pool).unwrap(),
        [(Status::Pending, 1000)]
    );
}
