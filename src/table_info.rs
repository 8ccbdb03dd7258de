//! What is known of a tracked table: names, columns by role, and their types
//! as far as the statements depend on them.

use std::fmt::{self, Display};

mod builder;
mod step;

pub use builder::TableBuilder;
pub(crate) use step::{Phase, SHORTEST_LOCK};
pub use step::{StatusCode, StepCodes, StepInfo};

use crate::error::{Error, Result};

/// A tracked table: its name, its key, and its columns by role.
///
/// ```
/// # mod schema { diesel::table! { #[sql_name = "Invoices"] invoices (id) { id -> Text, state -> Integer,
/// #     create_at -> Timestamp, update_at -> Timestamp, lock -> Nullable<Text>, lock_at -> Nullable<Timestamp>,
/// #     retry -> Integer, errors -> Json, sent_to -> Nullable<Text>, } } }
/// # use schema::invoices; use diesel::prelude::*; use diesel_status_tracker::{job_table, StatusTracked};
/// # #[derive(Queryable, Selectable)] #[diesel(table_name = invoices)] struct Invoice { id: String }
/// # #[derive(Default, Insertable, AsChangeset)] #[diesel(table_name = invoices)] struct InvoiceUpdates { sent_to: Option<String> }
/// # impl StatusTracked for Invoice { type Job = Invoice; const PENDING: i32 = 10; const IN_PROGRESS: i32 = 20; const FAILED: i32 = 30; const SUCCEEDED: i32 = 40; const IGNORED: i32 = 50; }
/// # #[cfg(feature = "sqlite")]
/// job_table! {
///     Invoice in invoices {
///         key: (id: String), status: i32, updates: InvoiceUpdates, connections: [SqliteConnection],
///         columns: { status: state }, status_field: none,
///     }
/// }
/// # fn main() {
/// # #[cfg(feature = "sqlite")] {
/// use diesel_status_tracker::{Role, Tracked};
///
/// let info = Invoice::info();
/// assert_eq!(info.to_string(), "Invoices");
/// assert_eq!(info.column(Role::Status), Some("state"));
/// assert_eq!(info.column(Role::RunAt), None);
/// # } }
/// ```
#[derive(Debug, Clone)]
pub struct TableInfo {
    schema: Option<String>,
    name: String,
    full_name: String,
    key: Vec<KeyColumn>,
    columns: Vec<TrackedColumn>,
    retry: Integer,
    errors: Document,
    steps: Vec<StepInfo>,
    /// Columns that are never read to be shown.
    hidden: Vec<String>,
    /// Whether keys and statuses are given and read as text.
    is_described: bool,
    quoted: [Names; 2],
}

/// What a tracked column is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// The status code.
    Status,
    /// When the row was created.
    CreateAt,
    /// When the row last changed.
    UpdateAt,
    /// The token of the attempt that holds the row.
    Lock,
    /// When that attempt took or renewed its lock.
    LockAt,
    /// The failures in a row.
    Retry,
    /// The last errors.
    Errors,
    /// Before when the job does not start.
    RunAt,
    /// When the running attempt, or the last one, began.
    StartedAt,
}

impl Role {
    /// All roles, with the names that columns have by default.
    pub const ALL: [(&'static str, Self); 9] = [
        ("status", Self::Status),
        ("create_at", Self::CreateAt),
        ("update_at", Self::UpdateAt),
        ("lock", Self::Lock),
        ("lock_at", Self::LockAt),
        ("retry", Self::Retry),
        ("errors", Self::Errors),
        ("run_at", Self::RunAt),
        ("started_at", Self::StartedAt),
    ];

    /// Whether a table need not have it.
    pub(crate) fn is_optional(self) -> bool {
        matches!(self, Self::RunAt | Self::StartedAt)
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(other, _)| *other == name);
        found.map(|(_, role)| *role)
    }
}

/// One column of the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyColumn {
    pub name: String,
    /// Whether it is `Text` to Diesel.
    pub is_text: bool,
}

/// One tracked column.
#[derive(Debug, Clone)]
struct TrackedColumn {
    role: Role,
    name: String,
    /// Whether it holds times with a time zone.
    is_zoned: bool,
    is_nullable: bool,
}

/// An integer type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Integer {
    /// Its size: 8, 16, 32 or 64.
    pub bits: u8,
    /// Whether it holds numbers below 0.
    pub is_signed: bool,
}

impl Integer {
    /// A count, cut to what the column holds.
    pub(crate) fn cut(self, count: i32) -> i32 {
        match (self.bits, self.is_signed) {
            (8, true) => count.min(i8::MAX.into()),
            (8, false) => count.min(u8::MAX.into()),
            (16, true) => count.min(i16::MAX.into()),
            (16, false) => count.min(u16::MAX.into()),
            _ => count,
        }
    }
}

/// A type that holds a JSON document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Document {
    /// `JSON`, and on SQLite text.
    Json,
    /// `JSONB`, which PostgreSQL and SQLite have.
    Jsonb,
    /// Text, whatever the database.
    Text,
}

/// Names as they stand in SQL, quoted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    pub table: String,
    /// By the number of the role; empty where the table has no such column.
    pub columns: [Name; Role::ALL.len()],
    pub key: Vec<Name>,
}

/// One column.
#[derive(Debug, Clone, Default)]
pub(crate) struct Name {
    pub alone: String,
    /// After the table's name.
    pub qualified: String,
}

impl TableInfo {
    /// A table named `path` in SQL as some database quotes it. Of each column of
    /// the key it is said whether it is text, of the others whether they hold
    /// times with a time zone, and whether they hold NULL.
    #[doc(hidden)]
    #[must_use]
    pub fn new(
        path: &str,
        key: &[(&str, bool)],
        columns: &[(Role, &str, bool, bool)],
        retry: Integer,
        errors: Document,
    ) -> Self {
        let mut path = unquoted(path);
        let full_name = path.join(".");
        let name = path.pop().unwrap_or_default();
        let mut info = Self {
            full_name,
            schema: path.pop(),
            name,
            key: key
                .iter()
                .map(|(name, is_text)| KeyColumn {
                    name: (*name).into(),
                    is_text: *is_text,
                })
                .collect(),
            columns: columns
                .iter()
                .map(|(role, name, is_zoned, is_nullable)| TrackedColumn {
                    role: *role,
                    name: (*name).into(),
                    is_zoned: *is_zoned,
                    is_nullable: *is_nullable,
                })
                .collect(),
            retry,
            errors,
            steps: Vec::new(),
            hidden: Vec::new(),
            is_described: false,
            quoted: Default::default(),
        };
        info.quote();
        info
    }

    /// Begins the description of a table by names, for a program that has no row
    /// type for it.
    ///
    /// ```
    /// use diesel_status_tracker::{Role, StepCodes, StepInfo, TableInfo};
    ///
    /// # fn main() -> Result<(), diesel_status_tracker::Error> {
    /// let codes = StepCodes {
    ///     pending: 10.into(), in_progress: 20.into(), failed: 30.into(), succeeded: 40.into(), ignored: 50.into(),
    /// };
    /// let info = TableInfo::named("invoices")
    ///     .schema("billing")
    ///     .key(["tenant", "number"])
    ///     .column(Role::Lock, "lease")
    ///     .usual_columns()
    ///     .step(StepInfo::new("send", codes))
    ///     .build()?;
    /// assert_eq!(info.to_string(), "billing.invoices");
    ///
    /// let wrong = TableInfo::named("invoices").usual_columns().build();
    /// assert!(wrong.unwrap_err().to_string().contains("its key has no column"));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn named(name: impl Into<String>) -> TableBuilder {
        TableBuilder::new(name.into())
    }

    /// The same table with these steps. What `job_table!` tells of a table knows
    /// no steps.
    ///
    /// # Errors
    ///
    /// [`Error::Misconfigured`] where the codes of a step are not distinct, or two
    /// steps have one name.
    pub fn with_steps(mut self, steps: impl IntoIterator<Item = StepInfo>) -> Result<Self> {
        self.steps = steps.into_iter().collect();
        match self.steps_problem() {
            None => Ok(self),
            Some(problem) => Err(Error::Misconfigured {
                job: self.to_string(),
                problem,
            }),
        }
    }

    /// The same table without these columns where a row is shown.
    #[must_use]
    pub fn with_hidden<N: Into<String>>(mut self, columns: impl IntoIterator<Item = N>) -> Self {
        self.hidden.extend(columns.into_iter().map(Into::into));
        self
    }

    /// The same, whose keys and statuses are text.
    pub(crate) fn described(mut self) -> Self {
        self.is_described = true;
        self
    }

    /// Whether keys and statuses are given and read as text.
    pub(crate) fn is_described(&self) -> bool {
        self.is_described
    }

    fn quote(&mut self) {
        self.quoted = ['"', '`'].map(|quote| self.names(quote));
    }

    /// Its steps, as far as the description has them.
    #[must_use]
    pub fn steps(&self) -> &[StepInfo] {
        &self.steps
    }

    /// The columns that are never read to be shown.
    #[must_use]
    pub fn hidden(&self) -> &[String] {
        &self.hidden
    }

    /// The schema, where the table is not in the default one.
    #[must_use]
    pub fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    /// The table's name, after its schema where it has one.
    #[must_use]
    pub fn full_name(&self) -> &str {
        &self.full_name
    }

    /// The table's name, without its schema.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The columns of the key, in order.
    pub fn key(&self) -> impl ExactSizeIterator<Item = &str> {
        self.key.iter().map(|column| &*column.name)
    }

    /// The column with this role, `None` where the table has none.
    #[must_use]
    pub fn column(&self, role: Role) -> Option<&str> {
        self.tracked(role).map(|column| &*column.name)
    }

    fn tracked(&self, role: Role) -> Option<&TrackedColumn> {
        self.columns.iter().find(|column| column.role == role)
    }

    /// The name of one column of the key.
    pub(crate) fn key_name(&self, column: usize) -> &str {
        self.key.get(column).map_or("", |column| &column.name)
    }

    pub(crate) fn key_columns(&self) -> &[KeyColumn] {
        &self.key
    }

    /// Whether the column with this role holds times with a time zone.
    #[must_use]
    pub fn is_zoned(&self, role: Role) -> bool {
        self.tracked(role).is_some_and(|column| column.is_zoned)
    }

    /// Whether the column with this role may hold NULL.
    #[must_use]
    pub fn is_nullable(&self, role: Role) -> bool {
        self.tracked(role).is_some_and(|column| column.is_nullable)
    }

    /// Whether the time of creation is part of the key, as in a partitioned
    /// table: then the key gives it.
    pub(crate) fn is_keyed_by_create_at(&self) -> bool {
        self.key()
            .any(|key| Some(key) == self.column(Role::CreateAt))
    }

    /// The column of the key that a database which counts fills in: the only one
    /// beside the time of creation, if it is not text.
    pub(crate) fn made_key_column(&self) -> Option<usize> {
        let create_at = self.column(Role::CreateAt);
        let mut others = (0..self.key.len()).filter(|n| Some(&*self.key[*n].name) != create_at);
        match (others.next(), others.next()) {
            (Some(column), None) if !self.key[column].is_text => Some(column),
            _ => None,
        }
    }

    /// The type of `retry`.
    #[must_use]
    pub fn retry(&self) -> Integer {
        self.retry
    }

    /// How `errors` holds its document.
    #[must_use]
    pub fn errors(&self) -> Document {
        self.errors
    }

    /// The names, quoted so.
    pub(crate) fn quoted(&self, quote: char) -> &Names {
        &self.quoted[usize::from(quote == '`')]
    }

    fn names(&self, quote: char) -> Names {
        let quoted = |name: &str| quoted(name, quote);
        let path = self.schema.iter().chain([&self.name]);
        let table = path.map(|name| quoted(name)).collect::<Vec<_>>().join(".");
        let name = |column: &str| Name {
            alone: quoted(column),
            qualified: format!("{table}.{}", quoted(column)),
        };
        Names {
            columns: Role::ALL.map(|(_, role)| self.column(role).map(name).unwrap_or_default()),
            key: self.key().map(name).collect(),
            table,
        }
    }
}

impl Display for TableInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.full_name)
    }
}

/// A name in quotes.
pub(crate) fn quoted(name: &str, quote: char) -> String {
    let doubled = name.replace(quote, &format!("{quote}{quote}"));
    format!("{quote}{doubled}{quote}")
}

/// The names in a path as SQL quotes them, with a dot between.
fn unquoted(path: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut chars = path.chars().peekable();
    while let Some(quote) = chars.next() {
        let mut name = String::new();
        while let Some(c) = chars.next() {
            if c == quote && chars.next_if_eq(&quote).is_none() {
                break;
            }
            name.push(c);
        }
        names.push(name);
        chars.next_if_eq(&'.');
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_a_path_whatever_they_hold() {
        assert_eq!(unquoted("`jobs`"), ["jobs"]);
        assert_eq!(
            unquoted(r#""my.own"."a ""b"" `c`""#),
            ["my.own", r#"a "b" `c`"#]
        );
    }
}
