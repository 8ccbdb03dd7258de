//! What the tracked columns of a user's table may be.
//!
//! Each trait is implemented for the SQL types that serve one role, and says
//! how their values are read and written. `Column` is the column's own type,
//! so that the compiler's message can name it.

use std::any::TypeId;
use std::marker::PhantomData;

use diesel::prelude::*;
use diesel::query_builder::QueryFragment;
use diesel::sql_types::is_nullable::NotNull;
use diesel::sql_types::{BigInt, Json, Jsonb, Nullable, SmallInt, SqlType, Text, Timestamp};

use super::backend::text_of;
use crate::table_info::{Document, Integer, Role, TableInfo};

/// One tracked column.
#[derive(Debug, Clone, Copy)]
pub struct ColumnInfo {
    role: Role,
    name: &'static str,
    holds: Holds,
    /// The path of Diesel's column type.
    path: fn() -> &'static str,
}

/// What a tracked column holds, as far as the statements depend on it.
#[derive(Debug, Clone, Copy)]
pub enum Holds {
    /// A status code.
    Status,
    /// The token of a lock.
    Token,
    /// A time: whether with a time zone, and whether it may be NULL.
    Time(bool, bool),
    /// A number of retries.
    Count(Integer),
    /// The error document.
    Document(Document),
}

impl ColumnInfo {
    /// Column `C` in this role.
    #[must_use]
    pub const fn new<C: Column>(role: Role, holds: Holds) -> Self {
        Self {
            role,
            name: C::NAME,
            holds,
            path: std::any::type_name::<C>,
        }
    }
}

/// Where the generated code finds the columns of the table of `Self`.
pub trait HasColumns {
    /// The column of the status.
    type Status;
    /// All that are tracked.
    const COLUMNS: &'static [ColumnInfo];
}

/// The same, of the columns of the key. Some may be tracked columns too.
pub trait HasKeyColumns {
    /// The columns.
    type Columns;
}

/// Whether a job of the table can wait.
#[must_use]
pub const fn has_run_at(columns: &[ColumnInfo]) -> bool {
    let mut n = 0;
    while n < columns.len() {
        if matches!(columns[n].role, Role::RunAt) {
            return true;
        }
        n += 1;
    }
    false
}

/// What is known of the table of `J`, whose key has these names, each with
/// whether it is text.
pub fn info<J, T>(table: T, key: &[(&'static str, bool)]) -> TableInfo
where
    J: HasColumns,
    T: QuerySource<FromClause: QueryFragment<SomeBackend>>,
{
    table_info(J::COLUMNS, &path_of(table), key)
}

fn table_info(columns: &[ColumnInfo], path: &str, key: &[(&str, bool)]) -> TableInfo {
    let mut retry = None;
    let mut errors = None;
    let mut named = Vec::new();
    for column in columns {
        let (is_zoned, is_nullable) = match column.holds {
            Holds::Time(is_zoned, is_nullable) => (is_zoned, is_nullable),
            _ => (false, false),
        };
        match column.holds {
            Holds::Count(kind) => retry = Some(kind),
            Holds::Document(kind) => errors = Some(kind),
            _ => {}
        }
        named.push((column.role, column.name, is_zoned, is_nullable));
    }
    // `job_table!` always names both.
    let retry = retry.unwrap_or(<diesel::sql_types::Integer as RetryColumn>::KIND);
    TableInfo::new(path, key, &named, retry, errors.unwrap_or(Document::Json))
}

/// The table's path as Diesel writes it. That cannot fail: the names are
/// constants.
fn path_of<T>(table: T) -> String
where
    T: QuerySource<FromClause: QueryFragment<SomeBackend>>,
{
    text_of::<SomeBackend, _>(&table.from_clause()).unwrap_or_default()
}

/// A backend whose feature is on: each writes the same names.
#[cfg(feature = "sqlite")]
type SomeBackend = diesel::sqlite::Sqlite;
#[cfg(all(feature = "postgres", not(feature = "sqlite")))]
type SomeBackend = diesel::pg::Pg;
#[cfg(all(feature = "mysql", not(any(feature = "sqlite", feature = "postgres"))))]
type SomeBackend = diesel::mysql::Mysql;

/// The name of a column of the key, and whether it is text to Diesel.
#[must_use]
pub fn key_column<C: Column<SqlType: 'static>>() -> (&'static str, bool) {
    (C::NAME, TypeId::of::<C::SqlType>() == TypeId::of::<Text>())
}

/// A SQL type that holds a point in time.
pub trait TimeColumn {
    /// Whether the type has a time zone.
    const ZONED: bool;
    /// Whether it may be NULL.
    const NULLABLE: bool = false;
}

/// A SQL type that counts retries.
pub trait RetryColumn {
    /// Its size.
    const KIND: Integer;
}

/// A SQL type that holds a JSON document.
pub trait ErrorsColumn {
    /// How it holds the document.
    const KIND: Document;
}

macro_rules! time_column {
    ($($(#[$cfg:meta])* $sql_type:ty, zoned: $zoned:literal;)*) => {$(
        $(#[$cfg])*
        impl TimeColumn for $sql_type {
            const ZONED: bool = $zoned;
        }
    )*};
}

time_column! {
    Timestamp, zoned: false;
    #[cfg(feature = "postgres")]
    diesel::sql_types::Timestamptz, zoned: true;
    #[cfg(feature = "sqlite")]
    diesel::sql_types::TimestamptzSqlite, zoned: true;
    #[cfg(feature = "mysql")]
    diesel::sql_types::Datetime, zoned: false;
}

impl<ST: TimeColumn + SqlType<IsNull = NotNull>> TimeColumn for Nullable<ST> {
    const ZONED: bool = ST::ZONED;
    const NULLABLE: bool = true;
}

macro_rules! retry_column {
    ($($(#[$cfg:meta])* $sql_type:ty, $bits:literal, signed: $is_signed:literal;)*) => {$(
        $(#[$cfg])*
        impl RetryColumn for $sql_type {
            const KIND: Integer = Integer { bits: $bits, is_signed: $is_signed };
        }
    )*};
}

retry_column! {
    SmallInt, 16, signed: true;
    diesel::sql_types::Integer, 32, signed: true;
    BigInt, 64, signed: true;
    #[cfg(feature = "mysql")]
    diesel::sql_types::TinyInt, 8, signed: true;
    #[cfg(feature = "mysql")]
    diesel::sql_types::Unsigned<diesel::sql_types::TinyInt>, 8, signed: false;
    #[cfg(feature = "mysql")]
    diesel::sql_types::Unsigned<SmallInt>, 16, signed: false;
    #[cfg(feature = "mysql")]
    diesel::sql_types::Unsigned<diesel::sql_types::Integer>, 32, signed: false;
    #[cfg(feature = "mysql")]
    diesel::sql_types::Unsigned<BigInt>, 64, signed: false;
}

impl ErrorsColumn for Json {
    const KIND: Document = Document::Json;
}

impl ErrorsColumn for Jsonb {
    const KIND: Document = Document::Jsonb;
}

impl ErrorsColumn for Text {
    const KIND: Document = Document::Text;
}

impl<ST: ErrorsColumn + SqlType<IsNull = NotNull>> ErrorsColumn for Nullable<ST> {
    const KIND: Document = ST::KIND;
}

/// The number behind a status code, where the column holds numbers and the
/// type converts into one. Two traits and a reference make the choice at
/// compile time: `(&Probe::<S, ST>::new(code)).number()`.
#[derive(Debug)]
pub struct Probe<S, ST>(S, PhantomData<ST>);

impl<S, ST> Probe<S, ST> {
    /// Asks for the number of `status` in a column of type `ST`.
    pub fn new(status: S) -> Self {
        Self(status, PhantomData)
    }
}

/// The case of a number.
pub trait IsNumber {
    /// The number.
    fn number(&self) -> Option<i64>;
}

impl<S: Copy + Into<i64>, ST: RetryColumn> IsNumber for Probe<S, ST> {
    fn number(&self) -> Option<i64> {
        Some(self.0.into())
    }
}

/// Every other case.
pub trait IsNoNumber {
    /// None.
    fn number(&self) -> Option<i64> {
        None
    }
}

impl<S, ST> IsNoNumber for &Probe<S, ST> {}

/// A tracked column of `J`, or one of its key, that the changeset type `Changes`
/// sets, if there is one: its type names the columns that it sets. `run_at` is
/// the user's to set.
#[must_use]
pub fn tracked_column_in<J: HasColumns + HasKeyColumns, Changes>() -> Option<&'static str> {
    let set: Vec<_> = column_paths(std::any::type_name::<Changes>()).collect();
    let is_ours = |column: &&ColumnInfo| column.role != Role::RunAt;
    let tracked = J::COLUMNS.iter().filter(is_ours);
    let tracked = tracked.flat_map(|column| column_paths((column.path)()));
    let key = column_paths(std::any::type_name::<J::Columns>());
    let found = tracked.chain(key).find(|path| set.contains(path))?;
    found.rsplit("::").next()
}

/// The paths of Diesel columns in the name of a type.
fn column_paths(name: &'static str) -> impl Iterator<Item = &'static str> {
    let is_path = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':');
    name.split(move |c| !is_path(c))
        .filter(|word| word.contains("::columns::"))
}
