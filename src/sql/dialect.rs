//! What differs from one database to the other, as a value.

#[cfg(all(test, feature = "postgres"))]
mod cockroach;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

use super::statements;
use super::template::{Reading, Statement};
use crate::table_info::{Document, Names, TableInfo, quoted};

/// The dialects that a statement can be parsed for.
pub(super) const DIALECTS: usize = if cfg!(test) { 4 } else { 3 };

/// How a database writes what is not the same everywhere.
#[derive(Debug)]
pub struct Dialect {
    /// Its place among all.
    pub(super) number: usize,
    /// What stands around a name.
    pub(crate) quote: char,
    /// Whether a change can return the rows that it changed.
    pub(crate) has_returning: bool,
    /// How several rows are claimed or inserted.
    pub(crate) several: Several,
    /// Whether keys that were read are bound as one array. Elsewhere they are a
    /// list, whose length the text shows.
    pub(super) has_arrays: bool,
    /// The most keys of several columns in one statement: each makes its condition deeper.
    most_composite_keys: usize,
    /// Whether text in a key is compared as the column compares it, padding and
    /// all, which Diesel's `Text` does not tell.
    pub(super) infers_text: bool,
    /// What stands before a bound value by which a search finds rows, and before its limit.
    pub(super) before_value: &'static str,
    /// Whether the row bears a token.
    bears_token: &'static str,
    /// What locks the rows that a SELECT reads.
    pub(crate) lock_rows: &'static str,
    /// A time in a column with or without a time zone: what stands before and
    /// after the microseconds, or the first alone where there are none.
    pub(crate) time: fn(Reading, bool) -> [&'static str; 2],
    /// What stands before and after a time that is given to two columns, where one time
    /// costs less than two. Elsewhere it is written twice.
    pub(super) one_time: Option<[&'static str; 2]>,
    /// A time long ago, for a `lock_at` that may not be NULL: a day after the
    /// epoch, which is a valid time in every time zone of a session.
    pub(super) long_ago: fn(bool) -> &'static str,
    /// The order from the oldest time to the newest, and the other way, where NULL
    /// is before all times.
    pub(super) null_before_all: [&'static str; 2],
    /// The `errors` of a new row.
    pub(super) empty_document: fn(Document) -> &'static str,
    /// Has an insert pass over a key that exists. On the key alone: a conflict on
    /// another unique index stays an error, and neither breaks the caller's
    /// transaction.
    unless_exists: &'static str,
    /// Compares two values, of which NULL equals NULL.
    pub(super) is_same: &'static str,
    /// The numbers of rows with which an insert stays prepared, the most first. No insert has
    /// more: with up to 131 columns, 500 rows have fewer values than a statement may have
    /// (65,535).
    pub(super) rows_of_insert: &'static [usize],
    /// Whether rows are inserted from a list of the values that differ.
    pub(super) inserts_lists: bool,
    /// Whether an insert can leave a column to its default in some of its rows. Elsewhere
    /// the rows of one insert set the same columns.
    pub(super) has_default: bool,
    /// The `retry` of a new row whose key the database makes.
    no_retry: &'static str,
    /// Whether an insert returns the key that the database made. Elsewhere it may
    /// turn out only afterwards that it has made none.
    pub(crate) returns_made_keys: bool,
    /// How long a change waits for a row.
    pub(super) wait: fn(LockWait) -> Wait,
    /// The type of text of any length.
    pub(super) text_type: &'static str,
    /// How text is compared with a column of any type.
    pub(super) casts_text: CastsText,
    /// A column as people read it, in bytes: what stands before and after the
    /// number of bytes at which it is cut.
    pub(super) cut: fn(&str, is_binary: bool) -> [String; 2],
    /// Where the names of a table's columns stand.
    pub(super) catalog: Catalog,
}

/// How text that is given for a column is compared as a value of that column's
/// type, which is not known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    not(all(feature = "sqlite", feature = "postgres", feature = "mysql")),
    allow(dead_code)
)]
pub(super) enum CastsText {
    /// The database does that where it compares: text that is no such value is
    /// equal to none.
    AsCompared,
    /// The same, but the database takes `5x` for 5, so the column's own text has
    /// to be equal too.
    AndChecked,
    /// By the type of the table's rows. Text that is no such value is an error.
    ByRowType,
}

/// Where the names of a table's columns stand.
#[derive(Debug)]
pub(super) struct Catalog {
    pub name: &'static str,
    /// Whether the column holds bytes: 1 or 0.
    pub is_binary: &'static str,
    pub rows: &'static str,
}

/// How several rows are claimed or inserted. Each dialect has its own way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    not(all(feature = "sqlite", feature = "postgres", feature = "mysql")),
    allow(dead_code)
)]
pub enum Several {
    /// By one statement.
    AtOnce,
    /// Their keys are read, then those that nobody else holds are claimed.
    ByKeys,
    /// Their keys are read, then claimed: there is one writer at a time, so nobody
    /// comes in between.
    OneWriter,
}

/// How long an update waits for a row that another transaction holds. What
/// waits for longer keeps its connection from all others.
///
/// Claims hold rows for a moment that they do not get, so a statement on many
/// rows that never waits would often fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LockWait {
    /// A moment, in which most transactions end: a quarter of a second on
    /// PostgreSQL, a second on MariaDB, which counts in seconds.
    #[default]
    Briefly,
    /// Not at all. PostgreSQL's least is a millisecond.
    Never,
}

/// The limit in the text of a change, since a setting of the session would be
/// one more statement, and the user's too.
#[derive(Debug)]
pub(super) struct Wait {
    /// What stands before the statement.
    pub before: &'static str,
    /// A condition, which holds for all rows.
    pub condition: &'static str,
}

impl Wait {
    const EMPTY: Self = Self {
        before: "",
        condition: "",
    };
}

impl Dialect {
    /// Whether a read can lock rows.
    pub(crate) fn locks_rows(&self) -> bool {
        !self.lock_rows.is_empty()
    }

    /// Whether it can tell which key the database made for a row of this table.
    pub(crate) fn tells_made_key(&self, info: &TableInfo) -> bool {
        self.has_returning || info.made_key_column().is_some()
    }

    /// Whether an insert passes over keys that exist.
    pub(super) fn passes_over_keys(&self) -> bool {
        !self.unless_exists.is_empty()
    }

    /// The most keys of this table in one statement.
    pub(crate) fn most_keys(&self, info: &TableInfo) -> usize {
        match info.key_columns().len() {
            0 | 1 => usize::MAX,
            _ => self.most_composite_keys,
        }
    }

    /// What finds the first ready rows.
    pub(crate) fn ready_rows(&self, is_oldest_first: bool) -> &'static Statement {
        match self.several {
            Several::ByKeys if is_oldest_first => &statements::READY_ROWS_BY_STATUS,
            Several::ByKeys => &statements::READY_ROWS_IN_ORDER,
            Several::AtOnce | Several::OneWriter => &statements::READY_ROWS,
        }
    }

    /// A column, or what else has a value, as text.
    pub(super) fn as_text(&self, value: &str) -> String {
        format!("CAST({value} AS {})", self.text_type)
    }

    /// What stands before and after text that is to be a value of a column's type.
    pub(super) fn cast_from_text(&self, names: &Names, column: &str) -> [String; 2] {
        if self.casts_text != CastsText::ByRowType {
            return Default::default();
        }
        // An `E''` string does not depend on a setting of the session.
        let text = column.replace('\\', r"\\").replace('\'', "''");
        let before = format!(
            "(json_populate_record(CAST(NULL AS {}), json_build_object(E'{text}', ",
            names.table
        );
        [before, format!("))).{}", quoted(column, self.quote))]
    }

    /// A part of a statement that this dialect writes in its own way.
    pub(super) fn part(&self, name: &str) -> Option<&'static str> {
        match name {
            "bears_token" => Some(self.bears_token),
            "lock_rows" => Some(self.lock_rows),
            "no_retry" => Some(self.no_retry),
            "unless_exists" => Some(self.unless_exists),
            "catalog" => Some(self.catalog.rows),
            _ => None,
        }
    }
}

/// The dialect that each connection speaks.
#[cfg(all(test, feature = "postgres"))]
pub(crate) use cockroach::COCKROACH;
#[cfg(feature = "mysql")]
pub(crate) use mysql::MYSQL;
#[cfg(feature = "postgres")]
pub(crate) use postgres::POSTGRES;
#[cfg(feature = "sqlite")]
pub(crate) use sqlite::SQLITE;

impl Dialect {
    /// Those whose feature is on.
    #[cfg(test)]
    pub(crate) const ALL: &[&Self] = &[
        #[cfg(feature = "sqlite")]
        &SQLITE,
        #[cfg(feature = "postgres")]
        &POSTGRES,
        #[cfg(feature = "mysql")]
        &MYSQL,
    ];
}
