//! What a statement reads, by name.

use chrono::{DateTime, Utc};
use diesel::backend::Backend;
use diesel::deserialize;
use diesel::row::Row;
use serde_json::Value;

use super::typed::TableOn;
use crate::sql::tracked_table::Tracked;
use crate::table_info::{Role, TableInfo};

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
            _ => return None,
        })
    }

    /// How many columns it takes in this table, except for the user's row.
    fn width(self, info: &TableInfo) -> usize {
        match self {
            Self::Row => 0,
            Self::Key => info.key_columns().len(),
            Self::RunAt => usize::from(info.column(Role::RunAt).is_some()),
            _ => 1,
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
    pub row: Option<J>,
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
        for (field, at) in places(fields, J::info(), row.field_count()) {
            match field {
                Field::Row => record.row = Some(J::read_row(row)?),
                Field::Key => record.key = Some(J::read_key(row, at)?),
                Field::Status => record.status = Some(J::read_status(row, at)?),
                _ => {}
            }
        }
        Ok(record)
    }
}
