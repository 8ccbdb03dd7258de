//! Calls for all items of a step: expiry and deletion.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use status_protocol::{BoxError, Step};

use super::read::Search;
use crate::attempt::expiry;
use crate::clock::stamp;
use crate::db::expression::{CONDITION, Expression, FILTER, KEYS};
use crate::db::fault::{Fault, Tries};
use crate::db::read::{self, MOST_KEYS, Order, Page};
use crate::db::statements;
use crate::db::write;
use crate::error::{Error, Result};
use crate::item::Item;
use crate::item::key::ItemKey;
use crate::item::queue::queue;
use crate::item::value::status_value;
use crate::table::Table;
use crate::tracked::{StatusOf, StatusTracked, Tracked};

/// Requests that are sent at a time.
const AT_A_TIME: usize = 16;

/// Looks at all open jobs of the step, watches their locks, and ends the attempts
/// that were watched for long enough.
pub(crate) async fn expire_all<S: StatusTracked>(
    table: &Table,
    step: &Step<StatusOf<S>>,
) -> Result<usize> {
    let index = table.index()?;
    let mut expired = 0;
    for status in std::iter::once(&step.pending).chain(step.more_pending) {
        for shard in 0..table.shards() {
            let queue = queue(status, shard).map_err(|error| Error::Misconfigured {
                job: table.name().into(),
                problem: error.to_string(),
            })?;
            let expression = Expression::new::<S::Job>()
                .text(KEYS, statements::ALL_OPEN)
                .string(":queue", queue);
            let mut from = Some(None);
            while let Some(start) = from.take() {
                let page = open_page(table, index, &expression, start).await?;
                expired += expire_page::<S>(table, step, &page.items).await?;
                from = page.next.map(Some);
            }
        }
    }
    Ok(expired)
}

async fn open_page(
    table: &Table,
    index: &str,
    expression: &Expression,
    from: Option<Item>,
) -> Result<Page> {
    let mut tries = Tries::new(table.name());
    loop {
        match read::query(
            table,
            index,
            expression,
            Order::OldestFirst,
            MOST_KEYS as i32,
            from.clone(),
        )
        .await
        {
            Ok(page) => return Ok(page),
            Err(fault) => again(&mut tries, fault, table.name()).await?,
        }
    }
}

async fn again(tries: &mut Tries<'_>, fault: Fault, job: &str) -> Result<()> {
    tries
        .after(fault)
        .await
        .map_err(|fault| fault.into_error(job))
}

async fn expire_page<S: StatusTracked>(
    table: &Table,
    step: &Step<StatusOf<S>>,
    entries: &[Item],
) -> Result<usize> {
    let keys: Vec<_> = entries
        .iter()
        .filter_map(|item| ItemKey::of_item(table.name(), &S::Job::KEY, item))
        .collect();
    let mut tries = Tries::new(table.name());
    let items = loop {
        match read::glance(table, &keys).await {
            Ok(items) => break items,
            Err(fault) => again(&mut tries, fault, table.name()).await?,
        }
    };
    let mut expired = 0;
    for item in items {
        let Some(key) = ItemKey::of_item(table.name(), &S::Job::KEY, &item) else {
            continue;
        };
        match expiry::expire_if_dead::<S>(table, &key, &item, step).await {
            Ok(outcome) => expired += usize::from(outcome.is_some()),
            Err(fault) => {
                // One item that cannot be changed costs the others nothing.
                tracing::error!(job = %key, error = %fault.source, "lock expired, but that cannot be recorded: passed over");
            }
        }
    }
    Ok(expired)
}

/// Deletes old items with one of these statuses that nobody holds.
pub(crate) async fn prune<S: StatusTracked>(
    table: &Table,
    statuses: &[StatusOf<S>],
    unchanged_for: Duration,
) -> Result<usize> {
    let before = table.clock().before(unchanged_for);
    let values: Result<Vec<_>, BoxError> = statuses.iter().map(status_value).collect();
    let values = values.map_err(|error| Error::Misconfigured {
        job: table.name().into(),
        problem: error.to_string(),
    })?;
    let old = |kind| {
        Expression::new::<S::Job>()
            .text(kind, statements::OLD)
            .statuses(values.clone())
            .string(":before", stamp(before))
    };
    let (mut search, expression) = (Search::new(table, old(FILTER)), old(CONDITION));
    let (mut deleted, mut first) = (0, None);
    while let Some(items) = search.page().await? {
        let keys = items
            .iter()
            .filter_map(|item| ItemKey::of_item(table.name(), &S::Job::KEY, item));
        let mut keys = keys.collect::<Vec<_>>().into_iter();
        let mut deleting = FuturesUnordered::new();
        loop {
            while deleting.len() < AT_A_TIME
                && let Some(key) = keys.next()
            {
                let expression = &expression;
                deleting.push(async move { delete(table, &key, expression).await });
            }
            match deleting.next().await {
                None => break,
                Some(Ok(gone)) => deleted += usize::from(gone),
                Some(Err(error)) => {
                    first.get_or_insert(error);
                }
            }
        }
    }
    match first {
        Some(error) => Err(error),
        None => Ok(deleted),
    }
}

async fn delete(table: &Table, key: &ItemKey, expression: &Expression) -> Result<bool> {
    let mut tries = Tries::new(&key.name);
    loop {
        match write::delete(table, key, expression).await {
            Ok(gone) => return Ok(gone),
            Err(fault) => again(&mut tries, fault, &key.name).await?,
        }
    }
}
