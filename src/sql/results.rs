//! What the statements of the store are asked for, and what they return.

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::db::retry::database_error;
use crate::error::Error;
use crate::keys::KeySet;
use crate::panics::Discarded;
use crate::sql::filter::Filter;
use crate::sql::tracked_table::Tracked;

/// The order in which [`query_by_status`](crate::StatusTracked::query_by_status) lists jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// The job that has not changed for the longest time first.
    #[default]
    OldestFirst,
    /// The job that changed last first.
    NewestFirst,
}

/// A claimed job: the row, and what the user's struct need not hold of it.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct Claimed<J: Tracked> {
    pub key: J::Key,
    pub job: Discarded<J>,
    pub lock_at: Option<DateTime<Utc>>,
    pub retry: i32,
    pub errors: Value,
}

/// Which of the ready rows are looked for.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Search<K> {
    /// Not these.
    pub past: KeySet<K>,
    /// Only those that have not changed before. It is of use where the one that
    /// has not changed for the longest time is the first.
    pub since: Option<DateTime<Utc>>,
    /// Only those that it lets pass.
    pub filter: Option<Filter>,
}

impl<K> Default for Search<K> {
    fn default() -> Self {
        Self {
            past: KeySet::default(),
            since: None,
            filter: None,
        }
    }
}

/// Successes of one token that one statement writes.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct Successes<'a, J: Tracked> {
    pub keys: &'a [J::Key],
    pub token: &'a str,
    /// The updates of the only one.
    pub updates: Option<&'a J::Updates>,
}

/// A ready row.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Ready<K> {
    pub key: K,
    /// When it last changed.
    pub update_at: Option<DateTime<Utc>>,
}

/// What a claim of the next jobs got.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct Batch<J: Tracked> {
    pub claimed: Vec<Claimed<J>>,
    /// Rows that would have been claimed, and are as they were.
    pub passed_over: Vec<(J::Key, Obstacle)>,
    /// It is known that no row was ready.
    pub none_is_ready: bool,
    /// Each ready row that had last changed before this time was tried.
    pub reached: Option<DateTime<Utc>>,
}

impl<J: Tracked> Default for Batch<J> {
    fn default() -> Self {
        Self {
            claimed: Vec::new(),
            passed_over: Vec::new(),
            none_is_ready: false,
            reached: None,
        }
    }
}

/// Why one row cannot be changed, while others can.
#[derive(Debug)]
pub enum Obstacle {
    /// Another transaction holds it.
    Held,
    /// The program cannot read it.
    Unreadable(diesel::result::Error),
    /// The database refuses the change: a constraint, a trigger.
    Refused(diesel::result::Error),
    /// The database accepts the change and does nothing: a trigger, a rule.
    Dropped,
}

impl Obstacle {
    /// As an error of `job`.
    pub(crate) fn into_error(self, job: String) -> Error {
        match self {
            Self::Held => Error::Locked {
                job,
                lock_at: None,
                expires_at: None,
            },
            Self::Unreadable(source) | Self::Refused(source) => database_error(&job, source),
            Self::Dropped => Error::UpdateDropped { job },
        }
    }
}

/// A lock that has expired.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct DeadAttempt<K> {
    pub key: K,
    pub lock: String,
    pub retry: i32,
    pub errors: Value,
    pub now: DateTime<Utc>,
}

/// A lock that was renewed.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Renewed<K> {
    pub key: K,
    pub lock: String,
    pub lock_at: Option<DateTime<Utc>>,
}
