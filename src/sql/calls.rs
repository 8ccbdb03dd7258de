//! The calls of the store, as far as they are alike, and how it reads what comes back.

use std::slice::from_ref;

use serde_json::Value;

use crate::sql::call::{Call, Plain, rows};
use crate::sql::dialect::LockWait;
use crate::sql::record::Record;
use crate::sql::results::{Batch, Claimed, Ready, Search};
use crate::sql::table_rows::read;
use crate::sql::tracked_table::Tracked;
use status_protocol::{FailureOutcome, Step};

/// What a statement returns.
pub(super) type Query<T> = diesel::QueryResult<T>;

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
    let (mut places, mut reached) = (Vec::new(), None);
    for record in &records {
        places.push(record.plain.place);
        reached = reached.max(record.plain.since);
    }
    let mut claimed = all(records, claimed)?;
    sort_by_places(&mut claimed, places);
    Ok(Batch {
        reached,
        claimed,
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
        plain: Plain::held(tokens, wait),
        ..Call::default()
    }
}

pub(super) fn failed<J: Tracked>(
    mut call: Call<'_, J>,
    outcome: FailureOutcome<J::Status>,
    errors: Value,
) -> Call<'_, J> {
    call.new_status = Some(outcome.status);
    call.plain.fail(&outcome, errors, J::info());
    call
}

pub(super) fn key<J: Tracked>(record: Record<J>) -> Query<J::Key> {
    read(record.key)
}

/// Sorts the first rows of several statuses by their last change, rows without one first,
/// and keeps `limit` of them.
pub(super) fn keep_oldest<K>(ready: &mut Vec<Ready<K>>, limit: usize) {
    ready.sort_by_key(|row| row.update_at);
    ready.truncate(limit);
}

/// Sorts rows by their places, of which there is one for each.
pub(crate) fn sort_by_places<T>(rows: &mut [T], places: Vec<i64>) {
    for (one, other) in swaps(places) {
        rows.swap(one, other);
    }
}

/// Which swaps sort these numbers, the smallest first. Apart from the rows, so that
/// sorting is compiled once, and not for each table.
fn swaps(places: Vec<i64>) -> Vec<(usize, usize)> {
    let mut order: Vec<_> = (0..places.len()).collect();
    order.sort_by_key(|n| places[*n]);
    let mut swaps = Vec::new();
    for to in 0..order.len() {
        // What stood there first may have been moved by an earlier swap.
        let mut from = order[to];
        while from < to {
            from = order[from];
        }
        if from != to {
            swaps.push((to, from));
        }
    }
    swaps
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
    made: fn(Record<J>) -> Query<T>,
) -> Query<Vec<T>> {
    // A loop: an iterator that collects in place is compiled anew for each table, and
    // that is most of what a table costs to build.
    let mut all = Vec::with_capacity(records.len());
    for record in records {
        all.push(made(record)?);
    }
    Ok(all)
}

pub(super) fn first<J: Tracked, T>(
    mut records: Vec<Record<J>>,
    made: fn(Record<J>) -> Query<T>,
) -> Query<Option<T>> {
    records.truncate(1);
    match records.pop() {
        Some(record) => made(record).map(Some),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_by_their_places() {
        let mut orders = vec![vec![]];
        for n in 0..6 {
            // Each order of the numbers below `n + 1`.
            let longer = orders.iter().flat_map(|order: &Vec<i64>| {
                (0..=order.len()).map(move |at| {
                    let mut order = order.clone();
                    order.insert(at, n);
                    order
                })
            });
            orders = longer.collect();
            for places in &orders {
                let mut rows = places.clone();
                sort_by_places(&mut rows, places.clone());
                assert!(rows.is_sorted(), "{places:?}");
            }
        }
    }
}
