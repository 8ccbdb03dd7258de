//! `show`, and what changes jobs that are named by their keys: `reset`, `ignore`, `expire`.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use diesel_status_tracker::{JobState, RowKey};
use serde::Serialize;

use super::output::Output;
use super::tables::{keys, source};
use super::{Common, Done};
use crate::error::Result;
use crate::table::Source;

/// The longest value of a column that `show` prints.
const MOST_BYTES: usize = 100_000;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show every column of one job, as the database shows it.
    #[command(
        after_help = "Examples:\n  status-console show jobs job-1\n  status-console show invoices 7 2026-117   (a key of two columns)"
    )]
    Show {
        /// The table.
        table: String,
        /// The key, an argument for each of its columns.
        #[arg(required = true, allow_hyphen_values = true)]
        key: Vec<String>,
    },
    /// Make jobs pending again, with all their tries; not while somebody holds them.
    #[command(
        after_help = "Examples:\n  status-console --allow-actions reset jobs job-1 job-2 --dry-run\n  status-console --allow-actions reset jobs job-1 job-2 --yes"
    )]
    Reset {
        #[command(flatten)]
        jobs: Jobs,
    },
    /// Leave jobs alone from now on; the reason is kept in their errors.
    #[command(
        after_help = "Example:\n  status-console --allow-actions ignore jobs job-1 --reason 'the customer has cancelled'"
    )]
    Ignore {
        #[command(flatten)]
        jobs: Jobs,
        /// Why.
        #[arg(long)]
        reason: String,
    },
    /// End the attempts of workers that are known to be dead, without waiting for their locks.
    ///
    /// Each counts as a failed attempt. An attempt that ends or renews its lock meanwhile is not hit.
    #[command(after_help = "Example:\n  status-console --allow-actions expire jobs job-1")]
    Expire {
        #[command(flatten)]
        jobs: Jobs,
    },
}

/// Which jobs, and how.
#[derive(Debug, Args)]
pub(super) struct Jobs {
    /// The table.
    table: String,
    /// The keys, an argument for each column of each key.
    #[arg(required = true, allow_hyphen_values = true)]
    keys: Vec<String>,
    /// The step, where the table has several.
    #[arg(long)]
    step: Option<String>,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

/// What came of one job.
#[derive(Debug, Serialize)]
struct Outcome {
    key: Vec<String>,
    done: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

pub(super) fn run(common: &Common, command: &Command) -> Done {
    match command {
        Command::Show { table, key } => show(common, table, key),
        Command::Reset { jobs } => change(common, jobs, "reset", |source, step, key, _| {
            let outcome = source.reset(step, vec![key.clone()])?;
            match outcome.passed_over.into_iter().next() {
                Some(passed) => Err(passed.error.into()),
                None => Ok(()),
            }
        }),
        Command::Ignore { jobs, reason } => {
            change(common, jobs, "ignore", |source, step, key, _| {
                source.ignore(step, key, reason)
            })
        }
        Command::Expire { jobs } => change(common, jobs, "expire", |source, step, key, seen| {
            // `change` passes over a job that nobody holds.
            match seen.and_then(JobState::seen_lock) {
                Some(lock) => source.expire(step, key, &lock),
                None => Ok(()),
            }
        }),
    }
}

fn show(common: &Common, table: &str, key: &[String]) -> Done {
    let source = source(common, table)?;
    let keys = keys(&source, key)?;
    let [key] = &*keys else {
        return Err(format!("{} keys are given; name one job", keys.len()).into());
    };
    let found = source.row(key, MOST_BYTES)?;
    let columns = found.ok_or_else(|| format!("no row of `{table}` has the key {key:?}"))?;
    let out = common.output();
    if out.is_json() {
        let columns: BTreeMap<_, _> = columns
            .iter()
            .map(|column| (&*column.name, column.text.as_deref()))
            .collect();
        out.json(&columns)?;
    } else {
        let rows = columns.iter().map(|column| {
            let mut text = column.text.clone().unwrap_or_else(|| "NULL".into());
            if column.is_cut {
                text.push_str(" …");
            }
            vec![column.name.clone(), text]
        });
        out.rows(&["column", "value"], &rows.collect::<Vec<_>>())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Does the same with each of the jobs, and says what came of it. Each job is changed by a
/// statement of its own, so that the others stay as they are where one cannot be changed.
fn change(
    common: &Common,
    jobs: &Jobs,
    verb: &str,
    act: impl Fn(&Source, &str, &RowKey, Option<&JobState>) -> Result<()>,
) -> Done {
    let source = source(common, &jobs.table)?;
    let step = step_of(&source, jobs.step.as_deref())?;
    let keys = keys(&source, &jobs.keys)?;
    let out = common.output();
    if !jobs.dry_run {
        if !common.allow_actions {
            return Err(format!("nothing was changed: {verb} needs --allow-actions").into());
        }
        if !jobs.yes && !confirmed(verb, keys.len(), source.name())? {
            return Err("nothing was changed".into());
        }
    }
    let mut is_complete = true;
    let mut outcomes = Vec::new();
    for key in &keys {
        let seen = source.find(key)?;
        let reason = match (&seen, verb) {
            (None, _) => Some("no row has the key".into()),
            (Some(seen), "expire") if seen.seen_lock().is_none() => Some("nobody holds it".into()),
            (Some(seen), _) if jobs.dry_run => held(seen, verb),
            (Some(_), _) => act(&source, &step, key, seen.as_ref())
                .err()
                .map(|error| error.to_string()),
        };
        if !jobs.dry_run {
            let outcome = reason.as_deref().unwrap_or("done");
            tracing::info!(
                table = source.name(),
                ?key,
                verb,
                outcome,
                "an action of the console"
            );
        }
        is_complete &= reason.is_none();
        outcomes.push(Outcome {
            key: key.parts().to_vec(),
            done: reason.is_none() && !jobs.dry_run,
            reason,
        });
    }
    print(&out, verb, jobs.dry_run, &outcomes)?;
    Ok(ExitCode::from(u8::from(!is_complete)))
}

/// Why the action would pass over the job, as far as its lock tells.
fn held(seen: &JobState, verb: &str) -> Option<String> {
    let lock = seen.lock.as_ref().filter(|_| verb != "expire")?;
    Some(format!(
        "it has the lock {lock}, and is passed over unless that has expired"
    ))
}

fn print(out: &Output, verb: &str, is_dry: bool, outcomes: &[Outcome]) -> io::Result<()> {
    if out.is_json() {
        return outcomes.iter().try_for_each(|outcome| out.json(outcome));
    }
    let rows = outcomes.iter().map(|outcome| {
        let said = match (&outcome.reason, is_dry) {
            (Some(reason), _) => reason.clone(),
            (None, true) => format!("{verb} would be tried"),
            (None, false) => "done".into(),
        };
        vec![outcome.key.join(" "), said]
    });
    out.rows(&["key", verb], &rows.collect::<Vec<_>>())
}

fn step_of(source: &Source, named: Option<&str>) -> Result<String, Box<dyn StdError>> {
    match (named, source.info().steps()) {
        (Some(name), _) => Ok(source.table().step(name)?.info().name().into()),
        (None, [step]) => Ok(step.name().into()),
        (None, steps) => {
            let names: Vec<_> = steps.iter().map(|step| step.name()).collect();
            Err(format!(
                "`{}` has several steps: name one by --step: {}",
                source.name(),
                names.join(", ")
            )
            .into())
        }
    }
}

fn confirmed(verb: &str, count: usize, table: &str) -> Result<bool, Box<dyn StdError>> {
    if !io::stdin().is_terminal() {
        return Err("nobody can be asked here: look with --dry-run, then say --yes".into());
    }
    let jobs = if count == 1 { "job" } else { "jobs" };
    eprint!("{verb} {count} {jobs} of {table}? [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
