//! Reads that change nothing.

use status_protocol::Step;

use crate::db::expression::{Expression, FILTER, PROJECTION};
use crate::db::fault::{Fault, Tries};
use crate::db::read::{self, Page};
use crate::db::statements;
use crate::error::{Error, Result};
use crate::item::Item;
use crate::item::key::ItemKey;
use crate::item::stored;
use crate::item::value::{read_item, status_value};
use crate::table::Table;
use crate::tracked::{StatusOf, StatusTracked, Tracked};

/// The item as it is now, tried again after a transient fault.
pub(crate) async fn raw(table: &Table, key: &ItemKey) -> Result<Option<Item>> {
    let mut tries = Tries::new(&key.name);
    loop {
        match read::get(table, key).await {
            Ok(item) => return Ok(item),
            Err(fault) => {
                let after = tries.after(fault).await;
                after.map_err(|fault| fault.into_error(&key.name))?;
            }
        }
    }
}

pub(crate) async fn find<S: StatusTracked>(table: &Table, key: &ItemKey) -> Result<Option<S::Job>> {
    let Some(item) = raw(table, key).await? else {
        return Ok(None);
    };
    let job = key.to_string();
    read_item(item)
        .map(Some)
        .map_err(|source| Error::Unreadable { job, source })
}

/// Items among all of the table, a page at a time.
pub(crate) struct Search<'a> {
    table: &'a Table,
    expression: Expression,
    next: Option<Option<Item>>,
}

impl<'a> Search<'a> {
    pub fn new(table: &'a Table, expression: Expression) -> Self {
        Self {
            table,
            expression,
            next: Some(None),
        }
    }

    /// The next page; `None` after the last one.
    pub async fn page(&mut self) -> Result<Option<Vec<Item>>> {
        let Some(from) = self.next.take() else {
            return Ok(None);
        };
        let Page { items, next } = scan(self.table, &self.expression, from).await?;
        self.next = next.map(Some);
        Ok(Some(items))
    }
}

async fn scan(table: &Table, expression: &Expression, from: Option<Item>) -> Result<Page> {
    let mut tries = Tries::new(table.name());
    loop {
        let sent: Result<Page, Fault> = read::scan(table, expression, from.clone()).await;
        match sent {
            Ok(page) => return Ok(page),
            Err(fault) => {
                let after = tries.after(fault).await;
                after.map_err(|fault| fault.into_error(table.name()))?;
            }
        }
    }
}

pub(crate) async fn by_status<S: StatusTracked>(
    table: &Table,
    status: StatusOf<S>,
    limit: usize,
) -> Result<Vec<S::Job>> {
    let value = status_value(&status).map_err(|error| Error::Misconfigured {
        job: table.name().into(),
        problem: error.to_string(),
    })?;
    let expression = Expression::new::<S::Job>()
        .text(FILTER, statements::WITH_STATUS)
        .statuses(vec![value]);
    let mut search = Search::new(table, expression);
    let mut jobs = Vec::new();
    while jobs.len() < limit
        && let Some(items) = search.page().await?
    {
        for item in items.into_iter().take(limit - jobs.len()) {
            let key = ItemKey::of_item(table.name(), &S::Job::KEY, &item);
            let job = key.map_or_else(|| table.name().to_owned(), |key| key.to_string());
            jobs.push(read_item(item).map_err(|source| Error::Unreadable { job, source })?);
        }
    }
    Ok(jobs)
}

/// How many items there are of each status. Those without a known status are left
/// out, and logged.
pub(crate) async fn counts<S: StatusTracked>(table: &Table) -> Result<Vec<(StatusOf<S>, u64)>> {
    let expression = Expression::new::<S::Job>().text(PROJECTION, statements::STATUS_ALONE);
    let mut counts: Vec<(StatusOf<S>, u64)> = Vec::new();
    let mut unknown = 0_u64;
    let mut from = Some(None);
    while let Some(start) = from.take() {
        let Page { items, next } = scan(table, &expression, start).await?;
        for item in items {
            match stored::read(&S::Job::ATTRIBUTES, &item) {
                Ok(stored) => match counts
                    .iter_mut()
                    .find(|(status, _)| *status == stored.status)
                {
                    Some((_, count)) => *count += 1,
                    None => counts.push((stored.status, 1)),
                },
                Err(_) => unknown += 1,
            }
        }
        from = next.map(Some);
    }
    if unknown > 0 {
        tracing::warn!(
            table = table.name(),
            unknown,
            "items without a status that this type knows are not counted"
        );
    }
    Ok(counts)
}

/// Whether an attempt or a person holds the job now, as far as this table has
/// watched it.
pub(crate) async fn is_locked<S: StatusTracked>(
    table: &Table,
    key: &ItemKey,
    step: &Step<StatusOf<S>>,
) -> Result<bool> {
    let job = || key.to_string();
    let Some(item) = raw(table, key).await? else {
        return Err(Error::NotFound { job: job() });
    };
    let read_at = std::time::Instant::now();
    let stored = stored::read(&S::Job::ATTRIBUTES, &item)
        .map_err(|source| Error::Unreadable { job: job(), source })?;
    let row = crate::attempt::state::state(table, key, &stored, step.lock_expire, read_at);
    Ok(step.is_locked(&row))
}
