//! How a statement is filled for one table, and run within its time.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection;
use diesel::deserialize::{self, FromSql, QueryableByName};
use diesel::prelude::*;
use diesel::query_builder::{BoxedSqlQuery, SqlQuery};
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel::row::{Field as _, NamedRow, Row};
use diesel::sql_types::{Binary, Text};
use diesel_status_tracker::{ColumnText, InnerConnection, JobState, RowKey, TableInfo};

use super::condition::Names;
use super::dialect::Dialect;
use super::part::{Part, fill};
use super::statements::Statement;
use crate::error::{Error, Result};
use crate::table::Source;

/// One row, every column as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TextRow(Vec<Option<String>>);

impl TextRow {
    pub fn text(&self, column: usize) -> Option<&str> {
        self.0.get(column)?.as_deref()
    }

    /// The key, whose columns are the first.
    pub fn key(&self, columns: usize) -> RowKey {
        let parts = (0..columns).map(|n| self.text(n).unwrap_or_default().to_owned());
        parts.collect::<Vec<_>>().into()
    }

    pub fn number(&self, column: usize) -> Option<i64> {
        self.text(column)?.parse().ok()
    }

    /// A time that was read as microseconds since 1970.
    pub fn time(&self, column: usize) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp_micros(self.number(column)?)
    }
}

impl<DB> QueryableByName<DB> for TextRow
where
    DB: diesel::backend::Backend,
    Vec<u8>: FromSql<Binary, DB>,
{
    fn build<'a>(row: &impl NamedRow<'a, DB>) -> deserialize::Result<Self> {
        let columns = (0..row.field_count()).map(|n| {
            let field = Row::get(row, n).ok_or("a column is missing")?;
            // SQLite may hold text that is no UTF-8, and one such row is not to hide
            // the others.
            let bytes = Option::<Vec<u8>>::from_nullable_sql(field.value())?;
            Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
        });
        Ok(Self(columns.collect::<deserialize::Result<_>>()?))
    }
}

/// A connection on which a page asks what it shows.
pub(crate) struct Session<'a> {
    source: &'a Source,
    conn: InnerConnection<'a>,
    dialect: Dialect,
    ends: Instant,
}

impl Source {
    /// Runs `work`, whose queries take no longer than `limit` in all.
    pub(crate) fn session<T>(
        &self,
        limit: Duration,
        work: impl FnOnce(&mut Session<'_>) -> Result<T>,
    ) -> Result<T> {
        self.with(|conn| {
            let dialect = Dialect::of(&conn).ok_or_else(|| self.unknown_database())?;
            work(&mut Session {
                source: self,
                conn,
                dialect,
                ends: Instant::now() + limit,
            })
        })
    }
}

/// Calls of the tracker that read one row by its key, on whichever connection it is.
macro_rules! read_row {
    ($source:expr, $table:ident, $conn:ident => $read:expr) => {
        $source.with(|conn| {
            let $table = $source.table();
            match conn {
                InnerConnection::Postgres(conn) => limited(conn, ROW_LIMIT, |$conn| $read),
                InnerConnection::Mysql($conn) => Ok($read?),
                InnerConnection::Sqlite($conn) => Ok($read?),
                _ => Err($source.unknown_database()),
            }
        })
    };
}

const ROW_LIMIT: Duration = Duration::from_secs(2);

impl Source {
    /// What is tracked of one row.
    pub(crate) fn find(&self, key: &RowKey) -> Result<Option<JobState>> {
        read_row!(self, table, conn => table.find(&mut *conn, key))
    }

    /// Every column of one row, as the database shows it.
    pub(crate) fn row(&self, key: &RowKey, most_bytes: usize) -> Result<Option<Vec<ColumnText>>> {
        read_row!(self, table, conn => table.row(&mut *conn, key, most_bytes))
    }

    fn unknown_database(&self) -> Error {
        Error::UnknownDatabase {
            table: self.name().into(),
        }
    }
}

/// A read by a call of the tracker, which PostgreSQL ends after this time. Elsewhere
/// such a read, which is by the key, has no limit.
fn limited<T>(
    conn: &mut PgConnection,
    limit: Duration,
    read: impl FnOnce(&mut PgConnection) -> diesel_status_tracker::Result<T>,
) -> Result<T> {
    let mut transaction = conn.build_transaction().read_only();
    let done = transaction.run(|conn| {
        set_limit(conn, limit)?;
        read(conn).map_err(Ended::Read)
    });
    done.map_err(|ended| match ended {
        Ended::Read(error) => Error::Tracker(error),
        Ended::Transaction(error) => Error::Transaction(error),
    })
}

/// What has ended a transaction that reads.
enum Ended {
    Read(diesel_status_tracker::Error),
    Transaction(DieselError),
}

impl From<DieselError> for Ended {
    fn from(error: DieselError) -> Self {
        Self::Transaction(error)
    }
}

fn set_limit(conn: &mut PgConnection, limit: Duration) -> QueryResult<()> {
    conn.batch_execute(&format!(
        "SET LOCAL statement_timeout = {}",
        limit.as_millis()
    ))
}

/// Below this a query is not even begun.
const SHORTEST: Duration = Duration::from_millis(5);

impl Session<'_> {
    /// The names of the table, as its database writes them.
    pub fn names(&self) -> Names<'_> {
        Names {
            info: self.source.info(),
            dialect: self.dialect,
        }
    }

    pub fn source(&self) -> &Source {
        self.source
    }

    pub fn info(&self) -> &TableInfo {
        self.source.info()
    }

    /// Whether the planner tells how many rows it expects.
    pub fn can_estimate(&self) -> bool {
        self.dialect.as_json().is_some()
    }

    /// Runs a statement, for at most `limit`.
    pub fn ask(
        &mut self,
        statement: &'static Statement,
        limit: Duration,
        given: &[(&str, Part)],
    ) -> Result<Vec<TextRow>> {
        let left = self.ends.saturating_duration_since(Instant::now());
        let limit = limit.min(left);
        if limit < SHORTEST {
            return Err(self.too_slow(statement, limit));
        }
        let part = self.part(statement, given)?;
        let (text, binds) = part.finish(|number| self.dialect.place(number));
        let text = self.dialect.limited(text, limit);
        let begun = Instant::now();
        let read = match &mut self.conn {
            InnerConnection::Postgres(conn) => conn.build_transaction().read_only().run(|conn| {
                set_limit(conn, limit)?;
                bound(text, binds).load(conn)
            }),
            InnerConnection::Mysql(conn) => bound(text, binds).load(*conn),
            InnerConnection::Sqlite(conn) => bound(text, binds).load(*conn),
            _ => return Err(self.source.unknown_database()),
        };
        read.map_err(|error| match error {
            // The messages are in the server's language, and the codes are not told.
            DieselError::DatabaseError(DatabaseErrorKind::Unknown, _)
                if begun.elapsed() >= limit.mul_f32(0.95) =>
            {
                self.too_slow(statement, limit)
            }
            error => self.refused(statement, error),
        })
    }

    /// The statement for this table.
    pub fn part(&self, statement: &'static Statement, given: &[(&str, Part)]) -> Result<Part> {
        let names = self.names();
        let part = |word: &str| {
            let given = given.iter().find(|(name, _)| *name == word);
            given.map_or_else(|| names.part(word), |(_, part)| Some(part.clone()))
        };
        fill(statement.text, part).map_err(|word| {
            let problem = format!("a mistake of the console: `{word}` has no value");
            self.refused(statement, DieselError::QueryBuilderError(problem.into()))
        })
    }

    pub fn too_slow(&self, statement: &'static Statement, limit: Duration) -> Error {
        Error::TimeLimit {
            table: self.source.name().into(),
            query: statement.name,
            limit,
            way_out: statement.way_out.into(),
        }
    }

    fn refused(&self, statement: &'static Statement, source: DieselError) -> Error {
        Error::Query {
            table: self.source.name().into(),
            query: statement.name,
            source,
        }
    }
}

/// A query that is not kept prepared: there is no end of different ones, and a pooler
/// may stand in between.
fn bound<DB>(text: String, binds: Vec<String>) -> BoxedSqlQuery<'static, DB, SqlQuery>
where
    DB: diesel::backend::Backend + diesel::sql_types::HasSqlType<Text> + 'static,
    String: diesel::serialize::ToSql<Text, DB>,
{
    let query = diesel::sql_query(text).into_boxed::<DB>();
    binds
        .into_iter()
        .fold(query, |query, value| query.bind::<Text, _>(value))
}
