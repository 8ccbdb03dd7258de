//! A table that is described by names.

use std::collections::BTreeSet;

use super::{Document, Integer, KeyColumn, Role, StatusCode, StepInfo, TableInfo, TrackedColumn};
use crate::error::{Error, Result};

/// Describes a table by names; made by [`TableInfo::named`].
#[derive(Debug, Clone)]
pub struct TableBuilder {
    info: TableInfo,
}

impl TableBuilder {
    pub(super) fn new(name: String) -> Self {
        Self {
            info: TableInfo {
                schema: None,
                full_name: name.clone(),
                name,
                key: Vec::new(),
                columns: Vec::new(),
                retry: Integer {
                    bits: 32,
                    is_signed: true,
                },
                errors: Document::Json,
                steps: Vec::new(),
                hidden: Vec::new(),
                is_described: true,
                quoted: Default::default(),
            },
        }
    }

    /// The schema; on MySQL the database. Without it, the session's own.
    #[must_use]
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        let schema = schema.into();
        self.info.full_name = format!("{schema}.{}", self.info.name);
        self.info.schema = Some(schema);
        self
    }

    /// The columns of the key, in order.
    #[must_use]
    pub fn key<N: Into<String>>(mut self, columns: impl IntoIterator<Item = N>) -> Self {
        let columns = columns.into_iter().map(|name| KeyColumn {
            name: name.into(),
            is_text: false,
        });
        self.info.key = columns.collect();
        self
    }

    /// The column with this role. `lock_at`, `run_at` and `started_at` hold NULL,
    /// other times do not; none has a time zone: see [`time`](Self::time).
    #[must_use]
    pub fn column(self, role: Role, name: impl Into<String>) -> Self {
        let is_nullable = role.is_optional() || matches!(role, Role::Lock | Role::LockAt);
        self.with(TrackedColumn {
            role,
            name: name.into(),
            is_zoned: false,
            is_nullable,
        })
    }

    /// The columns that are not named yet have the usual names: `status`,
    /// `create_at`, `update_at`, `lock`, `lock_at`, `retry` and `errors`.
    #[must_use]
    pub fn usual_columns(mut self) -> Self {
        for (name, role) in Role::ALL {
            if !role.is_optional() && self.info.tracked(role).is_none() {
                self = self.column(role, name);
            }
        }
        self
    }

    /// Whether the column with this role holds times with a time zone, and whether
    /// it may hold NULL. Call it after the column is named.
    #[must_use]
    pub fn time(mut self, role: Role, is_zoned: bool, is_nullable: bool) -> Self {
        for column in &mut self.info.columns {
            if column.role == role {
                (column.is_zoned, column.is_nullable) = (is_zoned, is_nullable);
            }
        }
        self
    }

    /// The type of `retry`; a signed integer of 32 bits by default.
    #[must_use]
    pub fn retry(mut self, kind: Integer) -> Self {
        self.info.retry = kind;
        self
    }

    /// How `errors` holds its document; as `Json` by default.
    #[must_use]
    pub fn errors(mut self, kind: Document) -> Self {
        self.info.errors = kind;
        self
    }

    /// One more step.
    #[must_use]
    pub fn step(mut self, step: StepInfo) -> Self {
        self.info.steps.push(step);
        self
    }

    /// Columns that are never read to be shown.
    #[must_use]
    pub fn hide<N: Into<String>>(mut self, columns: impl IntoIterator<Item = N>) -> Self {
        self.info.hidden.extend(columns.into_iter().map(Into::into));
        self
    }

    /// The description, checked.
    ///
    /// # Errors
    ///
    /// [`Error::Misconfigured`] where a role has no column, a column has two roles,
    /// the key has no column, or the codes of a step are not distinct.
    pub fn build(mut self) -> Result<TableInfo> {
        if let Some(problem) = self.problem().or_else(|| self.info.steps_problem()) {
            return Err(Error::Misconfigured {
                job: self.info.to_string(),
                problem,
            });
        }
        self.info.quote();
        Ok(self.info)
    }

    fn with(mut self, column: TrackedColumn) -> Self {
        self.info.columns.push(column);
        self
    }

    fn problem(&self) -> Option<String> {
        let info = &self.info;
        if info.name.is_empty() || info.schema.as_deref() == Some("") {
            return Some(
                "its name or its schema is empty: give the name as the database has it".into(),
            );
        }
        if info.key.is_empty() {
            return Some("its key has no column: name the columns that find one row".into());
        }
        for (usual, role) in Role::ALL {
            match info
                .columns
                .iter()
                .filter(|column| column.role == role)
                .count()
            {
                0 if role.is_optional() => {}
                0 => {
                    return Some(format!(
                        "no column has the role `{usual}`: name the one that has it"
                    ));
                }
                1 => {}
                _ => return Some(format!("two columns have the role `{usual}`: name one")),
            }
        }
        // The time of creation may be part of the key.
        let is_apart = |column: &&TrackedColumn| {
            column.role != Role::CreateAt || info.key().all(|key| key != column.name)
        };
        let tracked = info.columns.iter().filter(is_apart);
        let mut seen = BTreeSet::new();
        for name in tracked.map(|column| &*column.name).chain(info.key()) {
            if name.is_empty() {
                return Some("a column has an empty name: give it as the database has it".into());
            }
            if !seen.insert(name) {
                return Some(format!(
                    "the column `{name}` is named twice: each role and each part of the key has its own column"
                ));
            }
        }
        None
    }
}

impl TableInfo {
    /// What is wrong with the steps, if anything is.
    pub(super) fn steps_problem(&self) -> Option<String> {
        let mut names = BTreeSet::new();
        for step in &self.steps {
            if let Some(problem) = step.problem() {
                return Some(problem);
            }
            if !names.insert(step.name()) {
                return Some(format!(
                    "two steps are called `{}`; give each its own name",
                    step.name()
                ));
            }
        }
        let mut codes = self.steps.iter().flat_map(StepInfo::all_codes);
        let is_number = |code: &StatusCode| matches!(code, StatusCode::Number(_));
        let first = codes.next()?;
        let other = codes.find(|code| is_number(code) != is_number(first))?;
        Some(format!(
            "its statuses are numbers and text ({first}, {other:?}), which one column does not hold; write all as its column has them"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::StepCodes;
    use super::*;

    fn codes() -> StepCodes {
        StepCodes {
            pending: 10.into(),
            in_progress: 20.into(),
            failed: 30.into(),
            succeeded: 40.into(),
            ignored: 50.into(),
        }
    }

    fn table() -> TableBuilder {
        TableInfo::named("jobs").key(["id"]).usual_columns()
    }

    fn problem(table: TableBuilder) -> String {
        table.build().unwrap_err().to_string()
    }

    #[test]
    fn a_description_that_is_whole_is_accepted() {
        let info = table()
            .column(Role::RunAt, "not_before")
            .step(StepInfo::new("job", codes()))
            .build()
            .unwrap();
        assert_eq!(info.column(Role::RunAt), Some("not_before"));
        assert_eq!(info.steps().len(), 1);
        // As in a partitioned table.
        let keyed = TableInfo::named("jobs").key(["id", "create_at"]);
        keyed.usual_columns().build().unwrap();
    }

    #[test]
    fn what_is_missing_or_doubled_is_named() {
        let missing = TableInfo::named("jobs")
            .key(["id"])
            .column(Role::Status, "state");
        assert!(problem(missing).contains("no column has the role `create_at`"));
        let keyless = TableInfo::named("jobs").usual_columns();
        assert!(problem(keyless).contains("key has no column"));
        let twice = TableInfo::named("jobs").key(["lock"]).usual_columns();
        assert!(problem(twice).contains("`lock` is named twice"));
        let doubled = table().column(Role::Lock, "lease");
        assert!(problem(doubled).contains("two columns have the role `lock`"));
        let nameless = TableInfo::named("").key(["id"]).usual_columns();
        assert!(problem(nameless).contains("is empty"));
    }

    #[test]
    fn codes_that_are_not_distinct_are_named() {
        let step = |codes| StepInfo::new("job", codes);
        let same = StepCodes {
            failed: 10.into(),
            ..codes()
        };
        let message = problem(table().step(step(same)));
        assert!(
            message.contains("PENDING and FAILED of step `job` are the same status, 10"),
            "{message}"
        );
        let again = step(codes()).with_more_pending([40.into()]);
        assert!(problem(table().step(again)).contains("SUCCEEDED and one of MORE_PENDING"));
        let mixed = step(codes()).with_more_pending(["done".into()]);
        assert!(problem(table().step(mixed)).contains("numbers and text"));
        let namesakes = table().step(step(codes())).step(step(codes()));
        assert!(problem(namesakes).contains("two steps are called `job`"));
        let short = step(codes()).with_lock_expire(std::time::Duration::ZERO);
        assert!(problem(table().step(short)).contains("LOCK_EXPIRE"));
    }
}
