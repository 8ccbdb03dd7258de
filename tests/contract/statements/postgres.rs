//! PostgreSQL's statements, and how it runs them.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::Text;
use diesel_status_tracker::StatusTracked;

use super::database::{TestConnection, TestDb};
use super::jobs::{Job, JobUpdates, Status, jobs};
use super::plans::{fill, searches};
use super::pools::{Log, pool_with};

pub const CLAIM: &[&str] = &["UPDATE"];
pub const CLAIM_NEXT: &[&str] = &["WITH"];
pub const CLAIM_TEN: &[&str] = &["WITH"];
pub const NONE_LEFT: &[&str] = &["WITH"];

#[derive(QueryableByName)]
struct Plan {
    #[diesel(sql_type = Text, column_name = "QUERY PLAN")]
    line: String,
}

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
    db.sql("ANALYZE jobs");
    let watched = log.clone();
    let pool = pool_with(db.url(), 1, move |conn| watched.watch(conn));
    let [next, expired] = searches(&pool, &log);

    for (sql, index) in [(next, "using jobs_ready"), (expired, "on jobs_locked")] {
        let plan =
            generic_plan(&mut db.conn(), &sql).replace("using jobs_locked", "on jobs_locked");
        assert!(plan.contains(index), "{sql}:\n{plan}");
        assert!(!plan.contains("Seq Scan on jobs"), "{sql}:\n{plan}");
        assert!(!plan.contains("Sort"), "{sql}:\n{plan}");
    }
}

#[test]
fn a_claim_takes_no_more_than_it_should_whatever_the_plan() {
    let plans = [
        "SET enable_hashjoin = off; SET enable_mergejoin = off",
        "SET enable_nestloop = off; SET enable_mergejoin = off",
        "SET enable_nestloop = off; SET enable_hashjoin = off",
        "SET enable_indexscan = off; SET enable_bitmapscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off",
    ];
    let db = TestDb::new();
    let rows = (0..5000).map(|n| (n.to_string(), JobUpdates::default()));
    Job::create_many(&db.pool(1), rows).unwrap();
    for is_analyzed in [false, true] {
        if is_analyzed {
            db.sql("ANALYZE jobs");
        }
        for plan in plans {
            let pool = pool_with(db.url(), 1, |conn| conn.batch_execute(plan).unwrap());

            let claimed = Job::run_next(&pool, |job, _| {
                let held = jobs::table
                    .filter(jobs::lock.is_not_null())
                    .select(jobs::id);
                let held: Vec<String> = held.load(&mut *db.conn())?;
                assert_eq!(held, [job.id.as_str()], "{plan}");
                Ok(())
            });

            assert_eq!(claimed.unwrap(), Some(()));
        }
    }
    let counts = Job::count_by_status(&db.pool(1)).unwrap();
    assert!(counts.contains(&(Status::Succeeded, 8)), "{counts:?}");
}
