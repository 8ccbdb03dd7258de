//! Makes jobs pending again.

use std::slice::from_ref;
use std::thread;
use std::time::Duration;

use diesel::QueryResult;

use crate::db::connection::TrackerConnection;
use crate::db::database::Database;
use crate::db::retry::{self, Fault};
use crate::error::{Error, Result};
use crate::keys::KeySet;
use crate::rows::apart::Mode;
use crate::rows::bulk::{CHUNK, Changed, change};
use crate::sql::described::{DescribedConnection, DescribedRows, RowKey};
use crate::sql::dialect::LockWait;
use crate::sql::results::Obstacle;
use crate::sql::statements;
use crate::sql::table_rows::{RowStore, TableRows, expired, held};
use crate::table_info::{Phase, StatusCode};
use status_protocol::Step;
use status_protocol::backoff;

/// How often a claim or a reset looks at a row that keeps changing. This limit is
/// reached only where the database and this crate read the row differently, as
/// with a time in a text format that SQLite does not compare correctly.
pub(crate) const LOOKS: u32 = 100;

/// How often rows that another transaction holds are tried. With the pauses this
/// takes a second, which is longer than most transactions take.
const TRIES: i32 = 7;
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Resets the job with this key, or returns why it cannot.
pub(crate) fn one<D: Database, T: RowStore<D::Connection>>(
    mut db: D,
    table: &T,
    key: &T::Key,
    step: &Step<T::Status>,
) -> Result<()> {
    let name = table.job(key);
    let reset = |conn: &mut D::Connection| -> Result<Result<()>, Fault> {
        for _ in 0..LOOKS {
            if table.reset_rows(conn, from_ref(key), step, LockWait::Briefly)? > 0 {
                return Ok(Ok(()));
            }
            match table.row_state(conn, key)? {
                None => return Ok(Err(name.not_found())),
                // The attempt that held it may have ended between the two
                // statements.
                Some((row, _)) if step.may_reset(&row) => {}
                Some((row, shown)) => {
                    let why = step.why_not_reset(&row);
                    return Ok(Err(Error::refused_as(why, name.to_string(), shown)));
                }
            }
        }
        Ok(Err(unexplained(conn)?.into_error(name.to_string())))
    };
    db.run(&name, |conn, _| conn.keeping_lock_wait(reset))??;
    tracing::info!(job = %name, "reset");
    Ok(())
}

/// Why a row is not changed that may be, as far as this session can see it.
fn unexplained<C: TrackerConnection>(conn: &mut C) -> QueryResult<Obstacle> {
    Ok(match conn.facts().reads_old_rows && conn.depth()? > 0 {
        true => Obstacle::Held,
        false => Obstacle::Dropped,
    })
}

/// A job as somebody has seen it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen<'a> {
    pub status: &'a StatusCode,
    /// As the database shows it.
    pub update_at: Option<&'a str>,
}

impl Seen<'_> {
    /// Whether the row is no longer so.
    pub fn has_changed<C: DescribedConnection>(
        &self,
        conn: &mut C,
        rows: &DescribedRows<'_>,
        key: &RowKey,
    ) -> QueryResult<bool> {
        let shown = rows.last_change(conn, key)?;
        Ok(shown.is_none_or(|(status, update_at)| {
            status != *self.status || update_at.as_deref() != self.update_at
        }))
    }
}

/// Resets the job with this key if it is still as it was seen, or returns why it cannot.
pub(crate) fn if_unchanged<D: Database<Connection: DescribedConnection>>(
    mut db: D,
    rows: &DescribedRows<'_>,
    key: &RowKey,
    step: &Step<Phase>,
    seen: Seen<'_>,
) -> Result<()> {
    let name = rows.job(key);
    db.run(&name, |conn, maybe_applied| {
        conn.keeping_lock_wait(|conn| -> Result<Result<()>, Fault> {
            for _ in 0..LOOKS {
                let mut call = expired(held(from_ref(key), &[], LockWait::Briefly), step);
                call.statuses = from_ref(seen.status);
                call.plain.seen_update_at = Some(seen.update_at);
                match rows.execute(conn, &statements::RESET_SEEN_ROW, call) {
                    Ok(0) => {}
                    Ok(_) => return Ok(Ok(())),
                    Err(error) if retry::is_held_outside_transaction(conn, &error)? => {
                        return Ok(Err(Obstacle::Held.into_error(name.to_string())));
                    }
                    Err(error) => return Err(error.into()),
                }
                let Some((row, shown)) = rows.row_state(conn, key)? else {
                    return Ok(Err(name.not_found()));
                };
                let has_changed = seen.has_changed(conn, rows, key)?;
                if has_changed && maybe_applied {
                    return Err(Fault::RowChanged);
                }
                if !step.may_reset(&row) {
                    let why = step.why_not_reset(&row);
                    return Ok(Err(Error::refused_as(why, name.to_string(), shown)));
                }
                if has_changed {
                    let job = name.to_string();
                    return Ok(Err(Error::JobChanged { job }));
                }
            }
            Ok(Err(unexplained(conn)?.into_error(name.to_string())))
        })
    })??;
    tracing::info!(job = %name, "reset");
    Ok(())
}

/// Resets the jobs with these keys, and adds them to `count`, which is true after an
/// error too. If one cannot be reset, the others are, and then this is an error.
pub(crate) fn many<D: Database, T: RowStore<D::Connection>>(
    mut db: D,
    table: &T,
    mut keys: impl Iterator<Item = T::Key>,
    step: &Step<T::Status>,
    count: &mut usize,
) -> Result<()> {
    let mut first = None;
    loop {
        let chunk: Vec<T::Key> = keys.by_ref().take(CHUNK).collect();
        if chunk.is_empty() {
            return first.map_or(Ok(()), Err);
        }
        let reset = reset_chunk(&mut db, table, chunk, step)?;
        *count += reset.count;
        for (key, obstacle) in reset.passed_over {
            let error = obstacle.into_error(table.job(&key).to_string());
            tracing::warn!(%error, "not reset");
            first.get_or_insert(error);
        }
    }
}

/// Resets the jobs with these keys, counts them, and tells `passed_over` of each that
/// was not reset and why.
pub(crate) fn each_told<D: Database, T: RowStore<D::Connection>>(
    mut db: D,
    table: &T,
    keys: impl IntoIterator<Item = T::Key>,
    step: &Step<T::Status>,
    mut passed_over: impl FnMut(T::Key, Error),
) -> Result<usize> {
    let mut count = 0;
    let mut distinct = KeySet::default();
    distinct.extend(keys);
    for chunk in distinct.some().unwrap_or_default().chunks(CHUNK) {
        let reset = reset_chunk(&mut db, table, chunk.to_vec(), step)?;
        count += reset.count;
        let mut left = chunk.len() - reset.count.min(chunk.len());
        let mut told = KeySet::default();
        for (key, obstacle) in reset.passed_over {
            left = left.saturating_sub(1);
            told.insert(&key);
            let error = obstacle.into_error(table.job(&key).to_string());
            passed_over(key, error);
        }
        // The count tells that some were passed over. Which they are is looked up.
        let mut unknown = chunk.iter().filter(|key| !told.contains(key));
        while left > 0
            && let Some(key) = unknown.next()
        {
            let name = table.job(key);
            let row = db.run(&name, |conn, _| Ok(table.row_state(conn, key)?))?;
            let error = match row {
                None => name.not_found(),
                Some((row, _)) if step.may_reset(&row) => continue,
                Some((row, shown)) => {
                    Error::refused_as(step.why_not_reset(&row), name.to_string(), shown)
                }
            };
            left -= 1;
            passed_over(key.clone(), error);
        }
    }
    Ok(count)
}

/// Resets some jobs. Those that another transaction holds are tried again for a
/// while.
fn reset_chunk<D: Database, T: RowStore<D::Connection>>(
    db: &mut D,
    table: &T,
    mut keys: Vec<T::Key>,
    step: &Step<T::Status>,
) -> Result<Changed<T::Key>> {
    let mut all = Changed {
        count: 0,
        passed_over: Vec::new(),
    };
    for tries in 1.. {
        let mut tried = 0;
        let reset = db.run(&table.table(), |conn, _| {
            tried += 1;
            let mode = Mode::of_try(conn, tried);
            Ok(change(conn, mode, &keys, |conn, keys, wait| {
                table.reset_rows(conn, keys, step, wait)
            })?)
        })?;
        all.count += reset.count;
        keys.clear();
        for (key, obstacle) in reset.passed_over {
            match obstacle {
                Obstacle::Held if tries < TRIES => keys.push(key),
                _ => all.passed_over.push((key, obstacle)),
            }
        }
        if keys.is_empty() {
            break;
        }
        thread::sleep(backoff::exponential(FIRST_PAUSE, LONGEST_PAUSE, tries));
    }
    Ok(all)
}
