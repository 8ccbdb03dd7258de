//! The indexes that claims need.

use diesel_status_tracker::{Role, StatusCode, StepInfo, TableInfo};

use super::literal;
use crate::catalog::{Catalog, DatabaseKind};
use crate::roles::{has_number_codes, usual_name};

/// An index that claims need.
pub(crate) struct NeededIndex {
    pub name: String,
    /// What creates it.
    pub text: String,
    /// Whether it finds the ready rows; otherwise it finds dead workers.
    pub is_ready: bool,
}

/// The indexes that the claims of all steps need: see the page *Indexes* of the tracker.
pub(crate) fn indexes(catalog: &Catalog, info: &TableInfo) -> Vec<NeededIndex> {
    let database = catalog.database;
    let column = |role| info.column(role).unwrap_or(usual_name(role)).to_owned();
    let [status, update_at, lock, lock_at] =
        [Role::Status, Role::UpdateAt, Role::Lock, Role::LockAt].map(column);
    let written = |name: &str| database.written(name);
    let is_partial = database != DatabaseKind::Mysql;
    let mut needed = Vec::new();
    let mut push = |suffix: &str, columns: Vec<String>, condition: Option<String>, is_ready| {
        let name = index_name(&catalog.name, suffix);
        let nulls_first = database == DatabaseKind::Postgres && info.is_nullable(Role::UpdateAt);
        let terms = columns.iter().map(|column| match written(column) {
            term if nulls_first && *column == update_at => format!("{term} NULLS FIRST"),
            term => term,
        });
        let terms = terms.collect::<Vec<_>>().join(", ");
        let on = match (database, &catalog.schema) {
            // There the index is named with the schema, and the table without it.
            (DatabaseKind::Sqlite, Some(schema)) => {
                format!(
                    "{}.{} ON {}",
                    written(schema),
                    written(&name),
                    written(&catalog.name)
                )
            }
            _ => format!("{} ON {}", written(&name), catalog.written()),
        };
        let condition = condition.map(|condition| format!(" WHERE {condition}"));
        let text = format!(
            "CREATE INDEX {on} ({terms}){};",
            condition.unwrap_or_default()
        );
        needed.push(NeededIndex {
            name,
            text,
            is_ready,
        });
    };
    let free = format!("{} IS NULL", written(&lock));
    if is_partial && has_number_codes(info) {
        for step in info.steps() {
            let suffix = match info.steps() {
                [_] => "ready".into(),
                _ => format!("ready_{}", step.name()),
            };
            let codes = ready_codes(step)
                .map(|code| literal(database, code))
                .collect::<Vec<_>>()
                .join(", ");
            let condition = format!("{free} AND {} IN ({codes})", written(&status));
            push(&suffix, vec![update_at.clone()], Some(condition), true);
        }
    } else {
        // The database cannot tell from a text that is bound that the condition holds.
        let columns = vec![status, update_at.clone()];
        push("ready", columns, is_partial.then_some(free), true);
    }
    // Where no index is partial, that of the ready rows holds the running ones too.
    if is_partial {
        let held = format!("{} IS NOT NULL", written(&lock));
        push("locked", vec![lock_at], Some(held), false);
    }
    needed
}

/// The codes from which a step starts.
pub(crate) fn ready_codes(step: &StepInfo) -> impl Iterator<Item = &StatusCode> {
    let codes = step.codes();
    [&codes.pending, &codes.failed]
        .into_iter()
        .chain(step.more_pending())
}

/// PostgreSQL cuts names to 63 bytes.
fn index_name(table: &str, suffix: &str) -> String {
    let suffix: String = suffix.chars().take(30).collect();
    let mut most = 63 - suffix.len().min(40) - 1;
    while !table.is_char_boundary(most.min(table.len())) {
        most -= 1;
    }
    format!("{}_{suffix}", &table[..most.min(table.len())])
}

pub(super) fn drop_index(catalog: &Catalog, name: &str) -> String {
    let database = catalog.database;
    let name = database.written(name);
    match (database, &catalog.schema) {
        (DatabaseKind::Mysql, _) => format!("DROP INDEX {name} ON {};\n", catalog.written()),
        (_, Some(schema)) => format!("DROP INDEX {}.{name};\n", database.written(schema)),
        (_, None) => format!("DROP INDEX {name};\n"),
    }
}
