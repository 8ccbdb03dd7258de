//! Transient database errors: which they are, and how often a statement is
//! tried again.

use std::fmt::Display;
use std::thread;
use std::time::Duration;

use diesel::QueryResult;
use diesel::result::{DatabaseErrorKind, Error as DieselError};

use crate::db::connection::{Facts, MaybeDatabaseError, TrackerConnection, cause_in, cause_of};
use crate::db::connection_enum::NotListed;
use crate::db::database_error::Cause;
use crate::db::pool::{Lends, Lent};
use crate::error::{BoxError, Error, PoolTimeout, Result};
use status_protocol::backoff;

/// Pauses between the tries, doubled from the first to the longest: about four
/// seconds in all. That is enough for a deadlock, for the wait for a lock, and for
/// a proxy that switches to another server. A caller who wants to wait longer can
/// call again after the error.
const TRIES: i32 = 10;
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Tries if it is unclear whether the error is transient, because the database
/// reports it in a language that is not known here.
const TRIES_WHEN_UNCLEAR: i32 = 3;

/// How long to wait for the second connection that helps to find out.
const WAIT_TO_LEARN: Duration = Duration::from_millis(250);

/// Why a statement gave no result.
#[derive(Debug)]
pub enum Fault {
    /// The error of the database, or of the connection.
    Database(DieselError),
    /// The same, and the work cannot be repeated.
    Final(DieselError),
    /// The same, and the work may be repeated only if it was not applied.
    Once(DieselError),
    /// The answer to a write was lost, and the row has changed since: it does not
    /// tell whether the write was applied.
    RowChanged,
}

impl From<DieselError> for Fault {
    fn from(error: DieselError) -> Self {
        Self::Database(error)
    }
}

impl MaybeDatabaseError for Fault {
    fn database_error(&self) -> Option<&DieselError> {
        match self {
            Self::Database(error) | Self::Final(error) | Self::Once(error) => Some(error),
            Self::RowChanged => None,
        }
    }
}

impl Fault {
    /// As an error of `job`, where the error of an earlier try is not known.
    pub(crate) fn into_error(self, job: &dyn Display) -> Error {
        match self {
            Self::Database(source) | Self::Final(source) | Self::Once(source) => {
                database_error(job, source)
            }
            Self::RowChanged => Error::RowChanged {
                job: job.to_string(),
            },
        }
    }
}

/// An error of the database as one of `job`.
pub(crate) fn database_error(job: &dyn Display, source: DieselError) -> Error {
    let job = job.to_string();
    if let Some(not_listed) = NotListed::among(&source) {
        Error::Misconfigured {
            job: not_listed.table.into(),
            problem: not_listed.to_string(),
        }
    } else if is_of_shared_session(&source) {
        Error::SharedSession { job, source }
    } else {
        Error::Database { job, source }
    }
}

/// Whether PostgreSQL does not know one of Diesel's prepared statements, or knows
/// another one by its name. The message contains the name in every language.
pub(crate) fn is_of_shared_session(error: &DieselError) -> bool {
    matches!(error, DieselError::DatabaseError(DatabaseErrorKind::Unknown, information)
        if information.message().contains("__diesel_stmt_"))
}

/// Whether the error comes again at each try, so that a worker must not go on.
pub(crate) fn is_lasting(error: &Error) -> bool {
    matches!(error, Error::SharedSession { .. })
}

/// What to do about a database error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It comes again: the statement itself is at fault.
    Permanent,
    /// It comes again for any statement: a pooler shares the session.
    SharedSession,
    /// It may be permanent or transient.
    Unclear,
    /// The database rolled the statement back; it may succeed the next time.
    Transient,
    /// The connection is gone, and with it the answer.
    Broken,
}

/// A connection that stays out of the pool between two uses, so that the second
/// use does not wait for one.
pub(crate) struct Kept<C: TrackerConnection> {
    is_kept: bool,
    /// How long to wait for a connection of the pool if none is kept; at most as
    /// long as the pool allows.
    pub patience: Duration,
    conn: Option<Lent<C>>,
}

impl<C: TrackerConnection> Kept<C> {
    /// None is kept: each use takes one of the pool's.
    pub fn none() -> Self {
        Self {
            is_kept: false,
            patience: Duration::MAX,
            conn: None,
        }
    }

    /// One that is taken from the pool now.
    pub fn of(pool: &dyn Lends<C>) -> Result<Self> {
        let conn =
            checkout(pool, pool.connection_timeout()).map_err(|source| Error::Pool { source })?;
        Ok(Self {
            is_kept: true,
            patience: Duration::MAX,
            conn: Some(conn),
        })
    }
}

/// Runs `work` on a connection of the pool, again after transient errors.
pub(crate) fn run<C: TrackerConnection, T>(
    pool: &dyn Lends<C>,
    job: &dyn Display,
    work: impl FnMut(&mut C, bool) -> Result<T, Fault>,
) -> Result<T> {
    run_on(pool, &mut Kept::none(), job, work)
}

/// As [`run`], on the connection that is kept, as long as it works.
pub(crate) fn run_on<C: TrackerConnection, T>(
    pool: &dyn Lends<C>,
    kept: &mut Kept<C>,
    job: &dyn Display,
    mut work: impl FnMut(&mut C, bool) -> Result<T, Fault>,
) -> Result<T> {
    let mut value = None;
    let work = &mut |conn: &mut C, maybe_applied| {
        value = Some(work(conn, maybe_applied)?);
        Ok(())
    };
    run_all_tries(pool, kept, job, work)?;
    match value {
        Some(value) => Ok(value),
        None => unreachable!("the try that succeeded has left its value"),
    }
}

/// As [`run_on`]. It knows no result, so that it is compiled once a connection, and
/// not for each call of each table.
fn run_all_tries<C: TrackerConnection>(
    pool: &dyn Lends<C>,
    kept: &mut Kept<C>,
    job: &dyn Display,
    work: &mut dyn FnMut(&mut C, bool) -> Result<(), Fault>,
) -> Result<()> {
    let failed = |source| Fault::Database(source).into_error(job);
    let unknown = |source| Error::OutcomeUnknown {
        job: job.to_string(),
        source,
    };
    let mut last: Option<DieselError> = None;
    let mut maybe_applied = false;
    // A pool may be full of connections that died while idle. Their first use shows
    // that, and they are replaced without a pause.
    let mut stale = pool.max_size();
    let mut tries = 0;
    loop {
        let mut conn = match kept.conn.take() {
            Some(conn) => conn,
            None => match checkout(pool, pool.connection_timeout().min(kept.patience)) {
                Ok(conn) => conn,
                Err(source) => return Err(last.map_or(Error::Pool { source }, failed)),
            },
        };
        let (error, is_repeatable) = match (work(&mut **conn, maybe_applied), last.take()) {
            (Ok(()), _) => {
                kept.conn = Some(conn).filter(|_| kept.is_kept);
                return Ok(());
            }
            (Err(Fault::RowChanged), Some(source)) => return Err(unknown(source)),
            (Err(Fault::Database(error)), _) => (error, true),
            (Err(Fault::Once(error)), _) => (error, false),
            // The connection may have broken at the commit.
            (Err(Fault::Final(source)), _) if judge(&mut **conn, &source) == Verdict::Broken => {
                return Err(unknown(source));
            }
            (Err(fault), _) => return Err(fault.into_error(job)),
        };
        let verdict = judge(&mut **conn, &error);
        let has_learned = verdict == Verdict::Unclear && learn_language(pool, &mut **conn);
        if verdict == Verdict::Broken {
            if !is_repeatable {
                return Err(unknown(error));
            }
            maybe_applied = true;
        } else {
            kept.conn = Some(conn).filter(|_| kept.is_kept);
        }
        if verdict == Verdict::Broken && stale > 0 {
            stale -= 1;
        } else if !has_learned {
            tries += 1;
            let most = match verdict {
                Verdict::Permanent | Verdict::SharedSession => 1,
                Verdict::Unclear => TRIES_WHEN_UNCLEAR,
                Verdict::Transient | Verdict::Broken => TRIES,
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

/// What is known of the pool's database. It takes a connection only if the type of
/// the connections does not tell which database it is.
pub(crate) fn facts<C: TrackerConnection>(pool: &dyn Lends<C>) -> Result<&'static Facts> {
    match C::FACTS {
        Some(facts) => Ok(facts),
        None => checkout(pool, pool.connection_timeout())
            .map(|mut conn| conn.facts())
            .map_err(|source| Error::Pool { source }),
    }
}

/// A connection, or what the pool said after `timeout`.
pub(crate) fn checkout<C: TrackerConnection>(
    pool: &dyn Lends<C>,
    timeout: Duration,
) -> Result<Lent<C>, PoolTimeout> {
    pool.lend(timeout).map_err(|source| PoolTimeout {
        timeout,
        open: pool.open(),
        max: pool.max_size(),
        source,
    })
}

/// Judges an error of `conn`, and evicts the connection if it is gone. Call it
/// right after the statement.
pub(crate) fn judge<C: TrackerConnection>(conn: &mut C, error: &DieselError) -> Verdict {
    let verdict = match cause_of(conn, error) {
        Cause::Held | Cause::Conflict | Cause::Stopped => Verdict::Transient,
        Cause::Connection => Verdict::Broken,
        // Before the ping, which is a prepared statement too.
        _ if is_of_shared_session(error) => Verdict::SharedSession,
        // Diesel has no kind for a lost connection on MySQL.
        _ if is_of_unknown_kind(error) && conn.ping().is_err() => Verdict::Broken,
        Cause::Unclear if !conn.knows_language() => Verdict::Unclear,
        Cause::Statement | Cause::Unclear => Verdict::Permanent,
    };
    if verdict == Verdict::Broken {
        conn.evict();
    }
    verdict
}

fn is_of_unknown_kind(error: &DieselError) -> bool {
    matches!(
        error,
        DieselError::DatabaseError(DatabaseErrorKind::Unknown, _)
    )
}

/// Learns the language of the errors of `conn`, with another connection of the
/// pool. Returns whether it is known now.
pub(crate) fn learn_language<C: TrackerConnection>(pool: &dyn Lends<C>, conn: &mut C) -> bool {
    if pool.max_size() < 2 {
        return false;
    }
    let learned = checkout(pool, WAIT_TO_LEARN)
        .map_err(BoxError::from)
        .and_then(|mut other| Ok(conn.learn_language(&mut other)?));
    learned.unwrap_or_else(|error| {
        tracing::debug!(%error, "the language of the database is not learned");
        false
    })
}

/// Whether the error is transient. [`judge`] must have seen it.
pub(crate) fn is_transient(facts: &Facts, error: &DieselError) -> bool {
    matches!(
        cause_in(facts, error),
        Cause::Held | Cause::Conflict | Cause::Stopped
    )
}

/// Whether another transaction held a row for longer than the statement waits.
/// Call it right after the statement.
pub(crate) fn is_held<C: TrackerConnection>(conn: &mut C, error: &DieselError) -> bool {
    cause_of(conn, error) == Cause::Held
}

/// The same where no transaction of the caller's is open: there the error stays one, since
/// it may have ended that. For calls that change one seen job after the other, and are not
/// to wait for each of them as long as for one.
pub(crate) fn is_held_outside_transaction<C: TrackerConnection>(
    conn: &mut C,
    error: &DieselError,
) -> QueryResult<bool> {
    Ok(conn.depth()? == 0 && is_held(conn, error))
}
