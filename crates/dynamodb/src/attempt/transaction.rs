//! Success together with writes of the user's, or neither.

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    CancellationReason, ReturnValuesOnConditionCheckFailure as OnRefusal, TransactWriteItem, Update,
};

use super::lease::Lease;
use crate::db::expression::{CONDITION, Expression, UPDATE};
use crate::db::fault::{Attempts, Fault, FaultKind, of_code};
use crate::db::read;
use crate::db::write::{Written, count, counts};
use crate::item::Item;
use crate::table::Table;

/// DynamoDB cancelled the transaction because of a write of the user's.
#[derive(Debug, thiserror::Error)]
#[error("DynamoDB cancelled the transaction: {}", .0.join("; "))]
struct Cancelled(Vec<String>);

/// Sends the update of the job and the writes as one transaction.
///
/// Each try has the same token for DynamoDB, which applies the first of them only.
/// It remembers that for ten minutes; the job's own condition holds for ever.
pub(crate) async fn write(
    table: &Table,
    lease: &Lease,
    expression: &Expression,
    writes: &[TransactWriteItem],
) -> Result<Written, Fault> {
    let update = Update::builder()
        .table_name(table.name())
        .set_key(Some(lease.key.attributes.clone()))
        .set_update_expression(expression.get(UPDATE))
        .set_condition_expression(expression.get(CONDITION))
        .set_expression_attribute_names(expression.names())
        .set_expression_attribute_values(expression.values())
        .return_values_on_condition_check_failure(OnRefusal::AllOld)
        .build()
        .map_err(|error| Fault::permanent(error.into()))?;
    let own = TransactWriteItem::builder().update(update).build();
    let items = std::iter::once(own).chain(writes.iter().cloned()).collect();
    let attempts = Attempts::default();
    let sent = table
        .client()
        .transact_write_items()
        .set_transact_items(Some(items))
        .client_request_token(&*lease.token)
        .set_return_consumed_capacity(counts(table))
        .customize()
        .interceptor(attempts.clone())
        .send()
        .await;
    match sent {
        Ok(answer) => {
            count(table, |counted| {
                counted.wrote_all(answer.consumed_capacity())
            });
            Ok(Written::Done(Item::new()))
        }
        Err(SdkError::ServiceError(error)) if error.err().is_transaction_canceled_exception() => {
            let reasons = match error.into_err() {
                TransactWriteItemsError::TransactionCanceledException(error) => {
                    error.cancellation_reasons.unwrap_or_default()
                }
                _ => Vec::new(),
            };
            count(table, |counted| counted.refused());
            cancelled(table, lease, reasons, attempts.more_than_one()).await
        }
        Err(error) => {
            count(table, |counted| counted.wrote(None));
            Err(Fault::of_write(error, &attempts))
        }
    }
}

/// Why a transaction was cancelled. The first reason is that of the job's item.
async fn cancelled(
    table: &Table,
    lease: &Lease,
    reasons: Vec<CancellationReason>,
    sent_again: bool,
) -> Result<Written, Fault> {
    let code = |reason: &CancellationReason| reason.code().unwrap_or("None").to_owned();
    let told: Vec<_> = reasons
        .iter()
        .enumerate()
        .filter(|(_, reason)| code(reason) != "None")
        .map(|(n, reason)| {
            let what = if n == 0 {
                "the job".to_owned()
            } else {
                format!("write {n}")
            };
            format!(
                "{what}: {} {}",
                code(reason),
                reason.message().unwrap_or_default()
            )
        })
        .collect();
    let source = Cancelled(told);
    if let Some(own) = reasons
        .first()
        .filter(|reason| code(reason) == "ConditionalCheckFailed")
    {
        let shown = own.item.clone().filter(|item| !item.is_empty());
        let item = match shown {
            Some(item) => Some(item),
            None => read::get(table, &lease.key)
                .await
                .map_err(|fault| fault.after_a_write(sent_again))?,
        };
        return Ok(Written::Refused { item, sent_again });
    }
    // What passes by itself counts only if nothing else stands in the way.
    let kinds: Vec<_> = reasons
        .iter()
        .map(code)
        .filter(|code| code != "None")
        .map(|code| of_code(&code).unwrap_or(FaultKind::Permanent))
        .collect();
    let kind = match kinds.first() {
        Some(first) if !kinds.contains(&FaultKind::Permanent) => *first,
        _ => FaultKind::Permanent,
    };
    Err(Fault {
        kind,
        source: source.into(),
        maybe_applied: sent_again,
    })
}
