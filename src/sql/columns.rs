//! What the tracked columns of a user's table may be.
//!
//! Each trait is implemented for the SQL types that serve one role, and says
//! how their values are read and written. `Column` is the column's own type,
//! so that the compiler's message can name it.

use std::any::TypeId;
use std::marker::PhantomData;

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::backend::Backend;
use diesel::prelude::*;
use diesel::query_builder::{QueryBuilder, QueryFragment};
use diesel::sql_types::is_nullable::NotNull;
use diesel::sql_types::{BigInt, Json, Jsonb, Nullable, SmallInt, SqlType, Text, Timestamp};
use serde_json::Value;

use crate::table_info::{Document, Integer, Role, TableInfo};

/// The tracked columns of one table, as Diesel's own column values.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub struct Columns<Status, CreateAt, UpdateAt, Lock, LockAt, Retry, Errors, RunAt, Key> {
    pub status: Status,
    pub create_at: CreateAt,
    pub update_at: UpdateAt,
    pub lock: Lock,
    pub lock_at: LockAt,
    pub retry: Retry,
    pub errors: Errors,
    pub run_at: RunAt,
    pub key: Key,
}

/// The types of some [`Columns`], by name.
#[allow(missing_docs)]
pub trait ColumnTypes {
    type Status;
    type LockAt;
    type Retry;
    type Errors;
    type Key;
}

impl<S, C, U, L, A, R, E, RunAt, K> ColumnTypes for Columns<S, C, U, L, A, R, E, RunAt, K> {
    type Status = S;
    type LockAt = A;
    type Retry = R;
    type Errors = E;
    type Key = K;
}

/// Where the generated code finds the columns of the table of `Self`.
pub trait HasColumns {
    /// The columns' types.
    type Columns;
    /// The columns.
    const COLUMNS: Self::Columns;
}

/// A column that the table does not have.
#[derive(Debug, Clone, Copy)]
pub struct NoColumn;

/// A column that holds times and that a table need not have.
pub trait OptionalTime {
    /// Its name, and whether it has a time zone.
    const NAMED: Option<(&'static str, bool)>;
}

impl OptionalTime for NoColumn {
    const NAMED: Option<(&'static str, bool)> = None;
}

impl<C: Column<SqlType: TimeColumn>> OptionalTime for C {
    const NAMED: Option<(&'static str, bool)> = Some((C::NAME, C::SqlType::ZONED));
}

impl<S, C, U, L, A, R, E, RunAt, K> Columns<S, C, U, L, A, R, E, RunAt, K>
where
    S: Column,
    C: Column<SqlType: TimeColumn>,
    U: Column<SqlType: TimeColumn>,
    L: Column,
    A: Column<SqlType: TimeColumn>,
    R: Column<SqlType: RetryColumn>,
    E: Column<SqlType: ErrorsColumn>,
    RunAt: OptionalTime,
{
    /// What is known of the table with these columns, whose key has these
    /// names, each with whether it is text.
    pub fn info<T>(table: T, key: &[(&'static str, bool)]) -> TableInfo
    where
        T: QuerySource<FromClause: QueryFragment<SomeBackend>>,
    {
        let mut columns = vec![
            (Role::Status, S::NAME, false),
            (Role::CreateAt, C::NAME, C::SqlType::ZONED),
            (Role::UpdateAt, U::NAME, U::SqlType::ZONED),
            (Role::Lock, L::NAME, false),
            (Role::LockAt, A::NAME, A::SqlType::ZONED),
            (Role::Retry, R::NAME, false),
            (Role::Errors, E::NAME, false),
        ];
        if let Some((name, is_zoned)) = RunAt::NAMED {
            columns.push((Role::RunAt, name, is_zoned));
        }
        TableInfo::new(
            &path_of(table),
            key,
            &columns,
            R::SqlType::KIND,
            E::SqlType::KIND,
        )
    }
}

/// The table's path as Diesel writes it. That cannot fail: the names are
/// constants.
fn path_of<T>(table: T) -> String
where
    T: QuerySource<FromClause: QueryFragment<SomeBackend>>,
{
    let mut path = <SomeBackend as Backend>::QueryBuilder::default();
    let written = table
        .from_clause()
        .to_sql(&mut path, &SomeBackend::default());
    written.map(|()| path.finish()).unwrap_or_default()
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
    /// What Diesel reads it as.
    type Value;
    /// Whether the type has a time zone.
    const ZONED: bool;
    /// What a `lock_at` holds before the first lock: NULL, or a time long ago where NULL is not allowed.
    fn never() -> Self::Value;
}

/// A SQL type that counts retries.
pub trait RetryColumn {
    /// What Diesel reads it as.
    type Value;
    /// Its size.
    const KIND: Integer;
    /// The count of a new row.
    fn zero() -> Self::Value;
}

/// A SQL type that holds a JSON document.
pub trait ErrorsColumn {
    /// What Diesel reads it as.
    type Value;
    /// How it holds the document.
    const KIND: Document;
    /// The document of a new row.
    fn empty() -> Self::Value;
}

/// A time long ago, for a `lock_at` that may not be NULL: a day after the
/// epoch, which is a valid timestamp in every time zone of a session.
const NEVER: DateTime<Utc> = DateTime::from_timestamp(24 * 60 * 60, 0).unwrap();

macro_rules! time_column {
    ($($(#[$cfg:meta])* $sql_type:ty, $value:ty, zoned: $zoned:literal, never: $never:expr;)*) => {$(
        $(#[$cfg])*
        impl TimeColumn for $sql_type {
            type Value = $value;
            const ZONED: bool = $zoned;
            fn never() -> $value { $never }
        }
    )*};
}

time_column! {
    Timestamp, NaiveDateTime, zoned: false, never: NEVER.naive_utc();
    #[cfg(feature = "postgres")]
    diesel::sql_types::Timestamptz, DateTime<Utc>, zoned: true, never: NEVER;
    #[cfg(feature = "sqlite")]
    diesel::sql_types::TimestamptzSqlite, DateTime<Utc>, zoned: true, never: NEVER;
    #[cfg(feature = "mysql")]
    diesel::sql_types::Datetime, NaiveDateTime, zoned: false, never: NEVER.naive_utc();
}

impl<ST: TimeColumn + SqlType<IsNull = NotNull>> TimeColumn for Nullable<ST> {
    type Value = Option<ST::Value>;
    const ZONED: bool = ST::ZONED;
    fn never() -> Self::Value {
        None
    }
}

macro_rules! retry_column {
    ($($(#[$cfg:meta])* $sql_type:ty, $value:ty;)*) => {$(
        $(#[$cfg])*
        impl RetryColumn for $sql_type {
            type Value = $value;
            const KIND: Integer = Integer { bits: <$value>::BITS as u8, is_signed: <$value>::MIN != 0 };
            fn zero() -> $value { 0 }
        }
    )*};
}

retry_column! {
    SmallInt, i16;
    diesel::sql_types::Integer, i32;
    BigInt, i64;
    #[cfg(feature = "mysql")]
    diesel::sql_types::TinyInt, i8;
    #[cfg(feature = "mysql")]
    diesel::sql_types::Unsigned<diesel::sql_types::TinyInt>, u8;
    #[cfg(feature = "mysql")]
    diesel::sql_types::Unsigned<SmallInt>, u16;
    #[cfg(feature = "mysql")]
    diesel::sql_types::Unsigned<diesel::sql_types::Integer>, u32;
    #[cfg(feature = "mysql")]
    diesel::sql_types::Unsigned<BigInt>, u64;
}

macro_rules! errors_column {
    ($($sql_type:ty, $kind:expr, $value:ty, $empty:expr;)*) => {$(
        impl ErrorsColumn for $sql_type {
            type Value = $value;
            const KIND: Document = $kind;
            fn empty() -> $value { $empty }
        }
    )*};
}

errors_column! {
    Json, Document::Json, Value, Value::Object(serde_json::Map::new());
    Jsonb, Document::Jsonb, Value, Value::Object(serde_json::Map::new());
    Text, Document::Text, String, "{}".into();
}

impl<ST: ErrorsColumn + SqlType<IsNull = NotNull>> ErrorsColumn for Nullable<ST> {
    type Value = Option<ST::Value>;
    const KIND: Document = ST::KIND;
    fn empty() -> Self::Value {
        Some(ST::empty())
    }
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

impl<S, C, U, L, A, R, E, RunAt, K> Columns<S, C, U, L, A, R, E, RunAt, K> {
    /// A tracked column that the changeset type `Changes` sets, if there is
    /// one: its type names the columns that it sets. `run_at` is the user's to set.
    pub fn set_by<Changes>() -> Option<&'static str> {
        let set: Vec<_> = column_paths::<Changes>().collect();
        let tracked = column_paths::<(S, C, U, L, A, R, E, K)>().find(|path| set.contains(path))?;
        tracked.rsplit("::").next()
    }
}

/// The paths of Diesel columns in the name of a type.
fn column_paths<T>() -> impl Iterator<Item = &'static str> {
    let is_path = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':');
    std::any::type_name::<T>()
        .split(move |c| !is_path(c))
        .filter(|word| word.contains("::columns::"))
}
