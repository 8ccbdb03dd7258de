//! How the steps of a table are doing.

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

/// Rows are counted up to this number.
pub(crate) const CAP: i64 = 10_000;
/// A page of one table asks for no longer than this in all.
pub(crate) const PAGE_LIMIT: Duration = Duration::from_secs(4);
/// A query, for no longer than this.
pub(crate) const QUERY_LIMIT: Duration = Duration::from_secs(2);
/// A count, where the planner has an estimate to fall back on.
const COUNT_LIMIT: Duration = Duration::from_millis(100);
/// The changes of the last hour that the curve is made of, at most.
const RECENT: i64 = 50_000;
const HOUR: Duration = Duration::from_secs(3600);
/// Minutes of the curve.
pub(crate) const MINUTES: i64 = 60;
/// A ready job that waits for longer is a sign that the workers do not keep up.
const LONG_WAIT: Duration = Duration::from_secs(300);
/// Without a finished job for so long, ready ones are a sign that nobody works.
const QUIET_MINUTES: i64 = 10;

/// How many rows there are, as far as that was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "number")]
pub(crate) enum Count {
    Exactly(i64),
    /// More than the cap, and the database does not say how many.
    MoreThan(i64),
    /// As the planner's statistics have it.
    About(i64),
}

impl Count {
    pub fn number(self) -> i64 {
        match self {
            Self::Exactly(number) | Self::MoreThan(number) | Self::About(number) => number,
        }
    }
}

impl Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = grouped(self.number());
        match self {
            Self::Exactly(_) => f.write_str(&number),
            Self::MoreThan(_) => write!(f, "{number}+"),
            Self::About(_) => write!(f, "≈ {number}"),
        }
    }
}

/// A number with commas between its thousands.
pub(crate) fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::from(if number < 0 { "-" } else { "" });
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

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
        let steps = source.info().steps().iter();
        Ok(Overview {
            table: source.name().into(),
            now,
            steps: steps.map(|step| of_step(session, step, now)).collect(),
        })
    })
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
    let running = ok(count_locked(session, step, None));
    let expired = ok(count_locked(session, step, Some(step.lock_expire())));
    let oldest_ready = oldest_ready(session, step, now).unwrap_or_else(|error| {
        problems.push(error.to_string());
        None
    });
    let hour = match last_hour(session, step, now) {
        Ok(hour) => Some(hour),
        Err(error) => {
            problems.push(error.to_string());
            None
        }
    };
    let mut overview = StepOverview {
        step: step.name().into(),
        counts,
        oldest_ready_seconds: oldest_ready.map(|age| age.as_secs()),
        running,
        expired,
        hour,
        verdict: Verdict::Unknown,
        because: String::new(),
        problems,
    };
    (overview.verdict, overview.because) = verdict(&overview);
    overview
}

/// The rows with a status, whoever holds them.
fn count(session: &mut Session<'_>, step: &StepInfo, status: Status) -> Result<Option<Count>> {
    let conditions = session.names().with_codes(step, &status.codes(step), None);
    sum(session, parts(conditions)).map(Some)
}

/// The rows that are running, of which those whose lock is older than this.
fn count_locked(
    session: &mut Session<'_>,
    step: &StepInfo,
    older_than: Option<Duration>,
) -> Result<Option<Count>> {
    let names = session.names();
    let codes = Status::InProgress.codes(step);
    let mut conditions = names.with_codes(step, &codes, Some(true));
    if let Some(age) = older_than {
        let old = format!(
            " AND {} < {}",
            names.column(Role::LockAt),
            names.ago(Role::LockAt, age)
        );
        conditions
            .iter_mut()
            .for_each(|condition| condition.push_str(&old));
    }
    sum(session, parts(conditions)).map(Some)
}

fn parts(conditions: Vec<String>) -> Vec<Part> {
    conditions.into_iter().map(Part::from).collect()
}

/// The rows with any of these conditions, no two of which hold for one row.
pub(crate) fn sum(session: &mut Session<'_>, conditions: Vec<Part>) -> Result<Count> {
    let mut all = Count::Exactly(0);
    for condition in conditions {
        let one = counted(session, &condition)?;
        let number = all.number() + one.number();
        all = match (all, one) {
            (Count::About(_), _) | (_, Count::About(_)) => Count::About(number),
            (Count::MoreThan(_), _) | (_, Count::MoreThan(_)) => Count::MoreThan(number),
            _ => Count::Exactly(number),
        };
    }
    Ok(all)
}

fn counted(session: &mut Session<'_>, condition: &Part) -> Result<Count> {
    let cap = (CAP + 1).to_string();
    let given = [
        ("condition", condition.clone()),
        ("cap", cap.as_str().into()),
    ];
    let limit = if session.can_estimate() {
        COUNT_LIMIT
    } else {
        QUERY_LIMIT
    };
    let number = match session.ask(&statements::COUNT, limit, &given) {
        Ok(rows) => rows
            .first()
            .and_then(|row| row.number(0))
            .unwrap_or_default(),
        Err(error @ crate::Error::TimeLimit { .. }) => {
            return estimate(session, condition)?.ok_or(error);
        }
        Err(error) => return Err(error),
    };
    if number <= CAP {
        return Ok(Count::Exactly(number));
    }
    Ok(estimate(session, condition)?
        // An estimate that is below what was counted is wrong.
        .filter(|estimate| estimate.number() > CAP)
        .unwrap_or(Count::MoreThan(CAP)))
}

fn estimate(session: &mut Session<'_>, condition: &Part) -> Result<Option<Count>> {
    if !session.can_estimate() {
        return Ok(None);
    }
    let given = [("condition", condition.clone())];
    let rows = session.ask(&statements::ESTIMATE, QUERY_LIMIT, &given)?;
    let plan = rows.first().and_then(|row| row.text(0));
    let plan = plan.and_then(|plan| serde_json::from_str(plan).ok());
    Ok(plan.and_then(|plan| expected_rows(&plan)).map(Count::About))
}

/// The rows that a plan expects: PostgreSQL, MariaDB and MySQL each have a name for it.
fn expected_rows(plan: &serde_json::Value) -> Option<i64> {
    const NAMES: [&str; 3] = ["Plan Rows", "rows_examined_per_scan", "rows"];
    match plan {
        serde_json::Value::Object(fields) => {
            let number = NAMES.iter().find_map(|name| fields.get(*name)?.as_i64());
            number.or_else(|| fields.values().find_map(expected_rows))
        }
        serde_json::Value::Array(items) => items.iter().find_map(expected_rows),
        _ => None,
    }
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
    let (Some(running), Some(expired), Some(hour)) = (step.running, step.expired, &step.hour)
    else {
        return (
            Verdict::Unknown,
            "some of its numbers could not be read in time".into(),
        );
    };
    let waits = step.oldest_ready_seconds.map(Duration::from_secs);
    let quiet = hour
        .curve
        .iter()
        .rev()
        .take(usize::try_from(QUIET_MINUTES).unwrap_or_default());
    let is_quiet = quiet.clone().all(|minute| minute.finished == 0);
    let failures = hour.failed + hour.ignored;
    if expired.number() > 0 {
        return (
            Verdict::Stuck,
            format!("{expired} locks have expired, and no worker has ended them"),
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
    if failures > 0 && failures >= hour.finished {
        return (
            Verdict::Failing,
            format!(
                "{} failed or were ignored in the last hour, and {} finished",
                grouped(failures),
                grouped(hour.finished)
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
            format!(
                "{running} running, {} finished in the last hour",
                grouped(hour.finished)
            ),
        );
    }
    (Verdict::Idle, "no job is ready or running".into())
}

/// A time span for people: its two largest units.
pub(crate) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) if seconds < 10 => format!("{:.1} s", span.as_secs_f64()),
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
#[path = "overview/tests.rs"]
mod tests;
