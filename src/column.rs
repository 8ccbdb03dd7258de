//! What the tracked columns of a user's table may be.
//!
//! Each trait is implemented for the SQL types that serve one role, and says
//! how their values are read and written. `Column` is the column's own type,
//! so that the compiler's message can name it.

use std::marker::PhantomData;

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::backend::Backend;
use diesel::deserialize::FromSql;
use diesel::sql_types::{BigInt, Integer, Json, Jsonb, Nullable, SmallInt, Text, Timestamp};
use serde_json::Value;

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

/// The types of [`Columns`], by name.
#[allow(missing_docs)]
pub trait ColumnTypes {
    type Status;
    type UpdateAt;
    type LockAt;
    type Retry;
    type Errors;
    type RunAt;
    type Key;
}

impl<S, C, U, L, A, R, E, RunAt, K> ColumnTypes for Columns<S, C, U, L, A, R, E, RunAt, K> {
    type Status = S;
    type UpdateAt = U;
    type LockAt = A;
    type Retry = R;
    type Errors = E;
    type RunAt = RunAt;
    type Key = K;
}

/// Where the generated code finds the columns of the table of `Self`.
pub trait HasColumns {
    /// The columns' types.
    type Columns;
    /// The columns.
    const COLUMNS: Self::Columns;
}

/// A SQL type that holds a point in time.
pub trait TimeColumn {
    /// What Diesel reads it as.
    type Value;
    /// Whether the type has a time zone.
    const ZONED: bool;
    /// The time in UTC, `None` for NULL.
    fn read(value: Self::Value) -> Option<DateTime<Utc>>;
    /// A time in UTC as the column's value.
    fn write(time: DateTime<Utc>) -> Self::Value;
    /// What a `lock_at` holds before the first lock: NULL, or a time long ago where NULL is not allowed.
    fn never() -> Self::Value;
}

/// A value of a column, `None` where it cannot be read: one bad value is not to
/// keep a whole list from being read.
#[derive(Debug, diesel::deserialize::FromSqlRow)]
pub struct Lenient<T>(pub Option<T>);

impl<T: FromSql<ST, DB>, ST, DB: Backend> FromSql<ST, DB> for Lenient<T> {
    fn from_sql(bytes: DB::RawValue<'_>) -> diesel::deserialize::Result<Self> {
        Ok(Self(T::from_sql(bytes).ok()))
    }

    fn from_nullable_sql(bytes: Option<DB::RawValue<'_>>) -> diesel::deserialize::Result<Self> {
        Ok(Self(T::from_nullable_sql(bytes).ok()))
    }
}

/// A SQL type that counts retries.
pub trait RetryColumn {
    /// What Diesel reads it as.
    type Value;
    /// The count, cut to what an `i32` holds.
    fn read(value: Self::Value) -> i32;
    /// The count, cut to what the column holds.
    fn write(retry: i32) -> Self::Value;
}

/// A SQL type that holds a JSON document.
pub trait ErrorsColumn {
    /// What Diesel reads it as.
    type Value;
    /// The document; `Null` for NULL, a JSON string for text that is no JSON.
    fn read(value: Self::Value) -> Value;
    /// The document as the column's value.
    fn write(document: Value) -> Self::Value;
}

/// A time long ago, for a `lock_at` that may not be NULL: a day after the
/// epoch, which is a valid timestamp in every time zone of a session.
const NEVER: DateTime<Utc> = DateTime::from_timestamp(24 * 60 * 60, 0).unwrap();

macro_rules! time_column {
    ($($(#[$cfg:meta])* $sql_type:ty, $value:ty, zoned: $zoned:literal, |$time:ident| $utc:expr, |$utc_time:ident| $written:expr, never: $never:expr;)*) => {$(
        $(#[$cfg])*
        impl TimeColumn for $sql_type {
            type Value = $value;
            const ZONED: bool = $zoned;
            fn read($time: $value) -> Option<DateTime<Utc>> { Some($utc) }
            fn write($utc_time: DateTime<Utc>) -> $value { $written }
            fn never() -> $value { $never }
        }
    )*};
}

time_column! {
    Timestamp, NaiveDateTime, zoned: false, |time| time.and_utc(), |time| time.naive_utc(), never: NEVER.naive_utc();
    #[cfg(feature = "postgres")]
    diesel::sql_types::Timestamptz, DateTime<Utc>, zoned: true, |time| time, |time| time, never: NEVER;
    #[cfg(feature = "sqlite")]
    diesel::sql_types::TimestamptzSqlite, DateTime<Utc>, zoned: true, |time| time, |time| time, never: NEVER;
    #[cfg(feature = "mysql")]
    diesel::sql_types::Datetime, NaiveDateTime, zoned: false, |time| time.and_utc(), |time| time.naive_utc(), never: NEVER.naive_utc();
}

impl<ST: TimeColumn + diesel::sql_types::SqlType<IsNull = diesel::sql_types::is_nullable::NotNull>>
    TimeColumn for Nullable<ST>
{
    type Value = Option<ST::Value>;
    const ZONED: bool = ST::ZONED;
    fn read(value: Self::Value) -> Option<DateTime<Utc>> {
        value.and_then(ST::read)
    }
    fn write(time: DateTime<Utc>) -> Self::Value {
        Some(ST::write(time))
    }
    fn never() -> Self::Value {
        None
    }
}

macro_rules! retry_column {
    ($($(#[$cfg:meta])* $sql_type:ty, $value:ty;)*) => {$(
        $(#[$cfg])*
        impl RetryColumn for $sql_type {
            type Value = $value;
            fn read(value: $value) -> i32 {
                // What is too small is below zero, which an unsigned type never is.
                #[allow(unused_comparisons)]
                let end = if value < 0 { i32::MIN } else { i32::MAX };
                i32::try_from(value).unwrap_or(end)
            }
            fn write(retry: i32) -> $value {
                <$value>::try_from(retry).unwrap_or(<$value>::MAX)
            }
        }
    )*};
}

retry_column! {
    SmallInt, i16;
    Integer, i32;
    BigInt, i64;
    #[cfg(feature = "mysql")]
    diesel::sql_types::TinyInt, i8;
    #[cfg(feature = "mysql")]
    diesel::sql_types::Unsigned<diesel::sql_types::TinyInt>, u8;
    #[cfg(feature = "mysql")]
    diesel::sql_types::Unsigned<SmallInt>, u16;
    #[cfg(feature = "mysql")]
    diesel::sql_types::Unsigned<Integer>, u32;
    #[cfg(feature = "mysql")]
    diesel::sql_types::Unsigned<BigInt>, u64;
}

impl ErrorsColumn for Json {
    type Value = Value;
    fn read(value: Value) -> Value {
        value
    }
    fn write(document: Value) -> Value {
        document
    }
}

impl ErrorsColumn for Jsonb {
    type Value = Value;
    fn read(value: Value) -> Value {
        value
    }
    fn write(document: Value) -> Value {
        document
    }
}

impl ErrorsColumn for Text {
    type Value = String;
    fn read(value: String) -> Value {
        serde_json::from_str(&value).unwrap_or(Value::String(value))
    }
    fn write(document: Value) -> String {
        document.to_string()
    }
}

impl<
    ST: ErrorsColumn + diesel::sql_types::SqlType<IsNull = diesel::sql_types::is_nullable::NotNull>,
> ErrorsColumn for Nullable<ST>
{
    type Value = Option<ST::Value>;
    fn read(value: Self::Value) -> Value {
        value.map_or(Value::Null, ST::read)
    }
    fn write(document: Value) -> Self::Value {
        Some(ST::write(document))
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
