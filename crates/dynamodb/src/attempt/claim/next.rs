//! Claims the next ready jobs, which the index of open jobs shows.
//!
//! The index holds keys alone, and a claim does not change it: that is what makes a
//! job cheap. So its entries are also those of jobs that others run. A claim that is
//! refused shows the lock, which is watched from then on, and the entry is left alone
//! until it moves or the lock is old.

use std::collections::VecDeque;
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

/// How a search goes through a queue in which others take jobs too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Leaves it to them. So each process soon has shards of its own, where no claim is
    /// refused.
    Politely,
    /// Tries each entry.
    Thoroughly,
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
    let search = Search {
        table,
        index,
        step,
        limit,
        may_claim,
    };
    let mut next = Next {
        jobs: Vec::new(),
        passed_over: Vec::new(),
        was_beaten: false,
    };
    let queues = queues::<S>(table, step)?;
    let mut crowded = Vec::new();
    for queue in &queues {
        match search.queue(queue, Manner::Politely, &mut next).await {
            // A part of a batch is enough: the next queue may be another worker's too.
            Ok(was_left) if was_left && !next.jobs.is_empty() => {
                next.was_beaten = true;
                return Ok(next);
            }
            Ok(was_left) if was_left => crowded.push(queue),
            Ok(_) => {}
            Err(fault) => return search.end(next, fault),
        }
        if next.jobs.len() >= limit {
            return Ok(next);
        }
    }
    if next.jobs.is_empty() {
        for queue in crowded {
            if let Err(fault) = search.queue(queue, Manner::Thoroughly, &mut next).await {
                return search.end(next, fault);
            }
            if !next.jobs.is_empty() {
                break;
            }
        }
    } else {
        next.was_beaten |= !crowded.is_empty();
    }
    Ok(next)
}

/// A search for ready jobs.
struct Search<'a, S: StatusTracked> {
    table: &'a Table,
    index: &'a str,
    step: &'a Step<StatusOf<S>>,
    limit: usize,
    may_claim: &'a (dyn Fn(&ItemKey) -> bool + Sync),
}

impl<S: StatusTracked> Search<'_, S> {
    /// Claims jobs of one queue. Returns whether it has left some, because others take
    /// jobs there.
    async fn queue(
        &self,
        queue: &Queue,
        manner: Manner,
        next: &mut Next<S>,
    ) -> Result<bool, Fault> {
        let Self {
            table, step, limit, ..
        } = *self;
        let mut from = None;
        let mut had = next.jobs.len();
        loop {
            let wanted = limit - next.jobs.len();
            if wanted == 0 {
                return Ok(false);
            }
            let page = page::<S>(table, self.index, &queue.name, wanted, from).await?;
            from = page.next;
            let found = page.items.iter().filter_map(|item| entry::<S>(table, item));
            let mut entries: Vec<_> = found
                .filter(|entry| {
                    (self.may_claim)(&entry.key)
                        && table.sightings().is_worth_a_look(
                            &entry.key,
                            &entry.due,
                            step.lock_expire,
                        )
                })
                .collect();
            shuffle(&mut entries);
            let is_crowded = claim_some(table, step, entries, limit, manner, next).await;
            if is_crowded {
                // The next search begins elsewhere, or two would meet here each time.
                table.set_home(any_below(table.shards()));
            } else if next.jobs.len() > had {
                table.set_home(queue.shard);
            }
            had = next.jobs.len();
            if is_crowded && manner == Manner::Politely {
                return Ok(true);
            }
            if from.is_none() {
                return Ok(false);
            }
        }
    }

    /// The index cannot be read. Jobs that are claimed are not given up for that.
    fn end(&self, next: Next<S>, fault: Fault) -> Result<Next<S>> {
        if next.jobs.is_empty() {
            return Err(fault.into_error(self.table.name()));
        }
        tracing::warn!(table = self.table.name(), error = %fault.source, "the search ends early");
        Ok(next)
    }
}

struct Queue {
    name: String,
    shard: u32,
}

/// The queues of the step, all shards of each, from the one on that had jobs last.
fn queues<S: StatusTracked>(table: &Table, step: &Step<StatusOf<S>>) -> Result<Vec<Queue>> {
    let home = table.home();
    let shards = (0..table.shards()).map(|n| (home + n) % table.shards());
    let starts = || std::iter::once(&step.pending).chain(step.more_pending);
    let all = shards.flat_map(|shard| {
        starts().map(move |status| {
            let name = queue(status, shard)?;
            Ok(Queue { name, shard })
        })
    });
    let all: Result<Vec<_>, BoxError> = all.collect();
    all.map_err(|error| Error::Misconfigured {
        job: table.name().into(),
        problem: error.to_string(),
    })
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
    let limit = wanted
        .saturating_mul(ENTRIES_PER_JOB)
        .clamp(FEWEST_ENTRIES, MOST_ENTRIES);
    read::query(table, index, &expression, limit as i32, from).await
}

fn entry<S: StatusTracked>(table: &Table, item: &Item) -> Option<Entry> {
    let key = ItemKey::of_item(table, &S::Job::KEY, item)?;
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

/// Claims as many of these as are still wanted. Returns whether another worker takes
/// jobs here too.
async fn claim_some<S: StatusTracked>(
    table: &Table,
    step: &Step<StatusOf<S>>,
    entries: Vec<Entry>,
    limit: usize,
    manner: Manner,
    next: &mut Next<S>,
) -> bool {
    let mut entries = VecDeque::from(entries);
    if manner == Manner::Thoroughly {
        entries = glance::<S>(table, step, entries).await;
    }
    // One claim tells whether somebody else is here, before several are sent.
    let mut at_a_time = if manner == Manner::Politely {
        1
    } else {
        AT_A_TIME
    };
    let mut is_crowded = false;
    let mut trying = FuturesUnordered::new();
    loop {
        while !(is_crowded && manner == Manner::Politely)
            && trying.len() < at_a_time
            && next.jobs.len() + trying.len() < limit
            && let Some(entry) = entries.pop_front()
        {
            trying.push(claim_one::<S>(table, step, entry));
        }
        match trying.next().await {
            Some(Candidate::Claimed(job)) => {
                next.jobs.push(*job);
                at_a_time = AT_A_TIME;
            }
            Some(Candidate::Held) => is_crowded = true,
            Some(Candidate::Not) => {}
            Some(Candidate::Beaten) => (next.was_beaten, is_crowded) = (true, true),
            Some(Candidate::PassedOver(key, error)) => next.passed_over.push((key, error)),
            None => return is_crowded,
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
        Ok(Candidate::PassedOver(
            key.clone(),
            Error::Unreadable { job, source },
        ))
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
                    table
                        .sightings()
                        .see(key, &lock, step.lock_expire, Instant::now());
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
                if expiry::expire::<S>(table, key, &stored, step)
                    .await?
                    .is_none()
                {
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
