//! The rows of a table, whatever its key and its codes are to Rust: the calls that
//! need no type of the user's go through this, for a table that `job_table!` tracks
//! ([`Typed`]) and for one that is known at run time alone (`sql::described`).

use std::fmt::{self, Debug, Display};
use std::marker::PhantomData;
use std::slice::from_ref;
use std::time::Duration;

use diesel::result::Error::QueryBuilderError;
use serde_json::Value;

use super::call::{Call, Plain, micros, rows};
use super::dialect::LockWait;
use super::record::{self, Record};
use super::results::DeadAttempt;
use super::statements::{self, Statement};
use super::store::JobStore;
use super::tracked_table::Tracked;
use crate::error::Error;
use crate::table_info::TableInfo;
use status_protocol::{FailureOutcome, RowState, Step};

type Query<T> = diesel::QueryResult<T>;

/// A table, and the types in which a call gives what varies.
pub(crate) trait TableRows {
    /// The key of a row.
    type Key: Clone + PartialEq + Debug;
    /// A status, as the rules compare it.
    type Status: Copy + PartialEq + Debug + 'static;
    /// A status that a call gives.
    type Code;
    /// The table's name, for people.
    fn table(&self) -> &str;
    /// What is known of it.
    fn info(&self) -> &TableInfo;
    /// A job as messages name it.
    fn job<'a>(&'a self, key: &'a Self::Key) -> RowName<'a> {
        RowName::new(self.table(), key)
    }
}

/// A job as messages name it: table and key.
pub(crate) struct RowName<'a> {
    table: &'a str,
    key: &'a dyn Debug,
}

impl Display for RowName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.table, self.key)
    }
}

impl<'a> RowName<'a> {
    pub fn new(table: &'a str, key: &'a dyn Debug) -> Self {
        Self { table, key }
    }

    /// A job of a typed table.
    pub fn of<J: Tracked>(key: &'a J::Key) -> Self {
        Self::new(J::table_name(), key)
    }

    pub fn not_found(&self) -> Error {
        Error::NotFound {
            job: self.to_string(),
        }
    }
}

/// The values of one call, none of them by default.
pub(crate) struct RowCall<'a, T: TableRows + ?Sized> {
    pub keys: &'a [T::Key],
    pub step: Option<&'a Step<T::Status>>,
    pub statuses: &'a [T::Code],
    pub new_status: Option<T::Status>,
    pub plain: Plain<'a>,
}

impl<T: TableRows + ?Sized> Default for RowCall<'_, T> {
    fn default() -> Self {
        Self {
            keys: &[],
            step: None,
            statuses: &[],
            new_status: None,
            plain: Plain::default(),
        }
    }
}

/// What was read of one row. What the statement does not read is `None`.
pub(crate) struct RowRecord<T: TableRows + ?Sized> {
    pub key: Option<T::Key>,
    pub plain: record::Plain,
}

/// A row as the rules see it, and its status for people.
pub(crate) type SeenRow<T> = (RowState<<T as TableRows>::Status>, String);

/// The statements on the rows of a table over connection `C`. Those that write
/// return how many rows they changed.
pub(crate) trait RowStore<C>: TableRows {
    /// Sends a statement, and tells how many rows it changed.
    fn execute(
        &self,
        conn: &mut C,
        statement: &'static Statement,
        call: RowCall<'_, Self>,
    ) -> Query<usize>;

    /// Sends a statement, and reads the rows that it returns or changed.
    fn read(
        &self,
        conn: &mut C,
        statement: &'static Statement,
        call: RowCall<'_, Self>,
    ) -> Query<Vec<RowRecord<Self>>>;

    /// What decides what may be done with a row.
    fn row_state(&self, conn: &mut C, key: &Self::Key) -> Query<Option<SeenRow<Self>>>;

    /// Back to pending, but for rows that somebody holds or that are another step's.
    fn reset_rows(
        &self,
        conn: &mut C,
        keys: &[Self::Key],
        step: &Step<Self::Status>,
        wait: LockWait,
    ) -> Query<usize> {
        let call = expired(held(keys, &[], wait), step);
        self.execute(conn, &statements::RESET_ROWS, call)
    }

    /// The keys of up to `limit` rows of the step whose lock has expired, the
    /// oldest lock first.
    fn dead_keys(
        &self,
        conn: &mut C,
        limit: usize,
        step: &Step<Self::Status>,
    ) -> Query<Vec<Self::Key>> {
        let mut call = expired(RowCall::default(), step);
        call.plain.limit = Some(rows(limit));
        keys(self.read(conn, &statements::DEAD_KEYS, call)?)
    }

    /// The expired lock on one row of the step, if there is one.
    fn dead_attempt(
        &self,
        conn: &mut C,
        key: &Self::Key,
        step: &Step<Self::Status>,
    ) -> Query<Option<DeadAttempt<Self::Key>>> {
        let call = expired(held(from_ref(key), &[], LockWait::Never), step);
        let records = self.read(conn, &statements::DEAD_ATTEMPT, call)?;
        let first = records.into_iter().next();
        first.map(dead::<Self>).transpose()
    }

    /// Ends a dead attempt, unless it was renewed or finished meanwhile.
    fn expire_row(
        &self,
        conn: &mut C,
        dead: &DeadAttempt<Self::Key>,
        outcome: FailureOutcome<Self::Status>,
        errors: Value,
        step: &Step<Self::Status>,
    ) -> Query<usize> {
        let (keys, tokens) = (from_ref(&dead.key), [&*dead.lock]);
        let call = failed(
            self.info(),
            held(keys, &tokens, LockWait::Never),
            outcome,
            errors,
        );
        self.execute(conn, &statements::EXPIRE_ROW, expired(call, step))
    }

    /// The keys of up to `limit` rows that nobody holds, with one of
    /// `statuses`, and that have not changed for the time `unchanged_for`.
    fn stale_keys(
        &self,
        conn: &mut C,
        limit: usize,
        statuses: &[Self::Code],
        unchanged_for: Duration,
    ) -> Query<Vec<Self::Key>> {
        let mut call = stale(RowCall::default(), statuses, unchanged_for);
        call.plain.limit = Some(rows(limit));
        keys(self.read(conn, &statements::STALE_KEYS, call)?)
    }

    /// Deletes those of the rows that are still as [`stale_keys`](Self::stale_keys) found them.
    fn delete_stale_rows(
        &self,
        conn: &mut C,
        keys: &[Self::Key],
        statuses: &[Self::Code],
        unchanged_for: Duration,
        wait: LockWait,
    ) -> Query<usize> {
        let call = stale(held(keys, &[], wait), statuses, unchanged_for);
        self.execute(conn, &statements::DELETE_STALE_ROWS, call)
    }
}

/// The table of a row type.
pub(crate) struct Typed<J>(PhantomData<J>);

impl<J> Typed<J> {
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<J: Tracked> TableRows for Typed<J> {
    type Key = J::Key;
    type Status = J::Status;
    type Code = J::Status;

    fn table(&self) -> &str {
        J::table_name()
    }

    fn info(&self) -> &TableInfo {
        J::info()
    }
}

impl<'a, J: Tracked> From<RowCall<'a, Typed<J>>> for Call<'a, J> {
    fn from(call: RowCall<'a, Typed<J>>) -> Self {
        Call {
            keys: call.keys,
            step: call.step,
            statuses: call.statuses,
            new_status: call.new_status,
            plain: call.plain,
            ..Call::default()
        }
    }
}

impl<J: JobStore<C>, C> RowStore<C> for Typed<J> {
    fn execute(
        &self,
        conn: &mut C,
        statement: &'static Statement,
        call: RowCall<'_, Self>,
    ) -> Query<usize> {
        J::execute(conn, statement, &call.into())
    }

    fn read(
        &self,
        conn: &mut C,
        statement: &'static Statement,
        call: RowCall<'_, Self>,
    ) -> Query<Vec<RowRecord<Self>>> {
        let records = J::read(conn, statement, &call.into())?;
        let mut rows = Vec::with_capacity(records.len());
        for Record { key, plain, .. } in records {
            rows.push(RowRecord { key, plain });
        }
        Ok(rows)
    }

    fn row_state(&self, conn: &mut C, key: &J::Key) -> Query<Option<SeenRow<Self>>> {
        Ok(J::row_state(conn, key)?.map(shown))
    }
}

/// With its status for people.
fn shown<S: Debug>(row: RowState<S>) -> (RowState<S>, String) {
    let status = format!("{:?}", row.status);
    (row, status)
}

pub(crate) fn held<'a, T: TableRows + ?Sized>(
    keys: &'a [T::Key],
    tokens: &'a [&'a str],
    wait: LockWait,
) -> RowCall<'a, T> {
    RowCall {
        keys,
        plain: Plain::held(tokens, wait),
        ..RowCall::default()
    }
}

pub(crate) fn expired<'a, T: TableRows + ?Sized>(
    mut call: RowCall<'a, T>,
    step: &'a Step<T::Status>,
) -> RowCall<'a, T> {
    call.step = Some(step);
    call.plain.ago = Some(-micros(step.lock_expire));
    call
}

pub(crate) fn failed<'a, T: TableRows + ?Sized>(
    info: &TableInfo,
    mut call: RowCall<'a, T>,
    outcome: FailureOutcome<T::Status>,
    errors: Value,
) -> RowCall<'a, T> {
    call.new_status = Some(outcome.status);
    call.plain.fail(&outcome, errors, info);
    call
}

fn stale<'a, T: TableRows + ?Sized>(
    mut call: RowCall<'a, T>,
    statuses: &'a [T::Code],
    unchanged_for: Duration,
) -> RowCall<'a, T> {
    call.statuses = statuses;
    call.plain.ago = Some(-micros(unchanged_for));
    call
}

/// A field that the statement reads.
pub(crate) fn read<T>(field: Option<T>) -> Query<T> {
    field.ok_or_else(|| QueryBuilderError("the statement does not read this field".into()))
}

fn keys<T: TableRows + ?Sized>(records: Vec<RowRecord<T>>) -> Query<Vec<T::Key>> {
    let mut keys = Vec::with_capacity(records.len());
    for record in records {
        keys.push(read(record.key)?);
    }
    Ok(keys)
}

/// An attempt that is to end, as the statement has read it.
pub(crate) fn dead<T: TableRows + ?Sized>(record: RowRecord<T>) -> Query<DeadAttempt<T::Key>> {
    Ok(DeadAttempt {
        key: read(record.key)?,
        lock: record.plain.lock.unwrap_or_default(),
        retry: record.plain.retry,
        errors: record.plain.errors,
        now: record.plain.now.unwrap_or_default(),
    })
}
