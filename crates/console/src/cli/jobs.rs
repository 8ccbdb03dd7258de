//! `list`, `show`, `export`, `failures`: jobs as they are.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::process::ExitCode;

use chrono::{DateTime, Utc};
use clap::Subcommand;
use serde::Serialize;

use super::filter::Chosen;
use super::progress::Progress;
use super::tables::{keys, source};
use super::{Common, Done};
use crate::jobs::JobRow;
use crate::jobs::filter::{Filter, From};
use crate::overview::span;
use crate::table::Source;
use crate::{export, failures, job, jobs, status};

/// Rows that are read at once.
const PIECE: usize = 500;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List jobs, the last changed first.
    #[command(
        after_help = "Examples:\n  status-console list invoices --status failed,ignored --newer 1h\n  status-console list invoices --error 'connection refused' --order created-asc --limit 500"
    )]
    List {
        /// The table.
        table: String,
        #[command(flatten)]
        chosen: Chosen,
        /// The order: changed, changed-asc, created, created-asc.
        #[arg(long, default_value = "changed")]
        order: String,
        /// At most so many.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Show one job: every column as the database shows it, its history, and what may be done.
    #[command(
        after_help = "Examples:\n  status-console show jobs job-1\n  status-console show invoices 7 2026-117   (a key of two columns)"
    )]
    Show {
        /// The table.
        table: String,
        /// The key, an argument for each of its columns; after `--` where one begins with `-`.
        #[arg(required = true)]
        key: Vec<String>,
    },
    /// Print all jobs as JSON, one a line, in the order of the keys.
    ///
    /// With a filter: those that match, in the order of their last change. What changes meanwhile
    /// may then be missing, or be there twice.
    #[command(
        after_help = "Examples:\n  status-console export invoices > invoices.jsonl\n  status-console export invoices --status failed | jq -r .error | sort | uniq -c"
    )]
    Export {
        /// The table.
        table: String,
        #[command(flatten)]
        chosen: Chosen,
    },
    /// Show failed and ignored jobs, those with one cause together.
    #[command(
        after_help = "Example:\n  status-console failures invoices\n  status-console list invoices --group 'timeout after # s'"
    )]
    Failures {
        /// The table.
        table: String,
        /// The step; otherwise all.
        #[arg(long)]
        step: Option<String>,
    },
}

pub(super) fn run(common: &Common, command: &Command) -> Done {
    match command {
        Command::List {
            table,
            chosen,
            order,
            limit,
        } => list(common, table, chosen, order, *limit),
        Command::Show { table, key } => show(common, table, key),
        Command::Export { table, chosen } => export(common, table, chosen),
        Command::Failures { table, step } => failures(common, table, step.as_deref()),
    }
}

fn list(common: &Common, table: &str, chosen: &Chosen, order: &str, limit: usize) -> Done {
    let source = source(common, table)?;
    let filter = chosen.filter(source.info(), order)?;
    let out = common.output();
    let mut left = limit;
    let mut rows = Vec::new();
    let mut now = None;
    each(&source, &filter, |page, at| {
        now = now.or(at);
        let some: Vec<_> = page.into_iter().take(left).collect();
        left -= some.len();
        if out.is_json() {
            some.iter().try_for_each(|job| out.json(job))?;
        } else {
            rows.extend(some);
        }
        Ok(left > 0)
    })?;
    if left == limit && limit > 0 {
        eprintln!("status-console: none is found: {}", filter.words());
    }
    let rows: Vec<_> = rows.iter().map(|job| shown(&source, job, now)).collect();
    out.rows(&["key", "status", "changed", "retry", "error"], &rows)?;
    Ok(ExitCode::SUCCESS)
}

/// Gives `take` one page after the other, until it has enough.
fn each(
    source: &Source,
    filter: &Filter,
    mut take: impl FnMut(Vec<JobRow>, Option<DateTime<Utc>>) -> std::io::Result<bool>,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut from = From::Start;
    loop {
        let page = jobs::page(source, filter, &from, PIECE)?;
        let last = page.jobs.last().map(JobRow::place);
        let next = page.searched_to.or(last.filter(|_| page.has_next));
        let goes_on = take(page.jobs, page.now)?;
        match next {
            Some(place) if goes_on => from = From::After(place),
            _ => return Ok(()),
        }
    }
}

fn shown(source: &Source, job: &JobRow, now: Option<DateTime<Utc>>) -> Vec<String> {
    let meanings = status::meanings(source.info(), &job.status);
    let status = match (&*meanings, source.info().steps()) {
        ([], _) => job.status.to_string(),
        ([(_, status), ..], [_]) => status.to_string(),
        ([(step, status), ..], _) => format!("{} {status}", step.name()),
    };
    let locked = if job.is_locked { ", locked" } else { "" };
    let age = now
        .zip(job.update_at)
        .and_then(|(now, at)| (now - at).to_std().ok());
    let changed = match (age, job.update_at) {
        (Some(age), _) => format!("{} ago", span(age)),
        (None, Some(at)) => at.to_string(),
        (None, None) => String::new(),
    };
    let error = job.error.as_deref().unwrap_or_default();
    let error: String = error
        .lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(200)
        .collect();
    vec![
        job.key.parts().join(" "),
        format!("{status}{locked}"),
        changed,
        job.retry
            .map_or_else(String::new, |retry| retry.to_string()),
        error,
    ]
}

/// One job, as JSON.
#[derive(Serialize)]
struct Shown<'a> {
    key: &'a [String],
    columns: BTreeMap<&'a str, Option<&'a str>>,
    timeline: &'a [job::Moment],
    errors: &'a [diesel_status_tracker::ErrorEntry],
    choices: &'a [job::Choice],
}

fn show(common: &Common, table: &str, key: &[String]) -> Done {
    let source = source(common, table)?;
    let keys = keys(&source, key)?;
    let [key] = &*keys else {
        return Err(format!("{} keys are given; name one job", keys.len()).into());
    };
    let found = job::with_key(&source, key)?;
    let job = found
        .ok_or_else(|| format!("no row of `{table}` has the key {}", key.parts().join(" ")))?;
    let out = common.output();
    if out.is_json() {
        let columns = job
            .columns
            .iter()
            .map(|column| (&*column.name, column.text.as_deref()));
        out.json(&Shown {
            key: job.key.parts(),
            columns: columns.collect(),
            timeline: &job.timeline,
            errors: &job.errors,
            choices: &job.choices,
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows = job.columns.iter().map(|column| {
        let mut text = column.text.clone().unwrap_or_else(|| "NULL".into());
        if column.is_cut {
            text.push_str(" …");
        }
        vec![column.name.clone(), text]
    });
    out.rows(&["column", "value"], &rows.collect::<Vec<_>>())?;
    let moments = job.timeline.iter();
    let rows = moments.map(|moment| {
        vec![
            moment.at.format("%Y-%m-%d %H:%M:%S%.3f").to_string(),
            moment.what.clone(),
        ]
    });
    out.rows(&["UTC", "what happened"], &rows.collect::<Vec<_>>())?;
    let rows = job.choices.iter().map(|choice| {
        let may = choice
            .why_not
            .clone()
            .unwrap_or_else(|| "possible now".into());
        vec![format!("{} ({})", choice.action, choice.step), may]
    });
    out.rows(&["action", ""], &rows.collect::<Vec<_>>())?;
    Ok(ExitCode::SUCCESS)
}

fn export(common: &Common, table: &str, chosen: &Chosen) -> Done {
    let source = source(common, table)?;
    let filter = chosen.filter(source.info(), "changed-asc")?;
    let out = common.output();
    // Rows on the same terminal tell it themselves.
    let progress = match std::io::stdout().is_terminal() {
        true => Progress::hidden(),
        false => Progress::new("exported", None),
    };
    let everything = chosen.filter(source.info(), "changed-asc")?
        == Filter {
            oldest_first: true,
            ..Filter::default()
        };
    if !everything {
        each(&source, &filter, |page, _| {
            progress.add(page.len());
            out.json_lines(&page)?;
            Ok(true)
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut after = None;
    loop {
        let piece = export::piece(&source, after, PIECE)?;
        progress.add(piece.len());
        out.json_lines(&piece)?;
        match piece.last() {
            Some(last) if piece.len() == PIECE => after = Some(last.key.clone()),
            _ => return Ok(ExitCode::SUCCESS),
        }
    }
}

fn failures(common: &Common, table: &str, step: Option<&str>) -> Done {
    let source = source(common, table)?;
    if let Some(step) = step {
        source.table().step(step)?;
    }
    let failures = failures::of(&source, step)?;
    let out = common.output();
    if out.is_json() {
        out.json(&failures)?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows = failures.groups.iter().map(|group| {
        let last = group
            .last_at
            .map(|at| at.format("%Y-%m-%d %H:%M:%S").to_string());
        vec![
            group.failed.to_string(),
            group.ignored.to_string(),
            last.unwrap_or_default(),
            group.example_key.parts().join(" "),
            group.fingerprint.clone(),
        ]
    });
    out.rows(
        &["failed", "ignored", "last (UTC)", "example", "error"],
        &rows.collect::<Vec<_>>(),
    )?;
    if failures.is_cut {
        eprintln!(
            "status-console: only the newest {} failed jobs were looked at",
            failures.looked_at
        );
    }
    Ok(ExitCode::SUCCESS)
}
