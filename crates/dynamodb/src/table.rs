//! A table, and what this process knows of it.

use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_dynamodb::Client;
use chrono::TimeDelta;
use serde::Serialize;
use status_protocol::BoxError;

use crate::capacity::{Capacity, Counted};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::item::queue::{any_below, queue};
use crate::sightings::Sightings;

/// More shards than any table needs: each is asked when nothing is ready.
const MOST_SHARDS: u32 = 1_000;

/// A table with tracked items, and the client that reaches it. A clone is the
/// same table.
///
/// It remembers the locks that it has seen, because a lock counts as abandoned only
/// after it was *watched*. So make one `Table` when the process begins, and keep it.
///
/// ```
/// # use aws_sdk_dynamodb::Client;
/// use dynamodb_status_tracker::Table;
///
/// # fn tables(client: Client) {
/// // Jobs are started by their key.
/// let invoices = Table::new(client.clone(), "invoices");
/// // Workers find the next ready job in an index.
/// let photos = Table::builder(client, "photos").index("open_photos").shards(8).build();
/// # }
/// ```
#[derive(Clone)]
pub struct Table {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    name: String,
    index: Option<String>,
    shards: u32,
    home: Mutex<Home>,
    clock: Clock,
    sightings: Sightings,
    counted: Option<Counted>,
}

/// The shard in which a search begins. Each process begins in another one, and stays
/// where it finds jobs that nobody else takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Home {
    pub shard: u32,
    /// It has found jobs there.
    pub is_settled: bool,
}

impl Home {
    fn by_chance(shards: u32) -> Self {
        Self {
            shard: any_below(shards),
            is_settled: false,
        }
    }
}

/// Makes a [`Table`]; see [`Table::builder`].
pub struct TableBuilder {
    client: Client,
    name: String,
    index: Option<String>,
    shards: u32,
    clock_ahead: TimeDelta,
    counts: bool,
}

impl Table {
    /// A table whose jobs are started by their key.
    pub fn new(client: Client, name: impl Into<String>) -> Self {
        Self::builder(client, name).build()
    }

    /// A table with settings.
    pub fn builder(client: Client, name: impl Into<String>) -> TableBuilder {
        TableBuilder {
            client,
            name: name.into(),
            index: None,
            shards: 1,
            clock_ahead: TimeDelta::zero(),
            counts: false,
        }
    }

    /// The table's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// What the requests of this process to this table have consumed so far. All 0
    /// without [`count_capacity`](TableBuilder::count_capacity).
    #[must_use]
    pub fn capacity(&self) -> Capacity {
        self.counted().map(Counted::read).unwrap_or_default()
    }

    pub(crate) fn client(&self) -> &Client {
        &self.inner.client
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    pub(crate) fn sightings(&self) -> &Sightings {
        &self.inner.sightings
    }

    pub(crate) fn counted(&self) -> Option<&Counted> {
        self.inner.counted.as_ref()
    }

    pub(crate) fn shards(&self) -> u32 {
        self.inner.shards
    }

    /// Where a search begins.
    pub(crate) fn home(&self) -> Home {
        // It is valid at any moment, so poison is ignored.
        let home = self.inner.home.lock();
        *home.unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what a search has found in a shard.
    pub(crate) fn set_home(&self, shard: u32, has_found: bool, is_crowded: bool) {
        let home = self.inner.home.lock();
        let mut home = home.unwrap_or_else(PoisonError::into_inner);
        if has_found && !is_crowded {
            *home = Home {
                shard,
                is_settled: true,
            };
        } else if is_crowded && home.shard == shard {
            // The next search begins elsewhere, or two would meet here each time.
            *home = Home::by_chance(self.inner.shards);
        }
    }

    /// A place in the queue of `status`, in a shard by chance. `None` if the table has
    /// no index.
    pub(crate) fn place<S: Serialize>(
        &self,
        status: &S,
        due: String,
    ) -> Result<Option<(String, String)>, BoxError> {
        if self.inner.index.is_none() {
            return Ok(None);
        }
        Ok(Some((queue(status, any_below(self.shards()))?, due)))
    }

    /// The index of open jobs.
    pub(crate) fn index(&self) -> Result<&str> {
        self.inner
            .index
            .as_deref()
            .ok_or_else(|| Error::Misconfigured {
                job: self.inner.name.clone(),
                problem:
                    "ready jobs are found by an index: name it with `Table::builder(…).index(…)`"
                        .into(),
            })
    }
}

impl TableBuilder {
    /// The index of open jobs, which `claim_next`, `run_next`, workers and
    /// `expire_locks` need. Every program that writes to the table must name it: an
    /// item that was created without it is found by its key only.
    #[must_use]
    pub fn index(mut self, name: impl Into<String>) -> Self {
        self.index = Some(name.into());
        self
    }

    /// Into how many partitions of the index the open jobs of a status are spread.
    /// 1 by default, at least 1 and at most 1,000. DynamoDB writes up to 1,000 units a
    /// second to one partition of an index; a job costs two to four there. Each shard
    /// is asked when a worker looks for jobs and finds none.
    ///
    /// All programs must read as many shards as any of them writes: give the workers
    /// the larger number first.
    #[must_use]
    pub fn shards(mut self, shards: u32) -> Self {
        self.shards = shards.clamp(1, MOST_SHARDS);
        self
    }

    /// Asks DynamoDB what each request consumes, for [`Table::capacity`].
    #[must_use]
    pub fn count_capacity(mut self) -> Self {
        self.counts = true;
        self
    }

    /// Sets the clock of this table ahead of the machine's, or behind it with a
    /// negative number of seconds. For tests of programs whose machines' clocks
    /// differ.
    #[must_use]
    pub fn clock_ahead(mut self, seconds: i32) -> Self {
        self.clock_ahead = TimeDelta::seconds(seconds.into());
        self
    }

    /// The table.
    #[must_use]
    pub fn build(self) -> Table {
        Table {
            inner: Arc::new(Inner {
                client: self.client,
                name: self.name,
                index: self.index,
                shards: self.shards,
                home: Mutex::new(Home::by_chance(self.shards)),
                clock: Clock::new(self.clock_ahead),
                sightings: Sightings::default(),
                counted: self.counts.then(Counted::default),
            }),
        }
    }
}

impl Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("name", &self.inner.name)
            .field("index", &self.inner.index)
            .field("shards", &self.inner.shards)
            .finish_non_exhaustive()
    }
}

impl Debug for TableBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableBuilder")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
