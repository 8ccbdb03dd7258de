//! Many rows at a time, in chunks: short transactions, bounded memory.

use std::time::Duration;

use diesel::QueryResult;

use crate::db::connection::TrackerConnection;
use crate::db::database::Database;
use crate::error::{Error, Result};
use crate::keys::KeySet;
use crate::rows::apart::{Mode, all_or_each};
use crate::sql::dialect::LockWait;
use crate::sql::results::Obstacle;
use crate::sql::table_rows::RowStore;

/// Rows of one statement. With a key of eight columns that is below the number of
/// parameters of each database (32,766 on SQLite), and so few that nobody waits
/// for long.
pub(crate) const CHUNK: usize = 500;

/// What came of changing some rows.
pub(super) struct Changed<K> {
    pub count: usize,
    pub passed_over: Vec<(K, Obstacle)>,
}

/// Changes the rows with these keys by `change`, which returns how many it has
/// changed: all by one statement, or each by its own if one of them fails.
pub(super) fn change<C: TrackerConnection, K: Clone>(
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

/// Deletes old rows that nobody holds, and adds them to `count`, which is true after
/// an error too. A row that another
/// transaction holds is left for the next call, and so is one whose deletion the
/// database drops. If the database refuses to delete a row, the others are
/// deleted, and then this is an error.
pub(crate) fn prune<D: Database, T: RowStore<D::Connection>>(
    mut db: D,
    table: &T,
    statuses: &[T::Code],
    unchanged_for: Duration,
    count: &mut usize,
) -> Result<()> {
    if statuses.is_empty() {
        return Ok(());
    }
    let mut first = None;
    // Rows whose deletion was sent since the last row was deleted. Those that still
    // exist cannot be deleted.
    let mut sent = KeySet::default();
    let mut past = KeySet::default();
    loop {
        let mut tries = 0;
        let (keys, dropped, pruned, are_all) = db.run(&table.table(), |conn, _| {
            tries += 1;
            let mode = Mode::of_try(conn, tries);
            let reach = CHUNK + past.len();
            let mut keys = table.stale_keys(conn, reach, statuses, unchanged_for)?;
            let are_all = keys.len() < reach;
            keys.retain(|key| !past.contains(key));
            let (dropped, keys): (Vec<_>, Vec<_>) =
                keys.into_iter().partition(|key| sent.contains(key));
            let pruned = change(conn, mode, &keys, |conn, keys, wait| {
                if keys.is_empty() {
                    return Ok(0);
                }
                table.delete_stale_rows(conn, keys, statuses, unchanged_for, wait)
            })?;
            Ok((keys, dropped, pruned, are_all))
        })?;
        *count += pruned.count;
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
            let error = obstacle.into_error(table.job(&key).to_string());
            tracing::warn!(%error, "not pruned");
            if !is_held {
                first.get_or_insert(error);
            }
        }
        for key in dropped {
            past.insert(&key);
            tracing::warn!(job = %table.job(&key), "not pruned: a trigger or a rule drops the deletion");
        }
        if is_over {
            tracing::debug!(table = table.table(), count, "pruned");
            return first.map_or(Ok(()), Err::<(), Error>);
        }
    }
}
