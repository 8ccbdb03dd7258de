//! What stands in the rows.

use std::time::Duration;

use diesel::QueryResult;
use diesel_status_tracker::{InnerConnection, Role, StatusCode, StepInfo, TableInfo};

use super::{Finding, Limits, Severity};
use crate::catalog::{Catalog, ColumnKind, DatabaseKind};
use crate::migration::{literal, ready_codes};
use crate::roles::usual_name;
use crate::sql::doctor::{self as sql, Asked, CAP, SAMPLE};

/// The names of a table as SQL has them, and its clock.
pub(super) struct Sql<'a> {
    pub database: DatabaseKind,
    info: &'a TableInfo,
    pub table: String,
    pub key: String,
    pub status: String,
    pub update_at: String,
    pub lock: String,
    pub lock_at: String,
}

impl<'a> Sql<'a> {
    pub fn of(catalog: &Catalog, info: &'a TableInfo) -> Self {
        let database = catalog.database;
        let column = |role| database.written(info.column(role).unwrap_or(usual_name(role)));
        let key: Vec<_> = info.key().map(|name| database.written(name)).collect();
        Self {
            database,
            info,
            table: catalog.written(),
            key: key.join(", "),
            status: column(Role::Status),
            update_at: column(Role::UpdateAt),
            lock: column(Role::Lock),
            lock_at: column(Role::LockAt),
        }
    }

    /// So many seconds before now, as the column of this role holds times.
    pub fn ago(&self, role: Role, duration: Duration) -> String {
        self.at(role, &format!("- {}", duration.as_secs()))
    }

    /// A code as SQL has it.
    fn code(&self, code: &StatusCode) -> String {
        literal(self.database, code)
    }

    /// Codes with commas between.
    pub fn list<'c>(&self, codes: impl Iterator<Item = &'c StatusCode>) -> String {
        codes
            .map(|code| self.code(code))
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// So many seconds from now; `offset` is a sign and a number.
    fn at(&self, role: Role, offset: &str) -> String {
        let is_zoned = self.info.is_zoned(role);
        match self.database {
            DatabaseKind::Postgres => {
                let zone = if is_zoned { "" } else { " AT TIME ZONE 'UTC'" };
                format!("(statement_timestamp(){zone} + interval '{offset} seconds')")
            }
            DatabaseKind::Mysql => format!("(utc_timestamp(6) + INTERVAL {offset} SECOND)"),
            DatabaseKind::Sqlite => {
                let zone = if is_zoned { "+00:00" } else { "" };
                let offset = offset.replace(' ', "");
                format!("strftime('%Y-%m-%d %H:%M:%f{zone}', 'now', '{offset} seconds')")
            }
        }
    }
}

/// A check of rows.
struct RowCheck {
    check: &'static str,
    severity: Severity,
    condition: String,
    is_indexed: bool,
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
) -> QueryResult<Vec<Finding>> {
    let names = Sql::of(catalog, info);
    let mut checks = statuses(&names, info);
    for step in info.steps() {
        checks.extend(of_step(&names, info, step, limits));
    }
    checks.extend(nulls(&names, catalog));
    checks.extend(errors(&names, catalog));
    if catalog.database == DatabaseKind::Sqlite {
        checks.extend(times(&names, info));
    }
    let labels: Vec<_> = (0..checks.len()).map(|number| number.to_string()).collect();
    let asked: Vec<_> = checks
        .iter()
        .zip(&labels)
        .map(|(check, label)| Asked {
            name: label,
            condition: &check.condition,
            is_indexed: check.is_indexed,
        })
        .collect();
    let counts = sql::counts(conn, &names.table, &asked)?;
    let number = |label: &String| {
        let found = counts.iter().find(|count| count.name == *label);
        found.map_or(0, |count| count.number)
    };
    let numbers: Vec<_> = labels.iter().map(number).collect();
    let found = checks
        .into_iter()
        .zip(numbers)
        .filter(|(_, number)| *number > 0);
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
    let among = match check.is_indexed {
        true => String::new(),
        false => format!(" (among the first {SAMPLE})"),
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
        is_indexed: false,
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
fn of_step(names: &Sql<'_>, info: &TableInfo, step: &StepInfo, limits: Limits) -> Vec<RowCheck> {
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
    let due = info.column(Role::RunAt).map(|run_at| {
        let run_at = names.database.written(run_at);
        let now = names.ago(Role::RunAt, Duration::ZERO);
        format!(" AND ({run_at} IS NULL OR {run_at} <= {now})")
    });
    vec![
        RowCheck {
            check: "running_without_lock",
            severity: Severity::Broken,
            condition: format!("{status} = {running} AND {lock} IS NULL"),
            is_indexed: false,
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
            is_indexed: true,
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
            is_indexed: true,
            sentence: format!(
                "they have been ready in the step `{name}` for more than {} minutes: no worker runs, or too few",
                limits.ready.as_secs() / 60
            ),
            sql: None,
        },
    ]
}

/// NULL where the tracker takes it for an error.
fn nulls(names: &Sql<'_>, catalog: &Catalog) -> Vec<RowCheck> {
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
                is_indexed: false,
                sentence: format!("{column} is NULL, and they cannot be read"),
                sql: Some(format!(
                    "UPDATE {} SET {column} = {value} WHERE {column} IS NULL;",
                    names.table
                )),
            }
        })
        .collect()
}

fn errors(names: &Sql<'_>, catalog: &Catalog) -> Option<RowCheck> {
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
        is_indexed: false,
        sentence: format!(
            "{column} holds something else than an object, which is shown as one entry, without a time"
        ),
        sql: Some(sql),
    })
}

/// Times that SQLite compares as text, so that each has to have one format.
fn times(names: &Sql<'_>, info: &TableInfo) -> Vec<RowCheck> {
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
                is_indexed: false,
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
