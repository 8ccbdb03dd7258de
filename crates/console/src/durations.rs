//! How long finished jobs took.

mod compared;

use std::time::Duration;

use diesel_status_tracker::StepInfo;
use serde::Serialize;

use crate::error::Result;
use crate::overview::{PAGE_LIMIT, QUERY_LIMIT};
use crate::sql::{Part, Session, statements};
use crate::status::Status;
use crate::table::Source;
pub(crate) use compared::{Compared, Window};

/// The newest finished jobs that are looked at.
pub(crate) const NEWEST: usize = 5_000;

/// The newest finished jobs of one step.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Durations {
    pub step: String,
    /// From the lock, or from `started_at` where the table has it, to the end.
    pub ran: Option<Stats>,
    /// From the creation to the end.
    pub took: Option<Stats>,
    /// The same times of the last hour, beside those of yesterday.
    pub ran_compared: Compared,
    pub took_compared: Compared,
}

/// Run times, and times from creation to the end.
#[derive(Debug, Default)]
struct Times {
    ran: Vec<Duration>,
    took: Vec<Duration>,
}

/// How long some jobs took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Stats {
    pub count: usize,
    pub median: Duration,
    pub p90: Duration,
    pub p99: Duration,
    pub longest: Duration,
    /// How many took less than this, and no less than the one before.
    pub histogram: Vec<(Duration, usize)>,
}

/// The durations of each step.
pub(crate) fn of(source: &Source) -> Vec<(String, Result<Durations>)> {
    let steps = source.info().steps().iter();
    // A step whose query takes too long is not to hide the others.
    steps
        .map(|step| {
            let durations = source.session(PAGE_LIMIT, |session| of_step(session, step));
            (step.name().into(), durations)
        })
        .collect()
}

fn of_step(session: &mut Session<'_>, step: &StepInfo) -> Result<Durations> {
    let newest = read(session, step, "")?;
    let [ran_compared, took_compared] = compared::of_step(session, step);
    Ok(Durations {
        step: step.name().into(),
        ran: stats(newest.ran),
        took: stats(newest.took),
        ran_compared,
        took_compared,
    })
}

/// The newest of the finished jobs for which this holds too.
fn read(session: &mut Session<'_>, step: &StepInfo, and: &str) -> Result<Times> {
    let codes = Status::Succeeded.codes(step);
    let conditions = session.names().with_codes(step, &codes, Some(false));
    let cap = NEWEST.to_string();
    let mut times = Times::default();
    for condition in conditions {
        let given = [
            ("condition", Part::from(condition + and)),
            ("cap", cap.as_str().into()),
        ];
        for row in session.ask(&statements::DURATIONS, QUERY_LIMIT, &given)? {
            // Below zero where somebody has changed the row by hand.
            let micros = |column| {
                Some(Duration::from_micros(
                    u64::try_from(row.number(column)?).ok()?,
                ))
            };
            times.ran.extend(micros(0));
            times.took.extend(micros(1));
        }
    }
    Ok(times)
}

/// The least one that so many of a hundred do not exceed.
fn percentile(sorted: &[Duration], part: usize) -> Option<Duration> {
    let place = (sorted.len() * part).div_ceil(100).max(1) - 1;
    sorted.get(place).copied()
}

fn stats(mut all: Vec<Duration>) -> Option<Stats> {
    all.sort_unstable();
    let longest = *all.last()?;
    Some(Stats {
        count: all.len(),
        median: percentile(&all, 50)?,
        p90: percentile(&all, 90)?,
        p99: percentile(&all, 99)?,
        longest,
        histogram: histogram(&all),
    })
}

/// Twice as long from one bar to the next, from a millisecond on.
fn histogram(sorted: &[Duration]) -> Vec<(Duration, usize)> {
    let mut bars = Vec::new();
    let mut bound = Duration::from_millis(1);
    let mut rest = sorted;
    while !rest.is_empty() {
        let (below, others) = rest.split_at(rest.partition_point(|duration| *duration < bound));
        // Nothing is shown before the shortest.
        if !below.is_empty() || !bars.is_empty() {
            bars.push((bound, below.len()));
        }
        rest = others;
        bound *= 2;
    }
    bars
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestRow, on_each_database};

    #[test]
    fn percentiles_and_bars_are_those_of_the_values() {
        let seconds = (1..=100).map(Duration::from_secs).collect();
        let stats = stats(seconds).unwrap();
        let seconds =
            [stats.median, stats.p90, stats.p99, stats.longest].map(|time| time.as_secs());
        assert_eq!(seconds, [50, 90, 99, 100]);
        assert_eq!(
            stats
                .histogram
                .iter()
                .map(|(_, count)| count)
                .sum::<usize>(),
            100
        );
        let one = super::stats(vec![Duration::ZERO]).unwrap();
        assert_eq!(
            (one.p99, &*one.histogram),
            (Duration::ZERO, &[(Duration::from_millis(1), 1)][..])
        );
        assert_eq!(super::stats(Vec::new()), None);
        let far = histogram(&[Duration::from_micros(1500), Duration::from_micros(7000)]);
        let millis = |n| Duration::from_millis(n);
        assert_eq!(far, [(millis(2), 1), (millis(4), 0), (millis(8), 1)]);
    }

    #[test]
    fn durations_are_read_from_the_rows() {
        on_each_database(|table| {
            for (id, changed, locked) in [("a", 10.0, 12.0), ("b", 20.0, 24.0), ("c", 30.0, 30.5)] {
                let mut row = TestRow::new(id, 40).changed(changed).locked(locked);
                row.created = changed + 60.0;
                table.insert(&row);
            }
            // The lock is gone, its time stays.
            table.sql(&format!(
                "UPDATE {} SET {} = NULL",
                table.name(),
                table.lock()
            ));
            let all = of(&table.source);
            let send = all[0].1.as_ref().unwrap();
            let ran = send.ran.as_ref().unwrap();
            assert_eq!(ran.count, 3);
            let is_near = |time: Duration, seconds: f64| (time.as_secs_f64() - seconds).abs() < 0.2;
            assert!(
                is_near(ran.median, 2.0) && is_near(ran.longest, 4.0),
                "{ran:?}"
            );
            assert!(
                is_near(send.took.as_ref().unwrap().median, 60.0),
                "{send:?}"
            );
            assert_eq!(all[1].1.as_ref().unwrap().ran, None);
        });
    }

    #[test]
    fn the_last_hour_is_compared_with_yesterday() {
        on_each_database(|table| {
            let mut rows = Vec::new();
            let hours = |hours: f64| hours * 3600.0;
            for (name, ended, took, count) in [
                ("now", 60.0, 6.0, 20),
                // Neither in the last hour nor of yesterday.
                ("before", hours(2.0), 50.0, 30),
                ("too early", hours(25.5), 50.0, 30),
                ("yesterday", hours(24.0), 2.0, 20),
            ] {
                for n in 0..count {
                    let ended = ended + f64::from(n);
                    let mut row = TestRow::new(&format!("{name} {n}"), 140)
                        .changed(ended)
                        .locked(ended + took);
                    row.created = ended + 100.0;
                    rows.push(row);
                }
            }
            table.insert_all(&rows);
            table.sql(&format!(
                "UPDATE {} SET {} = NULL",
                table.name(),
                table.lock()
            ));
            let all = of(&table.source);
            let pay = all[1].1.as_ref().unwrap();
            let ran = &pay.ran_compared;
            let (now, then) = (
                ran.last_hour.as_ref().unwrap(),
                ran.yesterday.as_ref().unwrap(),
            );
            assert_eq!((now.count, then.count), (20, 20), "{ran:?}");
            assert_eq!(ran.sentence, "3.0 times yesterday's at this hour");
            assert_eq!(
                pay.took_compared.sentence,
                "about as yesterday at this hour"
            );
            assert_eq!(pay.ran.as_ref().unwrap().count, 100);
            let send = all[0].1.as_ref().unwrap();
            assert!(
                send.ran_compared.sentence.contains("nothing can be said"),
                "{send:?}"
            );
        });
    }
}
