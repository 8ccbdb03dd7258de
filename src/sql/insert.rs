//! New rows: inserts are Diesel's own, since only it knows the columns that the
//! user sets. Here is what they need besides.

use diesel::backend::Backend;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::{DatabaseErrorKind, Error};

use crate::sql::store::JobStore;
use status_protocol::Step;

/// A statement that may stay prepared, or not; see [`kept`].
#[derive(Debug)]
pub struct Kept<Q> {
    statement: Q,
    is_kept: bool,
}

/// Has the statement stay prepared on its connection only where `is_kept`
/// says so, as [`TableTexts`](super::texts::TableTexts) tell.
pub fn kept<Q>(is_kept: bool, statement: Q) -> Kept<Q> {
    Kept { statement, is_kept }
}

impl<Q, DB> QueryFragment<DB> for Kept<Q>
where
    DB: Backend,
    Q: QueryFragment<DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        if !self.is_kept {
            out.unsafe_to_cache_prepared();
        }
        self.statement.walk_ast(out)
    }
}

impl<Q: QueryId> QueryId for Kept<Q> {
    type QueryId = Q::QueryId;
    const HAS_STATIC_QUERY_ID: bool = Q::HAS_STATIC_QUERY_ID;
}

impl<Q: Query> Query for Kept<Q> {
    type SqlType = Q::SqlType;
}

impl<Q, Conn> RunQueryDsl<Conn> for Kept<Q> {}

fn is_duplicate(error: &Error) -> bool {
    matches!(
        error,
        Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _)
    )
}

/// MySQL, after an insert of one row: the row, `None` where its key exists.
pub fn after_insert<J: JobStore<C>, C>(
    conn: &mut C,
    key: &J::Key,
    inserted: QueryResult<usize>,
) -> QueryResult<Option<J>> {
    match inserted {
        Ok(_) => J::row(conn, key),
        Err(error) if is_duplicate(&error) => {
            if J::exists_now(conn, key)? {
                Ok(None)
            } else {
                // Another unique index of the user's table.
                Err(error)
            }
        }
        Err(error) => Err(error),
    }
}

/// MySQL: one statement for all rows; where a key exists it fails whole and
/// changes nothing. Then those that exist are left out, and what is still
/// taken when it comes to it is found one by one.
pub fn insert_new_rows<J: JobStore<C>, C>(
    conn: &mut C,
    rows: &[(J::Key, J::Updates)],
    step: &Step<J::Status>,
    mut insert: impl FnMut(&mut C, &[&(J::Key, J::Updates)]) -> QueryResult<usize>,
) -> QueryResult<usize> {
    let mut new: Vec<_> = rows.iter().collect();
    match insert(conn, &new) {
        Err(error) if is_duplicate(&error) => {}
        other => return other,
    }
    new.clear();
    for row in rows {
        if !J::exists(conn, &row.0)? {
            new.push(row);
        }
    }
    match insert(conn, &new) {
        Err(error) if is_duplicate(&error) => insert_each::<J, C>(conn, new, step),
        other => other,
    }
}

/// Inserts rows one by one, and counts the new ones.
pub fn insert_each<'a, J: JobStore<C> + 'a, C>(
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
