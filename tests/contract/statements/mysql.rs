//! MySQL's statements, and how it runs them.

use diesel::prelude::*;
use diesel::sql_types::{Nullable, Text};

use super::database::{TestConnection, TestDb};
use super::filter::{fill_letters, search_for_mail, with_letters};
use super::plans::{fill, searches};
use super::pools::{Log, pool_with};

pub const CLAIM: &[&str] = &["UPDATE", "SELECT"];
pub const CLAIM_NEXT: &[&str] = &["SELECT", "UPDATE", "SELECT"];
/// What the texts hold of updates that wait for a moment, and for none.
pub const BRIEFLY: &str = "innodb_lock_wait_timeout = 1 ";
pub const NEVER: &str = "innodb_lock_wait_timeout = 0 ";
/// A batch of ten.
pub const CLAIM_TEN: &[&str] = &["SELECT", "BEGIN", "SELECT", "UPDATE", "COMMIT", "SELECT"];
pub const NONE_LEFT: &[&str] = &["SELECT"];
/// The end of a worker's job with the next claim, and with a claim that finds nothing.
pub const END_AND_CLAIM: &[&str] = &["UPDATE", "SELECT", "UPDATE", "SELECT"];
pub const END_AND_NO_CLAIM: &[&str] = &["UPDATE"];
pub const ROWS_AN_INSERT: usize = 500;
/// A transaction that inserts a row, and its job's success.
pub const TRANSACTION: &[&str] = &[
    "SET",
    "BEGIN",
    "SAVEPOINT",
    "INSERT",
    "RELEASE",
    "UPDATE",
    "COMMIT",
    "SET",
];
/// Which of the requests of a commit is the commit: Diesel allows several
/// statements first.
pub const COMMIT: usize = 2;

#[derive(Debug, QueryableByName)]
struct Plan {
    #[diesel(sql_type = Nullable<Text>)]
    table: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    key: Option<String>,
}

#[derive(QueryableByName)]
struct Variable {
    #[diesel(sql_type = Text, column_name = "Value")]
    value: String,
}

/// How many rows this session has read so far.
fn rows_read(conn: &mut TestConnection) -> u64 {
    let counters = diesel::sql_query("SHOW SESSION STATUS LIKE 'Handler_read%'");
    let counters: Vec<Variable> = counters.load(conn).unwrap();
    counters
        .iter()
        .map(|counter| counter.value.parse::<u64>().unwrap())
        .sum()
}

#[test]
fn searches_use_the_indexes() {
    let (db, log) = (TestDb::new(), Log::default());
    fill(&db);
    let watched = log.clone();
    let pool = pool_with(db.url(), 1, move |conn| watched.watch(conn));

    let before = rows_read(&mut pool.get().unwrap());
    let [next, expired] = searches(&pool, &log);
    let read = rows_read(&mut pool.get().unwrap()) - before;

    assert!(read < 1000, "{read} rows were read");
    for sql in [next, expired] {
        // An EXPLAIN takes no parameters: a limit and a time, both numbers.
        let explain = format!("EXPLAIN {}", sql.replace('?', "100"));
        let plan: Vec<Plan> = diesel::sql_query(explain).load(&mut *db.conn()).unwrap();
        let tables = plan
            .iter()
            .filter(|step| step.table.as_deref() == Some("jobs"));
        let keys: Vec<_> = tables.map(|step| step.key.as_deref()).collect();
        let is_meant = |key: &Option<&str>| *key == Some("jobs_ready");
        assert!(
            !keys.is_empty() && keys.iter().all(is_meant),
            "{sql}: {plan:?}"
        );
    }
}

#[test]
fn a_search_with_a_condition_uses_an_index_that_begins_with_its_column() {
    let ((db, _), log) = (with_letters(&[], 1), Log::default());
    db.sql("CREATE INDEX letters_ready_kind ON letters (status, kind, update_at)");
    fill_letters(&db);
    let watched = log.clone();
    let pool = pool_with(db.url(), 1, move |conn| watched.watch(conn));

    let before = rows_read(&mut pool.get().unwrap());
    let search = search_for_mail(&pool, &log);
    let read = rows_read(&mut pool.get().unwrap()) - before;

    assert!(read < 1000, "{read} rows were read");
    let text = ["'mail'", "100"].repeat(2).into_iter();
    let text = text.fold(search.clone(), |text, value| text.replacen('?', value, 1));
    let plan: Vec<Plan> = diesel::sql_query(format!("EXPLAIN {text}"))
        .load(&mut *db.conn())
        .unwrap();
    let is_meant = |step: &Plan| step.key.as_deref() == Some("letters_ready_kind");
    assert!(plan.iter().any(is_meant), "{search}: {plan:?}");
}
