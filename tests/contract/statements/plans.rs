//! What the plans of the databases are asked of.

use diesel::prelude::*;
use diesel_status_tracker::StatusTracked;

use super::database::{TestDb, TestPool};
use super::jobs::{Job, JobUpdates, jobs};
use super::pools::Log;

/// Adds 100,000 finished jobs, some that are ready, and some that run.
pub fn fill(db: &TestDb) {
    db.sql("CREATE TABLE digits (n INTEGER NOT NULL)");
    db.sql("INSERT INTO digits VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)");
    db.sql(
        "INSERT INTO jobs (id, status, create_at, update_at, retry, errors)
         SELECT 1000000 + 10000 * a.n + 1000 * b.n + 100 * c.n + 10 * d.n + e.n, 40,
             CURRENT_TIMESTAMP, CURRENT_TIMESTAMP, 0, '{}'
         FROM digits a, digits b, digits c, digits d, digits e",
    );
    let pool = db.pool(1);
    let rows = (0..150).map(|n| (format!("ready {n}"), JobUpdates::default()));
    assert_eq!(Job::create_many(&pool, rows).unwrap(), 150);
    for n in 0..20 {
        std::mem::forget(Job::start(&pool, format!("ready {n}")).unwrap());
    }
    let count = jobs::table.count().get_result(&mut *db.conn());
    assert_eq!(count, Ok(100_150_i64));
}

/// The statements that look for the next job, and for expired locks.
pub fn searches(pool: &TestPool, log: &Log) -> [String; 2] {
    log.take();
    Job::run_next(pool, |_, _| Ok(())).unwrap().unwrap();
    let next = log.statements().swap_remove(0);
    Job::expire_locks(pool).unwrap();
    let expired = log.statements().swap_remove(0);
    [next, expired]
}
