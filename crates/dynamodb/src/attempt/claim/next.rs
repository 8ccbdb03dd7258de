//! Claims the next ready jobs, which the index of open jobs shows.
//!
//! The index holds keys alone, and a claim does not change it: that is what makes a
//! job cheap. So its entries are also those of jobs that others run. A look, or a claim
//! that is refused, shows the lock, which is watched from then on, and the entry is left
//! alone until it moves or the lock is old.
//!
//! A refused claim is a write that is paid for nothing. So each process takes jobs from a
//! shard of its own as long as it has some, the oldest first. Whoever comes to a shard
//! looks at the oldest job, sees that it is taken, and goes on to another shard. Only
//! where all shards with jobs are taken do processes share one.

mod look;

use std::collections::VecDeque;
use std::time::Instant;

use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use status_protocol::{BoxError, Start, Step};

use super::{Claim, Tried};
use crate::attempt::expiry;
use crate::attempt::running::RunningJob;
use crate::attempt::state::state;
use crate::db::expression::{Expression, KEYS};
use crate::db::fault::Fault;
use crate::db::read::{self, Order};
use crate::db::statements;
use crate::error::{Error, Result};
use crate::item::Item;
use crate::item::key::ItemKey;
use crate::item::queue::{queue, ready_after};
use crate::item::stored::{self, Lock};
use crate::table::Table;
use crate::tracked::{StatusOf, StatusTracked, Tracked};
use look::{Look, glance, is_shared, is_taken};

/// Requests that are sent at a time, and where others take jobs too.
const AT_A_TIME: usize = 8;
const AT_A_TIME_SHARING: usize = 4;
/// For so many jobs a process looks first at home too: half a read for all of them.
const WORTH_A_LOOK: usize = 5;
/// Claims that are refused before a process that shares a queue leaves it for now.
const MOST_REFUSED_SHARING: usize = 2;
/// Entries that are read for each job that is wanted, since others hold some.
const ENTRIES_PER_JOB: usize = 2;
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

/// How a search goes through a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// As the process that takes jobs here: oldest first, until a claim is refused, or
    /// until others share what is left.
    AtHome,
    /// The same, after a look whether another process takes jobs here. It takes the
    /// oldest, so the look is at those. Half a read is cheaper than a refused claim.
    Visiting,
    /// Shares the queue with others, since no other has jobs: newest first, where those
    /// come last who take the oldest. Looks at each entry before it is claimed.
    Sharing,
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
    let home = table.home();
    let mut crowded = Vec::new();
    for queue in &queues {
        let manner = if home.is_settled && home.shard == queue.shard {
            Manner::AtHome
        } else {
            Manner::Visiting
        };
        match search.queue(queue, manner, &mut next).await {
            Ok(is_crowded) => {
                if is_crowded {
                    crowded.push(queue);
                }
            }
            Err(fault) => return search.end(next, fault),
        }
        if next.jobs.len() >= limit {
            return Ok(next);
        }
    }
    // A part of a batch is enough: what the others have left is theirs.
    if !next.jobs.is_empty() {
        next.was_beaten |= !crowded.is_empty();
        return Ok(next);
    }
    for queue in crowded {
        if let Err(fault) = search.queue(queue, Manner::Sharing, &mut next).await {
            return search.end(next, fault);
        }
        if !next.jobs.is_empty() {
            break;
        }
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
    /// Claims jobs of one queue. Returns whether others take jobs there too.
    async fn queue(
        &self,
        queue: &Queue,
        manner: Manner,
        next: &mut Next<S>,
    ) -> Result<bool, Fault> {
        let Self {
            table, step, limit, ..
        } = *self;
        let had = next.jobs.len();
        let (mut from, mut is_crowded, mut is_first) = (None, false, true);
        loop {
            let wanted = limit - next.jobs.len();
            let page = page::<S>(table, self.index, &queue.name, wanted, manner, from).await?;
            from = page.next;
            let found = page.items.iter().filter_map(|item| entry::<S>(table, item));
            let mut entries: VecDeque<_> = found
                .filter(|entry| {
                    (self.may_claim)(&entry.key)
                        && table.sightings().is_worth_a_look(
                            &entry.key,
                            &entry.due,
                            step.lock_expire,
                        )
                })
                .collect();
            let mut on_this_page = manner;
            if manner == Manner::Sharing {
                // The other half is for those who take the oldest.
                entries.truncate(entries.len().div_ceil(2));
            } else if is_first && !entries.is_empty() {
                is_first = false;
                let looks = manner == Manner::Visiting || wanted >= WORTH_A_LOOK;
                is_crowded = looks && is_taken::<S>(table, step, &mut entries).await;
            }
            if !is_crowded && from.is_none() && is_shared::<S>(table, step, &mut entries).await {
                (is_crowded, on_this_page) = (true, Manner::Sharing);
            }
            if !is_crowded || on_this_page == Manner::Sharing {
                let claimed = claim_some(table, step, entries, limit, on_this_page, next);
                is_crowded |= claimed.await;
            }
            let is_over = is_crowded && manner != Manner::Sharing;
            if is_over || next.jobs.len() >= limit || from.is_none() {
                break;
            }
        }
        if manner != Manner::Sharing {
            let has_found = next.jobs.len() > had;
            table.set_home(queue.shard, has_found, is_crowded);
        }
        Ok(is_crowded)
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
    let home = table.home().shard;
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
    manner: Manner,
    from: Option<Item>,
) -> Result<read::Page, Fault> {
    let expression = Expression::new::<S::Job>()
        .text(KEYS, statements::OPEN)
        .string(":queue", queue)
        .string(":due", ready_after(table.clock().now()));
    let limit = wanted
        .saturating_mul(ENTRIES_PER_JOB)
        .clamp(FEWEST_ENTRIES, MOST_ENTRIES);
    let order = match manner {
        Manner::AtHome | Manner::Visiting => Order::OldestFirst,
        Manner::Sharing => Order::NewestFirst,
    };
    read::query(table, index, &expression, order, limit as i32, from).await
}

fn entry<S: StatusTracked>(table: &Table, item: &Item) -> Option<Entry> {
    let key = ItemKey::of_item(table.name(), &S::Job::KEY, item)?;
    let due = match item.get(S::Job::ATTRIBUTES.due) {
        Some(AttributeValue::S(due)) => due.clone(),
        _ => String::new(),
    };
    Some(Entry { key, due })
}

/// Claims as many of these as are still wanted. Returns whether another worker takes
/// jobs here too.
async fn claim_some<S: StatusTracked>(
    table: &Table,
    step: &Step<StatusOf<S>>,
    mut entries: VecDeque<Entry>,
    limit: usize,
    manner: Manner,
    next: &mut Next<S>,
) -> bool {
    // One claim tells whether somebody else is here, before two are sent, then four.
    let mut at_a_time = 1;
    let (most_at_a_time, most_refused) = match manner {
        Manner::AtHome | Manner::Visiting => (AT_A_TIME, 1),
        Manner::Sharing => (AT_A_TIME_SHARING, MOST_REFUSED_SHARING),
    };
    let mut refused = 0;
    let mut free = VecDeque::new();
    let mut trying = FuturesUnordered::new();
    loop {
        while refused < most_refused
            && trying.len() < at_a_time
            && next.jobs.len() + trying.len() < limit
        {
            if manner == Manner::Sharing && free.is_empty() {
                // A few, so that the look is not old when they are claimed.
                let some = entries.len().min(AT_A_TIME_SHARING);
                let seen = glance::<S>(table, step, entries.drain(..some)).await;
                let seen = seen.into_iter().filter(|(_, look)| *look == Look::Free);
                free.extend(seen.map(|(entry, _)| entry));
                if free.is_empty() && !entries.is_empty() {
                    continue;
                }
            }
            let entry = if manner == Manner::Sharing {
                free.pop_front()
            } else {
                entries.pop_front()
            };
            let Some(entry) = entry else { break };
            trying.push(claim_one::<S>(table, step, entry));
        }
        match trying.next().await {
            Some(Candidate::Claimed(job)) => {
                next.jobs.push(*job);
                at_a_time = (2 * at_a_time).min(most_at_a_time);
            }
            Some(Candidate::Held) => refused += 1,
            Some(Candidate::Not) => {}
            Some(Candidate::Beaten) => {
                next.was_beaten = true;
                refused += 1;
            }
            Some(Candidate::PassedOver(key, error)) => next.passed_over.push((key, error)),
            None => return refused > 0,
        }
    }
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
        let stored = match stored::read(&S::Job::ATTRIBUTES, &item) {
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
