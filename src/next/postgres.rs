//! PostgreSQL: one statement that picks rows, skips locked ones, and updates.

use std::marker::PhantomData;

use diesel::expression::{
    AppearsOnTable, NonAggregate, SelectableExpression, TypedExpressionType, ValidGrouping,
    is_aggregate,
};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AsChangeset, AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, SingleValue, SqlType};

/// The place of a row among those that an `UpdateNext` picked.
#[derive(Debug, Clone, Copy)]
pub struct Place;

/// When such a row had last changed, in a column of type `ST`.
#[derive(Debug, Clone, Copy)]
pub struct Since<ST>(PhantomData<ST>);

impl<ST> Default for Since<ST> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

/// Updates the first rows of a query that nobody has locked; see [`update_next`].
pub struct UpdateNext<T: QuerySource, S, Q, K, R> {
    from_clause: T::FromClause,
    changeset: S,
    candidates: Q,
    limit: usize,
    key: K,
    key_names: &'static [&'static str],
    returning: R,
}

/// Sets `changes` on the first `limit` rows of `candidates`, a query that
/// selects the columns `key` of `table` and the time of the last change, and
/// returns `columns` of each. Rows that others have locked are skipped.
pub fn update_next<T, S, Q, K, R>(
    table: T,
    changes: S,
    candidates: Q,
    limit: usize,
    key: K,
    key_names: &'static [&'static str],
    columns: R,
) -> UpdateNext<T, S::Changeset, Q, K, R>
where
    T: QuerySource,
    S: AsChangeset<Target = T>,
    Q: Query,
    K: SelectableExpression<T>,
    R: SelectableExpression<T> + NonAggregate,
{
    let from_clause = table.from_clause();
    UpdateNext {
        from_clause,
        changeset: changes.as_changeset(),
        candidates,
        limit,
        key,
        key_names,
        returning: columns,
    }
}

impl<T, S, Q, K, R> QueryFragment<Pg> for UpdateNext<T, S, Q, K, R>
where
    T: QuerySource,
    T::FromClause: QueryFragment<Pg>,
    S: QueryFragment<Pg>,
    Q: QueryFragment<Pg>,
    K: QueryFragment<Pg>,
    R: QueryFragment<Pg>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        // Materialized, since a plan that ran the inner query more than once
        // would lock, and claim, more rows than the limit.
        out.push_sql("WITH tracker_picked (");
        for (n, name) in self.key_names.iter().enumerate() {
            out.push_sql(if n > 0 { ", " } else { "" });
            out.push_identifier(name)?;
        }
        out.push_sql(", tracker_since) AS MATERIALIZED (");
        self.candidates.walk_ast(out.reborrow())?;
        // A literal: with a bound limit the server plans anew at each call.
        out.push_sql(&format!(
            " LIMIT {} FOR UPDATE SKIP LOCKED) UPDATE ",
            self.limit
        ));
        self.from_clause.walk_ast(out.reborrow())?;
        out.push_sql(" SET ");
        self.changeset.walk_ast(out.reborrow())?;
        // RETURNING keeps no order, so each row tells its place.
        out.push_sql(
            " FROM (SELECT row_number() OVER () AS tracker_place, tracker_picked.* FROM tracker_picked) AS tracker_picked WHERE ",
        );
        // For more than a few rows the planner would rather read the whole
        // table, finished rows too, than look up each. An array it looks up.
        if let [name] = self.key_names {
            self.key.walk_ast(out.reborrow())?;
            out.push_sql(" = ANY(ARRAY(SELECT ");
            out.push_identifier(name)?;
            out.push_sql(" FROM tracker_picked)) AND ");
        }
        out.push_sql("(");
        self.key.walk_ast(out.reborrow())?;
        out.push_sql(") = (");
        for (n, name) in self.key_names.iter().enumerate() {
            out.push_sql(if n > 0 {
                ", tracker_picked."
            } else {
                "tracker_picked."
            });
            out.push_identifier(name)?;
        }
        out.push_sql(") RETURNING ");
        self.returning.walk_ast(out)
    }
}

impl<T: QuerySource, S, Q, K, R> QueryId for UpdateNext<T, S, Q, K, R> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<T: QuerySource, S, Q, K, R: Expression> Query for UpdateNext<T, S, Q, K, R> {
    type SqlType = R::SqlType;
}

impl<T: QuerySource, S, Q, K, R, Conn> RunQueryDsl<Conn> for UpdateNext<T, S, Q, K, R> {}

impl Expression for Place {
    type SqlType = BigInt;
}

impl<QS> AppearsOnTable<QS> for Place {}
impl<QS> SelectableExpression<QS> for Place {}

impl<GroupBy> ValidGrouping<GroupBy> for Place {
    type IsAggregate = is_aggregate::No;
}

impl<ST: SqlType + SingleValue + TypedExpressionType> Expression for Since<ST> {
    type SqlType = ST;
}

impl<ST, QS> AppearsOnTable<QS> for Since<ST> where Self: Expression {}
impl<ST, QS> SelectableExpression<QS> for Since<ST> where Self: Expression {}

impl<ST, GroupBy> ValidGrouping<GroupBy> for Since<ST> {
    type IsAggregate = is_aggregate::No;
}

impl<ST> QueryFragment<Pg> for Since<ST> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("tracker_picked.tracker_since");
        Ok(())
    }
}

impl QueryFragment<Pg> for Place {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("tracker_picked.tracker_place");
        Ok(())
    }
}
