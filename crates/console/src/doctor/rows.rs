//! What stands in the rows.

mod values;

use std::time::Duration;

use diesel::QueryResult;
use diesel_status_tracker::{InnerConnection, Role, StepInfo, TableInfo};

use self::values::{errors, nulls, times};
use super::names::Sql;
use super::{Finding, Limits, Severity};
use crate::catalog::{Catalog, DatabaseKind};
use crate::migration::ready_codes;
use crate::sql::doctor::{self as sql, Asked, CAP, FEW, Look, SAMPLE, Sampled};

/// Where ready rows and locked ones are looked for.
#[derive(Clone, Copy)]
struct Looks {
    ready: Look,
    locked: Look,
}

impl Looks {
    /// By an index, unless a check before has found that there is none.
    fn of(found: &[Finding]) -> Self {
        let by_index = |missing: &str| match found.iter().any(|finding| finding.check == missing) {
            true => Look::Sample,
            false => Look::ByIndex,
        };
        Self {
            ready: by_index("ready_index"),
            locked: by_index("locked_index"),
        }
    }
}

/// A check of rows.
struct RowCheck {
    check: &'static str,
    severity: Severity,
    condition: String,
    look: Look,
    /// What is wrong, after the number of rows.
    sentence: String,
    /// What mends it; the rows in question otherwise.
    sql: Option<String>,
}

pub(super) fn check(
    conn: &mut InnerConnection<'_>,
    catalog: &Catalog,
    info: &TableInfo,
    limits: Limits,
    found: &[Finding],
) -> QueryResult<Vec<Finding>> {
    let looks = Looks::of(found);
    let names = Sql::of(catalog, info);
    let mut checks = statuses(&names, info);
    for step in info.steps() {
        checks.extend(of_step(&names, step, limits, looks));
    }
    checks.extend(nulls(&names, catalog));
    checks.extend(errors(&names, catalog));
    if catalog.database == DatabaseKind::Sqlite {
        checks.extend(times(&names, info));
    }
    let asked: Vec<_> = checks
        .iter()
        .map(|check| Asked {
            condition: &check.condition,
            look: check.look,
        })
        .collect();
    let columns = names.columns(|role| role != Role::Errors);
    let large_columns = names.columns(|role| role == Role::Errors);
    let sampled = Sampled {
        table: &names.table,
        columns: &columns,
        large_columns: &large_columns,
    };
    let numbers = sql::counts(conn, &sampled, &asked)?;
    let found = checks.into_iter().zip(numbers);
    let found = found.filter(|(_, number)| *number > 0);
    Ok(found
        .map(|(check, number)| finding(&names, check, number))
        .collect())
}

fn finding(names: &Sql<'_>, check: RowCheck, number: i64) -> Finding {
    let rows = match number {
        1 => "a row".to_owned(),
        number if number > CAP => format!("more than {CAP} rows"),
        number => format!("{number} rows"),
    };
    let among = match check.look {
        Look::ByIndex => String::new(),
        Look::Sample => format!(" (among the first {SAMPLE})"),
        Look::Few => format!(" (among the first {FEW})"),
    };
    let sql = check.sql.unwrap_or_else(|| {
        format!(
            "SELECT * FROM {} WHERE {} LIMIT 100;",
            names.table, check.condition
        )
    });
    let sentence = format!("{rows}{among}: {}", check.sentence);
    Finding::new(check.check, check.severity, sentence).mended_by(sql)
}

/// Statuses and locks that do not belong together.
fn statuses(names: &Sql<'_>, info: &TableInfo) -> Vec<RowCheck> {
    let Sql {
        table,
        status,
        lock,
        lock_at,
        ..
    } = names;
    let steps = info.steps();
    let running = names.list(steps.iter().map(|step| &step.codes().in_progress));
    let all = names.list(steps.iter().flat_map(|step| {
        let codes = step.codes();
        [
            &codes.pending,
            &codes.in_progress,
            &codes.failed,
            &codes.succeeded,
            &codes.ignored,
        ]
        .into_iter()
        .chain(step.more_pending())
    }));
    let check = |check, condition: String, sentence: &str, sql| RowCheck {
        check,
        severity: Severity::Broken,
        condition,
        look: Look::Sample,
        sentence: sentence.into(),
        sql,
    };
    let mut checks = vec![
        RowCheck {
            severity: Severity::Warning,
            ..check(
                "unknown_code",
                format!("{status} NOT IN ({all})"),
                "they have a status that no step knows, and nobody works on them",
                Some(format!(
                    "SELECT {status}, count(*) FROM {table} WHERE {status} NOT IN ({all}) GROUP BY {status};"
                )),
            )
        },
        check(
            "lock_without_running",
            format!("{lock} IS NOT NULL AND {status} NOT IN ({running})"),
            "they have a lock but are not in progress, so that the lock never expires and nobody takes them",
            Some(format!(
                "UPDATE {table} SET {lock} = NULL WHERE {lock} IS NOT NULL AND {status} NOT IN ({running});"
            )),
        ),
        check(
            "lock_without_time",
            format!("{lock} IS NOT NULL AND {lock_at} IS NULL"),
            "they have a lock without a time, which never expires",
            Some(format!(
                "UPDATE {table} SET {lock_at} = {} WHERE {lock} IS NOT NULL AND {lock_at} IS NULL;",
                names.ago(Role::LockAt, Duration::ZERO)
            )),
        ),
    ];
    let future = names.at(Role::LockAt, "+ 60");
    checks.push(check(
        "lock_in_future",
        format!("{lock} IS NOT NULL AND {lock_at} > {future}"),
        "their lock is dated in the future, and expires so much later: something else than the tracker has written it, or the database's clock was wrong",
        Some(format!(
            "UPDATE {table} SET {lock_at} = {} WHERE {lock} IS NOT NULL AND {lock_at} > {future};",
            names.ago(Role::LockAt, Duration::ZERO)
        )),
    ));
    checks
}

/// What needs the codes of one step.
fn of_step(names: &Sql<'_>, step: &StepInfo, limits: Limits, looks: Looks) -> Vec<RowCheck> {
    let Sql {
        table,
        status,
        lock,
        lock_at,
        update_at,
        ..
    } = names;
    let name = step.name();
    let codes = step.codes();
    let running = names.code(&codes.in_progress);
    let due = names.info.column(Role::RunAt).map(|run_at| {
        let run_at = names.database.written(run_at);
        let now = names.ago(Role::RunAt, Duration::ZERO);
        format!(" AND ({run_at} IS NULL OR {run_at} <= {now})")
    });
    vec![
        RowCheck {
            check: "running_without_lock",
            severity: Severity::Broken,
            condition: format!("{status} = {running} AND {lock} IS NULL"),
            look: Look::Sample,
            sentence: format!(
                "they are in progress in the step `{name}` without a lock, and stay so for ever"
            ),
            sql: Some(format!(
                "UPDATE {table} SET {status} = {} WHERE {status} = {running} AND {lock} IS NULL;",
                names.code(&codes.failed)
            )),
        },
        RowCheck {
            check: "expired",
            severity: Severity::Warning,
            condition: format!(
                "{lock} IS NOT NULL AND {status} = {running} AND {lock_at} < {}",
                names.ago(Role::LockAt, step.lock_expire())
            ),
            look: looks.locked,
            sentence: format!(
                "their worker in the step `{name}` is presumed dead, and nobody has ended the attempt: no worker runs, or none calls `expire_locks`"
            ),
            sql: None,
        },
        RowCheck {
            check: "old_ready",
            severity: Severity::Warning,
            condition: format!(
                "{lock} IS NULL AND {status} IN ({}) AND {update_at} < {}{}",
                names.list(ready_codes(step)),
                names.ago(Role::UpdateAt, limits.ready),
                due.unwrap_or_default()
            ),
            look: looks.ready,
            sentence: format!(
                "they have been ready in the step `{name}` for more than {} minutes: no worker runs, or too few",
                limits.ready.as_secs() / 60
            ),
            sql: None,
        },
    ]
}
