//! What of a table's statements depends on the user's types.

use diesel::QueryResult;
use diesel::Selectable;
use diesel::backend::Backend;
use diesel::deserialize::{self, FromSqlRow};
use diesel::dsl::SqlTypeOf;
use diesel::expression::Expression;
use diesel::insertable::InsertValues;
use diesel::query_builder::{AstPass, QueryFragment};
use diesel::query_source::Table;
use diesel::row::Row;
use diesel::serialize::{self, Output};
use std::marker::PhantomData;

use super::texts::TableTexts;
use crate::sql::tracked_table::Tracked;

/// A tracked table on one backend: how its key, its status and its rows are
/// bound and read. Implemented by `job_table!` alone.
pub trait TableOn<DB: Backend>: Tracked {
    /// Binds one column of a key.
    fn bind_key<'b>(key: &'b Self::Key, column: usize, out: AstPass<'_, 'b, DB>)
    -> QueryResult<()>;
    /// Writes one column of a key as its type is written.
    fn write_key<'b>(
        key: &'b Self::Key,
        column: usize,
        out: &mut Output<'b, '_, DB>,
    ) -> serialize::Result;
    /// Binds keys of one column as an array, where the database has arrays.
    fn bind_keys<'b>(keys: &'b [Self::Key], out: AstPass<'_, 'b, DB>) -> QueryResult<()>;
    /// Reads a key, whose first column is this one.
    fn read_key<'a>(row: &impl Row<'a, DB>, first: usize) -> deserialize::Result<Self::Key>;
    /// Binds a status code.
    fn bind_status<'b>(status: &'b Self::Status, out: AstPass<'_, 'b, DB>) -> QueryResult<()>;
    /// Reads a status code.
    fn read_status<'a>(row: &impl Row<'a, DB>, column: usize) -> deserialize::Result<Self::Status>;
    /// Reads the user's row, whose columns are the first ones.
    fn read_row<'a>(row: &impl Row<'a, DB>) -> deserialize::Result<Self>;
    /// Gives `run` what the user's own types write into a statement.
    fn with_fragments(
        updates: Option<&Self::Updates>,
        run: &mut WithFragments<'_, DB>,
    ) -> QueryResult<()>;
    /// Gives `run` what some new rows write into a statement.
    fn with_new_rows(updates: &[&Self::Updates], run: &mut WithNewRows<'_, DB>) -> QueryResult<()>;
    /// Which of the table's texts stay prepared.
    fn texts() -> &'static TableTexts;
}

/// What is done with them while they live.
pub type WithFragments<'f, DB> = dyn FnMut(Fragments<'_, DB>) -> QueryResult<()> + 'f;

/// What the user's types write into a statement.
pub struct Fragments<'a, DB: Backend> {
    /// The columns of the row.
    pub row: &'a dyn QueryFragment<DB>,
    /// The order in which jobs are taken; `None` is the oldest change first.
    pub order: Option<&'a dyn QueryFragment<DB>>,
    /// The assignments of the updates.
    pub changes: Option<&'a dyn QueryFragment<DB>>,
    /// The new rows.
    pub new_rows: &'a [NewRow<'a, DB>],
}

/// The columns of a new row that the user sets.
pub struct NewRow<'a, DB: Backend> {
    /// Their names.
    pub columns: &'a dyn QueryFragment<DB>,
    /// Their values.
    pub values: &'a dyn QueryFragment<DB>,
}

/// What is done with new rows while they live.
pub type WithNewRows<'f, DB> = dyn FnMut(&[NewRow<'_, DB>]) -> QueryResult<()> + 'f;

/// The names of the columns that Diesel's `values` set.
struct ColumnNames<'a, T, V>(&'a V, PhantomData<T>);

impl<T: Table, V: InsertValues<DB, T>, DB: Backend> QueryFragment<DB> for ColumnNames<'_, T, V> {
    fn walk_ast<'b>(&'b self, out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        self.0.column_names(out)
    }
}

/// Gives `run` the columns and the values of some new rows. `InsertValues` is the
/// part of Diesel's inserts that knows which columns the user sets; Diesel hides
/// it from its documentation.
pub fn with_new_rows<T: Table, V: InsertValues<DB, T>, DB: Backend>(
    values: &[V],
    run: &mut WithNewRows<'_, DB>,
) -> QueryResult<()> {
    let names: Vec<_> = values
        .iter()
        .map(|values| ColumnNames(values, PhantomData::<T>))
        .collect();
    let rows = names.iter().map(|names| NewRow {
        columns: names,
        values: names.0,
    });
    run(&rows.collect::<Vec<_>>())
}

/// What a table without columns of the user's sets.
#[derive(Debug, Clone, Copy)]
pub struct NoColumns;

impl<DB: Backend> QueryFragment<DB> for NoColumns {
    fn walk_ast<'b>(&'b self, _: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        Ok(())
    }
}

/// Gives `run` as many new rows, without columns of the user's.
pub fn with_keys_alone<DB: Backend>(
    rows: &[&()],
    run: &mut WithNewRows<'_, DB>,
) -> QueryResult<()> {
    let new_row = |_: &&()| NewRow {
        columns: &NoColumns,
        values: &NoColumns,
    };
    run(&rows.iter().map(new_row).collect::<Vec<NewRow<'_, DB>>>())
}

impl<DB: Backend> Clone for Fragments<'_, DB> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<DB: Backend> Copy for Fragments<'_, DB> {}

/// Reads one column as a type of the user's. A type that only derives
/// `Queryable` is read from a row, so it gets a row of this column alone:
/// Diesel hides `partial_row` from its documentation, and its own tuples use it.
pub fn read_column<'a, ST, T, DB>(row: &impl Row<'a, DB>, column: usize) -> deserialize::Result<T>
where
    DB: Backend,
    T: FromSqlRow<ST, DB>,
{
    T::build_from_row(&row.partial_row(column..column + 1))
}

/// Reads the user's row, as the columns that it selects. They are the first of
/// the row, so that it may be wider.
pub fn read_row<'a, J, DB>(row: &impl Row<'a, DB>) -> deserialize::Result<J>
where
    DB: Backend,
    J: Selectable<DB> + FromSqlRow<SqlTypeOf<<J as Selectable<DB>>::SelectExpression>, DB>,
    J::SelectExpression: Expression,
{
    J::build_from_row(row)
}
