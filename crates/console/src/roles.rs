//! Which column of a table has which role: by its name, and whether its type serves.

use diesel_status_tracker::{
    ErrorsType, RetryType, Role, StatusCode, StepCodes, StepInfo, TableInfo,
};

use crate::catalog::{Catalog, Column, ColumnKind, DatabaseKind};
use crate::error::{Error, Result};

/// Names that tables in use have for the roles, the usual one first.
const NAMES: [(Role, &[&str]); 9] = [
    (
        Role::Status,
        &["status", "state", "status_code", "job_status"],
    ),
    (
        Role::CreateAt,
        &[
            "create_at",
            "created_at",
            "created",
            "inserted_at",
            "enqueued_at",
        ],
    ),
    (
        Role::UpdateAt,
        &[
            "update_at",
            "updated_at",
            "updated",
            "changed_at",
            "changed",
            "modified_at",
        ],
    ),
    (Role::Lock, &["lock", "lease", "locked_by", "lock_token"]),
    (
        Role::LockAt,
        &["lock_at", "locked_at", "lease_at", "leased_at"],
    ),
    (
        Role::Retry,
        &["retry", "retries", "failures", "attempts", "retry_count"],
    ),
    (
        Role::Errors,
        &["errors", "error", "problems", "last_error", "error_log"],
    ),
    (
        Role::RunAt,
        &["run_at", "not_before", "scheduled_at", "next_run_at"],
    ),
    (Role::StartedAt, &["started_at", "start_at"]),
];

/// The usual name of a role.
pub(crate) fn usual_name(role: Role) -> &'static str {
    let found = Role::ALL.iter().find(|(_, other)| *other == role);
    found.map_or("", |(name, _)| name)
}

/// The column that looks like the one with this role: by its name, and its type serves.
pub(crate) fn guessed(catalog: &Catalog, role: Role) -> Option<&Column> {
    let (_, names) = NAMES.iter().find(|(other, _)| *other == role)?;
    let mut found = names.iter().filter_map(|name| catalog.column(name));
    found.find(|column| misfit(catalog.database, role, column).is_none())
}

/// Why a column cannot have this role, if it cannot.
pub(crate) fn misfit(database: DatabaseKind, role: Role, column: &Column) -> Option<String> {
    let is_mysql = database == DatabaseKind::Mysql;
    let needed = match (role, &column.kind) {
        (
            Role::Status,
            ColumnKind::Integer { .. } | ColumnKind::Text { .. } | ColumnKind::Enum(_),
        ) => return None,
        (Role::Status, _) => "an integer or a text",
        (
            Role::Lock,
            ColumnKind::Text {
                limit,
                is_padded: false,
            },
        ) if column.is_nullable => {
            if limit.is_none_or(|limit| limit >= 32) {
                return None;
            }
            "a text with room for 32 characters that may be NULL"
        }
        (Role::Lock, _) => "a text with room for 32 characters that may be NULL",
        (Role::Retry, ColumnKind::Integer { .. }) => return None,
        (Role::Retry, _) => "an integer",
        (Role::Errors, ColumnKind::Json | ColumnKind::Jsonb) => return None,
        (
            Role::Errors,
            ColumnKind::Text {
                limit,
                is_padded: false,
            },
        ) if limit.is_none_or(|limit| limit > 200_000) => return None,
        (Role::Errors, _) if is_mysql => "JSON or MEDIUMTEXT",
        (Role::Errors, _) => "JSON or a text without a limit",
        (_, ColumnKind::Timestamp { digits, .. }) if !is_mysql || *digits == 6 => {
            if column.is_nullable || !matches!(role, Role::RunAt | Role::StartedAt) {
                return None;
            }
            "a time that may be NULL"
        }
        _ if is_mysql => "DATETIME(6): without the digits times are cut to whole seconds",
        _ => "a time",
    };
    Some(needed.into())
}

/// How a table is, or is to be, tracked: `columns` names those with a name of their own, and
/// `run_at` and `started_at` where the table has them; the others have the usual names,
/// whether the table has them yet or not. Without `steps` there is one, `job`, with the codes
/// 10 to 50.
///
/// It is what [`migration`](crate::migration()) and [`scaffold`](crate::scaffold()) take.
///
/// # Errors
///
/// [`Error::NoKey`] where the table has no primary key; [`Error::Tracker`] where two roles
/// have one column, or two codes are the same.
pub fn tracking(
    catalog: &Catalog,
    columns: &[(Role, String)],
    steps: &[StepInfo],
) -> Result<TableInfo> {
    if catalog.key.is_empty() {
        return Err(Error::NoKey(catalog.to_string()));
    }
    let mut table = TableInfo::named(&catalog.name).key(catalog.key.iter().cloned());
    if let Some(schema) = &catalog.schema {
        table = table.schema(schema);
    }
    for (role, name) in columns {
        table = table.column(*role, name);
    }
    table = table.usual_columns();
    for (usual, role) in Role::ALL {
        let name = columns.iter().find(|(other, _)| *other == role);
        let name = name.map_or(usual, |(_, name)| name);
        let Some(column) = catalog.column(name) else {
            // What `migration` adds.
            if role == Role::Errors && catalog.database == DatabaseKind::Postgres {
                table = table.errors(ErrorsType::Jsonb);
            }
            continue;
        };
        table = match (role, &column.kind) {
            (Role::Retry, ColumnKind::Integer { bits, is_signed }) => table.retry(RetryType {
                bits: *bits,
                is_signed: *is_signed,
            }),
            (Role::Errors, ColumnKind::Jsonb) => table.errors(ErrorsType::Jsonb),
            (Role::Errors, ColumnKind::Text { .. }) => table.errors(ErrorsType::Text),
            (Role::Errors, _) => table.errors(ErrorsType::Json),
            (_, ColumnKind::Timestamp { is_zoned, .. }) => {
                table.time(role, *is_zoned, column.is_nullable)
            }
            _ => table,
        };
    }
    if steps.is_empty() {
        table = table.step(StepInfo::new("job", usual_codes()));
    }
    let steps = steps.iter().cloned();
    Ok(steps.fold(table, |table, step| table.step(step)).build()?)
}

/// The codes of the README.
pub(crate) fn usual_codes() -> StepCodes {
    StepCodes {
        pending: 10.into(),
        in_progress: 20.into(),
        failed: 30.into(),
        succeeded: 40.into(),
        ignored: 50.into(),
    }
}

/// Whether the codes of the steps are numbers.
pub(crate) fn has_number_codes(info: &TableInfo) -> bool {
    let mut codes = info.steps().iter().map(|step| &step.codes().pending);
    codes.all(|code| matches!(code, StatusCode::Number(_)))
}
