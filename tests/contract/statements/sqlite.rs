//! SQLite's statements, and how it runs them.

use diesel::prelude::*;
use diesel::sql_types::Text;
use diesel_status_tracker::StatusTracked;

use super::database::TestDb;
use super::filter::{fill_letters, search_for_mail, with_letters};
use super::jobs::Job;
use super::plans::{fill, searches};
use super::pools::{Log, pool_with};

pub const CLAIM: &[&str] = &["UPDATE"];
pub const CLAIM_NEXT: &[&str] = &["SELECT", "UPDATE"];
/// A batch of ten.
pub const CLAIM_TEN: &[&str] = &["BEGIN", "SELECT", "UPDATE", "COMMIT"];
pub const NONE_LEFT: &[&str] = &["SELECT"];
/// The end of a worker's job with the next claim, and with a claim that finds nothing.
pub const END_AND_CLAIM: &[&str] = &["UPDATE", "SELECT", "UPDATE"];
pub const END_AND_NO_CLAIM: &[&str] = &["UPDATE", "SELECT"];
pub const ROWS_AN_INSERT: usize = 50;
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

/// Also where statistics tell that few rows are ready.
#[test]
fn a_batch_looks_up_its_rows_by_their_keys() {
    let (db, log) = (TestDb::new(), Log::default());
    fill(&db);
    let watched = log.clone();
    let pool = pool_with(db.url(), 1, move |conn| watched.watch(conn));
    for statistics in ["", "ANALYZE"] {
        db.sql(statistics);
        log.take();
        std::mem::forget(Job::claim_next(&pool, 10).unwrap());

        let statements = log.statements();
        let claim = statements.iter().find(|sql| sql.starts_with("UPDATE"));
        let claim = claim.unwrap();
        let plan: Vec<Plan> = diesel::sql_query(format!("EXPLAIN QUERY PLAN {claim}"))
            .load(&mut *db.conn())
            .unwrap();
        let detail = &plan.first().unwrap().detail;
        assert!(detail.contains("(id=?)"), "{claim}: {detail}");
    }
}

#[test]
fn a_search_with_a_condition_uses_an_index_that_begins_with_its_column() {
    let ((db, _), log) = (with_letters(&[], 1), Log::default());
    db.sql("CREATE INDEX letters_ready_kind ON letters (kind, update_at) WHERE lock IS NULL AND status IN (10, 30)");
    fill_letters(&db);
    let watched = log.clone();
    let pool = pool_with(db.url(), 1, move |conn| watched.watch(conn));
    let search = search_for_mail(&pool, &log);

    let plan: Vec<Plan> = diesel::sql_query(format!("EXPLAIN QUERY PLAN {search}"))
        .load(&mut *db.conn())
        .unwrap();

    let [Plan { detail }] = &plan[..] else {
        panic!("{search}: {} steps", plan.len());
    };
    let index = "INDEX letters_ready_kind (kind=?)";
    assert!(detail.contains(index), "{search}: {detail}");
}
