//! How the rows of an insert are written.
//!
//! What the user sets in a new row is a fragment of Diesel's. A value in it may be
//! `DEFAULT`, so Diesel prepares a statement with the fragment anew at each call. But most
//! rows of an insert set the same columns to bound values. Those are written here, without
//! the columns that have their default, and the fragment only binds the values: such a
//! statement stays prepared.

use std::error::Error;
use std::fmt;
use std::ops::Range;

use diesel::QueryResult;
use diesel::backend::Backend;
use diesel::query_builder::{AstPass, QueryBuilder, QueryFragment};
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::Integer;

use super::backend::Binds;
use super::dialect::Dialect;
use super::typed::NewRow;

/// Rows that one insert takes.
#[derive(Debug)]
pub(super) struct RowGroup {
    pub rows: Range<usize>,
    /// Their columns and values as Diesel writes them, if that is the same for all.
    pub text: Option<[String; 2]>,
    /// The columns that all of them set to bound values, where they set no others.
    pub columns: Option<Vec<String>>,
}

impl RowGroup {
    /// No rows.
    pub const NONE: Self = Self {
        rows: 0..0,
        text: None,
        columns: None,
    };

    /// Divides new rows into inserts, in their order. A full one has as many rows as stay
    /// prepared.
    pub fn divide<DB: Binds>(
        new_rows: &[NewRow<'_, DB>],
        dialect: &Dialect,
    ) -> QueryResult<Vec<Self>> {
        let (mut groups, mut begin) = (Vec::new(), 0);
        while begin < new_rows.len() {
            let left = new_rows.len() - begin;
            let full = dialect.rows_of_insert.iter().find(|full| **full <= left);
            let most = &new_rows[begin..][..*full.unwrap_or(&left)];
            let group = Self::first(most, begin, dialect)?;
            begin = group.rows.end;
            groups.push(group);
        }
        Ok(groups)
    }

    /// The first of these rows that one insert can take.
    fn first<DB: Binds>(
        new_rows: &[NewRow<'_, DB>],
        begin: usize,
        dialect: &Dialect,
    ) -> QueryResult<Self> {
        let (mut columns, mut values) = (None, None);
        let (mut count, mut are_alike) = (0, true);
        for row in new_rows {
            // Where rows can have defaults, all of a type have the same columns.
            if columns.is_none() || !dialect.has_default {
                let own = text(row.columns)?;
                if columns.get_or_insert_with(|| own.clone()) != &own {
                    break;
                }
            }
            if are_alike {
                let own = text(row.values)?;
                are_alike = values.get_or_insert_with(|| own.clone()) == &own;
            }
            count += 1;
        }
        let text = columns.zip(values).filter(|_| are_alike);
        let columns = text.as_ref().filter(|_| dialect.has_default);
        Ok(Self {
            rows: begin..begin + count,
            columns: columns.and_then(|(columns, values)| bound(columns, values, dialect.quote)),
            text: text.map(|(columns, values)| [columns, values]),
        })
    }

    /// Whether an insert of so many rows stays prepared.
    pub fn is_full(&self, dialect: &Dialect) -> bool {
        self.rows.len() == 1 || dialect.rows_of_insert.contains(&self.rows.len())
    }
}

/// Writes so many values, which `row` binds.
pub(super) fn write_bound<'b, DB: Backend>(
    row: &'b dyn QueryFragment<DB>,
    values: usize,
    out: &mut AstPass<'_, 'b, DB>,
) -> QueryResult<()> {
    for n in 0..values {
        out.push_sql(if n > 0 { ", " } else { "" });
        // It fails where values are bound.
        if out.push_bind_param::<Integer, _>(&Place).is_err() {
            return row.walk_ast(out.reborrow());
        }
    }
    Ok(())
}

/// The place of a value in a text, and no value.
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

#[derive(Debug)]
struct NoValue;

impl fmt::Display for NoValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the place of a value has no value")
    }
}

impl Error for NoValue {}

fn text<DB: Binds>(fragment: &dyn QueryFragment<DB>) -> QueryResult<String> {
    let mut text = DB::QueryBuilder::default();
    fragment.to_sql(&mut text, &DB::default())?;
    Ok(text.finish())
}

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
