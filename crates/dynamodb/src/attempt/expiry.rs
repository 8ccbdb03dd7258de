//! Ends attempts whose worker is presumed dead.

use std::time::Instant;

use status_protocol::{Failure, FailureOutcome, Start, Step};

use super::outcome::{Outcome, in_few_words};
use super::state::state;
use crate::db::expression::{CONDITION, Expression};
use crate::db::fault::{Fault, Tries};
use crate::db::statements;
use crate::db::write::{self, Written};
use crate::item::Item;
use crate::item::key::ItemKey;
use crate::item::stored::{self, Lock, Stored};
use crate::table::Table;
use crate::tracked::{StatusOf, StatusTracked, Tracked};

/// What an expiry left in the item. `None`: the lock was renewed, or the attempt has
/// ended, or somebody else was faster.
pub(crate) type Expired<S> = Option<FailureOutcome<StatusOf<S>>>;

/// Ends the attempt that holds the item, as it was read, whose lock was watched for
/// long enough.
pub(crate) async fn expire<S: StatusTracked>(
    table: &Table,
    key: &ItemKey,
    stored: &Stored<StatusOf<S>>,
    step: &Step<StatusOf<S>>,
) -> Result<Expired<S>, Fault> {
    let Some(lock) = &stored.lock else {
        return Ok(None);
    };
    let failure = Failure::because(&format!(
        "the lock expired: another worker watched it for {:?} and saw no renewal, so its worker died, or ran for longer than LOCK_EXPIRE without renewing",
        step.lock_expire
    ));
    let at = table.clock().now();
    let mut failed = step.fail(failure, None, stored.retry, stored.errors.clone(), at);
    let mut tries = Tries::new(&key.name);
    loop {
        let outcome = Outcome::<S>::Failure(failed.clone());
        let expression = outcome
            .expression(table, step, &lock.token)
            .map_err(Fault::permanent)?;
        match write::update(table, key, &unchanged(expression, lock)).await {
            Ok(Written::Done(_)) => {
                table.sightings().forget(key);
                log(key, &failed.outcome, step);
                return Ok(Some(failed.outcome));
            }
            // An earlier try may have been applied. Then this is not counted, and the
            // next look at the item shows what it left.
            Ok(Written::Refused { .. }) => {
                table.sightings().forget(key);
                return Ok(None);
            }
            Err(fault) if fault.is_of_size() => {
                let short = in_few_words(&failed, at);
                if short.errors == failed.errors {
                    return Err(fault);
                }
                failed = short;
            }
            Err(fault) => tries.after(fault).await?,
        }
    }
}

/// The condition that the lock is the one that was watched.
fn unchanged(expression: Expression, lock: &Lock) -> Expression {
    let expression = match lock.renewals {
        Some(renewals) => expression
            .text(CONDITION, statements::UNCHANGED)
            .number(":renewals", renewals),
        None => expression.text(CONDITION, statements::UNCHANGED_FOREIGN),
    };
    expression.string(":token", &lock.token)
}

fn log<S: Copy + PartialEq>(key: &ItemKey, outcome: &FailureOutcome<S>, step: &Step<S>) {
    let retry = outcome.retry;
    if outcome.status == step.ignored {
        tracing::error!(job = %key, retry, "lock expired: ignored");
    } else {
        tracing::warn!(job = %key, retry, "lock expired");
    }
}

/// Ends the attempt on an item that was just read, if it was watched for long
/// enough.
pub(crate) async fn expire_if_dead<S: StatusTracked>(
    table: &Table,
    key: &ItemKey,
    item: &Item,
    step: &Step<StatusOf<S>>,
) -> Result<Expired<S>, Fault> {
    let stored = match stored::read(&S::Job::ATTRIBUTES, item) {
        Ok(stored) => stored,
        Err(error) => {
            tracing::error!(job = %key, %error, "cannot be read: passed over");
            return Ok(None);
        }
    };
    let row = state(table, key, &stored, step.lock_expire, Instant::now());
    if step.may_start(&row) == Start::Expired {
        return expire::<S>(table, key, &stored, step).await;
    }
    Ok(None)
}
