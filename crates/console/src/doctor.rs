//! What is wrong with a tracked table, how bad that is, and the SQL that mends it.

mod columns;
mod mysql;
mod names;
mod plans;
mod postgres;
mod rows;
mod sqlite;

use std::fmt::{self, Display};
use std::time::Duration;

use chrono::Utc;
use diesel::QueryResult;
use diesel_status_tracker::{InnerConnection, TableInfo};
use serde::Serialize;

use crate::catalog::Catalog;
use crate::error::{Error, Result};
use crate::sql::doctor as sql;
use crate::table::Source;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// It costs time or attention, or will.
    Warning,
    /// Jobs are lost sight of, or calls fail.
    Broken,
}

impl Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Broken => "broken",
        })
    }
}

/// Something that the doctor has found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// The name of the check, for scripts.
    pub check: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong.
    pub sentence: String,
    /// The SQL that mends it, or that shows more, where there is some.
    pub sql: Option<String>,
}

impl Finding {
    fn new(check: &'static str, severity: Severity, sentence: impl Into<String>) -> Self {
        Self {
            check,
            severity,
            sentence: sentence.into(),
            sql: None,
        }
    }

    fn mended_by(mut self, sql: impl Into<String>) -> Self {
        self.sql = Some(sql.into());
        self
    }
}

/// From when on the doctor mentions what changes by the hour.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Limits {
    /// A ready job that waits for longer.
    pub ready: Duration,
    /// A transaction that is open for longer.
    pub transaction: Duration,
    /// A clock that differs by more from that of this host.
    pub clock: Duration,
}

impl Default for Limits {
    /// An hour, ten minutes and five seconds.
    fn default() -> Self {
        Self {
            ready: Duration::from_secs(3600),
            transaction: Duration::from_secs(600),
            clock: Duration::from_secs(5),
        }
    }
}

impl Limits {
    /// The same for a transaction that is open for longer than this.
    #[must_use]
    pub fn transaction(mut self, transaction: Duration) -> Self {
        self.transaction = transaction;
        self
    }
}

/// Looks at a table, and says what is wrong, the worst first. Nothing is changed. Rows are
/// counted up to 10,000, and where no index finds them among the first 100,000 of the table
/// (1,000 where it is about `errors`).
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use diesel::prelude::*;
/// # use diesel::connection::SimpleConnection;
/// # use diesel::r2d2::{ConnectionManager, Pool};
/// use diesel_status_console::{Severity, Source, doctor};
/// use diesel_status_tracker::{DescribedTable, StepCodes, StepInfo, TableInfo};
///
/// # let pool = Pool::builder().max_size(1).build(ConnectionManager::<SqliteConnection>::new(":memory:"))?;
/// # pool.get()?.batch_execute("CREATE TABLE jobs (id INTEGER PRIMARY KEY, status INTEGER NOT NULL, create_at TIMESTAMP NOT NULL,
/// #     update_at TIMESTAMP NOT NULL, lock TEXT, lock_at TIMESTAMP, retry INTEGER NOT NULL)")?;
/// # let codes = StepCodes { pending: 10.into(), in_progress: 20.into(), failed: 30.into(), succeeded: 40.into(), ignored: 50.into() };
/// # let info = TableInfo::named("jobs").key(["id"]).usual_columns().step(StepInfo::new("job", codes)).build()?;
/// // A table without the column `errors`.
/// let jobs = Source::new(DescribedTable::new(info), pool);
/// let findings = doctor(&jobs, Default::default())?;
/// assert_eq!((findings[0].check, findings[0].severity), ("column_missing", Severity::Broken));
/// println!("{}", findings[0].sql.as_deref().unwrap()); // ALTER TABLE jobs ADD COLUMN errors …
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`Error::NoTable`], [`Error::NoConnection`], and [`Error::Catalog`] where the database does not
/// even tell the table's columns, since another session has locked it. What else it refuses, or does not answer in time, is a finding (`unchecked`).
pub fn doctor(source: &Source, limits: Limits) -> Result<Vec<Finding>> {
    let mut findings = of_table(source, limits)?;
    if let Some(pooler) = source.with_two(postgres::pooler)? {
        findings.extend(or_unchecked("whether there is a pooler", pooler));
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    Ok(findings)
}

fn of_table(source: &Source, limits: Limits) -> Result<Vec<Finding>> {
    source.with(|mut conn| {
        let asked = |source_error| Error::Query {
            table: source.name().into(),
            query: "the limit of a wait",
            source: source_error,
        };
        let wait = sql::shorten_wait(&mut conn).map_err(asked)?;
        let findings = findings(&mut conn, source.info(), limits);
        sql::restore_wait(&mut conn, wait).map_err(asked)?;
        findings
    })
}

fn findings(
    conn: &mut InnerConnection<'_>,
    info: &TableInfo,
    limits: Limits,
) -> Result<Vec<Finding>> {
    let catalog = Catalog::found(conn, info.schema(), info.name())?;
    let mut findings = columns::check(&catalog, info)?;
    // What the table does not have cannot be asked for.
    if findings
        .iter()
        .all(|finding| finding.check != columns::MISSING)
    {
        let plans = plans::check(conn, &catalog, info);
        findings.extend(or_unchecked("how claims are planned", plans));
        let rows = rows::check(conn, &catalog, info, limits, &findings);
        findings.extend(or_unchecked("the rows", rows));
    }
    findings.extend(or_unchecked("the clock", clock(conn, limits)));
    let of_database = match conn {
        InnerConnection::Postgres(conn) => postgres::check(conn, &catalog, info, limits),
        InnerConnection::Mysql(conn) => mysql::check(conn, &catalog),
        InnerConnection::Sqlite(conn) => sqlite::check(conn, &catalog),
        _ => Ok(Vec::new()),
    };
    findings.extend(or_unchecked("the settings", of_database));
    Ok(findings)
}

/// What was found, or that this could not be looked at: the rest of the report stands.
fn or_unchecked(what: &str, found: QueryResult<Vec<Finding>>) -> Vec<Finding> {
    found.unwrap_or_else(|error| {
        let sentence = format!("{what} could not be looked at: {error}");
        vec![Finding::new("unchecked", Severity::Warning, sentence)]
    })
}

/// The clock of the database against that of this host.
fn clock(conn: &mut InnerConnection<'_>, limits: Limits) -> QueryResult<Vec<Finding>> {
    let before = Utc::now();
    let there = sql::clock(conn)?;
    let took = Utc::now() - before;
    let here = before + took / 2;
    #[allow(
        clippy::cast_precision_loss,
        reason = "a difference of clocks needs no more"
    )]
    let ahead = there - here.timestamp_micros() as f64 / 1e6;
    if ahead.abs() <= limits.clock.as_secs_f64() {
        return Ok(Vec::new());
    }
    let direction = if ahead > 0.0 { "ahead of" } else { "behind" };
    Ok(vec![Finding::new(
        "clock",
        Severity::Warning,
        format!(
            "the database's clock is {:.0} s {direction} that of this host: the tracker takes all times from the database, but a program that computes a time itself is off by so much; set the clocks by NTP",
            ahead.abs()
        ),
    )])
}
