//! What the tracked columns of a user's table may be.
//!
//! Each trait is implemented for the SQL types that serve one role, and says
//! how their values are read and written. `Column` is the column's own type,
//! so that the compiler's message can name it.

use std::any::TypeId;
use std::marker::PhantomData;

use diesel::backend::Backend;
use diesel::prelude::*;
use diesel::query_builder::{QueryBuilder, QueryFragment};
use diesel::sql_types::is_nullable::NotNull;
use diesel::sql_types::{BigInt, Json, Jsonb, Nullable, SmallInt, SqlType, Text, Timestamp};

use crate::table_info::{Document, Integer, Role, TableInfo};

/// The types of the tracked columns of one table, without those of the key.
#[derive(Debug, Clone, Copy)]
pub struct Columns<Status, CreateAt, UpdateAt, Lock, LockAt, Retry, Errors, RunAt>(
    #[allow(clippy::type_complexity)]
    PhantomData<(
        Status,
        CreateAt,
        UpdateAt,
        Lock,
        LockAt,
        Retry,
        Errors,
        RunAt,
    )>,
);

/// Where the generated code finds the columns of the table of `Self`.
pub trait HasColumns {
    /// The tracked columns.
    type Columns;
    /// That of the status.
    type Status;
}

/// The same, of the columns of the key. Some may be tracked columns too.
pub trait HasKeyColumns {
    /// The columns.
    type Columns;
}

/// A column that the table does not have.
#[derive(Debug, Clone, Copy)]
pub struct NoColumn;

/// A column that holds times and that a table need not have.
pub trait OptionalTime {
    /// Its name, whether it has a time zone, and whether it may hold NULL.
    const NAMED: Option<(&'static str, bool, bool)>;
}

impl OptionalTime for NoColumn {
    const NAMED: Option<(&'static str, bool, bool)> = None;
}

impl<C: Column<SqlType: TimeColumn>> OptionalTime for C {
    const NAMED: Option<(&'static str, bool, bool)> =
        Some((C::NAME, C::SqlType::ZONED, C::SqlType::NULLABLE));
}

impl<S, C, U, L, A, R, E, RunAt> Columns<S, C, U, L, A, R, E, RunAt>
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
            (Role::Status, S::NAME, false, false),
            (
                Role::CreateAt,
                C::NAME,
                C::SqlType::ZONED,
                C::SqlType::NULLABLE,
            ),
            (
                Role::UpdateAt,
                U::NAME,
                U::SqlType::ZONED,
                U::SqlType::NULLABLE,
            ),
            (Role::Lock, L::NAME, false, false),
            (
                Role::LockAt,
                A::NAME,
                A::SqlType::ZONED,
                A::SqlType::NULLABLE,
            ),
            (Role::Retry, R::NAME, false, false),
            (Role::Errors, E::NAME, false, false),
        ];
        if let Some((name, is_zoned, is_nullable)) = RunAt::NAMED {
            columns.push((Role::RunAt, name, is_zoned, is_nullable));
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

impl<S, C, U, L, A, R, E, RunAt> Columns<S, C, U, L, A, R, E, RunAt> {
    /// A tracked column, or one of the key's, that the changeset type `Changes`
    /// sets, if there is one: its type names the columns that it sets. `run_at` is
    /// the user's to set.
    pub fn set_by<Changes, K>() -> Option<&'static str> {
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
