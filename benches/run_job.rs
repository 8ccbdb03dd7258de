//! `run_job` against the same two statements by hand, as `cargo bench --bench
//! run_job` runs it: `--features postgres` with `POSTGRES_URL` set takes
//! PostgreSQL in.
//!
//! Three ways to run a job that does nothing, each with a claim, a finish, a
//! fencing token and a connection of the pool for each statement:
//!
//! - `run_job`: this crate;
//! - `by hand`: what a user would write with `diesel::update`;
//! - `floor`: the two statements as fixed SQL, prepared once.
//!
//! They take turns within one run, in short rounds, and the medians of the
//! rounds are compared: so that whatever else the machine does hits all three.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::r2d2::{ConnectionManager, Pool};
use diesel::sql_types::{Integer, Json, Nullable, Text, Timestamp};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
#[cfg(feature = "sqlite")]
use diesel_status_tracker::sqlite::Customizer;
use diesel_status_tracker::{StatusTracked, job_table};

const ROUNDS: usize = 15;
const ROUND: Duration = Duration::from_millis(400);
const WAYS: [&str; 3] = ["run_job", "by hand", "floor"];

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

/// Fixed SQL around the two values that vary, as `claim` and `finish` need it.
struct Fixed<const N: usize> {
    sql: [&'static str; 3],
    first: String,
    second: String,
}

impl<const N: usize> QueryId for Fixed<N> {
    type QueryId = Fixed<N>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl<const N: usize> Query for Fixed<N> {
    type SqlType = (Text, Text, Nullable<Timestamp>, Integer, Json);
}

impl<const N: usize, Conn> RunQueryDsl<Conn> for Fixed<N> {}

impl<const N: usize, DB: diesel::backend::Backend> QueryFragment<DB> for Fixed<N>
where
    DB: diesel::sql_types::HasSqlType<Text>,
    String: diesel::serialize::ToSql<Text, DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        out.push_sql(self.sql[0]);
        out.push_bind_param::<Text, _>(&self.first)?;
        out.push_sql(self.sql[1]);
        out.push_bind_param::<Text, _>(&self.second)?;
        out.push_sql(self.sql[2]);
        Ok(())
    }
}

fn token() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// The contest over one connection type: Diesel's statements cannot be
/// written once for all without more bounds than statements.
macro_rules! contest {
    ($module:ident, $Connection:ident, $migrations:literal, $now:literal) => {
        mod $module {
            use super::*;

            const MIGRATIONS: EmbeddedMigrations = embed_migrations!($migrations);

            #[derive(Queryable, Selectable)]
            #[diesel(table_name = jobs)]
            struct Job {
                id: String,
            }

            #[derive(Default, Insertable, AsChangeset)]
            #[diesel(table_name = jobs)]
            struct JobUpdates {
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

            fn run_job(pool: &DbPool, id: &str) {
                Job::run_job(pool, id, |job, _| Ok(assert_eq!(job.id, id))).expect("the job runs");
            }

            fn by_hand(pool: &DbPool, id: &str) {
                let token = token();
                let now = || diesel::dsl::sql::<Timestamp>($now);
                let (job, ..) = diesel::update(
                    jobs::table
                        .filter(jobs::id.eq(id))
                        .filter(jobs::lock.is_null())
                        .filter(jobs::status.eq_any([10, 30])),
                )
                .set((
                    jobs::status.eq(20),
                    jobs::lock.eq(&token),
                    jobs::lock_at.eq(now().nullable()),
                    jobs::update_at.eq(now()),
                ))
                .returning((jobs::id, jobs::id, jobs::lock_at, jobs::retry, jobs::errors))
                .get_result::<(String, String, Option<chrono::NaiveDateTime>, i32, serde_json::Value)>(&mut pool.get().expect("connection"))
                .expect("the job is free");
                assert_eq!(job, id);
                let finished = diesel::update(jobs::table.filter(jobs::id.eq(id)).filter(jobs::lock.eq(&token)))
                    .set((jobs::status.eq(40), jobs::lock.eq(None::<&str>), jobs::retry.eq(0), jobs::update_at.eq(now())))
                    .execute(&mut pool.get().expect("connection"));
                assert_eq!(finished, Ok(1));
            }

            fn floor(pool: &DbPool, id: &str) {
                let token = token();
                let claim = Fixed::<0> {
                    sql: [
                        "UPDATE jobs SET status = 20, lock = ",
                        concat!(", lock_at = ", $now, ", update_at = ", $now, " WHERE id = "),
                        " AND lock IS NULL AND status IN (10, 30) RETURNING id, id, lock_at, retry, errors",
                    ],
                    first: token.clone(),
                    second: id.into(),
                };
                let (job, ..): (String, String, Option<chrono::NaiveDateTime>, i32, serde_json::Value) =
                    claim.get_result(&mut pool.get().expect("connection")).expect("the job is free");
                assert_eq!(job, id);
                let finish = Fixed::<1> {
                    sql: [
                        concat!("UPDATE jobs SET status = 40, lock = NULL, retry = 0, update_at = ", $now, " WHERE id = "),
                        " AND lock = ",
                        "",
                    ],
                    first: id.into(),
                    second: token,
                };
                assert_eq!(finish.execute(&mut pool.get().expect("connection")), Ok(1));
            }

            /// Jobs per second of each way, a median of rounds.
            pub fn medians(pool: &DbPool, threads: usize) -> [f64; 3] {
                pool.get().expect("connection").run_pending_migrations(MIGRATIONS).expect("migrations");
                let mut rates = [const { Vec::new() }; 3];
                for round in 0..ROUNDS {
                    for turn in 0..3 {
                        let way = (round + turn) % 3;
                        let work = [run_job, by_hand, floor][way];
                        let wanted = rates[way].last().map_or(200.0, |rate| rate * ROUND.as_secs_f64());
                        rates[way].push(super::rate(threads, wanted as usize, |ids| {
                            let rows = ids.iter().map(|id| (id.clone(), JobUpdates::default()));
                            diesel::delete(jobs::table).execute(&mut pool.get().expect("connection")).expect("empty table");
                            Job::create_many(pool, rows).expect("rows");
                        }, |id| work(pool, id)));
                    }
                }
                rates.map(super::median)
            }
        }
    };
}

#[cfg(feature = "sqlite")]
contest!(
    sqlite,
    SqliteConnection,
    "migrations/sqlite",
    "strftime('%Y-%m-%d %H:%M:%f', 'now')"
);
#[cfg(feature = "postgres")]
contest!(
    postgres,
    PgConnection,
    "migrations/postgres",
    "(statement_timestamp() AT TIME ZONE 'UTC')"
);

/// Runs `count` fresh jobs on `threads` threads; jobs per second.
fn rate(
    threads: usize,
    count: usize,
    create: impl FnOnce(&[String]),
    work: impl Fn(&str) + Sync,
) -> f64 {
    let ids: Vec<String> = (0..count.max(threads))
        .map(|n| format!("job-{n}"))
        .collect();
    create(&ids);
    let start = Barrier::new(threads + 1);
    thread::scope(|scope| {
        for share in ids.chunks(ids.len().div_ceil(threads)) {
            let (start, work) = (&start, &work);
            scope.spawn(move || {
                start.wait();
                share.iter().for_each(|id| work(id));
            });
        }
        for _ in ids.chunks(ids.len().div_ceil(threads)).len()..threads {
            scope.spawn(|| start.wait());
        }
        start.wait();
        Instant::now()
    })
    .elapsed()
    .as_secs_f64()
    .recip()
        * ids.len() as f64
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.remove(0); // warm-up: the size of the rounds is not known yet
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

fn report(database: &str, threads: usize, [run_job, by_hand, floor]: [f64; 3]) {
    println!(
        "{database:<12} {threads:>7} {run_job:>10.0} {by_hand:>10.0} {floor:>10.0} {:>12.2} {:>10.2}",
        run_job / by_hand,
        run_job / floor
    );
}

fn main() {
    println!("jobs per second, medians of {} rounds", ROUNDS - 1);
    println!(
        "{:<12} {:>7} {:>10} {:>10} {:>10} {:>12} {:>10}",
        "database", "threads", WAYS[0], WAYS[1], WAYS[2], "/ by hand", "/ floor"
    );
    for threads in [1, 4] {
        #[cfg(feature = "sqlite")]
        {
            let folder = tempfile::tempdir().expect("a temporary folder");
            // With durable commits all three wait for the disk, and the
            // figures are the disk's.
            let customizer = Customizer {
                durable: false,
                ..Customizer::default()
            };
            let pool = Pool::builder()
                .max_size(4)
                .test_on_check_out(false)
                .connection_customizer(Box::new(customizer))
                .build(ConnectionManager::new(
                    folder.path().join("bench.db").to_string_lossy(),
                ))
                .expect("a pool");
            report("SQLite, WAL", threads, sqlite::medians(&pool, threads));
        }
        #[cfg(feature = "postgres")]
        match std::env::var("POSTGRES_URL") {
            Ok(url) => {
                let pool = Pool::builder()
                    .max_size(4)
                    .test_on_check_out(false)
                    .build(ConnectionManager::new(&url))
                    .expect("a pool");
                report("PostgreSQL", threads, postgres::medians(&pool, threads));
            }
            Err(_) => println!(
                "PostgreSQL   POSTGRES_URL is not set: run `scripts/with-servers cargo bench --features postgres --bench run_job`"
            ),
        }
    }
}
