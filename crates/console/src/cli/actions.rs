//! `reset`, `ignore`, `expire`, `prune`: what changes jobs.

use std::error::Error as StdError;
use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use diesel_status_tracker::PagePlace;
use serde::Serialize;

use super::filter::Chosen;
use super::progress::Progress;
use super::tables::{keys, source};
use super::{Common, Done};
use crate::actions::{self, Action, Chunk, Done as Outcome, Found, Order, PassedOver};
use crate::error::{Error, Result};
use crate::jobs::filter::Filter;
use crate::overview::{Count, PAGE_LIMIT, now};
use crate::status::Status;
use crate::table::Source;

/// So many reasons why jobs were passed over are kept.
const MOST_REASONS: usize = 1000;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make jobs pending again, with all their tries; not while somebody holds them.
    ///
    /// A filter without --status means failed and ignored jobs; with --locked or --expired, those in progress.
    #[command(
        after_help = "Examples:\n  status-console --allow-actions reset jobs job-1 job-2\n  status-console --allow-actions reset jobs --status ignored --error 'connection refused' --dry-run"
    )]
    Reset {
        #[command(flatten)]
        jobs: Jobs,
    },
    /// Leave jobs alone from now on; the reason is kept in their errors.
    ///
    /// A filter without --status means jobs that have not finished.
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
    /// Delete old rows that nobody holds, in chunks.
    #[command(
        after_help = "Example:\n  status-console --allow-actions prune jobs --status succeeded,ignored --older 30d --dry-run"
    )]
    Prune {
        /// The table.
        table: String,
        #[command(flatten)]
        chosen: Chosen,
        #[command(flatten)]
        consent: Consent,
    },
}

/// Which jobs: by their keys, or by a filter.
#[derive(Debug, Args)]
pub(super) struct Jobs {
    /// The table.
    table: String,
    /// The keys, an argument for each column of each key; without them, a filter.
    keys: Vec<String>,
    #[command(flatten)]
    chosen: Chosen,
    #[command(flatten)]
    consent: Consent,
}

#[derive(Debug, Args)]
pub(super) struct Consent {
    /// Count the jobs that are meant, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

/// What came of it, or would be tried.
#[derive(Serialize, Default)]
struct Told {
    #[serde(skip_serializing_if = "Option::is_none")]
    would_be_tried: Option<String>,
    #[serde(flatten)]
    found: Option<Found>,
    #[serde(skip_serializing_if = "Option::is_none")]
    done: Option<usize>,
    /// How many were passed over. Of very many, the first ones are named.
    #[serde(skip_serializing_if = "Option::is_none")]
    passed_over_count: Option<usize>,
    passed_over: Vec<PassedOver>,
}

/// What came of all pieces.
#[derive(Debug, Default)]
struct Worked {
    count: usize,
    passed_over_count: usize,
    /// The first ones.
    passed_over: Vec<PassedOver>,
}

impl Worked {
    fn add(&mut self, done: Outcome) {
        self.count += done.count;
        self.passed_over_count += done.passed_over.len();
        // Each reason is printed, as far as somebody would read them.
        let room = MOST_REASONS.saturating_sub(self.passed_over.len());
        self.passed_over
            .extend(done.passed_over.into_iter().take(room));
    }
}

pub(super) fn run(common: &Common, command: &Command) -> Done {
    match command {
        Command::Reset { jobs } => change(common, jobs, Action::Reset, ""),
        Command::Ignore { jobs, reason } => change(common, jobs, Action::Ignore, reason),
        Command::Expire { jobs } => change(common, jobs, Action::Expire, ""),
        Command::Prune {
            table,
            chosen,
            consent,
        } => prune(common, table, chosen, consent),
    }
}

fn change(common: &Common, jobs: &Jobs, action: Action, reason: &str) -> Done {
    let source = source(common, &jobs.table)?;
    let filter = jobs.chosen.filter(source.info(), "changed-asc")?;
    let is_bare = filter == bare(&filter);
    let keys = match (&*jobs.keys, is_bare) {
        ([], true) => {
            return Err(format!(
                "which jobs? Give {action} keys, or a filter such as --status failed"
            )
            .into());
        }
        ([], false) => None,
        (parts, true) => Some(keys(&source, parts)?),
        (_, false) => return Err("give either keys or a filter, and not both".into()),
    };
    if_any_fits(action, &filter)?;
    let filter = actions::meant(action, &filter);
    let order = order(&source, action, reason, jobs.chosen.step.clone())?;
    let name = source.name();
    let (what, found) = match &keys {
        Some(keys) => (format!("{action} {} of {name}, by key", keys.len()), None),
        None => {
            let found = actions::count(&source, &filter)?;
            (asked(action, name, &found, &filter), Some(found))
        }
    };
    if jobs.consent.dry_run {
        return tell(
            common,
            &Told {
                would_be_tried: Some(what),
                found,
                ..Told::default()
            },
        );
    }
    consent(common, &jobs.consent, &what)?;
    match keys {
        Some(keys) => {
            let mut worked = Worked::default();
            worked.add(actions::on_jobs(&source, &order, keys)?);
            tell_done(common, worked)
        }
        None => on_filter(
            common,
            &source,
            &order,
            &filter,
            found.map(|found| found.count),
        ),
    }
}

/// What is to be done, as a question or a dry run has it.
fn asked(action: Action, name: &str, found: &Found, filter: &Filter) -> String {
    let statuses = match found.statuses() {
        statuses if statuses.is_empty() => statuses,
        statuses => format!(" ({statuses})"),
    };
    let action_name = match action {
        Action::Prune => "delete",
        _ => action.name(),
    };
    let mut what = format!(
        "{action_name} {found} of {name}{statuses}: {}",
        filter.words()
    );
    for note in found.notes(action) {
        what.push_str(". ");
        what.push_str(note.trim_end_matches('.'));
    }
    what
}

/// Fails where the chosen statuses are such that each job would be passed over.
fn if_any_fits(action: Action, filter: &Filter) -> Result<(), String> {
    let mut chosen = filter.statuses.iter();
    if filter.statuses.is_empty() || chosen.any(|status| action.fits(*status)) {
        return Ok(());
    }
    let fitting = Status::ALL
        .into_iter()
        .filter(|status| action.fits(*status));
    let names: Vec<_> = fitting.map(Status::name).collect();
    Err(format!(
        "{action} would pass over all {}: the statuses that it changes are {}",
        filter.words(),
        names.join(", ")
    ))
}

/// The filter without what says which jobs; a step alone says it not.
fn bare(filter: &Filter) -> Filter {
    Filter {
        step: filter.step.clone(),
        oldest_first: filter.oldest_first,
        by: filter.by,
        ..Filter::default()
    }
}

/// One piece after the other; each is committed by itself, so that what was done before
/// an error is told as well.
fn on_filter(
    common: &Common,
    source: &Source,
    order: &Order,
    filter: &Filter,
    count: Option<Count>,
) -> Done {
    let mut all = Worked::default();
    let of = match count {
        Some(Count::Exactly(number)) => u64::try_from(number).ok(),
        _ => None,
    };
    let progress = Progress::new("jobs", of);
    let piece = |after| actions::on_filter(source, order, filter, after);
    let worked = each_piece(piece, &progress, &mut all);
    drop(progress);
    let is_any = all.count > 0 || all.passed_over_count > 0;
    match worked {
        Err(error) if !is_any => Err(error.into()),
        Err(error) => {
            tell_done(common, all)?;
            Err(
                format!("this has ended the work, and the same command goes on with it: {error}")
                    .into(),
            )
        }
        Ok(()) => tell_done(common, all),
    }
}

/// Adds what each piece has done to `all`, which is true after an error too.
fn each_piece(
    mut piece: impl FnMut(Option<PagePlace>) -> Result<Chunk>,
    progress: &Progress,
    all: &mut Worked,
) -> Result<()> {
    let mut after = None;
    loop {
        let chunk = match piece(after) {
            Ok(chunk) => chunk,
            Err(Error::Partly { count, source }) => {
                all.count += count;
                return Err(*source);
            }
            Err(error) => return Err(error),
        };
        progress.add(chunk.done.count + chunk.done.passed_over.len());
        all.add(chunk.done);
        match chunk.next {
            Some(place) => after = Some(place),
            None => return Ok(()),
        }
    }
}

fn order(
    source: &Source,
    action: Action,
    reason: &str,
    step: Option<String>,
) -> Result<Order, Box<dyn StdError>> {
    let now = source.session(PAGE_LIMIT, now)?;
    Ok(Order {
        action,
        reason: reason.into(),
        step,
        // What changes from now on is not what was asked for.
        seen_at: now.ok_or("the database does not tell the time")?,
        who: std::env::var("USER").unwrap_or_default(),
    })
}

fn prune(common: &Common, table: &str, chosen: &Chosen, given: &Consent) -> Done {
    let source = source(common, table)?;
    let filter = chosen.filter(source.info(), "changed-asc")?;
    actions::prunable(&source, &filter).map_err(|problem| {
        format!("prune goes by --status, --older and --step alone: {problem}")
    })?;
    let found = actions::count(&source, &filter)?;
    let what = asked(Action::Prune, source.name(), &found, &filter);
    let count = found.count;
    if given.dry_run {
        return tell(
            common,
            &Told {
                would_be_tried: Some(what),
                found: Some(found),
                ..Told::default()
            },
        );
    }
    consent(common, given, &what)?;
    let order = order(&source, Action::Prune, "", filter.step.clone())?;
    on_filter(common, &source, &order, &filter, Some(count))
}

fn tell_done(common: &Common, done: Worked) -> Done {
    tell(
        common,
        &Told {
            done: Some(done.count),
            passed_over_count: Some(done.passed_over_count),
            passed_over: done.passed_over,
            ..Told::default()
        },
    )
}

fn tell(common: &Common, told: &Told) -> Done {
    let out = common.output();
    let code = ExitCode::from(u8::from(!told.passed_over.is_empty()));
    if out.is_json() {
        out.json(told)?;
        return Ok(code);
    }
    if let Some(what) = &told.would_be_tried {
        out.text(&format!("would {what}\n"))?;
    }
    if let (Some(count), Some(passed_over)) = (told.done, told.passed_over_count) {
        let named = match told.passed_over.len() {
            all if all == passed_over => String::new(),
            some => format!(", of which {some} are named"),
        };
        out.text(&format!("{count} done, {passed_over} passed over{named}\n"))?;
    }
    let rows: Vec<_> = told
        .passed_over
        .iter()
        .map(|job| vec![job.key.parts().join(" "), job.why.clone()])
        .collect();
    out.rows(&["key", "passed over, for"], &rows)?;
    Ok(code)
}

/// Whether it is allowed and meant.
fn consent(common: &Common, given: &Consent, what: &str) -> Result<(), Box<dyn StdError>> {
    if !common.allow_actions {
        return Err("nothing was changed: what changes rows needs --allow-actions".into());
    }
    if given.yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err("nothing was changed, for nobody can be asked here: look with --dry-run, then say --yes".into());
    }
    eprint!("{what}? [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err("nothing was changed".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_before_an_error_is_told() {
        let mut pieces = vec![
            Err(Error::Url("x".into()).after(3)),
            Ok(Chunk {
                done: Outcome {
                    count: 100,
                    passed_over: vec![PassedOver {
                        key: "a".into(),
                        why: "somebody holds it".into(),
                    }],
                },
                next: Some(PagePlace {
                    time: None,
                    key: "b".into(),
                }),
            }),
        ];
        let mut all = Worked::default();
        let next = |_| pieces.pop().unwrap();
        let error = each_piece(next, &Progress::hidden(), &mut all).unwrap_err();
        assert_eq!((all.count, all.passed_over.len()), (103, 1));
        assert!(matches!(error, Error::Url(_)), "{error}");
    }

    #[test]
    fn all_that_were_passed_over_are_counted() {
        const PIECE: usize = 600;
        let mut left = 3_usize;
        let next = |_| {
            left -= 1;
            let passed_over = (0..PIECE).map(|number| PassedOver {
                key: number.to_string().into(),
                why: "somebody holds it".into(),
            });
            Ok(Chunk {
                done: Outcome {
                    count: 1,
                    passed_over: passed_over.collect(),
                },
                next: (left > 0).then(|| PagePlace {
                    time: None,
                    key: "b".into(),
                }),
            })
        };
        let mut all = Worked::default();
        each_piece(next, &Progress::hidden(), &mut all).unwrap();
        assert_eq!((all.count, all.passed_over_count), (3, 3 * PIECE));
        assert_eq!(all.passed_over.len(), MOST_REASONS);
    }
}
