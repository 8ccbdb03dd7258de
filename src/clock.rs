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

use crate::column::TimeColumn;

/// Longer durations are cut to this: 100 years keep every result inside the
/// range of each database's timestamps.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// A point in time by the database's clock, in UTC; made by [`now`], [`ago`]
/// and [`from_now`]. `ST` is the SQL type of the column it is compared with
/// or written to, and is inferred.
#[derive(Debug, Clone, Copy)]
pub struct Clock<ST> {
    reading: Reading,
    sql_type: PhantomData<ST>,
}

/// When the clock is read, and what is added.
#[derive(Debug, Clone, Copy)]
enum Reading {
    /// At the start of the statement.
    Start,
    /// So many microseconds from the start of the statement.
    FromStart(i64),
    /// When the row is changed, after the statement has waited for it.
    Change,
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
        reading: Reading::Start,
        sql_type: PhantomData,
    }
}

/// The database's time when the row is changed. An update may wait for a row
/// that another transaction holds; its start is in the past by then, and a
/// lock with that time could be expired when it is taken.
///
/// For stamps only: PostgreSQL uses no index for a condition on it.
#[must_use]
pub fn stamp<ST>() -> Clock<ST> {
    Clock {
        reading: Reading::Change,
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
        reading: Reading::FromStart(-micros(duration)),
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
        reading: Reading::FromStart(micros(duration)),
        sql_type: PhantomData,
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.min(LONGEST).as_micros()).unwrap_or(i64::MAX)
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

/// Writes a shift of `now`: the SQL before it, the microseconds as a bound
/// number, the SQL after it. Each part is a constant, for it is written at
/// every call.
fn push_shift<'b, DB>(
    mut out: AstPass<'_, 'b, DB>,
    micros: &'b i64,
    after: &'static str,
) -> QueryResult<()>
where
    DB: Backend + HasSqlType<BigInt>,
    i64: ToSql<BigInt, DB>,
{
    out.push_bind_param::<BigInt, _>(micros)?;
    out.push_sql(after);
    Ok(())
}

#[cfg(feature = "postgres")]
impl<ST: TimeColumn> QueryFragment<diesel::pg::Pg> for Clock<ST> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, diesel::pg::Pg>) -> QueryResult<()> {
        // In conditions not clock_timestamp(): it is volatile, and a volatile
        // bound makes the planner scan the table instead of an index.
        out.push_sql(match (&self.reading, ST::ZONED) {
            (Reading::Change, true) => "(clock_timestamp()",
            (Reading::Change, false) => "(clock_timestamp() AT TIME ZONE 'UTC'",
            (_, true) => "(statement_timestamp()",
            (_, false) => "(statement_timestamp() AT TIME ZONE 'UTC'",
        });
        if let Reading::FromStart(micros) = &self.reading {
            out.push_sql(" + ");
            push_shift(out.reborrow(), micros, " * interval '1 microsecond'")?;
        }
        out.push_sql(")");
        Ok(())
    }
}

/// What is added to the start of the statement, since only local time can be
/// read later than that: what has passed by it. Ten minutes are longer than
/// any wait; more of it, or less than nothing, is a clock that was set for the
/// session, or that changed to or from daylight saving time.
#[cfg(feature = "mysql")]
const SINCE_START: &str = " + INTERVAL (CASE WHEN TIMESTAMPDIFF(MICROSECOND, NOW(6), SYSDATE(6)) BETWEEN 0 AND 600000000 \
    THEN TIMESTAMPDIFF(MICROSECOND, NOW(6), SYSDATE(6)) ELSE 0 END) MICROSECOND";

#[cfg(feature = "mysql")]
impl<ST: TimeColumn> QueryFragment<diesel::mysql::Mysql> for Clock<ST> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, diesel::mysql::Mysql>) -> QueryResult<()> {
        out.push_sql("(UTC_TIMESTAMP(6)");
        match &self.reading {
            Reading::Start => {}
            Reading::FromStart(micros) => {
                out.push_sql(" + INTERVAL ");
                push_shift(out.reborrow(), micros, " MICROSECOND")?;
            }
            Reading::Change => out.push_sql(SINCE_START),
        }
        out.push_sql(")");
        Ok(())
    }
}

#[cfg(feature = "sqlite")]
impl<ST: TimeColumn> QueryFragment<diesel::sqlite::Sqlite> for Clock<ST> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, diesel::sqlite::Sqlite>) -> QueryResult<()> {
        // SQLite compares times as text: this is the format that Diesel
        // writes, and a 'T' between date and time would sort after it.
        out.push_sql(if ST::ZONED {
            "strftime('%Y-%m-%d %H:%M:%f+00:00', 'now'"
        } else {
            "strftime('%Y-%m-%d %H:%M:%f', 'now'"
        });
        // It reads its clock once a statement, and not before it may write.
        if let Reading::FromStart(micros) = &self.reading {
            out.push_sql(", printf('%.6f seconds', ");
            push_shift(out.reborrow(), micros, " / 1000000.0)")?;
        }
        out.push_sql(")");
        Ok(())
    }
}
