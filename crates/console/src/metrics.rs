//! The overview as Prometheus reads it.

use std::sync::Arc;

use prometheus::{IntGaugeVec, Opts, Registry, TextEncoder};

use crate::error::{Error, Result};
use crate::overview::{self, Count, Overview, StepOverview};
use crate::table::Source;

/// A value, and the status that it is of.
type Value = (Option<&'static str>, i64);

/// What a sample is of, for people, and how its value is found.
struct Metric {
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    values: fn(&StepOverview) -> Vec<Value>,
}

fn one(value: Option<i64>) -> Vec<Value> {
    value.map(|value| (None, value)).into_iter().collect()
}

const METRICS: [Metric; 5] = [
    Metric {
        name: "status_console_jobs",
        labels: &["table", "step", "status"],
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
        labels: &["table", "step"],
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
        labels: &["table", "step"],
        help: "Attempts that hold a lock.",
        values: |step| one(step.running.map(Count::number)),
    },
    Metric {
        name: "status_console_expired_locks",
        labels: &["table", "step"],
        help: "Locks that have expired, and that nobody has ended.",
        values: |step| one(step.expired.map(Count::number)),
    },
    Metric {
        name: "status_console_failures_last_hour",
        labels: &["table", "step"],
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

/// The text of `/metrics`: what could not be read is left out.
pub(crate) fn text(tables: &[Table]) -> prometheus::Result<String> {
    // The values are those of this moment: nothing is kept from one scrape to the next.
    let registry = Registry::new();
    let gauge = |name: &str, help: &str, labels: &[&str]| {
        let gauge = IntGaugeVec::new(Opts::new(name, help), labels)?;
        registry.register(Box::new(gauge.clone()))?;
        prometheus::Result::Ok(gauge)
    };
    let readable = gauge(
        "status_console_table_readable",
        "1 where the table could be read, otherwise 0.",
        &["table"],
    )?;
    for (name, table) in tables {
        let value = i64::from(table.is_ok());
        readable.get_metric_with_label_values(&[name])?.set(value);
    }
    let overviews = tables.iter().filter_map(|(_, table)| table.as_ref().ok());
    for metric in METRICS {
        let gauge = gauge(metric.name, metric.help, metric.labels)?;
        for overview in overviews.clone() {
            for step in &overview.steps {
                for (status, value) in (metric.values)(step) {
                    let labels = [&*overview.table, &step.step].into_iter().chain(status);
                    let labels: Vec<_> = labels.collect();
                    gauge.get_metric_with_label_values(&labels)?.set(value);
                }
            }
        }
    }
    TextEncoder::new().encode_to_string(&registry.gather())
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
            let text = text(&tables).unwrap();
            // Not 0, which would mean that no job is ready.
            assert!(!text.contains("oldest_ready_seconds{step=\"send\",table=\"a \\\"b\\\"\"}"));
            for line in [
                "status_console_table_readable{table=\"a \\\"b\\\"\"} 1",
                "status_console_table_readable{table=\"away\"} 0",
                "# TYPE status_console_jobs gauge",
                "status_console_jobs{status=\"pending\",step=\"send\",table=\"a \\\"b\\\"\"} 1",
                "status_console_expired_locks{step=\"send\",table=\"a \\\"b\\\"\"} 1",
                "status_console_failures_last_hour{step=\"send\",table=\"a \\\"b\\\"\"} 1",
                "status_console_running{step=\"pay\",table=\"a \\\"b\\\"\"} 0",
            ] {
                assert!(text.lines().any(|other| other == line), "{line}\n{text}");
            }
        });
    }

    #[test]
    fn the_text_is_as_prometheus_reads_it() {
        on_each_database(|table| {
            let text = text(&read(std::slice::from_ref(&table.source))).unwrap();
            let names = text.lines().filter(|line| line.starts_with("# TYPE"));
            assert_eq!(names.count(), METRICS.len() + 1);
            assert!(text.ends_with('\n'));
        });
    }
}
