//! MySQL: a read without locks, status by status.

use diesel::expression::{AppearsOnTable, SelectableExpression};
use diesel::mysql::Mysql;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::BoolOrNullableBool;

/// The first rows that are ready; see [`first_ready`].
pub struct FirstReady<T: QuerySource, K, R, P, O> {
    from_clause: T::FromClause,
    key: K,
    columns: R,
    ready: Vec<P>,
    order: O,
    limit: usize,
}

/// Selects `columns` of the first `limit` rows of `table`, by `order`, for which
/// one of the predicates `ready` holds: one a status. `key` tells rows apart.
///
/// MySQL reads the first rows of one status off an index, but sorts all rows
/// of two. So each status gives its first rows, and the first of those are taken.
pub fn first_ready<T, K, R, P, O>(
    table: T,
    key: K,
    columns: R,
    ready: Vec<P>,
    order: O,
    limit: usize,
) -> FirstReady<T, K, R, P, O>
where
    T: QuerySource,
    K: SelectableExpression<T>,
    R: SelectableExpression<T>,
    P: AppearsOnTable<T>,
    P::SqlType: BoolOrNullableBool,
    O: AppearsOnTable<T>,
{
    FirstReady {
        from_clause: table.from_clause(),
        key,
        columns,
        ready,
        order,
        limit,
    }
}

impl<T, K, R, P, O> QueryFragment<Mysql> for FirstReady<T, K, R, P, O>
where
    T: QuerySource,
    T::FromClause: QueryFragment<Mysql>,
    K: QueryFragment<Mysql>,
    R: QueryFragment<Mysql>,
    P: QueryFragment<Mysql>,
    O: QueryFragment<Mysql>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Mysql>) -> QueryResult<()> {
        let limit = format!(" LIMIT {}", self.limit);
        out.push_sql("SELECT ");
        self.columns.walk_ast(out.reborrow())?;
        out.push_sql(" FROM ");
        self.from_clause.walk_ast(out.reborrow())?;
        out.push_sql(" WHERE (");
        self.key.walk_ast(out.reborrow())?;
        // A query in brackets, since MySQL takes no limit directly under IN.
        out.push_sql(") IN (SELECT * FROM (");
        for (n, ready) in self.ready.iter().enumerate() {
            out.push_sql(if n > 0 {
                " UNION ALL (SELECT "
            } else {
                "(SELECT "
            });
            self.key.walk_ast(out.reborrow())?;
            out.push_sql(" FROM ");
            self.from_clause.walk_ast(out.reborrow())?;
            out.push_sql(" WHERE ");
            ready.walk_ast(out.reborrow())?;
            out.push_sql(" ORDER BY ");
            self.order.walk_ast(out.reborrow())?;
            out.push_sql(&limit);
            out.push_sql(")");
        }
        out.push_sql(") AS tracker_first) ORDER BY ");
        self.order.walk_ast(out.reborrow())?;
        out.push_sql(&limit);
        Ok(())
    }
}

impl<T: QuerySource, K, R, P, O> QueryId for FirstReady<T, K, R, P, O> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<T: QuerySource, K, R: Expression, P, O> Query for FirstReady<T, K, R, P, O> {
    type SqlType = R::SqlType;
}

impl<T: QuerySource, K, R, P, O, Conn> RunQueryDsl<Conn> for FirstReady<T, K, R, P, O> {}
