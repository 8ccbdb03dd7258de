//! Which jobs an action on a filter means, and how many there are.

use std::fmt::{self, Display};

use diesel_status_tracker::{StatusCode, TableInfo};
use serde::Serialize;

use super::Action;
use crate::error::Result;
use crate::jobs::filter::{Filter, From};
use crate::jobs::{JobRow, READ_AT_MOST, READ_AT_ONCE, is_of_group, rows};
use crate::overview::{Count, PAGE_LIMIT, grouped, sum};
use crate::sql::{Part, Session, StatusAs};
use crate::status::Status;
use crate::table::Source;

/// The jobs that an action means. Where the operator has chosen no status, these are the
/// ones that need it: jobs that have succeeded keep their errors, and are not to run again
/// because somebody resets all jobs with an error.
pub(crate) fn meant(action: Action, filter: &Filter) -> Filter {
    let mut filter = filter.clone();
    if !filter.statuses.is_empty() {
        return filter;
    }
    let is_error_sought = filter.is_error_sought();
    filter.statuses = match action {
        // Who asks for locks means jobs that run.
        Action::Reset if filter.locked || filter.expired => vec![Status::InProgress],
        Action::Reset => vec![Status::Failed, Status::Ignored],
        Action::Expire => vec![Status::InProgress],
        Action::Ignore => {
            let mut statuses = Status::ALL.to_vec();
            // What waits for a later step has the errors of the one that is done.
            let is_past = |status| status == Status::MorePending && is_error_sought;
            statuses.retain(|status| action.fits(*status) && !is_past(*status));
            statuses
        }
        Action::Prune => Vec::new(),
    };
    filter
}

/// How many jobs a filter finds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Found {
    pub count: Count,
    pub by_status: Vec<(Status, Count)>,
    /// Only so many jobs were looked at; there are more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub looked_at: Option<usize>,
}

impl Found {
    fn of(by_status: Vec<(Status, Count)>, looked_at: Option<usize>) -> Self {
        let counts = by_status.iter().map(|(_, count)| *count);
        Self {
            count: counts.fold(Count::Exactly(0), Count::and),
            by_status,
            looked_at,
        }
    }

    /// The count of each status that some job has.
    pub fn statuses(&self) -> String {
        let some = self
            .by_status
            .iter()
            .filter(|(_, count)| count.number() > 0);
        let some: Vec<_> = some
            .map(|(status, count)| format!("{count} {status}"))
            .collect();
        some.join(", ")
    }

    /// What the operator has to know besides, in sentences.
    pub fn notes(&self, action: Action) -> Vec<String> {
        let is_finished =
            |status: &Status| matches!(status, Status::Succeeded | Status::MorePending);
        let mut finished = self
            .by_status
            .iter()
            .filter(|(status, _)| is_finished(status));
        let mut notes = Vec::new();
        if action == Action::Reset && finished.any(|(_, count)| count.number() > 0) {
            notes.push("Jobs that have finished are among them, and will run again.".into());
        }
        if let Some(looked_at) = self.looked_at {
            let looked_at = grouped(i64::try_from(looked_at).unwrap_or(i64::MAX));
            notes.push(format!(
                "Only {looked_at} jobs were looked at to count them; {action} looks at all."
            ));
        }
        notes
    }
}

impl Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.count)
    }
}

/// How many jobs a filter means.
pub(crate) fn count(source: &Source, filter: &Filter) -> Result<Found> {
    source.session(PAGE_LIMIT, |session| match &filter.group {
        None => counted(session, filter),
        Some(group) => of_group(session, filter, group),
    })
}

fn counted(session: &mut Session<'_>, filter: &Filter) -> Result<Found> {
    let names = session.names();
    let conditions = filter.conditions(&names);
    let mut taken = Vec::new();
    let each = filter.meant_statuses(&names).into_iter().map(|status| {
        let branches = filter
            .branches_of(&names, StatusAs::Value, &[status], &mut taken)
            .into_iter();
        let parts = branches.map(|branch| {
            let all = [Part::from(branch)]
                .into_iter()
                .chain(conditions.iter().cloned());
            Part::joined(all, " AND ")
        });
        (status, parts.collect::<Vec<_>>())
    });
    let each: Vec<_> = each.collect();
    let mut by_status = Vec::new();
    for (status, conditions) in each {
        by_status.push((status, sum(session, conditions)?));
    }
    Ok(Found::of(by_status, None))
}

/// Whether a job is one of a group is not known to the database, so that rows are read.
fn of_group(session: &mut Session<'_>, filter: &Filter, group: &str) -> Result<Found> {
    let statuses = filter.meant_statuses(&session.names());
    let mut numbers = vec![0; statuses.len()];
    let (mut looked_at, mut from) = (0, From::Start);
    let is_all = loop {
        let some = rows(session, filter, &from, READ_AT_ONCE)?;
        looked_at += some.len();
        for job in some.iter().filter(|job| is_of_group(job, group)) {
            let status = status_of(&statuses, filter, session.info(), &job.status);
            let place = statuses.iter().position(|other| Some(*other) == status);
            if let Some(number) = place.and_then(|place| numbers.get_mut(place)) {
                *number += 1;
            }
        }
        match some.last().map(JobRow::place) {
            Some(last) if some.len() == READ_AT_ONCE => from = From::After(last),
            _ => break true,
        }
        if looked_at >= READ_AT_MOST {
            break false;
        }
    };
    let counts = numbers.into_iter().map(|number| match is_all {
        true => Count::Exactly(number),
        false => Count::MoreThan(number),
    });
    let by_status: Vec<_> = statuses.into_iter().zip(counts).collect();
    Ok(Found::of(by_status, (!is_all).then_some(looked_at)))
}

/// Which of these statuses of the filter a code is.
fn status_of(
    statuses: &[Status],
    filter: &Filter,
    info: &TableInfo,
    code: &StatusCode,
) -> Option<Status> {
    let steps = filter.steps(info);
    let mut statuses = statuses.iter().copied();
    statuses.find(|status| steps.iter().any(|step| status.codes(step).contains(code)))
}
