//! What a statement reads, by name.

use std::ops::Range;

use chrono::{DateTime, Utc};
use diesel::backend::Backend;
use diesel::deserialize;
use diesel::row::{Field as _, Row};
use serde_json::Value;

use super::typed::TableOn;
use crate::panics::Discarded;
use crate::sql::tracked_table::Tracked;
use crate::table_info::{Role, TableInfo};
use status_protocol::BoxError;

/// What can be read of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Field {
    /// The user's row. It is the first of the fields.
    Row,
    Key,
    Status,
    UpdateAt,
    Lock,
    LockAt,
    Retry,
    Errors,
    RunAt,
    /// The database's time.
    Now,
    /// The rows of a group.
    Count,
    /// The place of a row among those that were picked.
    Place,
    /// When such a row had last changed.
    Since,
    CreateAt,
    /// A column as the database shows it.
    Shown(Role),
    /// The name of a column of the table, and whether it holds bytes.
    ColumnName,
    IsBinary,
    /// How many rows another part of the statement has written.
    Written,
}

impl Field {
    /// The column that it is, where it is one.
    pub(super) fn role(self) -> Option<Role> {
        Some(match self {
            Self::Status => Role::Status,
            Self::UpdateAt => Role::UpdateAt,
            Self::Lock => Role::Lock,
            Self::LockAt => Role::LockAt,
            Self::Retry => Role::Retry,
            Self::Errors => Role::Errors,
            Self::RunAt => Role::RunAt,
            Self::CreateAt => Role::CreateAt,
            Self::Shown(role) => role,
            _ => return None,
        })
    }

    /// How many columns it takes in this table, except for the user's row.
    fn width(self, info: &TableInfo) -> usize {
        match self {
            Self::Row => 0,
            Self::Key => info.key_columns().len(),
            _ => {
                let is_there = |role| info.column(role).is_some();
                usize::from(self.role().is_none_or(is_there))
            }
        }
    }
}

/// The fields of a list with their first columns, counted from the end: only
/// Diesel knows how many columns the user's row has, and these are the first.
pub(super) fn places<'a>(
    fields: &'a [Field],
    info: &'a TableInfo,
    columns: usize,
) -> impl Iterator<Item = (Field, usize)> + 'a {
    let own: usize = fields.iter().map(|field| field.width(info)).sum();
    let mut next = columns.saturating_sub(own);
    fields.iter().filter_map(move |field| {
        let width = field.width(info);
        let at = next;
        next += width;
        match field {
            Field::Row => Some((*field, 0)),
            _ => (width > 0).then_some((*field, at)),
        }
    })
}

/// What was read of one row. What the statement does not read is `None`.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct Record<J: Tracked> {
    /// Guarded, since its drop may panic while the panic of reading a later row unwinds.
    pub row: Option<Discarded<J>>,
    pub key: Option<J::Key>,
    pub status: Option<J::Status>,
    pub plain: Plain,
}

/// The fields that are of the same type whatever the table.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct Plain {
    pub lock: Option<String>,
    pub lock_at: Option<DateTime<Utc>>,
    pub update_at: Option<DateTime<Utc>>,
    pub run_at: Option<DateTime<Utc>>,
    pub now: Option<DateTime<Utc>>,
    pub since: Option<DateTime<Utc>>,
    pub retry: i32,
    pub errors: Value,
    pub count: i64,
    pub place: i64,
    pub create_at: Option<DateTime<Utc>>,
    /// What was read to be shown, in the order of the fields.
    pub shown: Vec<Option<String>>,
    pub is_binary: bool,
    pub written: i64,
    /// The row only tells how many were written.
    pub is_empty: bool,
}

impl<J: Tracked> Record<J> {
    /// Reads the fields whose type depends on the table.
    pub(super) fn read<'a, DB: Backend>(
        row: &impl Row<'a, DB>,
        fields: &[Field],
        plain: Plain,
    ) -> deserialize::Result<Self>
    where
        J: TableOn<DB>,
    {
        let mut record = Self {
            row: None,
            key: None,
            status: None,
            plain,
        };
        let mut reads_row = false;
        if record.plain.is_empty {
            return Ok(record);
        }
        for (field, at) in places(fields, J::info(), row.field_count()) {
            match field {
                Field::Row => reads_row = true,
                Field::Key => {
                    let key = J::read_key(row, at);
                    let end = at + field.width(J::info());
                    record.key = Some(key.map_err(|error| key_error(row, at..end, error))?);
                }
                Field::Status => record.status = Some(J::read_status(row, at)?),
                _ => {}
            }
        }
        // After the key: a row without one shows that best.
        if reads_row {
            record.row = Some(Discarded::new(J::read_row(row)?));
        }
        Ok(record)
    }
}

/// A row has no key.
#[derive(Debug, thiserror::Error)]
#[error("its key is NULL")]
pub(crate) struct KeyIsNull;

/// Why a key in these columns cannot be read.
fn key_error<'a, DB: Backend>(
    row: &impl Row<'a, DB>,
    columns: Range<usize>,
    error: BoxError,
) -> BoxError {
    let is_null = |column| row.get(column).is_some_and(|field| field.is_null());
    match columns.into_iter().any(is_null) {
        true => Box::new(KeyIsNull),
        false => error,
    }
}
