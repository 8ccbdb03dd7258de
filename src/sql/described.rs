//! A table that is known at run time alone: its keys and codes are text, or numbers,
//! that the database takes as values of its columns.

use std::fmt::{self, Debug};

use diesel::QueryResult;
use diesel::deserialize;
use diesel::query_builder::{AstPass, QueryFragment};
use diesel::row::Row;

use super::backend::Binds;
use super::call::{Code, Keys, Plain, Values};
use super::dialect::Dialect;
use super::new_rows::RowGroup;
use super::query::Query;
use super::record::{self, Field, places};
use super::statements::{self, Statement};
use super::table_rows::{RowCall, RowRecord, RowStore, SeenRow, TableRows, read};
use super::texts::TableTexts;
use super::typed::Fragments;
use crate::db::connection::TrackerConnection;
use crate::db::connection_enum::InnerConnection;
use crate::table_info::{Phase, StatusCode, StepInfo, TableInfo, quoted};
use status_protocol::RowState;

/// The key of a row as text, one for each column of the key. The database takes
/// each as a value of its column's type.
///
/// ```
/// use diesel_status_tracker::RowKey;
///
/// let key = RowKey::from(["7", "2026-117"]);
/// assert_eq!(key.parts(), ["7", "2026-117"]);
/// assert_eq!(format!("{key:?}"), r#"("7", "2026-117")"#);
/// assert_eq!(format!("{:?}", RowKey::from("job-1")), r#""job-1""#);
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey(Vec<String>);

impl RowKey {
    /// The text of each column.
    #[must_use]
    pub fn parts(&self) -> &[String] {
        &self.0
    }
}

impl From<Vec<String>> for RowKey {
    fn from(parts: Vec<String>) -> Self {
        Self(parts)
    }
}

impl From<&str> for RowKey {
    fn from(part: &str) -> Self {
        Self(vec![part.into()])
    }
}

impl From<String> for RowKey {
    fn from(part: String) -> Self {
        Self(vec![part])
    }
}

impl From<&Self> for RowKey {
    fn from(key: &Self) -> Self {
        key.clone()
    }
}

impl<const N: usize> From<[&str; N]> for RowKey {
    fn from(parts: [&str; N]) -> Self {
        Self(parts.map(Into::into).into())
    }
}

/// As messages show it.
impl Debug for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            [part] => Debug::fmt(part, f),
            parts => {
                let mut tuple = f.debug_tuple("");
                parts.iter().for_each(|part| _ = tuple.field(part));
                tuple.finish()
            }
        }
    }
}

/// A table with its statements, which are written once for each dialect.
#[derive(Debug)]
pub struct Described {
    info: TableInfo,
    name: String,
    texts: TableTexts,
}

impl Described {
    pub(crate) fn new(info: TableInfo) -> Self {
        Self {
            name: info.to_string(),
            info: info.described(),
            texts: TableTexts::new(),
        }
    }

    pub(crate) fn info(&self) -> &TableInfo {
        &self.info
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A status as its column holds it: a number where the steps' codes are.
    pub(crate) fn status(&self, text: String) -> StatusCode {
        let is_number = match self.info.steps() {
            [step, ..] => matches!(step.codes().pending, StatusCode::Number(_)),
            [] => true,
        };
        match text.parse() {
            Ok(number) if is_number => StatusCode::Number(number),
            _ => StatusCode::Text(text),
        }
    }
}

/// One of Diesel's three connections, or an enum of them (see
/// [`ConnectionEnum`](crate::ConnectionEnum)): the calls on a
/// [`DescribedTable`](crate::DescribedTable) take any of them.
pub trait DescribedConnection: TrackerConnection {
    /// Diesel's connection: this one, or the one that the enum holds. For a program
    /// that has SQL of its own for any of the three databases.
    ///
    /// ```
    /// # #[cfg(not(feature = "sqlite"))] fn main() {}
    /// # #[cfg(feature = "sqlite")] fn main() -> Result<(), diesel::ConnectionError> {
    /// use diesel::prelude::*;
    /// use diesel_status_tracker::{DescribedConnection, InnerConnection};
    ///
    /// let mut conn = SqliteConnection::establish(":memory:")?;
    /// assert!(matches!(conn.inner_connection(), InnerConnection::Sqlite(_)));
    /// # Ok(()) }
    /// ```
    fn inner_connection(&mut self) -> InnerConnection<'_>;
    /// What it speaks.
    #[doc(hidden)]
    fn dialect(&mut self) -> &'static Dialect;
    /// Sends a statement, and tells how many rows it changed.
    #[doc(hidden)]
    fn execute(
        &mut self,
        table: &Described,
        statement: &'static Statement,
        call: &DescribedCall<'_>,
    ) -> QueryResult<usize>;
    /// Sends a statement, and reads the rows that it returns or changed.
    #[doc(hidden)]
    fn read(
        &mut self,
        table: &Described,
        statement: &'static Statement,
        call: &DescribedCall<'_>,
    ) -> QueryResult<Vec<TextRecord>>;
}

/// The values of one call, none of them by default.
#[derive(Debug, Default)]
pub struct DescribedCall<'a> {
    pub(crate) keys: &'a [RowKey],
    pub(crate) step: Option<&'a StepInfo>,
    pub(crate) statuses: &'a [StatusCode],
    pub(crate) new_status: Option<Phase>,
    /// The columns that are shown.
    pub(crate) columns: Option<ShownColumns<'a>>,
    pub(crate) plain: Plain<'a>,
}

/// Columns of a table as the database shows them, each cut to so many bytes.
#[derive(Debug)]
pub(crate) struct ShownColumns<'a> {
    pub columns: &'a [ColumnName],
    pub most_bytes: i64,
    pub dialect: &'static Dialect,
}

/// A column of a table.
#[derive(Debug)]
pub(crate) struct ColumnName {
    pub name: String,
    pub is_binary: bool,
}

impl<'a> DescribedCall<'a> {
    /// The call that reads the rows which this one has changed.
    pub(super) fn of_rows(&self) -> DescribedCall<'a> {
        DescribedCall {
            keys: self.keys,
            plain: Plain {
                tokens: self.plain.tokens,
                ..Plain::default()
            },
            ..DescribedCall::default()
        }
    }

    fn code(&self, code: Code) -> Option<&StatusCode> {
        let step = self.step;
        let codes = || step.map(StepInfo::codes);
        Some(match code {
            Code::Pending => &codes()?.pending,
            Code::InProgress => &codes()?.in_progress,
            Code::Failed => &codes()?.failed,
            Code::Succeeded => &codes()?.succeeded,
            Code::Ignored => &codes()?.ignored,
            Code::More(n) => step?.more_pending().get(n)?,
            Code::Given(n) => self.statuses.get(n)?,
            Code::New => match self.new_status? {
                Phase::Pending => &codes()?.pending,
                Phase::InProgress => &codes()?.in_progress,
                Phase::Failed => &codes()?.failed,
                Phase::Succeeded => &codes()?.succeeded,
                Phase::Ignored => &codes()?.ignored,
                Phase::More | Phase::Other => return None,
            },
        })
    }
}

impl<DB: Binds> Values<DB> for DescribedCall<'_> {
    fn count_keys(&self, keys: Keys) -> usize {
        match keys {
            Keys::These => self.keys.len(),
            Keys::Past => 0,
        }
    }

    fn bind_key<'b>(
        &'b self,
        _: Keys,
        n: usize,
        column: usize,
        out: AstPass<'_, 'b, DB>,
    ) -> QueryResult<()> {
        let part = self.keys.get(n).and_then(|key| key.0.get(column));
        DB::bind_text(read(part)?, out)
    }

    fn bind_keys<'b>(&'b self, _: Keys, _: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        // Their type is not known, so that there is no array of it.
        read(None)
    }

    fn count_more(&self) -> usize {
        self.step.map_or(0, |step| step.more_pending().len())
    }

    fn count_given(&self) -> usize {
        self.statuses.len()
    }

    fn has_code(&self, code: Code) -> bool {
        self.code(code).is_some()
    }

    fn number(&self, code: Code) -> Option<i64> {
        match self.code(code)? {
            StatusCode::Number(number) => Some(*number),
            StatusCode::Text(_) => None,
        }
    }

    fn bind_code<'b>(&'b self, code: Code, out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        match self.code(code) {
            Some(StatusCode::Text(text)) => DB::bind_inferred_text(text, out),
            Some(StatusCode::Number(number)) => DB::bind_big_integer(number, out),
            None => read(None),
        }
    }
}

impl<DB: Binds> QueryFragment<DB> for ShownColumns<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        for (n, column) in self.columns.iter().enumerate() {
            out.push_sql(if n > 0 { ", " } else { "" });
            let name = quoted(&column.name, self.dialect.quote);
            let [before, after] = (self.dialect.cut)(&name, column.is_binary);
            out.push_sql(&before);
            DB::bind_big_integer(&self.most_bytes, out.reborrow())?;
            out.push_sql(&after);
        }
        Ok(())
    }
}

/// What was read of one row. What the statement does not read is `None`.
#[derive(Debug)]
pub struct TextRecord {
    pub(crate) key: Option<RowKey>,
    pub(crate) status: Option<String>,
    pub(crate) columns: Vec<Option<Vec<u8>>>,
    pub(crate) plain: record::Plain,
}

impl TextRecord {
    pub(super) fn read<'a, DB: Binds>(
        row: &impl Row<'a, DB>,
        fields: &[Field],
        info: &TableInfo,
        plain: record::Plain,
    ) -> deserialize::Result<Self> {
        let mut record = Self {
            key: None,
            status: None,
            columns: Vec::new(),
            plain,
        };
        for (field, at) in places(fields, info, row.field_count()) {
            match field {
                Field::Row => {
                    let columns = (0..row.field_count()).map(|at| DB::read_bytes(row, at));
                    record.columns = columns.collect::<Result<_, _>>()?;
                }
                Field::Key => {
                    let parts = (at..at + info.key_columns().len())
                        .map(|at| Ok(DB::read_text(row, at)?.unwrap_or_default()));
                    record.key = Some(RowKey(parts.collect::<deserialize::Result<_>>()?));
                }
                Field::Status => record.status = DB::read_text(row, at)?,
                _ => {}
            }
        }
        Ok(record)
    }
}

/// Gives `run` the query of a statement with the values of `call`.
pub(super) fn with_query<DB: Binds>(
    dialect: &'static Dialect,
    table: &Described,
    statement: &'static Statement,
    call: &DescribedCall<'_>,
    run: &mut dyn FnMut(Query<'_, DB>) -> QueryResult<()>,
) -> QueryResult<()> {
    let texts = &table.texts;
    let row: &dyn QueryFragment<DB> = match &call.columns {
        Some(columns) => columns,
        None => &(),
    };
    let query = Query {
        statement,
        parts: texts.parts(statement, dialect, &table.info, call.plain.wait),
        dialect,
        info: &table.info,
        plain: &call.plain,
        values: call,
        filter: None,
        fragments: Fragments {
            row,
            order: None,
            changes: None,
            new_rows: &[],
        },
        group: &RowGroup::NONE,
        is_kept: texts.keeps_list(statement, call),
        name: None,
    };
    debug_assert_eq!(query.unused(), None, "in {}", statement.name);
    run(query)
}

/// The rows of such a table, to one of its steps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DescribedRows<'a> {
    pub table: &'a Described,
    pub step: Option<&'a StepInfo>,
}

impl TableRows for DescribedRows<'_> {
    type Key = RowKey;
    type Status = Phase;
    type Code = StatusCode;

    fn table(&self) -> &str {
        &self.table.name
    }

    fn info(&self) -> &TableInfo {
        &self.table.info
    }
}

impl<'a> DescribedRows<'a> {
    /// What a status means to the step.
    pub fn phase(&self, status: &StatusCode) -> Phase {
        self.step.map_or(Phase::Other, |step| step.phase(status))
    }

    /// The status of a row and its last change, as the database shows it.
    pub fn last_change<C: DescribedConnection>(
        &self,
        conn: &mut C,
        key: &RowKey,
    ) -> QueryResult<Option<(StatusCode, Option<String>)>> {
        let call = DescribedCall {
            keys: std::slice::from_ref(key),
            ..DescribedCall::default()
        };
        let record = conn.read(self.table, &statements::SEEN_ROW, &call)?.pop();
        Ok(record.map(|record| {
            let status = self.table.status(record.status.unwrap_or_default());
            (status, record.plain.shown.into_iter().nth(1).flatten())
        }))
    }

    pub fn call<'b>(&self, call: RowCall<'b, Self>) -> DescribedCall<'b>
    where
        'a: 'b,
    {
        DescribedCall {
            keys: call.keys,
            step: self.step,
            statuses: call.statuses,
            new_status: call.new_status,
            plain: call.plain,
            ..DescribedCall::default()
        }
    }
}

impl<C: DescribedConnection> RowStore<C> for DescribedRows<'_> {
    fn execute(
        &self,
        conn: &mut C,
        statement: &'static Statement,
        call: RowCall<'_, Self>,
    ) -> QueryResult<usize> {
        conn.execute(self.table, statement, &self.call(call))
    }

    fn read(
        &self,
        conn: &mut C,
        statement: &'static Statement,
        call: RowCall<'_, Self>,
    ) -> QueryResult<Vec<RowRecord<Self>>> {
        let records = conn.read(self.table, statement, &self.call(call))?;
        let records = records.into_iter().map(|record| RowRecord {
            key: record.key,
            plain: record.plain,
        });
        Ok(records.collect())
    }

    fn row_state(&self, conn: &mut C, key: &RowKey) -> QueryResult<Option<SeenRow<Self>>> {
        let keys = std::slice::from_ref(key);
        let call = DescribedCall {
            keys,
            ..DescribedCall::default()
        };
        let record = conn.read(self.table, &statements::ROW_STATE, &call)?.pop();
        Ok(record.map(|record| {
            let shown = record.status.unwrap_or_default();
            let row = RowState {
                status: self.phase(&self.table.status(shown.clone())),
                lock: record.plain.lock,
                lock_at: record.plain.lock_at,
                retry: record.plain.retry,
                run_at: record.plain.run_at,
                now: record.plain.now.unwrap_or_default(),
            };
            (row, shown)
        }))
    }
}
