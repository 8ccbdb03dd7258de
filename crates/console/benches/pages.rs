//! How long each page of the console takes on a large table: `scripts/with-servers cargo
//! bench -p diesel_status_console --bench pages`.
//!
//! A table of a million jobs on each database, nearly all of them finished, with the
//! indexes that the tracker recommends; each page is asked for again and again, without a
//! browser and without a network. Then the same without the indexes.
//!
//! ```text
//! cargo bench -p diesel_status_console --bench pages -- [--rows 1000000] [--requests 40] [--database postgres]
//! ```

use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_status_console::{Console, ConsoleConnection, Description, Result};
use tower::ServiceExt;

const PAGES: [(&str, &str); 8] = [
    ("overview", "/"),
    ("jobs", "/jobs?table=jobs"),
    ("failed jobs", "/jobs?table=jobs&status=failed"),
    (
        "failed by error",
        "/jobs?table=jobs&status=failed&error=refused",
    ),
    ("all by error", "/jobs?table=jobs&error=refused"),
    ("one job", "/job?table=jobs&key=job-500"),
    ("failures", "/failures?table=jobs"),
    ("durations", "/durations?table=jobs"),
];

struct Options {
    rows: usize,
    requests: usize,
    database: Option<String>,
}

impl Options {
    fn read() -> Self {
        let mut options = Self {
            rows: 1_000_000,
            requests: 40,
            database: None,
        };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut value = || args.next().unwrap_or_else(|| panic!("{arg} needs a value"));
            match arg.as_str() {
                "--rows" => options.rows = value().parse().expect("a number"),
                "--requests" => options.requests = value().parse().expect("a number"),
                "--database" => options.database = Some(value()),
                "--bench" => {} // cargo's
                other => panic!("unknown argument {other}"),
            }
        }
        options
    }
}

/// What differs from one database to the other.
struct Database {
    name: &'static str,
    url: String,
    /// The columns of the table.
    columns: &'static str,
    indexes: &'static [(&'static str, &'static str)],
    /// Numbers from 1 on, as `n`.
    numbers: &'static str,
    /// So many seconds ago, and the text of a number.
    ago: fn(&str) -> String,
    text: fn(&str) -> String,
    settle: &'static str,
}

fn databases() -> Vec<Database> {
    let mut databases = Vec::new();
    let folder = tempfile::tempdir().expect("a temporary folder").keep();
    databases.push(Database {
        name: "SQLite",
        url: format!("sqlite://{}/pages.db", folder.display()),
        columns: "id TEXT NOT NULL PRIMARY KEY, status INTEGER NOT NULL, create_at TIMESTAMP NOT NULL, \
            update_at TIMESTAMP NOT NULL, lock TEXT, lock_at TIMESTAMP, retry INTEGER NOT NULL, errors TEXT NOT NULL",
        indexes: &[
            ("jobs_ready", "ON jobs (update_at) WHERE lock IS NULL AND status IN (10, 30)"),
            ("jobs_locked", "ON jobs (lock_at) WHERE lock IS NOT NULL"),
            ("jobs_finished", "ON jobs (update_at) WHERE lock IS NULL AND status IN (40, 50)"),
        ],
        numbers: "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {rows})",
        ago: |seconds| format!("strftime('%Y-%m-%d %H:%M:%f', 'now', -({seconds}) || ' seconds')"),
        text: |number| format!("CAST({number} AS TEXT)"),
        settle: "ANALYZE",
    });
    if let Ok(url) = std::env::var("POSTGRES_URL") {
        databases.push(Database {
            name: "PostgreSQL",
            url,
            columns: "id TEXT NOT NULL PRIMARY KEY, status INTEGER NOT NULL, create_at TIMESTAMP NOT NULL, \
                update_at TIMESTAMP NOT NULL, lock TEXT, lock_at TIMESTAMP, retry INTEGER NOT NULL, errors JSON NOT NULL",
            indexes: &[
                ("jobs_ready", "ON jobs (update_at) WHERE lock IS NULL AND status IN (10, 30)"),
                ("jobs_locked", "ON jobs (lock_at) WHERE lock IS NOT NULL"),
                ("jobs_finished", "ON jobs (update_at) WHERE lock IS NULL AND status IN (40, 50)"),
            ],
            numbers: "WITH numbers (n) AS (SELECT generate_series(1, {rows}))",
            ago: |seconds| format!("(now() AT TIME ZONE 'UTC') - ({seconds}) * INTERVAL '1 second'"),
            text: |number| format!("CAST({number} AS TEXT)"),
            settle: "VACUUM ANALYZE jobs",
        });
    }
    if let Ok(url) = std::env::var("MYSQL_URL") {
        databases.push(Database {
            name: "MariaDB",
            url,
            columns: "id VARCHAR(255) NOT NULL PRIMARY KEY, status INTEGER NOT NULL, create_at DATETIME(6) NOT NULL, \
                update_at DATETIME(6) NOT NULL, `lock` VARCHAR(32), lock_at DATETIME(6), retry INTEGER NOT NULL, errors JSON NOT NULL",
            indexes: &[
                ("jobs_ready", "ON jobs (status, update_at)"),
                ("jobs_locked", "ON jobs (status, lock_at)"),
            ],
            numbers: "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {rows})",
            ago: |seconds| format!("UTC_TIMESTAMP(6) - INTERVAL ({seconds}) SECOND"),
            text: |number| format!("CAST({number} AS CHAR)"),
            settle: "ANALYZE TABLE jobs",
        });
    }
    databases
}

impl Database {
    fn fill(&self, rows: usize) {
        let mut conn = ConsoleConnection::establish(&self.url).expect("a connection");
        if self.name == "SQLite" {
            conn.batch_execute("PRAGMA journal_mode = WAL")
                .expect("a log");
        }
        if self.name == "MariaDB" {
            let depth = format!("SET max_recursive_iterations = {}", rows + 1);
            conn.batch_execute(&depth).expect("a depth");
        }
        conn.batch_execute(&format!(
            "DROP TABLE IF EXISTS jobs; CREATE TABLE jobs ({})",
            self.columns
        ))
        .expect("a table");
        // A thousand jobs are ready or have failed, ten run; the others are finished, one
        // each half second.
        let status = "CASE WHEN n <= 700 THEN 30 WHEN n <= 1000 THEN 10 WHEN n <= 1010 THEN 20 WHEN n % 50 = 0 THEN 50 ELSE 40 END";
        let lock = match self.name {
            "MariaDB" => "`lock`",
            _ => "lock",
        };
        let (ago, text) = (self.ago, self.text);
        let name = |sign: &str| match self.name {
            "MariaDB" => format!("CONCAT('{sign}', {})", text("n")),
            _ => format!("'{sign}' || {}", text("n")),
        };
        let error =
            "'{\"error\": \"mail server mx7 refused the letter after 30 s\", \"attempt\": 1}'";
        let error = match self.name {
            "PostgreSQL" => format!("CAST({error} AS json)"),
            _ => error.into(),
        };
        let none = match self.name {
            "PostgreSQL" => "CAST('{}' AS json)",
            _ => "'{}'",
        };
        let select = format!(
            "SELECT {id}, {status}, {created}, {changed}, CASE WHEN n > 1000 AND n <= 1010 THEN 'a worker' END, {locked}, \
             CASE WHEN n <= 700 THEN 1 ELSE 0 END, CASE WHEN n <= 700 OR n % 50 = 0 THEN {error} ELSE {none} END FROM numbers",
            id = name("job-"),
            created = ago("n / 2 + 60"),
            changed = ago("n / 2"),
            locked = ago("n / 2 + n % 20"),
        );
        let numbers = self.numbers.replace("{rows}", &rows.to_string());
        let columns =
            format!("jobs (id, status, create_at, update_at, {lock}, lock_at, retry, errors)");
        let insert = match self.name {
            "MariaDB" => format!("INSERT INTO {columns} {numbers} {select}"),
            _ => format!("{numbers} INSERT INTO {columns} {select}"),
        };
        conn.batch_execute(&insert).expect("rows");
    }

    fn execute(&self, sql: &str) {
        let mut conn = ConsoleConnection::establish(&self.url).expect("a connection");
        conn.batch_execute(sql)
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    fn router(&self) -> Result<Router> {
        let description = Description::parse(&format!(
            "[tables.jobs]\nurl = '{}'\nkey = ['id']\nerrors = '{}'\n[tables.jobs.steps.job]\npending = 10\nin_progress = 20\nfailed = 30\nsucceeded = 40\nignored = 50\n",
            self.url,
            if self.name == "SQLite" {
                "text"
            } else {
                "json"
            },
        ))?;
        let mut console = Console::new();
        for source in description.connect()? {
            console = console.source(source)?;
        }
        Ok(console.router())
    }
}

/// How long it takes to answer.
async fn ask(router: &Router, path: &str) -> Duration {
    let request = Request::get(path).body(Body::empty()).expect("a request");
    let begun = Instant::now();
    let answer = router.clone().oneshot(request).await.expect("an answer");
    let status = answer.status();
    let body = axum::body::to_bytes(answer.into_body(), usize::MAX)
        .await
        .expect("a body");
    let took = begun.elapsed();
    assert!(
        status.is_success(),
        "{path}: {status} {}",
        String::from_utf8_lossy(&body)
    );
    took
}

async fn measure(database: &Database, what: &str, options: &Options) {
    let router = database.router().expect("a console");
    for (name, path) in PAGES {
        ask(&router, path).await;
        let mut took = Vec::new();
        for _ in 0..options.requests {
            took.push(ask(&router, path).await);
        }
        took.sort();
        let at = |percent: usize| took[(took.len() - 1) * percent / 100].as_secs_f64() * 1e3;
        println!(
            "{:<11} {what:<15} {name:<15} {:>9.1} {:>9.1}",
            database.name,
            at(50),
            at(95)
        );
    }
}

#[tokio::main]
async fn main() {
    let options = Options::read();
    println!(
        "{} rows; milliseconds\n{:<11} {:<15} {:<15} {:>9} {:>9}",
        options.rows, "database", "", "page", "median", "95 %"
    );
    let is_wanted = |database: &Database| {
        let wanted = options.database.as_deref();
        wanted.is_none_or(|wanted| database.name.eq_ignore_ascii_case(wanted))
    };
    for database in databases().iter().filter(|database| is_wanted(database)) {
        database.fill(options.rows);
        for (name, on) in database.indexes {
            database.execute(&format!("CREATE INDEX {name} {on}"));
        }
        database.execute(database.settle);
        measure(database, "with indexes", &options).await;
        for (name, _) in database.indexes {
            let on = if database.name == "MariaDB" {
                " ON jobs"
            } else {
                ""
            };
            database.execute(&format!("DROP INDEX {name}{on}"));
        }
        database.execute(database.settle);
        let few = Options {
            requests: options.requests.div_ceil(10),
            database: None,
            ..options
        };
        measure(database, "without indexes", &few).await;
    }
}
