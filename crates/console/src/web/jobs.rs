//! A list of jobs.

use axum::http::StatusCode;
use diesel_status_tracker::{PagePlace, Role, RowKey};
use maud::{Markup, html};

use super::act::mark;
use super::layout::{Frame, ago, key_text, live, problem, time};
use super::request::{Failure, Pairs, Request};
use crate::actions::{Action, prunable};
use crate::jobs::filter::{Filter, From};
use crate::jobs::{JobRow, JobsPage, READ_AT_MOST, page as read_page};
use crate::overview::cut;
use crate::status::{Status, is_hidden, meanings};
use crate::table::Source;

/// Jobs of a page.
const LIMIT: usize = 50;

pub(super) async fn page(request: Request) -> Result<Markup, Failure> {
    let source = request.source(&request.pairs)?;
    let (filter, from) = read_filter(&request, &source, &request.pairs)?;
    let read = {
        let (filter, from) = (filter.clone(), from.clone());
        let work = move |source: &Source| read_page(source, &filter, &from, LIMIT);
        request.run(&source, work).await?
    };
    let content = html! {
        h1 { "Jobs of " span class="foreign" { (source.name()) } }
        (form(&request, &source, &filter))
        @match read {
            Err(error) => (problem(&error.to_string())),
            Ok(page) => (live(&request, &list(&request, &source, &filter, &page))),
        }
    };
    Ok(Frame::of(&request, "Jobs", Some(source.name())).page(&content))
}

/// The filter, and the place in the list, that these pairs give.
pub(super) fn read_filter(
    request: &Request,
    source: &Source,
    pairs: &Pairs,
) -> Result<(Filter, From), Failure> {
    let read = Filter::read(pairs).and_then(|(filter, from)| match &filter.step {
        Some(step) if filter.steps(source.info()).is_empty() => {
            Err(format!("{} has no step `{step}`", source.name()))
        }
        _ => Ok((filter, from)),
    });
    read.map_err(|problem| request.failure(StatusCode::BAD_REQUEST, problem))
}

/// A link to the list with this filter.
pub(super) fn list_link(request: &Request, table: &str, filter: &Filter) -> String {
    let pairs = filter.pairs();
    let pairs = pairs.iter().map(|(name, value)| (*name, &**value));
    request.link("jobs", [("table", table)].into_iter().chain(pairs))
}

fn place_link(
    request: &Request,
    table: &str,
    filter: &Filter,
    place: &PagePlace,
    go: &str,
) -> String {
    let mut pairs = filter.pairs();
    pairs.extend(place.time.iter().map(|time| ("time", time.clone())));
    pairs.extend(place.key.parts().iter().map(|part| ("place", part.clone())));
    pairs.push(("go", go.into()));
    let pairs = pairs.iter().map(|(name, value)| (*name, &**value));
    request.link("jobs", [("table", table)].into_iter().chain(pairs))
}

/// A link to one job.
pub(super) fn job_link(request: &Request, table: &str, key: &RowKey) -> String {
    let parts = key.parts().iter().map(|part| ("key", &**part));
    request.link("job", [("table", table)].into_iter().chain(parts))
}

fn form(request: &Request, source: &Source, filter: &Filter) -> Markup {
    let steps = source.info().steps();
    let written = filter.pairs();
    let given = |name: &str| {
        let found = written.iter().find(|(other, _)| *other == name);
        found.map_or("", |(_, value)| &**value)
    };
    let orders = [
        ("changed", "last changed first"),
        ("changed-asc", "first changed first"),
        ("created", "newest first"),
        ("created-asc", "oldest first"),
    ];
    html! {
        form method="get" action=(request.link("jobs", [])) {
            input type="hidden" name="table" value=(source.name());
            @if let Some(group) = &filter.group { input type="hidden" name="group" value=(group); }
            div class="fields" {
                label { "Step"
                    select name="step" {
                        option value="" { "all" }
                        @for step in steps {
                            option value=(step.name()) selected[filter.step.as_deref() == Some(step.name())] { (step.name()) }
                        }
                    }
                }
                @for (n, column) in source.info().key().enumerate() {
                    label { "Key: " span class="foreign" { (column) }
                        input name="key" value=(filter.key.get(n).map_or("", |part| part)) placeholder="exact, or beginning*";
                    }
                }
                @if !is_hidden(source.info(), Role::Errors) {
                    label { "Error has" input name="error" value=(given("error")); }
                }
                label { "Unchanged for" input name="older" value=(given("older")) placeholder="30s, 15m, 2h, 7d"; }
                label { "Changed within" input name="newer" value=(given("newer")) placeholder="30s, 15m, 2h, 7d"; }
                label { "Order"
                    select name="order" {
                        @for (order, text) in orders {
                            option value=(order) selected[filter.order() == order] { (text) }
                        }
                    }
                }
            }
            fieldset class="row" {
                legend { "Status (none: all)" }
                @for status in Status::ALL {
                    label class="box" {
                        input type="checkbox" name="status" value=(status.name()) checked[filter.statuses.contains(&status)];
                        (status)
                    }
                }
            }
            div class="row" {
                label class="box" { input type="checkbox" name="locked" value="1" checked[filter.locked]; "locked" }
                label class="box" { input type="checkbox" name="expired" value="1" checked[filter.expired]; "lock expired" }
                @if source.info().column(Role::RunAt).is_some() {
                    label class="box" { input type="checkbox" name="later" value="1" checked[filter.later]; "due later" }
                }
                button type="submit" { "Show" }
                a href=(request.link("jobs", [("table", source.name())])) { "Show all" }
            }
        }
        @if let Some(group) = &filter.group {
            p { "Only jobs with the error “" span class="foreign" { (group) } "”." }
        }
    }
}

fn list(request: &Request, source: &Source, filter: &Filter, page: &JobsPage) -> Markup {
    let name = source.name();
    let seen_at = page.now.map(|now| now.timestamp_micros().to_string());
    html! {
        @if let Some(place) = &page.searched_to {
            p class="problem" {
                "Only " (READ_AT_MOST) " jobs were looked at for this error. "
                a href=(place_link(request, name, filter, place, "on")) { "Search further" }
            }
        }
        @if filter.leaves_out_succeeded() {
            p { "Jobs that have succeeded were not searched. "
                a href=(list_link(request, name, &of_succeeded(filter))) { "Search them alone" }
            }
        }
        @if page.means_in_progress {
            p { "Only jobs in progress were looked at: to find locks of others, this database would read all jobs. Choose a status to look at those." }
        }
        @if page.jobs.is_empty() { p { "There are none." } }
        @else {
            form method="post" action=(request.link("act", [])) {
                input type="hidden" name="table" value=(name);
                input type="hidden" name="seen_at" value=(seen_at.unwrap_or_default());
                @for (name, value) in filter.pairs() {
                    @if name == "step" { input type="hidden" name="step" value=(value); }
                }
                div class="scroll" {
                    table {
                        thead { tr {
                            @if request.app.has_actions { th class="mark" scope="col" { "Mark" } }
                            th scope="col" { "Key" } th scope="col" { "Status" } th scope="col" { "Changed" }
                            th scope="col" { "Created" } th class="number" scope="col" { "Retry" }
                            th scope="col" { "Error" }
                        } }
                        tbody { @for job in &page.jobs { (row(request, source, page, job)) } }
                    }
                }
                @if request.app.has_actions {
                    div class="row" {
                        span { "Marked jobs:" }
                        button name="action" value="reset" type="submit" { "Reset" }
                        button name="action" value="expire" type="submit" { "Expire" }
                        label { "Reason" input name="reason" maxlength="500"; }
                        button name="action" value="ignore" type="submit" { "Ignore" }
                    }
                }
            }
        }
        nav aria-label="list" {
            ul {
                @if let Some(first) = page.jobs.first().filter(|_| page.has_previous) {
                    li { a rel="prev" href=(place_link(request, name, filter, &first.place(), "back")) { "← Before" } }
                }
                @if let Some(last) = page.jobs.last().filter(|_| page.has_next) {
                    li { a rel="next" href=(place_link(request, name, filter, &last.place(), "on")) { "Next →" } }
                }
                li { a href=(list_link(request, name, filter)) { "Link to this view" } }
            }
        }
        @if request.app.has_actions && !page.jobs.is_empty() {
            p { "All jobs that this filter finds: "
                @for action in Action::ALL.into_iter().filter(|action| is_possible(source, filter, *action)) {
                    a href=(all_link(request, name, filter, action)) { (action) "…" } " "
                }
            }
        }
    }
}

fn of_succeeded(filter: &Filter) -> Filter {
    Filter {
        statuses: vec![Status::Succeeded],
        ..filter.clone()
    }
}

/// Whether there may be jobs among those of the filter for which the action is.
fn is_possible(source: &Source, filter: &Filter, action: Action) -> bool {
    let statuses = &filter.statuses;
    match action {
        Action::Prune => prunable(source, filter).is_ok(),
        _ => statuses.is_empty() || statuses.iter().any(|status| action.fits(*status)),
    }
}

/// A link to the question whether to do it with all jobs of a filter.
pub(super) fn all_link(request: &Request, table: &str, filter: &Filter, action: Action) -> String {
    let pairs = filter.pairs();
    let pairs = pairs.iter().map(|(name, value)| (*name, &**value));
    let first = [("table", table), ("action", action.name())];
    request.link("act-all", first.into_iter().chain(pairs))
}

fn row(request: &Request, source: &Source, page: &JobsPage, job: &JobRow) -> Markup {
    let marked = mark(&job.key, job.seen());
    let key = key_text(&job.key);
    html! {
        tr {
            @if request.app.has_actions {
                td { input type="checkbox" name="mark" value=(marked) aria-label={ "mark " (key) }; }
            }
            td { a class="foreign" href=(job_link(request, source.name(), &job.key)) { (key) } }
            td { (status(source, job))
                @if job.is_locked {
                    br; small { "locked " (ago(job.lock_at, page.now).unwrap_or_default()) }
                }
                @if job.run_at > page.now {
                    br; small { "due " (ago(job.run_at, page.now).unwrap_or_default()) }
                }
            }
            td { (time(job.update_at)) br; small { (ago(job.update_at, page.now).unwrap_or_default()) } }
            td { (time(job.create_at)) }
            td class="number" { @if let Some(retry) = job.retry { (retry) } }
            td class="text foreign" { @if let Some(error) = &job.error { (cut(error, 200)) } }
        }
    }
}

fn status(source: &Source, job: &JobRow) -> Markup {
    let meanings = meanings(source.info(), &job.status);
    html! {
        @if meanings.is_empty() {
            span class="foreign" { (cut(&job.status.to_string(), 40)) } " (no step knows it)"
        }
        @for (n, (step, status)) in meanings.iter().enumerate() {
            @if n > 0 { br; }
            (status)
            @if source.info().steps().len() > 1 { small class="foreign" { " (" (step.name()) ")" } }
        }
    }
}
