//! The processes that are killed: each works off what is ready, and keeps a
//! file of what it has begun.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{fs, io, thread};

use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use diesel_status_tracker::{StatusTracked, job_table};
use serde_json::json;

use crate::check::{JobRow, Snapshot};

/// How a worker process works.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    pub threads: usize,
    pub batch: usize,
    /// How long a job takes, about.
    pub takes: Duration,
}

impl Pace {
    /// As arguments of the process, which [`Pace::read`] reads.
    pub fn args(&self) -> [String; 3] {
        let takes = self.takes.as_millis() as usize;
        [self.threads, self.batch, takes].map(|number| number.to_string())
    }

    pub fn read(mut args: impl Iterator<Item = String>) -> Self {
        let mut next = || {
            args.next()
                .and_then(|arg| arg.parse().ok())
                .expect("a number")
        };
        Self {
            threads: next(),
            batch: next(),
            takes: Duration::from_millis(next() as u64),
        }
    }
}

/// Jobs whose number it divides always fail.
pub const HOPELESS: usize = 97;

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

diesel::table! {
    /// One row for each run whose transaction has landed.
    ledger (run) {
        run -> Text,
        job -> Text,
    }
}

/// What a scenario needs of a database.
#[derive(Clone, Copy)]
pub struct Backend {
    pub name: &'static str,
    /// Creates the tables, and so many jobs.
    pub prepare: fn(url: &str, jobs: usize),
    /// How many jobs have not come to their end, `None` while nobody answers.
    pub unfinished: fn(url: &str) -> Option<i64>,
    pub snapshot: fn(url: &str) -> Snapshot,
    pub work: fn(url: &str, diary: Diary, pace: Pace),
    /// Adds jobs, from this number to that.
    pub add: fn(url: &str, jobs: std::ops::RangeInclusive<usize>),
}

/// The file of one process: a line for each job that it begins or ends.
pub struct Diary(Mutex<fs::File>);

impl Diary {
    pub fn open(path: &str) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        Ok(Self(Mutex::new(file)))
    }

    /// One write, which a killed process has done wholly or not at all.
    fn write(&self, what: &str, job: &str) {
        let line = format!("{what} {job} {}\n", now());
        let mut file = self.0.lock().unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}

/// Milliseconds since the machine started: the same for all processes, however
/// wrong their clocks are.
pub fn now() -> u64 {
    let uptime = fs::read_to_string("/proc/uptime").unwrap();
    let seconds: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
    (seconds * 1000.0) as u64
}

macro_rules! backend {
    ($module:ident, $Connection:ident, $migrations:literal, $customize:expr) => {
        pub mod $module {
            use super::*;

            const MIGRATIONS: EmbeddedMigrations = embed_migrations!($migrations);

            pub const BACKEND: Backend = Backend {
                name: stringify!($module),
                prepare,
                unfinished,
                snapshot,
                work,
                add,
            };

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
                const LOCK_EXPIRE: Duration = Duration::from_secs(3);
                // Crashes count: a job that happens to be in hand at many is not hopeless.
                const MAX_RETRY: i32 = 30;
            }

            job_table! {
                Job in jobs { key: (id: String), status: i32, updates: JobUpdates, connections: [$Connection], status_field: none }
            }

            fn pool(url: &str, size: u32) -> Pool<ConnectionManager<$Connection>> {
                let builder = Pool::builder()
                    .max_size(size)
                    .min_idle(Some(0))
                    .test_on_check_out(false)
                    .connection_timeout(Duration::from_secs(5))
                    .error_handler(Box::new(diesel::r2d2::NopErrorHandler));
                $customize(builder).build_unchecked(ConnectionManager::new(url))
            }

            fn prepare(url: &str, count: usize) {
                let conn = &mut $Connection::establish(url).unwrap();
                conn.run_pending_migrations(MIGRATIONS).unwrap();
                let ledger = "CREATE TABLE ledger (run VARCHAR(40) NOT NULL PRIMARY KEY, job VARCHAR(40) NOT NULL)";
                diesel::sql_query(ledger).execute(conn).unwrap();
                add(url, 1..=count);
            }

            fn add(url: &str, numbers: std::ops::RangeInclusive<usize>) {
                let count = numbers.clone().count();
                let rows = numbers.map(|n| (n.to_string(), JobUpdates::default()));
                assert_eq!(Job::create_many(&pool(url, 1), rows).unwrap(), count);
            }

            fn unfinished(url: &str) -> Option<i64> {
                let conn = &mut $Connection::establish(url).ok()?;
                let open = jobs::table.filter(jobs::status.ne_all([40, 50]));
                open.count().get_result(conn).ok()
            }

            fn snapshot(url: &str) -> Snapshot {
                let conn = &mut $Connection::establish(url).unwrap();
                let rows: Vec<(String, i32, Option<String>, serde_json::Value)> = jobs::table
                    .select((jobs::id, jobs::status, jobs::lock, jobs::errors))
                    .load(conn)
                    .unwrap();
                let job = |(id, status, lock, errors)| JobRow { id, status, lock, errors };
                let entries = ledger::table.select(ledger::job).load(conn).unwrap();
                Snapshot {
                    jobs: rows.into_iter().map(job).collect(),
                    ledger: entries,
                }
            }

            /// Until the standard input ends.
            fn work(url: &str, diary: Diary, pace: Pace) {
                let pool = pool(url, pace.threads as u32 + 2);
                let stopped = AtomicBool::new(false);
                let handle = Mutex::new(Job::worker(&pool).handle());
                thread::scope(|scope| {
                    scope.spawn(|| {
                        let _ = io::stdin().read(&mut [0]); // its end is all that is waited for
                        stopped.store(true, Ordering::SeqCst);
                        handle.lock().unwrap().shutdown();
                    });
                    loop {
                        let worker = Job::worker(&pool)
                            .threads(pace.threads)
                            .batch(pace.batch)
                            .poll_every(Duration::from_millis(200));
                        *handle.lock().unwrap() = worker.handle();
                        if stopped.load(Ordering::SeqCst) {
                            return;
                        }
                        let done = worker.run_in_transaction(|conn, job, updates| {
                            diary.write("begin", &job.id);
                            thread::sleep(pace.takes.mul_f64(fastrand::f64() + 0.5));
                            let number: usize = job.id.parse()?;
                            if number % HOPELESS == 0 {
                                return Err("hopeless".into());
                            }
                            let run = uuid::Uuid::new_v4().simple().to_string();
                            diesel::insert_into(ledger::table)
                                .values((ledger::run.eq(run), ledger::job.eq(&job.id)))
                                .execute(conn)?;
                            updates.data = Some(json!({ "by": std::process::id() }));
                            diary.write("end", &job.id);
                            Ok(())
                        });
                        match done {
                            Ok(_) => return,
                            // The database could not be had at the start.
                            Err(error) => eprintln!("worker: {error}"),
                        }
                        thread::sleep(Duration::from_millis(300));
                    }
                });
            }
        }
    };
}

backend!(
    sqlite,
    SqliteConnection,
    "../../migrations/sqlite",
    |builder| {
        let builder: diesel::r2d2::Builder<ConnectionManager<SqliteConnection>> = builder;
        builder.connection_customizer(Box::new(
            diesel_status_tracker::sqlite::Customizer::default(),
        ))
    }
);
backend!(
    postgres,
    PgConnection,
    "../../migrations/postgres",
    std::convert::identity
);
backend!(
    mariadb,
    MysqlConnection,
    "../../migrations/mysql",
    std::convert::identity
);

pub const BACKENDS: [Backend; 3] = [sqlite::BACKEND, postgres::BACKEND, mariadb::BACKEND];
