//! The program `status-console serve` on a table with some jobs.

use std::process::{Command, Stdio};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use tempfile::TempDir;

use crate::pages::Pages;

pub struct Served {
    pub url: String,
    _pages: Pages,
    folder: TempDir,
}

/// Failed, pending, running and finished invoices, with a clock that begins now.
const INVOICES: &str = r#"
INSERT INTO invoices (id, customer, status, create_at, update_at, lock, lock_at, retry, errors)
WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 200),
told (n, error, at) AS (SELECT n, CASE
        WHEN n <= 20 THEN 'mail server mx' || n || ' refused the letter after ' || n || ' s'
        WHEN n <= 40 THEN 'customer "' || n || '" has no address'
    END, strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-' || n || ' seconds') FROM n)
SELECT
    printf('2026-%03d', n), 'customer ' || (n % 7),
    CASE WHEN n <= 30 THEN 30 WHEN n <= 40 THEN 50 WHEN n <= 60 THEN 10 WHEN n = 61 THEN 20 ELSE 40 END,
    strftime('%Y-%m-%d %H:%M:%f', 'now', '-1 hour', '-' || n || ' seconds'),
    strftime('%Y-%m-%d %H:%M:%f', 'now', '-' || n || ' seconds'),
    CASE WHEN n = 61 THEN 'a worker' END,
    CASE WHEN n >= 61 THEN strftime('%Y-%m-%d %H:%M:%f', 'now', '-' || (n + 1 + n % 20) || ' seconds') END,
    CASE WHEN n <= 40 THEN 1 ELSE 0 END,
    CASE WHEN error IS NULL THEN '{}' ELSE json_object('error', error, 'traceback', '', 'attempt', 1, 'at', at,
        'history', json_array(json_object('error', error, 'traceback', '', 'attempt', 1, 'at', at))) END
FROM told;
"#;

impl Served {
    /// The pages of `invoices`, filled with [`INVOICES`].
    pub fn start(arguments: &[&str]) -> Self {
        Self::with(INVOICES, arguments)
    }

    /// The same with rows of one's own.
    pub fn with(rows: &str, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/jobs.db", folder.path().display());
        let mut conn = SqliteConnection::establish(&url).unwrap();
        conn.batch_execute(
            "PRAGMA journal_mode = WAL; CREATE TABLE invoices (id TEXT NOT NULL PRIMARY KEY, customer TEXT)",
        )
        .unwrap();
        let program = || {
            let mut program = Command::new(env!("CARGO_BIN_EXE_status-console"));
            program
                .current_dir(folder.path())
                .env("DATABASE_URL", &url)
                .env_remove("STATUS_CONSOLE_CONFIG")
                .env_remove("STATUS_CONSOLE_USER")
                .env_remove("STATUS_CONSOLE_PASSWORD")
                .stdin(Stdio::null());
            program
        };
        let migration = program()
            .args(["migration", "invoices", "--only", "up"])
            .output()
            .unwrap();
        conn.batch_execute(&String::from_utf8(migration.stdout).unwrap())
            .unwrap();
        conn.batch_execute(rows).unwrap();
        let pages = Pages::of(
            program()
                .args(["serve", "invoices", "--listen", "127.0.0.1:0"])
                .args(arguments)
                .stderr(Stdio::null()),
        );
        Self {
            url: format!("http://{}", pages.address),
            _pages: pages,
            folder,
        }
    }

    pub fn sql(&self, sql: &str) {
        let url = format!("sqlite://{}/jobs.db", self.folder.path().display());
        let mut conn = SqliteConnection::establish(&url).unwrap();
        conn.batch_execute(&format!("PRAGMA busy_timeout = 5000; {sql}"))
            .unwrap();
    }

    /// How many invoices have this status.
    pub fn count(&self, status: i32) -> i64 {
        #[derive(QueryableByName)]
        struct Count {
            #[diesel(sql_type = diesel::sql_types::BigInt)]
            count: i64,
        }
        let url = format!("sqlite://{}/jobs.db", self.folder.path().display());
        let mut conn = SqliteConnection::establish(&url).unwrap();
        let count = diesel::sql_query(format!(
            "SELECT count(*) AS count FROM invoices WHERE status = {status}"
        ));
        count.get_result::<Count>(&mut conn).unwrap().count
    }
}
