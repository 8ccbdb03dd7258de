//! What the generated code checks first, so that the compiler's first line
//! names the column or the struct that does not fit.
//!
//! Each trait holds for all that fit, and says in people's words what does
//! not. `do_not_recommend` keeps the compiler from explaining the blanket
//! implementation instead, and [`Checked`] keeps it from going on.

use std::marker::PhantomData;
use std::ops::Deref;

use diesel::backend::Backend;
use diesel::deserialize::{FromSqlRow, Queryable};
use diesel::expression::AsExpression;
use diesel::prelude::*;
use diesel::query_builder::AsChangeset;
use diesel::sql_types::is_nullable::NotNull;
use diesel::sql_types::{Nullable, SingleValue, SqlType, Text};

use crate::db::connection_enum::ConnectionEnum;
use crate::sql::columns::{ColumnInfo, ErrorsColumn, Holds, RetryColumn, TimeColumn};
use crate::table_info::{Document, Integer, Role};

/// Guards that hold: `Passed<{ guard(); true }>`. Where one does not, the
/// compiler reports that and takes this type for an error.
#[derive(Debug, Clone, Copy)]
pub struct Passed<const YES: bool>;

/// `T`, where the guards of `Self` hold; else an error that was reported
/// already, so that the compiler is silent about all that follows from it.
pub trait Checked<T> {
    /// `T`.
    type Type;
}
impl<T> Checked<T> for Passed<true> {
    type Type = T;
}

/// Asks whether the table has column `C`: `<Existence<C>>::KNOWN`. Where it
/// is no column, the constant is [`Missing`]'s.
#[derive(Debug, Clone, Copy)]
pub struct Existence<C>(PhantomData<C>);

impl<C: Column> Existence<C> {
    /// It has.
    pub const KNOWN: bool = true;
}

/// Every type's second answer to the same question.
pub trait Missing {
    /// It has not.
    const KNOWN: bool = false;
}
impl<C> Missing for Existence<C> {}

/// See the message.
#[diagnostic::on_unimplemented(
    message = "column `{C}` must be a `Timestamp` or `Nullable<Timestamp>` (or `Timestamptz`; on MySQL `Datetime`), but it is `{Self}`",
    label = "a column of this table does not fit"
)]
pub trait FitsTime<C> {
    /// Whether it has a time zone.
    const ZONED: bool;
    /// Whether it may be NULL.
    const NULLABLE: bool;
}
#[diagnostic::do_not_recommend]
impl<ST: TimeColumn, C> FitsTime<C> for ST {
    const ZONED: bool = ST::ZONED;
    const NULLABLE: bool = ST::NULLABLE;
}

/// A column that holds a time or NULL.
const fn time<C: Column<SqlType: FitsTime<C>>>(role: Role) -> ColumnInfo {
    let time = (
        <C::SqlType as FitsTime<C>>::ZONED,
        <C::SqlType as FitsTime<C>>::NULLABLE,
    );
    ColumnInfo::new::<C>(role, Holds::Time(time.0, time.1))
}

// One function a role, by its name.

/// The column of the status. Whether it takes the codes is asked for each backend.
#[must_use]
pub const fn status<C: Column>() -> ColumnInfo {
    ColumnInfo::new::<C>(Role::Status, Holds::Status)
}

/// The column of the time of creation.
#[must_use]
pub const fn create_at<C: Column<SqlType: FitsTime<C>>>() -> ColumnInfo {
    time::<C>(Role::CreateAt)
}

/// The column of the last change.
#[must_use]
pub const fn update_at<C: Column<SqlType: FitsTime<C>>>() -> ColumnInfo {
    time::<C>(Role::UpdateAt)
}

/// The column of the lock's time.
#[must_use]
pub const fn lock_at<C: Column<SqlType: FitsTime<C>>>() -> ColumnInfo {
    time::<C>(Role::LockAt)
}

/// The column of the time before which a job does not start.
#[must_use]
pub const fn run_at<C: Column<SqlType: FitsTime<C>>>() -> ColumnInfo {
    time::<C>(Role::RunAt)
}

/// See the message.
#[diagnostic::on_unimplemented(
    message = "column `{C}` must be a `Nullable<Timestamp>` (or `Nullable<Timestamptz>`; on MySQL `Nullable<Datetime>`), since a new row has no attempt, but it is `{Self}`",
    label = "a column of this table does not fit"
)]
pub trait FitsStart<C>: FitsTime<C> {}
#[diagnostic::do_not_recommend]
impl<ST: SqlType<IsNull = NotNull>, C> FitsStart<C> for Nullable<ST> where Self: TimeColumn {}

/// The column of the time when the last attempt began.
#[must_use]
pub const fn started_at<C: Column<SqlType: FitsStart<C>>>() -> ColumnInfo {
    time::<C>(Role::StartedAt)
}

/// See the message.
#[diagnostic::on_unimplemented(
    message = "column `{C}` must be `Nullable<Text>`, but it is `{Self}`",
    label = "a column of this table does not fit"
)]
pub trait FitsLock<C> {}
#[diagnostic::do_not_recommend]
impl<C> FitsLock<C> for Nullable<Text> {}

/// The column of the lock's token.
#[must_use]
pub const fn lock<C: Column<SqlType: FitsLock<C>>>() -> ColumnInfo {
    ColumnInfo::new::<C>(Role::Lock, Holds::Token)
}

/// See the message.
#[diagnostic::on_unimplemented(
    message = "column `{C}` must be an integer (`SmallInt`, `Integer` or `BigInt`), not NULL, but it is `{Self}`",
    label = "a column of this table does not fit"
)]
pub trait FitsRetry<C> {
    /// Its size.
    const KIND: Integer;
}
#[diagnostic::do_not_recommend]
impl<ST: RetryColumn, C> FitsRetry<C> for ST {
    const KIND: Integer = ST::KIND;
}

/// The column of the failures in a row.
#[must_use]
pub const fn retry<C: Column<SqlType: FitsRetry<C>>>() -> ColumnInfo {
    ColumnInfo::new::<C>(
        Role::Retry,
        Holds::Count(<C::SqlType as FitsRetry<C>>::KIND),
    )
}

/// See the message.
#[diagnostic::on_unimplemented(
    message = "column `{C}` must be `Json`, `Jsonb` or `Text`, nullable or not, but it is `{Self}`",
    label = "a column of this table does not fit"
)]
pub trait FitsErrors<C> {
    /// How it holds the document.
    const KIND: Document;
}
#[diagnostic::do_not_recommend]
impl<ST: ErrorsColumn, C> FitsErrors<C> for ST {
    const KIND: Document = ST::KIND;
}

/// The column of the last errors.
#[must_use]
pub const fn errors<C: Column<SqlType: FitsErrors<C>>>() -> ColumnInfo {
    ColumnInfo::new::<C>(
        Role::Errors,
        Holds::Document(<C::SqlType as FitsErrors<C>>::KIND),
    )
}

/// See the message.
#[diagnostic::on_unimplemented(
    message = "type `{Self}` does not fit column `{C}`, which is `{ST}`: name the type that Diesel reads it as, or derive `AsExpression` and `FromSqlRow` with `#[diesel(sql_type = …)]` and implement `ToSql` and `FromSql`",
    label = "`status`, or a column of the `key`, says this type"
)]
pub trait FitsColumn<C, ST, DB> {}
#[diagnostic::do_not_recommend]
impl<V, C, ST, DB> FitsColumn<C, ST, DB> for V
where
    ST: SqlType + SingleValue,
    DB: Backend,
    V: AsExpression<ST> + FromSqlRow<ST, DB>,
{
}

/// Values of type `V` are read from column `C` and written to it.
pub const fn value<V: FitsColumn<C, C::SqlType, DB>, C: Expression, DB>() {}

/// See the message.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say which columns to read: derive `diesel::Selectable` for it, with `#[diesel(table_name = …)]`",
    label = "the row type of this `job_table!`"
)]
pub trait SelectsRow<DB> {}
#[diagnostic::do_not_recommend]
impl<J: Selectable<DB>, DB: Backend> SelectsRow<DB> for J {}

/// See the message.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be read from its table: derive `diesel::Queryable` for it; where it does, a field's type does not fit its column, and `#[diesel(check_for_backend({DB}))]` tells which",
    label = "the row type of this `job_table!`"
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

/// `J` names columns of its table.
pub const fn selects<J: SelectsRow<DB>, DB>() {}

/// `J` can be read from its table.
pub const fn reads<J: ReadsRow<DB>, DB>() {}

/// `C` is an enum of connections.
pub const fn connections<C: ConnectionEnum>() {}

/// See the message.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the `updates` of this table: derive `Default`, `diesel::Insertable` and `diesel::AsChangeset` for it, with `#[diesel(table_name = …)]`, or leave `updates` out where you set no columns",
    label = "the `updates` type of this `job_table!`"
)]
pub trait Updates<T> {}
#[diagnostic::do_not_recommend]
impl<U: Default, T> Updates<T> for U where for<'a> &'a U: AsChangeset<Target = T> + Insertable<T> {}

/// `U` can be written to table `T`.
pub const fn updates<U: Updates<T>, T>() {}

/// A row whose status is shown. The name is read in the compiler's message
/// about a field that the row does not have.
#[derive(Debug, Clone, Copy)]
pub struct RowNeedsThisFieldOrStatusFieldNone<'a, J>(&'a J);

impl<'a, J> RowNeedsThisFieldOrStatusFieldNone<'a, J> {
    /// Asks for a field of `row`.
    pub const fn of(row: &'a J) -> Self {
        Self(row)
    }
}

impl<J> Deref for RowNeedsThisFieldOrStatusFieldNone<'_, J> {
    type Target = J;

    fn deref(&self) -> &J {
        self.0
    }
}

/// See the message.
#[diagnostic::on_unimplemented(
    message = "`job_table!` says `status: {S}`, but the row's field with the status is of type `{Self}`: they must be the same",
    label = "the field that shows the status"
)]
pub trait ShownAs<S> {
    /// The status.
    fn get(&self) -> S;
}
#[diagnostic::do_not_recommend]
impl<S: Copy> ShownAs<S> for S {
    fn get(&self) -> S {
        *self
    }
}

/// The row's field with the status.
#[derive(Debug, Clone, Copy)]
pub struct StatusField<'a, F>(pub &'a F);

impl<F> StatusField<'_, F> {
    /// The status in it.
    pub fn get<S>(&self) -> S
    where
        F: ShownAs<S>,
    {
        self.0.get()
    }
}
