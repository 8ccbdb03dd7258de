//! The status codes of a table as Rust.

use std::fmt::Write;

use diesel_status_tracker::{StatusCode, StepInfo, TableInfo};

use super::names::type_name;
use crate::catalog::{Column, ColumnKind, DatabaseKind};

/// How the code says a status.
pub(super) struct Codes {
    /// The type of a status.
    pub rust: String,
    /// The names of the codes; empty where they are plain numbers.
    variants: Vec<(String, StatusCode)>,
    /// The SQL type of the enum, where it is one of PostgreSQL's.
    pub sql_type: Option<String>,
    kind: ColumnKind,
    type_name: String,
}

impl Codes {
    /// Those of the steps, for a status column like this. `row` is the name of the row type.
    pub(super) fn of(info: &TableInfo, status: &Column, row: &str) -> Self {
        let mut codes = Self {
            rust: format!("{row}Status"),
            variants: Vec::new(),
            sql_type: None,
            kind: status.kind.clone(),
            type_name: status.type_name.clone(),
        };
        match &status.kind {
            ColumnKind::Integer { bits, is_signed } if !is_signed || *bits == 8 => {
                codes.rust = format!("{}{bits}", if *is_signed { 'i' } else { 'u' });
                return codes;
            }
            ColumnKind::Enum(_) if !status.type_name.starts_with("enum(") => {
                codes.sql_type = Some(type_name(&status.type_name));
            }
            _ => {}
        }
        for step in info.steps() {
            let prefix = match info.steps() {
                [_] => String::new(),
                _ => type_name(step.name()),
            };
            let five = step.codes();
            let named = [
                ("Pending", &five.pending),
                ("InProgress", &five.in_progress),
                ("Failed", &five.failed),
                ("Succeeded", &five.succeeded),
                ("Ignored", &five.ignored),
            ];
            for (name, code) in named {
                codes.add(format!("{prefix}{name}"), code);
            }
        }
        for code in info.steps().iter().flat_map(StepInfo::more_pending) {
            let name = match code {
                StatusCode::Number(_) => format!("Code{code}").replace('-', "Minus"),
                StatusCode::Text(code) => type_name(code),
            };
            codes.add(name, code);
        }
        codes
    }

    fn add(&mut self, mut name: String, code: &StatusCode) {
        if self.variants.iter().any(|(_, other)| other == code) {
            return;
        }
        while self.variants.iter().any(|(other, _)| *other == name) {
            name.push_str("Too");
        }
        self.variants.push((name, code.clone()));
    }

    /// The expression of a code.
    pub(super) fn expression(&self, code: &StatusCode) -> String {
        match self.variants.iter().find(|(_, other)| other == code) {
            Some((name, _)) => format!("{}::{name}", self.rust),
            None => code.to_string(),
        }
    }

    /// Whether `steps: […]` of `job_table!` can check them when it compiles.
    pub(super) fn are_numbers(&self) -> bool {
        self.kind.is_integer()
    }

    /// Whether `status_codes!` writes the type.
    pub(super) fn use_status_codes(&self) -> bool {
        self.are_numbers() && !self.variants.is_empty()
    }

    /// The type, where there is one.
    pub(super) fn definition(&self, database: DatabaseKind, table: &str) -> String {
        if self.variants.is_empty() {
            return String::new();
        }
        if self.use_status_codes() {
            return self.integers(table);
        }
        self.texts(database, table)
    }

    fn integers(&self, table: &str) -> String {
        let integer = match self.kind {
            ColumnKind::Integer { bits: 16, .. } => ": i16",
            ColumnKind::Integer { bits: 64, .. } => ": i64",
            _ => "",
        };
        let mut text = format!(
            "status_codes! {{\n    /// How far a row of `{table}` is.\n    pub enum {}{integer} {{\n",
            self.rust
        );
        for (name, code) in &self.variants {
            let _ = writeln!(text, "        {name} = {code},");
        }
        text + "    }\n}\n"
    }

    fn texts(&self, database: DatabaseKind, table: &str) -> String {
        let name = &self.rust;
        let sql = match &self.sql_type {
            Some(sql) => format!("sql_types::{sql}"),
            None => "diesel::sql_types::Text".into(),
        };
        let mut variants = String::new();
        let mut to_text = String::new();
        let mut from_text = String::new();
        for (variant, code) in &self.variants {
            let code = code.to_string();
            let _ = writeln!(variants, "    {variant},");
            let _ = writeln!(to_text, "            Self::{variant} => {code:?},");
            let _ = writeln!(from_text, "            {code:?} => Ok(Self::{variant}),");
        }
        let backend = match database {
            DatabaseKind::Postgres => "diesel::pg::Pg",
            DatabaseKind::Mysql => "diesel::mysql::Mysql",
            DatabaseKind::Sqlite => "diesel::sqlite::Sqlite",
        };
        // PostgreSQL sends an enum as its text.
        format!(
            "/// How far a row of `{table}` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, diesel::expression::AsExpression, diesel::deserialize::FromSqlRow)]
#[diesel(sql_type = {sql})]
pub enum {name} {{
{variants}}}

impl {name} {{
    fn text(self) -> &'static str {{
        match self {{
{to_text}        }}
    }}
}}

impl diesel::serialize::ToSql<{sql}, {backend}> for {name} {{
    fn to_sql<'b>(
        &'b self,
        out: &mut diesel::serialize::Output<'b, '_, {backend}>,
    ) -> diesel::serialize::Result {{
        <str as diesel::serialize::ToSql<diesel::sql_types::Text, {backend}>>::to_sql(self.text(), out)
    }}
}}

impl diesel::deserialize::FromSql<{sql}, {backend}> for {name} {{
    fn from_sql(
        bytes: <{backend} as diesel::backend::Backend>::RawValue<'_>,
    ) -> diesel::deserialize::Result<Self> {{
        let text = <String as diesel::deserialize::FromSql<diesel::sql_types::Text, {backend}>>::from_sql(bytes)?;
        match &*text {{
{from_text}            other => Err(format!(\"`{{other}}` is no status of `{table}`\").into()),
        }}
    }}
}}
"
        )
    }

    /// The SQL type of an enum of PostgreSQL.
    pub(super) fn sql_types(&self) -> String {
        let Some(name) = &self.sql_type else {
            return String::new();
        };
        let (schema, type_name) = match self.type_name.split_once('.') {
            Some((schema, name)) => (format!(", schema = {schema:?}"), name),
            None => (String::new(), &*self.type_name),
        };
        format!(
            "pub mod sql_types {{
    #[derive(diesel::sql_types::SqlType, diesel::query_builder::QueryId)]
    #[diesel(postgres_type(name = {type_name:?}{schema}))]
    pub struct {name};
}}
"
        )
    }
}
