//! Many rows at a time, in chunks: short transactions, bounded memory.

use std::time::Duration;

use crate::database::Database;
use crate::error::Result;
use crate::store::JobStore;

/// Rows of one statement: below the parameters that it may have on each
/// database (32,766 on SQLite), with a key of eight columns, and few enough
/// that nobody waits for long.
pub(crate) const CHUNK: usize = 500;

/// Calls `work` with the keys, chunk by chunk, and adds up what it returns.
pub(crate) fn each_chunk<K>(
    mut keys: impl Iterator<Item = K>,
    mut work: impl FnMut(&[K]) -> Result<usize>,
) -> Result<usize> {
    let mut count = 0;
    loop {
        let chunk: Vec<K> = keys.by_ref().take(CHUNK).collect();
        if chunk.is_empty() {
            return Ok(count);
        }
        count += work(&chunk)?;
    }
}

/// Deletes old rows that nobody holds, and counts them.
pub(crate) fn prune<D: Database, J: JobStore<D::Connection>>(
    mut db: D,
    statuses: &[J::Status],
    unchanged_for: Duration,
) -> Result<usize> {
    let mut count = 0;
    if statuses.is_empty() {
        return Ok(count);
    }
    loop {
        let (found, deleted) = db.run(&J::TABLE, |conn, _| {
            let keys = J::stale_keys(conn, CHUNK, statuses, unchanged_for)?;
            if keys.is_empty() {
                return Ok((0, 0));
            }
            let deleted = J::delete_stale_rows(conn, &keys, statuses, unchanged_for)?;
            Ok((keys.len(), deleted))
        })?;
        count += deleted;
        if deleted == 0 || found < CHUNK {
            tracing::debug!(table = J::TABLE, count, "pruned");
            return Ok(count);
        }
    }
}
