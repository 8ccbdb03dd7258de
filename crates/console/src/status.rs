//! What a status means, in words.

use std::fmt::{self, Display};

use diesel_status_tracker::{Role, StatusCode, StepInfo, TableInfo};
use serde::Serialize;

/// What a status code means to a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    Pending,
    /// Ready too, by the end of an earlier step.
    MorePending,
    InProgress,
    Failed,
    Succeeded,
    Ignored,
}

impl Status {
    pub const ALL: [Self; 6] = [
        Self::Pending,
        Self::MorePending,
        Self::InProgress,
        Self::Failed,
        Self::Succeeded,
        Self::Ignored,
    ];

    /// Its name in links and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::MorePending => "more_pending",
            Self::InProgress => "in_progress",
            Self::Failed => "failed",
            Self::Succeeded => "succeeded",
            Self::Ignored => "ignored",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }

    /// The codes that a step has for it.
    pub fn codes(self, step: &StepInfo) -> Vec<StatusCode> {
        let codes = step.codes();
        match self {
            Self::Pending => vec![codes.pending.clone()],
            Self::MorePending => step.more_pending().to_vec(),
            Self::InProgress => vec![codes.in_progress.clone()],
            Self::Failed => vec![codes.failed.clone()],
            Self::Succeeded => vec![codes.succeeded.clone()],
            Self::Ignored => vec![codes.ignored.clone()],
        }
    }

    /// What the code means to the step, `None` where it is none of its codes.
    pub fn of(step: &StepInfo, code: &StatusCode) -> Option<Self> {
        let is_it = |status: &Self| status.codes(step).contains(code);
        Self::ALL.into_iter().find(is_it)
    }
}

impl Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pending => "pending",
            Self::MorePending => "pending after an earlier step",
            Self::InProgress => "in progress",
            Self::Failed => "failed",
            Self::Succeeded => "succeeded",
            Self::Ignored => "ignored",
        })
    }
}

/// The steps to which a code means something, the one that is to act first.
pub(crate) fn meanings<'a>(info: &'a TableInfo, code: &StatusCode) -> Vec<(&'a StepInfo, Status)> {
    let steps = info.steps().iter();
    let mut found: Vec<_> = steps
        .filter_map(|step| Some((step, Status::of(step, code)?)))
        .collect();
    // A code that ends one step and begins the next is the next one's to work on.
    found.sort_by_key(|(_, status)| *status != Status::MorePending);
    found
}

/// A code as the column holds it: a number where the steps' codes are numbers.
pub(crate) fn code(info: &TableInfo, text: &str) -> StatusCode {
    let is_number = match info.steps() {
        [step, ..] => matches!(step.codes().pending, StatusCode::Number(_)),
        [] => true,
    };
    match text.parse::<i64>() {
        Ok(number) if is_number => number.into(),
        _ => text.into(),
    }
}

/// Whether the column of a role is never to be shown.
pub(crate) fn is_hidden(info: &TableInfo, role: Role) -> bool {
    let name = info.column(role);
    name.is_some_and(|name| info.hidden().iter().any(|hidden| hidden == name))
}
