//! The calls of the store, as far as they are alike, and how it reads what comes back.

use std::slice::from_ref;

use serde_json::Value;

use crate::sql::call::{Call, Document, Plain, micros};
use crate::sql::dialect::LockWait;
use crate::sql::record::Record;
use crate::sql::results::{Batch, Claimed, Search};
use crate::sql::table_rows::read;
use crate::sql::tracked_table::Tracked;
use status_protocol::{FailureOutcome, Step};

/// What a statement returns.
pub(super) type Query<T> = diesel::QueryResult<T>;

pub(super) fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

pub(super) fn of<J: Tracked>(key: &J::Key) -> Call<'_, J> {
    held(from_ref(key), &[], LockWait::Never)
}

/// A call that claims the first `limit` of the rows that `search` looks for.
pub(super) fn next<'a, J: Tracked>(
    limit: usize,
    tokens: &'a [&'a str],
    step: &'a Step<J::Status>,
    search: &'a Search<J::Key>,
) -> Call<'a, J> {
    Call {
        step: Some(step),
        past: search.past.some().unwrap_or_default(),
        plain: Plain {
            tokens,
            since: search.since.map(Into::into),
            limit: Some(rows(limit)),
            filter: search.filter.as_ref(),
            ..Plain::default()
        },
        ..Call::default()
    }
}

/// What such a call has claimed, in order.
pub(super) fn batch<J: Tracked>(records: Vec<Record<J>>) -> Query<Batch<J>> {
    let records = by_place(records);
    Ok(Batch {
        reached: records.iter().filter_map(|record| record.plain.since).max(),
        claimed: all(records, claimed)?,
        ..Batch::default()
    })
}

pub(super) fn held<'a, J: Tracked>(
    keys: &'a [J::Key],
    tokens: &'a [&'a str],
    wait: LockWait,
) -> Call<'a, J> {
    Call {
        keys,
        plain: Plain {
            tokens,
            wait,
            ..Plain::default()
        },
        ..Call::default()
    }
}

pub(super) fn failed<J: Tracked>(
    mut call: Call<'_, J>,
    outcome: FailureOutcome<J::Status>,
    errors: Value,
) -> Call<'_, J> {
    call.new_status = Some(outcome.status);
    call.plain.count = Some(J::info().retry().cut(outcome.retry));
    call.plain.document = Some(Document::of(errors, J::info()));
    call.plain.later = outcome.delay.map(micros);
    call
}

pub(super) fn key<J: Tracked>(record: Record<J>) -> Query<J::Key> {
    read(record.key)
}

/// The records in their order.
fn by_place<J: Tracked>(records: Vec<Record<J>>) -> Vec<Record<J>> {
    let places: Vec<_> = records.iter().map(|record| record.plain.place).collect();
    let mut records: Vec<_> = records.into_iter().map(Some).collect();
    let order = in_order(&places).into_iter();
    order.filter_map(|n| records[n].take()).collect()
}

/// The indices of some numbers, the smallest number first. Apart from the records,
/// so that sorting is compiled once, and not for each table.
fn in_order(places: &[i64]) -> Vec<usize> {
    let mut order: Vec<_> = (0..places.len()).collect();
    order.sort_by_key(|n| places[*n]);
    order
}

pub(super) fn claimed<J: Tracked>(record: Record<J>) -> Query<Claimed<J>> {
    Ok(Claimed {
        key: read(record.key)?,
        job: read(record.row)?,
        lock_at: record.plain.lock_at,
        retry: record.plain.retry,
        errors: record.plain.errors,
    })
}

pub(super) fn all<J: Tracked, T>(
    records: Vec<Record<J>>,
    made: impl FnMut(Record<J>) -> Query<T>,
) -> Query<Vec<T>> {
    records.into_iter().map(made).collect()
}

pub(super) fn first<J: Tracked, T>(
    records: Vec<Record<J>>,
    made: impl FnOnce(Record<J>) -> Query<T>,
) -> Query<Option<T>> {
    records.into_iter().next().map(made).transpose()
}
