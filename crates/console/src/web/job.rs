//! One job.

use axum::http::StatusCode;
use diesel_status_tracker::{ColumnText, Role};
use maud::{Markup, html};

use super::act::mark;
use super::layout::{Frame, ago, key_text, live, problem, time};
use super::request::{Failure, Pairs, Request};
use crate::actions::Action;
use crate::job::{Choice, Job, columns, with_key};
use crate::overview::cut;
use crate::status::is_hidden;
use crate::table::Source;

/// Letters of a column, and of an error, that are shown.
const LETTERS: usize = 4_000;
const ERROR_LETTERS: usize = 20_000;

/// The key that a link names.
pub(super) fn key_in(
    request: &Request,
    source: &Source,
    pairs: &Pairs,
) -> Result<Vec<String>, Failure> {
    let key = pairs.iter().filter(|(name, _)| name == "key");
    let key: Vec<_> = key.map(|(_, value)| value.clone()).collect();
    if key.len() == source.info().key().len() {
        return Ok(key);
    }
    let columns: Vec<_> = source.info().key().collect();
    let message = format!("the link has not one `key` for each of the columns {columns:?}");
    Err(request.failure(StatusCode::BAD_REQUEST, message))
}

pub(super) async fn page(request: Request) -> Result<Markup, Failure> {
    let source = request.source(&request.pairs)?;
    let key = key_in(&request, &source, &request.pairs)?.into();
    let shown = key_text(&key);
    let work = move |source: &Source| {
        let read = with_key(source, &key);
        // What the row holds may tell why it cannot be read as a job.
        let columns = read.is_err().then(|| columns(source, &key));
        (read, columns)
    };
    let read = request.run(&source, work).await?;
    let content_of = match read {
        (Ok(Some(job)), _) => content(&request, &source, &job),
        (Ok(None), _) => {
            let message = format!("{} has no job with the key {shown}", source.name());
            return Err(request.failure(StatusCode::NOT_FOUND, message));
        }
        (Err(error), Some(Ok(Some(columns)))) => html! {
            (problem(&error.to_string()))
            (row(&columns))
        },
        (Err(error), _) => return Err(request.failed(&error)),
    };
    let content = html! {
        h1 { "Job " span class="foreign" { (shown) } }
        (live(&request, &content_of))
    };
    Ok(Frame::of(&request, "Job", Some(source.name())).page(&content))
}

fn content(request: &Request, source: &Source, job: &Job) -> Markup {
    html! {
        p {
            @if job.meanings.is_empty() {
                "Its status is " span class="foreign" { (cut(&job.state.status.to_string(), 100)) } ", which no step knows."
            }
            @for (step, status) in &job.meanings {
                span class="sign" { (status) } " " span class="foreign" { (step.name()) } " "
            }
        }
        h2 { "What may be done" }
        @if !request.app.has_actions { p { "The console is read-only." } }
        @if job.choices.is_empty() { p { "Nothing: correct the status first." } }
        ul { @for choice in &job.choices { li { (choice_form(request, source, job, choice)) } } }
        h2 { "Timeline" }
        ol {
            @for moment in &job.timeline {
                li { (time(Some(moment.at))) " "
                    small { "(" (ago(Some(moment.at), job.state.now).unwrap_or_default()) ")" } " "
                    span class="foreign" { (moment.what) }
                }
            }
        }
        @if !job.errors.is_empty() {
            h2 { "Errors" }
            @for (n, entry) in job.errors.iter().enumerate() {
                details open[n == 0] {
                    summary { @if let Some(attempt) = entry.attempt { "Failure " (attempt) " in a row " } (time(entry.at)) }
                    pre { (cut(&entry.error, ERROR_LETTERS)) }
                    @if let Some(traceback) = entry.traceback.as_ref().filter(|text| !text.is_empty()) {
                        details { summary { "Details" } pre { (cut(traceback, ERROR_LETTERS)) } }
                    }
                }
            }
        }
        (row(&job.columns))
    }
}

fn row(columns: &[ColumnText]) -> Markup {
    html! {
        h2 { "Row" }
        div class="scroll" {
            table {
                thead { tr { th scope="col" { "Column" } th scope="col" { "Value" } } }
                tbody {
                    @for column in columns {
                        tr {
                            th scope="row" class="foreign" { (column.name) }
                            td class="text" {
                                @match &column.text {
                                    None => em { "NULL" },
                                    Some(text) => {
                                        pre { (cut(text, LETTERS)) }
                                        @if column.is_cut { small { "It is longer than what was read." } }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn choice_form(request: &Request, source: &Source, job: &Job, choice: &Choice) -> Markup {
    let what = match choice.action {
        Action::Reset => "Reset: pending again, with no failures",
        Action::Ignore => "Ignore: left alone until it is reset",
        Action::Prune => "Prune: deleted",
        Action::Expire => "Expire: its worker is known to be dead; the attempt counts as failed",
    };
    let is_shown = !is_hidden(source.info(), Role::UpdateAt);
    let mark = mark(&job.key, is_shown.then(|| job.state.seen()));
    let seen_at = job.state.now.map(|now| now.timestamp_micros().to_string());
    html! {
        span { (what) " (" span class="foreign" { (choice.step) } ")" }
        @if let Some(why_not) = &choice.why_not { " – not now: " (why_not) }
        @else if request.app.has_actions {
            form class="row" method="post" action=(request.link("act", [])) {
                input type="hidden" name="table" value=(source.name());
                input type="hidden" name="step" value=(choice.step);
                input type="hidden" name="mark" value=(mark);
                input type="hidden" name="seen_at" value=(seen_at.unwrap_or_default());
                @if choice.action == Action::Ignore { label { "Reason" input name="reason" required maxlength="500"; } }
                button name="action" value=(choice.action.name()) type="submit" { (choice.action.title()) }
            }
        }
    }
}
