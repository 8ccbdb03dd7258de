//! What a database says of a table: columns, key and indexes.

mod kind;
mod names;

use std::fmt::{self, Display};

use diesel_status_tracker::{DescribedConnection, InnerConnection};

pub use kind::ColumnKind;

use crate::error::{Error, Result};
use crate::sql::catalog::{self, Answers, ColumnRow, IndexRow};

/// Which database a table is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DatabaseKind {
    /// PostgreSQL.
    Postgres,
    /// MySQL or MariaDB.
    Mysql,
    /// SQLite.
    Sqlite,
}

impl DatabaseKind {
    /// The database behind a connection.
    pub(crate) fn of(conn: &InnerConnection<'_>) -> Self {
        match conn {
            InnerConnection::Mysql(_) => Self::Mysql,
            InnerConnection::Sqlite(_) => Self::Sqlite,
            _ => Self::Postgres,
        }
    }
}

/// A table as its database describes it.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use diesel::prelude::*;
/// use diesel::connection::SimpleConnection;
/// use diesel_status_console::{Catalog, ConsoleConnection};
///
/// let mut conn = ConsoleConnection::establish("sqlite://:memory:")?;
/// conn.batch_execute("CREATE TABLE invoices (id INTEGER PRIMARY KEY, sent_to TEXT)")?;
/// let invoices = Catalog::read(&mut conn, "invoices")?;
/// assert_eq!(invoices.key, ["id"]);
/// assert_eq!(invoices.column("sent_to").unwrap().type_name, "TEXT");
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Catalog {
    /// Which database it is in.
    pub database: DatabaseKind,
    /// Its schema, where that has to be named; on MySQL another database.
    pub schema: Option<String>,
    /// Its name.
    pub name: String,
    /// Its columns, in order.
    pub columns: Vec<Column>,
    /// The columns of its primary key, in order.
    pub key: Vec<String>,
    /// Its indexes, that of the primary key too.
    pub indexes: Vec<Index>,
}

/// A column.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type, as the database calls it.
    pub type_name: String,
    /// What it holds.
    pub kind: ColumnKind,
    /// Whether it may hold NULL.
    pub is_nullable: bool,
    /// Its default, as SQL.
    pub default: Option<String>,
    /// Whether the database counts: `AUTO_INCREMENT`, `GENERATED AS IDENTITY`, a
    /// sequence, SQLite's `INTEGER PRIMARY KEY`.
    pub is_counted: bool,
    /// Whether the database computes it from other columns.
    pub is_computed: bool,
}

/// An index.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Index {
    /// Its name.
    pub name: String,
    /// Whether its values are unique.
    pub is_unique: bool,
    /// Whether the database may use it: not so after a `CREATE INDEX CONCURRENTLY` that failed.
    pub is_valid: bool,
    /// Its columns, in order.
    pub terms: Vec<IndexTerm>,
    /// The condition of a partial index, as SQL.
    pub condition: Option<String>,
}

/// What an index sorts by.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct IndexTerm {
    /// A column's name, or an expression; `(expression)` where the database does not tell it.
    pub term: String,
    /// Whether the largest is first.
    pub is_descending: bool,
}

impl Catalog {
    /// Reads what the database says of a table, which is named with its schema
    /// (`billing.invoices`) or without it.
    ///
    /// # Errors
    ///
    /// [`Error::NoTable`] where there is none of the name; [`Error::Catalog`] where the
    /// database does not tell.
    pub fn read<C: DescribedConnection>(conn: &mut C, table: &str) -> Result<Self> {
        let mut conn = conn.inner_connection();
        match Self::found(&mut conn, None, table) {
            Err(error @ Error::NoTable(_)) => match table.split_once('.') {
                Some((schema, name)) => Self::found(&mut conn, Some(schema), name),
                None => Err(error),
            },
            other => other,
        }
    }

    /// The same of a table in this schema, or in the usual one.
    pub(crate) fn found(
        conn: &mut InnerConnection<'_>,
        schema: Option<&str>,
        table: &str,
    ) -> Result<Self> {
        let answers = catalog::table(conn, schema, table).map_err(|source| Error::Catalog {
            table: table.into(),
            source,
        })?;
        let answers = answers.ok_or_else(|| {
            let schema = schema.map(|schema| format!("{schema}."));
            Error::NoTable(schema.unwrap_or_default() + table)
        })?;
        Ok(Self::of(DatabaseKind::of(conn), answers))
    }

    fn of(database: DatabaseKind, answers: Answers) -> Self {
        let mut key: Vec<_> = answers
            .columns
            .iter()
            .filter(|column| column.key_place > 0)
            .map(|column| (column.key_place, column.name.clone()))
            .collect();
        key.sort();
        let mut indexes: Vec<Index> = Vec::new();
        for row in answers.indexes {
            match indexes.last_mut() {
                Some(index) if index.name == row.name => index.terms.push(IndexTerm::of(&row)),
                _ => indexes.push(Index::of(database, row)),
            }
        }
        Self {
            database,
            schema: (!answers.table.is_in_path).then_some(answers.table.schema),
            name: answers.table.name,
            columns: answers
                .columns
                .into_iter()
                .map(|row| Column::of(database, row))
                .collect(),
            key: key.into_iter().map(|(_, name)| name).collect(),
            indexes,
        }
    }

    /// The column of this name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Its name as SQL has it, with the schema where that has to be named.
    pub(crate) fn written(&self) -> String {
        let path = self.schema.iter().chain([&self.name]);
        let names: Vec<_> = path.map(|name| self.database.written(name)).collect();
        names.join(".")
    }
}

/// As people name it.
impl Display for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(schema) = &self.schema {
            write!(f, "{schema}.")?;
        }
        f.write_str(&self.name)
    }
}

impl Column {
    fn of(database: DatabaseKind, row: ColumnRow) -> Self {
        let kind = match row.labels {
            Some(labels) => ColumnKind::Enum(labels.lines().map(Into::into).collect()),
            None if row.is_json => ColumnKind::Json,
            // A row number of SQLite, which has 64 bits.
            None if row.is_counted && database == DatabaseKind::Sqlite => ColumnKind::Integer {
                bits: 64,
                is_signed: true,
            },
            None => ColumnKind::of(database, &row.type_name),
        };
        Self {
            name: row.name,
            type_name: row.type_name,
            kind,
            is_nullable: row.is_nullable,
            // MariaDB writes the word where there is none.
            default: row.default_value.filter(|default| default != "NULL"),
            is_counted: row.is_counted,
            is_computed: row.is_computed,
        }
    }
}

impl Index {
    fn of(database: DatabaseKind, row: IndexRow) -> Self {
        let condition = match database {
            DatabaseKind::Sqlite => row.condition.as_deref().and_then(condition_of),
            _ => row.condition.clone(),
        };
        Self {
            is_unique: row.is_unique,
            is_valid: row.is_valid,
            terms: vec![IndexTerm::of(&row)],
            condition,
            name: row.name,
        }
    }
}

impl IndexTerm {
    fn of(row: &IndexRow) -> Self {
        Self {
            term: row.term.clone().unwrap_or_else(|| "(expression)".into()),
            is_descending: row.is_descending,
        }
    }
}

/// The condition in a `CREATE INDEX` of SQLite: what follows the first WHERE that
/// stands neither in quotes nor in brackets.
fn condition_of(definition: &str) -> Option<String> {
    let mut quote = None;
    let mut depth = 0;
    for (at, c) in definition.char_indices() {
        match (quote, c) {
            (Some(end), c) if c == end => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"' | '`') => quote = Some(c),
            (None, '[') => quote = Some(']'),
            (None, '(') => depth += 1,
            (None, ')') => depth -= 1,
            (None, c) if c.is_whitespace() || c == 'w' || c == 'W' => {
                let rest = &definition[at..];
                let is_word = rest
                    .get(..5)
                    .is_some_and(|word| word.eq_ignore_ascii_case("where"));
                if depth == 0 && is_word {
                    return Some(rest[5..].trim().into());
                }
            }
            (None, _) => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_condition_is_found_in_a_definition() {
        let condition = |definition| condition_of(definition);
        assert_eq!(
            condition(
                "CREATE INDEX \"a where b\" ON t (lower(x), y) WHERE lock IS NULL AND (a OR b)"
            ),
            Some("lock IS NULL AND (a OR b)".into())
        );
        assert_eq!(condition("CREATE INDEX i ON t (x)"), None);
    }
}
