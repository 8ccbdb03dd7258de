//! What is done with jobs: those that are marked, or all that a filter finds.

use axum::Form;
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use diesel_status_tracker::{PagePlace, RowKey, SeenJob};
use maud::{Markup, html};
use serde::{Deserialize, Serialize};

use super::jobs::{job_link, list_link, read_filter};
use super::layout::{Frame, key_text, problem};
use super::request::{Failure, Pairs, Request, value};
use crate::actions::{
    Action, Done, Meant, Order, PassedOver, count, meant, on_filter, on_jobs, prunable,
};
use crate::jobs::filter::Filter;
use crate::overview::{self, Count, cut, grouped};
use crate::status::code;
use crate::table::Source;

/// More marked jobs than this would keep a request busy for too long.
const MOST_MARKED: usize = 500;
/// Of those that were passed over, so many are named.
const NAMED: usize = 20;

/// A job of a form, as its mark has it.
#[derive(Serialize, Deserialize)]
struct Mark {
    key: Vec<String>,
    /// Its status and its last change when the page was made, where the page may show them.
    seen: Option<(String, String)>,
}

impl Mark {
    fn meant(self, source: &Source) -> Meant {
        Meant {
            key: self.key.into(),
            seen: self.seen.map(|(status, changed)| SeenJob {
                status: code(source.info(), &status),
                update_at: Some(changed),
            }),
        }
    }
}

/// The mark of a job in a form.
pub(super) fn mark(key: &RowKey, seen: Option<SeenJob>) -> String {
    let seen = seen.and_then(|seen| Some((seen.status.to_string(), seen.update_at?)));
    let key = key.parts();
    serde_json::json!({"key": key, "seen": seen}).to_string()
}

/// What the form asks for, if it may be done at all.
fn order(request: &Request, pairs: &Pairs) -> Result<Order, Failure> {
    let wrong = |message: &str| request.failure(StatusCode::BAD_REQUEST, message.into());
    let action = value(pairs, "action").and_then(Action::named);
    let action = action.ok_or_else(|| wrong("the form does not say what is to be done"))?;
    let reason = value(pairs, "reason").unwrap_or_default().trim();
    if action == Action::Ignore && reason.is_empty() {
        return Err(wrong(
            "give a reason: it is kept with the jobs that are ignored",
        ));
    }
    let seen_at = value(pairs, "seen_at")
        .and_then(|micros| DateTime::from_timestamp_micros(micros.parse().ok()?));
    Ok(Order {
        action,
        reason: cut(reason, 500),
        step: value(pairs, "step")
            .filter(|step| !step.is_empty())
            .map(Into::into),
        seen_at: seen_at
            .ok_or_else(|| wrong("the form does not say when it was made; open the page again"))?,
        who: request.who.clone(),
    })
}

fn if_allowed(request: &Request) -> Result<(), Failure> {
    match request.app.has_actions {
        true => Ok(()),
        false => {
            let message = "the console is read-only: whoever runs it can allow actions (`--allow-actions`, or `.actions(true)` in Rust)";
            Err(request.failure(StatusCode::FORBIDDEN, message.into()))
        }
    }
}

pub(super) async fn on_marked(
    request: Request,
    Form(pairs): Form<Pairs>,
) -> Result<Markup, Failure> {
    if_allowed(&request)?;
    let source = request.source(&pairs)?;
    let order = order(&request, &pairs)?;
    let mut jobs = Vec::new();
    for (_, mark) in pairs.iter().filter(|(name, _)| name == "mark") {
        match serde_json::from_str::<Mark>(mark) {
            Ok(mark) if mark.key.len() == source.info().key().len() => {
                jobs.push(mark.meant(&source));
            }
            _ => {
                return Err(request.failure(
                    StatusCode::BAD_REQUEST,
                    "a marked job has no valid key".into(),
                ));
            }
        }
    }
    if order.action == Action::Prune {
        let message = "marked jobs cannot be pruned: choose jobs by status and age instead";
        return Err(request.failure(StatusCode::BAD_REQUEST, message.into()));
    }
    if jobs.len() > MOST_MARKED {
        let message =
            format!("more than {MOST_MARKED} jobs are marked: choose them by a filter instead");
        return Err(request.failure(StatusCode::BAD_REQUEST, message));
    }
    if jobs.is_empty() {
        return Err(request.failure(StatusCode::BAD_REQUEST, "no job is marked".into()));
    }
    let back = match &*jobs {
        [job] => job_link(&request, source.name(), &job.key),
        _ => request.link("jobs", [("table", source.name())]),
    };
    let done = {
        let order = order.clone();
        let work = move |source: &Source| on_jobs(source, &order, jobs);
        request.run(&source, work).await?
    };
    let done = done.map_err(|error| request.failed(&error))?;
    let content = html! {
        h1 { @if done.count > 0 { "Done" } @else { "Nothing was changed" } }
        p role="status" { (told(order.action, done.count)) }
        (passed_over(done.passed_over.len(), &done.passed_over))
        p { a href=(back) { "Back" } }
    };
    Ok(Frame::of(&request, "Done", Some(source.name())).page(&content))
}

fn told(action: Action, count: usize) -> String {
    let jobs = if count == 1 { "job was" } else { "jobs were" };
    let what = match action {
        Action::Reset => "reset",
        Action::Ignore => "ignored",
        Action::Expire => "expired",
        Action::Prune => "deleted",
    };
    format!(
        "{} {jobs} {what}.",
        grouped(i64::try_from(count).unwrap_or(i64::MAX))
    )
}

fn passed_over(count: usize, some: &[PassedOver]) -> Markup {
    html! {
        @if count > 0 {
            p { (count) " passed over" @if some.len() < count || some.len() > NAMED { ", of which some" } ":" }
            ul {
                @for job in some.iter().take(NAMED) {
                    li class="foreign" { (key_text(&job.key)) ": " (cut(&job.why, 500)) }
                }
            }
        }
    }
}

/// Counts what a filter finds, and asks whether it is to be done.
pub(super) async fn preview_all(request: Request) -> Result<Markup, Failure> {
    if_allowed(&request)?;
    let source = request.source(&request.pairs)?;
    let (filter, _) = read_filter(&request, &source, &request.pairs)?;
    let action = value(&request.pairs, "action")
        .and_then(Action::named)
        .ok_or_else(|| {
            request.failure(
                StatusCode::BAD_REQUEST,
                "the link does not say what is to be done".into(),
            )
        })?;
    if action == Action::Prune {
        prunable(&source, &filter)
            .map_err(|problem| request.failure(StatusCode::BAD_REQUEST, problem))?;
    }
    let back = list_link(&request, source.name(), &filter);
    let filter = meant(action, &filter);
    let read = {
        let filter = filter.clone();
        let work = move |source: &Source| {
            let now = source.session(overview::QUERY_LIMIT, overview::now)?;
            Ok((now, count(source, &filter)))
        };
        request.run(&source, work).await?
    };
    let (now, found) = read.map_err(|error| request.failed(&error))?;
    let run = Run {
        filter,
        action,
        reason: String::new(),
        seen_at: now.unwrap_or_else(Utc::now),
        count: 0,
        passed_over: 0,
    };
    let is_any = !matches!(&found, Ok(found) if found.count == Count::Exactly(0));
    let content = html! {
        h1 { (action.title()) " all?" }
        p { "This means " span class="foreign" { (run.filter.words()) } "." }
        @match &found {
            Ok(found) => {
                p {
                    "It finds " strong { (found) } @if found.count == Count::Exactly(1) { " job now" } @else { " jobs now" }
                    @if is_any { ": " (found.statuses()) } ". "
                    (caution(action))
                }
                @for note in found.notes(action) { p class="problem" { (note) } }
            },
            Err(error) => (problem(&format!("They could not be counted: {error}"))),
        }
        @if is_any {
            form method="post" action=(request.link("act-all", [])) {
                (run.fields(&source))
                div class="row" {
                    @if action == Action::Ignore { label { "Reason" input name="reason" required maxlength="500"; } }
                    button type="submit" { (action.title()) " them" }
                }
            }
        }
        p { a href=(back) { "Back, and change nothing" } }
    };
    Ok(Frame::of(
        &request,
        &format!("{} all", action.title()),
        Some(source.name()),
    )
    .page(&content))
}

/// What to think of before jobs are changed.
fn caution(action: Action) -> &'static str {
    match action {
        Action::Reset => {
            "Each will be pending again, with no failures. Those that a live attempt holds, or that have changed since, are passed over."
        }
        Action::Ignore => {
            "No worker will take them until they are reset. Those that a live attempt holds, that are finished, or that have changed since, are passed over."
        }
        Action::Expire => {
            "The attempts that run now end and count as failed, also those whose workers are alive: do this only where you know that the workers are dead. Attempts that take or renew their locks from now on are passed over."
        }
        Action::Prune => {
            "They will be deleted for good. Those that somebody holds are passed over."
        }
    }
}

/// A piece of work on a filter, as its form carries it from one piece to the next.
struct Run {
    filter: Filter,
    action: Action,
    reason: String,
    seen_at: DateTime<Utc>,
    count: usize,
    passed_over: usize,
}

impl Run {
    fn fields(&self, source: &Source) -> Markup {
        html! {
            input type="hidden" name="table" value=(source.name());
            input type="hidden" name="action" value=(self.action.name());
            input type="hidden" name="seen_at" value=(self.seen_at.timestamp_micros());
            input type="hidden" name="count" value=(self.count);
            input type="hidden" name="passed_over" value=(self.passed_over);
            @for (name, value) in self.filter.pairs() { input type="hidden" name=(name) value=(value); }
        }
    }

    /// Where the next piece begins, which has the same reason.
    fn place(&self, place: Option<&PagePlace>) -> Markup {
        html! {
            input type="hidden" name="reason" value=(self.reason);
            @if let Some(place) = place {
                @if let Some(time) = &place.time { input type="hidden" name="time" value=(time); }
                @for part in place.key.parts() { input type="hidden" name="place" value=(part); }
            }
        }
    }

    fn read(
        request: &Request,
        source: &Source,
        pairs: &Pairs,
        order: &Order,
    ) -> Result<Self, Failure> {
        let number = |name| {
            value(pairs, name)
                .and_then(|number| number.parse().ok())
                .unwrap_or_default()
        };
        Ok(Self {
            filter: meant(order.action, &read_filter(request, source, pairs)?.0),
            action: order.action,
            reason: order.reason.clone(),
            seen_at: order.seen_at,
            count: number("count"),
            passed_over: number("passed_over"),
        })
    }

    fn with(mut self, done: &Done) -> Self {
        self.count = self.count.saturating_add(done.count);
        self.passed_over = self.passed_over.saturating_add(done.passed_over.len());
        self
    }
}

/// Does the next piece, and offers the one after it. To stop is not to go on.
pub(super) async fn on_all(request: Request, Form(pairs): Form<Pairs>) -> Result<Markup, Failure> {
    if_allowed(&request)?;
    let source = request.source(&pairs)?;
    let order = order(&request, &pairs)?;
    let run = Run::read(&request, &source, &pairs, &order)?;
    let after = place(&pairs);
    let chunk = {
        let (order, filter, after) = (order.clone(), run.filter.clone(), after.clone());
        let work = move |source: &Source| on_filter(source, &order, &filter, after);
        request.run(&source, work).await
    };
    let back = list_link(&request, source.name(), &run.filter);
    let chunk = match chunk {
        Ok(chunk) => chunk.map_err(|error| request.failed(&error)),
        Err(failure) => Err(failure),
    };
    // What is done is done, and the same piece may be tried again.
    let chunk = chunk.map_err(|failure| {
        failure.with(html! {
            p { "Before that: " (told(run.action, run.count)) }
            form method="post" action=(request.link("act-all", [])) {
                (run.fields(&source))
                (run.place(after.as_ref()))
                button type="submit" { "Try this piece again" }
            }
            p { a href=(back) { "Back" } }
        })
    })?;
    let run = run.with(&chunk.done);
    let content = html! {
        h1 { @if chunk.next.is_some() { "At work" } @else { "Done" } }
        p { "This means " span class="foreign" { (run.filter.words()) } "." }
        p role="status" { (told(run.action, run.count)) }
        (passed_over(run.passed_over, &chunk.done.passed_over))
        @if let Some(next) = &chunk.next {
            progress aria-label="the work goes on" {}
            // With the script it goes on by itself.
            form method="post" action=(request.link("act-all", [])) hx-post=(request.link("act-all", []))
                hx-trigger="load delay:200ms, submit" hx-target="main" hx-select="main" hx-swap="outerHTML" {
                (run.fields(&source))
                (run.place(Some(next)))
                button type="submit" { "Go on" }
            }
            p { a href=(back) role="button" { "Stop" } }
        }
        @else { p { a href=(back) { "Back" } } }
    };
    Ok(Frame::of(&request, "Actions", Some(source.name())).page(&content))
}

/// Where the next piece begins.
fn place(pairs: &Pairs) -> Option<PagePlace> {
    let parts = pairs.iter().filter(|(name, _)| name == "place");
    let parts: Vec<_> = parts.map(|(_, part)| part.clone()).collect();
    (!parts.is_empty()).then(|| PagePlace {
        time: value(pairs, "time").map(Into::into),
        key: parts.into(),
    })
}
