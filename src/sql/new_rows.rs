//! How the rows of an insert are written.
//!
//! What the user sets in a new row is a fragment of Diesel's. A value in it may be
//! `DEFAULT`, so Diesel prepares a statement with the fragment anew at each call. But most
//! rows of an insert set the same columns to bound values. Those are written here, without
//! the columns that have their default, and the fragment only binds the values: such a
//! statement stays prepared.

use std::fmt;
use std::ops::Range;

use diesel::QueryResult;
use diesel::backend::Backend;
use diesel::query_builder::{AstPass, QueryFragment};
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::Integer;

use super::backend::{Binds, text_of};
use super::dialect::Dialect;
use super::typed::NewRow;

/// Rows that one insert takes.
#[derive(Debug)]
pub(super) struct RowGroup {
    pub rows: Range<usize>,
    /// Their columns and values as Diesel writes them, if that is the same for all.
    pub text: Option<RowText>,
    /// The columns that all of them set to bound values, if they set no others.
    pub columns: Option<Vec<String>>,
}

/// The columns and the values of a row.
type RowText = [String; 2];

impl RowGroup {
    /// No rows.
    pub const NONE: Self = Self {
        rows: 0..0,
        text: None,
        columns: None,
    };

    /// Divides new rows into inserts, and keeps their order.
    pub fn divide<DB: Binds>(
        new_rows: &[NewRow<'_, DB>],
        dialect: &Dialect,
    ) -> QueryResult<Vec<Self>> {
        let mut groups: Vec<Self> = Vec::new();
        let mut left = new_rows;
        while let Some((first, others)) = left.split_first() {
            let mut sizes = dialect.rows_of_insert.iter().copied();
            let most = sizes.find(|size| *size <= left.len());
            let others = &others[..most.unwrap_or(left.len()) - 1];
            let begin = new_rows.len() - left.len();
            let group = Self::beginning_with(first, others, begin, dialect)?;
            left = &new_rows[group.rows.end..];
            groups.push(group);
        }
        Ok(groups)
    }

    /// As many of these rows as one insert can take.
    fn beginning_with<DB: Binds>(
        first: &NewRow<'_, DB>,
        others: &[NewRow<'_, DB>],
        begin: usize,
        dialect: &Dialect,
    ) -> QueryResult<Self> {
        let [columns, values] = [text_of(first.columns)?, text_of(first.values)?];
        let (mut end, mut are_alike) = (begin + 1, true);
        for row in others {
            // Where rows can have defaults, all of a type have the same columns.
            if !dialect.has_default && text_of(row.columns)? != columns {
                break;
            }
            are_alike = are_alike && text_of(row.values)? == values;
            end += 1;
        }
        let bound = match are_alike && dialect.has_default {
            true => bound(&columns, &values, dialect.quote),
            false => None,
        };
        Ok(Self {
            rows: begin..end,
            text: are_alike.then_some([columns, values]),
            columns: bound,
        })
    }

    /// Whether these are as many rows as an insert has that stays prepared.
    pub fn is_full(&self, dialect: &Dialect) -> bool {
        dialect.rows_of_insert.contains(&self.rows.len())
    }
}

/// Writes so many values, which `row` binds.
///
/// Diesel does not tell a fragment whether it is to write its text or to bind its values.
/// But it asks a value for its bytes only to bind it, and a [`Place`] has none.
pub(super) fn write_bound<'b, DB: Backend>(
    row: &'b dyn QueryFragment<DB>,
    values: usize,
    out: &mut AstPass<'_, 'b, DB>,
) -> QueryResult<()> {
    for n in 0..values {
        out.push_sql(if n > 0 { ", " } else { "" });
        if out.push_bind_param::<Integer, _>(&Place).is_err() {
            return row.walk_ast(out.reborrow());
        }
    }
    Ok(())
}

/// The place of a value in a text. To bind it fails, before anything is bound. In the debug
/// output of a query it stands for the value.
struct Place;

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl<DB: Backend> ToSql<Integer, DB> for Place {
    fn to_sql<'b>(&'b self, _: &mut Output<'b, '_, DB>) -> serialize::Result {
        Err(Box::new(NoValue))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the place of a value has no value")]
struct NoValue;

/// The columns whose values are bound, `None` if another value is not `DEFAULT`.
fn bound(columns: &str, values: &str, quote: char) -> Option<Vec<String>> {
    let columns = names(columns, quote);
    let values: Vec<_> = values
        .split(", ")
        .filter(|value| !value.is_empty())
        .collect();
    if columns.len() != values.len() {
        return None;
    }
    let is_default = |value: &str| value == "DEFAULT";
    let is_bound = |value: &str| {
        let number = value.strip_prefix('$');
        value == "?" || number.is_some_and(|number| number.parse::<usize>().is_ok())
    };
    if !values
        .iter()
        .all(|value| is_default(value) || is_bound(value))
    {
        return None;
    }
    let pairs = columns.into_iter().zip(values);
    let bound = pairs.filter(|(_, value)| is_bound(value));
    Some(bound.map(|(column, _)| column.into()).collect())
}

/// Quoted names in a list. A quote within a name is written twice.
fn names(list: &str, quote: char) -> Vec<&str> {
    let mut is_quoted = false;
    let names = list.split(|c| {
        is_quoted ^= c == quote;
        c == ',' && !is_quoted
    });
    let names = names.map(str::trim).filter(|name| !name.is_empty());
    names.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "postgres")]
    #[test]
    fn the_first_inserts_are_as_large_as_stay_prepared() {
        use crate::sql::dialect::POSTGRES;
        use crate::sql::typed::NoColumns;
        let row = || NewRow::<diesel::pg::Pg> {
            columns: &NoColumns,
            values: &NoColumns,
        };
        let new_rows: Vec<_> = std::iter::repeat_with(row).take(1_127).collect();
        let groups = RowGroup::divide(&new_rows, &POSTGRES).unwrap();
        let rows: Vec<_> = groups.iter().map(|group| group.rows.clone()).collect();
        assert_eq!(rows, [0..500, 500..1_000, 1_000..1_100, 1_100..1_127]);
        assert_eq!(groups[0].columns, Some(Vec::new()));
    }

    #[test]
    fn columns_that_have_their_default_are_left_out() {
        let of = |columns, values| bound(columns, values, '"');
        let both = Some(vec!["\"a\"".to_owned(), "\"b\"".into()]);
        assert_eq!(of("\"a\", \"b\"", "$1, $2"), both);
        assert_eq!(of("\"a\", \"x\", \"b\"", "?, DEFAULT, ?"), both);
        assert_eq!(of("\"a\"", "DEFAULT"), Some(Vec::new()));
        assert_eq!(of("", ""), Some(Vec::new()));
    }

    #[test]
    fn rows_with_other_expressions_are_not_taken_apart() {
        for values in ["lower($1)", "now()", "$1, $2", "$", "coalesce($1, $2)"] {
            assert_eq!(bound("\"a\"", values, '"'), None, "{values}");
        }
    }

    #[test]
    fn a_name_may_hold_commas_and_quotes() {
        let list = "\"a, b\", \"c\"\", \"\"d\", \"e\"";
        let expected = ["\"a, b\"", "\"c\"\", \"\"d\"", "\"e\""];
        assert_eq!(names(list, '"'), expected);
    }
}
