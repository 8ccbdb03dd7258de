//! Changes several rows together, or one by one if that fails, so that a row that
//! cannot be changed does not prevent the others from being changed.

use diesel::QueryResult;
use diesel::result::Error::{self as DieselError, DeserializationError as Undecodable};

use crate::db::connection::TrackerConnection;
use crate::db::retry::{self, Verdict};
use crate::keys::KeySet;
use crate::sql::results::Obstacle;
use crate::sql::store::JobStore;

/// How often several rows are tried together after a transient error. Then each is
/// tried alone, because a trigger may raise the error for one row each time. This
/// is less than the tries for an error that may be transient.
const TRIES_TOGETHER: u32 = 2;
/// How often one row is tried alone until such an error counts as its own.
const TRIES_ALONE: u32 = 3;

/// Keys of one statement.
const CHUNK: usize = 1_000;

/// How rows are changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// All together, and each alone if one row may be at fault.
    Together,
    /// Each alone, after a transient error that came again.
    Alone,
}

impl Mode {
    /// The mode of this try; the first is 1. With one writer, a transient error is
    /// never the fault of one row.
    pub fn of_try<C: TrackerConnection>(conn: &mut C, number: u32) -> Self {
        if conn.facts().writers > 1 && number > TRIES_TOGETHER {
            Self::Alone
        } else {
            Self::Together
        }
    }
}

/// Changes all rows by `all`. If that fails and one row may be at fault, and in
/// [`Mode::Alone`], it changes each of `keys` by `one`. Returns the result of each.
pub(crate) fn all_or_each<C: TrackerConnection, K, T>(
    conn: &mut C,
    mode: Mode,
    keys: impl IntoIterator<Item = K>,
    all: impl FnOnce(&mut C) -> QueryResult<Vec<(K, Result<T, Obstacle>)>>,
    one: impl FnMut(&mut C, &K) -> QueryResult<T>,
) -> QueryResult<Vec<(K, Result<T, Obstacle>)>> {
    if mode == Mode::Alone {
        return each_alone(conn, keys, one);
    }
    // In a transaction of the caller, a statement that fails must not end that.
    let changed = if conn.depth()? > 0 {
        conn.transaction(all)
    } else {
        all(conn)
    };
    match changed {
        Err(error) if is_of_one_row(conn, &error) => each(conn, keys, one),
        other => other,
    }
}

/// Changes each of `keys` by `one`, and returns the result of each. A transient
/// error that comes again counts as the row's own.
fn each_alone<C: TrackerConnection, K, T>(
    conn: &mut C,
    keys: impl IntoIterator<Item = K>,
    mut one: impl FnMut(&mut C, &K) -> QueryResult<T>,
) -> QueryResult<Vec<(K, Result<T, Obstacle>)>> {
    let keys = keys.into_iter();
    keys.map(|key| {
        let changed = alone(conn, |conn| conn.transaction(|conn| one(conn, &key)))?;
        Ok((key, changed))
    })
    .collect()
}

/// Changes one row by `change`. A transient error that comes again counts as the
/// row's own.
pub(crate) fn alone<C: TrackerConnection, T>(
    conn: &mut C,
    mut change: impl FnMut(&mut C) -> QueryResult<T>,
) -> QueryResult<Result<T, Obstacle>> {
    let mut tries = 0;
    loop {
        tries += 1;
        let error = match change(conn) {
            Ok(value) => return Ok(Ok(value)),
            Err(error) => error,
        };
        // With one writer, the error does not depend on the row.
        let may_be_transient = conn.facts().writers > 1
            && !retry::is_held(conn, &error)
            && matches!(
                retry::judge(conn, &error),
                Verdict::Transient | Verdict::Unclear
            );
        if !may_be_transient {
            return obstacle_of(conn, error).map(Err);
        }
        if tries == TRIES_ALONE {
            return Ok(Err(Obstacle::Refused(error)));
        }
    }
}

/// Changes each of `keys` by `one`, and returns the result of each.
fn each<C: TrackerConnection, K, T>(
    conn: &mut C,
    keys: impl IntoIterator<Item = K>,
    mut one: impl FnMut(&mut C, &K) -> QueryResult<T>,
) -> QueryResult<Vec<(K, Result<T, Obstacle>)>> {
    let each = |conn: &mut C| {
        let keys = keys.into_iter();
        keys.map(|key| {
            let changed = match conn.transaction(|conn| one(conn, &key)) {
                Ok(value) => Ok(value),
                Err(error) => Err(obstacle_of(conn, error)?),
            };
            Ok((key, changed))
        })
        .collect()
    };
    // One transaction waits for the disk once.
    if conn.facts().savepoints_hold {
        conn.write_transaction(each)
    } else {
        each(conn)
    }
}

/// Why one row cannot be changed; the error itself if that may not depend on the
/// row.
pub(crate) fn obstacle_of<C: TrackerConnection>(
    conn: &mut C,
    error: DieselError,
) -> QueryResult<Obstacle> {
    if matches!(error, Undecodable(_)) {
        Ok(Obstacle::Unreadable(error))
    } else if retry::is_held(conn, &error) {
        Ok(Obstacle::Held)
    } else if retry::judge(conn, &error) == Verdict::Permanent {
        Ok(Obstacle::Refused(error))
    } else {
        Err(error)
    }
}

/// Whether one row may be the cause, so that others can be changed.
pub(crate) fn is_of_one_row<C: TrackerConnection>(conn: &mut C, error: &DieselError) -> bool {
    retry::is_held(conn, error) || retry::judge(conn, error) == Verdict::Permanent
}

/// Those of `keys` whose rows no other transaction holds. It does not wait.
pub(crate) fn free<C: TrackerConnection, J: JobStore<C>>(
    conn: &mut C,
    keys: &[J::Key],
) -> QueryResult<KeySet<J::Key>> {
    let mut free = KeySet::default();
    if conn.facts().writers == 1 {
        free.extend(keys.iter().cloned());
        return Ok(free);
    }
    for chunk in keys.chunks(CHUNK) {
        free.extend(conn.transaction(|conn| J::free_keys(conn, chunk))?);
    }
    Ok(free)
}
