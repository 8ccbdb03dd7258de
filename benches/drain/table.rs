//! The table, and a worker that drains it.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use diesel_status_tracker::{StatusTracked, job_table};
use serde_json::json;

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

/// The table over one connection type. `fill` is SQL that inserts `{count}`
/// rows with status `{status}`; `settle` is for the planner; `snapshot` begins a transaction
/// that sees the table as it is.
macro_rules! drainable {
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

            pub type DbPool = Pool<ConnectionManager<$Connection>>;

            pub const SNAPSHOT: &str = $snapshot;

            pub fn clear(pool: &DbPool) {
                let mut conn = pool.get().expect("a connection");
                conn.batch_execute($clear).expect("an empty table");
            }

            /// Adds rows that are done, and jobs, whose keys begin so.
            pub fn fill(pool: &DbPool, finished: usize, jobs: usize, prefix: &str) {
                let mut conn = pool.get().expect("a connection");
                let done = format!("done-{prefix}");
                for (status, prefix, count) in [(40, &*done, finished), (10, prefix, jobs)] {
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

            pub fn worker(pool: &DbPool, threads: usize, batch: usize, updates: bool) {
                let worker = Job::worker(pool).threads(threads).batch(batch);
                worker
                    .run_until_empty(|_, changes| {
                        if updates {
                            changes.data = Some(json!({"version": 1}));
                        }
                        Ok(())
                    })
                    .expect("all is done");
            }

            /// How many jobs are done.
            pub fn done(pool: &DbPool) -> usize {
                let mut conn = pool.get().expect("a connection");
                let done = jobs::table.filter(jobs::status.eq(40)).count();
                done.get_result::<i64>(&mut conn).expect("a count") as usize
            }

            /// A pool of this size over a migrated database, and the folder of its file.
            /// `None` where no server is named.
            pub fn open(connections: usize) -> Option<(DbPool, Option<tempfile::TempDir>)> {
                let opened = super::$module(connections)?;
                let mut conn = opened.0.get().expect("a connection");
                conn.run_pending_migrations(MIGRATIONS).expect("migrations");
                Some(opened)
            }
        }
    };
}

#[cfg(feature = "sqlite")]
drainable!(
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
drainable!(
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
drainable!(
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

#[cfg(feature = "sqlite")]
fn sqlite(connections: usize) -> Option<Opened<SqliteConnection>> {
    use diesel_status_tracker::sqlite::Customizer;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("drain.db");
    let pool = Pool::builder()
        .max_size(connections as u32)
        .test_on_check_out(false)
        .connection_customizer(Box::new(Customizer::default()))
        .build(ConnectionManager::new(file.to_string_lossy()));
    Some((pool.expect("a pool"), Some(folder)))
}

#[cfg(any(feature = "postgres", feature = "mysql"))]
fn server<C: diesel::r2d2::R2D2Connection + Send + 'static>(
    variable: &str,
    connections: usize,
) -> Option<Opened<C>> {
    let Ok(url) = std::env::var(variable) else {
        println!(
            "{variable} is not set: run scripts/with-servers cargo bench --all-features, and so on"
        );
        return None;
    };
    let pool = Pool::builder()
        .max_size(connections as u32)
        .test_on_check_out(false)
        .build(ConnectionManager::new(url));
    Some((pool.expect("a pool"), None))
}

#[cfg(feature = "postgres")]
fn postgres(connections: usize) -> Option<Opened<PgConnection>> {
    server("POSTGRES_URL", connections)
}

#[cfg(feature = "mysql")]
fn mysql(connections: usize) -> Option<Opened<MysqlConnection>> {
    server("MYSQL_URL", connections)
}
