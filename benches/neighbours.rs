//! What one bad row, one held lock or one old snapshot costs the other jobs:
//! a worker drains a table beside each of them, in turns with a quiet one.
//! `scripts/with-servers cargo bench --all-features --bench neighbours`
//!
//! ```text
//! cargo bench --bench neighbours -- [--jobs 20000] [--rounds 3]
//! ```

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool};
use diesel_status_tracker::{JobStore, StatusTracked, TrackerConnection, job_table};

/// Threads of the worker, and jobs of a claim.
const THREADS: usize = 4;
const BATCH: usize = 100;

diesel::table! {
    tasks (id) {
        id -> Integer,
        status -> Integer,
        create_at -> Timestamp,
        update_at -> Timestamp,
        lock -> Nullable<Text>,
        lock_at -> Nullable<Timestamp>,
        retry -> Integer,
        errors -> Text,
        note -> Text,
    }
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = tasks)]
struct Task {
    #[expect(dead_code, reason = "it is read, which fails for NULL")]
    note: String,
}

#[derive(Default, Insertable, AsChangeset)]
#[diesel(table_name = tasks)]
struct TaskUpdates {
    note: Option<String>,
}

impl StatusTracked for Task {
    type Job = Task;
    const PENDING: i32 = 10;
    const IN_PROGRESS: i32 = 20;
    const FAILED: i32 = 30;
    const SUCCEEDED: i32 = 40;
    const IGNORED: i32 = 50;
}

job_table! {
    Task in tasks {
        key: (id: i32), status: i32, updates: TaskUpdates,
        connections: [#[cfg(feature = "postgres")] PgConnection, #[cfg(feature = "mysql")] MysqlConnection],
        status_field: none,
    }
}

/// What is in the way of a drain. Rows 1 to 100 are the first in the order.
struct Neighbour {
    name: &'static str,
    /// What is done to the table before.
    before: &'static str,
    /// What another session does, and has open all the while.
    meanwhile: &'static str,
    /// Rows that cannot be worked off.
    bad: usize,
}

/// A database, and what differs in its SQL.
struct Dialect {
    name: &'static str,
    create: &'static str,
    /// Inserts `{count}` rows.
    fill: &'static str,
    neighbours: [Neighbour; 5],
}

const HOLD: &str = "BEGIN; SELECT id FROM tasks WHERE id = 1 FOR UPDATE";
const NOTHING: &str = "BEGIN";

const HELD: Neighbour = Neighbour {
    name: "a ready row that is held",
    before: "",
    meanwhile: HOLD,
    bad: 1,
};
const UNREADABLE: Neighbour = Neighbour {
    name: "100 rows that cannot be read",
    before: "UPDATE tasks SET note = NULL WHERE id <= 100",
    meanwhile: NOTHING,
    bad: 100,
};

const fn dead(before: &'static str) -> Neighbour {
    Neighbour {
        name: "a dead row that is held",
        before,
        meanwhile: HOLD,
        bad: 1,
    }
}

const fn refused(before: &'static str) -> Neighbour {
    Neighbour {
        name: "100 rows that cannot be claimed",
        before,
        meanwhile: NOTHING,
        bad: 100,
    }
}

const fn snapshot(meanwhile: &'static str) -> Neighbour {
    Neighbour {
        name: "an old snapshot",
        before: "",
        meanwhile,
        bad: 0,
    }
}

#[cfg(feature = "postgres")]
const POSTGRES: Dialect = Dialect {
    name: "PostgreSQL",
    create: "DROP TABLE IF EXISTS tasks;
        CREATE TABLE tasks (id INTEGER PRIMARY KEY, status INTEGER NOT NULL, create_at TIMESTAMP NOT NULL,
            update_at TIMESTAMP NOT NULL, lock TEXT, lock_at TIMESTAMP, retry INTEGER NOT NULL, errors TEXT NOT NULL, note TEXT);
        CREATE INDEX tasks_ready ON tasks (update_at) WHERE lock IS NULL AND status IN (10, 30);
        CREATE INDEX tasks_locked ON tasks (lock_at) WHERE lock IS NOT NULL",
    fill: "INSERT INTO tasks SELECT i, 10, now(), now() + i * interval '1 microsecond', NULL, NULL, 0, '{}', 'a note'
        FROM generate_series(1, {count}) i; ANALYZE tasks",
    neighbours: [
        HELD,
        dead("UPDATE tasks SET status = 20, lock = 'dead', lock_at = '2001-01-01' WHERE id = 1"),
        UNREADABLE,
        refused(
            "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
             CREATE TRIGGER refuse BEFORE UPDATE ON tasks FOR EACH ROW WHEN (NEW.id <= 100 AND NEW.status = 20)
                 EXECUTE FUNCTION refuse()",
        ),
        snapshot("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM tasks"),
    ],
};

#[cfg(feature = "mysql")]
const MARIADB: Dialect = Dialect {
    name: "MariaDB",
    create: "DROP TABLE IF EXISTS tasks;
        CREATE TABLE tasks (id INTEGER PRIMARY KEY, status INTEGER NOT NULL, create_at DATETIME(6) NOT NULL,
            update_at DATETIME(6) NOT NULL, `lock` VARCHAR(32), lock_at DATETIME(6), retry INTEGER NOT NULL, errors TEXT NOT NULL,
            note TEXT, INDEX tasks_ready (status, update_at))",
    fill: "INSERT INTO tasks SELECT seq, 10, UTC_TIMESTAMP(6), UTC_TIMESTAMP(6) + INTERVAL seq MICROSECOND, NULL, NULL, 0, '{}', 'a note'
        FROM seq_1_to_1000000 WHERE seq <= {count}; ANALYZE TABLE tasks",
    neighbours: [
        HELD,
        dead("UPDATE tasks SET status = 20, `lock` = 'dead', lock_at = '2001-01-01' WHERE id = 1"),
        UNREADABLE,
        refused(
            "CREATE TRIGGER refuse BEFORE UPDATE ON tasks FOR EACH ROW
             BEGIN IF NEW.id <= 100 AND NEW.status = 20 THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no'; END IF; END",
        ),
        snapshot("START TRANSACTION WITH CONSISTENT SNAPSHOT"),
    ],
};

fn execute(conn: &mut impl SimpleConnection, sql: &str) {
    for statement in sql.split(";\n").filter(|sql| !sql.trim().is_empty()) {
        conn.batch_execute(statement).expect("SQL");
    }
}

/// Jobs a second of a drain beside this neighbour, or beside none.
fn drain<C>(
    pool: &Pool<ConnectionManager<C>>,
    dialect: &Dialect,
    beside: Option<&Neighbour>,
    jobs: usize,
) -> f64
where
    C: TrackerConnection,
    Task: JobStore<C>,
{
    let mut other = pool.get().expect("a connection");
    execute(&mut *other, dialect.create);
    execute(
        &mut *other,
        &dialect.fill.replace("{count}", &jobs.to_string()),
    );
    let mut bad = 0;
    if let Some(neighbour) = beside {
        execute(&mut *other, neighbour.before);
        execute(&mut *other, neighbour.meanwhile);
        bad = neighbour.bad;
    }
    let begun = Instant::now();
    let worker = Task::worker(pool).threads(THREADS).batch(BATCH);
    let handle = worker.handle();
    let runs = AtomicUsize::new(0);
    let done = worker.run(|_, _| {
        if runs.fetch_add(1, Ordering::Relaxed) + 1 == jobs - bad {
            handle.shutdown();
        }
        Ok(())
    });
    let took = begun.elapsed().as_secs_f64();
    if beside.is_some() {
        other.batch_execute("ROLLBACK").expect("its end");
    }
    let done = done.expect("a drain");
    assert_eq!(done.succeeded as usize, jobs - bad, "{done}");
    done.succeeded as f64 / took
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

fn measure<C>(variable: &str, dialect: &Dialect, jobs: usize, rounds: usize)
where
    C: TrackerConnection,
    Task: JobStore<C>,
{
    let Ok(url) = std::env::var(variable) else {
        println!(
            "{variable} is not set: run `scripts/with-servers cargo bench --all-features --bench neighbours`"
        );
        return;
    };
    let pool = Pool::builder()
        .max_size(THREADS as u32 + 3)
        .test_on_check_out(false)
        .build(ConnectionManager::<C>::new(url))
        .expect("a pool");
    for neighbour in &dialect.neighbours {
        let (mut quiet, mut beside) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            quiet.push(drain(&pool, dialect, None, jobs));
            beside.push(drain(&pool, dialect, Some(neighbour), jobs));
        }
        let (quiet, beside) = (median(quiet), median(beside));
        println!(
            "{:<12} {:<34} {quiet:>8.0} {beside:>8.0} {:>6.2}",
            dialect.name,
            neighbour.name,
            beside / quiet
        );
    }
}

fn main() {
    let (mut jobs, mut rounds) = (20_000, 3);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let target = match arg.as_str() {
            "--jobs" => &mut jobs,
            "--rounds" => &mut rounds,
            "--bench" => continue, // cargo's
            other => panic!("unknown argument {other}"),
        };
        let value = args.next().and_then(|value| value.parse().ok());
        *target = value.unwrap_or_else(|| panic!("{arg} needs a number"));
    }
    println!(
        "{jobs} jobs, {THREADS} threads, batches of {BATCH}; jobs per second, medians of {rounds} rounds"
    );
    println!(
        "{:<12} {:<34} {:>8} {:>8} {:>6}",
        "database", "beside", "quiet", "beside", "ratio"
    );
    #[cfg(feature = "postgres")]
    measure::<PgConnection>("POSTGRES_URL", &POSTGRES, jobs, rounds);
    #[cfg(feature = "mysql")]
    measure::<MysqlConnection>("MYSQL_URL", &MARIADB, jobs, rounds);
}
