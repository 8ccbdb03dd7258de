//! New items.

use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use status_protocol::Step;

use crate::attempt::claim::new_token;
use crate::clock::stamp;
use crate::db::expression::{CONDITION, Expression};
use crate::db::fault::Tries;
use crate::db::statements;
use crate::db::write::{self, Written};
use crate::error::{Error, Result};
use crate::item::Item;
use crate::item::key::ItemKey;
use crate::item::queue::ready_since;
use crate::item::value::{changes, read_item, status_value};
use crate::table::Table;
use crate::tracked::{StatusOf, StatusTracked, Tracked, UpdatesOf};

/// Requests that are sent at a time.
const AT_A_TIME: usize = 16;

/// Creates one item. `None` if the key exists.
pub(crate) async fn one<S: StatusTracked>(
    table: &Table,
    key: &ItemKey,
    updates: &UpdatesOf<S>,
    step: &Step<StatusOf<S>>,
) -> Result<Option<S::Job>> {
    // Tells whether an item that exists is the one of an earlier try.
    let mark = new_token();
    let item = item::<S>(table, key, updates, step, &mark)?;
    let expression = Expression::new::<S::Job>().text(CONDITION, statements::ABSENT);
    let mut tries = Tries::new(&key.name);
    let created = loop {
        match write::put(table, key, item.clone(), &expression).await {
            Ok(Written::Done(item)) => break item,
            Ok(Written::Refused { item: None, .. }) => {}
            Ok(Written::Refused {
                item: Some(found), ..
            }) => match found.get(S::Job::ATTRIBUTES.last_lock) {
                Some(AttributeValue::S(last)) if *last == *mark => break found,
                _ => return Ok(None),
            },
            Err(fault) => {
                let after = tries.after(fault).await;
                after.map_err(|fault| fault.into_error(&key.name))?;
            }
        }
    };
    let job = key.to_string();
    read_item(created)
        .map(Some)
        .map_err(|source| Error::Unreadable { job, source })
}

/// Creates items, and counts those that are new.
pub(crate) async fn many<S: StatusTracked>(
    table: &Table,
    rows: impl Iterator<Item = Result<(ItemKey, UpdatesOf<S>)>>,
    step: &Step<StatusOf<S>>,
) -> Result<usize> {
    let (mut new, mut first) = (0, None);
    let mut rows = rows;
    let mut creating = FuturesUnordered::new();
    loop {
        while first.is_none() && creating.len() < AT_A_TIME {
            match rows.next() {
                None => break,
                Some(Ok((key, updates))) => {
                    creating.push(async move { one::<S>(table, &key, &updates, step).await });
                }
                Some(Err(error)) => first = Some(error),
            }
        }
        match creating.next().await {
            None => break,
            Some(Ok(created)) => new += usize::from(created.is_some()),
            Some(Err(error)) => {
                first.get_or_insert(error);
            }
        }
    }
    match first {
        Some(error) => Err(error),
        None => Ok(new),
    }
}

fn item<S: StatusTracked>(
    table: &Table,
    key: &ItemKey,
    updates: &UpdatesOf<S>,
    step: &Step<StatusOf<S>>,
    mark: &str,
) -> Result<Item> {
    let names = &S::Job::ATTRIBUTES;
    let misfit = |problem: String| Error::Misconfigured {
        job: key.to_string(),
        problem,
    };
    let mut item =
        changes(updates, names, &S::Job::KEY).map_err(|error| misfit(error.to_string()))?;
    item.extend(key.attributes.clone());
    let now = table.clock().now();
    let text = |text: String| AttributeValue::S(text);
    let status = status_value(&step.pending).map_err(|error| misfit(error.to_string()))?;
    item.insert(names.status.into(), status);
    item.insert(names.retry.into(), AttributeValue::N("0".into()));
    item.insert(names.errors.into(), AttributeValue::M(Item::new()));
    item.insert(names.create_at.into(), text(stamp(now)));
    item.insert(names.update_at.into(), text(stamp(now)));
    item.insert(names.last_lock.into(), text(mark.into()));
    let place = table
        .place(&step.pending, ready_since(now))
        .map_err(|error| misfit(error.to_string()))?;
    if let Some((queue, due)) = place {
        item.insert(names.queue.into(), text(queue));
        item.insert(names.due.into(), text(due));
    }
    Ok(item)
}
