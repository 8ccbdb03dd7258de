//! The error type. Its messages are for people.

use std::fmt::Debug;
use std::time::Duration;

use chrono::{DateTime, Utc};

use status_protocol::Refusal;
use status_protocol::causes::chain;

pub use status_protocol::BoxError;

/// What every call of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call was refused or failed. Each variant names the job as
/// `table key`, and its message says what to do about it.
///
/// ```
/// use diesel_status_tracker::Error;
///
/// let error = Error::NotFound { job: r#"invoices "2026-117""#.into() };
/// assert!(error.to_string().contains("2026-117"));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No row has this key.
    #[error("{job} does not exist: create it first, or check the key")]
    NotFound {
        /// Table and key.
        job: String,
    },
    /// Another attempt holds the job, or somebody has locked the row by hand.
    #[error("{job} is locked{}: {}", since(*lock_at), way_out_of_lock(*expires_at))]
    Locked {
        /// Table and key.
        job: String,
        /// When the lock was taken or last renewed, by the database's clock,
        /// in UTC. `None` if the row does not say, as after a lock by hand.
        lock_at: Option<DateTime<Utc>>,
        /// When the lock counts as abandoned, in UTC; `None` if it never does.
        expires_at: Option<DateTime<Utc>>,
    },
    /// The job has succeeded; it is not run twice.
    #[error("{job} has already succeeded: `reset` it if it really is to run again")]
    AlreadySucceeded {
        /// Table and key.
        job: String,
    },
    /// The job failed `MAX_RETRY` times in a row and is left alone.
    #[error(
        "{job} is ignored after {retry} failures in a row: correct the cause (column `errors`), then `reset` it"
    )]
    Ignored {
        /// Table and key.
        job: String,
        /// Failures in a row.
        retry: i32,
    },
    /// The row has a status that this step does not start from, or its
    /// `run_at` lies ahead.
    #[error("{job} is not ready: {}", why_not_ready(status, *run_at))]
    #[non_exhaustive]
    NotReady {
        /// Table and key.
        job: String,
        /// The row's status, as its `Debug` shows it.
        status: String,
        /// When the job may run, in UTC, if that lies ahead.
        run_at: Option<DateTime<Utc>>,
    },
    /// The job may be started or reset, but the database did not change its row: a
    /// trigger or a rule of the table drops the update.
    #[error(
        "{job} was not changed, although the database gave no error: a trigger or a rule of the table drops the update; remove it, or let it pass updates of the tracked columns"
    )]
    UpdateDropped {
        /// Table and key.
        job: String,
    },
    /// `create_and_save` found the key taken; the row is as it was.
    #[error("{job} already exists: use another key, or `create_if_absent` where that is fine")]
    AlreadyExists {
        /// Table and key.
        job: String,
    },
    /// The database did not insert the new row: a column got no value and may not be
    /// NULL, the database makes no key, or a trigger drops the row. Nothing was
    /// inserted.
    #[error("{job} was not created: {problem}{}", in_brackets(source.as_ref()))]
    #[non_exhaustive]
    NotCreated {
        /// Table and key, or the table alone where the database makes the key.
        job: String,
        /// What is wrong, and how to correct it.
        problem: String,
        /// The database's answer, if it gave one.
        source: Option<diesel::result::Error>,
    },
    /// The attempt lost its lock: it was expired, or another attempt has the job.
    /// This call has written nothing.
    #[error(
        "the lock on {job} is lost, nothing was written: the attempt took longer than `LOCK_EXPIRE` without `renew`, or the row was changed by hand"
    )]
    LockLost {
        /// Table and key.
        job: String,
    },
    /// The attempt that was to be ended is not as it was seen: it has ended, or has
    /// renewed its lock. Nothing was written.
    #[error(
        "the attempt on {job} has ended or renewed its lock since it was seen, nothing was written: look at the job again"
    )]
    #[non_exhaustive]
    AttemptChanged {
        /// Table and key.
        job: String,
    },
    /// The job is not as it was seen: it has changed since. Nothing was written.
    #[error("{job} has changed since it was seen, nothing was written: look at it again")]
    #[non_exhaustive]
    JobChanged {
        /// Table and key.
        job: String,
    },
    /// The business logic failed, and that is recorded in the row.
    #[error("{job} failed, and the failure is recorded: {}", chain(&**source))]
    Failed {
        /// Table and key.
        job: String,
        /// What the business logic returned.
        source: BoxError,
    },
    /// The job was released, with no attempt counted: the business logic returned
    /// [`Retry::release`](crate::Retry::release), or its transaction was rolled back
    /// because of a conflict with another.
    #[error("{job} was released, no attempt counted, and is ready again: {}", chain(&**source))]
    Released {
        /// Table and key.
        job: String,
        /// What the business logic, or the database, returned.
        source: BoxError,
    },
    /// The database refused a statement, or a transient error came again each time.
    #[error(
        "the database failed on {job}: {}; nothing was marked that did not happen, and a job that was claimed is ready again when its lock expires",
        chain(source)
    )]
    Database {
        /// Table and key, or the table alone where no one job is meant.
        job: String,
        /// The database's answer.
        source: diesel::result::Error,
    },
    /// The connection broke before the database's answer came, and the table does not
    /// tell whether the write was applied.
    #[error(
        "whether the last write to {job} was applied cannot be known: the connection broke before the answer came ({source}); look at the table"
    )]
    OutcomeUnknown {
        /// Table and key.
        job: String,
        /// How the connection broke.
        source: diesel::result::Error,
    },
    /// A write of this attempt may have been applied, and the row has changed
    /// since, or is gone, so that it does not tell. Unlike
    /// [`OutcomeUnknown`](Self::OutcomeUnknown), what broke that write is not
    /// known here; an earlier message in the log says it.
    #[error(
        "whether an earlier write to {job} was applied cannot be known: the row has changed since, or is gone; look at the table"
    )]
    #[non_exhaustive]
    RowChanged {
        /// Table and key.
        job: String,
    },
    /// The machine gave the worker too few threads. The worker has ended, and
    /// has released what it had claimed.
    #[error(
        "the worker of {job} could not start all its threads: {source}; give it fewer `threads`, or raise the machine's limit"
    )]
    #[non_exhaustive]
    ThreadNotStarted {
        /// The table.
        job: String,
        /// Why the thread could not be started.
        source: std::io::Error,
    },
    /// A pooler between the pool and PostgreSQL gives each transaction another session
    /// of the server. There the prepared statements of this connection are missing,
    /// or belong to another client. Use no prepared statements with such a pooler.
    #[error(
        "the prepared statements for {job} were not on the server's session ({source}): a pooler such as PgBouncer in transaction mode shares sessions; set `postgres::Customizer {{ prepared_statements: false, .. }}` as the pool's `connection_customizer`"
    )]
    #[non_exhaustive]
    SharedSession {
        /// Table and key, or the table alone where no one job is meant.
        job: String,
        /// The server's answer.
        source: diesel::result::Error,
    },
    /// The pool gave no connection in time.
    #[error("{source}")]
    Pool {
        /// What the pool was asked for, and its answer.
        source: PoolTimeout,
    },
    /// The step's constants, its `updates` struct or the settings of its worker are
    /// not valid.
    #[error("{job} cannot be tracked: {problem}")]
    Misconfigured {
        /// The table.
        job: String,
        /// What is wrong, and how to correct it.
        problem: String,
    },
}

impl Error {
    /// A refusal, for the caller.
    pub(crate) fn refused<S: Debug>(refusal: Refusal<S>, job: String) -> Self {
        match refusal {
            Refusal::NotReady { status, run_at } => Self::NotReady {
                job,
                status: format!("{status:?}"),
                run_at,
            },
            Refusal::Locked {
                lock_at,
                expires_at,
            } => Self::Locked {
                job,
                lock_at,
                expires_at,
            },
            Refusal::AlreadySucceeded => Self::AlreadySucceeded { job },
            Refusal::Ignored { retry } => Self::Ignored { job, retry },
        }
    }

    /// The same, of a status that people know as `shown`.
    pub(crate) fn refused_as<S: Debug>(refusal: Refusal<S>, job: String, shown: String) -> Self {
        match refusal {
            Refusal::NotReady { run_at, .. } => Self::NotReady {
                job,
                status: shown,
                run_at,
            },
            other => Self::refused(other, job),
        }
    }
}

/// The pool gave no connection within its time.
#[derive(Debug, thiserror::Error)]
#[error("no database connection within {} s: {}", timeout.as_secs_f32(), diagnosis(*open, *max, source))]
#[non_exhaustive]
pub struct PoolTimeout {
    /// How long the call waited.
    pub timeout: Duration,
    /// Connections that were open then.
    pub open: u32,
    /// The pool's `max_size`.
    pub max: u32,
    /// The pool's answer.
    pub source: r2d2::Error,
}

fn diagnosis(open: u32, max: u32, source: &r2d2::Error) -> String {
    if open >= max {
        format!(
            "all {max} of the pool are in use; raise its `max_size`, or return connections sooner"
        )
    } else {
        format!("{source}; check that the server runs and the URL is right")
    }
}

fn in_brackets(source: Option<&diesel::result::Error>) -> String {
    source.map_or_else(String::new, |source| format!(" ({})", chain(source)))
}

fn since(lock_at: Option<DateTime<Utc>>) -> String {
    lock_at.map_or_else(String::new, |at| format!(" since {}", stamp(at)))
}

fn way_out_of_lock(expires_at: Option<DateTime<Utc>>) -> String {
    match expires_at {
        Some(at) => format!("try again when that attempt ends, or after {}, when its lock expires", stamp(at)),
        None => "no attempt of this step holds it, so it does not expire: wait for whoever holds the row, in a transaction or by hand, or `reset` the job".into(),
    }
}

fn why_not_ready(status: &str, run_at: Option<DateTime<Utc>>) -> String {
    match run_at {
        Some(at) => format!(
            "its status is {status} and it may not run before {}",
            stamp(at)
        ),
        None => format!(
            "its status is {status}, which this step does not start from: it is another step's turn, or the row was changed by hand (`reset` corrects a row of this step)"
        ),
    }
}

fn stamp(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S%.3f UTC").to_string()
}
