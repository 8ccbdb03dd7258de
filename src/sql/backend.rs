//! How each backend of Diesel's binds and reads what is the same for all tables.

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::QueryResult;
use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql};
use diesel::query_builder::{AstPass, QueryBuilder, QueryFragment};
use diesel::row::{Field as _, Row};
use diesel::sql_types::{BigInt, Binary, Integer as Int, Json, Nullable, Text, Timestamp};
use serde_json::Value;

use super::call::{Document, KeyColumn, Since};
use super::filter::HasFilter;
use super::record::{Field, Plain, places};
use super::typed::TableOn;
use crate::table_info::{self, Integer, Role, TableInfo};

/// The text of a fragment, as the database gets it.
pub(super) fn text_of<DB, F>(fragment: &F) -> QueryResult<String>
where
    DB: Backend<QueryBuilder: Default> + Default,
    F: QueryFragment<DB> + ?Sized,
{
    let mut text = DB::QueryBuilder::default();
    fragment.to_sql(&mut text, &DB::default())?;
    Ok(text.finish())
}

/// A backend whose statements the tracker can write.
#[allow(missing_docs)]
pub trait Binds: Backend<QueryBuilder: Default> + Default + HasFilter {
    fn bind_text<'b>(text: &'b str, out: AstPass<'_, 'b, Self>) -> QueryResult<()>;
    /// Binds text of a key so that it is compared as the column compares it.
    fn bind_key_text<'b, J: TableOn<Self>>(
        key: &'b KeyColumn<'_, J>,
        out: AstPass<'_, 'b, Self>,
    ) -> QueryResult<()> {
        J::bind_key(key.key, key.column, out)
    }
    /// Binds text that takes the type of the column it is compared with or written
    /// to, where that reads text: text itself, or an enum of the database.
    fn bind_inferred_text<'b>(text: &'b str, out: AstPass<'_, 'b, Self>) -> QueryResult<()> {
        Self::bind_text(text, out)
    }
    fn bind_integer<'b>(number: &'b i32, out: AstPass<'_, 'b, Self>) -> QueryResult<()>;
    fn bind_big_integer<'b>(number: &'b i64, out: AstPass<'_, 'b, Self>) -> QueryResult<()>;
    fn bind_document<'b>(
        document: &'b Document,
        kind: table_info::Document,
        out: AstPass<'_, 'b, Self>,
    ) -> QueryResult<()>;
    fn bind_time<'b>(
        time: &'b Since,
        is_zoned: bool,
        out: AstPass<'_, 'b, Self>,
    ) -> QueryResult<()>;

    fn read_time<'a>(
        row: &impl Row<'a, Self>,
        at: usize,
        is_zoned: bool,
    ) -> deserialize::Result<Option<DateTime<Utc>>>;
    /// Cut to what an `i32` holds.
    fn read_retry<'a>(
        row: &impl Row<'a, Self>,
        at: usize,
        kind: Integer,
    ) -> deserialize::Result<i32>;
    /// `Null` for NULL, a JSON string for text that is no JSON.
    fn read_document<'a>(
        row: &impl Row<'a, Self>,
        at: usize,
        kind: table_info::Document,
    ) -> deserialize::Result<Value>;
    fn read_text<'a>(row: &impl Row<'a, Self>, at: usize) -> deserialize::Result<Option<String>>;
    fn read_big_integer<'a>(row: &impl Row<'a, Self>, at: usize) -> deserialize::Result<i64>;
    fn read_bytes<'a>(row: &impl Row<'a, Self>, at: usize) -> deserialize::Result<Option<Vec<u8>>>;

    /// Reads the fields whose type does not depend on the table.
    fn read_plain<'a>(
        row: &impl Row<'a, Self>,
        fields: &[Field],
        info: &TableInfo,
    ) -> deserialize::Result<Plain> {
        let mut plain = Plain::default();
        // A description may be wrong, and one bad time is not to hide the others.
        let time = |role, at| match Self::read_time(row, at, info.is_zoned(role)) {
            Err(_) if info.is_described() => Ok(None),
            read => read,
        };
        let is_null = |at| row.get(at).is_some_and(|field| field.is_null());
        let places = || places(fields, info, row.field_count());
        plain.is_empty = fields.contains(&Field::Written)
            && places().any(|(field, at)| field == Field::Place && is_null(at));
        for (field, at) in places() {
            match field {
                Field::Written => plain.written = Self::read_big_integer(row, at)?,
                _ if plain.is_empty => {}
                Field::Row | Field::Key | Field::Status => {}
                // One bad value is not to keep a whole list from being read.
                Field::UpdateAt => plain.update_at = time(Role::UpdateAt, at).ok().flatten(),
                Field::Lock => plain.lock = Self::read_text(row, at)?,
                Field::LockAt => plain.lock_at = time(Role::LockAt, at)?,
                Field::RunAt => plain.run_at = time(Role::RunAt, at)?,
                Field::Retry => plain.retry = Self::read_retry(row, at, info.retry())?,
                Field::Errors => plain.errors = Self::read_document(row, at, info.errors())?,
                Field::Now => plain.now = time(Role::UpdateAt, at)?,
                Field::Since => plain.since = time(Role::UpdateAt, at)?,
                Field::Count => plain.count = Self::read_big_integer(row, at)?,
                Field::Place => plain.place = Self::read_big_integer(row, at)?,
                Field::CreateAt => plain.create_at = time(Role::CreateAt, at)?,
                Field::Shown(_) | Field::ColumnName => plain.shown.push(Self::read_text(row, at)?),
                Field::IsBinary => plain.is_binary = Self::read_big_integer(row, at)? != 0,
            }
        }
        Ok(plain)
    }
}

fn read<'a, ST, T, DB>(row: &impl Row<'a, DB>, at: usize) -> deserialize::Result<Option<T>>
where
    DB: Backend,
    ST: diesel::sql_types::SqlType<IsNull = diesel::sql_types::is_nullable::NotNull>,
    T: FromSql<ST, DB>,
{
    row.get_value::<Nullable<ST>, Option<T>, _>(at)
}

fn cut(number: i64) -> i32 {
    let end = if number < 0 { i32::MIN } else { i32::MAX };
    i32::try_from(number).unwrap_or(end)
}

/// What is the same for all backends, but for the types of JSON and of times.
macro_rules! binds {
    ($Backend:ty, jsonb: $Jsonb:ty, zoned: $Zoned:ty as $Time:ty, |$zoned:ident| $utc:expr, |$since:ident| $bound:expr, $($own:item)+) => {
        impl Binds for $Backend {
            fn bind_text<'b>(text: &'b str, mut out: AstPass<'_, 'b, Self>) -> QueryResult<()> {
                out.push_bind_param::<Text, _>(text)
            }

            fn bind_integer<'b>(number: &'b i32, mut out: AstPass<'_, 'b, Self>) -> QueryResult<()> {
                out.push_bind_param::<Int, _>(number)
            }

            fn bind_big_integer<'b>(number: &'b i64, mut out: AstPass<'_, 'b, Self>) -> QueryResult<()> {
                out.push_bind_param::<BigInt, _>(number)
            }

            fn bind_document<'b>(
                document: &'b Document,
                kind: table_info::Document,
                mut out: AstPass<'_, 'b, Self>,
            ) -> QueryResult<()> {
                match document {
                    Document::Text(text) => out.push_bind_param::<Text, _>(text),
                    Document::Json(value) if kind == table_info::Document::Jsonb => {
                        out.push_bind_param::<$Jsonb, _>(value)
                    }
                    Document::Json(value) => out.push_bind_param::<Json, _>(value),
                }
            }

            fn bind_time<'b>($since: &'b Since, is_zoned: bool, mut out: AstPass<'_, 'b, Self>) -> QueryResult<()> {
                if is_zoned {
                    out.push_bind_param::<$Zoned, _>($bound)
                } else {
                    out.push_bind_param::<Timestamp, _>(&$since.plain)
                }
            }

            fn read_time<'a>(row: &impl Row<'a, Self>, at: usize, is_zoned: bool) -> deserialize::Result<Option<DateTime<Utc>>> {
                Ok(if is_zoned {
                    read::<$Zoned, $Time, Self>(row, at)?.map(|$zoned| $utc)
                } else {
                    read::<Timestamp, NaiveDateTime, Self>(row, at)?.map(|time| time.and_utc())
                })
            }

            $($own)+

            fn read_document<'a>(row: &impl Row<'a, Self>, at: usize, kind: table_info::Document) -> deserialize::Result<Value> {
                let document = match kind {
                    table_info::Document::Json => read::<Json, Value, Self>(row, at)?,
                    table_info::Document::Jsonb => read::<$Jsonb, Value, Self>(row, at)?,
                    table_info::Document::Text => read::<Text, String, Self>(row, at)?
                        .map(|text| serde_json::from_str(&text).unwrap_or(Value::String(text))),
                };
                Ok(document.unwrap_or_default())
            }

            fn read_text<'a>(row: &impl Row<'a, Self>, at: usize) -> deserialize::Result<Option<String>> {
                read::<Text, String, Self>(row, at)
            }

            fn read_big_integer<'a>(row: &impl Row<'a, Self>, at: usize) -> deserialize::Result<i64> {
                row.get_value::<BigInt, i64, _>(at)
            }

            fn read_bytes<'a>(row: &impl Row<'a, Self>, at: usize) -> deserialize::Result<Option<Vec<u8>>> {
                read::<Binary, Vec<u8>, Self>(row, at)
            }
        }
    };
}

#[cfg(feature = "sqlite")]
binds! {
    diesel::sqlite::Sqlite, jsonb: diesel::sql_types::Jsonb,
    zoned: diesel::sql_types::TimestamptzSqlite as DateTime<Utc>, |time| time, |since| &since.zoned,
    fn read_retry<'a>(row: &impl Row<'a, Self>, at: usize, _: Integer) -> deserialize::Result<i32> {
        Ok(cut(row.get_value::<BigInt, i64, _>(at)?))
    }
}

#[cfg(feature = "postgres")]
binds! {
    diesel::pg::Pg, jsonb: diesel::sql_types::Jsonb,
    zoned: diesel::sql_types::Timestamptz as DateTime<Utc>, |time| time, |since| &since.zoned,
    fn bind_key_text<'b, J: TableOn<Self>>(key: &'b KeyColumn<'_, J>, mut out: AstPass<'_, 'b, Self>) -> QueryResult<()> {
        out.push_bind_param::<inferred::Inferred<J>, _>(key)
    }

    fn bind_inferred_text<'b>(text: &'b str, mut out: AstPass<'_, 'b, Self>) -> QueryResult<()> {
        out.push_bind_param::<inferred::InferredText, _>(text)
    }

    fn read_retry<'a>(row: &impl Row<'a, Self>, at: usize, kind: Integer) -> deserialize::Result<i32> {
        Ok(match kind.bits {
            16 => row.get_value::<diesel::sql_types::SmallInt, i16, _>(at)?.into(),
            32 => row.get_value::<Int, i32, _>(at)?,
            _ => cut(row.get_value::<BigInt, i64, _>(at)?),
        })
    }
}

// MySQL's times have no time zone, and its JSON has one format.
#[cfg(feature = "mysql")]
binds! {
    diesel::mysql::Mysql, jsonb: Json,
    zoned: Timestamp as NaiveDateTime, |time| time.and_utc(), |since| &since.plain,
    fn read_retry<'a>(row: &impl Row<'a, Self>, at: usize, kind: Integer) -> deserialize::Result<i32> {
        use diesel::sql_types::Unsigned;
        if kind.is_signed {
            return Ok(cut(row.get_value::<BigInt, i64, _>(at)?));
        }
        let number = row.get_value::<Unsigned<BigInt>, u64, _>(at)?;
        Ok(i32::try_from(number).unwrap_or(i32::MAX))
    }
}

/// A parameter without a type, which takes that of the column it is compared
/// with. As `text`, which Diesel would call it, a key would be compared with
/// the padding of a `CHAR(n)` cut off on one side, and past the index of the key.
#[cfg(feature = "postgres")]
mod inferred {
    use std::marker::PhantomData;

    use diesel::pg::{Pg, PgTypeMetadata};
    use diesel::serialize::{self, Output, ToSql};
    use diesel::sql_types::{HasSqlType, Text};

    use super::super::call::KeyColumn;
    use super::super::typed::TableOn;

    pub(super) struct Inferred<J>(PhantomData<J>);

    impl<J> HasSqlType<Inferred<J>> for Pg {
        fn metadata(_: &mut Self::MetadataLookup) -> PgTypeMetadata {
            PgTypeMetadata::new(0, 0)
        }
    }

    /// The same, of text whose column is not known to Rust.
    pub(super) struct InferredText;

    impl HasSqlType<InferredText> for Pg {
        fn metadata(_: &mut Self::MetadataLookup) -> PgTypeMetadata {
            PgTypeMetadata::new(0, 0)
        }
    }

    impl ToSql<InferredText, Pg> for str {
        fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
            ToSql::<Text, Pg>::to_sql(self, out)
        }
    }

    impl<J: TableOn<Pg>> ToSql<Inferred<J>, Pg> for KeyColumn<'_, J> {
        fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
            J::write_key(self.key, self.column, out)
        }
    }
}
