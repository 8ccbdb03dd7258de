//! The overview as Prometheus reads it.

use std::fmt::Write;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::overview::{self, Count, Overview, StepOverview};
use crate::table::Source;

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

/// A table by its name, as far as it could be read.
pub(crate) type Table = (String, Result<Overview, Arc<Error>>);

/// Looks at all of them. One that cannot be read does not hide the others.
pub(crate) fn read(sources: &[Source]) -> Vec<Table> {
    let tables = sources.iter();
    let tables = tables.map(|source| {
        let overview = overview::of(source).map_err(Arc::new);
        (source.name().to_owned(), overview)
    });
    tables.collect()
}

const READABLE: &str = "status_console_table_readable";

/// The text of `/metrics`: what could not be read is left out.
pub(crate) fn text(tables: &[Table]) -> String {
    let mut text = format!(
        "# HELP {READABLE} 1 where the table could be read, otherwise 0.\n# TYPE {READABLE} gauge\n"
    );
    for (name, table) in tables {
        let (name, value) = (escaped(name), u8::from(table.is_ok()));
        let _ = writeln!(text, "{READABLE}{{table=\"{name}\"}} {value}");
    }
    for metric in METRICS {
        let name = metric.name;
        let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} gauge", metric.help);
        for overview in tables.iter().filter_map(|(_, table)| table.as_ref().ok()) {
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
            let mut tables = read(&[source]);
            tables[0].1.as_mut().unwrap().steps[0].is_oldest_known = false;
            tables.push(("away".into(), Err(Arc::new(Error::Url("x".into())))));
            let text = text(&tables);
            // Not 0, which would mean that no job is ready.
            assert!(!text.contains("oldest_ready_seconds{table=\"a \\\"b\\\"\",step=\"send\"}"));
            for line in [
                "status_console_table_readable{table=\"a \\\"b\\\"\"} 1",
                "status_console_table_readable{table=\"away\"} 0",
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
        assert_eq!(names.len(), METRICS.len() + 1);
        assert!(text.ends_with('\n'));
    }
}
