//! How an attempt begins: with one job by its key, or with the next ready jobs.

mod next;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Instant;

use status_protocol::{BoxError, Refusal, Start, Step};

use super::expiry;
use super::lease::Lease;
use super::outcome::Outcome;
use super::running::{Claimed, RunningJob};
use super::state::state;
use crate::clock::stamp;
use crate::db::expression::{CONDITION, Expression, UPDATE};
use crate::db::fault::{Fault, Tries};
use crate::db::statements;
use crate::db::write::{self, Written};
use crate::error::{Error, Result};
use crate::item::Item;
use crate::item::key::ItemKey;
use crate::item::stored;
use crate::item::value::{read_item, status_value};
use crate::table::Table;
use crate::tracked::{StatusOf, StatusTracked, Tracked};

pub(crate) use next::next;

/// How often a claim or a reset looks at an item that keeps changing. This limit is
/// reached only where DynamoDB and this crate read the item differently.
pub(crate) const LOOKS: u32 = 100;

/// What one try to claim has shown.
enum Tried<S: StatusTracked> {
    Claimed(Box<RunningJob<S>>),
    /// It was refused, or no answer came: the item as it is now, `None` if there is
    /// none.
    Not(Option<Item>),
    /// It was claimed, could not be read, and is released.
    Unreadable(BoxError),
}

/// The tries to claim one item.
struct Claim<'a, S: StatusTracked> {
    table: &'a Table,
    key: &'a ItemKey,
    step: &'a Step<StatusOf<S>>,
    token: Arc<str>,
    /// Tokens of tries that may have been applied. A claim whose answer was lost may
    /// be applied at any time, even after the job was expired. So each try has its
    /// own token: with the same one, a late claim would give the lock back to an
    /// attempt that has lost it.
    earlier: Vec<Arc<str>>,
    tries: Tries<'a>,
}

impl<'a, S: StatusTracked> Claim<'a, S> {
    fn new(table: &'a Table, key: &'a ItemKey, step: &'a Step<StatusOf<S>>) -> Self {
        Self {
            table,
            key,
            step,
            token: new_token(),
            earlier: Vec::new(),
            tries: Tries::new(&key.name),
        }
    }

    async fn try_once(&mut self) -> Result<Tried<S>, Fault> {
        let asked_at = Instant::now();
        let statuses: Result<Vec<_>, BoxError> =
            self.step.ready().iter().map(status_value).collect();
        let expression = Expression::new::<S::Job>()
            .text(UPDATE, statements::CLAIM)
            .text(CONDITION, statements::READY)
            .statuses(statuses.map_err(Fault::permanent)?)
            .value(
                ":in_progress",
                status_value(&self.step.in_progress).map_err(Fault::permanent)?,
            )
            .string(":token", &*self.token)
            .string(":now", stamp(self.table.clock().now()))
            .number(":zero", 0)
            .number(":one", 1);
        match write::update(self.table, self.key, &expression).await {
            Ok(Written::Done(item)) => {
                self.table.sightings().forget(self.key);
                self.hold(item, Arc::clone(&self.token), asked_at).await
            }
            Ok(Written::Refused { item, .. }) => {
                // The refused try may be the second one, whose first was applied.
                let own = item.as_ref().and_then(|item| self.own_token(item));
                match (item, own) {
                    (Some(item), Some(token)) => self.hold(item, token, asked_at).await,
                    (item, _) => Ok(Tried::Not(item)),
                }
            }
            Err(fault) => {
                if fault.maybe_applied {
                    self.earlier
                        .push(std::mem::replace(&mut self.token, new_token()));
                }
                Err(fault)
            }
        }
    }

    /// The token of the item, if one of these tries has written it.
    fn own_token(&self, item: &Item) -> Option<Arc<str>> {
        let stored = stored::read::<StatusOf<S>>(&S::Job::ATTRIBUTES, item).ok()?;
        let lock = stored.lock?.token;
        let mut own = self.earlier.iter().chain([&self.token]);
        own.find(|token| ***token == *lock).cloned()
    }

    /// The guard of the claimed item. If it cannot be read, it is released, because
    /// nobody would work on it.
    async fn hold(
        &self,
        item: Item,
        token: Arc<str>,
        asked_at: Instant,
    ) -> Result<Tried<S>, Fault> {
        let claims = stored::claims(&S::Job::ATTRIBUTES, &item);
        let lease = Lease::new(self.key.clone(), token, claims, asked_at);
        let retry = match claimed::<S>(item) {
            Ok(claimed) => {
                let job = RunningJob::hold(self.table.clone(), *self.step, lease, claimed);
                return Ok(Tried::Claimed(Box::new(job)));
            }
            Err(unread) => unread,
        };
        let release = Outcome::<S>::Release(self.step.released(retry.retry));
        if let Err(fault) = release.write(self.table, self.step, &lease).await {
            // The first error is the one to report. The lock will expire.
            tracing::debug!(job = %self.key, error = %fault.source, "not released");
        }
        Ok(Tried::Unreadable(retry.error))
    }
}

/// A claimed item that cannot be read.
struct Unread {
    retry: i32,
    error: BoxError,
}

fn claimed<S: StatusTracked>(item: Item) -> Result<Claimed<S::Job>, Unread> {
    let stored = stored::read::<StatusOf<S>>(&S::Job::ATTRIBUTES, &item)
        .map_err(|error| Unread { retry: 0, error })?;
    let (retry, errors) = (stored.retry, stored.errors);
    match read_item(item) {
        Ok(job) => Ok(Claimed { job, retry, errors }),
        Err(error) => Err(Unread { retry, error }),
    }
}

/// Claims the job with this key, or returns why it cannot.
pub(crate) async fn by_key<S: StatusTracked>(
    table: &Table,
    key: &ItemKey,
    step: &Step<StatusOf<S>>,
) -> Result<RunningJob<S>> {
    let mut claim = Claim::<S>::new(table, key, step);
    let name = || key.to_string();
    for look in 1.. {
        let item = match claim.try_once().await {
            Ok(Tried::Claimed(job)) => {
                job.started();
                return Ok(*job);
            }
            Ok(Tried::Unreadable(source)) => {
                return Err(Error::Unreadable {
                    job: name(),
                    source,
                });
            }
            Ok(Tried::Not(None)) => return Err(Error::NotFound { job: name() }),
            Ok(Tried::Not(Some(item))) => item,
            Err(fault) => {
                claim
                    .tries
                    .after(fault)
                    .await
                    .map_err(|fault| fault.into_error(&key.name))?;
                continue;
            }
        };
        let read_at = Instant::now();
        let stored =
            stored::read(&S::Job::ATTRIBUTES, &item).map_err(|source| Error::Unreadable {
                job: name(),
                source,
            })?;
        let row = state(table, key, &stored, step.lock_expire, read_at);
        let refusal = match step.may_start(&row) {
            // The item has changed between the claim and the look: each time, another
            // worker has made progress.
            Start::Ready | Start::Expired if look >= LOOKS => Refusal::NotReady {
                status: row.status,
                run_at: row.run_at,
            },
            Start::Ready => continue,
            Start::Expired => {
                let expired = expiry::expire::<S>(table, key, &stored, step).await;
                expired.map_err(|fault| fault.into_error(&key.name))?;
                continue;
            }
            Start::Refused(refusal) => refusal,
        };
        let error = refused(refusal, row.now, name());
        tracing::debug!(job = %key, %error, "refused");
        return Err(error);
    }
    unreachable!("the last look returns")
}

/// A refusal as an error for the caller. `now`: the time of the look, which stands
/// for a lock that is not watched.
pub(crate) fn refused<S: Debug>(
    refusal: Refusal<S>,
    now: chrono::DateTime<chrono::Utc>,
    job: String,
) -> Error {
    match refusal {
        Refusal::Locked {
            lock_at,
            expires_at,
        } => Error::Locked {
            job,
            watched_since: lock_at.unwrap_or(now),
            dead_at: expires_at,
        },
        Refusal::AlreadySucceeded => Error::AlreadySucceeded { job },
        Refusal::Ignored { retry } => Error::Ignored { job, retry },
        Refusal::NotReady { status, run_at } => Error::NotReady {
            job,
            status: format!("{status:?}"),
            run_at,
        },
    }
}

/// A new fencing token: 32 random hexadecimal digits.
pub(crate) fn new_token() -> Arc<str> {
    uuid::Uuid::new_v4().simple().to_string().into()
}
