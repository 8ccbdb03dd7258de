//! Reads.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::KeysAndAttributes;

use super::expression::{Expression, FILTER, KEYS, PROJECTION};
use super::fault::Fault;
use super::write::{count, counts};
use crate::item::Item;
use crate::item::key::ItemKey;
use crate::table::Table;

/// Items that one `BatchGetItem` may ask for.
pub(crate) const MOST_KEYS: usize = 100;

/// Some of the items that a search finds, and where the next ones begin.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub items: Vec<Item>,
    pub next: Option<Item>,
}

/// The item as it is now.
pub(crate) async fn get(table: &Table, key: &ItemKey) -> Result<Option<Item>, Fault> {
    let sent = table
        .client()
        .get_item()
        .table_name(table.name())
        .set_key(Some(key.attributes.clone()))
        .consistent_read(true)
        .set_return_consumed_capacity(counts(table))
        .send()
        .await
        .map_err(Fault::of)?;
    count(table, |counted| counted.got(sent.consumed_capacity()));
    Ok(sent.item)
}

/// Some of these items, as they were a moment ago. DynamoDB may leave some out.
pub(crate) async fn glance(table: &Table, keys: &[ItemKey]) -> Result<Vec<Item>, Fault> {
    let mut found = Vec::new();
    for keys in keys.chunks(MOST_KEYS) {
        let keys = keys.iter().map(|key| key.attributes.clone()).collect();
        let wanted = KeysAndAttributes::builder().set_keys(Some(keys)).build();
        let wanted = wanted.map_err(|error| Fault::permanent(error.into()))?;
        let sent = table
            .client()
            .batch_get_item()
            .set_request_items(Some(HashMap::from([(table.name().to_owned(), wanted)])))
            .set_return_consumed_capacity(counts(table))
            .send()
            .await
            .map_err(Fault::of)?;
        count(table, |counted| {
            counted.got(sent.consumed_capacity().first())
        });
        let items = sent
            .responses
            .and_then(|mut answers| answers.remove(table.name()));
        found.extend(items.unwrap_or_default());
    }
    Ok(found)
}

/// The order of the entries of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    OldestFirst,
    NewestFirst,
}

/// Entries of the index, `limit` at most, as they were a moment ago.
pub(crate) async fn query(
    table: &Table,
    index: &str,
    expression: &Expression,
    order: Order,
    limit: i32,
    from: Option<Item>,
) -> Result<Page, Fault> {
    let sent = table
        .client()
        .query()
        .table_name(table.name())
        .index_name(index)
        .set_key_condition_expression(expression.get(KEYS))
        .set_expression_attribute_names(expression.names())
        .set_expression_attribute_values(expression.values())
        .scan_index_forward(order == Order::OldestFirst)
        .limit(limit)
        .set_exclusive_start_key(from)
        .set_return_consumed_capacity(counts(table))
        .send()
        .await
        .map_err(Fault::of)?;
    count(table, |counted| counted.got(sent.consumed_capacity()));
    Ok(Page {
        items: sent.items.unwrap_or_default(),
        next: sent.last_evaluated_key,
    })
}

/// Items of the whole table, as they are now: a megabyte is read at a time.
pub(crate) async fn scan(
    table: &Table,
    expression: &Expression,
    from: Option<Item>,
) -> Result<Page, Fault> {
    let sent = table
        .client()
        .scan()
        .table_name(table.name())
        .set_filter_expression(expression.get(FILTER))
        .set_projection_expression(expression.get(PROJECTION))
        .set_expression_attribute_names(expression.names())
        .set_expression_attribute_values(expression.values())
        .consistent_read(true)
        .set_exclusive_start_key(from)
        .set_return_consumed_capacity(counts(table))
        .send()
        .await
        .map_err(Fault::of)?;
    count(table, |counted| counted.got(sent.consumed_capacity()));
    Ok(Page {
        items: sent.items.unwrap_or_default(),
        next: sent.last_evaluated_key,
    })
}
