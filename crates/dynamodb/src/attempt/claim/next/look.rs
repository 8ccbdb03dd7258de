//! Looks at the jobs of entries before they are claimed: half a read each, where a refused
//! claim is a write.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use status_protocol::{Start, Step};

use super::{AT_A_TIME, Entry};
use crate::attempt::state::state;
use crate::db::read;
use crate::item::key::ItemKey;
use crate::item::stored;
use crate::table::Table;
use crate::tracked::{StatusOf, StatusTracked, Tracked};

/// What a look at the job of an entry has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// It may be claimed, its attempt may be ended, or this cannot be told.
    Free,
    /// Another attempt holds it.
    Held,
    /// It has ended, and the index lags behind; or its time has not come.
    Ended,
}

/// Looks at all these jobs at once, and watches the locks.
pub(super) async fn glance<S: StatusTracked>(
    table: &Table,
    step: &Step<StatusOf<S>>,
    entries: impl IntoIterator<Item = Entry>,
) -> Vec<(Entry, Look)> {
    let entries: Vec<_> = entries.into_iter().collect();
    let keys: Vec<_> = entries.iter().map(|entry| entry.key.clone()).collect();
    let items = match read::glance(table, &keys).await {
        Ok(items) => items,
        Err(fault) => {
            // Then each claim is tried.
            tracing::debug!(error = %fault.source, "not looked at");
            Vec::new()
        }
    };
    let read_at = Instant::now();
    let mut looks = HashMap::new();
    for item in &items {
        let Some(key) = ItemKey::of_item(table.name(), &S::Job::KEY, item) else {
            continue;
        };
        if let Ok(stored) = stored::read(&S::Job::ATTRIBUTES, item) {
            let row = state(table, &key, &stored, step.lock_expire, read_at);
            let look = match step.may_start(&row) {
                Start::Ready | Start::Expired => Look::Free,
                Start::Refused(_) if row.lock.is_some() => Look::Held,
                Start::Refused(_) => Look::Ended,
            };
            looks.insert(key.name, look);
        }
    }
    let look = |entry: Entry| {
        let look = looks.get(&entry.key.name).copied().unwrap_or(Look::Free);
        if look == Look::Held {
            table.sightings().stands_at(&entry.key, &entry.due);
        }
        (entry, look)
    };
    entries.into_iter().map(look).collect()
}

/// Whether another process takes jobs here: whether the first of these that has not
/// ended is locked. Those before it are removed.
pub(super) async fn is_taken<S: StatusTracked>(
    table: &Table,
    step: &Step<StatusOf<S>>,
    entries: &mut VecDeque<Entry>,
) -> bool {
    let mut at_once = 1;
    while !entries.is_empty() {
        let some: Vec<_> = entries.drain(..at_once.min(entries.len())).collect();
        at_once = AT_A_TIME;
        let mut seen = glance::<S>(table, step, some).await.into_iter();
        while let Some((entry, look)) = seen.next() {
            match look {
                Look::Held => return true,
                Look::Free => {
                    let rest = seen.filter(|(_, look)| *look == Look::Free);
                    let rest: Vec<_> = rest.map(|(entry, _)| entry).collect();
                    for entry in rest.into_iter().rev() {
                        entries.push_front(entry);
                    }
                    entries.push_front(entry);
                    return false;
                }
                Look::Ended => {}
            }
        }
    }
    false
}

/// Whether another process shares what is left here: whether it has the newest job.
pub(super) async fn is_shared<S: StatusTracked>(
    table: &Table,
    step: &Step<StatusOf<S>>,
    entries: &mut VecDeque<Entry>,
) -> bool {
    if entries.len() < 2 {
        // A look costs half of what a claim costs that is refused.
        return false;
    }
    let seen = glance::<S>(table, step, entries.pop_back()).await;
    let mut is_held = false;
    for (entry, look) in seen {
        match look {
            Look::Free => entries.push_back(entry),
            Look::Held => is_held = true,
            Look::Ended => {}
        }
    }
    is_held
}
