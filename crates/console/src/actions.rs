//! What an operator does with jobs. Each row is changed by the statements of the
//! tracker alone, so that a job that somebody holds is passed over.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use chrono::{DateTime, Utc};
use diesel_status_tracker::{JobState, PagePlace, RowKey, SortBy, StatusCode};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::jobs::filter::{Filter, From};
use crate::jobs::{JobRow, READ_AT_ONCE, is_of_group, rows};
use crate::overview::{Count, PAGE_LIMIT, now, sum};
use crate::status::{Status, meanings};
use crate::table::Source;

/// Rows that are looked at before the next answer, where no group is asked for.
const CHUNK: usize = 100;

/// What is done with a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Action {
    /// Pending again, with no failures.
    Reset,
    /// Left alone, with a reason.
    Ignore,
    /// Its attempt ends now, and counts as failed.
    Expire,
    /// Deleted. Only finished jobs that have not changed for a time.
    Prune,
}

impl Action {
    pub const ALL: [Self; 4] = [Self::Reset, Self::Ignore, Self::Expire, Self::Prune];

    pub fn name(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::Ignore => "ignore",
            Self::Expire => "expire",
            Self::Prune => "prune",
        }
    }

    /// Its name on a button.
    pub fn title(self) -> &'static str {
        match self {
            Self::Reset => "Reset",
            Self::Ignore => "Ignore",
            Self::Expire => "Expire",
            Self::Prune => "Prune",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name)
    }
}

impl Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An action with what it needs to know.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub action: Action,
    /// Why jobs are ignored.
    pub reason: String,
    /// The step; where none is given, the one to which the row's status belongs.
    pub step: Option<String>,
    /// The database's time when the operator saw the jobs: an attempt that has taken
    /// or renewed its lock since is not expired.
    pub seen_at: DateTime<Utc>,
    /// Who does it, as the application names them.
    pub who: String,
}

/// What came of an action.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Done {
    pub count: usize,
    /// The others, and why.
    pub passed_over: Vec<(String, String)>,
}

/// Does it with these jobs.
pub(crate) fn on_keys(source: &Source, order: &Order, keys: Vec<RowKey>) -> Result<Done> {
    let shown: Vec<_> = keys
        .iter()
        .take(CHUNK)
        .map(|key| format!("{key:?}"))
        .collect();
    let done = carry_out(source, order, keys)?;
    tracing::info!(
        action = order.action.name(),
        table = source.name(),
        keys = shown.join(", "),
        who = order.who,
        reason = order.reason,
        count = done.count,
        passed_over = done.passed_over.len(),
        "console: jobs were changed"
    );
    Ok(done)
}

fn carry_out(source: &Source, order: &Order, keys: Vec<RowKey>) -> Result<Done> {
    let mut done = Done::default();
    let mut resets = BTreeMap::<String, Vec<RowKey>>::new();
    for key in keys {
        let shown = format!("{key:?}");
        let tried = source.find(&key).and_then(|state| {
            let Some(state) = state else {
                return Ok(Some("there is no such job".into()));
            };
            let step = match step_for(source, order, &state) {
                Ok(step) => step,
                Err(why_not) => return Ok(Some(why_not)),
            };
            match order.action {
                Action::Reset => resets.entry(step).or_default().push(key),
                Action::Ignore => source
                    .ignore(&step, &key, &order.reason)
                    .map(|()| done.count += 1)?,
                Action::Expire => match state.seen_lock() {
                    Some(_) if state.lock_at > Some(order.seen_at) => {
                        return Ok(Some(
                            "its attempt has taken or renewed its lock since it was shown".into(),
                        ));
                    }
                    Some(lock) => source
                        .expire(&step, &key, &lock)
                        .map(|()| done.count += 1)?,
                    None => return Ok(Some("no attempt holds it".into())),
                },
                Action::Prune => {
                    return Ok(Some(
                        "jobs are pruned by status and age, not one by one".into(),
                    ));
                }
            }
            Ok(None)
        });
        match tried {
            Ok(None) => {}
            Ok(Some(why_not)) => done.passed_over.push((shown, why_not)),
            Err(Error::Tracker(error)) if is_of_the_job(&error) => {
                done.passed_over.push((shown, error.to_string()));
            }
            Err(error) => return Err(error),
        }
    }
    for (step, keys) in resets {
        let many = source.reset(&step, keys)?;
        done.count += many.count;
        let passed_over = many.passed_over.into_iter();
        done.passed_over
            .extend(passed_over.map(|one| (format!("{:?}", one.key), one.error.to_string())));
    }
    Ok(done)
}

/// Whether the next job may fare better.
fn is_of_the_job(error: &diesel_status_tracker::Error) -> bool {
    use diesel_status_tracker::Error as E;
    !matches!(
        error,
        E::Pool { .. } | E::Misconfigured { .. } | E::SharedSession { .. }
    )
}

/// The step whose job it is, or why there is none.
fn step_for(source: &Source, order: &Order, state: &JobState) -> Result<String, String> {
    let fits = |status: Status| match order.action {
        Action::Reset => status != Status::MorePending,
        Action::Ignore => !matches!(status, Status::Succeeded | Status::Ignored),
        Action::Expire => status == Status::InProgress,
        Action::Prune => matches!(status, Status::Succeeded | Status::Ignored),
    };
    let meanings = meanings(source.info(), &state.status);
    let asked = |name: &str| order.step.as_ref().is_none_or(|step| step == name);
    let found = meanings
        .iter()
        .find(|(step, status)| asked(step.name()) && fits(*status));
    match found {
        Some((step, _)) => Ok(step.name().into()),
        None if meanings.is_empty() => Err(format!(
            "its status is {}, which no step knows",
            state.status
        )),
        None => Err(format!(
            "its status is {}, from which `{}` does not go",
            meanings[0].1, order.action
        )),
    }
}

/// How many jobs a filter means.
pub(crate) fn count(source: &Source, filter: &Filter) -> Result<Count> {
    source.session(PAGE_LIMIT, |session| {
        let Some(group) = &filter.group else {
            let names = session.names();
            let branches = filter.branches(&names);
            let conditions = filter.conditions(&names);
            let all = branches.into_iter().map(|branch| {
                let parts = [branch.into()]
                    .into_iter()
                    .chain(conditions.iter().cloned());
                crate::sql::Part::joined(parts, " AND ")
            });
            return sum(session, all.collect());
        };
        let (mut number, mut looked_at, mut from) = (0, 0, From::Start);
        loop {
            let some = rows(session, filter, &from, READ_AT_ONCE)?;
            looked_at += some.len();
            number += some.iter().filter(|job| is_of_group(job, group)).count();
            match some.last() {
                Some(last) if some.len() == READ_AT_ONCE => from = From::After(last.place()),
                _ => return Ok(Count::Exactly(i64::try_from(number).unwrap_or(i64::MAX))),
            }
            if looked_at >= crate::jobs::READ_AT_MOST {
                return Ok(Count::MoreThan(i64::try_from(number).unwrap_or(i64::MAX)));
            }
        }
    })
}

/// A piece of the work on a filter.
#[derive(Debug, Clone, Default)]
pub(crate) struct Chunk {
    pub done: Done,
    /// Where the next piece begins; `None` at the end.
    pub next: Option<PagePlace>,
}

/// Does it with the next jobs that the filter means, of those that have not changed
/// since the operator saw them: so each is looked at once.
pub(crate) fn on_filter(
    source: &Source,
    order: &Order,
    filter: &Filter,
    after: Option<PagePlace>,
) -> Result<Chunk> {
    let filter = Filter {
        by: SortBy::UpdateAt,
        oldest_first: true,
        until: Some(order.seen_at),
        ..filter.clone()
    };
    if order.action == Action::Prune {
        return prune(source, order, &filter);
    }
    let limit = if filter.group.is_some() {
        READ_AT_ONCE
    } else {
        CHUNK
    };
    let from = after.map_or(From::Start, From::After);
    let some = source.session(PAGE_LIMIT, |session| rows(session, &filter, &from, limit))?;
    let next = (some.len() == limit)
        .then(|| some.last().map(JobRow::place))
        .flatten();
    let group = filter.group.as_deref();
    let meant = some
        .into_iter()
        .filter(|job| group.is_none_or(|group| is_of_group(job, group)));
    let keys: Vec<_> = meant.map(|job| job.key).collect();
    let order = Order {
        step: order.step.clone().or_else(|| filter.step.clone()),
        ..order.clone()
    };
    let done = carry_out(source, &order, keys)?;
    tracing::info!(
        action = order.action.name(),
        table = source.name(),
        filter = filter.words(),
        who = order.who,
        reason = order.reason,
        count = done.count,
        passed_over = done.passed_over.len(),
        "console: jobs were changed"
    );
    Ok(Chunk { done, next })
}

/// Jobs that one piece of a prune deletes, a few more where many have one time.
const PRUNED_AT_ONCE: usize = 1_000;

/// The codes of the jobs that a filter would have deleted, or why it cannot say that:
/// jobs are deleted by status and age alone, and only where no step works on them.
pub(crate) fn prunable(source: &Source, filter: &Filter) -> Result<Vec<StatusCode>, String> {
    let is_finished = |status: &Status| matches!(status, Status::Succeeded | Status::Ignored);
    let by_age_alone = Filter {
        step: filter.step.clone(),
        statuses: filter.statuses.clone(),
        older: filter.older,
        ..Filter::default()
    };
    let same = Filter {
        by: SortBy::default(),
        oldest_first: false,
        until: None,
        ..filter.clone()
    };
    let is_meant = !filter.statuses.is_empty() && filter.statuses.iter().all(is_finished);
    if !is_meant || filter.older.is_none() || same != by_age_alone {
        return Err("choose succeeded or ignored, a time without a change, and nothing else: that is what is pruned".into());
    }
    let steps = filter.steps(source.info());
    let codes = filter
        .statuses
        .iter()
        .flat_map(|status| steps.iter().flat_map(|step| status.codes(step)));
    let codes: Vec<_> = codes.collect();
    for step in source.info().steps() {
        let used =
            |code: &&StatusCode| Status::of(step, code).is_some_and(|status| !is_finished(&status));
        if let Some(code) = codes.iter().find(used) {
            return Err(format!(
                "step {} still works on jobs with the status {code}, so they are not pruned",
                step.name()
            ));
        }
    }
    Ok(codes)
}

/// Deletes the oldest of the jobs. A piece ends with the time of its last job, since
/// jobs are deleted by their age.
fn prune(source: &Source, order: &Order, filter: &Filter) -> Result<Chunk> {
    let codes = prunable(source, filter).map_err(Error::NotPrunable)?;
    let (now, some) = source.session(PAGE_LIMIT, |session| {
        let now = now(session)?;
        Ok((now, rows(session, filter, &From::Start, PRUNED_AT_ONCE)?))
    })?;
    let last = some.last().map(JobRow::place);
    let age = some
        .last()
        .and_then(|job| (now? - job.update_at?).to_std().ok());
    let mut chunk = Chunk::default();
    if let Some(age) = age {
        // Never younger than asked for, whatever the clock did.
        let age = age.max(filter.older.unwrap_or_default());
        chunk.done.count = source.prune(&codes, age)?;
        chunk.next = last.filter(|_| some.len() == PRUNED_AT_ONCE);
    }
    tracing::info!(
        action = order.action.name(),
        table = source.name(),
        filter = filter.words(),
        who = order.who,
        count = chunk.done.count,
        "console: jobs were deleted"
    );
    Ok(chunk)
}

#[cfg(test)]
mod tests;
