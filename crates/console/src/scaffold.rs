//! The Rust that tracks a table: `table!`, the row, what a job may set, the steps, and
//! `job_table!`.

mod codes;
mod names;
mod steps;
mod types;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use diesel_status_tracker::{Role, TableInfo};

use self::codes::Codes;
use self::names::{singular, type_name, variable};
use self::types::{ColumnType, Need};
use crate::catalog::{Catalog, Column, DatabaseKind};
use crate::error::{Error, Result};
use crate::migration::column_to_be;
use crate::roles::usual_name;

/// The Rust that tracks a table as `info` says: text to paste into a crate, whose
/// dependencies stand in its first lines. Tracking columns that the table does not have
/// yet are as [`migration`](crate::migration()) adds them. Columns whose type Diesel does
/// not have are left out, with a comment.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use diesel::prelude::*;
/// # use diesel::connection::SimpleConnection;
/// use diesel_status_console::{Catalog, ConsoleConnection, scaffold, tracking};
///
/// let mut conn = ConsoleConnection::establish("sqlite://:memory:")?;
/// conn.batch_execute("CREATE TABLE invoices (id INTEGER PRIMARY KEY, sent_to TEXT)")?;
/// let invoices = Catalog::read(&mut conn, "invoices")?;
///
/// let rust = scaffold(&invoices, &tracking(&invoices, &[], &[])?)?;
/// assert!(rust.contains("impl StatusTracked for Invoice"));
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`Error::NoRustType`] where Diesel has no type for a column of the key.
pub fn scaffold(catalog: &Catalog, info: &TableInfo) -> Result<String> {
    Ok(Scaffold::of(catalog, info)?.text())
}

/// A column with its names and its types.
struct Field {
    column: Column,
    name: String,
    types: Option<ColumnType>,
    role: Option<Role>,
    is_key: bool,
}

impl Field {
    fn rust(&self, types: &ColumnType) -> String {
        let is_nullable = self.column.is_nullable && !self.is_key;
        let rust = &types.rust;
        if is_nullable {
            format!("Option<{rust}>")
        } else {
            rust.clone()
        }
    }
}

struct Scaffold<'a> {
    catalog: &'a Catalog,
    info: &'a TableInfo,
    fields: Vec<Field>,
    table: String,
    row: String,
    codes: Codes,
}

impl<'a> Scaffold<'a> {
    fn of(catalog: &'a Catalog, info: &'a TableInfo) -> Result<Self> {
        let table = variable(&catalog.name, &mut BTreeSet::new());
        let row = type_name(&singular(&catalog.name));
        let roles: BTreeMap<_, _> = Role::ALL
            .iter()
            .filter_map(|(_, role)| Some((info.column(*role)?, *role)))
            .collect();
        let missing = roles
            .iter()
            .filter(|(name, _)| catalog.column(name).is_none())
            .map(|(name, role)| column_to_be(catalog, info, *role, name));
        let mut missing: Vec<_> = missing.collect();
        missing.sort_by_key(|column| {
            let is_it = |(_, role): &(&str, Role)| roles.get(&*column.name) == Some(role);
            Role::ALL.iter().position(is_it)
        });
        let columns: Vec<_> = catalog.columns.iter().cloned().chain(missing).collect();
        let status = info
            .column(Role::Status)
            .unwrap_or(usual_name(Role::Status));
        let status = columns.iter().find(|column| column.name == status);
        let status = status.ok_or_else(|| Error::NoTable(catalog.to_string()))?;
        let codes = Codes::of(info, status, &row);
        let mut used = BTreeSet::from([table.clone()]);
        let fields = columns.into_iter().map(|column| {
            let role = roles.get(&*column.name).copied();
            let mut types = types::of(catalog.database, &column);
            if role == Some(Role::Status) {
                types = match &codes.sql_type {
                    Some(name) => Some(ColumnType {
                        sql: name.clone(),
                        rust: codes.rust.clone(),
                        needs: None,
                    }),
                    None => types.map(|types| ColumnType {
                        rust: codes.rust.clone(),
                        ..types
                    }),
                };
            }
            Field {
                name: variable(&column.name, &mut used),
                is_key: catalog.key.contains(&column.name),
                types,
                role,
                column,
            }
        });
        let fields: Vec<_> = fields.collect();
        match fields
            .iter()
            .find(|field| field.is_key && field.types.is_none())
        {
            None => Ok(Self {
                fields,
                catalog,
                info,
                table,
                row,
                codes,
            }),
            Some(field) => Err(Error::NoRustType {
                table: catalog.to_string(),
                column: field.column.name.clone(),
                found: field.column.type_name.clone(),
            }),
        }
    }

    fn text(&self) -> String {
        let parts = [
            self.dependencies(),
            self.imports(),
            self.codes.sql_types(),
            self.table(),
            self.codes
                .definition(self.catalog.database, &self.catalog.to_string()),
            self.row(),
            self.updates(),
            self.steps(),
            self.job_table(),
        ];
        let parts: Vec<_> = parts
            .iter()
            .filter(|part| !part.is_empty())
            .cloned()
            .collect();
        parts.join("\n")
    }

    fn dependencies(&self) -> String {
        let database = match self.catalog.database {
            DatabaseKind::Postgres => "postgres",
            DatabaseKind::Mysql => "mysql",
            DatabaseKind::Sqlite => "sqlite",
        };
        // Of what the code below names.
        let named = self
            .fields
            .iter()
            .filter(|field| field.is_key || self.is_own(field));
        let named: BTreeSet<_> = named
            .filter_map(|field| field.types.as_ref()?.needs)
            .collect();
        let all = self
            .fields
            .iter()
            .filter_map(|field| field.types.as_ref()?.needs);
        let mut features = vec![database, "r2d2"];
        features.extend(
            all.collect::<BTreeSet<_>>()
                .into_iter()
                .map(|need| need.lines().0),
        );
        match self.fields.len() {
            0..=32 => {}
            33..=64 => features.push("64-column-tables"),
            _ => features.push("128-column-tables"),
        }
        let features: Vec<_> = features
            .iter()
            .map(|feature| format!("{feature:?}"))
            .collect();
        let mut text = format!(
            "// In Cargo.toml:
// diesel = {{ version = \"2.3\", features = [{}] }}
// diesel_status_tracker = {{ version = \"0.1\", default-features = false, features = [\"{database}\"] }}
",
            features.join(", ")
        );
        for need in named {
            let _ = writeln!(text, "// {}", Need::lines(need).1);
        }
        text
    }

    fn imports(&self) -> String {
        let codes = if self.codes.use_status_codes() {
            ", status_codes"
        } else {
            ""
        };
        format!(
            "use diesel::prelude::*;\nuse diesel_status_tracker::{{StatusTracked, job_table{codes}}};\n"
        )
    }

    fn table(&self) -> String {
        let mut text = "diesel::table! {\n".to_owned();
        if let Some(sql_type) = &self.codes.sql_type {
            let _ = writeln!(
                text,
                "    use diesel::sql_types::*;\n    use super::sql_types::{sql_type};\n"
            );
        }
        if self.table != self.catalog.name {
            let _ = writeln!(text, "    #[sql_name = {:?}]", self.catalog.name);
        }
        let schema = self
            .catalog
            .schema
            .as_ref()
            .map(|schema| format!("{schema}."));
        let key: Vec<_> = self.key().map(|field| &*field.name).collect();
        let _ = writeln!(
            text,
            "    {}{} ({}) {{",
            schema.unwrap_or_default(),
            self.table,
            key.join(", ")
        );
        for field in &self.fields {
            let Some(types) = &field.types else {
                let _ = writeln!(
                    text,
                    "        // {} is left out: there is no type here for {}.",
                    field.column.name, field.column.type_name
                );
                continue;
            };
            if field.name != field.column.name {
                let _ = writeln!(text, "        #[sql_name = {:?}]", field.column.name);
            }
            let is_nullable = field.column.is_nullable && !field.is_key;
            let sql = &types.sql;
            let sql = if is_nullable {
                format!("Nullable<{sql}>")
            } else {
                sql.clone()
            };
            let _ = writeln!(text, "        {} -> {sql},", field.name);
        }
        text + "    }\n}\n"
    }

    /// The columns of the key, in its order.
    fn key(&self) -> impl Iterator<Item = &Field> {
        let key = self.catalog.key.iter();
        key.filter_map(|name| self.fields.iter().find(|field| field.column.name == *name))
    }

    /// Whether a column is the user's.
    fn is_own(&self, field: &Field) -> bool {
        field.role.is_none() && !field.is_key && field.types.is_some()
    }

    fn row(&self) -> String {
        let mut text = format!(
            "/// A row of `{}`. It need not hold all columns.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = {})]
pub struct {} {{\n",
            self.catalog, self.table, self.row
        );
        for field in &self.fields {
            let is_shown = field.is_key || field.role == Some(Role::Status) || self.is_own(field);
            let Some(types) = field.types.as_ref().filter(|_| is_shown) else {
                continue;
            };
            let _ = writeln!(text, "    pub {}: {},", field.name, field.rust(types));
        }
        text + "}\n"
    }

    /// The columns that a job may set.
    fn settable(&self) -> impl Iterator<Item = (&Field, &ColumnType)> {
        let own = self
            .fields
            .iter()
            .filter(|field| self.is_own(field) && !field.column.is_computed);
        own.filter_map(|field| Some((field, field.types.as_ref()?)))
    }

    fn updates(&self) -> String {
        if self.settable().next().is_none() {
            return String::new();
        }
        let mut text = format!(
            "/// The columns that you set, where a row is created or a job succeeds: `None` leaves
/// one as it is.
#[derive(Debug, Clone, Default, Insertable, AsChangeset)]
#[diesel(table_name = {})]
pub struct {}Updates {{\n",
            self.table, self.row
        );
        for (field, types) in self.settable() {
            let is_needed = !field.column.is_nullable && field.column.default.is_none();
            if is_needed {
                let _ = writeln!(text, "    /// A new row needs it.");
            }
            let _ = writeln!(text, "    pub {}: Option<{}>,", field.name, types.rust);
        }
        text + "}\n"
    }
}
