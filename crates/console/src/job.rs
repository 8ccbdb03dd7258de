//! One job: its row, its history, and what may be done with it.

use chrono::{DateTime, TimeDelta, Utc};
use diesel_status_tracker::{ColumnText, ErrorEntry, ErrorLog, JobState, Role, RowKey, StepInfo};
use serde::Serialize;

use crate::actions::Action;
use crate::error::Result;
use crate::overview::{PAGE_LIMIT, QUERY_LIMIT, span};
use crate::sql::statements;
use crate::status::{Status, is_hidden, meanings};
use crate::table::Source;

/// So many bytes of each column are read; the errors of this crate fit.
const MOST_BYTES: usize = 512 * 1024;

/// One job.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub key: RowKey,
    pub state: JobState,
    /// Every column that is not hidden.
    pub columns: Vec<ColumnText>,
    /// What the status means to each step to which it means something.
    pub meanings: Vec<(StepInfo, Status)>,
    /// The recorded failures, the newest first.
    pub errors: Vec<ErrorEntry>,
    pub timeline: Vec<Moment>,
    pub choices: Vec<Choice>,
}

/// Something that happened to a job, or that will.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Moment {
    pub at: DateTime<Utc>,
    pub what: String,
}

/// What may be done with a job now, or why not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Choice {
    pub action: Action,
    pub step: String,
    /// `None`: it may be done.
    pub why_not: Option<String>,
}

/// Every column of a row, also of one whose tracked columns hold what cannot be read.
pub(crate) fn columns(source: &Source, key: &RowKey) -> Result<Option<Vec<ColumnText>>> {
    source.row(key, MOST_BYTES)
}

/// The job with this key, `None` where there is none.
pub(crate) fn with_key(source: &Source, key: &RowKey) -> Result<Option<Job>> {
    let Some(state) = source.find(key)? else {
        return Ok(None);
    };
    let Some(mut columns) = columns(source, key)? else {
        return Ok(None);
    };
    let info = source.info();
    let document = document(source, key)?;
    let errors: Vec<_> = document
        .as_deref()
        .map(ErrorLog::parse)
        .into_iter()
        .flatten()
        .collect();
    // As text also where the column holds the document in a form for machines.
    let of_errors = columns
        .iter_mut()
        .find(|column| Some(&*column.name) == info.column(Role::Errors));
    if let Some((column, document)) = of_errors.zip(document) {
        column.text = Some(document);
    }
    let meanings: Vec<_> = meanings(info, &state.status)
        .into_iter()
        .map(|(step, status)| (step.clone(), status))
        .collect();
    Ok(Some(Job {
        key: key.clone(),
        timeline: timeline(source, &state, &meanings, &errors),
        choices: meanings
            .iter()
            .flat_map(|(step, status)| choices(&state, step, *status))
            .collect(),
        state,
        columns,
        meanings,
        errors,
    }))
}

/// The errors of a row as text; the beginning where they are long.
fn document(source: &Source, key: &RowKey) -> Result<Option<String>> {
    source.session(PAGE_LIMIT, |session| {
        let names = session.names();
        let given = [
            ("document", names.document_text(MOST_BYTES)),
            ("condition", names.is_row(key)),
        ];
        let rows = session.ask(&statements::DOCUMENT, QUERY_LIMIT, &given)?;
        Ok(rows.first().and_then(|row| row.text(0)).map(Into::into))
    })
}

/// When the lock of the step expires.
fn expires_at(state: &JobState, step: &StepInfo) -> Option<DateTime<Utc>> {
    let lock_expire = TimeDelta::from_std(step.lock_expire()).ok()?;
    state.lock.as_ref()?;
    state.lock_at?.checked_add_signed(lock_expire)
}

/// Whether a live attempt holds the row.
fn is_held(state: &JobState, step: &StepInfo) -> bool {
    expires_at(state, step)
        .zip(state.now)
        .is_some_and(|(expires_at, now)| expires_at > now)
}

fn choices(state: &JobState, step: &StepInfo, status: Status) -> Vec<Choice> {
    let held = || {
        let left = expires_at(state, step)
            .zip(state.now)
            .and_then(|(at, now)| (at - now).to_std().ok());
        let left = left.map_or_else(String::new, |left| {
            format!("; its lock expires in {}", span(left))
        });
        format!("an attempt holds it{left}")
    };
    let is_held = is_held(state, step);
    let reset = match status {
        _ if is_held => Some(held()),
        Status::MorePending => Some("it is ready already, by the end of an earlier step".into()),
        _ => None,
    };
    let ignore = match status {
        Status::Succeeded => Some("it has succeeded".into()),
        Status::Ignored => Some("it is ignored already".into()),
        _ if is_held => Some(held()),
        _ => None,
    };
    let expire = match status {
        Status::InProgress if state.seen_lock().is_some() => None,
        Status::InProgress => Some("its lock has no token or no time".into()),
        _ => Some("no attempt of this step is running".into()),
    };
    [
        (Action::Reset, reset),
        (Action::Ignore, ignore),
        (Action::Expire, expire),
    ]
    .map(|(action, why_not)| Choice {
        action,
        step: step.name().into(),
        why_not,
    })
    .into()
}

fn timeline(
    source: &Source,
    state: &JobState,
    meanings: &[(StepInfo, Status)],
    errors: &[ErrorEntry],
) -> Vec<Moment> {
    let is_shown = |role| !is_hidden(source.info(), role);
    let mut moments = Vec::new();
    let mut push = |at: Option<DateTime<Utc>>, what: String| {
        moments.extend(at.map(|at| Moment { at, what }));
    };
    if is_shown(Role::CreateAt) {
        push(state.create_at, "created".into());
    }
    for entry in errors {
        let attempt = entry.attempt.map_or_else(String::new, |attempt| {
            format!(" (failure {attempt} in a row)")
        });
        let line = entry.error.lines().next().unwrap_or_default();
        let line: String = line.chars().take(200).collect();
        push(entry.at, format!("failed{attempt}: {line}"));
    }
    if is_shown(Role::LockAt) {
        if state.lock.is_some() {
            push(
                state.lock_at,
                "lock taken or renewed; running since then at the latest".into(),
            );
        } else {
            push(
                state.lock_at,
                "the last attempt took or renewed its lock".into(),
            );
        }
        for (step, status) in meanings {
            if *status == Status::InProgress {
                let expires_at = expires_at(state, step);
                let is_past = expires_at < state.now;
                push(
                    expires_at,
                    format!(
                        "lock {}",
                        if is_past {
                            "expired"
                        } else {
                            "expires, unless it is renewed"
                        }
                    ),
                );
            }
        }
    }
    if is_shown(Role::RunAt) {
        push(state.run_at, "due".into());
    }
    if is_shown(Role::UpdateAt) {
        let what = match meanings
            .iter()
            .find(|(_, status)| *status != Status::MorePending)
        {
            Some((step, status)) => format!("last change; {status} ({})", step.name()),
            None => format!("last change; status {}", state.status),
        };
        push(state.update_at, what);
    }
    moments.sort_by_key(|moment| moment.at);
    moments
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestRow, on_each_database};

    fn choice(job: &Job, action: Action) -> Option<&str> {
        let choice = job
            .choices
            .iter()
            .find(|choice| choice.action == action)
            .unwrap();
        choice.why_not.as_deref()
    }

    #[test]
    fn a_job_shows_its_row_its_history_and_what_may_be_done() {
        on_each_database(|table| {
            table.insert_all(&[
                TestRow::new("failed", 30).failed_with("no answer\nfrom the host"),
                TestRow::new("held", 20).locked(5.0),
                TestRow::new("dead", 20).locked(5000.0),
                TestRow::new("done", 40),
                TestRow::new("unknown", 77),
            ]);
            let job = |id: &str| with_key(&table.source, &["1", id].into()).unwrap();
            assert!(job("missing").is_none());

            let failed = job("failed").unwrap();
            let names: Vec<_> = failed.columns.iter().map(|column| &*column.name).collect();
            assert!(
                names.contains(&"errors") && !names.contains(&"secret"),
                "{names:?}"
            );
            assert_eq!(failed.errors[0].error, "no answer\nfrom the host");
            let told: Vec<_> = failed.timeline.iter().map(|moment| &*moment.what).collect();
            assert!(
                told.contains(&"failed (failure 1 in a row): no answer"),
                "{told:?}"
            );
            assert!(told.contains(&"last change; failed (send)"), "{told:?}");
            assert_eq!(choice(&failed, Action::Reset), None);
            assert_eq!(choice(&failed, Action::Ignore), None);
            assert!(
                choice(&failed, Action::Expire)
                    .unwrap()
                    .contains("no attempt")
            );

            let held = job("held").unwrap();
            assert!(
                choice(&held, Action::Reset)
                    .unwrap()
                    .contains("expires in 14 min")
            );
            assert!(
                choice(&held, Action::Ignore)
                    .unwrap()
                    .contains("an attempt holds it")
            );
            assert_eq!(choice(&held, Action::Expire), None);

            let dead = job("dead").unwrap();
            assert_eq!(choice(&dead, Action::Reset), None);
            assert!(
                dead.timeline
                    .iter()
                    .any(|moment| moment.what == "lock expired")
            );

            // The end of one step is where the next begins.
            let done = job("done").unwrap();
            let meant: Vec<_> = done
                .meanings
                .iter()
                .map(|(step, status)| (step.name(), *status))
                .collect();
            assert_eq!(
                meant,
                [("pay", Status::MorePending), ("send", Status::Succeeded)]
            );

            let unknown = job("unknown").unwrap();
            assert!(unknown.choices.is_empty() && unknown.meanings.is_empty());
        });
    }
}
