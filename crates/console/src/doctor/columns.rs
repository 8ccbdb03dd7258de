//! Columns, key and indexes as the catalog has them.

use diesel_status_tracker::{ErrorsType, RetryType, Role, TableInfo};

use super::{Finding, Severity};
use crate::catalog::{Catalog, Column, ColumnKind, DatabaseKind};
use crate::error::Result;
use crate::migration::migration;
use crate::roles::{has_number_codes, misfit};

/// The check that makes the others useless.
pub(super) const MISSING: &str = "column_missing";

pub(super) fn check(catalog: &Catalog, info: &TableInfo) -> Result<Vec<Finding>> {
    let mut findings = missing(catalog, info)?;
    for (usual, role) in Role::ALL {
        let column = info.column(role).and_then(|name| catalog.column(name));
        let Some(column) = column else { continue };
        match misfit(catalog.database, role, column) {
            Some(needed) => findings.push(Finding::new(
                "column_type",
                Severity::Broken,
                format!(
                    "the column `{}` is {}; as the {usual} of its jobs it is to be {needed}",
                    column.name, column.type_name
                ),
            )),
            None => findings.extend(otherwise_described(catalog, info, role, usual, column)),
        }
    }
    findings.extend(key(catalog, info));
    findings.extend(invalid_indexes(catalog));
    Ok(findings)
}

fn missing(catalog: &Catalog, info: &TableInfo) -> Result<Vec<Finding>> {
    let tracked = Role::ALL.iter().filter_map(|(_, role)| info.column(*role));
    let names = tracked.chain(info.key());
    let mut missing: Vec<_> = names
        .filter(|name| catalog.column(name).is_none())
        .collect();
    missing.dedup();
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    let names = missing
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>();
    let finding = Finding::new(
        MISSING,
        Severity::Broken,
        format!(
            "the table lacks {}, and no call works on it",
            names.join(", ")
        ),
    );
    // Where another column does not fit, there is no migration before that is changed.
    let finding = match migration(catalog, info, None) {
        Ok(migration) => finding.mended_by(migration.up),
        Err(crate::error::Error::Misfit { .. }) => finding,
        Err(error) => return Err(error),
    };
    Ok(vec![finding])
}

/// Where the description says something else than the database.
fn otherwise_described(
    catalog: &Catalog,
    info: &TableInfo,
    role: Role,
    usual: &str,
    column: &Column,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut push = |said: String| {
        let name = &column.name;
        findings.push(Finding::new(
            "description",
            Severity::Broken,
            format!("the description says that `{name}` ({usual}) {said}, but it is {}: correct the description", column.type_name),
        ));
    };
    match &column.kind {
        ColumnKind::Timestamp { is_zoned, .. } if catalog.database != DatabaseKind::Mysql => {
            match (info.is_zoned(role), is_zoned) {
                (true, false) => push("has a time zone".into()),
                (false, true) => push("has no time zone".into()),
                _ => {}
            }
        }
        ColumnKind::Integer { bits, is_signed } if role == Role::Retry => {
            let kind = RetryType {
                bits: *bits,
                is_signed: *is_signed,
            };
            let said = info.retry();
            // A wider one is cut by the database, which refuses it.
            if said != kind && said.bits >= kind.bits {
                push(format!("has {} bits", said.bits));
            }
        }
        _ => {}
    }
    if role == Role::Status && has_number_codes(info) != column.kind.is_integer() {
        let codes = if has_number_codes(info) {
            "numbers"
        } else {
            "words"
        };
        push(format!("has codes that are {codes}"));
    }
    let is_other = match (info.errors(), &column.kind) {
        _ if role != Role::Errors || catalog.database != DatabaseKind::Postgres => false,
        (ErrorsType::Json, kind) => *kind != ColumnKind::Json,
        (ErrorsType::Jsonb, kind) => *kind != ColumnKind::Jsonb,
        (ErrorsType::Text, kind) => !matches!(kind, ColumnKind::Text { .. }),
    };
    if is_other {
        push(format!("is {:?}", info.errors()));
    }
    findings
}

/// Whether the key finds one row, and by an index.
fn key(catalog: &Catalog, info: &TableInfo) -> Vec<Finding> {
    let columns: Vec<_> = info.key().collect();
    let is_known = columns.iter().all(|name| catalog.column(name).is_some());
    if !is_known {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let same = |names: &mut dyn Iterator<Item = &str>| {
        let mut names: Vec<_> = names.collect();
        let mut key = columns.clone();
        names.sort_unstable();
        key.sort_unstable();
        names == key
    };
    let is_primary = same(&mut catalog.key.iter().map(|name| &**name));
    let mut indexes = catalog.indexes.iter();
    let is_unique = indexes.any(|index| {
        let is_whole = index.condition.is_none() && index.is_unique && index.is_valid;
        is_whole && same(&mut index.terms.iter().map(|term| &*term.term))
    });
    if !is_primary && !is_unique {
        let database = catalog.database;
        let names = columns
            .iter()
            .map(|name| database.written(name))
            .collect::<Vec<_>>();
        let index = database.written(&format!("{}_key", catalog.name));
        findings.push(
            Finding::new(
                "key",
                Severity::Broken,
                format!(
                    "two rows may have the same key ({}), and then both are claimed as one",
                    columns.join(", ")
                ),
            )
            .mended_by(format!(
                "CREATE UNIQUE INDEX {index} ON {} ({});",
                catalog.written(),
                names.join(", ")
            )),
        );
    }
    if let ([name], DatabaseKind::Postgres) = (&*columns, catalog.database) {
        let kind = catalog.column(name).map(|column| &column.kind);
        if let Some(ColumnKind::Text {
            is_padded: true,
            limit,
        }) = kind
        {
            let limit = limit.unwrap_or(1);
            findings.push(
                Finding::new(
                    "padded_key",
                    Severity::Warning,
                    format!("the key `{name}` is CHAR({limit}): statements on several jobs read the whole table"),
                )
                .mended_by(format!(
                    "ALTER TABLE {} ALTER COLUMN {} TYPE VARCHAR({limit});",
                    catalog.written(),
                    catalog.database.written(name)
                )),
            );
        }
    }
    findings
}

/// Those that a `CREATE INDEX CONCURRENTLY` has left behind.
fn invalid_indexes(catalog: &Catalog) -> impl Iterator<Item = Finding> {
    let invalid = catalog.indexes.iter().filter(|index| !index.is_valid);
    invalid.map(|index| {
        let path = catalog.schema.iter().chain([&index.name]);
        let path: Vec<_> = path.map(|name| catalog.database.written(name)).collect();
        Finding::new(
            "invalid_index",
            Severity::Warning,
            format!("the index `{}` was never finished: it costs time at each write and serves no query", index.name),
        )
        .mended_by(format!("REINDEX INDEX CONCURRENTLY {};", path.join(".")))
    })
}
