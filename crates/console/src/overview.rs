//! How the steps of a table are doing.

mod count;
mod people;

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel_status_tracker::{Role, StepInfo};
use serde::Serialize;

use crate::error::Result;
use crate::sql::{Part, Session, statements};
use crate::status::{self, Status};
use crate::table::Source;

use count::sum_like;
pub(crate) use count::{Count, sum};
pub(crate) use people::{cut, grouped, span};

/// A page of one table asks for no longer than this in all.
pub(crate) const PAGE_LIMIT: Duration = Duration::from_secs(2 * SECONDS);
/// A query, for no longer than this.
pub(crate) const QUERY_LIMIT: Duration = Duration::from_secs(SECONDS);
/// Tests share a machine that may be busy, and mean the limit only where they reach it.
const SECONDS: u64 = if cfg!(test) { 5 } else { 2 };
/// The changes of the last hour that the curve is made of, at most.
const RECENT: i64 = 50_000;
const HOUR: Duration = Duration::from_secs(3600);
/// Minutes of the curve.
pub(crate) const MINUTES: i64 = 60;
/// A ready job that waits for longer is a sign that the workers do not keep up.
const LONG_WAIT: Duration = Duration::from_secs(300);
/// Without a finished job for so long, ready ones are a sign that nobody works.
const QUIET_MINUTES: i64 = 10;

/// What can be said of a step in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    Idle,
    Working,
    FallingBehind,
    Stuck,
    Failing,
    /// Some of the queries have failed.
    Unknown,
}

impl Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "idle",
            Self::Working => "working",
            Self::FallingBehind => "falling behind",
            Self::Stuck => "stuck",
            Self::Failing => "failing",
            Self::Unknown => "unknown",
        })
    }
}

/// How one table is doing.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Overview {
    pub table: String,
    /// The database's time.
    pub now: Option<DateTime<Utc>>,
    pub steps: Vec<StepOverview>,
}

/// How one step is doing. What could not be found out is `None`, and `problems` says
/// why.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct StepOverview {
    pub step: String,
    pub counts: Vec<(Status, Option<Count>)>,
    pub oldest_ready_seconds: Option<u64>,
    pub running: Option<Count>,
    pub expired: Option<Count>,
    pub hour: Option<LastHour>,
    pub verdict: Verdict,
    /// Why the verdict is what it is.
    pub because: String,
    pub problems: Vec<String>,
    /// Whether `oldest_ready_seconds` was read: without, `None` does not mean that no job
    /// is ready.
    #[serde(skip)]
    pub is_oldest_known: bool,
    /// `None` where no later step takes the jobs that this one has finished.
    #[serde(skip)]
    pub passed_on: Option<PassedOn>,
}

/// The jobs that later steps have taken: their rows have the codes of those steps, and do
/// not tell when this one has finished them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PassedOn {
    /// That run, or have ended in the last hour.
    in_hour: i64,
    /// Whether there are some that run, or have ended in the last minutes.
    is_recent: bool,
}

/// The rows whose last change was in the last hour.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct LastHour {
    pub finished: i64,
    pub failed: i64,
    pub ignored: i64,
    /// Whether there were more than were read, so that these are the newest.
    pub is_cut: bool,
    /// One for each minute, the oldest first.
    pub curve: Vec<Minute>,
}

/// The rows whose last change was in one minute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Minute {
    pub finished: i64,
    /// Those that have failed or are ignored.
    pub failed: i64,
}

/// Looks at a table.
pub(crate) fn of(source: &Source) -> Result<Overview> {
    source.session(PAGE_LIMIT, |session| {
        let now = now(session)?;
        let infos = source.info().steps();
        let mut steps: Vec<_> = infos
            .iter()
            .map(|step| of_step(session, step, now))
            .collect();
        for n in 0..steps.len() {
            steps[n].passed_on = passed_on(infos, &steps, n);
            (steps[n].verdict, steps[n].because) = verdict(&steps[n]);
        }
        Ok(Overview {
            table: source.name().into(),
            now,
            steps,
        })
    })
}

/// What the steps after this one have to do with.
fn passed_on(infos: &[StepInfo], steps: &[StepOverview], n: usize) -> Option<PassedOn> {
    let mut reached = vec![n];
    let mut at = 0;
    while let Some(one) = reached.get(at).copied() {
        let end = &infos[one].codes().succeeded;
        let begins =
            |step: &StepInfo| step.codes().pending == *end || step.more_pending().contains(end);
        let after = (0..infos.len()).filter(|other| begins(&infos[*other]));
        let new: Vec<_> = after.filter(|other| !reached.contains(other)).collect();
        reached.extend(new);
        at += 1;
    }
    let later = reached.get(1..).filter(|later| !later.is_empty())?;
    let mut passed_on = PassedOn::default();
    for step in later.iter().map(|n| &steps[*n]) {
        // What is not known is no sign that nothing happens.
        let running = step.running.map_or(1, Count::number);
        passed_on.in_hour += running;
        passed_on.is_recent |= running > 0;
        match &step.hour {
            None => passed_on.is_recent = true,
            Some(hour) => {
                passed_on.in_hour += hour.finished + hour.failed + hour.ignored;
                passed_on.is_recent |=
                    newest(hour).any(|minute| minute.finished + minute.failed > 0);
            }
        }
    }
    Some(passed_on)
}

/// The minutes in which something has to happen.
fn newest(hour: &LastHour) -> impl Iterator<Item = &Minute> {
    let minutes = usize::try_from(QUIET_MINUTES).unwrap_or_default();
    hour.curve.iter().rev().take(minutes)
}

/// The database's time.
pub(crate) fn now(session: &mut Session<'_>) -> Result<Option<DateTime<Utc>>> {
    let rows = session.ask(&statements::NOW, QUERY_LIMIT, &[])?;
    Ok(rows.first().and_then(|row| row.time(0)))
}

fn of_step(session: &mut Session<'_>, step: &StepInfo, now: Option<DateTime<Utc>>) -> StepOverview {
    let mut problems = Vec::new();
    let mut ok = |done: Result<Option<Count>>| {
        done.unwrap_or_else(|error| {
            problems.push(error.to_string());
            None
        })
    };
    let mut counts = Vec::new();
    for status in Status::ALL {
        let codes = status.codes(step);
        if !codes.is_empty() {
            counts.push((status, ok(count(session, step, status))));
        }
    }
    let running = ok(count_locked(session, step, false));
    let expired = ok(count_locked(session, step, true));
    let oldest_ready = oldest_ready(session, step, now).map_err(|error| {
        problems.push(error.to_string());
    });
    let hour = match last_hour(session, step, now) {
        Ok(hour) => Some(hour),
        Err(error) => {
            problems.push(error.to_string());
            None
        }
    };
    StepOverview {
        step: step.name().into(),
        counts,
        is_oldest_known: oldest_ready.is_ok(),
        oldest_ready_seconds: oldest_ready.ok().flatten().map(|age| age.as_secs()),
        passed_on: None,
        running,
        expired,
        hour,
        verdict: Verdict::Unknown,
        because: String::new(),
        problems,
    }
}

/// The rows with a status, whoever holds them.
fn count(session: &mut Session<'_>, step: &StepInfo, status: Status) -> Result<Option<Count>> {
    let names = session.names();
    let codes = status.codes(step);
    let conditions = names.with_codes(step, &codes, None);
    let like = (status == Status::InProgress).then(|| Part::from(names.status_in(&codes)));
    sum_like(session, parts(conditions), like.as_ref()).map(Some)
}

/// The rows that are running, or of those the ones whose lock has expired.
fn count_locked(
    session: &mut Session<'_>,
    step: &StepInfo,
    expired: bool,
) -> Result<Option<Count>> {
    let names = session.names();
    let codes = Status::InProgress.codes(step);
    let mut conditions = names.with_codes(step, &codes, Some(true));
    if expired {
        let old = names.is_expired(step);
        conditions
            .iter_mut()
            .for_each(|condition| condition.push_str(&old));
    }
    // A planner does not know that a job in progress is one with a lock, and expects none.
    let like = (!expired).then(|| Part::from(names.status_in(&codes)));
    sum_like(session, parts(conditions), like.as_ref()).map(Some)
}

fn parts(conditions: Vec<String>) -> Vec<Part> {
    conditions.into_iter().map(Part::from).collect()
}

/// For how long the oldest ready job has been ready.
fn oldest_ready(
    session: &mut Session<'_>,
    step: &StepInfo,
    now: Option<DateTime<Utc>>,
) -> Result<Option<Duration>> {
    let names = session.names();
    let ready = [Status::Pending, Status::Failed, Status::MorePending];
    let codes: Vec<_> = ready.iter().flat_map(|status| status.codes(step)).collect();
    let due = names.is_due();
    let mut conditions = names.with_codes(step, &codes, Some(false));
    conditions
        .iter_mut()
        .for_each(|condition| condition.push_str(&due));
    let mut oldest = None;
    for condition in &conditions {
        let given = [("condition", condition.as_str().into())];
        for row in session.ask(&statements::OLDEST_READY, QUERY_LIMIT, &given)? {
            let since = row.time(0).max(row.time(1));
            oldest = match (oldest, since) {
                (Some(oldest), Some(since)) => Some(std::cmp::min(oldest, since)),
                (oldest, since) => oldest.or(since),
            };
        }
    }
    let age = now.zip(oldest).map(|(now, since)| now - since);
    // A row may have changed after the clock was read.
    Ok(age.map(|age| age.to_std().unwrap_or_default()))
}

fn last_hour(
    session: &mut Session<'_>,
    step: &StepInfo,
    now: Option<DateTime<Utc>>,
) -> Result<LastHour> {
    let names = session.names();
    let recent = format!(
        " AND {} > {}",
        names.column(Role::UpdateAt),
        names.ago(Role::UpdateAt, HOUR)
    );
    let ended = [Status::Succeeded, Status::Ignored, Status::Failed];
    let codes: Vec<_> = ended.iter().flat_map(|status| status.codes(step)).collect();
    let mut conditions = names.with_codes(step, &codes, Some(false));
    conditions
        .iter_mut()
        .for_each(|condition| condition.push_str(&recent));
    let this_minute = now.map_or(0, |now| now.timestamp() / 60);
    let mut hour = LastHour::default();
    let mut curve = BTreeMap::<i64, Minute>::new();
    for condition in &conditions {
        let cap = RECENT.to_string();
        let given = [
            ("condition", Part::from(condition.as_str())),
            ("cap", cap.as_str().into()),
        ];
        let mut read = 0;
        for row in session.ask(&statements::PER_MINUTE, QUERY_LIMIT, &given)? {
            let code = status::code(session.info(), row.text(0).unwrap_or_default());
            let number = row.number(2).unwrap_or_default();
            read += number;
            let minute = curve.entry(row.number(1).unwrap_or_default()).or_default();
            match Status::of(step, &code) {
                Some(Status::Succeeded) => {
                    hour.finished += number;
                    minute.finished += number;
                }
                Some(Status::Ignored) => {
                    hour.ignored += number;
                    minute.failed += number;
                }
                _ => {
                    hour.failed += number;
                    minute.failed += number;
                }
            }
        }
        hour.is_cut |= read >= RECENT;
    }
    let minutes = this_minute - MINUTES + 1..=this_minute;
    hour.curve = minutes
        .map(|minute| curve.get(&minute).copied().unwrap_or_default())
        .collect();
    Ok(hour)
}

/// What the numbers mean, and why.
fn verdict(step: &StepOverview) -> (Verdict, String) {
    let (Some(running), Some(expired), Some(hour), true) =
        (step.running, step.expired, &step.hour, step.is_oldest_known)
    else {
        return (
            Verdict::Unknown,
            "some of its numbers could not be read in time".into(),
        );
    };
    let waits = step.oldest_ready_seconds.map(Duration::from_secs);
    let passed_on = step.passed_on.unwrap_or_default();
    let is_quiet = newest(hour).all(|minute| minute.finished == 0) && !passed_on.is_recent;
    let finished = hour.finished + passed_on.in_hour;
    let told_finished = match step.passed_on {
        None => format!("{} finished", grouped(finished)),
        Some(_) => format!("{} finished or in a later step", grouped(finished)),
    };
    let failures = hour.failed + hour.ignored;
    if expired.number() > 0 {
        return (
            Verdict::Stuck,
            match expired {
                Count::Exactly(1) => "a lock has expired, and no worker has ended it".into(),
                _ => format!("{expired} locks have expired, and no worker has ended them"),
            },
        );
    }
    if let Some(waits) = waits
        .filter(|waits| is_quiet && *waits > 60 * Duration::from_secs(QUIET_MINUTES.unsigned_abs()))
    {
        return (
            Verdict::Stuck,
            format!(
                "a job has been ready for {}, and none has finished for {QUIET_MINUTES} minutes",
                span(waits)
            ),
        );
    }
    if failures > 0 && failures >= finished {
        return (
            Verdict::Failing,
            format!(
                "{} failed or were ignored in the last hour, and {told_finished}",
                grouped(failures),
            ),
        );
    }
    if let Some(waits) = waits.filter(|waits| *waits > LONG_WAIT) {
        return (
            Verdict::FallingBehind,
            format!("a job has been ready for {}", span(waits)),
        );
    }
    if running.number() > 0 || waits.is_some() || !is_quiet {
        return (
            Verdict::Working,
            format!("{running} running, {told_finished} in the last hour",),
        );
    }
    (Verdict::Idle, "no job is ready or running".into())
}

#[cfg(test)]
#[path = "overview/tests.rs"]
mod tests;
