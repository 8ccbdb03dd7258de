//! How all tables are doing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use maud::{Markup, html};
use tokio::sync::Mutex;

use super::chart::{Bar, bars};
use super::layout::{Frame, class, live, problem};
use super::request::{Failure, Request, TURN_LIMIT};
use crate::overview::{self, LastHour, Overview, StepOverview, grouped, span};
use crate::table::Source;

type Read = Result<Arc<Overview>, String>;

/// Who asks while the overview of a table is being read gets it too, so that many open
/// pages cost a database no more than one.
#[derive(Default)]
pub(super) struct Shared(Mutex<Option<Seen>>);

/// What was read, and when.
struct Seen {
    began: Instant,
    ended: Instant,
    read: Read,
}

/// What took longer is shown for a while, so that a slow database is not asked all the
/// time.
const SLOW: Duration = Duration::from_millis(500);
/// For so many times the time that it took.
const REST: u32 = 4;
const LONGEST_REST: Duration = Duration::from_secs(10);

impl Seen {
    /// Whether it is as good as what would be read now, for somebody who asked then.
    fn serves(&self, asked: Instant) -> bool {
        let took = self.ended - self.began;
        let rest = (took * REST).min(LONGEST_REST);
        self.began >= asked || (took > SLOW && asked < self.ended + rest)
    }
}

async fn read(request: &Request, source: &Source) -> Result<Read, Failure> {
    let asked = Instant::now();
    let Some(table) = request.app.tables.get(source.name()) else {
        return Err(request.busy());
    };
    let turn = tokio::time::timeout(TURN_LIMIT, table.overview.0.lock()).await;
    let mut seen = turn.map_err(|_| request.busy())?;
    if let Some(seen) = seen.as_ref().filter(|seen| seen.serves(asked)) {
        return Ok(seen.read.clone());
    }
    let began = Instant::now();
    let read = request.run(source, overview::of).await?;
    let read = read.map(Arc::new).map_err(|error| error.to_string());
    *seen = Some(Seen {
        began,
        ended: Instant::now(),
        read: read.clone(),
    });
    Ok(read)
}

pub(super) async fn page(request: Request) -> Result<Markup, Failure> {
    let mut reads = Vec::new();
    for source in request.app.sources.clone() {
        let name = source.name().to_owned();
        let request = request.clone();
        let read = async move { read(&request, &source).await };
        reads.push((name, tokio::spawn(read)));
    }
    let mut tables = Vec::new();
    for (name, read) in reads {
        // One table whose database is away is not to hide the others.
        let read = match read.await {
            Ok(Ok(read)) => read,
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

fn table(request: &Request, name: &str, read: &Read) -> Markup {
    html! {
        section {
            div class="row" {
                h2 { a class="foreign" href=(request.link("jobs", [("table", name)])) { (name) } }
                a href=(request.link("failures", [("table", name)])) { "Failures" }
                a href=(request.link("durations", [("table", name)])) { "Durations" }
                (key_form(request, name))
            }
            @match read {
                Err(error) => (problem(error)),
                Ok(overview) => @for one in &overview.steps { (step(request, name, one)) },
            }
        }
    }
}

/// Leads to the job with a key.
fn key_form(request: &Request, table: &str) -> Markup {
    let source = request
        .app
        .sources
        .iter()
        .find(|source| source.name() == table);
    html! {
        @if let Some(source) = source {
            form class="row" method="get" action=(request.link("job", [])) {
                input type="hidden" name="table" value=(table);
                @for column in source.info().key() {
                    label { "Job with " span class="foreign" { (column) } input name="key" required; }
                }
                button type="submit" { "Open" }
            }
        }
    }
}

fn step(request: &Request, table: &str, step: &StepOverview) -> Markup {
    let verdict = step.verdict.to_string();
    let link = |status: &str, only: &str| {
        let pairs = [
            ("table", table),
            ("step", &*step.step),
            ("status", status),
            (only, "1"),
        ];
        request.link(
            "jobs",
            pairs.into_iter().filter(|(name, _)| !name.is_empty()),
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
                        @for (count, only) in [(step.running, "locked"), (step.expired, "expired")] {
                            td class="number" {
                                a href=(link("in_progress", only)) {
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
            @if step.passed_on.is_some() {
                br; small { "Finished jobs that a later step has taken are in the numbers of that step." }
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_overview_is_shown_for_a_while_and_a_fast_one_only_to_those_who_waited() {
        let began = Instant::now();
        let seen = |millis| Seen {
            began,
            ended: began + Duration::from_millis(millis),
            read: Err(String::new()),
        };
        let after = |millis| began + Duration::from_millis(millis);
        assert!(seen(100).serves(began));
        assert!(!seen(100).serves(after(50)) && !seen(100).serves(after(101)));
        assert!(seen(1000).serves(after(4999)) && !seen(1000).serves(after(5000)));
        assert!(!seen(60_000).serves(after(70_000)));
    }
}
