//! Tables that are known at run time alone: by names, with no type of their rows.

mod query;
mod step;

use std::slice::from_ref;
use std::sync::Arc;
use std::time::Duration;

use crate::db::database::Database;
use crate::db::retry::Fault;
use crate::error::{Error, Result};
use crate::rows::bulk;
use crate::sql::call::Plain;
use crate::sql::described::{
    ColumnName, Described, DescribedCall, DescribedConnection, DescribedRows, RowKey, ShownColumns,
    TextRecord,
};
use crate::sql::statements;
use crate::sql::table_rows::TableRows;
use crate::table_info::{StatusCode, TableInfo};

pub use query::{ColumnText, JobPage, JobQuery, JobState, PagePlace, SeenJob, SeenLock, SortBy};
pub use step::{DescribedStep, PassedOver, ResetMany};

/// A tracked table that a program knows by names alone: it has neither a row type
/// nor a `table!` for it. The calls are those of
/// [`StatusTracked`](crate::StatusTracked), by the same statements and under the
/// same conditions. Keys are text, which the database takes as values of the key's
/// columns; codes are numbers or text.
///
/// A clone is the same table. Keep it: its statements are written once. `db` is a
/// pool or a connection of any of Diesel's three, or of an enum of them.
///
/// ```
/// # #[cfg(not(feature = "sqlite"))] fn main() {}
/// # #[cfg(feature = "sqlite")] fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use diesel::prelude::*;
/// use diesel_status_tracker::{DescribedTable, JobQuery, StepCodes, StepInfo, TableInfo};
///
/// # let mut conn = SqliteConnection::establish(":memory:")?;
/// # diesel::sql_query("CREATE TABLE jobs (id INTEGER PRIMARY KEY, status INTEGER NOT NULL, create_at TIMESTAMP NOT NULL,
/// #     update_at TIMESTAMP NOT NULL, lock TEXT, lock_at TIMESTAMP, retry INTEGER NOT NULL, errors TEXT NOT NULL)")
/// #     .execute(&mut conn)?;
/// # diesel::sql_query("INSERT INTO jobs VALUES (7, 50, '2026-01-01 00:00:00', '2026-01-01 00:00:00', NULL, NULL, 3, '{}')")
/// #     .execute(&mut conn)?;
/// let codes = StepCodes {
///     pending: 10.into(), in_progress: 20.into(), failed: 30.into(), succeeded: 40.into(), ignored: 50.into(),
/// };
/// let info = TableInfo::named("jobs").key(["id"]).usual_columns().step(StepInfo::new("job", codes)).build()?;
/// let table = DescribedTable::new(info);
///
/// let ignored = table.list(&mut conn, &JobQuery::of([50.into()]))?;
/// assert_eq!(ignored.jobs[0].key.parts(), ["7"]);
///
/// table.step("job")?.reset(&mut conn, "7")?;
/// assert_eq!(table.count_by_status(&mut conn)?, [(10.into(), 1)]);
/// # Ok(()) }
/// ```
///
/// # What it needs to know
///
/// Whether the columns are as the description says is not looked up. A wrong name
/// is the database's error. Where times with a time zone are taken for times
/// without, or the reverse, SQLite compares them as text, and wrongly.
///
/// On PostgreSQL a key becomes a value of its column by the type of the table's rows
/// (`json_populate_record`). That fails for a table that has a column of a domain
/// which refuses NULL. On SQLite and MySQL text that is no value of the key's type is
/// the key of no row; on PostgreSQL it is an error. A key of bytes is not supported.
#[derive(Debug, Clone)]
pub struct DescribedTable(Arc<Described>);

impl DescribedTable {
    /// A table with the steps of its description.
    #[must_use]
    pub fn new(info: TableInfo) -> Self {
        Self(Arc::new(Described::new(info)))
    }

    /// Its description.
    #[must_use]
    pub fn info(&self) -> &TableInfo {
        self.0.info()
    }

    /// The step with this name.
    ///
    /// # Errors
    ///
    /// [`Error::Misconfigured`] where the description has none.
    pub fn step(&self, name: &str) -> Result<DescribedStep> {
        let found = self.steps().find(|step| step.info().name() == name);
        found.ok_or_else(|| {
            let steps: Vec<_> = self.info().steps().iter().map(|step| step.name()).collect();
            self.misconfigured(format!(
                "its description has no step `{name}`, only these: {steps:?}"
            ))
        })
    }

    /// Its steps.
    pub fn steps(&self) -> impl Iterator<Item = DescribedStep> {
        let steps = 0..self.info().steps().len();
        steps.map(|number| DescribedStep::new(Arc::clone(&self.0), number))
    }

    /// Reads what is tracked of one row, `None` where no row has the key.
    ///
    /// # Errors
    ///
    /// [`Error::Database`] where the database does not take the key for one of the
    /// table; [`Error::Misconfigured`] where it has not one text for each column.
    pub fn find<D>(&self, mut db: D, key: impl Into<RowKey>) -> Result<Option<JobState>>
    where
        D: Database<Connection: DescribedConnection>,
    {
        let key = checked(&self.0, key)?;
        let call = of(&key);
        db.run(&rows(&self.0).job(&key), |conn, _| {
            let record = conn.read(&self.0, &statements::SEEN_ROW, &call)?.pop();
            Ok(record.map(|record| JobState::of(&self.0, record)))
        })
    }

    /// Reads every column of one row as the database shows it, `None` where no row
    /// has the key. At most `most_bytes` of each value leave the database, and of a
    /// value of bytes at most 4,096; hidden columns do not at all.
    ///
    /// # Errors
    ///
    /// Those of [`find`](Self::find), and [`Error::Misconfigured`] where the
    /// database has no such table.
    pub fn row<D>(
        &self,
        mut db: D,
        key: impl Into<RowKey>,
        most_bytes: usize,
    ) -> Result<Option<Vec<ColumnText>>>
    where
        D: Database<Connection: DescribedConnection>,
    {
        let key = checked(&self.0, key)?;
        let most = i32::try_from(most_bytes).unwrap_or(i32::MAX);
        let read = db.run(&rows(&self.0).job(&key), |conn, _| {
            let columns = self.columns(conn)?;
            if columns.is_empty() {
                return Ok(None);
            }
            let call = DescribedCall {
                columns: Some(ShownColumns {
                    columns: &columns,
                    most_bytes: most.into(),
                    dialect: conn.dialect(),
                }),
                ..of(&key)
            };
            let record = conn.read(&self.0, &statements::ROW, &call)?.pop();
            Ok(Some((columns, record)))
        })?;
        let Some((columns, record)) = read else {
            return Err(self.misconfigured(
                "the database has no such table, or shows none of its columns".into(),
            ));
        };
        Ok(record.map(|record| {
            let columns = columns.into_iter().zip(record.columns);
            let shown =
                columns.map(|(column, bytes)| ColumnText::of(column.name, bytes, most_bytes));
            shown.collect()
        }))
    }

    /// Reads a page of the rows with some statuses.
    ///
    /// # Errors
    ///
    /// Only those of all calls.
    pub fn list<D>(&self, mut db: D, query: &JobQuery) -> Result<JobPage>
    where
        D: Database<Connection: DescribedConnection>,
    {
        if query.statuses().is_empty() {
            return Ok(JobPage::default());
        }
        if let Some(place) = query.place() {
            checked(&self.0, place.key.clone())?;
        }
        let call = DescribedCall {
            statuses: query.statuses(),
            plain: Plain {
                page: Some(query.page()),
                limit: Some(query.limit_and_one()),
                ..Plain::default()
            },
            ..DescribedCall::default()
        };
        let records = db.run(&self.0.name(), |conn, _| {
            Ok(conn.read(&self.0, &statements::LISTED_ROWS, &call)?)
        })?;
        let jobs = records.into_iter();
        Ok(query.page_of(jobs.map(|record| JobState::of(&self.0, record)).collect()))
    }

    /// Counts the rows of the table by status, those that no step knows too. It
    /// reads the whole table, or an index on the status.
    ///
    /// # Errors
    ///
    /// Only those of all calls.
    pub fn count_by_status<D>(&self, mut db: D) -> Result<Vec<(StatusCode, i64)>>
    where
        D: Database<Connection: DescribedConnection>,
    {
        let call = DescribedCall::default();
        let records = db.run(&self.0.name(), |conn, _| {
            Ok(conn.read(&self.0, &statements::STATUS_COUNTS, &call)?)
        })?;
        let counts = records.into_iter().map(|record| {
            let status = self.0.status(record.status.unwrap_or_default());
            (status, record.plain.count)
        });
        Ok(counts.collect())
    }

    /// Deletes the rows that have one of `statuses`, that nobody holds, and that
    /// have not changed for this time, as
    /// [`StatusTracked::prune`](crate::StatusTracked::prune) does.
    ///
    /// # Errors
    ///
    /// Those of [`StatusTracked::prune`](crate::StatusTracked::prune).
    pub fn prune<D>(&self, db: D, statuses: &[StatusCode], unchanged_for: Duration) -> Result<usize>
    where
        D: Database<Connection: DescribedConnection>,
    {
        let mut count = 0;
        bulk::prune(db, &rows(&self.0), statuses, unchanged_for, &mut count)?;
        Ok(count)
    }

    /// The columns of the table, without those that are hidden.
    fn columns<C: DescribedConnection>(&self, conn: &mut C) -> Result<Vec<ColumnName>, Fault> {
        let call = DescribedCall::default();
        let records = conn.read(&self.0, &statements::TABLE_COLUMNS, &call)?;
        let named = |mut record: TextRecord| {
            let name = record.plain.shown.pop().flatten()?;
            let is_binary = record.plain.is_binary;
            Some(ColumnName { name, is_binary })
        };
        let is_shown = |column: &ColumnName| !self.info().hidden().contains(&column.name);
        Ok(records
            .into_iter()
            .filter_map(named)
            .filter(is_shown)
            .collect())
    }

    fn misconfigured(&self, problem: String) -> Error {
        Error::Misconfigured {
            job: self.0.name().into(),
            problem,
        }
    }
}

/// The table's rows, to none of its steps.
fn rows(table: &Described) -> DescribedRows<'_> {
    DescribedRows { table, step: None }
}

fn of(key: &RowKey) -> DescribedCall<'_> {
    DescribedCall {
        keys: from_ref(key),
        ..DescribedCall::default()
    }
}

/// A key with one text for each column.
fn checked(table: &Described, key: impl Into<RowKey>) -> Result<RowKey> {
    let key = key.into();
    let columns: Vec<_> = table.info().key().collect();
    if key.parts().len() == columns.len() {
        return Ok(key);
    }
    Err(Error::Misconfigured {
        job: table.name().into(),
        problem: format!("the key {key:?} is not one text for each of the columns {columns:?}"),
    })
}
