//! The database's clock as Diesel expressions.
//!
//! Every stamp and every comparison with "now" is computed by the database,
//! inside the statement that needs it, so that the clocks of the workers do
//! not matter.

use std::marker::PhantomData;
use std::time::Duration;

use diesel::backend::Backend;
use diesel::expression::{
    AppearsOnTable, SelectableExpression, TypedExpressionType, ValidGrouping, is_aggregate,
};
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::serialize::ToSql;
use diesel::sql_types::{BigInt, HasSqlType, SingleValue, SqlType};

use crate::sql::call::micros;
use crate::sql::columns::TimeColumn;
use crate::sql::dialect;
use crate::sql::template::Reading;

/// A point in time by the database's clock, in UTC; made by [`now`], [`ago`]
/// and [`from_now`]. `ST` is the SQL type of the column it is compared with
/// or written to, and is inferred.
#[derive(Debug, Clone, Copy)]
pub struct Clock<ST> {
    reading: Reading,
    micros: Option<i64>,
    sql_type: PhantomData<ST>,
}

/// The database's time at the start of the statement, in UTC.
///
/// Unlike `diesel::dsl::now` it does not depend on the session's time zone:
/// that one writes local time into a `Timestamp` column on PostgreSQL.
/// SQLite's clock has milliseconds, the others' microseconds.
///
/// ```
/// # diesel::table! { jobs (id) { id -> Integer, run_at -> Timestamp, } }
/// use diesel::prelude::*;
/// use diesel_status_tracker::clock::now;
///
/// let due = jobs::table.filter(jobs::run_at.le(now()));
/// # #[cfg(feature = "sqlite")]
/// assert!(diesel::debug_query::<diesel::sqlite::Sqlite, _>(&due).to_string().contains("'now'"));
/// ```
#[must_use]
pub fn now<ST>() -> Clock<ST> {
    Clock {
        reading: Reading::Now,
        micros: None,
        sql_type: PhantomData,
    }
}

/// The database's time, `duration` before [`now`]. Durations of more than 100
/// years count as 100 years.
///
/// ```
/// # diesel::table! { jobs (id) { id -> Integer, lock_at -> Nullable<Timestamp>, } }
/// use std::time::Duration;
/// use diesel::prelude::*;
/// use diesel_status_tracker::clock::ago;
///
/// let old = jobs::table.filter(jobs::lock_at.lt(ago(Duration::from_secs(900))));
/// # let _ = old;
/// ```
#[must_use]
pub fn ago<ST>(duration: Duration) -> Clock<ST> {
    Clock {
        reading: Reading::Ago,
        micros: Some(-micros(duration)),
        sql_type: PhantomData,
    }
}

/// The database's time, `duration` after [`now`]: what a column such as
/// `run_at` is set to. Durations of more than 100 years count as 100 years.
///
/// ```
/// # diesel::table! { jobs (id) { id -> Integer, run_at -> Nullable<Timestamp>, } }
/// use std::time::Duration;
/// use diesel::prelude::*;
/// use diesel_status_tracker::clock::from_now;
///
/// let postpone = diesel::update(jobs::table.find(7))
///     .set(jobs::run_at.eq(from_now(Duration::from_secs(60))));
/// # let _ = postpone;
/// ```
#[must_use]
pub fn from_now<ST>(duration: Duration) -> Clock<ST> {
    Clock {
        reading: Reading::Later,
        micros: Some(micros(duration)),
        sql_type: PhantomData,
    }
}

impl<ST: SqlType + SingleValue + TypedExpressionType> Expression for Clock<ST> {
    type SqlType = ST;
}

impl<ST, QS> AppearsOnTable<QS> for Clock<ST> where Self: Expression {}
impl<ST, QS> SelectableExpression<QS> for Clock<ST> where Self: Expression {}

impl<ST, GroupBy> ValidGrouping<GroupBy> for Clock<ST> {
    type IsAggregate = is_aggregate::Never;
}

impl<ST> QueryId for Clock<ST> {
    type QueryId = ();
    // With and without a shift are two texts of one type: the text is the key.
    const HAS_STATIC_QUERY_ID: bool = false;
}

/// Writes the time as the dialect does.
fn write<'b, DB>(
    clock: &'b Clock<impl TimeColumn>,
    time: fn(Reading, bool) -> [&'static str; 2],
    is_zoned: bool,
    mut out: AstPass<'_, 'b, DB>,
) -> QueryResult<()>
where
    DB: Backend + HasSqlType<BigInt>,
    i64: ToSql<BigInt, DB>,
{
    let [before, after] = time(clock.reading, is_zoned);
    out.push_sql(before);
    if let Some(micros) = &clock.micros {
        out.push_bind_param::<BigInt, _>(micros)?;
    }
    out.push_sql(after);
    Ok(())
}

macro_rules! written_by {
    ($Backend:ty, $dialect:expr) => {
        impl<ST: TimeColumn> QueryFragment<$Backend> for Clock<ST> {
            fn walk_ast<'b>(&'b self, out: AstPass<'_, 'b, $Backend>) -> QueryResult<()> {
                write(self, $dialect.time, ST::ZONED, out)
            }
        }
    };
}

#[cfg(feature = "sqlite")]
written_by!(diesel::sqlite::Sqlite, dialect::SQLITE);
#[cfg(feature = "postgres")]
written_by!(diesel::pg::Pg, dialect::POSTGRES);
#[cfg(feature = "mysql")]
written_by!(diesel::mysql::Mysql, dialect::MYSQL);
