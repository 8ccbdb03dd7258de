//! How long jobs take.

use std::time::Duration;

use maud::{Markup, html};

use super::chart::{Bar, bars};
use super::layout::{Frame, problem};
use super::request::{Failure, Request};
use crate::durations::{self, Compared, NEWEST, Stats, Window};
use crate::overview::{grouped, span};

pub(super) async fn page(request: Request) -> Result<Markup, Failure> {
    let source = request.source(&request.pairs)?;
    let steps = request.run(&source, durations::of).await?;
    let content = html! {
        h1 { "Durations of " span class="foreign" { (source.name()) } }
        p { "Of the newest " (number(NEWEST)) " finished jobs, and of at most as many that finished in the last hour, and at this hour of yesterday." }
        @for (step, read) in &steps {
            article {
                header { strong class="foreign" { (step) } }
                @match read {
                    Err(error) => (problem(&error.to_string())),
                    Ok(durations) => {
                        (stats("Run time", "from the lock, or its last renewal, to the end; where the table has started_at, from the start of the last attempt", durations.ran.as_ref(), &durations.ran_compared))
                        (stats("From creation to the end", "waiting, retries and all", durations.took.as_ref(), &durations.took_compared))
                    }
                }
            }
        }
    };
    Ok(Frame::of(&request, "Durations", Some(source.name())).page(&content))
}

fn number(number: usize) -> String {
    grouped(i64::try_from(number).unwrap_or(i64::MAX))
}

fn stats(title: &str, what: &str, stats: Option<&Stats>, compared: &Compared) -> Markup {
    let Some(stats) = stats else {
        return html! { h2 { (title) } p { "The table has no finished job of this step." } };
    };
    let last_hour = compared.last_hour.as_ref();
    let yesterday = compared.yesterday.as_ref();
    let of = |window: Option<&Window>, time: fn(&Window) -> Duration| {
        window.map_or_else(|| "–".into(), |window| span(time(window)))
    };
    let count = |window: Option<&Window>| number(window.map_or(0, |window| window.count));
    let numbers = [
        (
            "jobs",
            [number(stats.count), count(last_hour), count(yesterday)],
        ),
        (
            "median",
            [
                span(stats.median),
                of(last_hour, |window| window.median),
                of(yesterday, |window| window.median),
            ],
        ),
        (
            "90 % within",
            [
                span(stats.p90),
                of(last_hour, |window| window.p90),
                of(yesterday, |window| window.p90),
            ],
        ),
        (
            "99 % within",
            [span(stats.p99), String::new(), String::new()],
        ),
        (
            "longest",
            [span(stats.longest), String::new(), String::new()],
        ),
    ];
    let label = |(bound, count): &(Duration, usize)| format!("less than {}: {count}", span(*bound));
    let all = stats.histogram.iter().map(|bar| Bar {
        label: label(bar),
        parts: vec![("finished", i64::try_from(bar.1).unwrap_or(i64::MAX))],
    });
    html! {
        h2 { (title) }
        p { small { (what) } }
        p { "The last hour's median: " strong { (compared.sentence) } "." }
        div class="scroll" { table class="numbers" {
            thead { tr {
                td {} th class="number" scope="col" { "newest" } th class="number" scope="col" { "last hour" }
                th class="number" scope="col" { "23 to 25 hours ago" }
            } }
            tbody {
                @for (name, values) in numbers {
                    tr { th scope="row" { (name) } @for value in values { td class="number" { (value) } } }
                }
            }
        } }
        (bars(&format_args!("{title}: how many jobs took how long, twice as long from bar to bar"), &all.collect::<Vec<_>>()))
        details { summary { "As numbers" } ul { @for bar in &stats.histogram { li { (label(bar)) } } } }
    }
}
