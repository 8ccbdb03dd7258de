//! Leaves a job alone, for a reason.

use std::slice::from_ref;

use diesel::result::Error as DieselError;

use crate::db::connection::{MaybeDatabaseError, TrackerConnection};
use crate::db::database::Database;
use crate::db::retry::{self, Fault};
use crate::error::{Error, Result};
use crate::rows::reset::{LOOKS, Seen};
use crate::sql::call::Document;
use crate::sql::described::{DescribedConnection, DescribedRows, RowKey};
use crate::sql::dialect::LockWait;
use crate::sql::results::Obstacle;
use crate::sql::statements;
use crate::sql::table_rows::{RowStore, TableRows, expired, held};
use crate::table_info::Phase;
use status_protocol::{ErrorLog, Failure, Refusal, Start, Step};

/// Ignores the job with this key, if it is still as it was `seen`, or returns why it
/// cannot.
///
/// In one transaction the row is changed first, which keeps all others from it, and
/// then its errors are written: so no entry of another is lost.
pub(crate) fn one<D: Database<Connection: DescribedConnection>>(
    mut db: D,
    rows: &DescribedRows<'_>,
    key: &RowKey,
    step: &Step<Phase>,
    reason: &str,
    seen: Option<Seen<'_>>,
) -> Result<()> {
    let name = rows.job(key);
    let changed = || Error::JobChanged {
        job: name.to_string(),
    };
    db.run(&name, |conn, maybe_applied| {
        for _ in 0..LOOKS {
            let ignored = conn.keeping_lock_wait(|conn| {
                conn.write_transaction(|conn| ignore(conn, rows, key, step, reason, seen))
            });
            let ignored = match ignored {
                Err(Stop::Dropped) => break,
                Err(Stop::Database(error))
                    if seen.is_some() && retry::is_held_outside_transaction(conn, &error)? =>
                {
                    return Ok(Err(Obstacle::Held.into_error(name.to_string())));
                }
                Err(Stop::Database(error)) => return Err(error.into()),
                Ok(ignored) => ignored,
            };
            if ignored {
                return Ok(Ok(()));
            }
            let Some((row, shown)) = rows.row_state(conn, key)? else {
                return Ok(Err(name.not_found()));
            };
            if maybe_applied && row.status == Phase::Ignored {
                return Err(Fault::RowChanged);
            }
            let has_changed = match seen {
                Some(seen) => seen.has_changed(conn, rows, key)?,
                None => false,
            };
            if maybe_applied && has_changed {
                return Err(Fault::RowChanged);
            }
            let refusal = match step.may_start(&row) {
                Start::Ready | Start::Expired if has_changed => return Ok(Err(changed())),
                // The attempt that held it may have ended between the statements.
                Start::Ready | Start::Expired => continue,
                // Whether it is due does not matter.
                Start::Refused(Refusal::NotReady {
                    run_at: Some(_), ..
                }) if has_changed => return Ok(Err(changed())),
                Start::Refused(Refusal::NotReady {
                    run_at: Some(_), ..
                }) => continue,
                Start::Refused(refusal) => refusal,
            };
            return Ok(Err(Error::refused_as(refusal, name.to_string(), shown)));
        }
        Ok(Err(Obstacle::Dropped.into_error(name.to_string())))
    })??;
    tracing::info!(job = %name, reason, "ignored");
    Ok(())
}

/// Why the transaction is rolled back.
enum Stop {
    /// The database drops the reason.
    Dropped,
    Database(DieselError),
}

impl From<DieselError> for Stop {
    fn from(error: DieselError) -> Self {
        Self::Database(error)
    }
}

impl MaybeDatabaseError for Stop {
    fn database_error(&self) -> Option<&DieselError> {
        match self {
            Self::Dropped => None,
            Self::Database(error) => Some(error),
        }
    }
}

/// Whether the row was one that may be ignored, and is.
fn ignore<C: DescribedConnection>(
    conn: &mut C,
    rows: &DescribedRows<'_>,
    key: &RowKey,
    step: &Step<Phase>,
    reason: &str,
    seen: Option<Seen<'_>>,
) -> Result<bool, Stop> {
    let Some(own) = rows.step.map(|step| step.codes()) else {
        return Ok(false);
    };
    let mut statuses = vec![
        own.pending.clone(),
        own.in_progress.clone(),
        own.failed.clone(),
    ];
    if let Some(seen) = seen {
        statuses.retain(|status| status == seen.status);
        if statuses.is_empty() {
            return Ok(false);
        }
    }
    let mut call = expired(held(from_ref(key), &[], LockWait::Briefly), step);
    call.statuses = &statuses;
    call.plain.seen_update_at = seen.map(|seen| seen.update_at);
    let statement = match seen {
        Some(_) => &statements::IGNORE_SEEN_ROW,
        None => &statements::IGNORE_ROW,
    };
    let Some(row) = rows.read(conn, statement, call)?.pop() else {
        return Ok(false);
    };
    let mut log = ErrorLog::from(row.plain.errors);
    let failure = Failure::because(&format!("ignored by hand: {reason}"));
    log.push(&failure, row.plain.retry, row.plain.now.unwrap_or_default());
    let mut call = held(from_ref(key), &[], LockWait::Briefly);
    call.plain.document = Some(Document::of(log.document(), rows.info()));
    match rows.execute(conn, &statements::SET_ERRORS, call)? {
        0 => Err(Stop::Dropped),
        _ => Ok(true),
    }
}
