//! What a call gives a statement to fill in.

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::QueryResult;
use diesel::backend::Backend;
use diesel::query_builder::AstPass;
use serde_json::Value;
use std::fmt;
use std::time::Duration;

use super::backend::Binds;
use super::dialect::{Dialect, LockWait};
use super::filter::Filter;
use super::typed::TableOn;
use crate::sql::tracked_table::Tracked;
use crate::table_info::{self, Role, TableInfo};
use status_protocol::{FailureOutcome, Step};

/// Longer durations are cut to this: 100 years keep every result inside the
/// range of each database's timestamps.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// A duration as the database gets it.
pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.min(LONGEST).as_micros()).unwrap_or(i64::MAX)
}

/// A number of rows as the database gets it.
pub(super) fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// The values of one call, none of them by default.
pub struct Call<'a, J: Tracked> {
    pub(crate) keys: &'a [J::Key],
    pub(crate) past: &'a [J::Key],
    pub(crate) step: Option<&'a Step<J::Status>>,
    pub(crate) statuses: &'a [J::Status],
    pub(crate) new_status: Option<J::Status>,
    pub(crate) updates: Option<&'a J::Updates>,
    pub(crate) new_rows: &'a [&'a J::Updates],
    pub(crate) plain: Plain<'a>,
}

impl<J: Tracked> Default for Call<'_, J> {
    fn default() -> Self {
        Self {
            keys: &[],
            past: &[],
            step: None,
            statuses: &[],
            new_status: None,
            updates: None,
            new_rows: &[],
            plain: Plain::default(),
        }
    }
}

/// The values that are of the same type whatever the table.
#[derive(Debug, Default)]
pub(crate) struct Plain<'a> {
    pub tokens: &'a [&'a str],
    /// The token of the rows that are written, where others are claimed.
    pub written_token: Option<&'a str>,
    pub count: Option<i32>,
    pub document: Option<Document>,
    pub ago: Option<i64>,
    pub later: Option<i64>,
    pub since: Option<Since>,
    pub limit: Option<i64>,
    pub filter: Option<&'a Filter>,
    pub wait: LockWait,
    pub page: Option<Page<'a>>,
    /// The `lock_at` that was seen, as the database shows it.
    pub seen_lock_at: Option<&'a str>,
    /// The `update_at` that was seen, as the database shows it; NULL is `Some(None)`.
    pub seen_update_at: Option<Option<&'a str>>,
}

impl<'a> Plain<'a> {
    /// On rows with these tokens.
    pub fn held(tokens: &'a [&'a str], wait: LockWait) -> Self {
        Self {
            tokens,
            wait,
            ..Self::default()
        }
    }

    /// Adds what a failure writes beside the status.
    pub fn fail<S>(&mut self, outcome: &FailureOutcome<S>, errors: Value, info: &TableInfo) {
        self.count = Some(info.retry().cut(outcome.retry));
        self.document = Some(Document::of(errors, info));
        self.later = outcome.delay.map(micros);
    }
}

/// Which rows of a sorted list are read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page<'a> {
    /// The time by which they are sorted; rows with one time by their keys.
    pub by: Role,
    pub is_descending: bool,
    /// Only those after this one.
    pub after: Option<Place<'a>>,
}

/// The place of a row in a sorted list, as the database shows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub time: Option<&'a str>,
    pub key: &'a [String],
}

/// A JSON document as its column takes it.
#[derive(Debug)]
#[allow(missing_docs)]
pub enum Document {
    Json(Value),
    Text(String),
}

impl Document {
    pub(crate) fn of(value: Value, info: &TableInfo) -> Self {
        match info.errors() {
            table_info::Document::Text => Self::Text(value.to_string()),
            _ => Self::Json(value),
        }
    }
}

/// A time as a column with a time zone takes it, and as one without.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct Since {
    pub zoned: DateTime<Utc>,
    pub plain: NaiveDateTime,
}

impl From<DateTime<Utc>> for Since {
    fn from(time: DateTime<Utc>) -> Self {
        Self {
            zoned: time,
            plain: time.naive_utc(),
        }
    }
}

/// Which keys are meant.
#[derive(Debug, Clone, Copy)]
pub enum Keys {
    /// Those that the call is about.
    These,
    /// Those that a search leaves out.
    Past,
}

/// Which status code is meant.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub enum Code {
    Pending,
    InProgress,
    Failed,
    Succeeded,
    Ignored,
    /// One of `MORE_PENDING`.
    More(usize),
    /// One of those that the call gives.
    Given(usize),
    /// That which the call writes.
    New,
}

/// The values whose type depends on the table, for a query that does not.
pub trait Values<DB: Backend> {
    /// How many keys there are.
    fn count_keys(&self, keys: Keys) -> usize;
    /// Binds one column of one key.
    fn bind_key<'b>(
        &'b self,
        keys: Keys,
        n: usize,
        column: usize,
        out: AstPass<'_, 'b, DB>,
    ) -> QueryResult<()>;
    /// Binds all keys, which have one column, as an array.
    fn bind_keys<'b>(&'b self, keys: Keys, out: AstPass<'_, 'b, DB>) -> QueryResult<()>;
    /// How many codes `MORE_PENDING` has.
    fn count_more(&self) -> usize;
    /// How many codes the call gives.
    fn count_given(&self) -> usize;
    /// Whether there is such a code.
    fn has_code(&self, code: Code) -> bool;
    /// The code as a number, where the column holds numbers.
    fn number(&self, code: Code) -> Option<i64>;
    /// Binds a code.
    fn bind_code<'b>(&'b self, code: Code, out: AstPass<'_, 'b, DB>) -> QueryResult<()>;
}

impl<'a, J: Tracked> Call<'a, J> {
    /// The call that reads the rows which this one has changed.
    pub(super) fn of_rows(&self) -> Call<'a, J> {
        Call {
            keys: self.keys,
            plain: Plain {
                tokens: self.plain.tokens,
                ..Plain::default()
            },
            ..Call::default()
        }
    }

    fn keys(&self, keys: Keys) -> &[J::Key] {
        match keys {
            Keys::These => self.keys,
            Keys::Past => self.past,
        }
    }

    fn code(&self, code: Code) -> Option<&J::Status> {
        Some(match code {
            Code::Pending => &self.step?.pending,
            Code::InProgress => &self.step?.in_progress,
            Code::Failed => &self.step?.failed,
            Code::Succeeded => &self.step?.succeeded,
            Code::Ignored => &self.step?.ignored,
            Code::More(n) => self.step?.more_pending.get(n)?,
            Code::Given(n) => self.statuses.get(n)?,
            Code::New => self.new_status.as_ref()?,
        })
    }
}

/// One column of a key, for a parameter that takes the column's own type.
pub struct KeyColumn<'a, J: Tracked> {
    pub(super) key: &'a J::Key,
    pub(super) column: usize,
}

impl<J: Tracked> fmt::Debug for KeyColumn<'_, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.key)
    }
}

/// A call on a table of one backend.
pub(super) struct TypedCall<'a, J: Tracked> {
    call: &'a Call<'a, J>,
    /// The columns of the keys, one after the other, where text is inferred.
    columns: [Vec<KeyColumn<'a, J>>; 2],
}

impl<'a, J: Tracked> TypedCall<'a, J> {
    pub fn new(call: &'a Call<'a, J>, dialect: &Dialect) -> Self {
        let key = J::info().key_columns();
        let has_text = dialect.infers_text && key.iter().any(|column| column.is_text);
        let columns = |keys: &'a [J::Key]| {
            let mut columns = Vec::new();
            if has_text {
                for each in keys {
                    for column in 0..key.len() {
                        columns.push(KeyColumn { key: each, column });
                    }
                }
            }
            columns
        };
        Self {
            call,
            columns: [columns(call.keys), columns(call.past)],
        }
    }
}

impl<J: TableOn<DB>, DB: Binds> Values<DB> for TypedCall<'_, J> {
    fn count_keys(&self, keys: Keys) -> usize {
        self.call.keys(keys).len()
    }

    fn bind_key<'b>(
        &'b self,
        keys: Keys,
        n: usize,
        column: usize,
        out: AstPass<'_, 'b, DB>,
    ) -> QueryResult<()> {
        let key = J::info().key_columns();
        let inferred = &self.columns[keys as usize];
        match (
            inferred.get(n * key.len() + column),
            self.call.keys(keys).get(n),
        ) {
            (Some(inferred), _) if key[column].is_text => DB::bind_key_text(inferred, out),
            (_, Some(key)) => J::bind_key(key, column, out),
            _ => Ok(()),
        }
    }

    fn bind_keys<'b>(&'b self, keys: Keys, out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        J::bind_keys(self.call.keys(keys), out)
    }

    fn count_more(&self) -> usize {
        self.call.step.map_or(0, |step| step.more_pending.len())
    }

    fn count_given(&self) -> usize {
        self.call.statuses.len()
    }

    fn has_code(&self, code: Code) -> bool {
        self.call.code(code).is_some()
    }

    fn number(&self, code: Code) -> Option<i64> {
        J::number(*self.call.code(code)?)
    }

    fn bind_code<'b>(&'b self, code: Code, out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        match self.call.code(code) {
            Some(status) => J::bind_status(status, out),
            None => Ok(()),
        }
    }
}
