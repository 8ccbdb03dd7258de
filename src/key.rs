//! Keys of text on PostgreSQL, where the column may be `CHAR(n)`, or compare
//! in a way of its own, and Diesel's `Text` does not tell.

use std::any::TypeId;
use std::marker::PhantomData;

use diesel::expression::{
    AppearsOnTable, SelectableExpression, TypedExpressionType, ValidGrouping, is_aggregate,
};
use diesel::pg::{Pg, PgTypeMetadata};
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::{HasSqlType, SqlType, Text};

fn is_text<ST: 'static>() -> bool {
    TypeId::of::<ST>() == TypeId::of::<Text>()
}

/// A column of a key as it is read; see [`read_key`].
#[derive(Debug, Clone, Copy)]
pub struct ReadKey<C>(C);

/// Reads a column of a key so that the value finds its row again in a list of
/// keys. Lists are bound as `text[]`, to which a `CHAR(n)` is compared without
/// its padding, and this reads it so. To other text the cast does nothing.
pub fn read_key<C: Expression>(column: C) -> ReadKey<C> {
    ReadKey(column)
}

/// A value that is compared with a column of a key; see [`key_value`].
#[derive(Debug)]
pub struct KeyValue<'a, C, V> {
    value: &'a V,
    column: PhantomData<C>,
}

/// `value` as it is compared with `column`. Text is bound without a type, so
/// that it takes the column's: as `text`, which Diesel would call it, it
/// would be compared with the padding of a `CHAR(n)` cut off on one side, and
/// past the index of the key.
pub fn key_value<C: Expression, V>(_column: C, value: &V) -> KeyValue<'_, C, V> {
    KeyValue {
        value,
        column: PhantomData,
    }
}

/// The type of a parameter that takes the type of what it is compared with.
#[derive(Debug)]
pub struct Inferred<ST>(PhantomData<ST>);

impl<ST> HasSqlType<Inferred<ST>> for Pg {
    fn metadata(_: &mut Self::MetadataLookup) -> PgTypeMetadata {
        PgTypeMetadata::new(0, 0)
    }
}

impl<C, V, ST> ToSql<Inferred<ST>, Pg> for KeyValue<'_, C, V>
where
    C: std::fmt::Debug,
    V: ToSql<ST, Pg>,
{
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        self.value.to_sql(out)
    }
}

impl<C, V> Expression for KeyValue<'_, C, V>
where
    C: Expression,
    C::SqlType: SqlType + TypedExpressionType,
{
    type SqlType = C::SqlType;
}

impl<C, V> QueryFragment<Pg> for KeyValue<'_, C, V>
where
    C: Expression + std::fmt::Debug,
    C::SqlType: SqlType,
    Pg: HasSqlType<C::SqlType>,
    V: ToSql<C::SqlType, Pg>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        if is_text::<C::SqlType>() {
            out.push_bind_param::<Inferred<C::SqlType>, _>(self)
        } else {
            out.push_bind_param::<C::SqlType, _>(self.value)
        }
    }
}

impl<C: QueryId, V> QueryId for KeyValue<'_, C, V> {
    type QueryId = KeyValue<'static, C::QueryId, ()>;
    const HAS_STATIC_QUERY_ID: bool = C::HAS_STATIC_QUERY_ID;
}

impl<C, V, QS> AppearsOnTable<QS> for KeyValue<'_, C, V> where Self: Expression {}

impl<C, V, GroupBy> ValidGrouping<GroupBy> for KeyValue<'_, C, V> {
    type IsAggregate = is_aggregate::Never;
}

impl<C: Expression> Expression for ReadKey<C> {
    type SqlType = C::SqlType;
}

impl<C> QueryFragment<Pg> for ReadKey<C>
where
    C: Expression + QueryFragment<Pg>,
    C::SqlType: SqlType,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        if !is_text::<C::SqlType>() {
            return self.0.walk_ast(out);
        }
        out.push_sql("CAST(");
        self.0.walk_ast(out.reborrow())?;
        out.push_sql(" AS text)");
        Ok(())
    }
}

impl<C: QueryId> QueryId for ReadKey<C> {
    type QueryId = ReadKey<C::QueryId>;
    const HAS_STATIC_QUERY_ID: bool = C::HAS_STATIC_QUERY_ID;
}

impl<C: AppearsOnTable<QS>, QS> AppearsOnTable<QS> for ReadKey<C> {}
impl<C: SelectableExpression<QS>, QS> SelectableExpression<QS> for ReadKey<C> {}

impl<C: ValidGrouping<GroupBy>, GroupBy> ValidGrouping<GroupBy> for ReadKey<C> {
    type IsAggregate = C::IsAggregate;
}
