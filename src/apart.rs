//! Rows that are changed apart from each other, so that one that cannot be
//! changed does not keep the others.

use diesel::QueryResult;
use diesel::result::Error::{self as DieselError, DeserializationError as Undecodable};

use crate::connection::TrackerConnection;
use crate::keys::KeySet;
use crate::retry::{self, Verdict};
use crate::store::{JobStore, Obstacle};

/// How often several rows are tried together where the error may pass. Then each
/// is tried alone: the error may be one row's own, of a trigger that raises it.
/// Fewer than the tries where it is unclear whether an error will pass.
const TRIES_TOGETHER: u32 = 2;
/// How often one row alone is tried until such an error is its own.
const TRIES_ALONE: u32 = 3;

/// Keys to ask for in one statement.
const CHUNK: usize = 1_000;

/// How rows are changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// All together, and each alone where one row may be at fault.
    Together,
    /// Each alone, after an error that may pass and does not.
    Alone,
}

impl Mode {
    /// The mode of this try, of which the first is 1. With one writer, what may
    /// pass is never one row's own.
    pub fn of_try<C: TrackerConnection>(number: u32) -> Self {
        if C::WRITERS > 1 && number > TRIES_TOGETHER {
            Self::Alone
        } else {
            Self::Together
        }
    }
}

/// Changes all rows by `all`. Where one of them may be the reason for that to
/// fail, and in [`Mode::Alone`], changes each of `keys` by `one`, and tells of
/// each what that gave.
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
    // In a transaction of the caller's, a statement that fails must not end it.
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

/// Changes each of `keys` by `one`, and tells of each what that gave. An error
/// that may pass, and does not, is the row's own.
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

/// Changes one row by `change`. An error that may pass, and does not, is the
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
        // With one writer, any row would have met the same.
        let may_pass = C::WRITERS > 1
            && !retry::is_held(conn, &error)
            && matches!(
                retry::judge(conn, &error),
                Verdict::Transient | Verdict::Unclear
            );
        if !may_pass {
            return obstacle_of(conn, error).map(Err);
        }
        if tries == TRIES_ALONE {
            return Ok(Err(Obstacle::Refused(error)));
        }
    }
}

/// Changes each of `keys` by `one`, and tells of each what that gave.
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
    // One transaction is one wait for the disk.
    if C::SAVEPOINTS_HOLD {
        conn.write_transaction(each)
    } else {
        each(conn)
    }
}

/// What keeps one row from being changed; the error itself, where it need not
/// be the row.
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

/// Whether one row can be the cause, and others might be changed.
pub(crate) fn is_of_one_row<C: TrackerConnection>(conn: &mut C, error: &DieselError) -> bool {
    retry::is_held(conn, error) || retry::judge(conn, error) == Verdict::Permanent
}

/// Those of `keys` whose rows no other transaction holds. None is waited for.
pub(crate) fn free<C: TrackerConnection, J: JobStore<C>>(
    conn: &mut C,
    keys: &[J::Key],
) -> QueryResult<KeySet<J::Key>> {
    let mut free = KeySet::default();
    if C::WRITERS == 1 {
        free.extend(keys.iter().cloned());
        return Ok(free);
    }
    for chunk in keys.chunks(CHUNK) {
        free.extend(conn.transaction(|conn| J::free_keys(conn, chunk))?);
    }
    Ok(free)
}
