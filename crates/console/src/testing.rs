//! Tables for the tests, on each database that there is.

use std::cell::RefCell;
use std::io::{self, Write};
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

use diesel::connection::SimpleConnection;
use diesel_status_tracker::{DescribedTable, Role, StepCodes, StepInfo, TableInfo};

use crate::database::{ConsoleConnection, Pool, connect};
use crate::table::Source;

/// What is logged by this thread while it works.
///
/// The subscriber is that of the whole process: with one of a thread, what another thread
/// logs first, for which nobody listens, would be logged by no thread from then on.
pub(crate) fn logged(work: impl FnOnce()) -> String {
    thread_local! {
        static LINES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    struct Lines;
    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            LINES.with_borrow_mut(|lines| lines.extend(bytes));
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    static SUBSCRIBER: Once = Once::new();
    SUBSCRIBER.call_once(|| {
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(|| Lines);
        tracing::subscriber::set_global_default(subscriber.finish()).unwrap();
        // Others may have logged while it was set.
        tracing::callsite::rebuild_interest_cache();
    });
    LINES.take();
    work();
    String::from_utf8(LINES.take()).unwrap()
}

static NUMBER: AtomicUsize = AtomicUsize::new(0);

/// A table of its own, dropped at the end.
pub(crate) struct TestTable {
    pub source: Source,
    pool: Pool,
    name: String,
    /// The SQLite database.
    _folder: tempfile::TempDir,
}

/// What a row is made of. Times are seconds before now.
#[derive(Clone)]
pub(crate) struct TestRow {
    pub tenant: i64,
    pub id: String,
    pub status: i64,
    pub created: f64,
    pub changed: f64,
    pub locked: Option<f64>,
    /// Seconds from now.
    pub run_in: Option<f64>,
    pub errors: String,
}

impl TestRow {
    pub fn new(id: &str, status: i64) -> Self {
        Self {
            tenant: 1,
            id: id.into(),
            status,
            created: 1000.0,
            changed: 10.0,
            locked: None,
            run_in: None,
            errors: "{}".into(),
        }
    }

    pub fn changed(mut self, ago: f64) -> Self {
        self.changed = ago;
        self
    }

    pub fn locked(mut self, ago: f64) -> Self {
        self.locked = Some(ago);
        self
    }

    pub fn failed_with(mut self, error: &str) -> Self {
        let entry = serde_json::json!({ "error": error, "traceback": "", "attempt": 1, "at": "2026-01-01T00:00:00.000Z" });
        let mut document = entry.clone();
        document["history"] = serde_json::json!([entry]);
        self.errors = document.to_string();
        self
    }
}

pub(crate) fn step(name: &str, first: i64) -> StepInfo {
    let codes = StepCodes {
        pending: first.into(),
        in_progress: (first + 10).into(),
        failed: (first + 20).into(),
        succeeded: (first + 30).into(),
        ignored: (first + 40).into(),
    };
    StepInfo::new(name, codes)
}

/// Runs the test on SQLite, and on the servers whose URLs the environment has.
pub(crate) fn on_each_database(test: impl Fn(&TestTable)) {
    for variable in ["", "POSTGRES_URL", "MYSQL_URL"] {
        let folder = tempfile::tempdir().unwrap();
        let url = if variable.is_empty() {
            let path = folder.path().join("jobs.db");
            std::fs::write(&path, "").unwrap();
            format!("sqlite://{}", path.display())
        } else {
            match std::env::var(variable) {
                Ok(url) => url,
                Err(_) => continue,
            }
        };
        test(&TestTable::new(&url, folder));
    }
}

impl TestTable {
    fn new(url: &str, folder: tempfile::TempDir) -> Self {
        let pool = connect(url, 4).unwrap();
        let name = format!(
            "console_{}_{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        let (text, time, lock) = match &mut *pool.get().unwrap() {
            ConsoleConnection::Mysql(_) => ("VARCHAR(200)", "DATETIME(6)", "`lock`"),
            ConsoleConnection::Postgres(_) => ("TEXT", "TIMESTAMP", "\"lock\""),
            ConsoleConnection::Sqlite(_) => ("TEXT", "TIMESTAMP", "`lock`"),
        };
        let errors = if text == "TEXT" { "TEXT" } else { "LONGTEXT" };
        let table = Self {
            source: Source::new(described(&name), pool.clone()),
            pool,
            name,
            _folder: folder,
        };
        table.sql(&format!(
            "CREATE TABLE {} (tenant BIGINT NOT NULL, id {text} NOT NULL, status INTEGER NOT NULL, create_at {time} NOT NULL,
             update_at {time} NOT NULL, {lock} {text}, lock_at {time} NULL, retry INTEGER NOT NULL DEFAULT 0, run_at {time} NULL,
             secret {text} DEFAULT 'hush', errors {errors} NOT NULL, PRIMARY KEY (tenant, id))",
            table.name
        ));
        table
    }

    pub fn sql(&self, sql: &str) {
        self.pool.get().unwrap().batch_execute(sql).unwrap();
    }

    pub fn pool(&self) -> Pool {
        self.pool.clone()
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The column of the token.
    pub fn lock(&self) -> &'static str {
        match &*self.pool.get().unwrap() {
            ConsoleConnection::Postgres(_) => "\"lock\"",
            _ => "`lock`",
        }
    }

    pub fn is_sqlite(&self) -> bool {
        matches!(&*self.pool.get().unwrap(), ConsoleConnection::Sqlite(_))
    }

    pub fn is_mysql(&self) -> bool {
        matches!(&*self.pool.get().unwrap(), ConsoleConnection::Mysql(_))
    }

    /// Text as SQL has it.
    fn quoted(&self, text: &str) -> String {
        let text = text.replace('\'', "''");
        match &*self.pool.get().unwrap() {
            ConsoleConnection::Mysql(_) => format!("'{}'", text.replace('\\', r"\\")),
            _ => format!("'{text}'"),
        }
    }

    fn time(&self, from_now: f64) -> String {
        match &*self.pool.get().unwrap() {
            ConsoleConnection::Mysql(_) => {
                format!(
                    "UTC_TIMESTAMP(6) + INTERVAL {} MICROSECOND",
                    (from_now * 1e6).round()
                )
            }
            ConsoleConnection::Postgres(_) => {
                format!("clock_timestamp() AT TIME ZONE 'UTC' + interval '{from_now} seconds'")
            }
            ConsoleConnection::Sqlite(_) => {
                format!("strftime('%Y-%m-%d %H:%M:%f', 'now', '{from_now:+} seconds')")
            }
        }
    }

    pub fn insert(&self, row: &TestRow) {
        let time = |at: Option<f64>| at.map_or("NULL".into(), |at| self.time(at));
        let lock = self.lock();
        self.sql(&format!(
            "INSERT INTO {} (tenant, id, status, create_at, update_at, {lock}, lock_at, run_at, errors) VALUES ({}, {}, {}, {}, {}, {}, {}, {}, {})",
            self.name,
            row.tenant,
            self.quoted(&row.id),
            row.status,
            self.time(-row.created),
            self.time(-row.changed),
            row.locked.map_or("NULL", |_| "'token'"),
            time(row.locked.map(|ago| -ago)),
            time(row.run_in),
            self.quoted(&row.errors),
        ));
    }

    pub fn insert_all(&self, rows: &[TestRow]) {
        rows.iter().for_each(|row| self.insert(row));
    }
}

impl Drop for TestTable {
    fn drop(&mut self) {
        if let Ok(mut conn) = self.pool.get() {
            _ = conn.batch_execute(&format!("DROP TABLE {}", self.name));
        }
    }
}

pub(crate) fn described(name: &str) -> DescribedTable {
    let info = TableInfo::named(name)
        .key(["tenant", "id"])
        .column(Role::RunAt, "run_at")
        .usual_columns()
        .errors(diesel_status_tracker::ErrorsType::Text)
        .hide(["secret"])
        .step(step("send", 10))
        .step(step("pay", 110).with_more_pending([40.into()]))
        .build()
        .unwrap();
    DescribedTable::new(info)
}
