//! Failures by their cause.

use maud::{Markup, html};

use super::jobs::{all_link, job_link, list_link};
use super::layout::{Frame, key_text, live, problem, time};
use super::request::{Failure, Request};
use crate::actions::Action;
use crate::failures::{self, Failures, Group};
use crate::jobs::filter::Filter;
use crate::overview::{cut, grouped};
use crate::status::Status;
use crate::table::Source;

/// Groups of a page.
const MOST: usize = 100;

pub(super) async fn page(request: Request) -> Result<Markup, Failure> {
    let source = request.source(&request.pairs)?;
    let work = |source: &Source| failures::of(source, None);
    let read = request.run(&source, work).await?;
    let content = html! {
        h1 { "Failures of " span class="foreign" { (source.name()) } }
        p { "Failed and ignored jobs, grouped by their newest error. Errors that differ only in numbers, ids and quoted parts are one group." }
        @match read {
            Err(error) => (problem(&error.to_string())),
            Ok(failures) => (live(&request, &groups(&request, &source, &failures))),
        }
    };
    Ok(Frame::of(&request, "Failures", Some(source.name())).page(&content))
}

fn groups(request: &Request, source: &Source, failures: &Failures) -> Markup {
    let number = |number: usize| grouped(i64::try_from(number).unwrap_or(i64::MAX));
    html! {
        @if failures.is_cut {
            p class="problem" { "There are more failures; these are the newest " (number(failures.looked_at)) "." }
        }
        @if failures.groups.is_empty() { p { "There are none." } }
        @else {
            div class="scroll" {
                table {
                    thead { tr {
                        th scope="col" { "Error" } th class="number" scope="col" { "Failed" }
                        th class="number" scope="col" { "Ignored" } th scope="col" { "First" } th scope="col" { "Last" }
                        th scope="col" { "Jobs" }
                    } }
                    tbody {
                        @for group in failures.groups.iter().take(MOST) {
                            tr {
                                td class="text foreign" {
                                    @if group.fingerprint.is_empty() { em { "no error is recorded" } } @else { (group.fingerprint) }
                                    @if group.example != group.fingerprint {
                                        small { "Example: " a href=(job_link(request, source.name(), &group.example_key)) { (key_text(&group.example_key)) } }
                                            details { summary { "Its error" } pre { (cut(&group.example, 2000)) } }
                                    }
                                }
                                td class="number" { (number(group.failed)) }
                                td class="number" { (number(group.ignored)) }
                                td { (time(group.first_at)) }
                                td { (time(group.last_at)) }
                                td { (links(request, source, group)) }
                            }
                        }
                    }
                }
            }
            @if failures.groups.len() > MOST { p { (number(failures.groups.len() - MOST)) " groups with fewer jobs are not shown." } }
        }
    }
}

fn links(request: &Request, source: &Source, group: &Group) -> Markup {
    // Jobs without an error have nothing to be found by.
    let filter = (!group.fingerprint.is_empty()).then(|| Filter {
        statuses: vec![Status::Failed, Status::Ignored],
        group: Some(group.fingerprint.clone()),
        ..Filter::default()
    });
    html! {
        @if let Some(filter) = filter {
            a href=(list_link(request, source.name(), &filter)) { "Show" }
            @if request.app.has_actions {
                " · " a href=(all_link(request, source.name(), &filter, Action::Reset)) { "Reset all…" }
            }
        }
    }
}
