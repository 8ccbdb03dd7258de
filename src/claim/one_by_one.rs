//! Claiming rows one by one, past those that cannot be claimed.

use diesel::QueryResult;
use diesel::result::Error::DeserializationError as Undecodable;

use super::claim_or_release;
use super::next::candidates;
use crate::apart;
use crate::connection::TrackerConnection;
use crate::keys::KeySet;
use crate::protocol::{Start, Step};
use crate::statement::LockWait;
use crate::store::{Batch, Claimed, JobStore, Obstacle, Search};

/// Rows that are looked at in one go.
const AT_A_TIME: usize = 50;

/// How often a row must be ready before a claim and after it, and the claim do
/// nothing, until that is no accident.
const TRIES: u32 = 3;

/// Claims up to `wanted` of the ready rows that `search` looks for, each by a
/// statement of its own, however many cannot be claimed before them.
pub(super) fn claim<S: 'static, C: TrackerConnection, J: JobStore<C>>(
    conn: &mut C,
    wanted: usize,
    token: &str,
    step: &Step<J::Status>,
    mut search: Search<J::Key>,
) -> QueryResult<Batch<J>> {
    let mut batch = Batch::default();
    loop {
        let (rows, are_all) = candidates::<C, J>(conn, wanted.max(AT_A_TIME), step, &search)?;
        let keys: Vec<_> = rows.into_iter().map(|row| row.key).collect();
        search.past.extend(keys.iter().cloned());
        for key in those_not_held::<C, J>(conn, keys, &mut batch)? {
            if batch.claimed.len() == wanted {
                break;
            }
            match alone::<S, C, J>(conn, &key, token, step)? {
                Ok(claimed) => batch.claimed.extend(claimed),
                Err(obstacle) => batch.passed_over.push((key, obstacle)),
            }
        }
        if are_all || !batch.claimed.is_empty() {
            return Ok(batch);
        }
    }
}

/// Those of `keys` whose rows no other transaction holds; the others are noted
/// in the batch. None is waited for.
fn those_not_held<C: TrackerConnection, J: JobStore<C>>(
    conn: &mut C,
    keys: Vec<J::Key>,
    batch: &mut Batch<J>,
) -> QueryResult<Vec<J::Key>> {
    if C::WRITERS == 1 || keys.is_empty() {
        return Ok(keys);
    }
    let mut free = KeySet::default();
    free.extend(conn.transaction(|conn| J::free_keys(conn, &keys))?);
    let (free, held): (Vec<_>, Vec<_>) = keys.into_iter().partition(|key| free.contains(key));
    let held = held.into_iter().map(|key| (key, Obstacle::Held));
    batch.passed_over.extend(held);
    Ok(free)
}

/// Claims one row: `None` where it is not ready any more.
fn alone<S: 'static, C: TrackerConnection, J: JobStore<C>>(
    conn: &mut C,
    key: &J::Key,
    token: &str,
    step: &Step<J::Status>,
) -> QueryResult<std::result::Result<Option<Claimed<J>>, Obstacle>> {
    for _ in 0..TRIES {
        match claim_or_release::<S, C, J>(conn, key, token, step, LockWait::Never) {
            Ok(Some(claimed)) => return Ok(Ok(Some(claimed))),
            Ok(None) => {}
            Err(error) => return obstacle_of::<C, J>(conn, key, token, error).map(Err),
        }
        let row = match J::row_state(conn, key) {
            Err(error @ Undecodable(_)) => return Ok(Err(Obstacle::Unreadable(error))),
            other => other?,
        };
        if !row.is_some_and(|row| step.may_start(&row) == Start::Ready) {
            return Ok(Ok(None));
        }
    }
    Ok(Err(Obstacle::Dropped))
}

/// What keeps this row from being claimed; the error itself, where it is not
/// of this row alone.
fn obstacle_of<C: TrackerConnection, J: JobStore<C>>(
    conn: &mut C,
    key: &J::Key,
    token: &str,
    error: diesel::result::Error,
) -> QueryResult<Obstacle> {
    let obstacle = apart::obstacle_of(conn, error)?;
    if let Obstacle::Refused(error) = obstacle {
        // What cannot even be read is wrong with the table, not with the row.
        return match J::claimed_row(conn, key, token) {
            Ok(_) | Err(Undecodable(_)) => Ok(Obstacle::Refused(error)),
            Err(_) => Err(error),
        };
    }
    Ok(obstacle)
}
