//! How all tables are doing.

use maud::{Markup, html};

use super::chart::{Bar, bars};
use super::layout::{Frame, class, live, problem};
use super::request::{Failure, Request};
use crate::overview::{self, LastHour, Overview, StepOverview, grouped, span};

pub(super) async fn page(request: Request) -> Result<Markup, Failure> {
    let mut reads = Vec::new();
    for source in request.app.sources.clone() {
        let name = source.name().to_owned();
        let request = request.clone();
        let read = async move { request.run(move || overview::of(&source)).await };
        reads.push((name, tokio::spawn(read)));
    }
    let mut tables = Vec::new();
    for (name, read) in reads {
        // One table whose database is away is not to hide the others.
        let read = match read.await {
            Ok(Ok(Ok(overview))) => Ok(overview),
            Ok(Ok(Err(error))) => Err(error.to_string()),
            Ok(Err(failure)) => Err(failure.message),
            Err(panic) => Err(panic.to_string()),
        };
        tables.push((name, read));
    }
    let content = html! {
        @if tables.is_empty() { p { "The console has no tables." } }
        @for (name, read) in &tables { (table(&request, name, read)) }
    };
    let content = html! {
        h1 { "Overview" }
        (live(&request, &content))
    };
    Ok(Frame::of(&request, "Overview", None).page(&content))
}

fn table(request: &Request, name: &str, read: &Result<Overview, String>) -> Markup {
    html! {
        section {
            h2 { a class="foreign" href=(request.link("jobs", [("table", name)])) { (name) } }
            @match read {
                Err(error) => (problem(error)),
                Ok(overview) => @for one in &overview.steps { (step(request, name, one)) },
            }
        }
    }
}

fn step(request: &Request, table: &str, step: &StepOverview) -> Markup {
    let verdict = step.verdict.to_string();
    let link = |status: &str, locked: &str| {
        let pairs = [
            ("table", table),
            ("step", &*step.step),
            ("status", status),
            ("locked", locked),
        ];
        request.link(
            "jobs",
            pairs.into_iter().filter(|(_, value)| !value.is_empty()),
        )
    };
    html! {
        article {
            header {
                strong class="foreign" { (step.step) } " "
                span class={ "sign " (class(&verdict)) } { (verdict) } " "
                span { (step.because) }
            }
            div class="scroll" {
                table {
                    thead { tr {
                        @for (status, _) in &step.counts { th class="number" scope="col" { (status) } }
                        th class="number" scope="col" { "running now" }
                        th class="number" scope="col" { "expired locks" }
                        th class="number" scope="col" { "oldest ready job" }
                    } }
                    tbody { tr {
                        @for (status, count) in &step.counts {
                            td class="number" {
                                a href=(link(status.name(), "")) {
                                    @match count { Some(count) => (count), None => "?" }
                                }
                            }
                        }
                        @for count in [step.running, step.expired] {
                            td class="number" {
                                a href=(link("in_progress", "1")) {
                                    @match count { Some(count) => (count), None => "?" }
                                }
                            }
                        }
                        td class="number" {
                            @match step.oldest_ready_seconds {
                                Some(age) => (span(std::time::Duration::from_secs(age))),
                                None => "–",
                            }
                        }
                    } }
                }
            }
            @if let Some(hour) = &step.hour { (last_hour(hour)) }
            @for message in &step.problems { (problem(message)) }
        }
    }
}

fn last_hour(hour: &LastHour) -> Markup {
    let newest = if hour.is_cut {
        ", of the newest changes"
    } else {
        ""
    };
    let text = format!(
        "Last hour{newest}: {} finished, {} failed, {} ignored",
        grouped(hour.finished),
        grouped(hour.failed),
        grouped(hour.ignored)
    );
    let last = hour.curve.len();
    let minutes = hour.curve.iter().enumerate().map(|(n, minute)| Bar {
        label: format!(
            "{} minutes ago: {} finished, {} failed or ignored",
            last - 1 - n,
            minute.finished,
            minute.failed
        ),
        parts: vec![("finished", minute.finished), ("failed", minute.failed)],
    });
    html! {
        (bars(&format_args!("Finished and failed jobs per minute. {text}"), &minutes.collect::<Vec<_>>()))
        small { (text) }
    }
}
