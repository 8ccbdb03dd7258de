//! The steps of a table, and its `job_table!`.

use std::fmt::Write;

use diesel_status_tracker::{Role, StepInfo};

use super::Scaffold;
use super::names::type_name;
use crate::catalog::DatabaseKind;
use crate::roles::usual_name;

impl Scaffold<'_> {
    /// The type of a step: the row's own where there is one step alone.
    fn step_type(&self, step: &StepInfo) -> String {
        match self.info.steps() {
            [_] => self.row.clone(),
            _ => type_name(step.name()),
        }
    }

    pub(super) fn steps(&self) -> String {
        let steps = self.info.steps().iter().map(|step| self.step(step));
        steps.collect::<Vec<_>>().join("\n")
    }

    fn step(&self, step: &StepInfo) -> String {
        let name = self.step_type(step);
        let status = &self.codes.rust;
        let mut text = String::new();
        if name != self.row {
            let _ = writeln!(
                text,
                "/// The step `{}`.\n#[derive(Debug)]\npub struct {name};\n",
                step.name()
            );
        }
        let _ = writeln!(
            text,
            "impl StatusTracked for {name} {{\n    type Job = {};",
            self.row
        );
        let codes = step.codes();
        let named = [
            ("PENDING", &codes.pending),
            ("IN_PROGRESS", &codes.in_progress),
            ("FAILED", &codes.failed),
            ("SUCCEEDED", &codes.succeeded),
            ("IGNORED", &codes.ignored),
        ];
        for (constant, code) in named {
            let code = self.codes.expression(code);
            let _ = writeln!(text, "    const {constant}: {status} = {code};");
        }
        if !step.more_pending().is_empty() {
            let codes = step
                .more_pending()
                .iter()
                .map(|code| self.codes.expression(code));
            let codes = codes.collect::<Vec<_>>().join(", ");
            let _ = writeln!(
                text,
                "    const MORE_PENDING: &'static [{status}] = &[{codes}];"
            );
        }
        let usual = StepInfo::new(step.name(), codes.clone());
        if step.lock_expire() != usual.lock_expire() {
            let _ = writeln!(
                text,
                "    const LOCK_EXPIRE: std::time::Duration = std::time::Duration::from_millis({});",
                step.lock_expire().as_millis()
            );
        }
        if step.max_retry() != usual.max_retry() {
            let _ = writeln!(text, "    const MAX_RETRY: i32 = {};", step.max_retry());
        }
        text + "}\n"
    }

    pub(super) fn job_table(&self) -> String {
        let connection = match self.catalog.database {
            DatabaseKind::Postgres => "PgConnection",
            DatabaseKind::Mysql => "MysqlConnection",
            DatabaseKind::Sqlite => "SqliteConnection",
        };
        let key = self.key().filter_map(|field| {
            let types = field.types.as_ref()?;
            Some(format!("{}: {}", field.name, types.rust))
        });
        let mut text = format!(
            "job_table! {{\n    {} in {} {{\n        key: ({}),\n        status: {},\n",
            self.row,
            self.table,
            key.collect::<Vec<_>>().join(", "),
            self.codes.rust
        );
        if self.settable().next().is_some() {
            let _ = writeln!(text, "        updates: {}Updates,", self.row);
        }
        let _ = writeln!(text, "        connections: [{connection}],");
        let named = self.fields.iter().filter_map(|field| {
            let usual = usual_name(field.role?);
            let is_optional = matches!(field.role, Some(Role::RunAt | Role::StartedAt));
            (is_optional || usual != field.name).then(|| format!("{usual}: {}", field.name))
        });
        let named: Vec<_> = named.collect();
        if !named.is_empty() {
            let _ = writeln!(text, "        columns: {{ {} }},", named.join(", "));
        }
        if self.codes.are_numbers() {
            let steps = self.info.steps().iter().map(|step| self.step_type(step));
            let _ = writeln!(
                text,
                "        steps: [{}],",
                steps.collect::<Vec<_>>().join(", ")
            );
        }
        text + "    }\n}\n"
    }
}
