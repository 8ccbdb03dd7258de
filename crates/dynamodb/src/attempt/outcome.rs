//! The outcome of an attempt, and how it is written once and only once.

use std::time::Instant;

use aws_sdk_dynamodb::types::TransactWriteItem;
use status_protocol::panics::Discarded;
use status_protocol::{BoxError, ErrorLog, FailedAttempt, Failure, LostAnswer, Step};

use super::lease::Lease;
use super::state::state;
use super::transaction;
use crate::clock::stamp;
use crate::db::expression::{CONDITION, Expression, UPDATE};
use crate::db::fault::{Fault, FaultKind, Tries};
use crate::db::write::{self, Written};
use crate::db::{read, statements};
use crate::item::queue::{ready_after, ready_since};
use crate::item::stored::{self, Stored};
use crate::item::value::{changes, errors_value, status_value};
use crate::table::Table;
use crate::tracked::{StatusOf, StatusTracked, Tracked, UpdatesOf};

/// What an attempt leaves in the item.
pub(crate) enum Outcome<S: StatusTracked> {
    Success(Discarded<UpdatesOf<S>>),
    Failure(FailedAttempt<StatusOf<S>>),
    /// Ready again with this status; no attempt is counted.
    Release(StatusOf<S>),
}

/// What came of a write that needs the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriteResult {
    Written,
    /// This was not written, because an earlier outcome of the attempt was, whose answer
    /// was lost.
    EarlierWritten,
    /// Nothing was written: the attempt does not hold the lock any more.
    LockLost,
    /// It may have been written; the item has changed since.
    Unknown,
}

impl<S: StatusTracked> Outcome<S> {
    pub fn status(&self, step: &Step<StatusOf<S>>) -> StatusOf<S> {
        match self {
            Self::Success(_) => step.succeeded,
            Self::Failure(failed) => failed.outcome.status,
            Self::Release(status) => *status,
        }
    }

    /// What failed, for logs.
    pub fn failure_summary(&self) -> String {
        match self {
            Self::Failure(failed) => failed.failure.summary(),
            Self::Success(_) | Self::Release(_) => String::new(),
        }
    }

    /// The write of this outcome, without the condition that allows it.
    pub fn expression(
        &self,
        table: &Table,
        step: &Step<StatusOf<S>>,
        token: &str,
    ) -> Result<Expression, BoxError> {
        let now = table.clock().now();
        let ready = || table.place(&step.pending, ready_since(now));
        let expression = Expression::new::<S::Job>();
        let expression = match self {
            Self::Success(updates) => {
                let changes = changes(&**updates, &S::Job::ATTRIBUTES, &S::Job::KEY)?;
                let next = table.place(&step.succeeded, ready_since(now))?;
                match next.filter(|_| S::Job::CONTINUES.contains(&step.succeeded)) {
                    None => expression.text(UPDATE, statements::SUCCEED),
                    Some((queue, due)) => expression
                        .text(UPDATE, statements::CONTINUE)
                        .string(":queue", queue)
                        .string(":due", due),
                }
                .changes(changes)
            }
            Self::Failure(failed) => {
                let outcome = &failed.outcome;
                let expression = if outcome.status == step.ignored {
                    expression.text(UPDATE, statements::IGNORE)
                } else if let Some(delay) = outcome.delay {
                    let at = table.clock().after(delay);
                    expression
                        .text(UPDATE, statements::FAIL_LATER)
                        .queued(table.place(&step.pending, ready_after(at))?)
                        .string(":run_at", stamp(at))
                } else {
                    expression.text(UPDATE, statements::FAIL).queued(ready()?)
                };
                expression
                    .value(":errors", errors_value(&failed.errors)?)
                    .number(":retry", outcome.retry)
            }
            Self::Release(_) => expression
                .text(UPDATE, statements::RELEASE)
                .queued(ready()?),
        };
        Ok(expression
            .value(":status", status_value(&self.status(step))?)
            .string(":token", token)
            .string(":now", stamp(now))
            .number(":zero", 0))
    }

    /// Writes it once, if the attempt still holds the lock.
    pub async fn write(
        &self,
        table: &Table,
        step: &Step<StatusOf<S>>,
        lease: &Lease,
    ) -> Result<WriteResult, Fault> {
        self.write_after(table, step, lease, None, &[]).await
    }

    /// The same. `earlier`: the status of an outcome of this attempt that may have been
    /// written before. `writes` are applied together with this one, or neither is.
    pub async fn write_after(
        &self,
        table: &Table,
        step: &Step<StatusOf<S>>,
        lease: &Lease,
        earlier: Option<StatusOf<S>>,
        writes: &[TransactWriteItem],
    ) -> Result<WriteResult, Fault> {
        let expression = self
            .expression(table, step, &lease.token)
            .map_err(Fault::permanent)?;
        let expression = expression
            .text(CONDITION, statements::HELD)
            .string(":token", &*lease.token)
            .number(":claims", lease.claims);
        let mut tries = Tries::new(&lease.key.name);
        loop {
            let sent = if writes.is_empty() {
                write::update(table, &lease.key, &expression).await
            } else {
                transaction::write(table, lease, &expression, writes).await
            };
            match sent {
                Ok(Written::Done(_)) => {
                    table.sightings().ended(&lease.key);
                    return Ok(WriteResult::Written);
                }
                Ok(Written::Refused { item, sent_again }) => {
                    if sent_again {
                        lease.set_maybe_applied();
                    }
                    let stored =
                        item.and_then(|item| stored::read(&S::Job::ATTRIBUTES, &item).ok());
                    let told = |status| told_by::<S>(table, step, lease, stored.as_ref(), status);
                    if earlier.is_some_and(|status| told(status) == LostAnswer::Written) {
                        return Ok(WriteResult::EarlierWritten);
                    }
                    match told(self.status(step)) {
                        LostAnswer::Written => return Ok(WriteResult::Written),
                        LostAnswer::ExpiredFirst => return Ok(WriteResult::LockLost),
                        LostAnswer::Unknown if !lease.is_maybe_applied() => {
                            return Ok(WriteResult::LockLost);
                        }
                        LostAnswer::Unknown => return Ok(WriteResult::Unknown),
                        // The refusal came first, and then this attempt's own claim.
                        LostAnswer::StillHeld => tries.after(still_held()).await?,
                    }
                }
                Err(fault) => {
                    if fault.maybe_applied {
                        lease.set_maybe_applied();
                    }
                    tries.after(fault).await?;
                }
            }
        }
    }

    /// Whether an earlier try to write it was applied, as the item tells now.
    pub async fn was_written(
        &self,
        table: &Table,
        step: &Step<StatusOf<S>>,
        lease: &Lease,
    ) -> Result<bool, Fault> {
        let item = read::get(table, &lease.key).await?;
        let stored = item.and_then(|item| stored::read(&S::Job::ATTRIBUTES, &item).ok());
        let told = told_by::<S>(table, step, lease, stored.as_ref(), self.status(step));
        Ok(told == LostAnswer::Written)
    }
}

fn still_held() -> Fault {
    Fault {
        kind: FaultKind::Conflict,
        source: "DynamoDB refused the write of the attempt that holds the item".into(),
        maybe_applied: false,
    }
}

/// What the item tells about an earlier try to write `status`.
fn told_by<S: StatusTracked>(
    table: &Table,
    step: &Step<StatusOf<S>>,
    lease: &Lease,
    stored: Option<&Stored<StatusOf<S>>>,
    status: StatusOf<S>,
) -> LostAnswer {
    let Some(stored) = stored else {
        return LostAnswer::Unknown;
    };
    let is_own = |lock: &stored::Lock| *lock.token == *lease.token;
    if stored
        .lock
        .as_ref()
        .is_some_and(|lock| is_own(lock) && lock.claims != lease.claims)
    {
        // The attempt has ended, and then its claim arrived a second time.
        return LostAnswer::Unknown;
    }
    let was_last = stored.last_lock.as_deref() == Some(&*lease.token);
    let row = state(table, &lease.key, stored, step.lock_expire, Instant::now());
    step.lost_answer(&row, &lease.token, was_last, status)
}

/// The same failed attempt in few words, for an item that has no room for more.
pub(crate) fn in_few_words<S: Copy>(
    failed: &FailedAttempt<S>,
    at: chrono::DateTime<chrono::Utc>,
) -> FailedAttempt<S> {
    let failure = Failure::because(&failed.failure.summary());
    let mut log = ErrorLog::default();
    log.push(&failure, failed.outcome.retry, at);
    FailedAttempt {
        errors: log.document(),
        failure,
        outcome: failed.outcome,
    }
}
