//! A table, and what this process knows of it.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use aws_sdk_dynamodb::Client;
use chrono::TimeDelta;

use crate::attempt::sightings::Sightings;
use crate::clock::Clock;
use crate::db::capacity::{Capacity, Counted};
use crate::error::{Error, Result};
use crate::item::queue::any_below;

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
    /// The shard in which this process found jobs last.
    home: AtomicU32,
    clock: Clock,
    sightings: Sightings,
    counted: Option<Counted>,
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

    /// The shard in which a search begins. Each process begins in another one, and stays
    /// where it finds jobs that nobody else takes.
    pub(crate) fn home(&self) -> u32 {
        self.inner.home.load(Ordering::Relaxed)
    }

    pub(crate) fn set_home(&self, shard: u32) {
        self.inner.home.store(shard, Ordering::Relaxed);
    }

    /// Whether items get the attributes of the index.
    pub(crate) fn is_indexed(&self) -> bool {
        self.inner.index.is_some()
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
                home: AtomicU32::new(any_below(self.shards)),
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
