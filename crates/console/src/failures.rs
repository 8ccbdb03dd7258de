//! Failures, those with one cause together.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use diesel_status_tracker::{RowKey, StatusCode};
use serde::Serialize;

use crate::error::Result;
use crate::fingerprint::{fingerprint, newest_error};
use crate::jobs::filter::{Filter, From};
use crate::jobs::{READ_AT_MOST, as_parts, rows_of};
use crate::overview::PAGE_LIMIT;
use crate::sql::Session;
use crate::status::{Status, code};
use crate::table::Source;

/// The failed and ignored jobs that were looked at.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Failures {
    /// Those with most jobs first.
    pub groups: Vec<Group>,
    pub looked_at: usize,
    /// Whether there are more than were looked at: these are the newest.
    pub is_cut: bool,
}

/// Jobs whose newest error has one fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Group {
    pub fingerprint: String,
    pub failed: usize,
    pub ignored: usize,
    pub first_at: Option<DateTime<Utc>>,
    pub last_at: Option<DateTime<Utc>>,
    /// The newest error.
    pub example: String,
    #[serde(serialize_with = "as_parts")]
    pub example_key: RowKey,
}

/// The failures of a step, or of all.
pub(crate) fn of(source: &Source, step: Option<&str>) -> Result<Failures> {
    let filter = Filter {
        step: step.map(Into::into),
        statuses: vec![Status::Failed, Status::Ignored],
        ..Filter::default()
    };
    let steps = filter.steps(source.info());
    let is_ignored = |code: &StatusCode| {
        let mut statuses = steps.iter().map(|step| Status::of(step, code));
        statuses.any(|status| status == Some(Status::Ignored))
    };
    let mut groups = BTreeMap::<String, Group>::new();
    let mut failures = Failures::default();
    let mut failed = source.session(PAGE_LIMIT, |session| read(session, &filter))?;
    // A row more tells whether there are more.
    failures.is_cut = failed.len() > READ_AT_MOST;
    failed.truncate(READ_AT_MOST);
    failures.looked_at = failed.len();
    for job in failed {
        let error = job.error.unwrap_or_default();
        let group = groups
            .entry(fingerprint(&error))
            .or_insert_with_key(|fingerprint| Group {
                fingerprint: fingerprint.clone(),
                failed: 0,
                ignored: 0,
                first_at: None,
                last_at: None,
                example: error,
                example_key: job.key,
            });
        *(match is_ignored(&job.status) {
            true => &mut group.ignored,
            false => &mut group.failed,
        }) += 1;
        group.last_at = group.last_at.max(job.update_at);
        group.first_at = match (group.first_at, job.update_at) {
            (Some(first), Some(at)) => Some(std::cmp::min(first, at)),
            (first, at) => first.or(at),
        };
    }
    failures.groups = groups.into_values().collect();
    failures
        .groups
        .sort_by_key(|group| std::cmp::Reverse(group.failed + group.ignored));
    Ok(failures)
}

/// A failed or ignored job.
struct FailedJob {
    key: RowKey,
    status: StatusCode,
    update_at: Option<DateTime<Utc>>,
    error: Option<String>,
}

/// The newest ones, and of each only what a group shows. All by one query: of many rows, most
/// are passed over to find these, and pages would plan that anew.
fn read(session: &mut Session<'_>, filter: &Filter) -> Result<Vec<FailedJob>> {
    let columns = session.names().failed_columns();
    let rows = rows_of(session, filter, &From::Start, READ_AT_MOST + 1, columns)?;
    let info = session.info();
    let parts = info.key().len();
    let failed = rows.iter().map(|row| FailedJob {
        key: row.key(parts),
        status: code(info, row.text(parts).unwrap_or_default()),
        update_at: row.time(parts + 1),
        error: row.text(parts + 2).and_then(newest_error),
    });
    Ok(failed.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestRow, on_each_database};

    #[test]
    fn errors_with_one_cause_are_one_group() {
        on_each_database(|table| {
            for n in 0..6 {
                let status = if n < 2 { 50 } else { 30 };
                let ago = f64::from(n) * 100.0 + 10.0;
                table.insert(
                    &TestRow::new(&format!("a{n}"), status)
                        .changed(ago)
                        .failed_with(&format!("timeout after {n} s")),
                );
            }
            table.insert(&TestRow::new("b", 130).failed_with("no such file 'x'"));
            table.insert(&TestRow::new("c", 30));
            table.insert(&TestRow::new("fine", 40).failed_with("timeout after 7 s"));

            let failures = of(&table.source, None).unwrap();
            assert_eq!((failures.looked_at, failures.is_cut), (8, false));
            let found: Vec<_> = failures
                .groups
                .iter()
                .map(|group| (&*group.fingerprint, group.failed, group.ignored))
                .collect();
            assert_eq!(
                found,
                [
                    ("timeout after # s", 4, 2),
                    ("", 1, 0),
                    ("no such file '…'", 1, 0)
                ]
            );
            let timeouts = &failures.groups[0];
            assert_eq!(
                (&*timeouts.example, timeouts.example_key.parts()),
                ("timeout after 0 s", &["1".into(), "a0".into()][..])
            );
            let between = timeouts.last_at.unwrap() - timeouts.first_at.unwrap();
            assert!((499..=520).contains(&between.num_seconds()), "{between}");

            let pay = of(&table.source, Some("pay")).unwrap();
            assert_eq!(pay.looked_at, 1);
        });
    }
}
