//! Rows that are changed apart from each other, so that one that cannot be
//! changed does not keep the others.

use diesel::QueryResult;
use diesel::result::Error::{self as DieselError, DeserializationError as Undecodable};

use crate::connection::TrackerConnection;
use crate::retry::{self, Verdict};
use crate::store::Obstacle;

/// Changes all rows by `all`. Where one of them may be the reason for that to
/// fail, changes each of `keys` by `one`, and tells of each what that gave.
pub(crate) fn all_or_each<C: TrackerConnection, K, T>(
    conn: &mut C,
    keys: impl IntoIterator<Item = K>,
    all: impl FnOnce(&mut C) -> QueryResult<Vec<(K, Result<T, Obstacle>)>>,
    one: impl FnMut(&mut C, &K) -> QueryResult<T>,
) -> QueryResult<Vec<(K, Result<T, Obstacle>)>> {
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

/// Changes each of `keys` by `one`, all in one transaction, and tells of each
/// what that gave.
fn each<C: TrackerConnection, K, T>(
    conn: &mut C,
    keys: impl IntoIterator<Item = K>,
    mut one: impl FnMut(&mut C, &K) -> QueryResult<T>,
) -> QueryResult<Vec<(K, Result<T, Obstacle>)>> {
    conn.write_transaction(|conn| {
        let keys = keys.into_iter();
        keys.map(|key| {
            let changed = match conn.transaction(|conn| one(conn, &key)) {
                Ok(value) => Ok(value),
                Err(error) => Err(obstacle_of(conn, error)?),
            };
            Ok((key, changed))
        })
        .collect()
    })
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
