//! How long jobs take.

use maud::{Markup, html};

use super::chart::{Bar, bars};
use super::layout::{Frame, problem};
use super::request::{Failure, Request};
use crate::durations::{self, NEWEST, Stats};
use crate::overview::{grouped, span};

pub(super) async fn page(request: Request) -> Result<Markup, Failure> {
    let source = request.source(&request.pairs)?;
    let steps = request.run(&source, durations::of).await?;
    let newest = grouped(i64::try_from(NEWEST).unwrap_or(i64::MAX));
    let content = html! {
        h1 { "Durations of " span class="foreign" { (source.name()) } }
        p { "Of the newest " (newest) " finished jobs." }
        @for (step, read) in &steps {
            article {
                header { strong class="foreign" { (step) } }
                @match read {
                    Err(error) => (problem(&error.to_string())),
                    Ok(durations) => {
                        (stats("Run time", "from the lock, or its last renewal, to the end; where the table has started_at, from the start of the last attempt", durations.ran.as_ref()))
                        (stats("From creation to the end", "waiting, retries and all", durations.took.as_ref()))
                    }
                }
            }
        }
    };
    Ok(Frame::of(&request, "Durations", Some(source.name())).page(&content))
}

fn stats(title: &str, what: &str, stats: Option<&Stats>) -> Markup {
    let Some(stats) = stats else {
        return html! { h2 { (title) } p { "The table has no finished job of this step." } };
    };
    let numbers = [
        ("median", stats.median),
        ("90 % within", stats.p90),
        ("99 % within", stats.p99),
        ("longest", stats.longest),
    ];
    let label = |(bound, count): &(std::time::Duration, usize)| {
        format!("less than {}: {count}", span(*bound))
    };
    let all = stats.histogram.iter().map(|bar| Bar {
        label: label(bar),
        parts: vec![("finished", i64::try_from(bar.1).unwrap_or(i64::MAX))],
    });
    html! {
        h2 { (title) }
        p { small { (what) } }
        table class="numbers" { tbody {
            @for (name, time) in numbers { tr { th scope="row" { (name) } td class="number" { (span(time)) } } }
        } }
        (bars(&format_args!("{title}: how many jobs took how long, twice as long from bar to bar"), &all.collect::<Vec<_>>()))
        details { summary { "As numbers" } ul { @for bar in &stats.histogram { li { (label(bar)) } } } }
    }
}
