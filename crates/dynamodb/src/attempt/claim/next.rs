//! Claims the next ready jobs, which the index of open jobs shows.
//!
//! The index holds keys alone, and a claim does not change it: that is what makes a
//! job cheap. So its entries are also those of jobs that others run. A claim that is
//! refused shows the lock, which is watched from then on, and the entry is left alone
//! until it moves or the lock is old.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use status_protocol::{BoxError, Start, Step};

use super::{Claim, Tried};
use crate::attempt::expiry;
use crate::attempt::running::RunningJob;
use crate::attempt::sightings::state;
use crate::db::expression::{Expression, KEYS};
use crate::db::fault::Fault;
use crate::db::{read, statements};
use crate::error::{Error, Result};
use crate::item::Item;
use crate::item::key::ItemKey;
use crate::item::queue::{any_below, queue, ready_after};
use crate::item::stored::{self, Lock};
use crate::table::Table;
use crate::tracked::{StatusOf, StatusTracked, Tracked};

/// Requests that are sent at a time.
const AT_A_TIME: usize = 16;
/// Entries that are read for each job that is wanted, so that two who look at the
/// same shard rarely try the same job.
const ENTRIES_PER_JOB: usize = 4;
const FEWEST_ENTRIES: usize = 20;
const MOST_ENTRIES: usize = 400;

/// What a search has brought.
pub(crate) struct Next<S: StatusTracked> {
    pub jobs: Vec<RunningJob<S>>,
    /// Items that could not be claimed, with the reason.
    pub passed_over: Vec<(ItemKey, Error)>,
    /// A candidate was ready, and another worker was faster.
    pub was_beaten: bool,
}

/// What became of one candidate.
enum Candidate<S: StatusTracked> {
    Claimed(Box<RunningJob<S>>),
    /// Another attempt holds it.
    Held,
    /// Another worker was faster.
    Beaten,
    /// It is not to be claimed: the index lags behind, or its time has not come.
    Not,
    PassedOver(ItemKey, Error),
}

/// An entry of the index.
struct Entry {
    key: ItemKey,
    due: String,
}

/// Claims up to `limit` of the ready jobs. `may_claim`: whether to try this job.
///
/// # Errors
///
/// The index cannot be read. Jobs that are claimed by then are returned instead.
pub(crate) async fn next<S: StatusTracked>(
    table: &Table,
    limit: usize,
    step: &Step<StatusOf<S>>,
    may_claim: &(dyn Fn(&ItemKey) -> bool + Sync),
) -> Result<Next<S>> {
    let index = table.index()?;
    let mut next = Next {
        jobs: Vec::new(),
        passed_over: Vec::new(),
        was_beaten: false,
    };
    for queue in queues::<S>(table, step) {
        let mut from = None;
        loop {
            let wanted = limit - next.jobs.len();
            if wanted == 0 {
                return Ok(next);
            }
            let queue = queue.as_ref().map_err(|problem| Error::Misconfigured {
                job: table.name().into(),
                problem: problem.to_string(),
            })?;
            let page = match page::<S>(table, index, queue, wanted, from).await {
                Ok(page) => page,
                Err(fault) if next.jobs.is_empty() => return Err(fault.into_error(table.name())),
                Err(fault) => {
                    tracing::warn!(table = table.name(), error = %fault.source, "the search ends early");
                    return Ok(next);
                }
            };
            from = page.next;
            let names = &S::Job::KEY;
            let mut entries: Vec<_> = page
                .items
                .iter()
                .filter_map(|item| entry::<S>(table, names, item))
                .filter(|entry| {
                    may_claim(&entry.key)
                        && table.sightings().is_worth_a_look(&entry.key, &entry.due, step.lock_expire)
                })
                .collect();
            shuffle(&mut entries);
            claim_some(table, step, entries, limit, &mut next).await;
            if from.is_none() {
                break;
            }
        }
    }
    Ok(next)
}

/// The queues of the step, all shards of each, from a shard by chance on.
fn queues<S: StatusTracked>(
    table: &Table,
    step: &Step<StatusOf<S>>,
) -> Vec<Result<String, BoxError>> {
    let first = any_below(table.shards());
    let shards = (0..table.shards()).map(|n| (first + n) % table.shards());
    let starts = || std::iter::once(&step.pending).chain(step.more_pending);
    let all = shards.flat_map(|shard| starts().map(move |status| queue(status, shard)));
    all.collect()
}

async fn page<S: StatusTracked>(
    table: &Table,
    index: &str,
    queue: &str,
    wanted: usize,
    from: Option<Item>,
) -> Result<read::Page, Fault> {
    let expression = Expression::new::<S::Job>()
        .text(KEYS, statements::OPEN)
        .string(":queue", queue)
        .string(":due", ready_after(table.clock().now()));
    let limit = wanted.saturating_mul(ENTRIES_PER_JOB).clamp(FEWEST_ENTRIES, MOST_ENTRIES);
    read::query(table, index, &expression, limit as i32, from).await
}

fn entry<S: StatusTracked>(
    table: &Table,
    names: &crate::item::names::KeyAttributes,
    item: &Item,
) -> Option<Entry> {
    let key = ItemKey::of_item(table, names, item)?;
    let due = match item.get(S::Job::ATTRIBUTES.due) {
        Some(AttributeValue::S(due)) => due.clone(),
        _ => String::new(),
    };
    Some(Entry { key, due })
}

/// So that two who read the same page try different jobs first.
fn shuffle(entries: &mut [Entry]) {
    for n in (1..entries.len()).rev() {
        let end = u32::try_from(n + 1).unwrap_or(u32::MAX);
        entries.swap(n, any_below(end) as usize);
    }
}

/// Claims as many of these as are still wanted.
async fn claim_some<S: StatusTracked>(
    table: &Table,
    step: &Step<StatusOf<S>>,
    entries: Vec<Entry>,
    limit: usize,
    next: &mut Next<S>,
) {
    let mut entries = VecDeque::from(entries);
    let held = AtomicBool::new(false);
    let mut looked = false;
    let mut trying = FuturesUnordered::new();
    loop {
        // Once a job was held by another worker, more of them may be: a glance is
        // cheaper than a refused claim.
        if held.load(Ordering::Relaxed) && !looked && trying.is_empty() {
            looked = true;
            entries = glance::<S>(table, step, entries).await;
        }
        let pauses = held.load(Ordering::Relaxed) && !looked;
        while !pauses && trying.len() < AT_A_TIME && next.jobs.len() + trying.len() < limit {
            let Some(entry) = entries.pop_front() else { break };
            let held = &held;
            trying.push(async move {
                let candidate = claim_one::<S>(table, step, entry).await;
                if matches!(candidate, Candidate::Held) {
                    held.store(true, Ordering::Relaxed);
                }
                candidate
            });
        }
        match trying.next().await {
            Some(Candidate::Claimed(job)) => next.jobs.push(*job),
            Some(Candidate::Held | Candidate::Not) => {}
            Some(Candidate::Beaten) => next.was_beaten = true,
            Some(Candidate::PassedOver(key, error)) => next.passed_over.push((key, error)),
            None if entries.is_empty() || next.jobs.len() >= limit => return,
            None => {}
        }
    }
}

/// Looks at all these items at once, watches the locks, and leaves those that may be
/// claimed, and those that were watched for long enough.
async fn glance<S: StatusTracked>(
    table: &Table,
    step: &Step<StatusOf<S>>,
    entries: VecDeque<Entry>,
) -> VecDeque<Entry> {
    let keys: Vec<_> = entries.iter().map(|entry| entry.key.clone()).collect();
    let items = match read::glance(table, &keys).await {
        Ok(items) => items,
        // Then each claim is tried.
        Err(_) => return entries,
    };
    let read_at = Instant::now();
    let mut locked = std::collections::HashSet::new();
    for item in &items {
        let Some(key) = ItemKey::of_item(table, &S::Job::KEY, item) else {
            continue;
        };
        if let Ok(stored) = stored::read::<S>(item) {
            let row = state(table, &key, &stored, step.lock_expire, read_at);
            if row.lock.is_some() && step.may_start(&row) != Start::Expired {
                locked.insert(key.name);
            }
        }
    }
    let mut free = VecDeque::new();
    for entry in entries {
        if locked.contains(&entry.key.name) {
            table.sightings().stands_at(&entry.key, &entry.due);
        } else {
            free.push_back(entry);
        }
    }
    free
}

async fn claim_one<S: StatusTracked>(
    table: &Table,
    step: &Step<StatusOf<S>>,
    entry: Entry,
) -> Candidate<S> {
    let Entry { key, due } = entry;
    match try_one::<S>(table, step, &key, &due).await {
        Ok(candidate) => candidate,
        Err(fault) => {
            let error = fault.into_error(&key.name);
            Candidate::PassedOver(key, error)
        }
    }
}

async fn try_one<S: StatusTracked>(
    table: &Table,
    step: &Step<StatusOf<S>>,
    key: &ItemKey,
    due: &str,
) -> Result<Candidate<S>, Fault> {
    let mut claim = Claim::<S>::new(table, key, step);
    let passed_over = |source| {
        let job = key.to_string();
        Ok(Candidate::PassedOver(key.clone(), Error::Unreadable { job, source }))
    };
    // The second time after the expiry of a dead attempt.
    for _ in 0..2 {
        let item = loop {
            match claim.try_once().await {
                Ok(Tried::Claimed(job)) => {
                    // The entry stays, and the next search of this process passes it.
                    let lock = Lock {
                        token: job.token().to_owned(),
                        renewals: Some(0),
                        claims: job.lease.claims,
                    };
                    table.sightings().see(key, &lock, step.lock_expire, Instant::now());
                    table.sightings().stands_at(key, due);
                    return Ok(Candidate::Claimed(job));
                }
                Ok(Tried::Unreadable(source)) => return passed_over(source),
                Ok(Tried::Not(None)) => return Ok(Candidate::Not),
                Ok(Tried::Not(Some(item))) => break item,
                Err(fault) => claim.tries.after(fault).await?,
            }
        };
        let read_at = Instant::now();
        let stored = match stored::read::<S>(&item) {
            Ok(stored) => stored,
            Err(source) => return passed_over(source),
        };
        let row = state(table, key, &stored, step.lock_expire, read_at);
        match step.may_start(&row) {
            Start::Ready => return Ok(Candidate::Beaten),
            Start::Expired => {
                if expiry::expire::<S>(table, key, &stored, step).await?.is_none() {
                    return Ok(Candidate::Beaten);
                }
            }
            Start::Refused(_) if row.lock.is_some() => {
                table.sightings().stands_at(key, due);
                return Ok(Candidate::Held);
            }
            Start::Refused(_) => return Ok(Candidate::Not),
        }
    }
    Ok(Candidate::Not)
}
