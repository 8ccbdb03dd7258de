//! Values that the tracker cannot read, or reads otherwise than they are meant.

use std::time::Duration;

use diesel_status_tracker::{Role, TableInfo};

use super::RowCheck;
use crate::catalog::{Catalog, ColumnKind, DatabaseKind};
use crate::doctor::Severity;
use crate::doctor::names::Sql;
use crate::sql::doctor::Look;

/// NULL where the tracker takes it for an error.
pub(super) fn nulls(names: &Sql<'_>, catalog: &Catalog) -> Vec<RowCheck> {
    let info = names.info;
    let roles = [Role::Status, Role::CreateAt, Role::UpdateAt, Role::Retry];
    let nullable = roles.into_iter().filter_map(|role| {
        let name = info.column(role)?;
        let column = catalog.column(name)?;
        let may_be = column.is_nullable && !info.is_nullable(role);
        may_be.then(|| (role, names.database.written(name)))
    });
    nullable
        .map(|(role, column)| {
            let value = match role {
                Role::Retry => "0".into(),
                Role::Status => info
                    .steps()
                    .first()
                    .map_or_else(String::new, |step| names.code(&step.codes().ignored)),
                _ => names.ago(role, Duration::ZERO),
            };
            RowCheck {
                check: "null",
                severity: Severity::Broken,
                condition: format!("{column} IS NULL"),
                look: Look::Sample,
                sentence: format!("{column} is NULL, and they cannot be read"),
                sql: Some(format!(
                    "UPDATE {} SET {column} = {value} WHERE {column} IS NULL;",
                    names.table
                )),
            }
        })
        .collect()
}

pub(super) fn errors(names: &Sql<'_>, catalog: &Catalog) -> Option<RowCheck> {
    let name = names.info.column(Role::Errors)?;
    let column = names.database.written(name);
    let is_binary = catalog.column(name)?.kind == ColumnKind::Jsonb;
    let is_text = matches!(catalog.column(name)?.kind, ColumnKind::Text { .. });
    let is_no_object = match names.database {
        DatabaseKind::Postgres if is_binary => format!("jsonb_typeof({column}) <> 'object'"),
        DatabaseKind::Postgres if is_text => format!("{column} NOT LIKE '{{%}}'"),
        DatabaseKind::Postgres => format!("json_typeof({column}) <> 'object'"),
        DatabaseKind::Sqlite if is_binary => format!("json_type({column}) <> 'object'"),
        DatabaseKind::Mysql | DatabaseKind::Sqlite => {
            let object = if names.database == DatabaseKind::Mysql {
                "OBJECT"
            } else {
                "object"
            };
            format!(
                "CASE WHEN json_valid({column}) THEN json_type({column}) <> '{object}' ELSE {column} IS NOT NULL END"
            )
        }
    };
    let empty = match names.database {
        DatabaseKind::Sqlite if is_binary => "jsonb('{}')",
        _ => "'{}'",
    };
    let sql = format!(
        "UPDATE {} SET {column} = {empty} WHERE {is_no_object};",
        names.table
    );
    Some(RowCheck {
        check: "errors_no_object",
        severity: Severity::Warning,
        condition: is_no_object,
        look: Look::Few,
        sentence: format!(
            "{column} holds something else than an object, which is shown as one entry, without a time"
        ),
        sql: Some(sql),
    })
}

/// Times that SQLite compares as text, so that each has to have one format.
pub(super) fn times(names: &Sql<'_>, info: &TableInfo) -> Vec<RowCheck> {
    let roles = [
        Role::CreateAt,
        Role::UpdateAt,
        Role::LockAt,
        Role::RunAt,
        Role::StartedAt,
    ];
    let columns = roles
        .into_iter()
        .filter_map(|role| Some((role, info.column(role)?)));
    columns
        .map(|(role, name)| {
            let column = names.database.written(name);
            let day = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9] [0-9][0-9]:[0-9][0-9]:[0-9][0-9]";
            let (pattern, zone) = match info.is_zoned(role) {
                true => (format!("{day}*+00:00"), "+00:00"),
                false => (format!("{day}*"), ""),
            };
            let is_other = match info.is_zoned(role) {
                true => format!("{column} IS NOT NULL AND {column} NOT GLOB '{pattern}'"),
                false => format!(
                    "{column} IS NOT NULL AND ({column} NOT GLOB '{pattern}' OR {column} GLOB '*[+Zz]*')"
                ),
            };
            let seconds = format!("typeof({column}) IN ('integer', 'real')");
            RowCheck {
                check: "time_format",
                severity: Severity::Broken,
                condition: is_other.clone(),
                look: Look::Sample,
                sentence: format!("{column} has another format than the tracker writes ('2026-01-31 12:00:00.000{zone}'), and is compared wrongly"),
                sql: Some(format!(
                    "UPDATE {} SET {column} = CASE WHEN {seconds} THEN strftime('%Y-%m-%d %H:%M:%f{zone}', {column}, 'unixepoch') \
                     ELSE strftime('%Y-%m-%d %H:%M:%f{zone}', {column}) END WHERE {is_other};",
                    names.table
                )),
            }
        })
        .collect()
}
