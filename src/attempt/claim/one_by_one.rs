//! Claims rows one by one, and skips those that cannot be claimed.

use diesel::QueryResult;
use diesel::result::Error::DeserializationError as Undecodable;

use super::claim_or_release;
use super::next::{candidates, keys_of};
use crate::db::connection::TrackerConnection;
use crate::rows::apart;
use crate::sql::dialect::LockWait;
use crate::sql::filter::Filter;
use crate::sql::results::{Batch, Claimed, Obstacle, Ready, Search};
use crate::sql::store::JobStore;
use status_protocol::{Start, Step};

/// Rows that are read at a time.
const AT_A_TIME: usize = 50;

/// How often a row must be ready before and after a claim that does nothing. Then
/// the database drops the update.
const TRIES: u32 = 3;

/// Claims up to `wanted` of the ready rows that `search` looks for, each by its own
/// statement, however many rows before them cannot be claimed.
pub(super) fn claim<C: TrackerConnection, J: JobStore<C>>(
    conn: &mut C,
    wanted: usize,
    token: &str,
    step: &Step<J::Status>,
    mut search: Search<J::Key>,
) -> QueryResult<Batch<J>> {
    let mut batch = Batch::default();
    loop {
        // Each page is as long as all pages before, so that there are few pages.
        let reach = wanted.max(AT_A_TIME).max(search.past.len());
        let (rows, are_all) = candidates::<C, J>(conn, reach, step, &search)?;
        let keys = keys_of(&rows);
        let free = apart::free::<C, J>(conn, &keys)?;
        search.past.extend(keys);
        for Ready { key, update_at } in rows {
            if batch.claimed.len() == wanted {
                break;
            }
            if !free.contains(&key) {
                batch.passed_over.push((key, Obstacle::Held));
                continue;
            }
            match alone::<C, J>(conn, &key, token, step, search.filter.as_ref())? {
                Ok(None) => {}
                Ok(Some(claimed)) => {
                    batch.claimed.push(claimed);
                    batch.reached = batch.reached.max(update_at);
                }
                Err(obstacle) => batch.passed_over.push((key, obstacle)),
            }
        }
        if are_all || !batch.claimed.is_empty() {
            return Ok(batch);
        }
    }
}

/// Claims one row. `None` if it is not ready any more, or if the filter does not let
/// it pass any more.
fn alone<C: TrackerConnection, J: JobStore<C>>(
    conn: &mut C,
    key: &J::Key,
    token: &str,
    step: &Step<J::Status>,
    filter: Option<&Filter>,
) -> QueryResult<std::result::Result<Option<Claimed<J>>, Obstacle>> {
    for _ in 0..TRIES {
        let claimed = apart::alone(conn, |conn| {
            claim_or_release::<C, J>(conn, key, token, step, filter, LockWait::Never)
        })?;
        match claimed {
            Ok(Some(claimed)) => return Ok(Ok(Some(claimed))),
            Ok(None) => {}
            Err(Obstacle::Refused(error)) => {
                // If even a read fails, the table is at fault and not the row.
                return match J::claimed_row(conn, key, token) {
                    Ok(_) | Err(Undecodable(_)) => Ok(Err(Obstacle::Refused(error))),
                    Err(_) => Err(error),
                };
            }
            Err(obstacle) => return Ok(Err(obstacle)),
        }
        let row = match J::row_state(conn, key) {
            Err(error @ Undecodable(_)) => return Ok(Err(Obstacle::Unreadable(error))),
            other => other?,
        };
        if !row.is_some_and(|row| step.may_start(&row) == Start::Ready) {
            return Ok(Ok(None));
        }
        if let Some(filter) = filter
            && !J::is_ready(conn, key, step, filter)?
        {
            return Ok(Ok(None));
        }
    }
    Ok(Err(Obstacle::Dropped))
}
