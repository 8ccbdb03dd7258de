//! Tables that a file describes by names, for a program that has no Rust of them.

use std::collections::BTreeMap;
use std::path::Path;
#[cfg(feature = "cli")]
use std::sync::Arc;
use std::time::Duration;

use diesel_status_tracker::{
    DescribedTable, ErrorsType, RetryType, Role, StatusCode, StepCodes, StepInfo, TableBuilder,
    TableInfo,
};
use serde::Deserialize;
use toml::Spanned;

#[cfg(feature = "cli")]
use crate::database::connect_lasting;
use crate::database::{Pool, connect};
use crate::error::{Error, Result};
use crate::table::Source;

/// Connections to each database that a description names.
const CONNECTIONS: u32 = 4;

/// The tables of a file, in the order of their names.
///
/// Unknown names, missing ones and codes that are given twice are refused, each with
/// its line.
///
/// ```
/// use diesel_status_console::Description;
///
/// let text = r#"
/// [tables.invoices]
/// url_env = "DATABASE_URL"               # or: url = "postgres://me@host/billing"
/// schema = "billing"                     # left out: that of the connection
/// table = "invoices"                     # left out: the name of this section
/// key = ["tenant", "number"]
/// errors = "jsonb"                       # json, jsonb or text; left out: json
/// zoned = ["create_at", "update_at"]     # roles whose times have a time zone
/// hide = ["iban"]                        # columns that are never read to be shown
///
/// [tables.invoices.columns]              # roles whose columns have other names
/// lock = "lease"
/// run_at = "not_before"                  # only if the table has one; so with started_at
///
/// [tables.invoices.steps.send]           # one or more steps
/// pending = 10                           # a number, or text
/// in_progress = 20
/// failed = 30
/// succeeded = 40
/// ignored = 50
/// more_pending = []                      # may be left out, as all that follows
/// lock_expire_seconds = 900
/// max_retry = 3
/// "#;
/// let description = Description::parse(text)?;
/// assert_eq!(description.tables[0].info.to_string(), "billing.invoices");
///
/// let wrong = text.replace("failed = 30", "failed = 10");
/// let error = Description::parse(&wrong).unwrap_err().to_string();
/// assert!(error.starts_with("line 18 of the description: failed and pending of step `send`"), "{error}");
/// # Ok::<(), diesel_status_console::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Description {
    /// The tables.
    pub tables: Vec<DescribedEntry>,
}

/// One table of a [`Description`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DescribedEntry {
    /// Its name in the console.
    pub name: String,
    /// Where its database is.
    pub url: DatabaseUrl,
    /// Its names, columns and steps.
    pub info: TableInfo,
}

/// Where a database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// The URL.
    Given(String),
    /// The name of the environment variable that holds it.
    Variable(String),
}

impl Description {
    /// Reads a description.
    ///
    /// # Errors
    ///
    /// [`Error::Description`].
    pub fn parse(text: &str) -> Result<Self> {
        let file: File = toml::from_str(text).map_err(|error| Error::Description {
            line: line(text, error.span().map_or(0, |span| span.start)),
            problem: error.message().into(),
        })?;
        let entries = file.tables.into_iter();
        let entries = entries.map(|(name, table)| entry(text, name.into_inner(), table));
        Ok(Self {
            tables: entries.collect::<Result<_>>()?,
        })
    }

    /// Reads the description in a file.
    ///
    /// # Errors
    ///
    /// [`Error::Unreadable`], [`Error::Description`].
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Unreadable {
            path: path.display().to_string(),
            source,
        })?;
        Self::parse(&text)
    }

    /// Connects to the databases. Tables with one URL share its connections.
    ///
    /// # Errors
    ///
    /// [`Error::NoVariable`], [`Error::Url`], [`Error::NoFile`], [`Error::Unreachable`].
    pub fn connect(&self) -> Result<Vec<Source>> {
        let connected = self.connected(|url| connect(url, CONNECTIONS));
        connected
            .map(|(entry, pool)| Ok(entry.source(pool?)))
            .collect()
    }

    /// The same, where a database that cannot be reached hides no table of another. It is
    /// tried once, whatever number of tables it has.
    #[cfg(feature = "cli")]
    pub(crate) fn connect_each(&self) -> Vec<(String, Result<Source, Arc<Error>>)> {
        let connected = self.connected(|url| Ok(connect(url, CONNECTIONS).map_err(Arc::new)));
        let sources = connected.map(|(entry, pool)| {
            let pool = pool.unwrap_or_else(|error| Err(Arc::new(error)));
            (entry.name.clone(), pool.map(|pool| entry.source(pool)))
        });
        sources.collect()
    }

    /// The same for a program that goes on: a database that cannot be reached is tried again
    /// whenever one of its tables is read. Second, the tables for which that is so now.
    #[cfg(feature = "cli")]
    pub(crate) fn connect_lasting(&self) -> Result<(Vec<Source>, Vec<Unreached>)> {
        let connected = self.connected(|url| {
            let (pool, error) = connect_lasting(url, CONNECTIONS)?;
            Ok((pool, error.map(Arc::new)))
        });
        let (mut sources, mut unreached) = (Vec::new(), Vec::new());
        for (entry, connected) in connected {
            let (pool, error) = connected?;
            unreached.extend(error.map(|error| (entry.name.clone(), error)));
            sources.push(entry.source(pool));
        }
        Ok((sources, unreached))
    }

    /// Each table with what `connect` makes of the URL of its database. Tables of one
    /// database share it.
    fn connected<'a, T: Clone + 'a>(
        &'a self,
        connect: impl Fn(&str) -> Result<T> + 'a,
    ) -> impl Iterator<Item = (&'a DescribedEntry, Result<T>)> {
        let mut known: BTreeMap<String, T> = BTreeMap::new();
        self.tables.iter().map(move |entry| {
            let url = entry.url(|variable| std::env::var(variable).ok());
            let connected = url.and_then(|url| match known.get(&url) {
                Some(known) => Ok(known.clone()),
                None => {
                    let new = connect(&url)?;
                    known.insert(url, new.clone());
                    Ok(new)
                }
            });
            (entry, connected)
        })
    }
}

/// A table by its name, and why its database cannot be reached.
#[cfg(feature = "cli")]
type Unreached = (String, Arc<Error>);

impl DescribedEntry {
    fn source(&self, pool: Pool) -> Source {
        let table = DescribedTable::new(self.info.clone());
        Source::new(table, pool).named(&self.name)
    }

    fn url(&self, variable: impl Fn(&str) -> Option<String>) -> Result<String> {
        match &self.url {
            DatabaseUrl::Given(url) => Ok(url.clone()),
            DatabaseUrl::Variable(name) => variable(name).ok_or_else(|| Error::NoVariable {
                variable: name.clone(),
                table: self.name.clone(),
            }),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    tables: BTreeMap<Spanned<String>, Spanned<Table>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    url: Option<String>,
    url_env: Option<String>,
    schema: Option<String>,
    table: Option<String>,
    key: Vec<String>,
    #[serde(default)]
    columns: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    errors: Errors,
    #[serde(default)]
    retry: Retry,
    #[serde(default)]
    zoned: Vec<Spanned<String>>,
    #[serde(default)]
    nullable: Vec<Spanned<String>>,
    #[serde(default)]
    hide: Vec<Spanned<String>>,
    steps: BTreeMap<String, Step>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "lowercase")]
enum Errors {
    #[default]
    Json,
    Jsonb,
    Text,
}

#[derive(Deserialize, Default)]
enum Retry {
    #[serde(rename = "i8")]
    I8,
    #[serde(rename = "u8")]
    U8,
    #[serde(rename = "i16")]
    I16,
    #[serde(rename = "u16")]
    U16,
    #[default]
    #[serde(rename = "i32")]
    I32,
    #[serde(rename = "u32")]
    U32,
    #[serde(rename = "i64")]
    I64,
    #[serde(rename = "u64")]
    U64,
}

impl Retry {
    fn kind(&self) -> RetryType {
        let (bits, is_signed) = match self {
            Self::I8 => (8, true),
            Self::U8 => (8, false),
            Self::I16 => (16, true),
            Self::U16 => (16, false),
            Self::I32 => (32, true),
            Self::U32 => (32, false),
            Self::I64 => (64, true),
            Self::U64 => (64, false),
        };
        RetryType { bits, is_signed }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    pending: Spanned<Code>,
    in_progress: Spanned<Code>,
    failed: Spanned<Code>,
    succeeded: Spanned<Code>,
    ignored: Spanned<Code>,
    #[serde(default)]
    more_pending: Vec<Code>,
    lock_expire_seconds: Option<Spanned<u64>>,
    max_retry: Option<i32>,
}

#[derive(Deserialize, Clone, PartialEq, Eq)]
#[serde(untagged, expecting = "a status code is a number or text")]
enum Code {
    Number(i64),
    Text(String),
}

impl From<&Code> for StatusCode {
    fn from(code: &Code) -> Self {
        match code {
            Code::Number(number) => Self::Number(*number),
            Code::Text(text) => Self::Text(text.clone()),
        }
    }
}

/// The line of this place in the text.
fn line(text: &str, at: usize) -> usize {
    let before = text.as_bytes().iter().take(at);
    before.filter(|byte| **byte == b'\n').count() + 1
}

fn entry(text: &str, name: String, table: Spanned<Table>) -> Result<DescribedEntry> {
    let section = table.span().start;
    let wrong = |at: usize, problem: String| Error::Description {
        line: line(text, at),
        problem,
    };
    let table = table.into_inner();
    let url = match (table.url, table.url_env) {
        (Some(url), None) => DatabaseUrl::Given(url),
        (None, Some(variable)) => DatabaseUrl::Variable(variable),
        _ => {
            let problem = format!(
                "`{name}` needs either `url`, or `url_env` with the name of the environment variable that holds it"
            );
            return Err(wrong(section, problem));
        }
    };
    if let Some(hidden) = table
        .hide
        .iter()
        .find(|column| table.key.contains(column.as_ref()))
    {
        let problem = format!(
            "`{}` is part of the key, by which jobs are shown: it cannot be hidden",
            hidden.as_ref()
        );
        return Err(wrong(hidden.span().start, problem));
    }
    let mut builder = TableInfo::named(table.table.as_deref().unwrap_or(&name))
        .key(table.key)
        .retry(table.retry.kind())
        .errors(match table.errors {
            Errors::Json => ErrorsType::Json,
            Errors::Jsonb => ErrorsType::Jsonb,
            Errors::Text => ErrorsType::Text,
        })
        .hide(table.hide.into_iter().map(Spanned::into_inner));
    if let Some(schema) = table.schema {
        builder = builder.schema(schema);
    }
    for (role, column) in &table.columns {
        let role = role_named(role).map_err(|problem| wrong(column.span().start, problem))?;
        builder = builder.column(role, column.as_ref());
    }
    builder = builder.usual_columns();
    builder = with_times(builder, &table.zoned, &table.nullable)
        .map_err(|(at, problem)| wrong(at, problem))?;
    for (step, given) in &table.steps {
        let step = step_info(step, given).map_err(|(at, problem)| wrong(at, problem))?;
        builder = builder.step(step);
    }
    if table.steps.is_empty() {
        let problem = format!("`{name}` has no step: describe one under [tables.{name}.steps]");
        return Err(wrong(section, problem));
    }
    let info = builder
        .build()
        .map_err(|error| wrong(section, error.to_string()))?;
    Ok(DescribedEntry { name, url, info })
}

fn role_named(name: &str) -> Result<Role, String> {
    let found = Role::ALL.iter().find(|(other, _)| *other == name);
    found.map(|(_, role)| *role).ok_or_else(|| {
        let roles: Vec<_> = Role::ALL.iter().map(|(name, _)| *name).collect();
        format!(
            "`{name}` is no role of a column; there are {}",
            roles.join(", ")
        )
    })
}

type Problem = (usize, String);

fn with_times(
    mut builder: TableBuilder,
    zoned: &[Spanned<String>],
    nullable: &[Spanned<String>],
) -> Result<TableBuilder, Problem> {
    let has = |list: &[Spanned<String>], name: &str| list.iter().any(|item| item.as_ref() == name);
    for item in zoned.iter().chain(nullable) {
        role_named(item.as_ref()).map_err(|problem| (item.span().start, problem))?;
    }
    for (name, role) in Role::ALL {
        let is_optional = matches!(
            role,
            Role::Lock | Role::LockAt | Role::RunAt | Role::StartedAt
        );
        builder = builder.time(role, has(zoned, name), is_optional || has(nullable, name));
    }
    Ok(builder)
}

fn step_info(name: &str, step: &Step) -> Result<StepInfo, Problem> {
    let codes = [
        ("pending", &step.pending),
        ("in_progress", &step.in_progress),
        ("failed", &step.failed),
        ("succeeded", &step.succeeded),
        ("ignored", &step.ignored),
    ];
    for (n, (role, code)) in codes.iter().enumerate() {
        if let Some((other, _)) = codes[..n]
            .iter()
            .find(|(_, other)| other.as_ref() == code.as_ref())
        {
            let shown = StatusCode::from(code.as_ref());
            return Err((
                code.span().start,
                format!(
                    "{role} and {other} of step `{name}` have the same code, {shown}; give each its own"
                ),
            ));
        }
    }
    let [pending, in_progress, failed, succeeded, ignored] =
        codes.map(|(_, code)| StatusCode::from(code.as_ref()));
    let codes = StepCodes {
        pending,
        in_progress,
        failed,
        succeeded,
        ignored,
    };
    let mut info = StepInfo::new(name, codes)
        .with_more_pending(step.more_pending.iter().map(StatusCode::from));
    if let Some(seconds) = &step.lock_expire_seconds {
        if *seconds.as_ref() == 0 {
            let problem = format!(
                "lock_expire_seconds of step `{name}` is 0: each lock would be lost at once; give a time longer than an attempt takes"
            );
            return Err((seconds.span().start, problem));
        }
        info = info.with_lock_expire(Duration::from_secs(*seconds.as_ref()));
    }
    if let Some(max_retry) = step.max_retry {
        info = info.with_max_retry(max_retry);
    }
    Ok(info)
}

#[cfg(test)]
#[path = "description/tests.rs"]
mod tests;
