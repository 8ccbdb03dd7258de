//! New rows, in the way of each database.

use diesel::QueryResult;
use diesel::result::{DatabaseErrorKind, Error};
use status_protocol::Step;

use super::call::Call;
use super::dialect::Several;
use super::statements;
use super::store::JobStore;
use crate::panics::Discarded;

fn is_duplicate(error: &Error) -> bool {
    matches!(
        error,
        Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _)
    )
}

/// Inserts one row and returns it, `None` where the key exists.
pub(super) fn row<J: JobStore<C>, C>(
    conn: &mut C,
    key: &J::Key,
    updates: &J::Updates,
    step: &Step<J::Status>,
) -> QueryResult<Option<J>> {
    let call = Call {
        keys: std::slice::from_ref(key),
        step: Some(step),
        new_rows: &[updates],
        ..Call::default()
    };
    let is_passed_over = J::dialect(conn).passes_over_keys();
    match J::read(conn, &statements::INSERT_ROW, &call) {
        Ok(mut records) => Ok(records
            .pop()
            .and_then(|record| record.row)
            .map(Discarded::into_inner)),
        // Else it is another unique index of the user's table.
        Err(error) if !is_passed_over && is_duplicate(&error) => match J::exists_now(conn, key)? {
            true => Ok(None),
            false => Err(error),
        },
        Err(error) => Err(error),
    }
}

/// Inserts one row without its key, and returns it with the key that the database
/// made; `None` where the database tells of none.
pub(super) fn row_without_key<J: JobStore<C>, C>(
    conn: &mut C,
    updates: &J::Updates,
    step: &Step<J::Status>,
) -> QueryResult<Option<(J::Key, J)>> {
    let call = Call {
        step: Some(step),
        new_rows: &[updates],
        ..Call::default()
    };
    let record = J::read(conn, &statements::INSERT_WITHOUT_KEY, &call)?.pop();
    Ok(record.and_then(|record| record.key.zip(record.row.map(Discarded::into_inner))))
}

/// Inserts rows, those of one chunk, and counts the new ones.
pub(super) fn rows<J: JobStore<C>, C>(
    conn: &mut C,
    rows: &[(J::Key, J::Updates)],
    step: &Step<J::Status>,
) -> QueryResult<usize> {
    let dialect = J::dialect(conn);
    match dialect.several {
        // Not more than one insert takes.
        Several::ByKeys => {
            let inserts = rows.chunks(dialect.rows_of_insert[0]);
            inserts
                .map(|rows| all_or_new::<J, C>(conn, rows, step))
                .sum()
        }
        Several::AtOnce | Several::OneWriter => all::<J, C>(conn, rows, step),
    }
}

fn all<'a, J: JobStore<C> + 'a, C>(
    conn: &mut C,
    rows: impl IntoIterator<Item = &'a (J::Key, J::Updates)>,
    step: &Step<J::Status>,
) -> QueryResult<usize> {
    let (keys, new_rows): (Vec<_>, Vec<_>) = rows
        .into_iter()
        .map(|(key, updates)| (key.clone(), updates))
        .unzip();
    if keys.is_empty() {
        return Ok(0);
    }
    let call = Call {
        keys: &keys,
        step: Some(step),
        new_rows: &new_rows,
        ..Call::default()
    };
    J::execute(conn, &statements::INSERT_ROWS, &call)
}

/// One statement for all rows; where a key exists it fails whole and changes
/// nothing. Then those that exist are left out, and what is still taken when it
/// comes to it is found one by one.
fn all_or_new<J: JobStore<C>, C>(
    conn: &mut C,
    rows: &[(J::Key, J::Updates)],
    step: &Step<J::Status>,
) -> QueryResult<usize> {
    match all::<J, C>(conn, rows, step) {
        Err(error) if is_duplicate(&error) => {}
        other => return other,
    }
    let mut new = Vec::new();
    for row in rows {
        if !J::exists(conn, &row.0)? {
            new.push(row);
        }
    }
    match all::<J, C>(conn, new.iter().copied(), step) {
        Err(error) if is_duplicate(&error) => each::<J, C>(conn, new, step),
        other => other,
    }
}

/// Each by a statement of its own.
fn each<'a, J: JobStore<C> + 'a, C>(
    conn: &mut C,
    rows: impl IntoIterator<Item = &'a (J::Key, J::Updates)>,
    step: &Step<J::Status>,
) -> QueryResult<usize> {
    let mut created = 0;
    for (key, updates) in rows {
        created += usize::from(J::insert_row(conn, key, updates, step)?.is_some());
    }
    Ok(created)
}
