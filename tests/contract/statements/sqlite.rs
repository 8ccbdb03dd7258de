//! SQLite's statements, and how it runs them.

use diesel::prelude::*;
use diesel::sql_types::Text;

use super::database::TestDb;
use super::plans::{fill, searches};
use super::pools::{Log, pool_with};

pub const CLAIM: &[&str] = &["UPDATE"];
pub const CLAIM_NEXT: &[&str] = &["SELECT", "UPDATE"];
/// A batch of ten.
pub const CLAIM_TEN: &[&str] = &[
    "BEGIN", "SELECT", "UPDATE", "UPDATE", "UPDATE", "UPDATE", "UPDATE", "UPDATE", "UPDATE",
    "UPDATE", "UPDATE", "UPDATE", "COMMIT",
];
pub const NONE_LEFT: &[&str] = &["SELECT"];
pub const ROWS_AN_INSERT: usize = 1;
/// A transaction that inserts a row, and its job's success.
pub const TRANSACTION: &[&str] = &[
    "BEGIN",
    "SAVEPOINT",
    // A look at the lock, which must not have expired while others wrote.
    "UPDATE",
    "INSERT",
    "RELEASE",
    "UPDATE",
    "COMMIT",
];

#[derive(QueryableByName)]
struct Plan {
    #[diesel(sql_type = Text)]
    detail: String,
}

#[test]
fn searches_use_the_partial_indexes() {
    let (db, log) = (TestDb::new(), Log::default());
    fill(&db);
    let watched = log.clone();
    let pool = pool_with(db.url(), 1, move |conn| watched.watch(conn));
    let [next, expired] = searches(&pool, &log);

    for (sql, index) in [
        (next, "INDEX jobs_ready"),
        (expired, "INDEX jobs_locked (lock_at<?)"),
    ] {
        let plan: Vec<Plan> = diesel::sql_query(format!("EXPLAIN QUERY PLAN {sql}"))
            .load(&mut *db.conn())
            .unwrap();
        let [Plan { detail }] = &plan[..] else {
            panic!("{sql}: {} steps", plan.len());
        };
        assert!(detail.contains(index), "{sql}: {detail}");
    }
}
