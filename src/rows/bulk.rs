//! Many rows at a time, in chunks: short transactions, bounded memory.

use std::thread;
use std::time::Duration;

use diesel::QueryResult;

use crate::db::connection::TrackerConnection;
use crate::db::database::Database;
use crate::error::{Error, Result};
use crate::keys::KeySet;
use crate::rows::apart::{Mode, all_or_each};
use crate::sql::dialect::LockWait;
use crate::sql::results::Obstacle;
use crate::sql::store::JobStore;
use crate::sql::tracked_table::JobName;
use status_protocol::Step;
use status_protocol::backoff;

/// Rows of one statement. With a key of eight columns that is below the number of
/// parameters of each database (32,766 on SQLite), and so few that nobody waits
/// for long.
pub(crate) const CHUNK: usize = 500;

/// How often rows that another transaction holds are tried. With the pauses this
/// takes a second, which is longer than most transactions take.
const TRIES: i32 = 7;
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// What came of changing some rows.
struct Changed<K> {
    count: usize,
    passed_over: Vec<(K, Obstacle)>,
}

/// Changes the rows with these keys by `change`, which returns how many it has
/// changed: all by one statement, or each by its own if one of them fails.
fn change<C: TrackerConnection, K: Clone>(
    conn: &mut C,
    mode: Mode,
    keys: &[K],
    change: impl Fn(&mut C, &[K], LockWait) -> QueryResult<usize>,
) -> QueryResult<Changed<K>> {
    let mut count = 0;
    let all = |conn: &mut C| {
        count = change(conn, keys, LockWait::Briefly)?;
        Ok(Vec::new())
    };
    let each = conn.keeping_lock_wait(|conn| {
        all_or_each(conn, mode, keys.iter().cloned(), all, |conn, key| {
            change(conn, std::slice::from_ref(key), LockWait::Never)
        })
    })?;
    let mut passed_over = Vec::new();
    for (key, changed) in each {
        match changed {
            Ok(one) => count += one,
            Err(obstacle) => passed_over.push((key, obstacle)),
        }
    }
    Ok(Changed { count, passed_over })
}

/// Resets the jobs with these keys, and counts them. If one cannot be reset, the
/// others are, and then this is an error.
pub(crate) fn reset<D: Database, J: JobStore<D::Connection>>(
    mut db: D,
    mut keys: impl Iterator<Item = J::Key>,
    step: &Step<J::Status>,
) -> Result<usize> {
    let mut count = 0;
    let mut first = None;
    loop {
        let chunk: Vec<J::Key> = keys.by_ref().take(CHUNK).collect();
        if chunk.is_empty() {
            return first.map_or(Ok(count), Err);
        }
        let reset = reset_chunk::<D, J>(&mut db, chunk, step)?;
        count += reset.count;
        for (key, obstacle) in reset.passed_over {
            let error = obstacle.into_error(JobName::<J>(&key).to_string());
            tracing::warn!(%error, "not reset");
            first.get_or_insert(error);
        }
    }
}

/// Resets some jobs. Those that another transaction holds are tried again for a
/// while.
fn reset_chunk<D: Database, J: JobStore<D::Connection>>(
    db: &mut D,
    mut keys: Vec<J::Key>,
    step: &Step<J::Status>,
) -> Result<Changed<J::Key>> {
    let mut all = Changed {
        count: 0,
        passed_over: Vec::new(),
    };
    for tries in 1.. {
        let mut tried = 0;
        let reset = db.run(&J::table_name(), |conn, _| {
            tried += 1;
            let mode = Mode::of_try(conn, tried);
            Ok(change(conn, mode, &keys, |conn, keys, wait| {
                J::reset_rows(conn, keys, step, wait)
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

/// Deletes old rows that nobody holds, and counts them. A row that another
/// transaction holds is left for the next call, and so is one whose deletion the
/// database drops. If the database refuses to delete a row, the others are
/// deleted, and then this is an error.
pub(crate) fn prune<D: Database, J: JobStore<D::Connection>>(
    mut db: D,
    statuses: &[J::Status],
    unchanged_for: Duration,
) -> Result<usize> {
    let mut count = 0;
    if statuses.is_empty() {
        return Ok(count);
    }
    let mut first = None;
    // Rows whose deletion was sent since the last row was deleted. Those that still
    // exist cannot be deleted.
    let mut sent = KeySet::default();
    let mut past = KeySet::default();
    loop {
        let mut tries = 0;
        let (keys, dropped, pruned, are_all) = db.run(&J::table_name(), |conn, _| {
            tries += 1;
            let mode = Mode::of_try(conn, tries);
            let reach = CHUNK + past.len();
            let mut keys = J::stale_keys(conn, reach, statuses, unchanged_for)?;
            let are_all = keys.len() < reach;
            keys.retain(|key| !past.contains(key));
            let (dropped, keys): (Vec<_>, Vec<_>) =
                keys.into_iter().partition(|key| sent.contains(key));
            let pruned = change(conn, mode, &keys, |conn, keys, wait| {
                if keys.is_empty() {
                    return Ok(0);
                }
                J::delete_stale_rows(conn, keys, statuses, unchanged_for, wait)
            })?;
            Ok((keys, dropped, pruned, are_all))
        })?;
        count += pruned.count;
        if pruned.count > 0 {
            sent = KeySet::default();
        }
        let are_done = pruned.count + pruned.passed_over.len() >= keys.len();
        let is_over = are_done && (are_all || keys.is_empty() && dropped.is_empty());
        if !are_done {
            sent.extend(keys);
        }
        for (key, obstacle) in pruned.passed_over {
            past.insert(&key);
            let is_held = matches!(obstacle, Obstacle::Held);
            let error = obstacle.into_error(JobName::<J>(&key).to_string());
            tracing::warn!(%error, "not pruned");
            if !is_held {
                first.get_or_insert(error);
            }
        }
        for key in dropped {
            past.insert(&key);
            tracing::warn!(job = %JobName::<J>(&key), "not pruned: a trigger or a rule drops the deletion");
        }
        if is_over {
            tracing::debug!(table = J::table_name(), count, "pruned");
            return first.map_or(Ok(count), Err::<usize, Error>);
        }
    }
}
