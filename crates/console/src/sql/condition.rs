//! The names of one table in the SQL of its database, and conditions on its rows.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel_status_tracker::{PagePlace, Role, RowKey, StatusCode, StepInfo, TableInfo};

use super::dialect::Dialect;
use super::part::Part;

/// The letters that are read of an `errors` column in a list: enough for what is shown of
/// the newest error, and for its fingerprint. The documents of thousands of rows are held at once.
const ERROR_LETTERS: usize = 1024;

/// A table and its database.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names<'a> {
    pub info: &'a TableInfo,
    pub dialect: Dialect,
}

/// From where on a page of a list goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageEnd<'a> {
    pub by: Role,
    pub is_descending: bool,
    pub after: Option<&'a PagePlace>,
    /// Whether the time of the order has a bound, at which an index is to begin.
    pub has_bound: bool,
}

/// How the status of a row is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StatusAs {
    Value,
    /// To MariaDB's planner a status that is equal to one is a reason to read all rows with
    /// it, whatever bound the time has. For a range, which holds one code too, it begins at
    /// the bound, if the order has the status first.
    Range,
}

impl PageEnd<'_> {
    pub fn status_as(&self) -> StatusAs {
        match self.has_bound {
            true => StatusAs::Range,
            false => StatusAs::Value,
        }
    }
}

impl Names<'_> {
    pub fn table(&self) -> String {
        let path = self.info.schema().into_iter().chain([self.info.name()]);
        let names: Vec<_> = path.map(|name| self.dialect.quoted(name)).collect();
        names.join(".")
    }

    /// The column with this role, `NULL` where the table has none.
    pub fn column(&self, role: Role) -> String {
        match self.info.column(role) {
            Some(name) => self.dialect.quoted(name),
            None => "NULL".into(),
        }
    }

    /// The same, and `NULL` also where it is never to be shown.
    fn shown(&self, role: Role) -> String {
        let is_hidden = |name: &str| self.info.hidden().iter().any(|hidden| hidden == name);
        match self.info.column(role) {
            Some(name) if !is_hidden(name) => self.dialect.quoted(name),
            _ => "NULL".into(),
        }
    }

    /// A time in microseconds.
    pub fn micros(&self, role: Role) -> Part {
        match &*self.shown(role) {
            "NULL" => "NULL".into(),
            column => self.dialect.micros(column).into(),
        }
    }

    /// A part that does not depend on the query.
    pub fn part(&self, word: &str) -> Option<Part> {
        let dialect = self.dialect;
        Some(match word {
            "table" => self.table().into(),
            "now_micros" => {
                let now = dialect.ago(false, Duration::ZERO);
                dialect.micros(&now).into()
            }
            "counted" => dialect.text("count(*)").into(),
            "update_micros" => self.micros(Role::UpdateAt),
            "run_micros" => self.micros(Role::RunAt),
            "code" => dialect.text("tracker_code").into(),
            "minute" => dialect.minute("tracker_time").into(),
            "as_json" => dialect.as_json()?.into(),
            // The lock is renewed while the attempt runs, `started_at` is not.
            "ran" => {
                let began = match self.info.column(Role::StartedAt) {
                    Some(_) => Role::StartedAt,
                    None => Role::LockAt,
                };
                self.between(began, Role::UpdateAt)
            }
            "took" => self.between(Role::CreateAt, Role::UpdateAt),
            role => {
                let (_, role) = Role::ALL.iter().find(|(name, _)| *name == role)?;
                self.column(*role).into()
            }
        })
    }

    fn between(&self, from: Role, to: Role) -> Part {
        // A zone is the same for both, or PostgreSQL could not subtract them.
        let time = |role| match (self.dialect, self.info.is_zoned(role)) {
            (Dialect::Postgres, true) => format!("({} AT TIME ZONE 'UTC')", self.column(role)),
            _ => self.column(role),
        };
        if [from, to].iter().any(|role| self.shown(*role) == "NULL") {
            return "NULL".into();
        }
        self.dialect.between(&time(from), &time(to)).into()
    }

    /// The time so long ago, as the column with this role holds it.
    pub fn ago(&self, role: Role, ago: Duration) -> String {
        self.dialect.ago(self.info.is_zoned(role), ago)
    }

    /// This time, as the column with this role holds it.
    pub fn at(&self, role: Role, at: DateTime<Utc>) -> String {
        self.dialect.at(self.info.is_zoned(role), at)
    }

    fn codes<'b>(&self, codes: impl IntoIterator<Item = &'b StatusCode>) -> String {
        let codes: Vec<_> = codes
            .into_iter()
            .map(|code| self.dialect.code(code))
            .collect();
        codes.join(", ")
    }

    pub fn status_in<'b>(&self, codes: impl IntoIterator<Item = &'b StatusCode>) -> String {
        format!("{} IN ({})", self.column(Role::Status), self.codes(codes))
    }

    /// Conditions that together find the rows with these codes of a step. Each is
    /// written so that the indexes of the documentation serve: their conditions are
    /// repeated or follow, and MySQL, which has none, gets one code at a time. A running row
    /// without a lock is found on MySQL only: there should be none, and no index has it.
    pub fn with_codes(
        &self,
        step: &StepInfo,
        codes: &[StatusCode],
        locked: Option<bool>,
    ) -> Vec<String> {
        self.with_codes_as(StatusAs::Value, step, codes, locked)
    }

    /// The same for a list.
    pub fn with_codes_as(
        &self,
        status_as: StatusAs,
        step: &StepInfo,
        codes: &[StatusCode],
        locked: Option<bool>,
    ) -> Vec<String> {
        let lock = self.column(Role::Lock);
        if self.dialect == Dialect::Mysql {
            let locked = match locked {
                None => String::new(),
                Some(true) => format!(" AND {lock} IS NOT NULL"),
                Some(false) => format!(" AND {lock} IS NULL"),
            };
            let status = self.column(Role::Status);
            let one = |code| match (status_as, self.dialect.code(code)) {
                (StatusAs::Value, _) => format!("{}{locked}", self.status_in([code])),
                (StatusAs::Range, code) => {
                    format!("{status} >= {code} AND {status} <= {code}{locked}")
                }
            };
            return codes.iter().map(one).collect();
        }
        let own = step.codes();
        let ready: Vec<_> = [&own.pending, &own.failed]
            .into_iter()
            .chain(step.more_pending())
            .collect();
        let done = vec![&own.succeeded, &own.ignored];
        let mut conditions = Vec::new();
        for group in [ready, done] {
            let asked: Vec<_> = group
                .iter()
                .copied()
                .filter(|code| codes.contains(code))
                .collect();
            if asked.is_empty() || locked == Some(true) {
                continue;
            }
            let is_part = asked.len() < group.len();
            let asked = self.status_in(asked);
            conditions.push(match (is_part, self.dialect) {
                // SQLite wants the condition of the index word by word. PostgreSQL sees that
                // it follows, and would take both for unrelated when it estimates rows.
                (true, Dialect::Sqlite) => {
                    let group = self.status_in(group.iter().copied());
                    format!("{lock} IS NULL AND {group} AND {asked}")
                }
                _ => format!("{lock} IS NULL AND {asked}"),
            });
        }
        if locked != Some(false) && !codes.is_empty() {
            conditions.push(format!("{lock} IS NOT NULL AND {}", self.status_in(codes)));
        }
        conditions
    }

    /// That the lock is older than the step lets an attempt run.
    pub fn is_expired(&self, step: &StepInfo) -> String {
        let (lock_at, old) = (
            self.column(Role::LockAt),
            self.ago(Role::LockAt, step.lock_expire()),
        );
        format!(" AND {lock_at} < {old}")
    }

    /// That the row may run now, as far as `run_at` says.
    pub fn is_due(&self) -> String {
        match self.info.column(Role::RunAt) {
            None => String::new(),
            Some(_) => {
                let (run_at, now) = (
                    self.column(Role::RunAt),
                    self.ago(Role::RunAt, Duration::ZERO),
                );
                format!(" AND ({run_at} IS NULL OR {run_at} <= {now})")
            }
        }
    }

    /// That the newest errors hold this text. None does where errors are hidden.
    pub fn error_contains(&self, what: &str) -> Part {
        // A document holds quotes and the like as JSON writes them.
        let written = serde_json::Value::from(what).to_string();
        let written = &written[1..written.len() - 1];
        match self.document() {
            Some(document) => self.dialect.contains(&document, written),
            None => "1 = 0".into(),
        }
    }

    fn document(&self) -> Option<String> {
        let column = self.shown(Role::Errors);
        (column != "NULL").then(|| self.dialect.document(&column, self.info.errors()))
    }

    /// That the row has this key.
    pub fn is_row(&self, key: &RowKey) -> Part {
        let columns = self.info.key().zip(key.parts());
        Part::joined(columns.map(|(name, part)| self.equals(name, part)), " AND ")
    }

    /// That a column of the key holds this.
    fn equals(&self, name: &str, part: &str) -> Part {
        let column = self.dialect.quoted(name);
        let is = Part::from(format!("{column} = ")).and(self.dialect.as_column(
            &self.table(),
            name,
            part,
        ));
        match self.dialect {
            // MySQL takes `5x` for 5.
            Dialect::Mysql => is
                .and(format!(" AND {} = ", self.dialect.text(&column)))
                .and(Part::bind(part)),
            Dialect::Postgres | Dialect::Sqlite => is,
        }
    }

    /// The beginning of the errors, so many letters; `NULL` where they are hidden.
    pub fn document_text(&self, letters: usize) -> Part {
        match self.document() {
            Some(document) => self.dialect.cut(&document, letters).into(),
            None => "NULL".into(),
        }
    }

    /// That the key has these parts; an empty one stands for any, and one that ends
    /// with `*` for all that begin so.
    pub fn key_is(&self, parts: &[String]) -> Vec<Part> {
        let given = self
            .info
            .key()
            .zip(parts)
            .filter(|(_, part)| !part.is_empty());
        let conditions = given.map(|(name, part)| match part.strip_suffix('*') {
            Some(start) => self.dialect.starts_with(&self.dialect.quoted(name), start),
            None => self.equals(name, part),
        });
        conditions.collect()
    }

    /// What a list reads of each row, with names that the outer query knows, and the
    /// columns of the order; the last tells whether the errors hold this text.
    pub fn list_columns(&self, by: Role, sought: Option<&str>) -> (Part, Part) {
        let dialect = self.dialect;
        let key = self.info.key().map(|name| dialect.quoted(name));
        let text = |role| match &*self.shown(role) {
            "NULL" => Part::from("NULL"),
            column => dialect.text(column).into(),
        };
        let error = self.document_text(ERROR_LETTERS);
        let is_locked = format!(
            "CASE WHEN {} IS NULL THEN '0' ELSE '1' END",
            self.column(Role::Lock)
        );
        let holds = match sought {
            None => "NULL".into(),
            Some(sought) => Part::from("CASE WHEN ")
                .and(self.error_contains(sought))
                .and(" THEN '1' ELSE '0' END"),
        };
        let shown = key.map(|column| Part::from(dialect.text(&column))).chain([
            dialect.text(&self.column(Role::Status)).into(),
            self.micros(Role::CreateAt),
            self.micros(Role::UpdateAt),
            is_locked.into(),
            self.micros(Role::LockAt),
            text(Role::Retry),
            self.micros(Role::RunAt),
            error,
            text(by),
            text(Role::UpdateAt),
            holds,
        ]);
        self.branch_columns(shown, by)
    }

    /// What the failures read of each row: key, status, last change, and the beginning of
    /// its errors.
    pub fn failed_columns(&self) -> (Part, Part) {
        let key = self.info.key().map(|name| self.dialect.quoted(name));
        let status = self.column(Role::Status);
        let shown = key
            .chain([status])
            .map(|column| Part::from(self.dialect.text(&column)))
            .chain([
                self.micros(Role::UpdateAt),
                self.document_text(ERROR_LETTERS),
            ]);
        self.branch_columns(shown, Role::UpdateAt)
    }

    /// These columns under names that the outer query knows, and those of the order.
    fn branch_columns(&self, shown: impl Iterator<Item = Part>, by: Role) -> (Part, Part) {
        let mut inner = Vec::new();
        let mut outer = Vec::new();
        for (n, part) in shown.enumerate() {
            inner.push(part.and(format!(" AS tracker_{n}")));
            outer.push(Part::from(format!("tracker_{n}")));
        }
        inner.push(format!("{} AS tracker_time", self.column(by)).into());
        for (n, name) in self.info.key().enumerate() {
            let column = self.dialect.quoted(name);
            inner.push(format!("{column} AS tracker_key_{n}").into());
        }
        (Part::joined(inner, ", "), Part::joined(outer, ", "))
    }

    /// The order of a list: within a branch, and of all branches. Where the time is never
    /// to be shown, by the key alone: a link to the next page has the time in it.
    pub fn list_orders(&self, page: PageEnd<'_>) -> (String, String) {
        let time = self
            .dialect
            .direction(page.is_descending, self.info.is_nullable(page.by));
        let key = self.dialect.direction(page.is_descending, false);
        let (mut inner, mut outer) = (Vec::new(), Vec::new());
        if self.dialect == Dialect::Mysql && page.status_as() == StatusAs::Range {
            // One and the same in each branch.
            inner.push(format!("{}{key}", self.column(Role::Status)));
        }
        if self.shown(page.by) != "NULL" {
            inner.push(format!("{}{time}", self.column(page.by)));
            outer.push(format!("tracker_time{time}"));
        }
        for (n, name) in self.info.key().enumerate() {
            inner.push(format!("{}{key}", self.dialect.quoted(name)));
            outer.push(format!("tracker_key_{n}{key}"));
        }
        (inner.join(", "), outer.join(", "))
    }

    /// That a row comes after this place of the list.
    pub fn after(&self, page: PageEnd<'_>) -> Option<Part> {
        let place = page.after?;
        let time = self.column(page.by);
        let key = self.later_key(place, 0, page.is_descending);
        if self.shown(page.by) == "NULL" {
            return Some(key);
        }
        Some(match (&place.time, page.is_descending) {
            (None, false) => Part::from(format!("({time} IS NOT NULL OR "))
                .and(key)
                .and(")"),
            (None, true) => Part::from(format!("({time} IS NULL AND "))
                .and(key)
                .and(")"),
            (Some(text), is_descending) => {
                let name = self.info.column(page.by).unwrap_or_default();
                let bound = || self.dialect.as_column(&self.table(), name, text);
                let (later, reached) = if is_descending {
                    ("<", "<=")
                } else {
                    (">", ">=")
                };
                let or_null = match is_descending && self.info.is_nullable(page.by) {
                    true => format!("{time} IS NULL OR "),
                    false => String::new(),
                };
                // The time stands alone first, so that an index finds the first row.
                Part::from(format!("({or_null}{time} {reached} "))
                    .and(bound())
                    .and(format!(" AND ({time} {later} "))
                    .and(bound())
                    .and(" OR ")
                    .and(key)
                    .and("))")
            }
        })
    }

    pub fn later_key(&self, place: &PagePlace, n: usize, is_descending: bool) -> Part {
        let (Some(name), Some(text)) = (self.info.key().nth(n), place.key.parts().get(n)) else {
            return "1 = 0".into();
        };
        let column = self.dialect.quoted(name);
        let bound = || self.dialect.as_column(&self.table(), name, text);
        let later = if is_descending { "<" } else { ">" };
        let first = Part::from(format!("({column} {later} ")).and(bound());
        if n + 1 == self.info.key().len() {
            return first.and(")");
        }
        first
            .and(format!(" OR ({column} = "))
            .and(bound())
            .and(" AND ")
            .and(self.later_key(place, n + 1, is_descending))
            .and("))")
    }
}
