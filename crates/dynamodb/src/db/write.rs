//! Conditional writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use aws_sdk_dynamodb::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::{BoxError, ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    ReturnConsumedCapacity, ReturnValue, ReturnValuesOnConditionCheckFailure as OnRefusal,
};

use super::capacity::Counted;
use super::expression::{CONDITION, Expression, UPDATE};
use super::fault::{Fault, FaultKind};
use super::read;
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

/// Counts how often the SDK sends a request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attempts(Arc<AtomicU32>);

impl Attempts {
    pub fn more_than_one(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 1
    }
}

impl Intercept for Attempts {
    fn name(&self) -> &'static str {
        "Attempts"
    }

    fn read_before_attempt(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

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
    match sent {
        Ok(answer) => {
            count(table, |counted| counted.wrote(answer.consumed_capacity()));
            Ok(Written::Done(answer.attributes.unwrap_or_default()))
        }
        Err(SdkError::ServiceError(error))
            if error.err().is_conditional_check_failed_exception() =>
        {
            let old = match error.into_err() {
                UpdateItemError::ConditionalCheckFailedException(refused) => refused.item,
                _ => None,
            };
            refused(table, key, old, attempts.more_than_one()).await
        }
        Err(error) => Err(failed(table, error)),
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
    match sent {
        Ok(answer) => {
            count(table, |counted| counted.wrote(answer.consumed_capacity()));
            Ok(Written::Done(item))
        }
        Err(SdkError::ServiceError(error))
            if error.err().is_conditional_check_failed_exception() =>
        {
            let old = match error.into_err() {
                PutItemError::ConditionalCheckFailedException(refused) => refused.item,
                _ => None,
            };
            refused(table, key, old, attempts.more_than_one()).await
        }
        Err(error) => Err(failed(table, error)),
    }
}

/// Deletes the item. Returns whether the condition was true.
pub(crate) async fn delete(
    table: &Table,
    key: &ItemKey,
    expression: &Expression,
) -> Result<bool, Fault> {
    let sent = table
        .client()
        .delete_item()
        .table_name(table.name())
        .set_key(Some(key.attributes.clone()))
        .set_condition_expression(expression.get(CONDITION))
        .set_expression_attribute_names(expression.names())
        .set_expression_attribute_values(expression.values())
        .set_return_consumed_capacity(counts(table))
        .send()
        .await;
    match sent {
        Ok(answer) => {
            count(table, |counted| counted.wrote(answer.consumed_capacity()));
            Ok(true)
        }
        Err(SdkError::ServiceError(error))
            if matches!(
                error.err(),
                DeleteItemError::ConditionalCheckFailedException(_)
            ) =>
        {
            count(table, Counted::refused);
            Ok(false)
        }
        Err(error) => Err(failed(table, error)),
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
    count(table, Counted::refused);
    if let Some(item) = shown.filter(|item| !item.is_empty()) {
        return Ok(Written::Refused {
            item: Some(item),
            sent_again,
        });
    }
    match read::get(table, key).await {
        Ok(item) => Ok(Written::Refused { item, sent_again }),
        // The refusal alone does not tell whether an earlier try was applied.
        Err(fault) if fault.kind == FaultKind::Throttled => Err(Fault {
            kind: FaultKind::NoAnswer,
            source: fault.source,
        }),
        Err(fault) => Err(fault),
    }
}

fn failed<E>(
    table: &Table,
    error: SdkError<E, aws_sdk_dynamodb::config::http::HttpResponse>,
) -> Fault
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    count(table, |counted| counted.wrote(None));
    Fault::of(error)
}

pub(crate) fn counts(table: &Table) -> Option<ReturnConsumedCapacity> {
    table.counted().map(|_| ReturnConsumedCapacity::Total)
}

pub(crate) fn count(table: &Table, change: impl FnOnce(&Counted)) {
    if let Some(counted) = table.counted() {
        change(counted);
    }
}
