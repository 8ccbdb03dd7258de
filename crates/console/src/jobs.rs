//! Lists of jobs.

pub(crate) mod filter;

use chrono::{DateTime, Utc};
use diesel_status_tracker::{PagePlace, RowKey, SeenJob, StatusCode};
use serde::Serialize;

use crate::error::Result;
use crate::fingerprint::{fingerprint, newest_error};
use crate::overview::{PAGE_LIMIT, QUERY_LIMIT, now};
use crate::sql::{Part, Session, TextRow, statements};
use crate::status;
use crate::table::Source;
use filter::{Filter, From};

/// Where rows are sorted out here, so many are read at once, and so many at most.
pub(crate) const READ_AT_ONCE: usize = 500;
pub(crate) const READ_AT_MOST: usize = 5_000;

/// One row of a list.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct JobRow {
    #[serde(serialize_with = "as_parts")]
    pub key: RowKey,
    #[serde(serialize_with = "as_text")]
    pub status: StatusCode,
    pub create_at: Option<DateTime<Utc>>,
    pub update_at: Option<DateTime<Utc>>,
    pub is_locked: bool,
    pub lock_at: Option<DateTime<Utc>>,
    pub retry: Option<i64>,
    pub run_at: Option<DateTime<Utc>>,
    /// The newest error; its beginning where it is long.
    pub error: Option<String>,
    /// The time of the order, and that of the last change, as the database shows them.
    #[serde(skip)]
    pub time: Option<String>,
    #[serde(skip)]
    changed: Option<String>,
    /// Whether its errors hold the text that is sought.
    #[serde(skip)]
    holds: bool,
}

pub(crate) fn as_parts<S: serde::Serializer>(
    key: &RowKey,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    key.parts().serialize(serializer)
}

fn as_text<S: serde::Serializer>(code: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    code.to_string().serialize(serializer)
}

impl JobRow {
    pub fn of(session: &Session<'_>, row: &TextRow) -> Self {
        let info = session.info();
        let parts = info.key().len();
        Self {
            key: row.key(parts),
            status: status::code(info, row.text(parts).unwrap_or_default()),
            create_at: row.time(parts + 1),
            update_at: row.time(parts + 2),
            is_locked: row.text(parts + 3) == Some("1"),
            lock_at: row.time(parts + 4),
            retry: row.number(parts + 5),
            run_at: row.time(parts + 6),
            error: row.text(parts + 7).and_then(newest_error),
            time: row.text(parts + 8).map(Into::into),
            changed: row.text(parts + 9).map(Into::into),
            holds: row.text(parts + 10) == Some("1"),
        }
    }

    /// The job as it was read; `None` where its last change is hidden, or unknown.
    pub fn seen(&self) -> Option<SeenJob> {
        Some(SeenJob {
            status: self.status.clone(),
            update_at: Some(self.changed.clone()?),
        })
    }

    pub fn place(&self) -> PagePlace {
        PagePlace {
            time: self.time.clone(),
            key: self.key.clone(),
        }
    }
}

/// A page of a list.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct JobsPage {
    /// The database's time, before the rows were read.
    pub now: Option<DateTime<Utc>>,
    pub jobs: Vec<JobRow>,
    /// Whether there are more after and before these.
    pub has_next: bool,
    pub has_previous: bool,
    /// The place of the last row that was looked at, where the page ends because so
    /// many rows were looked at.
    #[serde(skip)]
    pub searched_to: Option<PagePlace>,
    /// Whether a lock was looked for in jobs in progress alone.
    #[serde(skip)]
    pub means_in_progress: bool,
}

/// A page of the jobs that the filter lets pass.
pub(crate) fn page(
    source: &Source,
    filter: &Filter,
    from: &From,
    limit: usize,
) -> Result<JobsPage> {
    source.session(PAGE_LIMIT, |session| page_in(session, filter, from, limit))
}

fn page_in(
    session: &mut Session<'_>,
    filter: &Filter,
    from: &From,
    limit: usize,
) -> Result<JobsPage> {
    let now = now(session)?;
    let means_in_progress = filter.means_in_progress(&session.names());
    if !filter.is_error_sought() {
        // A row more tells whether there are more.
        let jobs = rows(session, filter, from, limit + 1)?;
        return Ok(JobsPage {
            now,
            means_in_progress,
            ..cut(jobs, from, limit)
        });
    }
    // No index knows the errors, so that only some rows are looked at.
    let all = Filter {
        error: None,
        statuses: filter.meant_statuses(&session.names()),
        ..filter.clone()
    };
    let is_sought = |job: &JobRow| {
        (filter.error.is_none() || job.holds)
            && filter
                .group
                .as_ref()
                .is_none_or(|group| is_of_group(job, group))
    };
    let mut found = Vec::new();
    let mut at = from.clone();
    let mut looked_at = 0;
    let mut searched_to = None;
    loop {
        let some = rows_with(session, &all, &at, READ_AT_ONCE, filter.error.as_deref())?;
        looked_at += some.len();
        let last = some.last().map(JobRow::place);
        let is_end = some.len() < READ_AT_ONCE;
        found.extend(some.into_iter().filter(is_sought));
        match (last, from) {
            _ if is_end || found.len() > limit => break,
            (Some(place), _) if looked_at >= READ_AT_MOST => {
                searched_to = Some(place);
                break;
            }
            (Some(place), From::Before(_)) => at = From::Before(place),
            (Some(place), _) => at = From::After(place),
            (None, _) => break,
        }
    }
    let mut page = cut(found, from, limit);
    (page.now, page.searched_to) = (now, searched_to);
    page.means_in_progress = means_in_progress;
    Ok(page)
}

pub(crate) fn is_of_group(job: &JobRow, group: &str) -> bool {
    job.error
        .as_ref()
        .is_some_and(|error| fingerprint(error) == group)
}

/// The page of rows that were read in the direction of `from`.
fn cut(mut jobs: Vec<JobRow>, from: &From, limit: usize) -> JobsPage {
    let has_more = jobs.len() > limit;
    jobs.truncate(limit);
    let is_before = matches!(from, From::Before(_));
    if is_before {
        jobs.reverse();
    }
    JobsPage {
        jobs,
        has_next: is_before || has_more,
        has_previous: match from {
            From::Start => false,
            From::After(_) => true,
            From::Before(_) => has_more,
        },
        ..JobsPage::default()
    }
}

/// The rows after a place, in the direction in which it is asked; a group is not
/// looked at.
pub(crate) fn rows(
    session: &mut Session<'_>,
    filter: &Filter,
    from: &From,
    limit: usize,
) -> Result<Vec<JobRow>> {
    rows_with(session, filter, from, limit, None)
}

/// The same, where each row tells whether its errors hold a text.
fn rows_with(
    session: &mut Session<'_>,
    filter: &Filter,
    from: &From,
    limit: usize,
    sought: Option<&str>,
) -> Result<Vec<JobRow>> {
    let by = filter.page_end(from).by;
    let columns = session.names().list_columns(by, sought);
    let rows = rows_of(session, filter, from, limit, columns)?;
    Ok(rows.iter().map(|row| JobRow::of(session, row)).collect())
}

/// Few rows are found by their keys and sorted; many are passed by in their order.
const FEW: i64 = 1_000;

/// On SQLite, what has the primary key find the rows whose keys begin so, where few do.
fn few_keys(session: &mut Session<'_>, filter: &Filter) -> Result<Option<Part>> {
    let Some(beginning) = session.names().beginning(&filter.key) else {
        return Ok(None);
    };
    let given = [
        ("condition", beginning.range),
        ("cap", (FEW + 1).to_string().into()),
    ];
    let rows = session.ask(&statements::COUNT, QUERY_LIMIT, &given)?;
    let number = rows.first().and_then(|row| row.number(0));
    Ok(number
        .is_some_and(|number| number <= FEW)
        .then_some(beginning.condition))
}

/// The same with these columns: those of a branch, and those that are read of all.
pub(crate) fn rows_of(
    session: &mut Session<'_>,
    filter: &Filter,
    from: &From,
    limit: usize,
    (columns, outer): (Part, Part),
) -> Result<Vec<TextRow>> {
    let names = session.names();
    let end = filter.page_end(from);
    let (order, outer_order) = names.list_orders(end);
    let mut conditions = filter.conditions(&names);
    conditions.extend(names.after(end));
    conditions.extend(few_keys(session, filter)?);
    let names = session.names();
    let limit = Part::from(limit.to_string());
    let mut branches = Vec::new();
    for (n, branch) in filter
        .branches(&names, end.status_as())
        .into_iter()
        .enumerate()
    {
        let all = [Part::from(branch)]
            .into_iter()
            .chain(conditions.iter().cloned());
        let given = [
            ("columns", columns.clone()),
            ("condition", Part::joined(all, " AND ")),
            ("order", order.as_str().into()),
            ("limit", limit.clone()),
            ("alias", format!("tracker_{n}").into()),
        ];
        branches.push(session.part(&statements::JOBS_BRANCH, &given)?);
    }
    if branches.is_empty() {
        return Ok(Vec::new());
    }
    let given = [
        ("names", outer),
        ("branches", Part::joined(branches, " UNION ALL ")),
        ("outer_order", outer_order.as_str().into()),
        ("limit", limit),
    ];
    session.ask(&statements::JOBS, QUERY_LIMIT, &given)
}

#[cfg(test)]
mod tests;
