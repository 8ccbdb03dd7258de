//! The seam between the calls and the SQL: one method a statement, which says
//! what goes in and what comes out.

use std::slice::from_ref;

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::sql::call::{Call, Plain, rows};
use crate::sql::calls::{
    Query, all, batch, claimed, failed, first, held, keep_oldest, key, next, of,
};
use crate::sql::dialect::{Dialect, LockWait};
use crate::sql::filter::Filter;
use crate::sql::insert;
use crate::sql::record::Record;
use crate::sql::results::{Batch, Claimed, Order, Ready, Renewed, Search, Successes};
use crate::sql::statements::{self, Statement};
use crate::sql::table_rows::read;
use crate::sql::tracked_table::Tracked;
use status_protocol::{FailureOutcome, RowState, Step};

/// The statements on the table of `Self` over connection `C`; implemented by
/// `job_table!` for each of its `connections`.
///
/// The calls of [`StatusTracked`](crate::StatusTracked) use it, and programs name it in
/// bounds alone. Statements that write return how many rows they changed: 1, or 0 when
/// the fence refused.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not tracked over `{C}`: its `job_table!` does not list it in `connections`",
    label = "not listed in `connections`"
)]
#[allow(missing_docs)]
pub trait JobStore<C>: Tracked {
    /// What the connection speaks.
    #[doc(hidden)]
    fn dialect(conn: &mut C) -> &'static Dialect;
    /// Sends a statement, and tells how many rows it changed.
    #[doc(hidden)]
    fn execute(conn: &mut C, statement: &'static Statement, call: &Call<'_, Self>) -> Query<usize>;
    /// Sends a statement, and reads the rows that it returns or changed.
    #[doc(hidden)]
    fn read(
        conn: &mut C,
        statement: &'static Statement,
        call: &Call<'_, Self>,
    ) -> Query<Vec<Record<Self>>>;
    /// A new row, `None` where the key exists.
    fn insert_row(
        conn: &mut C,
        key: &Self::Key,
        updates: &Self::Updates,
        step: &Step<Self::Status>,
    ) -> Query<Option<Self>> {
        insert::row(conn, key, updates, step)
    }

    /// A new row whose key the database makes, and that key; `None` where the
    /// database tells of none.
    fn insert_row_without_key(
        conn: &mut C,
        updates: &Self::Updates,
        step: &Step<Self::Status>,
    ) -> Query<Option<(Self::Key, Self)>> {
        insert::row_without_key(conn, updates, step)
    }

    /// New rows in few statements, without those whose key exists. Not atomic by itself.
    fn insert_rows(
        conn: &mut C,
        rows: &[(Self::Key, Self::Updates)],
        step: &Step<Self::Status>,
    ) -> Query<usize> {
        insert::rows::<Self, C>(conn, rows, step)
    }

    /// Locks one row if it is ready, and if the filter lets it pass.
    fn claim_row(
        conn: &mut C,
        key: &Self::Key,
        token: &str,
        step: &Step<Self::Status>,
        filter: Option<&Filter>,
        wait: LockWait,
    ) -> Query<Option<Claimed<Self>>> {
        let mut call = Call {
            step: Some(step),
            ..held(from_ref(key), from_ref(&token), wait)
        };
        call.plain.filter = filter;
        first(Self::read(conn, &statements::CLAIM_ROW, &call)?, claimed)
    }

    /// Locks up to `limit` of the rows that `search` looks for, in order, by
    /// one statement. Waits for none that another transaction holds.
    fn claim_next(
        conn: &mut C,
        limit: usize,
        token: &str,
        step: &Step<Self::Status>,
        search: &Search<Self::Key>,
    ) -> Query<Batch<Self>> {
        let tokens = [token];
        let call = next(limit, &tokens, step, search);
        batch(Self::read(conn, &statements::CLAIM_NEXT, &call)?)
    }

    /// The same, after `successes` are written by the same statement. How many
    /// these are, and what is claimed.
    fn succeed_and_claim(
        conn: &mut C,
        successes: &Successes<'_, Self>,
        limit: usize,
        token: &str,
        step: &Step<Self::Status>,
        search: &Search<Self::Key>,
    ) -> Query<(usize, Batch<Self>)> {
        let tokens = [token];
        let mut call = Call {
            keys: successes.keys,
            updates: successes.updates,
            ..next(limit, &tokens, step, search)
        };
        call.plain.written_token = Some(successes.token);
        let mut records = Self::read(conn, &statements::SUCCEED_AND_CLAIM, &call)?;
        let written = records.first().map_or(0, |record| record.plain.written);
        records.retain(|record| !record.plain.is_empty);
        Ok((usize::try_from(written).unwrap_or(0), batch(records)?))
    }

    /// Locks those of `keys` that are ready, that the filter lets pass, and that no
    /// other transaction holds; in a transaction, for the rows are read before and after.
    fn claim_free_rows(
        conn: &mut C,
        keys: &[Self::Key],
        token: &str,
        step: &Step<Self::Status>,
        filter: Option<&Filter>,
    ) -> Query<Vec<Self::Key>> {
        let call = |keys, tokens| {
            let mut call = Call {
                step: Some(step),
                ..held(keys, tokens, LockWait::Never)
            };
            call.plain.filter = filter;
            call
        };
        let ready = Self::read(conn, &statements::LOCK_READY_ROWS, &call(keys, &[]))?;
        let locked = all(ready, key)?;
        if !locked.is_empty() {
            Self::execute(conn, &statements::CLAIM_ROWS, &call(&locked, &[token]))?;
        }
        Ok(locked)
    }

    /// Claims rows that this transaction has found ready, where nobody else writes.
    fn claim_found_rows(
        conn: &mut C,
        keys: &[Self::Key],
        token: &str,
        step: &Step<Self::Status>,
    ) -> Query<Vec<Claimed<Self>>> {
        let call = Call {
            step: Some(step),
            ..held(keys, from_ref(&token), LockWait::Never)
        };
        all(
            Self::read(conn, &statements::CLAIM_FOUND_ROWS, &call)?,
            claimed,
        )
    }

    /// Reads back the rows that `token` holds.
    fn claimed_rows(conn: &mut C, keys: &[Self::Key], token: &str) -> Query<Vec<Claimed<Self>>> {
        let call = held(keys, from_ref(&token), LockWait::Never);
        all(Self::read(conn, &statements::CLAIMED_ROWS, &call)?, claimed)
    }

    /// The first `limit` of the ready rows that `search` looks for, in order, read
    /// without locks. Those that it leaves out are among them.
    fn ready_rows(
        conn: &mut C,
        limit: usize,
        step: &Step<Self::Status>,
        search: &Search<Self::Key>,
    ) -> Query<Vec<Ready<Self::Key>>> {
        let statement = Self::dialect(conn).ready_rows(Self::OLDEST_FIRST);
        let call = Call {
            step: Some(step),
            plain: Plain {
                since: search.since.map(Into::into),
                limit: Some(rows(limit)),
                filter: search.filter.as_ref(),
                ..Plain::default()
            },
            ..Call::default()
        };
        let mut ready = all(Self::read(conn, statement, &call)?, |record| {
            Ok(Ready {
                update_at: record.plain.update_at,
                key: key(record)?,
            })
        })?;
        if std::ptr::eq(statement, &statements::READY_ROWS_BY_STATUS) {
            keep_oldest(&mut ready, limit);
        }
        Ok(ready)
    }

    /// Whether a claim with this filter would take the row.
    fn is_ready(
        conn: &mut C,
        key: &Self::Key,
        step: &Step<Self::Status>,
        filter: &Filter,
    ) -> Query<bool> {
        let mut call = of(key);
        call.step = Some(step);
        call.plain.filter = Some(filter);
        Ok(!Self::read(conn, &statements::READY_ROW, &call)?.is_empty())
    }

    /// Those of `keys` whose rows no other transaction holds, and none can
    /// take before this one ends. Waits for none.
    fn free_keys(conn: &mut C, keys: &[Self::Key]) -> Query<Vec<Self::Key>> {
        if !Self::dialect(conn).locks_rows() || keys.is_empty() {
            return Ok(keys.to_vec());
        }
        let call = held(keys, &[], LockWait::Never);
        all(Self::read(conn, &statements::FREE_KEYS, &call)?, key)
    }

    /// The failures in a row of one row, which may be unreadable otherwise.
    fn retries(conn: &mut C, key: &Self::Key) -> Query<Option<i32>> {
        let records = Self::read(conn, &statements::RETRIES, &of(key))?;
        first(records, |record| Ok(record.plain.retry))
    }

    /// Reads back a row that `token` holds.
    fn claimed_row(conn: &mut C, key: &Self::Key, token: &str) -> Query<Option<Claimed<Self>>> {
        let call = held(from_ref(key), from_ref(&token), LockWait::Never);
        first(Self::read(conn, &statements::CLAIMED_ROW, &call)?, claimed)
    }

    /// The rows that `token` holds.
    fn claimed_keys(conn: &mut C, token: &str, step: &Step<Self::Status>) -> Query<Vec<Self::Key>> {
        let call = Call {
            step: Some(step),
            ..held(&[], from_ref(&token), LockWait::Never)
        };
        all(Self::read(conn, &statements::CLAIMED_KEYS, &call)?, key)
    }

    /// What decides whether a job may start.
    fn row_state(conn: &mut C, key: &Self::Key) -> Query<Option<RowState<Self::Status>>> {
        first(
            Self::read(conn, &statements::ROW_STATE, &of(key))?,
            |record| {
                Ok(RowState {
                    status: read(record.status)?,
                    lock: record.plain.lock,
                    lock_at: record.plain.lock_at,
                    retry: record.plain.retry,
                    run_at: record.plain.run_at,
                    now: record.plain.now.unwrap_or_default(),
                })
            },
        )
    }

    fn succeed_row(
        conn: &mut C,
        key: &Self::Key,
        token: &str,
        updates: &Self::Updates,
        step: &Step<Self::Status>,
        wait: LockWait,
    ) -> Query<usize> {
        let call = Call {
            step: Some(step),
            updates: Some(updates),
            ..held(from_ref(key), from_ref(&token), wait)
        };
        Self::execute(conn, &statements::SUCCEED_ROW, &call)
    }

    /// Marks rows as succeeded that set nothing else; an error where another
    /// transaction holds one of them.
    fn succeed_rows(
        conn: &mut C,
        keys: &[Self::Key],
        token: &str,
        step: &Step<Self::Status>,
    ) -> Query<usize> {
        let call = Call {
            step: Some(step),
            ..held(keys, from_ref(&token), LockWait::Briefly)
        };
        Self::execute(conn, &statements::SUCCEED_ROWS, &call)
    }

    /// Whether `updates` would not set any column.
    fn sets_nothing(updates: &Self::Updates) -> Query<bool>;
    /// Whether updates that nobody has touched would not set any column.
    #[doc(hidden)]
    fn default_sets_nothing() -> Query<bool>;

    fn fail_row(
        conn: &mut C,
        key: &Self::Key,
        token: &str,
        outcome: FailureOutcome<Self::Status>,
        errors: Value,
        wait: LockWait,
    ) -> Query<usize> {
        let keys = from_ref(key);
        let call = failed(held(keys, from_ref(&token), wait), outcome, errors);
        Self::execute(conn, &statements::FAIL_ROW, &call)
    }

    /// Gives claimed rows back unworked, with this status.
    fn release_rows(
        conn: &mut C,
        keys: &[Self::Key],
        token: &str,
        status: Self::Status,
        wait: LockWait,
    ) -> Query<usize> {
        let call = Call {
            new_status: Some(status),
            ..held(keys, from_ref(&token), wait)
        };
        Self::execute(conn, &statements::RELEASE_ROWS, &call)
    }

    /// Takes the row for this transaction, if the lock on it still stands: from
    /// then on nobody else can change it.
    fn take_row(conn: &mut C, key: &Self::Key, token: &str) -> Query<bool> {
        let keys = from_ref(key);
        if Self::dialect(conn).locks_rows() {
            let call = held(keys, from_ref(&token), LockWait::Never);
            return Ok(!Self::read(conn, &statements::TAKE_ROW, &call)?.is_empty());
        }
        // The transaction has the file. A write finds out whether it can be written to.
        Ok(!Self::renew_rows(conn, keys, from_ref(&token), LockWait::Never)?.is_empty())
    }

    /// Renews all locks on `keys` that are one of `tokens`, and tells which
    /// those are, with their new times.
    fn renew_rows(
        conn: &mut C,
        keys: &[Self::Key],
        tokens: &[&str],
        wait: LockWait,
    ) -> Query<Vec<Renewed<Self::Key>>> {
        let call = held(keys, tokens, wait);
        all(
            Self::read(conn, &statements::RENEW_ROWS, &call)?,
            |mut record| {
                Ok(Renewed {
                    lock: record.plain.lock.take().unwrap_or_default(),
                    lock_at: record.plain.lock_at,
                    key: key(record)?,
                })
            },
        )
    }

    /// Writes updates in mid-run, and renews the lock: its new time, `None`
    /// when the fence refused.
    fn save_row(
        conn: &mut C,
        key: &Self::Key,
        token: &str,
        updates: &Self::Updates,
    ) -> Query<Option<Option<DateTime<Utc>>>> {
        let call = Call {
            updates: Some(updates),
            ..held(from_ref(key), from_ref(&token), LockWait::Briefly)
        };
        let records = Self::read(conn, &statements::SAVE_ROW, &call)?;
        first(records, |record| Ok(record.plain.lock_at))
    }

    fn row(conn: &mut C, key: &Self::Key) -> Query<Option<Self>> {
        let records = Self::read(conn, &statements::ROW, &of(key))?;
        first(records, |record| Ok(read(record.row)?.into_inner()))
    }

    /// Whether there is such a row.
    fn exists(conn: &mut C, key: &Self::Key) -> Query<bool> {
        Ok(!Self::read(conn, &statements::ROW_KEY, &of(key))?.is_empty())
    }

    /// The same as others have committed it, whatever this transaction has
    /// read before.
    fn exists_now(conn: &mut C, key: &Self::Key) -> Query<bool> {
        Ok(!Self::read(conn, &statements::ROW_NOW, &of(key))?.is_empty())
    }

    fn rows_by_status(
        conn: &mut C,
        status: Self::Status,
        limit: i64,
        order: Order,
    ) -> Query<Vec<Self>> {
        let call = Call {
            statuses: &[status],
            plain: Plain {
                limit: Some(limit),
                ..Plain::default()
            },
            ..Call::default()
        };
        let statement = match order {
            Order::OldestFirst => &statements::OLDEST_ROWS,
            Order::NewestFirst => &statements::NEWEST_ROWS,
        };
        all(Self::read(conn, statement, &call)?, |record| {
            Ok(read(record.row)?.into_inner())
        })
    }

    fn status_counts(conn: &mut C) -> Query<Vec<(Self::Status, i64)>> {
        let records = Self::read(conn, &statements::STATUS_COUNTS, &Call::default())?;
        all(records, |record| {
            Ok((read(record.status)?, record.plain.count))
        })
    }
}
