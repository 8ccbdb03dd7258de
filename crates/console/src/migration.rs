//! The SQL that gives an existing table its tracking columns and indexes, and the SQL
//! that takes them away again.

mod indexes;

use std::fmt::{self, Display};

use diesel_status_tracker::{ErrorsType, Role, StatusCode, TableInfo};

use crate::catalog::{Catalog, Column, ColumnKind, DatabaseKind};
use crate::error::{Error, Result};
use crate::roles::{has_number_codes, misfit};
use indexes::drop_index;
pub(crate) use indexes::{indexes, ready_codes};

/// SQL that changes a table and SQL that changes it back. It is text to look at and to
/// run, as a migration of Diesel for instance.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Migration {
    /// Adds the tracking columns and the indexes.
    pub up: String,
    /// Takes away what `up` adds.
    pub down: String,
}

impl Display for Migration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "-- Up\n\n{}\n-- Down\n\n{}", self.up, self.down)
    }
}

/// A column that is to be added.
struct Added<'a> {
    role: Role,
    name: &'a str,
    type_name: String,
    default: Option<String>,
}

/// The SQL that gives a table what `info` says of it: those of the tracking columns that
/// it does not have yet, and the indexes that claims need. The rows that exist become
/// `existing`, or `PENDING` of the first step.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use diesel::prelude::*;
/// # use diesel::connection::SimpleConnection;
/// use diesel_status_console::{Catalog, ConsoleConnection, migration, tracking};
///
/// let mut conn = ConsoleConnection::establish("sqlite://:memory:")?;
/// conn.batch_execute("CREATE TABLE invoices (id INTEGER PRIMARY KEY, sent_to TEXT)")?;
/// let invoices = Catalog::read(&mut conn, "invoices")?;
/// let info = tracking(&invoices, &[], &[])?;
///
/// let migration = migration(&invoices, &info, None)?;
/// conn.batch_execute(&migration.up)?;
/// conn.batch_execute(&migration.down)?;
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`Error::Misfit`] where the table has a column with the name of a tracking column, and
/// another type.
pub fn migration(
    catalog: &Catalog,
    info: &TableInfo,
    existing: Option<&StatusCode>,
) -> Result<Migration> {
    let mut added = Vec::new();
    for (usual, role) in Role::ALL {
        let Some(name) = info.column(role) else {
            continue;
        };
        match catalog.column(name) {
            None => added.push(added_column(catalog.database, info, role, name)),
            Some(column) => fits(catalog, role, usual, column)?,
        }
    }
    let indexes = indexes(catalog, info);
    let (new, kept): (Vec<_>, Vec<_>) = indexes.into_iter().partition(|index| {
        let mut others = catalog.indexes.iter();
        !others.any(|other| other.name == index.name)
    });
    let mut up = String::new();
    let mut down = String::new();
    if !added.is_empty() {
        up.push_str(&add_columns(catalog, &added, existing));
        up.push_str(&fill(catalog, info, &added, existing));
    }
    for index in &kept {
        let name = &index.name;
        up.push_str(&format!(
            "-- There is an index `{name}` already. If it is another: {}\n",
            index.text
        ));
    }
    if !new.is_empty() {
        if catalog.database == DatabaseKind::Postgres {
            up.push_str(
                "-- On a large table that is in use: CREATE INDEX CONCURRENTLY, outside of a transaction.\n",
            );
        }
        for index in &new {
            up.push_str(&index.text);
            up.push('\n');
            down.push_str(&drop_index(catalog, &index.name));
        }
    }
    if up.is_empty() {
        up.push_str("-- The table has everything.\n");
    }
    down.push_str(&drop_columns(catalog, &added));
    if down.is_empty() {
        down.push_str("-- Nothing was added.\n");
    }
    Ok(Migration { up, down })
}

fn fits(catalog: &Catalog, role: Role, usual: &'static str, column: &Column) -> Result<()> {
    match misfit(catalog.database, role, column) {
        None => Ok(()),
        Some(needed) => Err(Error::Misfit {
            table: catalog.to_string(),
            column: column.name.clone(),
            role: usual,
            needed,
            found: found(column),
        }),
    }
}

fn found(column: &Column) -> String {
    let null = if column.is_nullable { "" } else { " NOT NULL" };
    format!("{}{null}", column.type_name)
}

/// The type and the default of a column that a table does not have yet.
fn added_column<'a>(
    database: DatabaseKind,
    info: &TableInfo,
    role: Role,
    name: &'a str,
) -> Added<'a> {
    let default = match role {
        Role::Status => {
            let first = info.steps().first();
            first.map(|step| literal(database, &step.codes().pending))
        }
        Role::CreateAt | Role::UpdateAt => Some(match (database, info.is_zoned(role)) {
            (DatabaseKind::Postgres, false) => "(now() AT TIME ZONE 'UTC')".into(),
            (DatabaseKind::Postgres, true) => "now()".into(),
            (DatabaseKind::Mysql, _) => "(UTC_TIMESTAMP(6))".into(),
            // It takes a constant alone for a column that is added.
            (DatabaseKind::Sqlite, false) => "'1970-01-01 00:00:00.000'".into(),
            (DatabaseKind::Sqlite, true) => "'1970-01-01 00:00:00.000+00:00'".into(),
        }),
        Role::Retry => Some("0".into()),
        Role::Errors if database == DatabaseKind::Mysql => Some("('{}')".into()),
        Role::Errors => Some("'{}'".into()),
        _ => None,
    };
    Added {
        role,
        name,
        type_name: type_of(database, info, role).into(),
        default,
    }
}

/// The type of a tracking column where it is added.
pub(crate) fn type_of(database: DatabaseKind, info: &TableInfo, role: Role) -> &'static str {
    let is_mysql = database == DatabaseKind::Mysql;
    match role {
        Role::Status if has_number_codes(info) => "INTEGER",
        Role::Status | Role::Lock if is_mysql => "VARCHAR(32)",
        Role::Status | Role::Lock => "TEXT",
        Role::Retry => "INTEGER",
        Role::Errors => match (database, info.errors()) {
            (DatabaseKind::Mysql, ErrorsType::Text) => "MEDIUMTEXT",
            (DatabaseKind::Mysql, _) => "JSON",
            (DatabaseKind::Postgres, ErrorsType::Json) => "JSON",
            (DatabaseKind::Postgres, ErrorsType::Jsonb) => "JSONB",
            _ => "TEXT",
        },
        _ if is_mysql => "DATETIME(6)",
        _ if info.is_zoned(role) => "TIMESTAMPTZ",
        _ => "TIMESTAMP",
    }
}

/// What a column that [`migration`] adds will be.
pub(crate) fn column_to_be(catalog: &Catalog, info: &TableInfo, role: Role, name: &str) -> Column {
    let added = added_column(catalog.database, info, role, name);
    let kind = match role {
        Role::Errors if info.errors() == ErrorsType::Text => ColumnKind::Text {
            limit: None,
            is_padded: false,
        },
        Role::Errors if info.errors() == ErrorsType::Jsonb => ColumnKind::Jsonb,
        Role::Errors => ColumnKind::Json,
        Role::Status | Role::Retry if added.type_name == "INTEGER" => ColumnKind::Integer {
            bits: 32,
            is_signed: true,
        },
        Role::Status | Role::Lock => ColumnKind::Text {
            limit: None,
            is_padded: false,
        },
        _ => ColumnKind::Timestamp {
            is_zoned: info.is_zoned(role),
            digits: 6,
        },
    };
    Column {
        name: name.into(),
        type_name: added.type_name,
        kind,
        is_nullable: added.default.is_none(),
        default: added.default,
        is_counted: false,
        is_computed: false,
    }
}

/// A code as SQL has it.
pub(crate) fn literal(database: DatabaseKind, code: &StatusCode) -> String {
    match code {
        StatusCode::Number(code) => code.to_string(),
        // A backslash means something else with each setting of the session there.
        StatusCode::Text(code) if database == DatabaseKind::Mysql && code.contains('\\') => {
            let hex: String = code.bytes().map(|byte| format!("{byte:02x}")).collect();
            format!("_utf8mb4 X'{hex}'")
        }
        StatusCode::Text(code) => format!("'{}'", code.replace('\'', "''")),
    }
}

fn definition(database: DatabaseKind, added: &Added<'_>, default: Option<&String>) -> String {
    let name = database.written(added.name);
    let type_name = &added.type_name;
    match default {
        Some(default) => format!("ADD COLUMN {name} {type_name} NOT NULL DEFAULT {default}"),
        None => format!("ADD COLUMN {name} {type_name}"),
    }
}

fn add_columns(catalog: &Catalog, added: &[Added<'_>], existing: Option<&StatusCode>) -> String {
    let table = catalog.written();
    let is_sqlite = catalog.database == DatabaseKind::Sqlite;
    let definitions = added.iter().map(|added| match existing {
        // The default of this statement is what the rows that exist get, without being
        // written anew; the next statement sets that of new rows.
        Some(code) if added.role == Role::Status && !is_sqlite => {
            let default = Some(literal(catalog.database, code));
            definition(catalog.database, added, default.as_ref())
        }
        _ => definition(catalog.database, added, added.default.as_ref()),
    });
    match catalog.database {
        // One column a statement.
        DatabaseKind::Sqlite => definitions
            .map(|definition| format!("ALTER TABLE {table} {definition};\n"))
            .collect(),
        _ => {
            let definitions: Vec<_> = definitions.collect();
            format!(
                "ALTER TABLE {table}\n    {};\n",
                definitions.join(",\n    ")
            )
        }
    }
}

/// What the rows that exist hold, where that is not the default, and the default of new rows.
fn fill(
    catalog: &Catalog,
    info: &TableInfo,
    added: &[Added<'_>],
    existing: Option<&StatusCode>,
) -> String {
    let table = catalog.written();
    let is_sqlite = catalog.database == DatabaseKind::Sqlite;
    let mut sets = Vec::new();
    let mut default = String::new();
    for added in added {
        let name = catalog.database.written(added.name);
        match (added.role, existing, &added.default) {
            (Role::Status, Some(code), _) if is_sqlite => {
                sets.push(format!("{name} = {}", literal(catalog.database, code)));
            }
            (Role::Status, Some(_), Some(pending)) => {
                default =
                    format!("ALTER TABLE {table} ALTER COLUMN {name} SET DEFAULT {pending};\n");
            }
            (Role::CreateAt | Role::UpdateAt, ..) if is_sqlite => {
                let zone = if info.is_zoned(added.role) {
                    "+00:00"
                } else {
                    ""
                };
                sets.push(format!(
                    "{name} = strftime('%Y-%m-%d %H:%M:%f{zone}', 'now')"
                ));
            }
            _ => {}
        }
    }
    if !sets.is_empty() {
        default.push_str(&format!("UPDATE {table} SET {};\n", sets.join(", ")));
    }
    default
}

fn drop_columns(catalog: &Catalog, added: &[Added<'_>]) -> String {
    if added.is_empty() {
        return String::new();
    }
    let table = catalog.written();
    let drops = added
        .iter()
        .map(|added| format!("DROP COLUMN {}", catalog.database.written(added.name)));
    match catalog.database {
        DatabaseKind::Sqlite => drops
            .map(|drop| format!("ALTER TABLE {table} {drop};\n"))
            .collect(),
        _ => {
            let drops: Vec<_> = drops.collect();
            format!("ALTER TABLE {table}\n    {};\n", drops.join(",\n    "))
        }
    }
}
