//! How soon an idle worker begins a job that another program creates, and what the worker
//! costs while nothing happens: `scripts/with-servers cargo bench --all-features --bench
//! latency`.
//!
//! Jobs come one by one at random intervals, so that each finds an idle worker. The time is
//! that from the end of the call that creates the job, by another connection and for another
//! row type, to the begin of its work: the claim is in it, with its commit. Then the worker
//! idles for some seconds.
//!
//! ```text
//! cargo bench --bench latency -- [--jobs 1000] [--idle 10] [--database postgres]
//! ```

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use diesel::connection::InstrumentationEvent;
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, CustomizeConnection, Pool};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use diesel_status_tracker::{
    JobStore, Listener, StatusTracked, TrackerConnection, Worker, job_table,
};

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

/// Two row types of one table. The calls for the second wake no worker for the first.
macro_rules! row_type {
    ($Job:ident) => {
        #[derive(Queryable, Selectable)]
        #[diesel(table_name = jobs)]
        struct $Job {
            #[allow(dead_code, reason = "only the worker's type reads it")]
            id: String,
        }

        impl StatusTracked for $Job {
            type Job = $Job;
            const PENDING: i32 = 10;
            const IN_PROGRESS: i32 = 20;
            const FAILED: i32 = 30;
            const SUCCEEDED: i32 = 40;
            const IGNORED: i32 = 50;
        }

        job_table! {
            $Job in jobs {
                key: (id: String), status: i32,
                connections: [
                    #[cfg(feature = "sqlite")] SqliteConnection,
                    #[cfg(feature = "postgres")] PgConnection,
                    #[cfg(feature = "mysql")] MysqlConnection,
                ],
                status_field: none,
            }
        }
    };
}
row_type!(Job);
row_type!(Made);

/// Prepares the connections of a pool, and counts their statements.
#[derive(Debug)]
struct Prepare {
    settings: &'static str,
    statements: Arc<AtomicUsize>,
}

impl<C: Connection> CustomizeConnection<C, diesel::r2d2::Error> for Prepare {
    fn on_acquire(&self, conn: &mut C) -> Result<(), diesel::r2d2::Error> {
        let set = conn.batch_execute(self.settings);
        set.map_err(diesel::r2d2::Error::QueryError)?;
        let count = Arc::clone(&self.statements);
        conn.set_instrumentation(move |event: InstrumentationEvent<'_>| {
            if matches!(event, InstrumentationEvent::StartQuery { .. }) {
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Ok(())
    }
}

struct Options {
    jobs: usize,
    idle: Duration,
    database: Option<String>,
}

impl Options {
    fn read() -> Self {
        let mut options = Self {
            jobs: 1_000,
            idle: Duration::from_secs(10),
            database: None,
        };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut value = || args.next().unwrap_or_else(|| panic!("{arg} needs a value"));
            match arg.as_str() {
                "--jobs" => options.jobs = value().parse().expect("a number"),
                "--idle" => options.idle = Duration::from_secs(value().parse().expect("seconds")),
                "--database" => options.database = Some(value()),
                "--bench" => {} // cargo's
                other => panic!("unknown argument {other}"),
            }
        }
        options
    }
}

/// Processor time of this process.
fn processor() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11);
    let ticks: u64 = times.next()?.parse::<u64>().ok()? + times.next()?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 10))
}

/// Measures one way; `settings` is SQL that prepares each connection.
fn measure<C: TrackerConnection>(
    options: &Options,
    way: &str,
    url: &str,
    settings: &'static str,
    listener: Option<&Listener<C>>,
    set: impl FnOnce(Worker<Job, C>) -> Worker<Job, C>,
) where
    Job: JobStore<C>,
    Made: JobStore<C>,
{
    let prepare = Prepare {
        settings,
        statements: Arc::default(),
    };
    let statements = Arc::clone(&prepare.statements);
    let pool = Pool::builder()
        .max_size(5)
        .test_on_check_out(false)
        .connection_customizer(Box::new(prepare))
        .build(ConnectionManager::<C>::new(url))
        .expect("a pool");
    let mut creator = pool.get().expect("a connection");
    let worker = set(Job::worker(&pool).threads(1));
    let handle = worker.handle();
    let (begun, begins) = mpsc::channel();
    let mut times = Vec::with_capacity(options.jobs);
    let mut created = HashMap::new();
    let run = uuid::Uuid::new_v4();
    let (rate, load) = thread::scope(|scope| {
        scope.spawn(move || {
            let work = worker.run(move |job, _| Ok(begun.send((job.id.clone(), Instant::now()))?));
            work.expect("the worker works");
        });
        while listener.is_some_and(|listener| !listener.is_listening()) {
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(Duration::from_secs(1));
        for n in 0..options.jobs {
            let chance = uuid::Uuid::new_v4().as_bytes()[0];
            thread::sleep(Duration::from_millis(5) + Duration::from_micros(140) * chance.into());
            let id = format!("{run} {n}");
            Made::create_and_save(&mut *creator, &*id, ()).expect("a job");
            created.insert(id, Instant::now());
        }
        for (id, at) in begins.iter().take(options.jobs) {
            // It may have begun before the call has returned.
            times.push(at.saturating_duration_since(created[&id]));
        }
        // What follows the last job is not idle yet.
        thread::sleep(Duration::from_secs(1));
        let (before, processor_before) = (statements.load(Ordering::Relaxed), processor());
        thread::sleep(options.idle);
        let sent = statements.load(Ordering::Relaxed) - before;
        let used = processor()
            .zip(processor_before)
            .map(|(now, before)| now - before);
        handle.shutdown();
        let seconds = options.idle.as_secs_f64();
        (
            sent as f64 / seconds,
            used.map(|used| 100.0 * used.as_secs_f64() / seconds),
        )
    });
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    let load = load.map_or("?".into(), |load| format!("{load:.1}"));
    println!(
        "{way:<56} {:>9.1} {:>9.1} {:>9.1} {rate:>14.1} {load:>12}",
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

const SECOND: Duration = Duration::from_secs(1);

/// Brings the tables of the migrations into the database.
macro_rules! migrated {
    ($Connection:ident, $url:expr, $migrations:literal) => {{
        const MIGRATIONS: EmbeddedMigrations = embed_migrations!($migrations);
        let mut conn = $Connection::establish($url).expect("a connection");
        conn.run_pending_migrations(MIGRATIONS).expect("migrations");
    }};
}

/// A worker that looks each second, and one that listens.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
fn polled_and_heard<C: TrackerConnection>(
    options: &Options,
    database: &str,
    url: &str,
    settings: &'static str,
) where
    Job: JobStore<C>,
    Made: JobStore<C>,
{
    let polled = format!("{database}, poll each second");
    measure::<C>(options, &polled, url, settings, None, |worker| {
        worker.poll_every(SECOND)
    });
    let listener = Listener::<C>::at(url);
    let heard = format!("{database}, listen");
    measure(options, &heard, url, settings, Some(&listener), |worker| {
        worker.listen(&listener)
    });
}

#[cfg(feature = "sqlite")]
fn sqlite(options: &Options) {
    const WAL: &str =
        "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL";
    const DELETE: &str = "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = DELETE";
    for (journal, settings) in [("write-ahead log", WAL), ("rollback journal", DELETE)] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("latency.db");
        let url = file.to_string_lossy();
        migrated!(SqliteConnection, &url, "migrations/sqlite");
        polled_and_heard::<SqliteConnection>(
            options,
            &format!("SQLite, {journal}"),
            &url,
            settings,
        );
    }
}

#[cfg(feature = "postgres")]
fn postgres(options: &Options) {
    let Some(url) = server("POSTGRES_URL") else {
        return;
    };
    migrated!(PgConnection, &url, "migrations/postgres");
    for (commits, settings) in [
        ("synchronous_commit = on", "SET synchronous_commit = on"),
        ("synchronous_commit = off", "SET synchronous_commit = off"),
    ] {
        polled_and_heard::<PgConnection>(
            options,
            &format!("PostgreSQL, {commits}"),
            &url,
            settings,
        );
    }
}

#[cfg(feature = "mysql")]
fn mysql(options: &Options) {
    let Some(url) = server("MYSQL_URL") else {
        return;
    };
    migrated!(MysqlConnection, &url, "migrations/mysql");
    measure::<MysqlConnection>(
        options,
        "MariaDB, poll each second",
        &url,
        "DO 0",
        None,
        |worker| worker.poll_every(SECOND),
    );
    let quick = Duration::from_millis(5);
    let way = "MariaDB, poll between 5 ms and 1 second";
    measure::<MysqlConnection>(options, way, &url, "DO 0", None, |worker| {
        worker.poll_between(quick..=SECOND)
    });
}

#[cfg(any(feature = "postgres", feature = "mysql"))]
fn server(variable: &str) -> Option<String> {
    let url = std::env::var(variable).ok();
    if url.is_none() {
        println!(
            "{variable} is not set: run `scripts/with-servers cargo bench --all-features --bench latency`"
        );
    }
    url
}

fn main() {
    let options = Options::read();
    println!(
        "{} jobs at intervals of 5 to 40 ms, an idle worker of one thread; milliseconds from creation to start, \
         then statements a second and a processor's share while idle",
        options.jobs
    );
    println!(
        "{:<56} {:>9} {:>9} {:>9} {:>14} {:>12}",
        "database, way", "median", "99 %", "longest", "statements / s", "processor %"
    );
    let wants = |name: &str| options.database.as_deref().is_none_or(|only| only == name);
    #[cfg(feature = "sqlite")]
    if wants("sqlite") {
        sqlite(&options);
    }
    #[cfg(feature = "postgres")]
    if wants("postgres") {
        postgres(&options);
    }
    #[cfg(feature = "mysql")]
    if wants("mysql") {
        mysql(&options);
    }
}
