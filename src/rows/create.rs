//! New rows: one, or many in few statements.

use crate::db::connection::TrackerConnection;
use crate::db::database::Database;
use crate::db::retry::Fault;
use crate::error::Result;
use crate::sql::store::JobStore;
use crate::sql::tracked_table::JobName;
use status_protocol::Step;

/// Rows of one insert. With up to 131 columns that is below the number of
/// parameters of a statement on each database (65,535).
const INSERT_CHUNK: usize = 500;
/// Chunks that are kept to be inserted again after a transient error. With more
/// rows the caller gets the error, so that the memory stays bounded.
const KEPT_CHUNKS: usize = 20;

/// Inserts one row. `None` if the key exists and `on_conflict` accepts that. It
/// gets whether an earlier try may have been applied.
pub(crate) fn one<D: Database, J: JobStore<D::Connection>>(
    mut db: D,
    key: &J::Key,
    updates: &J::Updates,
    step: &Step<J::Status>,
    on_conflict: impl Fn(bool) -> Result<(), Fault>,
) -> Result<Option<J>> {
    let name = JobName::<J>(key);
    db.run(&name, |conn, maybe_applied| {
        let row = J::insert_row(conn, key, updates, step)?;
        if row.is_none() {
            on_conflict(maybe_applied)?;
        } else {
            tracing::debug!(job = %name, "created");
        }
        Ok(row)
    })
}

/// Inserts rows in one transaction, and counts the new ones.
pub(crate) fn many<D: Database, J: JobStore<D::Connection>>(
    mut db: D,
    mut rows: impl Iterator<Item = (J::Key, J::Updates)>,
    step: &Step<J::Status>,
) -> Result<usize> {
    let mut next = || -> Vec<_> { rows.by_ref().take(INSERT_CHUNK).collect() };
    let mut kept = vec![next()];
    if kept[0].is_empty() {
        return Ok(0);
    }
    let mut repeatable = true;
    let created = db.run(&J::TABLE, |conn, maybe_applied| {
        let mut given = 0;
        let created = conn.write_transaction(|conn| {
            let mut created = 0;
            for chunk in &kept {
                given += chunk.len();
                created += J::insert_rows(conn, chunk, step)?;
            }
            loop {
                let chunk = next();
                if chunk.is_empty() {
                    return Ok(created);
                }
                given += chunk.len();
                let inserted = J::insert_rows(conn, &chunk, step);
                if kept.len() < KEPT_CHUNKS {
                    kept.push(chunk);
                } else {
                    repeatable = false;
                }
                created += inserted?;
            }
        });
        match created {
            Err(Fault::Database(error)) if !repeatable => Err(Fault::Final(error)),
            // Rows that exist may be those of a try whose answer was lost.
            Ok(created) if maybe_applied && created < given => Err(Fault::RowChanged),
            other => other,
        }
    })?;
    tracing::debug!(table = J::TABLE, created, "created");
    Ok(created)
}
