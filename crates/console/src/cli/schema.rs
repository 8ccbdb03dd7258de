//! `describe`, `migration`, `scaffold`: text to look at, to keep and to run.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use diesel_status_tracker::{Role, StatusCode, StepCodes, StepInfo, TableInfo};
use serde::Serialize;

use super::tables::{VARIABLE, catalog, undescribed};
use super::{Common, Done};
use crate::catalog::Catalog;
use crate::describe::describe;
use crate::error::Result;
use crate::migration::migration;
use crate::roles::tracking;
use crate::scaffold::scaffold;
use crate::status::code;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print a first description of a table, for a file that --config names.
    ///
    /// Which column has which role is guessed from names and types: read it and correct it.
    #[command(
        after_help = "Example:\n  status-console --url sqlite://jobs.db describe jobs >> status-console.toml"
    )]
    Describe {
        /// The table, with its schema where that is not the usual one.
        table: String,
        /// The environment variable that is to hold the URL of the database.
        #[arg(long, value_name = "NAME", default_value = VARIABLE)]
        url_env: String,
    },
    /// Print the SQL that gives a table its tracking columns and indexes, and the SQL back.
    ///
    /// Nothing is changed. Columns that the table has are kept.
    #[command(
        after_help = "Examples:\n  status-console migration invoices\n  status-console migration invoices --column status=state --column run_at=not_before --existing 40\n  status-console migration invoices --only up > migrations/2026-11-28-000000_track_invoices/up.sql"
    )]
    Migration {
        #[command(flatten)]
        tracked: Tracked,
        /// The status code of the rows that exist; otherwise they are pending.
        #[arg(long, value_name = "CODE", allow_hyphen_values = true)]
        existing: Option<String>,
        /// Print one of the two alone.
        #[arg(long)]
        only: Option<Direction>,
    },
    /// Print the Rust that tracks a table: `table!`, row, updates, steps, `job_table!`.
    #[command(after_help = "Example:\n  status-console scaffold invoices > src/invoices.rs")]
    Scaffold {
        #[command(flatten)]
        tracked: Tracked,
    },
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum Direction {
    Up,
    Down,
}

/// How a table is, or is to be, tracked.
#[derive(Debug, Args)]
pub(super) struct Tracked {
    /// The table, with its schema where that is not the usual one.
    table: String,
    /// A column with a name of its own, or one that the table need not have: run_at, started_at.
    #[arg(long = "column", value_name = "ROLE=NAME", value_parser = column)]
    columns: Vec<(Role, String)>,
    /// The codes for pending, in progress, failed, succeeded and ignored; numbers or words.
    /// By default 10,20,30,40,50.
    #[arg(long, value_name = "CODES", value_parser = five)]
    codes: Option<[String; 5]>,
}

fn column(text: &str) -> Result<(Role, String), String> {
    let (role, name) = text.split_once('=').ok_or("write it as role=name")?;
    let mut roles = Role::ALL.iter();
    let found = roles.find(|(other, _)| *other == role);
    let (_, found) = found.ok_or_else(|| {
        let roles = Role::ALL.map(|(name, _)| name).join(", ");
        format!("`{role}` is no role; the roles are {roles}")
    })?;
    Ok((*found, name.into()))
}

fn five(text: &str) -> Result<[String; 5], String> {
    let codes: Vec<_> = text.split(',').map(|code| code.trim().to_owned()).collect();
    codes
        .try_into()
        .map_err(|_| "write five codes with commas between: 10,20,30,40,50".into())
}

impl Tracked {
    /// As the arguments say, or else as the description does.
    fn info(&self, catalog: &Catalog, described: Option<TableInfo>) -> Result<TableInfo> {
        match described {
            Some(info) if self.columns.is_empty() && self.codes.is_none() => Ok(info),
            _ => tracking(catalog, &self.columns, &self.steps()),
        }
    }

    fn steps(&self) -> Vec<StepInfo> {
        let Some([pending, in_progress, failed, succeeded, ignored]) = &self.codes else {
            return Vec::new();
        };
        let are_numbers = self
            .codes
            .iter()
            .flatten()
            .all(|code| code.parse::<i64>().is_ok());
        let code = |text: &String| match text.parse::<i64>() {
            Ok(number) if are_numbers => StatusCode::from(number),
            _ => StatusCode::from(&**text),
        };
        let codes = StepCodes {
            pending: code(pending),
            in_progress: code(in_progress),
            failed: code(failed),
            succeeded: code(succeeded),
            ignored: code(ignored),
        };
        vec![StepInfo::new("job", codes)]
    }
}

/// Both directions, as JSON.
#[derive(Serialize)]
struct Shown<'a> {
    up: &'a str,
    down: &'a str,
}

pub(super) fn run(common: &Common, command: &Command) -> Done {
    let out = common.output();
    match command {
        Command::Describe { table, url_env } => {
            let catalog = undescribed(common, table)?;
            out.text(&describe(&catalog, url_env))?;
        }
        Command::Migration {
            tracked,
            existing,
            only,
        } => {
            let (catalog, described) = catalog(common, &tracked.table)?;
            let info = tracked.info(&catalog, described)?;
            let existing = existing.as_deref().map(|text| code(&info, text));
            let migration = migration(&catalog, &info, existing.as_ref())?;
            match only {
                Some(Direction::Up) => out.text(&migration.up)?,
                Some(Direction::Down) => out.text(&migration.down)?,
                None if out.is_json() => out.json(&Shown {
                    up: &migration.up,
                    down: &migration.down,
                })?,
                None => out.text(&migration.to_string())?,
            }
        }
        Command::Scaffold { tracked } => {
            let (catalog, described) = catalog(common, &tracked.table)?;
            let info = tracked.info(&catalog, described)?;
            out.text(&scaffold(&catalog, &info)?)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
