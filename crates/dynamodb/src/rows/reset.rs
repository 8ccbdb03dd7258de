//! Makes jobs pending again.

use std::time::Instant;

use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use status_protocol::{BoxError, Step};

use crate::attempt::claim::{LOOKS, refused};
use crate::attempt::state::state;
use crate::clock::stamp;
use crate::db::expression::{CONDITION, Expression, UPDATE};
use crate::db::fault::{Fault, Tries};
use crate::db::statements;
use crate::db::write::{self, Written};
use crate::error::{Error, Result};
use crate::item::key::ItemKey;
use crate::item::queue::ready_since;
use crate::item::stored;
use crate::item::value::status_value;
use crate::table::Table;
use crate::tracked::{StatusOf, StatusTracked, Tracked};

/// Requests that are sent at a time.
const AT_A_TIME: usize = 16;

pub(crate) async fn one<S: StatusTracked>(
    table: &Table,
    key: &ItemKey,
    step: &Step<StatusOf<S>>,
) -> Result<()> {
    let mut tries = Tries::new(&key.name);
    let job = || key.to_string();
    for _ in 0..LOOKS {
        let expression = expression::<S>(table, step).map_err(Fault::permanent);
        let sent = match &expression {
            Ok(expression) => write::update(table, key, expression).await,
            Err(fault) => Err(Fault::permanent(fault.source.to_string().into())),
        };
        let item = match sent {
            Ok(Written::Done(_)) => {
                tracing::info!(job = %key, "reset");
                return Ok(());
            }
            Ok(Written::Refused { item: None, .. }) => return Err(Error::NotFound { job: job() }),
            Ok(Written::Refused {
                item: Some(item), ..
            }) => item,
            Err(fault) => {
                let after = tries.after(fault).await;
                after.map_err(|fault| fault.into_error(&key.name))?;
                continue;
            }
        };
        let stored = stored::read(&S::Job::ATTRIBUTES, &item)
            .map_err(|source| Error::Unreadable { job: job(), source })?;
        let row = state(table, key, &stored, step.lock_expire, Instant::now());
        // The attempt that held it may have ended in between.
        if !step.may_reset(&row) {
            return Err(refused(step.why_not_reset(&row), row.now, job()));
        }
    }
    Err(Error::Database {
        job: job(),
        source: "the item changed at each try".into(),
    })
}

fn expression<S: StatusTracked>(
    table: &Table,
    step: &Step<StatusOf<S>>,
) -> Result<Expression, BoxError> {
    let now = table.clock().now();
    let codes = step.codes();
    let statuses: Result<Vec<AttributeValue>, BoxError> =
        codes.iter().map(|(_, code)| status_value(code)).collect();
    Ok(Expression::new::<S::Job>()
        .text(UPDATE, statements::RESET)
        .queued(table.place(&step.pending, ready_since(now))?)
        .text(CONDITION, statements::MAY_RESET)
        .statuses(statuses?)
        .value(":status", status_value(&step.pending)?)
        .string(":now", stamp(now))
        .number(":zero", 0))
}

/// Resets these, and counts those that were.
pub(crate) async fn many<S: StatusTracked>(
    table: &Table,
    keys: impl Iterator<Item = Result<ItemKey>>,
    step: &Step<StatusOf<S>>,
) -> Result<usize> {
    let (mut count, mut first) = (0, None);
    let mut keys = keys;
    let mut resetting = FuturesUnordered::new();
    loop {
        while resetting.len() < AT_A_TIME {
            match keys.next() {
                None => break,
                Some(Ok(key)) => resetting.push(async move { one::<S>(table, &key, step).await }),
                Some(Err(error)) => {
                    first.get_or_insert(error);
                }
            }
        }
        match resetting.next().await {
            None => break,
            Some(Ok(())) => count += 1,
            Some(Err(Error::NotFound { .. } | Error::Locked { .. } | Error::NotReady { .. })) => {}
            Some(Err(error)) => {
                first.get_or_insert(error);
            }
        }
    }
    match first {
        Some(error) => Err(error),
        None => Ok(count),
    }
}
