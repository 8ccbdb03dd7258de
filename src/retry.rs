//! Passing database errors: which they are, and how often a statement is
//! tried again.

use std::fmt::Display;
use std::thread;
use std::time::Duration;

use diesel::r2d2::{ConnectionManager, PooledConnection};
use diesel::result::{DatabaseErrorKind, Error as DieselError};

use crate::backoff;
use crate::connection::{Cause, MaybeDatabaseError, PoolOf, TrackerConnection, mark_cause};
use crate::error::{Error, PoolTimeout, Result};

/// Pauses between the tries, doubled from the first to the longest: about
/// four seconds in all, which spans a deadlock, a lock's wait, the switch of
/// a proxy. A caller who wants to wait for longer has the error to loop on.
const TRIES: i32 = 10;
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Tries where the database does not tell, in a language that is known here,
/// whether another would do.
const TRIES_WHEN_UNCLEAR: i32 = 3;

/// Why a statement gave no result.
#[derive(Debug)]
pub enum Fault {
    /// The database's answer, or the lack of one.
    Database(DieselError),
    /// The same, of work that cannot be repeated.
    Final(DieselError),
    /// A look-up after a lost answer could not tell whether the write landed.
    Untraceable,
}

impl From<DieselError> for Fault {
    fn from(error: DieselError) -> Self {
        Self::Database(error)
    }
}

impl MaybeDatabaseError for Fault {
    fn database_error(&mut self) -> Option<&mut DieselError> {
        match self {
            Self::Database(error) | Self::Final(error) => Some(error),
            Self::Untraceable => None,
        }
    }
}

impl Fault {
    /// As an error of `job`, where there is no earlier try to speak of.
    pub(crate) fn into_error(self, job: &dyn Display) -> Error {
        match self {
            Self::Database(source) | Self::Final(source) => database_error(job, source),
            // Only a later try can be in doubt.
            Self::Untraceable => Error::OutcomeUnknown {
                job: job.to_string(),
                source: DieselError::NotFound,
            },
        }
    }
}

/// An error of the database as one of `job`.
pub(crate) fn database_error(job: &dyn Display, source: DieselError) -> Error {
    let job = job.to_string();
    if is_of_shared_session(&source) {
        Error::SharedSession { job, source }
    } else {
        Error::Database { job, source }
    }
}

/// Whether PostgreSQL knows a prepared statement of Diesel's otherwise than
/// Diesel does. Its name is in the message, in every language.
pub(crate) fn is_of_shared_session(error: &DieselError) -> bool {
    matches!(error, DieselError::DatabaseError(DatabaseErrorKind::Unknown, information)
        if information.message().contains("__diesel_stmt_"))
}

/// Whether it comes again at each try, so that a worker that went on would only
/// go in circles.
pub(crate) fn is_lasting(error: &Error) -> bool {
    matches!(error, Error::SharedSession { .. })
}

/// What to do about a database error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It stays: the statement itself is at fault.
    Permanent,
    /// It may be either of the two.
    Unclear,
    /// The database rolled the statement back; it may succeed now.
    Passing,
    /// The connection is gone, and with it the answer.
    Broken,
}

/// Runs `work` on a connection of the pool, again after passing errors.
pub(crate) fn run<C: TrackerConnection, T>(
    pool: &PoolOf<C>,
    job: &dyn Display,
    mut work: impl FnMut(&mut C, bool) -> Result<T, Fault>,
) -> Result<T> {
    let failed = |source| Fault::Database(source).into_error(job);
    let unknown = |source| Error::OutcomeUnknown {
        job: job.to_string(),
        source,
    };
    let mut last: Option<DieselError> = None;
    let mut doubtful = false;
    // A pool may be full of connections that died while idle. Each is found
    // out by use, and replaced without a pause.
    let mut stale = pool.max_size();
    let mut tries = 0;
    loop {
        let mut conn = match checkout(pool, pool.connection_timeout()) {
            Ok(conn) => conn,
            Err(source) => return Err(last.map_or(Error::Pool { source }, failed)),
        };
        let mut error = match (work(&mut conn, doubtful), last.take()) {
            (Ok(value), _) => return Ok(value),
            (Err(Fault::Untraceable), Some(source)) => return Err(unknown(source)),
            (Err(Fault::Database(error)), _) => error,
            // Where the connection broke, it may have been at the commit.
            (Err(Fault::Final(mut source)), _) => {
                return Err(match judge(&mut *conn, &mut source) {
                    Verdict::Broken => unknown(source),
                    _ => failed(source),
                });
            }
            (Err(fault), _) => return Err(fault.into_error(job)),
        };
        let verdict = judge(&mut *conn, &mut error);
        drop(conn);
        if verdict == Verdict::Broken {
            doubtful = true;
        }
        if verdict == Verdict::Broken && stale > 0 {
            stale -= 1;
        } else {
            tries += 1;
            let most = match verdict {
                Verdict::Permanent => 1,
                Verdict::Unclear => TRIES_WHEN_UNCLEAR,
                Verdict::Passing | Verdict::Broken => TRIES,
            };
            if tries >= most {
                return Err(failed(error));
            }
            thread::sleep(backoff::exponential(FIRST_PAUSE, LONGEST_PAUSE, tries));
        }
        tracing::warn!(%job, %error, "database error, trying again");
        last = Some(error);
    }
}

/// A connection, or what the pool said after `timeout`.
pub(crate) fn checkout<C: TrackerConnection>(
    pool: &PoolOf<C>,
    timeout: Duration,
) -> Result<PooledConnection<ConnectionManager<C>>, PoolTimeout> {
    pool.get_timeout(timeout).map_err(|source| PoolTimeout {
        timeout,
        open: pool.state().connections,
        max: pool.max_size(),
        source,
    })
}

/// Judges an error of `conn`, right after the statement: tells a conflict by
/// the error's kind, and evicts the connection if it is gone.
pub(crate) fn judge<C: TrackerConnection>(conn: &mut C, error: &mut DieselError) -> Verdict {
    let verdict = match mark_cause(conn, error) {
        Cause::Conflict | Cause::Stopped => Verdict::Passing,
        Cause::Connection => Verdict::Broken,
        // The ping is a prepared statement, too.
        _ if is_of_shared_session(error) => Verdict::Permanent,
        // Diesel has no kind for a lost connection on MySQL.
        _ if is_of_unknown_kind(error) && conn.ping().is_err() => Verdict::Broken,
        Cause::Unclear if !conn.speaks_english() => Verdict::Unclear,
        Cause::Statement | Cause::Unclear => Verdict::Permanent,
    };
    if verdict == Verdict::Broken {
        conn.evict();
    }
    verdict
}

/// Whether the database rolled back what it was asked for, and may do it the
/// next time; of an error that [`judge`] has seen.
pub(crate) fn is_passing<C: TrackerConnection>(error: &DieselError) -> bool {
    match error {
        DieselError::DatabaseError(DatabaseErrorKind::SerializationFailure, _) => true,
        DieselError::DatabaseError(DatabaseErrorKind::Unknown, information) => {
            C::cause_in(&**information) == Cause::Stopped
        }
        _ => false,
    }
}

fn is_of_unknown_kind(error: &DieselError) -> bool {
    matches!(
        error,
        DieselError::DatabaseError(DatabaseErrorKind::Unknown, _)
    )
}
