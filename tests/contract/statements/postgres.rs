//! PostgreSQL's statements, and how it runs them.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::Text;
use diesel_status_tracker::StatusTracked;

use super::backend::SPELLINGS;
use super::columns::Shape;
use super::columns::own_names::{Invoice, InvoiceUpdates, invoices};
use super::database::{TestConnection, TestDb, TestPool};
use super::filter::{Letter, fill_letters, letters, search_for_mail, with_letters};
use super::jobs::{Job, JobUpdates, Status, jobs};
use super::keys::{Badge, BadgeUpdates, with_badges};
use super::plans::{fill, searches};
use super::pools::{Log, pool_with};
use super::shapes::{Form, MOST_KEPT, forms, many_shapes, shape};

pub const CLAIM: &[&str] = &["UPDATE"];
pub const CLAIM_NEXT: &[&str] = &["WITH"];
/// What the texts hold of updates that wait for a moment, and for none.
pub const BRIEFLY: &str = "'lock_timeout', '250ms'";
pub const NEVER: &str = "'lock_timeout', '1ms'";
/// A batch of ten.
pub const CLAIM_TEN: &[&str] = &["WITH"];
/// A row may be ready whose update the database drops: so there is a look.
pub const NONE_LEFT: &[&str] = &["WITH", "SELECT"];
/// The end of a worker's job with the next claim, and with a claim that finds nothing.
pub const END_AND_CLAIM: &[&str] = &["WITH"];
pub const END_AND_NO_CLAIM: &[&str] = &["WITH"];
pub const ROWS_AN_INSERT: usize = 500;
/// A transaction that inserts a row, and its job's success.
pub const TRANSACTION: &[&str] = &["BEGIN", "INSERT", "UPDATE", "COMMIT"];
/// Which of the requests of a commit is the commit.
pub const COMMIT: usize = 1;

#[derive(QueryableByName)]
struct Plan {
    #[diesel(sql_type = Text, column_name = "QUERY PLAN")]
    line: String,
}

/// Reads every row, where otherwise chance says which rows the planner knows of.
const ANALYZE: &str = "SET default_statistics_target = 1000; ANALYZE jobs";

/// The plan that serves any parameters, which is the one that lasts.
fn generic_plan(conn: &mut TestConnection, sql: &str) -> String {
    let parameters = (1..).take_while(|n| sql.contains(&format!("${n}"))).count();
    let nulls = vec!["NULL"; parameters].join(", ");
    conn.batch_execute(&format!(
        "SET plan_cache_mode = force_generic_plan; PREPARE search AS {sql}"
    ))
    .unwrap();
    let explain = diesel::sql_query(format!("EXPLAIN EXECUTE search ({nulls})"));
    let plan: Vec<Plan> = explain.load(conn).unwrap();
    conn.batch_execute("DEALLOCATE search").unwrap();
    plan.into_iter().map(|row| row.line + "\n").collect()
}

#[test]
fn searches_use_the_partial_indexes() {
    let (db, log) = (TestDb::new(), Log::default());
    fill(&db);
    db.sql(ANALYZE);
    let watched = log.clone();
    let pool = pool_with(db.url(), 1, move |conn| watched.watch(conn));
    let [next, expired] = searches(&pool, &log);

    for (sql, index) in [(&next, "jobs_ready"), (&expired, "jobs_locked")] {
        let plan = generic_plan(&mut db.conn(), sql);
        assert!(plan.contains(index), "{sql}:\n{plan}");
        assert!(!plan.contains("Seq Scan on jobs"), "{sql}:\n{plan}");
    }
    // Of the locked rows there are few at a time; those that are ready may be many.
    let plan = generic_plan(&mut db.conn(), &next);
    assert!(!plan.contains("Sort"), "{next}:\n{plan}");
}

#[test]
fn a_search_with_a_condition_uses_an_index_that_begins_with_its_column() {
    let ((db, _), log) = (with_letters(&[], 1), Log::default());
    db.sql("CREATE INDEX letters_ready_kind ON letters (kind, update_at) WHERE lock IS NULL AND status IN (10, 30)");
    fill_letters(&db);
    db.sql("SET default_statistics_target = 1000; ANALYZE letters");
    let watched = log.clone();
    let pool = pool_with(db.url(), 1, move |conn| watched.watch(conn));
    let search = search_for_mail(&pool, &log);

    let plan = generic_plan(&mut db.conn(), &search);

    assert!(plan.contains("letters_ready_kind"), "{search}:\n{plan}");
    assert!(!plan.contains("Seq Scan on letters"), "{search}:\n{plan}");
    assert!(!plan.contains("Sort"), "{search}:\n{plan}");
}

#[test]
fn a_list_in_a_condition_is_one_text_whatever_its_length() {
    let ((db, _), log) = (with_letters(&["mail"; 3], 1), Log::default());
    let watched = log.clone();
    let pool = pool_with(db.url(), 1, move |conn| watched.watch(conn));
    let mut texts = Vec::new();
    for n in 1..=3 {
        log.take();
        let any = Letter::filter(letters::kind.eq_any(vec!["mail"; n]));
        any.run_next(&pool, |_, _| Ok(())).unwrap().unwrap();
        texts.push(log.statements().swap_remove(0));
    }
    assert!(texts.iter().all(|text| *text == texts[0]), "{texts:?}");
}

#[test]
fn a_large_batch_reads_no_finished_rows() {
    let (db, log) = (TestDb::new(), Log::default());
    fill(&db);
    let ready = (0..5000).map(|n| (format!("more {n}"), JobUpdates::default()));
    Job::create_many(&db.pool(1), ready).unwrap();
    db.sql(ANALYZE);
    let watched = log.clone();
    let pool = pool_with(db.url(), 1, move |conn| watched.watch(conn));

    assert_eq!(Job::claim_next(&pool, 1000).unwrap().len(), 1000);

    let claim = log.statements().swap_remove(0);
    let plan = generic_plan(&mut db.conn(), &claim);
    assert!(!plan.contains("Seq Scan on jobs"), "{claim}:\n{plan}");
}

#[derive(QueryableByName)]
struct Prepared {
    #[diesel(sql_type = Text)]
    statement: String,
    #[diesel(sql_type = Text)]
    types: String,
}

/// What this session keeps prepared, and the types of the parameters.
fn prepared(conn: &mut TestConnection) -> Vec<Prepared> {
    diesel::sql_query(
        "SELECT statement, parameter_types::text AS types FROM pg_prepared_statements",
    )
    .load(conn)
    .unwrap()
}

#[test]
fn a_key_is_compared_with_the_type_of_its_column() {
    // A VARCHAR and a CHAR.
    for (spelling, padded) in SPELLINGS.iter().zip([0, 1]) {
        let db = with_badges(spelling);
        let pool = db.pool(1);

        Badge::create_and_save(&pool, "a", BadgeUpdates::default()).unwrap();
        Badge::run_job(&pool, "a", |_, _| Ok(())).unwrap();
        Badge::find(&pool, "a").unwrap().unwrap();

        // With another type the key would be looked for in every row.
        let by_key = prepared(&mut pool.get().unwrap());
        let by_key = by_key
            .iter()
            .filter(|of| of.statement.contains(r#""code" ="#));
        let counts = by_key.map(|of| of.types.matches("character").count());
        assert_eq!(counts.collect::<Vec<_>>(), [padded; 3]);
    }
}

#[test]
fn a_session_keeps_few_statements_whatever_is_sent() {
    let (_db, pool, _log) = forms();
    Form::create_and_save(&pool, 1, shape(0)).unwrap();
    let attempt = Form::start(&pool, 1).unwrap();

    many_shapes().for_each(|bits| attempt.save(shape(bits)).unwrap());
    (1..=1000).for_each(|n| assert!(Form::claim_next(&pool, n).unwrap().is_empty()));

    let prepared = prepared(&mut pool.get().unwrap());
    assert!(prepared.len() <= 3 * MOST_KEPT, "{}", prepared.len());
    attempt.succeed().unwrap();
}

const PLANS: [&str; 4] = [
    "SET enable_hashjoin = off; SET enable_mergejoin = off",
    "SET enable_nestloop = off; SET enable_mergejoin = off",
    "SET enable_nestloop = off; SET enable_hashjoin = off",
    "SET enable_indexscan = off; SET enable_bitmapscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off",
];

/// Calls `claim` with a pool for each plan, before `table` is analyzed and after.
fn under_each_plan(db: &TestDb, table: &str, mut claim: impl FnMut(&TestPool, &str)) {
    for is_analyzed in [false, true] {
        if is_analyzed {
            db.sql(&format!("ANALYZE {table}"));
        }
        for plan in PLANS {
            let pool = pool_with(db.url(), 1, |conn| conn.batch_execute(plan).unwrap());
            claim(&pool, plan);
        }
    }
}

#[test]
fn a_claim_never_takes_more_than_was_asked_for() {
    let db = TestDb::new();
    let rows = (0..5000).map(|n| (n.to_string(), JobUpdates::default()));
    Job::create_many(&db.pool(1), rows).unwrap();
    // The first in the order are the last in the table.
    db.sql("UPDATE jobs SET update_at = update_at - CAST(id AS INTEGER) * INTERVAL '1 minute'");
    let mut next = (0..5000).rev().map(|n| n.to_string());
    for n in [1, 7] {
        under_each_plan(&db, "jobs", |pool, plan| {
            let batch = Job::claim_next(pool, n).unwrap();

            let ids: Vec<_> = batch.iter().map(|job| job.id.clone()).collect();
            let expected: Vec<_> = next.by_ref().take(n).collect();
            assert_eq!(ids, expected, "{plan}");
            let held = jobs::table.filter(jobs::lock.is_not_null()).count();
            let held: i64 = held.get_result(&mut *db.conn()).unwrap();
            assert_eq!(held, n as i64, "{plan}");
            for job in batch {
                job.succeed().unwrap();
            }
        });
    }
    let counts = Job::count_by_status(&db.pool(1)).unwrap();
    assert!(counts.contains(&(Status::Succeeded, 8 + 56)), "{counts:?}");
}

#[test]
fn a_claim_by_a_composite_key_never_takes_more_than_was_asked_for() {
    let db = TestDb::with_table(Invoice::CREATE);
    // Each part of a key stands in many keys.
    let key = |n: i64| (n % 70, (n / 70).to_string());
    let rows = (0..3500).map(|n| (key(n), InvoiceUpdates::default()));
    Invoice::create_many(&db.pool(1), rows).unwrap();
    db.sql("UPDATE invoices SET priority = tenant * 50 + CAST(number AS INTEGER)");
    let mut left = 3500;
    under_each_plan(&db, "invoices", |pool, plan| {
        let batch = Invoice::claim_next(pool, 7).unwrap();

        left -= 7;
        let priorities: Vec<_> = batch.iter().map(|invoice| invoice.priority).collect();
        let expected: Vec<_> = (left..left + 7).rev().collect();
        assert_eq!(priorities, expected, "{plan}");
        let held = invoices::table.filter(invoices::lease.is_not_null());
        assert_eq!(
            held.count().get_result(&mut *db.conn()),
            Ok(7_i64),
            "{plan}"
        );
        for invoice in batch {
            invoice.succeed().unwrap();
        }
    });
}

#[test]
fn a_row_that_another_transaction_has_locked_is_not_waited_for() {
    let db = TestDb::new();
    let pool = db.pool(1);
    let rows = (0..5).map(|n| (n.to_string(), JobUpdates::default()));
    Job::create_many(&pool, rows).unwrap();

    let batch = db.conn().transaction(|conn| {
        let locked = jobs::table.filter(jobs::id.eq_any(["1", "3"])).for_update();
        assert_eq!(locked.select(jobs::id).load::<String>(conn)?.len(), 2);
        // It returns, with the lock still held.
        QueryResult::Ok(Job::claim_next(&pool, 5).unwrap())
    });

    let mut ids: Vec<_> = batch.iter().flatten().map(|job| &*job.id).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["0", "2", "4"]);
    let later = Job::claim_next(&pool, 5).unwrap();
    assert_eq!(later.len(), 2);
}
