//! How long each page of the console takes on a large table: `scripts/with-servers cargo
//! bench -p diesel_status_console --bench pages`.
//!
//! A table of a million jobs on each database, with the indexes that the documentation
//! recommends; each page is asked for again and again, without a browser and without a
//! network. Then the same without the indexes. Of a hundred jobs one is not finished: seven
//! tenths of these have failed, and of ten thousand jobs one runs. Of the finished ones a
//! thousandth is ignored.
//!
//! ```text
//! cargo bench -p diesel_status_console --bench pages -- [--rows 1000000] [--requests 40]
//!     [--database postgresql] [--indexes both|with|without] [--finished 2] [--keep] [--file pages.db]
//! ```
//!
//! `--finished` is how many jobs end in a second. `--keep` measures the table that the last
//! run has left, as it is; SQLite's is in a file that is removed, unless `--file` names one.

use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_status_console::{Console, ConsoleConnection, Description, Result};
use tower::ServiceExt;

/// What a page is called here, and its link.
const PAGES: [(&str, &str); 19] = [
    ("overview", "/"),
    ("jobs", "/jobs?table=jobs"),
    ("jobs, further on", "/jobs?table=jobs&older=3d"),
    ("oldest jobs", "/jobs?table=jobs&order=changed-asc"),
    ("newest by creation", "/jobs?table=jobs&order=created"),
    ("pending", "/jobs?table=jobs&status=pending"),
    ("failed", "/jobs?table=jobs&status=failed"),
    ("ignored", "/jobs?table=jobs&status=ignored"),
    ("expired locks", "/jobs?table=jobs&locked=1&expired=1"),
    (
        "expired, running",
        "/jobs?table=jobs&status=in_progress&expired=1",
    ),
    ("by key", "/jobs?table=jobs&key=job-500"),
    ("by start of key", "/jobs?table=jobs&key=job-5000*"),
    (
        "failed by error",
        "/jobs?table=jobs&status=failed&error=refused",
    ),
    (
        "failed, no such",
        "/jobs?table=jobs&status=failed&error=unheard",
    ),
    ("all by error", "/jobs?table=jobs&error=refused"),
    ("one job", "/job?table=jobs&key=job-500"),
    ("failures", "/failures?table=jobs"),
    ("durations", "/durations?table=jobs"),
    (
        "reset all failed?",
        "/act-all?table=jobs&status=failed&action=reset",
    ),
];

/// Rows of one statement that fills a table.
const PIECE: usize = 500_000;

struct Options {
    rows: usize,
    requests: usize,
    database: Option<String>,
    with_indexes: bool,
    without_indexes: bool,
    finished: usize,
    keep: bool,
    file: Option<String>,
}

impl Options {
    fn read() -> Self {
        let mut options = Self {
            rows: 1_000_000,
            requests: 40,
            database: None,
            with_indexes: true,
            without_indexes: true,
            finished: 2,
            keep: false,
            file: None,
        };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut value = || args.next().unwrap_or_else(|| panic!("{arg} needs a value"));
            match arg.as_str() {
                "--rows" => options.rows = value().parse().expect("a number"),
                "--requests" => options.requests = value().parse().expect("a number"),
                "--database" => options.database = Some(value()),
                "--indexes" => {
                    let which = value();
                    assert!(["both", "with", "without"].contains(&&*which), "{which}?");
                    options.with_indexes = which != "without";
                    options.without_indexes = which != "with";
                }
                "--finished" => options.finished = value().parse().expect("a number"),
                "--file" => options.file = Some(value()),
                "--keep" => options.keep = true,
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
    /// Numbers from `{first}` to `{last}`, as `n`.
    numbers: &'static str,
    /// So many seconds ago, and the text of a number.
    ago: fn(&str) -> String,
    text: fn(&str) -> String,
    settle: &'static str,
}

fn databases(file: &str) -> Vec<Database> {
    let mut databases = Vec::new();
    databases.push(Database {
        name: "SQLite",
        url: format!("sqlite://{file}"),
        columns: "id TEXT NOT NULL PRIMARY KEY, status INTEGER NOT NULL, create_at TIMESTAMP NOT NULL, \
            update_at TIMESTAMP NOT NULL, lock TEXT, lock_at TIMESTAMP, retry INTEGER NOT NULL, errors TEXT NOT NULL",
        indexes: &[
            ("jobs_ready", "ON jobs (update_at) WHERE lock IS NULL AND status IN (10, 30)"),
            ("jobs_locked", "ON jobs (lock_at) WHERE lock IS NOT NULL"),
            ("jobs_finished", "ON jobs (update_at) WHERE lock IS NULL AND status IN (40, 50)"),
            ("jobs_ignored", "ON jobs (update_at) WHERE lock IS NULL AND status IN (50)"),
            ("jobs_created", "ON jobs (create_at)"),
        ],
        numbers: "WITH RECURSIVE numbers (n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM numbers WHERE n < {last})",
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
                ("jobs_ignored", "ON jobs (update_at) WHERE lock IS NULL AND status IN (50)"),
                ("jobs_created", "ON jobs (create_at)"),
            ],
            numbers: "WITH numbers (n) AS (SELECT generate_series({first}, {last}))",
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
                ("jobs_created", "ON jobs (status, create_at)"),
            ],
            numbers: "WITH RECURSIVE numbers (n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM numbers WHERE n < {last})",
            ago: |seconds| format!("UTC_TIMESTAMP(6) - INTERVAL ({seconds}) SECOND"),
            text: |number| format!("CAST({number} AS CHAR)"),
            settle: "ANALYZE TABLE jobs",
        });
    }
    databases
}

impl Database {
    fn fill(&self, options: &Options) {
        let mut conn = ConsoleConnection::establish(&self.url).expect("a connection");
        if self.name == "SQLite" {
            conn.batch_execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF")
                .expect("a log");
        }
        if self.name == "MariaDB" {
            let depth = format!("SET max_recursive_iterations = {}", PIECE + 1);
            conn.batch_execute(&depth).expect("a depth");
        }
        conn.batch_execute(&format!(
            "DROP TABLE IF EXISTS jobs; CREATE TABLE jobs ({})",
            self.columns
        ))
        .expect("a table");
        let select = self.select(options.finished);
        let lock = match self.name {
            "MariaDB" => "`lock`",
            _ => "lock",
        };
        let columns =
            format!("jobs (id, status, create_at, update_at, {lock}, lock_at, retry, errors)");
        for first in (1..=options.rows).step_by(PIECE) {
            let last = options.rows.min(first + PIECE - 1);
            let numbers = self
                .numbers
                .replace("{first}", &first.to_string())
                .replace("{last}", &last.to_string());
            let insert = match self.name {
                "MariaDB" => format!("INSERT INTO {columns} {numbers} {select}"),
                _ => format!("{numbers} INSERT INTO {columns} {select}"),
            };
            conn.batch_execute(&insert).expect("rows");
        }
    }

    /// The row of each number.
    fn select(&self, finished: usize) -> String {
        let joined = |texts: &[&str]| match self.name {
            "MariaDB" => format!("CONCAT({})", texts.join(", ")),
            _ => texts.join(" || "),
        };
        let (ago, text) = (self.ago, self.text);
        let number = text("n");
        let status = "CASE WHEN n % 10000 = 0 THEN 20 WHEN n % 100 = 0 AND n % 1000 < 700 THEN 30 WHEN n % 100 = 0 THEN 10 \
            WHEN n % 1000 = 1 THEN 50 ELSE 40 END";
        let refused = joined(&[
            r#"'{"error": "mail server mx7 refused the letter after '"#,
            &text("n % 90"),
            r#"' s", "attempt": 1}'"#,
        ]);
        let unknown = joined(&[
            r#"'{"error": "no customer '"#,
            &number,
            r#"'", "attempt": 1}'"#,
        ]);
        let errors = format!(
            "CASE WHEN n % 10000 = 0 THEN '{{}}' WHEN n % 1000 < 500 AND n % 100 = 0 THEN {refused} \
             WHEN n % 1000 < 700 AND n % 100 = 0 OR n % 1000 = 1 THEN {unknown} ELSE '{{}}' END"
        );
        let errors = match self.name {
            "PostgreSQL" => format!("CAST({errors} AS json)"),
            _ => errors,
        };
        // Running jobs have begun in the last 20 minutes, a quarter of their locks has
        // expired.
        let since = |more: &str| {
            ago(&format!(
                "CASE WHEN n % 10000 = 0 THEN n / 10000 % 1200 ELSE n / {finished} END + {more}"
            ))
        };
        format!(
            "SELECT {id}, {status}, {created}, {changed}, CASE WHEN n % 10000 = 0 THEN 'a worker' END, {locked}, \
             CASE WHEN n % 100 = 0 THEN 1 ELSE 0 END, {errors} FROM numbers",
            id = joined(&["'job-'", &number]),
            created = since("60"),
            changed = since("0"),
            locked = since("n % 20"),
        )
    }

    fn execute(&self, sql: &str) {
        let mut conn = ConsoleConnection::establish(&self.url).expect("a connection");
        conn.batch_execute(sql)
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    fn drop_indexes(&self) {
        let on = match self.name {
            "MariaDB" => " ON jobs",
            _ => "",
        };
        for (name, _) in self.indexes {
            self.execute(&format!("DROP INDEX {name}{on}"));
        }
        self.execute(self.settle);
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
        let mut console = Console::new().actions(true);
        for source in description.connect()? {
            console = console.source(source)?;
        }
        Ok(console.router())
    }
}

/// How long it takes to answer, and whether a query has met its limit of time.
async fn ask(router: &Router, path: &str) -> (Duration, bool) {
    let request = Request::get(path).body(Body::empty()).expect("a request");
    let begun = Instant::now();
    let answer = router.clone().oneshot(request).await.expect("an answer");
    let status = answer.status();
    let body = axum::body::to_bytes(answer.into_body(), usize::MAX)
        .await
        .expect("a body");
    let took = begun.elapsed();
    let body = String::from_utf8_lossy(&body);
    assert!(status.is_success(), "{path}: {status} {body}");
    (took, body.contains("class=\"problem"))
}

async fn measure(database: &Database, what: &str, requests: usize) {
    let router = database.router().expect("a console");
    for (name, path) in PAGES {
        let (first, mut is_limited) = ask(&router, path).await;
        let mut took = Vec::new();
        for _ in 0..requests {
            let (one, limited) = ask(&router, path).await;
            took.push(one);
            is_limited |= limited;
        }
        took.sort();
        let millis = |time: Duration| time.as_secs_f64() * 1e3;
        let at = |percent: usize| millis(took[(took.len() - 1) * percent / 100]);
        println!(
            "{:<11} {what:<16} {name:<18} {:>9.1} {:>9.1} {:>9.1}{}",
            database.name,
            millis(first),
            at(50),
            at(95),
            if is_limited { "  limit" } else { "" }
        );
    }
}

#[tokio::main]
async fn main() {
    let options = Options::read();
    println!(
        "{} rows; milliseconds; limit: a query was ended\n{:<11} {:<16} {:<18} {:>9} {:>9} {:>9}",
        options.rows, "database", "", "page", "first", "median", "95 %"
    );
    // Removed at the end.
    let folder = tempfile::tempdir().expect("a temporary folder");
    let own = folder.path().join("pages.db").display().to_string();
    let file = options.file.as_deref().unwrap_or(&own);
    let is_wanted = |database: &Database| {
        let wanted = options.database.as_deref();
        wanted.is_none_or(|wanted| database.name.eq_ignore_ascii_case(wanted))
    };
    for database in databases(file)
        .iter()
        .filter(|database| is_wanted(database))
    {
        if !options.keep {
            let begun = Instant::now();
            database.fill(&options);
            println!("{}: filled in {:.0?}", database.name, begun.elapsed());
            if options.with_indexes {
                for (name, on) in database.indexes {
                    database.execute(&format!("CREATE INDEX {name} {on}"));
                }
            }
            database.execute(database.settle);
            println!("{}: ready in {:.0?}", database.name, begun.elapsed());
        }
        if options.with_indexes {
            measure(database, "with indexes", options.requests).await;
        }
        if options.without_indexes {
            if options.with_indexes {
                database.drop_indexes();
            }
            let few = options.requests.div_ceil(10);
            measure(database, "without indexes", few).await;
        }
    }
}
