//! The table, filled anew for each turn, and the turns.

use std::time::Instant;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use diesel_status_tracker::{StatusTracked, job_table};
use serde_json::json;

use super::options::Options;
use crate::THREADS;

diesel::table! {
    jobs (id) {
        id -> Text,
        status -> Integer,
        create_at -> Timestamp,
        update_at -> Timestamp,
        lock -> Nullable<Text>,
        lock_at -> Nullable<Timestamp>,
        retry -> Integer,
        data -> Nullable<Json>,
        errors -> Json,
    }
}

/// The contest over one connection type. `fill` is SQL that inserts `{count}`
/// rows with status `{status}`.
macro_rules! contest {
    ($module:ident, $Connection:ident, $migrations:literal, $clear:literal, $fill:literal, $settle:expr, $snapshot:literal) => {
        pub mod $module {
            use super::*;

            const MIGRATIONS: EmbeddedMigrations = embed_migrations!($migrations);

            #[derive(Queryable, Selectable)]
            #[diesel(table_name = jobs)]
            pub struct Job {
                #[expect(dead_code, reason = "it is read, as any job's would be")]
                id: String,
            }

            #[derive(Default, Insertable, AsChangeset)]
            #[diesel(table_name = jobs)]
            pub struct JobUpdates {
                data: Option<serde_json::Value>,
            }

            impl StatusTracked for Job {
                type Job = Job;
                const PENDING: i32 = 10;
                const IN_PROGRESS: i32 = 20;
                const FAILED: i32 = 30;
                const SUCCEEDED: i32 = 40;
                const IGNORED: i32 = 50;
            }

            job_table! {
                Job in jobs { key: (id: String), status: i32, updates: JobUpdates, connections: [$Connection], status_field: none }
            }

            type DbPool = Pool<ConnectionManager<$Connection>>;

            fn fill(pool: &DbPool, finished: usize, jobs: usize) {
                let mut conn = pool.get().expect("a connection");
                conn.batch_execute($clear).expect("an empty table");
                for (status, prefix, count) in [(40, "done", finished), (10, "job", jobs)] {
                    let sql = $fill
                        .replace("{status}", &status.to_string())
                        .replace("{prefix}", prefix)
                        .replace("{count}", &count.to_string());
                    conn.batch_execute(&sql).expect("rows");
                }
                for statement in $settle {
                    conn.batch_execute(statement).expect("statistics");
                }
            }

            fn worker(pool: &DbPool, batch: usize, updates: bool) {
                let worker = Job::worker(pool).threads(THREADS).batch(batch);
                worker
                    .run_until_empty(|_, changes| {
                        if updates {
                            changes.data = Some(json!({"version": 1}));
                        }
                        Ok(())
                    })
                    .expect("all is done");
            }

            pub fn contest(options: &Options, by_hand: fn(&DbPool, usize, bool)) {
                let name = stringify!($module);
                if options.database.as_deref().is_some_and(|only| only != name) {
                    return;
                }
                let Some((pool, _folder)) = $crate::drain::table::$module() else { return };
                pool.get().expect("a connection").run_pending_migrations(MIGRATIONS).expect("migrations");
                for batch in &options.batches {
                    let mut rates = [const { Vec::new() }; 2];
                    for round in 0..options.rounds {
                        for turn in 0..2 {
                            let way = (round + turn) % 2;
                            fill(&pool, options.finished, options.jobs);
                            let mut looking = options.snapshot.then(|| pool.get().expect("a connection"));
                            if let Some(conn) = &mut looking {
                                conn.batch_execute($snapshot).expect("a snapshot");
                            }
                            let begun = Instant::now();
                            [worker, by_hand][way](&pool, *batch, options.updates);
                            let rate = options.jobs as f64 / begun.elapsed().as_secs_f64();
                            if let Some(conn) = &mut looking {
                                conn.batch_execute("COMMIT").expect("its end");
                            }
                            let done: i64 = jobs::table
                                .filter(jobs::status.eq(40))
                                .count()
                                .get_result(&mut pool.get().expect("a connection"))
                                .expect("a count");
                            let who = ["worker", "program by hand"][way];
                            assert_eq!(done as usize, options.jobs + options.finished, "done, by the {who}");
                            rates[way].push(rate);
                        }
                    }
                    let [worker, by_hand] = rates.map(median);
                    println!("{name:<12} {batch:>6} {worker:>10.0} {by_hand:>10.0} {:>16.2}", worker / by_hand);
                }
            }
        }
    };
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

#[cfg(feature = "sqlite")]
contest!(
    sqlite,
    SqliteConnection,
    "migrations/sqlite",
    "DELETE FROM jobs",
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
     INSERT INTO jobs (id, status, create_at, update_at, errors)
     SELECT printf('{prefix}-%08d', i), {status}, strftime('%Y-%m-%d %H:%M:%f', 'now'), strftime('%Y-%m-%d %H:%M:%f', 'now'), '{}'
     FROM n WHERE {count} > 0",
    ["ANALYZE"],
    "BEGIN; SELECT count(*) FROM jobs"
);
#[cfg(feature = "postgres")]
contest!(
    postgres,
    PgConnection,
    "migrations/postgres",
    "TRUNCATE TABLE jobs",
    "INSERT INTO jobs (id, status, create_at, update_at)
     SELECT '{prefix}-' || lpad(i::text, 8, '0'), {status}, now(), now() + i * interval '1 microsecond' FROM generate_series(1, {count}) i",
    ["VACUUM ANALYZE jobs", "CHECKPOINT"],
    "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM jobs"
);
#[cfg(feature = "mysql")]
contest!(
    mysql,
    MysqlConnection,
    "migrations/mysql",
    "TRUNCATE TABLE jobs",
    "INSERT INTO jobs (id, status, create_at, update_at, errors)
     SELECT CONCAT('{prefix}-', LPAD(seq, 8, '0')), {status}, UTC_TIMESTAMP(6), UTC_TIMESTAMP(6) + INTERVAL seq MICROSECOND, '{}'
     FROM seq_1_to_2000000 WHERE seq <= {count}",
    ["ANALYZE TABLE jobs"],
    "START TRANSACTION WITH CONSISTENT SNAPSHOT"
);

/// A pool, and the folder of its file, which is gone at the end.
type Opened<C> = (Pool<ConnectionManager<C>>, Option<tempfile::TempDir>);

/// As many connections as the worker may use at a time.
#[cfg(feature = "sqlite")]
fn sqlite() -> Option<Opened<SqliteConnection>> {
    use diesel_status_tracker::sqlite::Customizer;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("drain.db");
    let pool = Pool::builder()
        .max_size(THREADS as u32 + 3)
        .test_on_check_out(false)
        .connection_customizer(Box::new(Customizer::default()))
        .build(ConnectionManager::new(file.to_string_lossy()));
    Some((pool.expect("a pool"), Some(folder)))
}

#[cfg(any(feature = "postgres", feature = "mysql"))]
fn server<C: diesel::r2d2::R2D2Connection + Send + 'static>(variable: &str) -> Option<Opened<C>> {
    let Ok(url) = std::env::var(variable) else {
        println!(
            "{variable} is not set: run `scripts/with-servers cargo bench --all-features --bench drain`"
        );
        return None;
    };
    let pool = Pool::builder()
        .max_size(THREADS as u32 + 3)
        .test_on_check_out(false)
        .build(ConnectionManager::new(url));
    Some((pool.expect("a pool"), None))
}

#[cfg(feature = "postgres")]
fn postgres() -> Option<Opened<PgConnection>> {
    server("POSTGRES_URL")
}

#[cfg(feature = "mysql")]
fn mysql() -> Option<Opened<MysqlConnection>> {
    server("MYSQL_URL")
}
