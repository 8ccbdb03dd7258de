//! `overview`, `durations`, `doctor`, `metrics`: how tables are doing.

use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use serde::Serialize;

use super::output::Output;
use super::tables::{each_source, source};
use super::{Common, Done, FAILED};
use crate::doctor::{Finding, Limits, Severity, doctor};
use crate::durations;
use crate::metrics;
use crate::overview::{self, Overview, StepOverview, Verdict, span};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show how the steps of each table are doing, with a verdict in words.
    #[command(
        after_help = "Examples:\n  status-console overview\n  status-console overview invoices --check || page-somebody"
    )]
    Overview {
        /// The tables; otherwise all of the description.
        tables: Vec<String>,
        /// End with 0 where all is well, 1 where a step falls behind or fails, 2 where one is stuck, 3 where
        /// a table cannot be read.
        #[arg(long)]
        check: bool,
    },
    /// Show how long finished jobs took: median, 90th and 99th percentile, and beside yesterday.
    Durations {
        /// The table.
        table: String,
    },
    /// Look for what is wrong with tables, and print the SQL that mends it.
    ///
    /// Nothing is changed. The exit code is 0 where nothing is worse than a note, 1 where there are
    /// warnings, 2 where something is broken.
    #[command(
        after_help = "Examples:\n  status-console doctor\n  status-console doctor invoices --json | jq -r .sql"
    )]
    Doctor {
        /// The tables; otherwise all of the description.
        tables: Vec<String>,
    },
    /// Print the numbers of the overview as Prometheus reads them.
    #[command(
        after_help = "Example, for node_exporter's collector of text files:\n  status-console metrics > /var/lib/node_exporter/jobs.prom.new && mv /var/lib/node_exporter/jobs.prom.new /var/lib/node_exporter/jobs.prom"
    )]
    Metrics {
        /// The tables; otherwise all of the description.
        tables: Vec<String>,
    },
}

pub(super) fn run(common: &Common, command: &Command) -> Done {
    match command {
        Command::Overview { tables, check } => overview(common, tables, *check),
        Command::Durations { table } => durations(common, table),
        Command::Doctor { tables } => examine(common, tables),
        Command::Metrics { tables } => {
            let tables = overviews(common, tables)?;
            common.output().text(&metrics::text(&tables)?)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The overview of each table. One that cannot be read is named, and hides no other.
fn overviews(
    common: &Common,
    tables: &[String],
) -> Result<Vec<metrics::Table>, Box<dyn std::error::Error>> {
    let sources = each_source(common, tables)?.into_iter();
    let tables = sources.map(|(name, source)| {
        let overview = source.and_then(|source| Ok(overview::of(&source)?));
        if let Err(error) = &overview {
            eprintln!("status-console: `{name}` cannot be read: {error}");
        }
        (name, overview)
    });
    Ok(tables.collect())
}

fn overview(common: &Common, tables: &[String], check: bool) -> Done {
    let tables = overviews(common, tables)?;
    let are_all = tables.iter().all(|(_, table)| table.is_ok());
    let overviews = tables.into_iter().filter_map(|(_, table)| table.ok());
    let overviews: Vec<_> = overviews.collect();
    let out = common.output();
    if out.is_json() {
        overviews
            .iter()
            .try_for_each(|overview| out.json(overview))?;
    } else {
        print(&out, &overviews)?;
    }
    let steps = overviews.iter().flat_map(|overview| &overview.steps);
    let is_unknown = steps.clone().any(|step| step.verdict == Verdict::Unknown);
    let worst = steps
        .map(|step| badness(step.verdict))
        .max()
        .unwrap_or_default();
    Ok(ExitCode::from(match check {
        _ if !are_all => FAILED,
        true => worst,
        // The numbers of a step are missing.
        false => u8::from(is_unknown),
    }))
}

fn badness(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Idle | Verdict::Working => 0,
        Verdict::FallingBehind | Verdict::Failing | Verdict::Unknown => 1,
        Verdict::Stuck => 2,
    }
}

fn print(out: &Output, overviews: &[Overview]) -> std::io::Result<()> {
    let mut rows = Vec::new();
    for overview in overviews {
        for step in &overview.steps {
            rows.push(vec![
                overview.table.clone(),
                step.step.clone(),
                step.verdict.to_string(),
                counts(step),
                step.oldest_ready_seconds
                    .map_or_else(String::new, |seconds| span(Duration::from_secs(seconds))),
                step.because.clone(),
            ]);
        }
    }
    out.rows(
        &[
            "table",
            "step",
            "verdict",
            "jobs",
            "oldest ready",
            "because",
        ],
        &rows,
    )?;
    for problem in overviews
        .iter()
        .flat_map(|overview| &overview.steps)
        .flat_map(|step| &step.problems)
    {
        eprintln!("status-console: {problem}");
    }
    Ok(())
}

/// The statuses that some job has.
pub(super) fn counts(step: &StepOverview) -> String {
    let counts = step
        .counts
        .iter()
        .filter_map(|(status, count)| match count {
            Some(count) if count.number() == 0 => None,
            Some(count) => Some(format!("{count} {}", status.name())),
            None => Some(format!("? {}", status.name())),
        });
    counts.collect::<Vec<_>>().join(", ")
}

fn durations(common: &Common, table: &str) -> Done {
    let source = source(common, table)?;
    let out = common.output();
    let mut rows = Vec::new();
    let mut sentences = Vec::new();
    let mut code = ExitCode::SUCCESS;
    for (step, durations) in durations::of(&source) {
        let durations = match durations {
            Ok(durations) => durations,
            Err(error) => {
                eprintln!("status-console: the step `{step}` cannot be read: {error}");
                code = ExitCode::from(FAILED);
                continue;
            }
        };
        if out.is_json() {
            out.json(&durations)?;
            continue;
        }
        for (what, stats, compared) in [
            ("ran", &durations.ran, &durations.ran_compared),
            ("from creation", &durations.took, &durations.took_compared),
        ] {
            let Some(stats) = stats else {
                continue;
            };
            let mut row = vec![step.clone(), what.into(), "newest".into()];
            row.push(stats.count.to_string());
            row.extend([stats.median, stats.p90, stats.p99, stats.longest].map(span));
            rows.push(row);
            for (when, window) in [
                ("last hour", &compared.last_hour),
                ("23 to 25 hours ago", &compared.yesterday),
            ] {
                if let Some(window) = window {
                    let mut row = vec![step.clone(), what.into(), when.into()];
                    row.push(window.count.to_string());
                    row.extend([span(window.median), span(window.p90)]);
                    row.extend([String::new(), String::new()]);
                    rows.push(row);
                }
            }
            sentences.push(format!("{step}, {what}: {}\n", compared.sentence));
        }
    }
    out.rows(
        &[
            "step", "time", "finished", "jobs", "median", "90 %", "99 %", "longest",
        ],
        &rows,
    )?;
    for sentence in &sentences {
        out.text(&super::output::shown(sentence))?;
    }
    Ok(code)
}

/// A finding with its table, as JSON.
#[derive(Serialize)]
struct Found<'a> {
    table: &'a str,
    #[serde(flatten)]
    finding: &'a Finding,
}

fn examine(common: &Common, tables: &[String]) -> Done {
    let out = common.output();
    let mut worst = Severity::Note;
    let mut are_all = true;
    for (name, source) in each_source(common, tables)? {
        let examined = source.and_then(|source| {
            let findings = doctor(&source, Limits::default())?;
            Ok((source, findings))
        });
        let (source, findings) = match examined {
            Ok(examined) => examined,
            Err(error) => {
                eprintln!("status-console: `{name}` cannot be read: {error}");
                are_all = false;
                continue;
            }
        };
        worst = findings
            .iter()
            .map(|finding| finding.severity)
            .fold(worst, Ord::max);
        for finding in &findings {
            if out.is_json() {
                out.json(&Found {
                    table: source.name(),
                    finding,
                })?;
                continue;
            }
            let sql = finding.sql.iter().flat_map(|sql| sql.lines());
            let sql: String = sql.map(|line| format!("    {line}\n")).collect();
            let (name, severity) = (source.name(), finding.severity);
            out.text(&super::output::shown(&format!(
                "{name}: {severity}: {} ({})\n{sql}",
                finding.sentence, finding.check
            )))?;
        }
        if findings.is_empty() && !out.is_json() {
            out.text(&format!("{}: nothing is wrong\n", source.name()))?;
        }
    }
    Ok(ExitCode::from(match worst {
        _ if !are_all => FAILED,
        Severity::Note => 0,
        Severity::Warning => 1,
        Severity::Broken => 2,
    }))
}
