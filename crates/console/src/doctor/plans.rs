//! Whether claims, and the search for dead workers, use an index.

use diesel::QueryResult;
use diesel_status_tracker::{InnerConnection, Role, StepInfo, TableInfo};

use super::names::Sql;
use super::{Finding, Severity};
use crate::catalog::{Catalog, DatabaseKind};
use crate::migration::{indexes, literal, ready_codes};
use crate::sql::doctor::{self as sql, Plan};

pub(super) fn check(
    conn: &mut InnerConnection<'_>,
    catalog: &Catalog,
    info: &TableInfo,
) -> QueryResult<Vec<Finding>> {
    let names = Sql::of(catalog, info);
    let needed = indexes(catalog, info);
    let sql_of = |is_ready: bool| {
        let texts = needed.iter().filter(|index| index.is_ready == is_ready);
        texts
            .map(|index| &*index.text)
            .collect::<Vec<_>>()
            .join("\n")
    };
    let mut findings = Vec::new();
    for step in info.steps() {
        let query = ready_query(&names, step);
        let name = step.name();
        match sql::plan(conn, &query)? {
            Plan::WholeTable => findings.push(
                Finding::new(
                    "ready_index",
                    Severity::Warning,
                    format!("a claim of the step `{name}` reads the whole table: no index finds its ready jobs"),
                )
                .mended_by(sql_of(true)),
            ),
            Plan::Sorted => findings.push(
                Finding::new(
                    "ready_order",
                    Severity::Note,
                    format!("a claim of the step `{name}` sorts all ready jobs: no index has them in the order of the last change (none is needed where `order_by` gives another order)"),
                )
                .mended_by(sql_of(true)),
            ),
            Plan::InOrder => {}
        }
        let running = names.list(std::iter::once(&step.codes().in_progress));
        let query = format!(
            "SELECT {} FROM {} WHERE {} IS NOT NULL AND {} IN ({running}) AND {lock_at} < {} ORDER BY {lock_at} LIMIT 10",
            names.key,
            names.table,
            names.lock,
            names.status,
            names.ago(Role::LockAt, step.lock_expire()),
            lock_at = names.lock_at,
        );
        if sql::plan(conn, &query)? == Plan::WholeTable {
            let finding = |what_helps| {
                let text = format!(
                    "the search of the step `{name}` for dead workers reads the whole table: no index finds the locked rows{what_helps}"
                );
                Finding::new("locked_index", Severity::Warning, text)
            };
            let sql = sql_of(false);
            findings.push(match sql.is_empty() {
                // MySQL has no separate index.
                true => finding("; the index of the ready jobs would find them, too"),
                false => finding("").mended_by(sql),
            });
        }
    }
    Ok(findings)
}

/// As a claim looks for rows.
fn ready_query(names: &Sql<'_>, step: &StepInfo) -> String {
    let Sql {
        key,
        table,
        lock,
        status,
        update_at,
        ..
    } = names;
    // MySQL asks for one status after the other.
    let condition = match names.database {
        DatabaseKind::Mysql => format!(
            "{status} = {}",
            literal(names.database, &step.codes().pending)
        ),
        _ => format!("{status} IN ({})", names.list(ready_codes(step))),
    };
    format!(
        "SELECT {key} FROM {table} WHERE {lock} IS NULL AND {condition} ORDER BY {update_at} LIMIT 10"
    )
}
