//! New rows: one, or many in few statements.

use crate::db::connection::TrackerConnection;
use crate::db::database::Database;
use crate::db::retry::Fault;
use crate::error::{Error, Result};
use crate::sql::record::KeyIsNull;
use crate::sql::store::JobStore;
use crate::sql::table_rows::RowName;
use crate::sql::tracked_table::Tracked;
use diesel::result::{DatabaseErrorInformation, DatabaseErrorKind, Error as DieselError};
use status_protocol::Step;

/// Rows that are taken from the caller at a time.
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
    let name = RowName::of::<J>(key);
    let created = db.run(&name, |conn, maybe_applied| {
        let row = J::insert_row(conn, key, updates, step)?;
        if row.is_none() {
            on_conflict(maybe_applied)?;
        } else {
            tracing::debug!(job = %name, "created");
        }
        Ok(row)
    });
    created.map_err(not_created::<J>)
}

/// Inserts one row whose key the database makes. It is not repeated where it may
/// have been applied: that would be a second row.
pub(crate) fn without_key<D: Database, J: JobStore<D::Connection>>(
    mut db: D,
    updates: &J::Updates,
    step: &Step<J::Status>,
) -> Result<J> {
    let refused = |problem: String| Error::NotCreated {
        job: J::table_name().into(),
        problem,
        source: None,
    };
    let mut tells_key = true;
    let created = db.run(&J::table_name(), |conn, _| {
        let dialect = J::dialect(conn);
        tells_key = dialect.tells_made_key(J::info());
        if !tells_key {
            return Ok(None);
        }
        let has_returning = dialect.has_returning;
        if dialect.returns_made_keys {
            return J::insert_row_without_key(conn, updates, step).map_err(Fault::Once);
        }
        // A row whose key is not known is taken back.
        let mut commits = false;
        let created = conn.write_transaction(|conn| {
            let created = J::insert_row_without_key(conn, updates, step)?;
            if created.is_none() && !has_returning {
                return Err(Fault::Database(DieselError::NotFound));
            }
            commits = true;
            Ok(created)
        });
        created.map_err(|fault| match fault {
            Fault::Database(error) if commits => Fault::Once(error),
            fault => fault,
        })
    });
    match created.map_err(not_created::<J>) {
        Ok(Some((key, row))) => {
            tracing::debug!(job = %RowName::of::<J>(&key), "created");
            Ok(row)
        }
        Ok(None) if tells_key => Err(refused(
            "the database gave no error and no row, so a trigger or a rule of the table drops \
             the row; remove it, or let it pass new rows"
                .into(),
        )),
        Ok(None) => Err(refused(
            "this database tells only a key that is one AUTO_INCREMENT column, beside the time \
             of creation where that is part of the key; give the key with `create_and_save`"
                .into(),
        )),
        // Only the transaction above returns this.
        Err(Error::Database {
            source: DieselError::NotFound,
            ..
        }) => Err(refused(no_key_is_made::<J>())),
        Err(error) => Err(error),
    }
}

fn no_key_is_made<J: Tracked>() -> String {
    let columns: Vec<_> = J::info().key().map(|name| format!("`{name}`")).collect();
    format!(
        "the database makes no key: let it make {}, as by `GENERATED ALWAYS AS IDENTITY`, \
         `AUTO_INCREMENT` or SQLite's `INTEGER PRIMARY KEY`, or give the key with `create_and_save`",
        columns.join(" and ")
    )
}

/// What the database's refusal of a new row means. It speaks of no job that was
/// claimed.
fn not_created<J: Tracked>(error: Error) -> Error {
    let Error::Database { job, source } = error else {
        return error;
    };
    let problem = match &source {
        DieselError::DeserializationError(error) if error.is::<KeyIsNull>() => {
            no_key_is_made::<J>()
        }
        DieselError::DatabaseError(DatabaseErrorKind::NotNullViolation, told) => {
            match null_column(&**told) {
                Some(column) if J::info().key().any(|key| key == column) => no_key_is_made::<J>(),
                Some(column) => format!(
                    "column `{column}` got no value and may not be NULL: set it in `updates`, or \
                     give it a default in the table"
                ),
                None => "a column got no value and may not be NULL: set it in `updates`, or give \
                         it a default in the table"
                    .into(),
            }
        }
        _ => return Error::Database { job, source },
    };
    Error::NotCreated {
        job,
        problem,
        source: Some(source),
    }
}

/// The column that an error is about. PostgreSQL tells it apart; MySQL's messages
/// have it in quotes, in each language, and SQLite's at their end, after the table.
fn null_column(told: &(dyn DatabaseErrorInformation + Send + Sync)) -> Option<&str> {
    let message = told.message();
    let in_quotes = || message.split('\'').nth(1);
    let at_end = || message.rsplit_once('.').map(|(_, column)| column);
    told.column_name().or_else(in_quotes).or_else(at_end)
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
    let created = db.run(&J::table_name(), |conn, maybe_applied| {
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
    });
    let created = created.map_err(not_created::<J>)?;
    tracing::debug!(table = J::table_name(), created, "created");
    Ok(created)
}
