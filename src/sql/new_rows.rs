//! How the rows of an insert are written.
//!
//! What the user sets in a new row is a fragment of Diesel's. A value in it may be
//! `DEFAULT`, so Diesel prepares a statement with the fragment anew at each call. But most
//! rows of an insert set the same columns to bound values. Those are written here, without
//! the columns that have their default, and the fragment only binds the values: such a
//! statement stays prepared.

use std::error::Error;
use std::fmt;

use diesel::QueryResult;
use diesel::backend::Backend;
use diesel::query_builder::{AstPass, QueryBuilder, QueryFragment};
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::Integer;

use super::backend::Binds;
use super::dialect::{Dialect, Several};
use super::typed::NewRow;

/// Rows that one insert takes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct RowGroup {
    /// Their places among the new rows.
    pub rows: Vec<usize>,
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
        rows: Vec::new(),
        text: None,
        columns: None,
    };

    /// Divides new rows into inserts. Rows that set the same columns go together, if the
    /// order `may_change`.
    pub fn divide<DB: Binds>(
        new_rows: &[NewRow<'_, DB>],
        dialect: &Dialect,
        may_change: impl FnOnce() -> bool,
    ) -> QueryResult<Vec<Self>> {
        let mut texts: Vec<RowText> = Vec::new();
        let mut places = Vec::new();
        for row in new_rows {
            let columns = match texts.first() {
                // Where rows can have defaults, all of a type have the same columns.
                Some([columns, _]) if dialect.has_default => columns.clone(),
                _ => text(row.columns)?,
            };
            let own = [columns, text(row.values)?];
            let known = texts.iter().position(|text| *text == own);
            places.push(known.unwrap_or(texts.len()));
            if known.is_none() {
                texts.push(own);
            }
        }
        Ok(Self::of(&places, &texts, dialect, may_change))
    }

    /// The inserts of rows that have these of the `texts`.
    fn of(
        places: &[usize],
        texts: &[RowText],
        dialect: &Dialect,
        may_change: impl FnOnce() -> bool,
    ) -> Vec<Self> {
        let mut groups = Vec::new();
        let mut add = |rows: &[usize]| groups.extend(Self::alike(rows, places, texts, dialect));
        let all: Vec<_> = (0..places.len()).collect();
        let are_many = dialect.several != Several::ByKeys;
        if texts.len() > 1 && are_many && may_change() {
            for text in 0..texts.len() {
                let rows = all.iter().copied().filter(|row| places[*row] == text);
                add(&rows.collect::<Vec<_>>());
            }
        } else if texts.len() > 1 && dialect.has_default {
            groups.push(Self {
                rows: all,
                ..Self::NONE
            });
        } else {
            all.chunk_by(|a, b| places[*a] == places[*b]).for_each(add);
        }
        groups
    }

    /// The inserts of rows that have the same text, full ones first.
    fn alike(
        mut rows: &[usize],
        places: &[usize],
        texts: &[RowText],
        dialect: &Dialect,
    ) -> impl Iterator<Item = Self> {
        let text = rows.first().map(|first| texts[places[*first]].clone());
        let columns = text.as_ref().filter(|_| dialect.has_default);
        let columns = columns.and_then(|[columns, values]| bound(columns, values, dialect.quote));
        let next = move || {
            let full = dialect.rows_of_insert.iter();
            let count = full.copied().find(|full| *full <= rows.len());
            let (insert, rest) = rows.split_at(count.unwrap_or(rows.len()));
            rows = rest;
            Some(insert).filter(|insert| !insert.is_empty())
        };
        std::iter::from_fn(next).map(move |rows| Self {
            rows: rows.to_vec(),
            text: text.clone(),
            columns: columns.clone(),
        })
    }

    /// Whether many rows are so many that their insert stays prepared.
    pub fn is_full(&self, dialect: &Dialect) -> bool {
        dialect.rows_of_insert.contains(&self.rows.len())
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

    const ONE: [&str; 2] = ["\"a\", \"b\"", "$1, $2"];
    const OTHER: [&str; 2] = ["\"a\", \"b\"", "$1, DEFAULT"];

    /// The rows of each insert, and the columns that they are known to set.
    fn inserts(
        dialect: &Dialect,
        places: &[usize],
        may_change: bool,
    ) -> Vec<(Vec<usize>, Option<usize>)> {
        let texts = [ONE, OTHER].map(|text| text.map(str::to_owned));
        let used = places.iter().max().map_or(0, |most| most + 1);
        let groups = RowGroup::of(places, &texts[..used], dialect, || may_change);
        let inserts = groups.into_iter();
        inserts
            .map(|group| (group.rows, group.columns.map(|columns| columns.len())))
            .collect()
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn rows_that_set_the_same_columns_go_together_unless_their_order_matters() {
        use crate::sql::dialect::POSTGRES;
        let places = [0, 1, 0, 1];
        let together = [(vec![0, 2], Some(2)), (vec![1, 3], Some(1))];
        assert_eq!(inserts(&POSTGRES, &places, true), together);
        assert_eq!(
            inserts(&POSTGRES, &places, false),
            [(vec![0, 1, 2, 3], None)]
        );
        let sizes = |rows| {
            let inserts = inserts(&POSTGRES, &vec![0; rows], true);
            inserts
                .into_iter()
                .map(|(rows, _)| rows.len())
                .collect::<Vec<_>>()
        };
        assert_eq!(sizes(1_127), [500, 500, 100, 20, 7]);
        assert_eq!(sizes(1), [1]);
    }

    #[cfg(feature = "sqlite")]
    #[test]
    fn without_defaults_rows_that_set_other_columns_are_inserted_apart() {
        use crate::sql::dialect::SQLITE;
        let places = [0, 0, 1, 0];
        let rows = |may_change| {
            let inserts = inserts(&SQLITE, &places, may_change);
            inserts
                .into_iter()
                .map(|(rows, _)| rows)
                .collect::<Vec<_>>()
        };
        assert_eq!(rows(true), [vec![0, 1, 3], vec![2]]);
        assert_eq!(rows(false), [vec![0, 1], vec![2], vec![3]]);
    }

    /// There a key that exists makes the insert of all rows fail.
    #[cfg(feature = "mysql")]
    #[test]
    fn on_mysql_all_rows_are_in_one_insert() {
        use crate::sql::dialect::MYSQL;
        assert_eq!(inserts(&MYSQL, &[0, 1, 0], true), [(vec![0, 1, 2], None)]);
        assert_eq!(inserts(&MYSQL, &[0; 3], true), [(vec![0, 1, 2], Some(2))]);
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
