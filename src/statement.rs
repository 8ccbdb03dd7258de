//! The update that stays prepared.
//!
//! `diesel::update` marks its statements as unsafe to cache, so each call has
//! the database parse and plan it again. These nodes build the same SQL of
//! the same typed parts and leave the mark out: their text varies only with
//! the shape of the changeset, and of the many shapes that one can have, few
//! are [`kept`].

use std::marker::PhantomData;

use diesel::backend::Backend;
use diesel::expression::{
    AppearsOnTable, AsExpression, NonAggregate, SelectableExpression, TypedExpressionType,
    ValidGrouping, is_aggregate,
};
use diesel::prelude::*;
use diesel::query_builder::{AsChangeset, AstPass, Query, QueryFragment, QueryId};
use diesel::serialize::ToSql;
use diesel::sql_types::{Bool, BoolOrNullableBool, HasSqlType, SqlType};

/// How long an update waits for a row that another transaction holds. What
/// waits for longer keeps its connection from all others.
///
/// Claims hold rows for a moment that they do not get, so a statement on many
/// rows that never waits would often fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockWait {
    /// A moment, in which most transactions end: a quarter of a second on
    /// PostgreSQL, a second on MariaDB, which counts in seconds.
    Briefly,
    /// Not at all. PostgreSQL's least is a millisecond.
    Never,
}

/// What limits the wait for a row inside the text of an update, since a
/// setting of the session would be one more statement, and the user's too.
///
/// SQLite knows no rows in this sense: its busy timeout limits the wait for
/// the file. MySQL, other than MariaDB, waits for `innodb_lock_wait_timeout`.
pub trait LimitsLockWait: Backend {
    /// Whether the text depends on the limit.
    const IN_TEXT: bool = true;
    /// What stands before the update.
    fn before(_wait: LockWait) -> &'static str {
        ""
    }
    /// What is added to its condition, and holds for all rows.
    fn condition(_wait: LockWait) -> &'static str {
        ""
    }
}

#[cfg(feature = "sqlite")]
impl LimitsLockWait for diesel::sqlite::Sqlite {
    const IN_TEXT: bool = false;
}

#[cfg(feature = "postgres")]
impl LimitsLockWait for diesel::pg::Pg {
    // The setting is gone with the transaction, and one of the caller's has its
    // own put back (`TrackerConnection::keeping_lock_wait`). The condition names no column,
    // so that it is evaluated once, before the first row.
    //
    // A row that was held and has not changed when it is let go is changed to
    // what was computed before the wait: its stamps are so much older.
    fn condition(wait: LockWait) -> &'static str {
        match wait {
            LockWait::Briefly => {
                " AND (SELECT set_config('lock_timeout', '250ms', true)) IS NOT NULL"
            }
            LockWait::Never => " AND (SELECT set_config('lock_timeout', '1ms', true)) IS NOT NULL",
        }
    }
}

#[cfg(feature = "mysql")]
impl LimitsLockWait for diesel::mysql::Mysql {
    // A comment to MySQL.
    fn before(wait: LockWait) -> &'static str {
        match wait {
            LockWait::Briefly => "/*M! SET STATEMENT innodb_lock_wait_timeout = 1 FOR */ ",
            LockWait::Never => "/*M! SET STATEMENT innodb_lock_wait_timeout = 0 FOR */ ",
        }
    }
}

/// `UPDATE … SET … WHERE …`; see [`update`].
pub struct Update<T: QuerySource, S, P> {
    from_clause: T::FromClause,
    changeset: S,
    predicate: P,
    wait: LockWait,
}

/// `UPDATE … SET … WHERE … RETURNING …`; see [`Update::returning`].
pub struct UpdateReturning<T: QuerySource, S, P, R> {
    update: Update<T, S, P>,
    returning: R,
}

/// Sets `changes` on the rows of `table` for which `predicate` holds, and
/// waits for so long for one that another transaction holds. The types are
/// checked as by `diesel::update`.
pub fn update<T, S, P>(
    table: T,
    changes: S,
    predicate: P,
    wait: LockWait,
) -> Update<T, S::Changeset, P>
where
    T: QuerySource,
    S: AsChangeset<Target = T>,
    P: AppearsOnTable<T>,
    P::SqlType: BoolOrNullableBool,
{
    Update {
        from_clause: table.from_clause(),
        changeset: changes.as_changeset(),
        predicate,
        wait,
    }
}

/// `DELETE FROM … WHERE …`; see [`delete`].
pub struct Delete<T: QuerySource, P> {
    from_clause: T::FromClause,
    predicate: P,
    wait: LockWait,
}

/// Deletes the rows of `table` for which `predicate` holds, and waits for so
/// long for one that another transaction holds.
pub fn delete<T, P>(table: T, predicate: P, wait: LockWait) -> Delete<T, P>
where
    T: QuerySource,
    P: AppearsOnTable<T>,
    P::SqlType: BoolOrNullableBool,
{
    Delete {
        from_clause: table.from_clause(),
        predicate,
        wait,
    }
}

impl<T: QuerySource, S, P> Update<T, S, P> {
    /// Has the statement return `columns` of each row that it changed.
    pub fn returning<R>(self, columns: R) -> UpdateReturning<T, S, P, R>
    where
        R: SelectableExpression<T> + NonAggregate,
    {
        UpdateReturning {
            update: self,
            returning: columns,
        }
    }
}

impl<T, S, P, DB> QueryFragment<DB> for Update<T, S, P>
where
    DB: LimitsLockWait,
    T: QuerySource,
    T::FromClause: QueryFragment<DB>,
    S: QueryFragment<DB>,
    P: QueryFragment<DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        out.push_sql(DB::before(self.wait));
        out.push_sql("UPDATE ");
        self.from_clause.walk_ast(out.reborrow())?;
        out.push_sql(" SET ");
        self.changeset.walk_ast(out.reborrow())?;
        out.push_sql(" WHERE ");
        self.predicate.walk_ast(out.reborrow())?;
        out.push_sql(DB::condition(self.wait));
        Ok(())
    }
}

impl<T, S, P, R, DB> QueryFragment<DB> for UpdateReturning<T, S, P, R>
where
    DB: Backend,
    T: QuerySource,
    Update<T, S, P>: QueryFragment<DB>,
    R: QueryFragment<DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        self.update.walk_ast(out.reborrow())?;
        out.push_sql(" RETURNING ");
        self.returning.walk_ast(out)
    }
}

impl<T, P, DB> QueryFragment<DB> for Delete<T, P>
where
    DB: LimitsLockWait,
    T: QuerySource,
    T::FromClause: QueryFragment<DB>,
    P: QueryFragment<DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        out.push_sql(DB::before(self.wait));
        out.push_sql("DELETE FROM ");
        self.from_clause.walk_ast(out.reborrow())?;
        out.push_sql(" WHERE ");
        self.predicate.walk_ast(out.reborrow())?;
        out.push_sql(DB::condition(self.wait));
        Ok(())
    }
}

impl<T: QuerySource, P> QueryId for Delete<T, P> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

// A changeset with optional fields has one type and several texts, so the
// text is the cache's key.
impl<T: QuerySource, S, P> QueryId for Update<T, S, P> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<T: QuerySource, S, P, R> QueryId for UpdateReturning<T, S, P, R> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<T: QuerySource, S, P, R: Expression> Query for UpdateReturning<T, S, P, R> {
    type SqlType = R::SqlType;
}

impl<T: QuerySource, S, P, Conn> RunQueryDsl<Conn> for Update<T, S, P> {}
impl<T: QuerySource, P, Conn> RunQueryDsl<Conn> for Delete<T, P> {}
impl<T: QuerySource, S, P, R, Conn> RunQueryDsl<Conn> for UpdateReturning<T, S, P, R> {}

/// A statement whose text is the same at every call; see [`unvarying`].
#[derive(Debug)]
pub struct Unvarying<Id, Q> {
    statement: Q,
    id: PhantomData<Id>,
}

/// Has the type `Id` stand for the text of `statement` as the cache's key, so
/// that the text is not built to be looked up. One `Id`, one text.
pub fn unvarying<Id: 'static, Q>(statement: Q) -> Unvarying<Id, Q> {
    Unvarying {
        statement,
        id: PhantomData,
    }
}

impl<Id, T: QuerySource, S, P> Unvarying<Id, Update<T, S, P>> {
    /// Has the statement return `columns` of each row that it changed.
    pub fn returning<R>(self, columns: R) -> Unvarying<Id, UpdateReturning<T, S, P, R>>
    where
        R: SelectableExpression<T> + NonAggregate,
    {
        Unvarying {
            statement: self.statement.returning(columns),
            id: PhantomData,
        }
    }
}

impl<Id, Q, DB> QueryFragment<DB> for Unvarying<Id, Q>
where
    DB: Backend,
    Q: QueryFragment<DB>,
{
    fn walk_ast<'b>(&'b self, out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        self.statement.walk_ast(out)
    }
}

impl<Id: 'static, Q> QueryId for Unvarying<Id, Q> {
    type QueryId = Id;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl<Id, Q: Query> Query for Unvarying<Id, Q> {
    type SqlType = Q::SqlType;
}

impl<Id, Q, Conn> RunQueryDsl<Conn> for Unvarying<Id, Q> {}

/// A statement that may stay prepared, or not; see [`kept`].
#[derive(Debug)]
pub struct Kept<Q> {
    statement: Q,
    is_kept: bool,
}

/// Has the statement stay prepared on its connection only where `is_kept`
/// says so, as [`Texts`](crate::texts::Texts) tell.
pub fn kept<Q>(is_kept: bool, statement: Q) -> Kept<Q> {
    Kept { statement, is_kept }
}

impl<T: QuerySource, S, P> Kept<Update<T, S, P>> {
    /// Has the statement return `columns` of each row that it changed.
    pub fn returning<R>(self, columns: R) -> Kept<UpdateReturning<T, S, P, R>>
    where
        R: SelectableExpression<T> + NonAggregate,
    {
        kept(self.is_kept, self.statement.returning(columns))
    }
}

impl<Q, DB> QueryFragment<DB> for Kept<Q>
where
    DB: Backend,
    Q: QueryFragment<DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        if !self.is_kept {
            out.unsafe_to_cache_prepared();
        }
        self.statement.walk_ast(out)
    }
}

impl<Q: QueryId> QueryId for Kept<Q> {
    type QueryId = Q::QueryId;
    const HAS_STATIC_QUERY_ID: bool = Q::HAS_STATIC_QUERY_ID;
}

impl<Q: Query> Query for Kept<Q> {
    type SqlType = Q::SqlType;
}

impl<Q, Conn> RunQueryDsl<Conn> for Kept<Q> {}

/// `column IN (codes)`; see [`one_of`].
#[derive(Debug)]
pub struct OneOf<C, E> {
    column: C,
    codes: Vec<E>,
}

/// The rows whose `column` has one of `codes`. Diesel's own `IN` is not
/// cached on SQLite and MySQL; the list of a step does not vary.
pub fn one_of<C, E>(column: C, codes: Vec<E>) -> OneOf<C, E>
where
    C: Expression,
    E: Expression<SqlType = C::SqlType>,
{
    OneOf { column, codes }
}

/// The rows for which one of `predicates`, all of one shape, holds; see [`any_of`].
#[derive(Debug)]
pub struct AnyOf<P>(Vec<P>);

/// The rows for which one of `predicates` holds, of which there is at least one.
pub fn any_of<P: Expression>(predicates: Vec<P>) -> AnyOf<P>
where
    P::SqlType: BoolOrNullableBool,
{
    AnyOf(predicates)
}

/// Some rows, narrowed down; see [`narrowed`].
#[derive(Debug)]
pub struct Narrowed<P, Q, R> {
    these: P,
    and: Option<Q>,
    but_not: Option<R>,
}

/// The rows for which `these` holds, and also `and`, and not `but_not`, where
/// there are such predicates.
pub fn narrowed<P, Q, R>(these: P, and: Option<Q>, but_not: Option<R>) -> Narrowed<P, Q, R>
where
    P: Expression,
    P::SqlType: BoolOrNullableBool,
    Q: Expression,
    Q::SqlType: BoolOrNullableBool,
    R: Expression,
    R::SqlType: BoolOrNullableBool,
{
    Narrowed {
        these,
        and,
        but_not,
    }
}

/// `value` as it is compared with `column`.
pub fn bound<C, V>(_column: C, value: V) -> V::Expression
where
    C: Expression,
    C::SqlType: SqlType + TypedExpressionType,
    V: AsExpression<C::SqlType>,
{
    value.as_expression()
}

/// A list that is longer than `items`, its last item repeated, so that the
/// lists of a statement have few lengths and each text stays prepared.
pub fn padded<T>(items: &[T]) -> Vec<&T> {
    let last = items.last().into_iter();
    let length = round_up(items.len());
    items.iter().chain(last.cycle()).take(length).collect()
}

/// The next of the lengths that people choose for a batch: 1, 2, 5, 10, 20, 50, …
pub(crate) fn round_up(length: usize) -> usize {
    let mut round = 1_usize;
    while round < length {
        round = match round.to_string().as_bytes()[0] {
            b'2' => (round / 2).saturating_mul(5),
            _ => round.saturating_mul(2),
        };
    }
    round
}

/// A status code: as a number in the SQL where it is known as one, else bound.
///
/// PostgreSQL and SQLite use a partial index on the ready rows only where the
/// statement itself shows that it asks for ready rows.
#[derive(Debug)]
pub struct Code<S, ST> {
    number: Option<i64>,
    bound: S,
    sql_type: PhantomData<ST>,
}

impl<S, ST> Code<S, ST> {
    /// `number` is the code's number, if the column holds numbers.
    pub fn new(bound: S, number: Option<i64>) -> Self {
        Self {
            number,
            bound,
            sql_type: PhantomData,
        }
    }
}

impl<C: Expression, E> Expression for OneOf<C, E> {
    type SqlType = Bool;
}

impl<C, E, QS> AppearsOnTable<QS> for OneOf<C, E> where C: AppearsOnTable<QS> {}

impl<P: Expression> Expression for AnyOf<P> {
    type SqlType = Bool;
}

impl<P: Expression, Q, R> Expression for Narrowed<P, Q, R> {
    type SqlType = P::SqlType;
}

impl<P, Q, R, QS> AppearsOnTable<QS> for Narrowed<P, Q, R> where P: AppearsOnTable<QS> {}

impl<P, Q, R, GroupBy> ValidGrouping<GroupBy> for Narrowed<P, Q, R> {
    type IsAggregate = is_aggregate::No;
}

impl<P, Q, R, DB> QueryFragment<DB> for Narrowed<P, Q, R>
where
    DB: Backend,
    P: QueryFragment<DB>,
    Q: QueryFragment<DB>,
    R: QueryFragment<DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        self.these.walk_ast(out.reborrow())?;
        if let Some(and) = &self.and {
            out.push_sql(" AND ");
            and.walk_ast(out.reborrow())?;
        }
        if let Some(but_not) = &self.but_not {
            out.push_sql(" AND NOT (");
            but_not.walk_ast(out.reborrow())?;
            out.push_sql(")");
        }
        Ok(())
    }
}

// With and without the other predicates are several texts of one type.
impl<P, Q, R> QueryId for Narrowed<P, Q, R> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<P, QS> AppearsOnTable<QS> for AnyOf<P> where P: AppearsOnTable<QS> {}

impl<P, GroupBy> ValidGrouping<GroupBy> for AnyOf<P> {
    type IsAggregate = is_aggregate::No;
}

impl<C, E, GroupBy> ValidGrouping<GroupBy> for OneOf<C, E> {
    type IsAggregate = is_aggregate::No;
}

impl<S, ST: SqlType + TypedExpressionType> Expression for Code<S, ST> {
    type SqlType = ST;
}

impl<C, E, DB> QueryFragment<DB> for OneOf<C, E>
where
    DB: Backend,
    C: QueryFragment<DB>,
    E: QueryFragment<DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        self.column.walk_ast(out.reborrow())?;
        out.push_sql(" IN (");
        for (n, code) in self.codes.iter().enumerate() {
            if n > 0 {
                out.push_sql(", ");
            }
            code.walk_ast(out.reborrow())?;
        }
        out.push_sql(")");
        Ok(())
    }
}

impl<P, DB> QueryFragment<DB> for AnyOf<P>
where
    DB: Backend,
    P: QueryFragment<DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        for (n, predicate) in self.0.iter().enumerate() {
            out.push_sql(if n == 0 { "((" } else { ") OR (" });
            predicate.walk_ast(out.reborrow())?;
        }
        out.push_sql("))");
        Ok(())
    }
}

impl<S, ST, DB> QueryFragment<DB> for Code<S, ST>
where
    DB: Backend + HasSqlType<ST>,
    S: ToSql<ST, DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        match self.number {
            Some(number) => {
                out.push_sql(&number.to_string());
                Ok(())
            }
            None => out.push_bind_param::<ST, _>(&self.bound),
        }
    }
}

// The number of codes and their kind vary: the text is the cache's key.
impl<C, E> QueryId for OneOf<C, E> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

// So does the number of predicates.
impl<P> QueryId for AnyOf<P> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}
