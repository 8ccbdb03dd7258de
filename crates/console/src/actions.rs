//! What an operator does with jobs. Each row is changed by the statements of the
//! tracker alone, so that a job that somebody holds is passed over.

mod found;

use std::fmt::{self, Display};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use diesel_status_tracker::{PagePlace, RowKey, SeenJob, SortBy, StatusCode};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::jobs::filter::{Filter, From};
use crate::jobs::{JobRow, READ_AT_ONCE, as_parts, is_of_group, rows};
use crate::overview::{PAGE_LIMIT, cut, now};
use crate::status::{Status, meanings};
use crate::table::Source;

#[cfg(feature = "cli")]
pub(crate) use found::Found;
pub(crate) use found::{count, meant};

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

    /// Whether a job with this status may be one for it.
    pub fn fits(self, status: Status) -> bool {
        match self {
            Self::Reset => status != Status::MorePending,
            Self::Ignore => !matches!(status, Status::Succeeded | Status::Ignored),
            Self::Expire => status == Status::InProgress,
            Self::Prune => matches!(status, Status::Succeeded | Status::Ignored),
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
    pub passed_over: Vec<PassedOver>,
}

/// A job that was left as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct PassedOver {
    #[serde(serialize_with = "as_parts")]
    pub key: RowKey,
    pub why: String,
}

/// A request that works for longer than this ends with what it has done.
const WORK_LIMIT: Duration = Duration::from_secs(20);

/// A job that is meant, and how it was when the operator decided that, where that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Meant {
    pub key: RowKey,
    pub seen: Option<SeenJob>,
}

impl std::convert::From<RowKey> for Meant {
    fn from(key: RowKey) -> Self {
        Self { key, seen: None }
    }
}

impl std::convert::From<&JobRow> for Meant {
    fn from(job: &JobRow) -> Self {
        Self {
            key: job.key.clone(),
            seen: job.seen(),
        }
    }
}

/// Does it with these jobs.
pub(crate) fn on_jobs<J: Into<Meant>>(
    source: &Source,
    order: &Order,
    jobs: impl IntoIterator<Item = J>,
) -> Result<Done> {
    let jobs: Vec<Meant> = jobs.into_iter().map(Into::into).collect();
    let shown = jobs.iter().take(CHUNK).map(|job| shown_key(&job.key));
    let mut shown: Vec<_> = shown.collect();
    if let Some(more) = jobs.len().checked_sub(CHUNK).filter(|more| *more > 0) {
        shown.push(format!("and {more} more"));
    }
    let mut done = Done::default();
    let tried = carry_out(source, order, &jobs, &mut done);
    if let Ok(tried) = tried {
        let left = jobs.into_iter().skip(tried).map(|job| PassedOver {
            key: job.key,
            why: "there was no time left for it: try it again".into(),
        });
        done.passed_over.extend(left);
    }
    log(
        source,
        order,
        ("keys", &shown.join(", ")),
        &done,
        tried.as_ref().err(),
    );
    match tried {
        Ok(_) => Ok(done),
        Err(error) => Err(error.after(done.count)),
    }
}

/// A key as the log has it.
fn shown_key(key: &RowKey) -> String {
    cut(&format!("{key:?}"), 200)
}

/// Tells the log what was done, also where an error has ended it.
fn log(
    source: &Source,
    order: &Order,
    (by, which): (&str, &str),
    done: &Done,
    error: Option<&Error>,
) {
    tracing::info!(
        action = order.action.name(),
        table = source.name(),
        keys = (by == "keys").then_some(which),
        filter = (by == "filter").then(|| cut(which, 2_000)),
        who = order.who,
        reason = order.reason,
        count = done.count,
        passed_over = done.passed_over.len(),
        error = error.map(ToString::to_string),
        "console: jobs were {}",
        if order.action == Action::Prune {
            "deleted"
        } else {
            "changed"
        }
    );
}

/// Tries one job after the other, and says how many it has tried when the time was over.
fn carry_out(source: &Source, order: &Order, jobs: &[Meant], done: &mut Done) -> Result<usize> {
    let begun = Instant::now();
    let mut tried = 0;
    for job in jobs {
        if tried > 0 && begun.elapsed() > WORK_LIMIT {
            break;
        }
        tried += 1;
        let why_not = match one(source, order, job) {
            Ok(None) => {
                done.count += 1;
                continue;
            }
            Ok(Some(why_not)) => why_not,
            Err(Error::Tracker(error)) if is_held(&error) => IS_HELD.into(),
            Err(Error::Tracker(error)) if is_of_the_job(&error) => {
                Error::Tracker(error).to_string()
            }
            Err(error) => return Err(error),
        };
        done.passed_over.push(PassedOver {
            key: job.key.clone(),
            why: why_not,
        });
    }
    Ok(tried)
}

/// Does it with one job, or says why not.
fn one(source: &Source, order: &Order, job: &Meant) -> Result<Option<String>> {
    let passed_over = |why_not: &str| Ok(Some(why_not.into()));
    let changes = matches!(order.action, Action::Reset | Action::Ignore);
    if let (true, Some(seen)) = (changes, &job.seen) {
        return change(source, order, &job.key, seen);
    }
    let Some(state) = source.find(&job.key)? else {
        return passed_over(NO_SUCH_JOB);
    };
    let now = state.seen();
    match order.action {
        Action::Reset | Action::Ignore if state.update_at > Some(order.seen_at) => {
            passed_over(HAS_CHANGED)
        }
        Action::Reset | Action::Ignore => change(source, order, &job.key, &now),
        Action::Prune => passed_over("jobs are pruned by status and age, not one by one"),
        Action::Expire => {
            let step = match step_for(source, order, &now.status) {
                Ok(step) => step,
                Err(why_not) => return Ok(Some(why_not)),
            };
            let is_another = job.seen.as_ref().is_some_and(|seen| *seen != now);
            match state.seen_lock() {
                Some(_) if is_another || state.lock_at > Some(order.seen_at) => {
                    passed_over("its attempt has taken or renewed its lock since it was shown")
                }
                Some(lock) => {
                    source.expire(&step, &job.key, &lock)?;
                    Ok(None)
                }
                None => passed_over("no attempt holds it"),
            }
        }
    }
}

const NO_SUCH_JOB: &str = "there is no such job";
const IS_HELD: &str = "another transaction holds its row: try again when that has ended";
const HAS_CHANGED: &str = "it has changed since it was shown: look at it again";

/// Resets or ignores a job as it was seen: one that has succeeded since is not to run a
/// second time. The statement that changes the row holds that, so that nobody comes in between.
fn change(source: &Source, order: &Order, key: &RowKey, seen: &SeenJob) -> Result<Option<String>> {
    use diesel_status_tracker::Error as E;
    let step = match step_for(source, order, &seen.status) {
        Ok(step) => step,
        Err(why_not) => return Ok(Some(why_not)),
    };
    let changed = match order.action {
        Action::Ignore => source.ignore(&step, key, seen, &order.reason),
        _ => source.reset(&step, key, seen),
    };
    match changed {
        Ok(()) => Ok(None),
        Err(Error::Tracker(E::JobChanged { .. })) => Ok(Some(HAS_CHANGED.into())),
        Err(Error::Tracker(E::NotFound { .. })) => Ok(Some(NO_SUCH_JOB.into())),
        Err(error) => Err(error),
    }
}

/// Whether another transaction holds the row. The tracker's words advise a reset, which may be
/// what was tried. A lock without a time hinders no action, so that it is not meant.
fn is_held(error: &diesel_status_tracker::Error) -> bool {
    use diesel_status_tracker::Error as E;
    matches!(
        error,
        E::Locked {
            lock_at: None,
            expires_at: None,
            ..
        }
    )
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
fn step_for(source: &Source, order: &Order, code: &StatusCode) -> Result<String, String> {
    let meanings = meanings(source.info(), code);
    let asked = |name: &str| order.step.as_ref().is_none_or(|step| step == name);
    let found = meanings
        .iter()
        .find(|(step, status)| asked(step.name()) && order.action.fits(*status));
    match found {
        Some((step, _)) => Ok(step.name().into()),
        None if meanings.is_empty() => Err(format!("its status is {code}, which no step knows")),
        None => {
            let statuses = meanings
                .iter()
                .map(|(step, status)| format!("{status} ({})", step.name()));
            let statuses = statuses.collect::<Vec<_>>().join(" and ");
            let of = match &order.step {
                Some(step) => format!(" for the step {step}"),
                None => String::new(),
            };
            Err(format!(
                "its status is {statuses}, and {} is not possible from there{of}",
                order.action
            ))
        }
    }
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
        ..meant(order.action, filter)
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
    let meant: Vec<_> = meant.collect();
    let jobs: Vec<_> = meant.iter().map(Meant::from).collect();
    let order = Order {
        step: order.step.clone().or_else(|| filter.step.clone()),
        ..order.clone()
    };
    let mut done = Done::default();
    let tried = carry_out(source, &order, &jobs, &mut done);
    log(
        source,
        &order,
        ("filter", &filter.words()),
        &done,
        tried.as_ref().err(),
    );
    let next = match tried {
        Ok(tried) if tried < meant.len() => Some(meant[tried - 1].place()),
        Ok(_) => next,
        Err(error) => return Err(error.after(done.count)),
    };
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
        return Err("choose succeeded or ignored, say for how long they have not changed, and choose nothing else: jobs are pruned by status and age".into());
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
        // Rows that stay, since somebody holds them, would be met again and again.
        chunk.next = last.filter(|_| some.len() == PRUNED_AT_ONCE && chunk.done.count > 0);
    }
    log(
        source,
        order,
        ("filter", &filter.words()),
        &chunk.done,
        None,
    );
    Ok(chunk)
}

#[cfg(test)]
mod tests;
