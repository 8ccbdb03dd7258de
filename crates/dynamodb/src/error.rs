//! The error type. Its messages are for people.

use chrono::{DateTime, Utc};
use status_protocol::BoxError;
use status_protocol::causes::chain;

use crate::clock::stamp;

/// What every call of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call was refused or failed. Each variant names the job as
/// `table key`, and its message says what to do about it.
///
/// ```
/// use dynamodb_status_tracker::Error;
///
/// let error = Error::NotFound { job: r#"invoices "2026-117""#.into() };
/// assert!(error.to_string().contains("2026-117"));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No item has this key.
    #[error("{job} does not exist: create it first, or check the key")]
    NotFound {
        /// Table and key.
        job: String,
    },
    /// Another attempt holds the job, or somebody has locked the item by hand.
    #[error("{job} is locked: {}", way_out_of_lock(*watched_since, *dead_at))]
    Locked {
        /// Table and key.
        job: String,
        /// Since when this [`Table`](crate::Table) has watched this lock without a
        /// renewal.
        watched_since: DateTime<Utc>,
        /// When the lock counts as abandoned, if it is not renewed until then;
        /// `None` if it never does.
        dead_at: Option<DateTime<Utc>>,
    },
    /// The job has succeeded; it is not run twice.
    #[error("{job} has already succeeded: `reset` it if it really is to run again")]
    AlreadySucceeded {
        /// Table and key.
        job: String,
    },
    /// The job failed `MAX_RETRY` times in a row and is left alone.
    #[error(
        "{job} is ignored after {retry} failures in a row: correct the cause (attribute `errors`), then `reset` it"
    )]
    Ignored {
        /// Table and key.
        job: String,
        /// Failures in a row.
        retry: i32,
    },
    /// The item has a status that this step does not start from, or its `run_at`
    /// lies ahead.
    #[error("{job} is not ready: {}", why_not_ready(status, *run_at))]
    #[non_exhaustive]
    NotReady {
        /// Table and key.
        job: String,
        /// The item's status, as its `Debug` shows it.
        status: String,
        /// When the job may run, if that lies ahead.
        run_at: Option<DateTime<Utc>>,
    },
    /// `create_and_save` found the key taken; the item is as it was.
    #[error("{job} already exists: use another key, or `create_if_absent` where that is fine")]
    AlreadyExists {
        /// Table and key.
        job: String,
    },
    /// The attempt lost its lock: it was expired, or another attempt has the job.
    /// This call has written nothing.
    #[error(
        "the lock on {job} is lost, nothing was written: the attempt took longer than `LOCK_EXPIRE` without `renew`, or the item was changed by hand"
    )]
    LockLost {
        /// Table and key.
        job: String,
    },
    /// The business logic failed, and that is recorded in the item.
    #[error("{job} failed, and the failure is recorded: {}", chain(&**source))]
    Failed {
        /// Table and key.
        job: String,
        /// What the business logic returned, or why its writes were refused.
        source: BoxError,
    },
    /// The job was released, with no attempt counted: the business logic returned
    /// [`Retry::release`](crate::Retry::release), or its transaction met others each
    /// time.
    #[error("{job} was released, no attempt counted, and is ready again: {}", chain(&**source))]
    Released {
        /// Table and key.
        job: String,
        /// What the business logic, or DynamoDB, returned.
        source: BoxError,
    },
    /// The item does not fit the user's type, or has no status that is known. It is
    /// as it was.
    #[error("{job} cannot be read: {}; correct the item, or the type", chain(&**source))]
    Unreadable {
        /// Table and key.
        job: String,
        /// What does not fit.
        source: BoxError,
    },
    /// DynamoDB was asked for more than the table may do, and refused each try.
    #[error(
        "DynamoDB throttled each try on {job}: {}; raise the capacity of the table and its index, or work with fewer workers; a job that was claimed is ready again when its lock expires",
        chain(&**source)
    )]
    Throttled {
        /// Table and key, or the table alone.
        job: String,
        /// DynamoDB's answer.
        source: BoxError,
    },
    /// DynamoDB refused a request, or a transient error came again each time.
    #[error(
        "DynamoDB failed on {job}: {}; nothing was marked that did not happen, and a job that was claimed is ready again when its lock expires",
        chain(&**source)
    )]
    Database {
        /// Table and key, or the table alone.
        job: String,
        /// DynamoDB's answer, or why there is none.
        source: BoxError,
    },
    /// No answer came, and the item does not tell whether the write was applied.
    #[error(
        "whether the last write to {job} was applied cannot be known: no answer came, and the item has changed since; look at the table"
    )]
    #[non_exhaustive]
    OutcomeUnknown {
        /// Table and key.
        job: String,
    },
    /// The machine gave the worker too few threads, or none to the blocking calls.
    #[error(
        "{job}: a thread could not be started: {source}; use fewer threads, or raise the machine's limit"
    )]
    #[non_exhaustive]
    ThreadNotStarted {
        /// The table.
        job: String,
        /// Why the thread could not be started.
        source: std::io::Error,
    },
    /// The step's constants, its types or the settings of its table are not valid.
    #[error("{job} cannot be tracked: {problem}")]
    Misconfigured {
        /// The table.
        job: String,
        /// What is wrong, and how to correct it.
        problem: String,
    },
}

fn way_out_of_lock(watched_since: DateTime<Utc>, dead_at: Option<DateTime<Utc>>) -> String {
    match dead_at {
        Some(at) => format!(
            "watched from here since {} without a renewal; try again when that attempt ends, or after {}, when it counts as dead if it is still not renewed",
            stamp(watched_since),
            stamp(at)
        ),
        None => "no attempt of this step holds it, so it does not expire: wait for whoever holds the item, or remove the lock by hand".into(),
    }
}

fn why_not_ready(status: &str, run_at: Option<DateTime<Utc>>) -> String {
    match run_at {
        Some(at) => format!(
            "its status is {status} and it may not run before {}",
            stamp(at)
        ),
        None => format!(
            "its status is {status}, which this step does not start from: it is another step's turn, or the item was changed by hand (`reset` corrects an item of this step)"
        ),
    }
}
