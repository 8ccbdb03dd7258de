//! Conditional writes.

use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::delete_item::DeleteItemOutput;
use aws_sdk_dynamodb::operation::put_item::{PutItemError, PutItemOutput};
use aws_sdk_dynamodb::operation::update_item::{UpdateItemError, UpdateItemOutput};
use aws_sdk_dynamodb::types::{
    ConsumedCapacity, ReturnConsumedCapacity, ReturnValue,
    ReturnValuesOnConditionCheckFailure as OnRefusal,
};

use super::expression::{CONDITION, Expression, UPDATE};
use super::fault::{Attempts, Fault};
use super::read;
use crate::capacity::Counted;
use crate::item::Item;
use crate::item::key::ItemKey;
use crate::table::Table;

/// What came of a write with a condition.
///
/// The SDK may have sent it more than once. So a refusal may come from a try whose
/// predecessor was applied: the item tells.
#[derive(Debug)]
pub(crate) enum Written {
    /// The item as it is now.
    Done(Item),
    /// The condition was false for this item; `None` if there is none.
    Refused {
        item: Option<Item>,
        /// The SDK has sent it more than once.
        sent_again: bool,
    },
}

/// DynamoDB's code for it.
const CONDITION_WAS_FALSE: &str = "ConditionalCheckFailedException";

pub(crate) async fn update(
    table: &Table,
    key: &ItemKey,
    expression: &Expression,
) -> Result<Written, Fault> {
    let attempts = Attempts::default();
    let sent = table
        .client()
        .update_item()
        .table_name(table.name())
        .set_key(Some(key.attributes.clone()))
        .set_update_expression(expression.get(UPDATE))
        .set_condition_expression(expression.get(CONDITION))
        .set_expression_attribute_names(expression.names())
        .set_expression_attribute_values(expression.values())
        .return_values(ReturnValue::AllNew)
        .return_values_on_condition_check_failure(OnRefusal::AllOld)
        .set_return_consumed_capacity(counts(table))
        .customize()
        .interceptor(attempts.clone())
        .send()
        .await;
    let old = |error| match error {
        UpdateItemError::ConditionalCheckFailedException(refused) => refused.item,
        _ => None,
    };
    match answered(table, &attempts, sent, UpdateItemOutput::consumed_capacity)? {
        Answered::Done(answer) => Ok(Written::Done(answer.attributes.unwrap_or_default())),
        Answered::Refused(error) => refused(table, key, old(error), attempts.more_than_one()).await,
    }
}

pub(crate) async fn put(
    table: &Table,
    key: &ItemKey,
    item: Item,
    expression: &Expression,
) -> Result<Written, Fault> {
    let attempts = Attempts::default();
    let sent = table
        .client()
        .put_item()
        .table_name(table.name())
        .set_item(Some(item.clone()))
        .set_condition_expression(expression.get(CONDITION))
        .set_expression_attribute_names(expression.names())
        .set_expression_attribute_values(expression.values())
        .return_values_on_condition_check_failure(OnRefusal::AllOld)
        .set_return_consumed_capacity(counts(table))
        .customize()
        .interceptor(attempts.clone())
        .send()
        .await;
    let old = |error| match error {
        PutItemError::ConditionalCheckFailedException(refused) => refused.item,
        _ => None,
    };
    match answered(table, &attempts, sent, PutItemOutput::consumed_capacity)? {
        Answered::Done(_) => Ok(Written::Done(item)),
        Answered::Refused(error) => refused(table, key, old(error), attempts.more_than_one()).await,
    }
}

/// Deletes the item. Returns whether the condition was true.
pub(crate) async fn delete(
    table: &Table,
    key: &ItemKey,
    expression: &Expression,
) -> Result<bool, Fault> {
    let attempts = Attempts::default();
    let sent = table
        .client()
        .delete_item()
        .table_name(table.name())
        .set_key(Some(key.attributes.clone()))
        .set_condition_expression(expression.get(CONDITION))
        .set_expression_attribute_names(expression.names())
        .set_expression_attribute_values(expression.values())
        .set_return_consumed_capacity(counts(table))
        .customize()
        .interceptor(attempts.clone())
        .send()
        .await;
    match answered(table, &attempts, sent, DeleteItemOutput::consumed_capacity)? {
        Answered::Done(_) => Ok(true),
        Answered::Refused(_) => Ok(false),
    }
}

/// What DynamoDB has answered to a write with a condition.
enum Answered<O, E> {
    Done(O),
    /// The condition was false.
    Refused(E),
}

/// Counts what the request consumed, and tells a condition that was false from faults.
fn answered<O, E>(
    table: &Table,
    attempts: &Attempts,
    sent: Result<O, SdkError<E, HttpResponse>>,
    consumed: impl FnOnce(&O) -> Option<&ConsumedCapacity>,
) -> Result<Answered<O, E>, Fault>
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    match sent {
        Ok(answer) => {
            count(table, |counted| counted.wrote(consumed(&answer)));
            Ok(Answered::Done(answer))
        }
        Err(SdkError::ServiceError(error)) if error.err().code() == Some(CONDITION_WAS_FALSE) => {
            count(table, Counted::refused);
            Ok(Answered::Refused(error.into_err()))
        }
        Err(error) => {
            count(table, |counted| counted.wrote(None));
            Err(Fault::of_write(error, attempts))
        }
    }
}

/// A refused write. DynamoDB shows the item with the refusal; some servers that
/// speak its protocol do not, and then it is read.
async fn refused(
    table: &Table,
    key: &ItemKey,
    shown: Option<Item>,
    sent_again: bool,
) -> Result<Written, Fault> {
    if let Some(item) = shown.filter(|item| !item.is_empty()) {
        return Ok(Written::Refused {
            item: Some(item),
            sent_again,
        });
    }
    match read::get(table, key).await {
        Ok(item) => Ok(Written::Refused { item, sent_again }),
        // The refusal alone does not tell whether an earlier try was applied.
        Err(fault) => Err(fault.after_a_write(sent_again)),
    }
}

pub(crate) fn counts(table: &Table) -> Option<ReturnConsumedCapacity> {
    table.counted().map(|_| ReturnConsumedCapacity::Total)
}

pub(crate) fn count(table: &Table, change: impl FnOnce(&Counted)) {
    if let Some(counted) = table.counted() {
        change(counted);
    }
}
