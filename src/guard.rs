//! What the generated code checks first, so that the compiler's first line
//! names the column or the struct that does not fit.
//!
//! Each trait holds for all that fit, and says in people's words what does
//! not. `do_not_recommend` keeps the compiler from explaining the blanket
//! implementation instead.

use std::fmt::Debug;

use diesel::backend::Backend;
use diesel::deserialize::{FromSqlRow, Queryable};
use diesel::expression::AsExpression;
use diesel::prelude::*;
use diesel::query_builder::AsChangeset;
use diesel::sql_types::{Nullable, SingleValue, SqlType, Text};

use crate::column::{ErrorsColumn, RetryColumn, TimeColumn};

/// A column that the table has.
#[diagnostic::on_unimplemented(
    message = "the tracked table has no column `{Self}`: add it to the table, or name yours in `job_table!`, as in `columns: {{ {Self}: my_column }}`",
    label = "no such column in this table"
)]
pub trait TableColumn {}
#[diagnostic::do_not_recommend]
impl<C: Column> TableColumn for C {}

/// The column exists.
pub const fn exists<C: TableColumn>() {}

macro_rules! column_guard {
    ($(#[$doc:meta])* $name:ident, $Trait:ident, [$($bound:tt)+], $message:literal) => {
        /// See the message.
        #[diagnostic::on_unimplemented(message = $message, label = "this table's column does not fit")]
        pub trait $Trait<C> {}
        #[diagnostic::do_not_recommend]
        impl<ST: $($bound)+, C> $Trait<C> for ST {}

        $(#[$doc])*
        pub const fn $name<C: Expression>()
        where
            C::SqlType: $Trait<C>,
        {
        }
    };
}

column_guard!(
    /// The column holds a time, never NULL.
    time, FitsTime, [TimeColumn + SqlType<IsNull = diesel::sql_types::is_nullable::NotNull>],
    "column `{C}` must be a `Timestamp` (or `Timestamptz`; `Datetime` on MySQL), not NULL, but it is `{Self}`"
);
column_guard!(
    /// The column holds a time or NULL.
    nullable_time, FitsNullableTime, [TimeColumn],
    "column `{C}` must be a `Timestamp` or `Nullable<Timestamp>` (or `Timestamptz`; `Datetime` on MySQL), but it is `{Self}`"
);
column_guard!(
    /// The column holds a count.
    retry, FitsRetry, [RetryColumn],
    "column `{C}` must be an integer (`SmallInt`, `Integer` or `BigInt`), not NULL, but it is `{Self}`"
);
column_guard!(
    /// The column holds the error document.
    errors, FitsErrors, [ErrorsColumn],
    "column `{C}` must be `Json`, `Jsonb` or `Text`, nullable or not, but it is `{Self}`"
);

/// See the message.
#[diagnostic::on_unimplemented(
    message = "column `{C}` must be `Nullable<Text>`, but it is `{Self}`",
    label = "this table's column does not fit"
)]
pub trait FitsLock<C> {}
impl<C> FitsLock<C> for Nullable<Text> {}

/// The column holds a lock's token or NULL.
pub const fn lock<C: Expression>()
where
    C::SqlType: FitsLock<C>,
{
}

/// See the message.
#[diagnostic::on_unimplemented(
    message = "type `{Self}` does not fit column `{C}`, whose type is `{ST}`: it must be `Copy + PartialEq + Debug`, derive `AsExpression` and `FromSqlRow` with `#[diesel(sql_type = …)]`, and implement `ToSql` and `FromSql` for it",
    label = "this type cannot be the status, or the key, of this table"
)]
pub trait FitsColumn<C, ST, DB> {}
#[diagnostic::do_not_recommend]
impl<V, C, ST, DB> FitsColumn<C, ST, DB> for V
where
    ST: SqlType + SingleValue,
    DB: Backend,
    V: PartialEq + Debug + AsExpression<ST> + FromSqlRow<ST, DB>,
{
}

/// Values of type `V` are read from column `C` and written to it.
pub const fn value<V, C: Expression, DB>()
where
    V: FitsColumn<C, C::SqlType, DB>,
{
}

/// See the message.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be read from its table: derive `diesel::Queryable` and `diesel::Selectable` for it, with `#[diesel(table_name = …)]`, and see that each field's type fits its column",
    label = "the row type of `job_table!`"
)]
pub trait ReadsRow<DB> {}
#[diagnostic::do_not_recommend]
impl<J, DB> ReadsRow<DB> for J
where
    DB: Backend,
    J: Selectable<DB>
        + Queryable<<<J as Selectable<DB>>::SelectExpression as Expression>::SqlType, DB>,
{
}

/// `J` can be read from its table.
pub const fn row<J: ReadsRow<DB>, DB>() {}

/// See the message.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the `updates` of `job_table!`: derive `Default`, `diesel::Insertable` and `diesel::AsChangeset` for it, with `#[diesel(table_name = …)]`",
    label = "the `updates` type of `job_table!`"
)]
pub trait Updates<T> {}
#[diagnostic::do_not_recommend]
impl<U, T> Updates<T> for U
where
    U: Default,
    for<'a> &'a U: AsChangeset<Target = T> + Insertable<T>,
{
}

/// `U` can be written to table `T`.
pub const fn updates<U: Updates<T>, T>() {}
