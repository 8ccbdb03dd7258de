//! A first description of a table, as text for a file.

use std::fmt::Write;

use diesel_status_tracker::{Role, StatusCode, StepCodes, StepInfo};

use crate::catalog::{Catalog, Column, ColumnKind, DatabaseKind};
use crate::roles::{guessed, usual_codes, usual_name};

/// Words that statuses often are, for each of the five.
const WORDS: [&[&str]; 5] = [
    &[
        "pending", "new", "ready", "queued", "open", "todo", "waiting",
    ],
    &[
        "in_progress",
        "running",
        "processing",
        "sending",
        "working",
        "started",
        "active",
    ],
    &["failed", "failure", "error", "retry"],
    &[
        "succeeded",
        "success",
        "done",
        "finished",
        "completed",
        "sent",
        "closed",
    ],
    &[
        "ignored",
        "dropped",
        "dead",
        "discarded",
        "cancelled",
        "canceled",
        "skipped",
        "abandoned",
    ],
];

/// A first description of a table, for a file that [`Description`](crate::Description)
/// reads. Which column has which role is guessed from names and types; status codes of
/// numbers are those of the README. Read it and correct it: a role for which there is no
/// column stands in a comment, and the description is refused until it has one.
///
/// `url_env` is the environment variable that holds the URL of the database.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use diesel::prelude::*;
/// # use diesel::connection::SimpleConnection;
/// use diesel_status_console::{Catalog, ConsoleConnection, describe};
///
/// let mut conn = ConsoleConnection::establish("sqlite://:memory:")?;
/// conn.batch_execute("CREATE TABLE invoices (id INTEGER PRIMARY KEY, state INTEGER NOT NULL)")?;
/// let text = describe(&Catalog::read(&mut conn, "invoices")?, "DATABASE_URL");
/// assert!(text.contains("status = \"state\""));
/// assert!(text.contains("# lock = \"\""));
/// # Ok(()) }
/// ```
#[must_use]
pub fn describe(catalog: &Catalog, url_env: &str) -> String {
    let roles = Role::ALL.map(|(_, role)| (role, guessed(catalog, role)));
    let found = |role: Role| {
        let found = roles.iter().find(|(other, _)| *other == role);
        found.and_then(|(_, column)| *column)
    };
    let section = key(&catalog.name);
    let mut text = format!("[tables.{section}]\nurl_env = {}\n", quoted(url_env));
    if let Some(schema) = &catalog.schema {
        let _ = writeln!(text, "schema = {}", quoted(schema));
    }
    let names: Vec<_> = catalog.key.iter().map(|name| quoted(name)).collect();
    let _ = match &*names {
        [] => writeln!(
            text,
            "# The table has no primary key: name the columns that find one row.\nkey = []"
        ),
        names => writeln!(text, "key = [{}]", names.join(", ")),
    };
    if let Some(kind) = found(Role::Errors).and_then(errors_kind) {
        let _ = writeln!(text, "errors = \"{kind}\"");
    }
    if let Some(kind) = found(Role::Retry).and_then(retry_kind) {
        let _ = writeln!(text, "retry = \"{kind}\"");
    }
    let times = [
        Role::CreateAt,
        Role::UpdateAt,
        Role::LockAt,
        Role::RunAt,
        Role::StartedAt,
    ];
    let list = |is_in: &dyn Fn(&Column) -> bool, roles: &[Role]| {
        let roles = roles.iter().filter(|role| found(**role).is_some_and(is_in));
        roles
            .map(|role| quoted(usual_name(*role)))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let is_zoned = |column: &Column| {
        matches!(column.kind, ColumnKind::Timestamp { is_zoned: true, .. })
            // To Diesel, a time of MySQL has none.
            && catalog.database != DatabaseKind::Mysql
    };
    for (name, roles) in [
        ("zoned", list(&is_zoned, &times)),
        (
            "nullable",
            list(
                &|column| column.is_nullable,
                &[Role::CreateAt, Role::UpdateAt],
            ),
        ),
    ] {
        if !roles.is_empty() {
            let _ = writeln!(text, "{name} = [{roles}]");
        }
    }
    text.push_str(&columns(&section, &roles));
    text.push_str(&step(&section, found(Role::Status)));
    text
}

/// The columns whose names are not the usual ones, and those that are missing.
fn columns(section: &str, roles: &[(Role, Option<&Column>)]) -> String {
    let mut text = String::new();
    for (role, column) in roles {
        let usual = usual_name(*role);
        let is_optional = matches!(role, Role::RunAt | Role::StartedAt);
        let _ = match column {
            Some(column) if column.name != usual || is_optional => {
                writeln!(text, "{usual} = {}", quoted(&column.name))
            }
            None if !is_optional => writeln!(
                text,
                "# {usual} = \"\"  # no column looks like it: name it, or add it (status-console migration)"
            ),
            _ => Ok(()),
        };
    }
    if text.is_empty() {
        return text;
    }
    format!("\n[tables.{section}.columns]\n{text}")
}

fn step(section: &str, status: Option<&Column>) -> String {
    let (codes, comment) = match status.map(|status| &status.kind) {
        Some(ColumnKind::Enum(words)) => (of_words(words), ""),
        Some(ColumnKind::Text { .. }) => (of_words(&[]), " # the words of your program"),
        _ => (usual_codes(), " # the codes of your program"),
    };
    let step = StepInfo::new("job", codes);
    let codes = step.codes();
    let named = [
        ("pending", &codes.pending),
        ("in_progress", &codes.in_progress),
        ("failed", &codes.failed),
        ("succeeded", &codes.succeeded),
        ("ignored", &codes.ignored),
    ];
    let mut text = format!("\n[tables.{section}.steps.{}]{comment}\n", step.name());
    for (name, code) in named {
        let code = match code {
            StatusCode::Number(code) => code.to_string(),
            StatusCode::Text(code) => quoted(code),
        };
        let _ = writeln!(text, "{name} = {code}");
    }
    let seconds = step.lock_expire().as_secs();
    let _ = writeln!(
        text,
        "lock_expire_seconds = {seconds}\nmax_retry = {}",
        step.max_retry()
    );
    text
}

/// The word of each status among those of an enum, or else the first that it often is.
fn of_words(words: &[String]) -> StepCodes {
    let word = |place: usize| -> StatusCode {
        let usual = WORDS[place];
        let mut found = words
            .iter()
            .filter(|word| usual.contains(&&*word.to_lowercase()));
        found.next().map_or(usual[0], |word| word).into()
    };
    StepCodes {
        pending: word(0),
        in_progress: word(1),
        failed: word(2),
        succeeded: word(3),
        ignored: word(4),
    }
}

/// Where it is not the usual kind.
fn errors_kind(column: &Column) -> Option<&'static str> {
    match column.kind {
        ColumnKind::Jsonb => Some("jsonb"),
        ColumnKind::Text { .. } => Some("text"),
        _ => None,
    }
}

/// The same.
fn retry_kind(column: &Column) -> Option<String> {
    match column.kind {
        ColumnKind::Integer { bits, is_signed } if (bits, is_signed) != (32, true) => {
            Some(format!("{}{bits}", if is_signed { 'i' } else { 'u' }))
        }
        _ => None,
    }
}

/// A text of TOML, whose escapes are those of JSON.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A key of TOML.
fn key(name: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.chars().all(is_bare) {
        return name.into();
    }
    quoted(name)
}
