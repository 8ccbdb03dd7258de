//! How long jobs take now, beside those of yesterday at this hour.

use std::time::Duration;

use diesel_status_tracker::{Role, StepInfo};
use serde::Serialize;

use super::{Times, percentile, read};
use crate::error::Result;
use crate::overview::grouped;
use crate::sql::Session;

const HOUR: Duration = Duration::from_secs(3600);
/// Fewer jobs say nothing.
const ENOUGH: usize = 10;
/// What is shorter is compared as if it took this long: SQLite has no shorter times.
const SHORTEST: Duration = Duration::from_millis(1);
/// Below and above, jobs take about as long as they did.
const ABOUT: std::ops::RangeInclusive<f64> = 0.8..=1.25;

/// How long the jobs took that have finished within some time; of very many, the newest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Window {
    pub count: usize,
    pub median: Duration,
    pub p90: Duration,
}

/// The last hour beside yesterday: 23 to 25 hours ago.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Compared {
    pub last_hour: Option<Window>,
    pub yesterday: Option<Window>,
    /// The median of the last hour as a multiple of yesterday's, where both have enough jobs.
    pub times_yesterday: Option<f64>,
    /// What this means, or why nothing can be said.
    pub sentence: String,
}

/// Run times, and times from creation to the end.
pub(super) fn of_step(session: &mut Session<'_>, step: &StepInfo) -> [Compared; 2] {
    // Where the queries take too long, the newest jobs are shown all the same.
    match windows(session, step) {
        Ok((hour, yesterday)) => [
            compared(hour.ran, yesterday.ran),
            compared(hour.took, yesterday.took),
        ],
        Err(error) => {
            let unknown = Compared {
                last_hour: None,
                yesterday: None,
                times_yesterday: None,
                sentence: format!("nothing can be said of yesterday: {error}"),
            };
            [unknown.clone(), unknown]
        }
    }
}

fn windows(session: &mut Session<'_>, step: &StepInfo) -> Result<(Times, Times)> {
    let names = session.names();
    let update_at = names.column(Role::UpdateAt);
    let ago = |hours| names.ago(Role::UpdateAt, HOUR * hours);
    let last_hour = format!(" AND {update_at} > {}", ago(1));
    let yesterday = format!(
        " AND {update_at} > {} AND {update_at} <= {}",
        ago(25),
        ago(23)
    );
    Ok((
        read(session, step, &last_hour)?,
        read(session, step, &yesterday)?,
    ))
}

fn window(mut all: Vec<Duration>) -> Option<Window> {
    all.sort_unstable();
    Some(Window {
        count: all.len(),
        median: percentile(&all, 50)?,
        p90: percentile(&all, 90)?,
    })
}

fn compared(last_hour: Vec<Duration>, yesterday: Vec<Duration>) -> Compared {
    let (last_hour, yesterday) = (window(last_hour), window(yesterday));
    let times = match (&last_hour, &yesterday) {
        (Some(now), Some(then)) if now.count >= ENOUGH && then.count >= ENOUGH => {
            let [now, then] = [now, then].map(|window| window.median.max(SHORTEST));
            Some(now.as_secs_f64() / then.as_secs_f64())
        }
        _ => None,
    };
    let sentence = match times {
        None => why_not(last_hour.as_ref(), yesterday.as_ref()),
        Some(times) if ABOUT.contains(&times) => "about as yesterday at this hour".into(),
        // As many digits as the number of jobs bears.
        Some(times) if times < 0.1 => "less than a tenth of yesterday's at this hour".into(),
        Some(times) if times < 10.0 => format!("{times:.1} times yesterday's at this hour"),
        Some(times) => format!("{times:.0} times yesterday's at this hour"),
    };
    Compared {
        last_hour,
        yesterday,
        times_yesterday: times,
        sentence,
    }
}

fn why_not(last_hour: Option<&Window>, yesterday: Option<&Window>) -> String {
    let windows = [
        (last_hour, "in the last hour"),
        (yesterday, "at this hour of yesterday"),
    ];
    let few = windows.into_iter().find_map(|(window, when)| {
        let count = window.map_or(0, |window| window.count);
        (count < ENOUGH).then_some((count, when))
    });
    match few {
        Some((0, when)) => {
            format!("nothing can be said of yesterday: no job with such a time has finished {when}")
        }
        Some((count, when)) => {
            let count = grouped(i64::try_from(count).unwrap_or(i64::MAX));
            format!(
                "nothing can be said of yesterday: only {count} finished {when}, and {ENOUGH} are needed"
            )
        }
        None => "nothing can be said of yesterday".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(all: &[u64]) -> Vec<Duration> {
        all.iter().copied().map(Duration::from_millis).collect()
    }

    #[test]
    fn one_sentence_says_what_the_medians_mean() {
        let said = |now: u64, then: u64| {
            let [now, then] = [now, then].map(|time| millis(&[time; ENOUGH]));
            compared(now, then).sentence
        };
        for (now, then, sentence) in [
            (2900, 1000, "2.9 times yesterday's at this hour"),
            (1100, 1000, "about as yesterday at this hour"),
            (900, 1000, "about as yesterday at this hour"),
            (400, 1000, "0.4 times yesterday's at this hour"),
            (10, 1000, "less than a tenth of yesterday's at this hour"),
            (25_000, 1000, "25 times yesterday's at this hour"),
            // What is too short to be measured is no infinity.
            (1, 0, "about as yesterday at this hour"),
        ] {
            assert_eq!(said(now, then), sentence, "{now} {then}");
        }
        let few = compared(millis(&[1; 3]), millis(&[1; 50]));
        assert_eq!(few.times_yesterday, None);
        assert!(
            few.sentence.contains("only 3 finished in the last hour"),
            "{few:?}"
        );
        let none = compared(millis(&[1; 50]), Vec::new());
        assert!(
            none.sentence
                .contains("has finished at this hour of yesterday"),
            "{none:?}"
        );
        assert_eq!(none.last_hour.unwrap().count, 50);
    }
}
