//! The overview as Prometheus reads it.

use std::fmt::Write;

use crate::overview::{Count, Overview, StepOverview};

/// A value, and the status that it is of.
type Value = (Option<&'static str>, i64);

/// What a sample is of, for people, and how its value is found.
struct Metric {
    name: &'static str,
    help: &'static str,
    values: fn(&StepOverview) -> Vec<Value>,
}

fn one(value: Option<i64>) -> Vec<Value> {
    value.map(|value| (None, value)).into_iter().collect()
}

const METRICS: [Metric; 5] = [
    Metric {
        name: "status_console_jobs",
        help: "Jobs by status; above 10000 an estimate, or 10000 where the database has none.",
        values: |step| {
            let counts = step.counts.iter();
            counts
                .filter_map(|(status, count)| Some((Some(status.name()), (*count)?.number())))
                .collect()
        },
    },
    Metric {
        name: "status_console_oldest_ready_seconds",
        help: "For how long the oldest ready job has been ready; 0 where none is.",
        values: |step| {
            let age = step.oldest_ready_seconds.unwrap_or_default();
            one(step
                .is_oldest_known
                .then(|| i64::try_from(age).unwrap_or(i64::MAX)))
        },
    },
    Metric {
        name: "status_console_running",
        help: "Attempts that hold a lock.",
        values: |step| one(step.running.map(Count::number)),
    },
    Metric {
        name: "status_console_expired_locks",
        help: "Locks that have expired, and that nobody has ended.",
        values: |step| one(step.expired.map(Count::number)),
    },
    Metric {
        name: "status_console_failures_last_hour",
        help: "Jobs whose last change was a failure within the last hour, ignored ones too.",
        values: |step| one(step.hour.as_ref().map(|hour| hour.failed + hour.ignored)),
    },
];

/// The text of `/metrics`: what could not be read is left out.
pub(crate) fn text(overviews: &[Overview]) -> String {
    let mut text = String::new();
    for metric in METRICS {
        let name = metric.name;
        let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} gauge", metric.help);
        for overview in overviews {
            for step in &overview.steps {
                for (status, value) in (metric.values)(step) {
                    let table = escaped(&overview.table);
                    let _ = write!(
                        text,
                        "{name}{{table=\"{table}\",step=\"{}\"",
                        escaped(&step.step)
                    );
                    if let Some(status) = status {
                        let _ = write!(text, ",status=\"{status}\"");
                    }
                    let _ = writeln!(text, "}} {value}");
                }
            }
        }
    }
    text
}

/// A label's value.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overview;
    use crate::testing::{TestRow, on_each_database};

    #[test]
    fn the_numbers_are_those_of_the_overview() {
        on_each_database(|table| {
            table.insert_all(&[
                TestRow::new("a", 10).changed(100.0),
                TestRow::new("b", 30).failed_with("x"),
                TestRow::new("dead", 20).locked(5000.0),
            ]);
            let source = table.source.clone().named("a \"b\"");
            let mut overview = overview::of(&source).unwrap();
            overview.steps[0].is_oldest_known = false;
            let text = text(&[overview]);
            // Not 0, which would mean that no job is ready.
            assert!(!text.contains("oldest_ready_seconds{table=\"a \\\"b\\\"\",step=\"send\"}"));
            for line in [
                "# TYPE status_console_jobs gauge",
                "status_console_jobs{table=\"a \\\"b\\\"\",step=\"send\",status=\"pending\"} 1",
                "status_console_expired_locks{table=\"a \\\"b\\\"\",step=\"send\"} 1",
                "status_console_failures_last_hour{table=\"a \\\"b\\\"\",step=\"send\"} 1",
                "status_console_running{table=\"a \\\"b\\\"\",step=\"pay\"} 0",
            ] {
                assert!(text.lines().any(|other| other == line), "{line}\n{text}");
            }
        });
    }

    #[test]
    fn the_text_is_as_prometheus_reads_it() {
        let text = text(&[]);
        let names: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with("# TYPE"))
            .collect();
        assert_eq!(names.len(), METRICS.len());
        assert!(text.ends_with('\n'));
    }
}
