//! A tracked table and the database that it is in.

use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use diesel::r2d2::{ManageConnection, Pool, PoolError, PooledConnection};
use diesel_status_tracker::{
    DescribedConnection, DescribedTable, InnerConnection, RowKey, SeenJob, SeenLock, StatusCode,
    TableInfo,
};

use crate::error::{Error, Result};

/// A tracked table and the database that it is in. A clone is the same table.
///
/// The pool is any whose connections are Diesel's, or an enum of them.
///
/// ```
/// use diesel::prelude::*;
/// use diesel::r2d2::{ConnectionManager, Pool};
/// use diesel_status_console::Source;
/// use diesel_status_tracker::{DescribedTable, StepCodes, StepInfo, TableInfo};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let codes = StepCodes {
///     pending: 10.into(), in_progress: 20.into(), failed: 30.into(), succeeded: 40.into(), ignored: 50.into(),
/// };
/// let info = TableInfo::named("jobs").key(["id"]).usual_columns().step(StepInfo::new("job", codes)).build()?;
/// let pool = Pool::builder().max_size(1).build(ConnectionManager::<SqliteConnection>::new(":memory:"))?;
///
/// let source = Source::new(DescribedTable::new(info), pool).named("night jobs");
/// assert_eq!(source.name(), "night jobs");
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Source {
    name: Arc<str>,
    table: DescribedTable,
    database: Arc<dyn AnyDatabase>,
    /// Conditions whose rows took too long to count, and until when they are not
    /// counted again.
    slow: Arc<Mutex<HashMap<String, Instant>>>,
}

/// A read waits no longer for a connection.
const CONNECTION_WITHIN: Duration = Duration::from_secs(3);
/// A count that took too long is not tried again for this time.
const SLOW_FOR: Duration = Duration::from_secs(60);
/// So many of them are remembered.
const SLOW_AT_MOST: usize = 1_000;
/// And none with more bytes.
const LONGEST_CONDITION: usize = 4_000;

impl Source {
    /// This table, over this pool. Its name is that of the table.
    #[must_use]
    pub fn new<M>(table: DescribedTable, pool: Pool<M>) -> Self
    where
        M: ManageConnection<Connection: DescribedConnection>,
    {
        Self {
            name: table.info().to_string().into(),
            table,
            database: Arc::new(pool),
            slow: Arc::default(),
        }
    }

    /// The same table with another name.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.name = name.into();
        self
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> &DescribedTable {
        &self.table
    }

    /// Its description.
    #[must_use]
    pub fn info(&self) -> &TableInfo {
        self.table.info()
    }

    /// Its name, which no other table of a console has.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `work` on one of Diesel's three connections.
    pub(crate) fn with<T>(&self, work: impl FnOnce(InnerConnection<'_>) -> Result<T>) -> Result<T> {
        // The application's pool may wait for longer, and a page would not.
        let mut conn = self.conn(CONNECTION_WITHIN)?;
        work(conn.inner())
    }

    /// Runs `work` on two connections at once; `None` where the pool has only one, or
    /// none is free.
    pub(crate) fn with_two<T>(
        &self,
        work: impl FnOnce(InnerConnection<'_>, InnerConnection<'_>) -> T,
    ) -> Result<Option<T>> {
        if self.database.connections() < 2 {
            return Ok(None);
        }
        let mut one = self.conn(Duration::MAX)?;
        // Where others use the pool, this is not to wait for them with one in hand.
        let other = self.conn(Duration::from_secs(1));
        Ok(other.ok().map(|mut other| work(one.inner(), other.inner())))
    }

    fn conn(&self, within: Duration) -> Result<Box<dyn Held>> {
        let conn = self.database.conn(within);
        conn.map_err(|source| Error::NoConnection {
            table: self.name().into(),
            source,
        })
    }

    /// Whether counting these rows took too long a moment ago.
    pub(crate) fn is_slow(&self, condition: &str) -> bool {
        let slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        slow.get(condition)
            .is_some_and(|until| *until > Instant::now())
    }

    pub(crate) fn found_slow(&self, condition: &str) {
        let mut slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        slow.retain(|_, until| *until > now);
        // A condition has what somebody has typed.
        if slow.len() < SLOW_AT_MOST && condition.len() < LONGEST_CONDITION {
            slow.insert(condition.into(), now + SLOW_FOR);
        }
    }

    pub(crate) fn reset(&self, step: &str, key: &RowKey, seen: &SeenJob) -> Result<()> {
        Ok(self.database.reset(&self.table, step, key, seen)?)
    }

    pub(crate) fn ignore(
        &self,
        step: &str,
        key: &RowKey,
        seen: &SeenJob,
        reason: &str,
    ) -> Result<()> {
        let database = &self.database;
        Ok(database.ignore(&self.table, step, key, seen, reason)?)
    }

    pub(crate) fn expire(&self, step: &str, key: &RowKey, seen: &SeenLock) -> Result<()> {
        Ok(self.database.expire(&self.table, step, key, seen)?)
    }

    pub(crate) fn prune(&self, statuses: &[StatusCode], unchanged_for: Duration) -> Result<usize> {
        Ok(self.database.prune(&self.table, statuses, unchanged_for)?)
    }
}

impl Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("name", &self.name)
            .field("table", &self.table)
            .finish_non_exhaustive()
    }
}

type Called<T> = diesel_status_tracker::Result<T>;

/// A connection of a pool, which takes it back.
trait Held {
    fn inner(&mut self) -> InnerConnection<'_>;
}

impl<M: ManageConnection<Connection: DescribedConnection>> Held for PooledConnection<M> {
    fn inner(&mut self) -> InnerConnection<'_> {
        self.inner_connection()
    }
}

/// A pool, whatever its connections are. The calls are those of [`DescribedTable`],
/// which repeats what a transient error has broken.
trait AnyDatabase: Send + Sync {
    /// A connection, within this time and that of the pool.
    fn conn(&self, within: Duration) -> Result<Box<dyn Held>, PoolError>;
    /// How many it has at most.
    fn connections(&self) -> u32;
    fn reset(&self, table: &DescribedTable, step: &str, key: &RowKey, seen: &SeenJob)
    -> Called<()>;
    fn ignore(
        &self,
        table: &DescribedTable,
        step: &str,
        key: &RowKey,
        seen: &SeenJob,
        reason: &str,
    ) -> Called<()>;
    fn expire(
        &self,
        table: &DescribedTable,
        step: &str,
        key: &RowKey,
        seen: &SeenLock,
    ) -> Called<()>;
    fn prune(
        &self,
        table: &DescribedTable,
        statuses: &[StatusCode],
        unchanged_for: Duration,
    ) -> Called<usize>;
}

impl<M: ManageConnection<Connection: DescribedConnection>> AnyDatabase for Pool<M> {
    fn conn(&self, within: Duration) -> Result<Box<dyn Held>, PoolError> {
        let conn = self.get_timeout(self.connection_timeout().min(within))?;
        Ok(Box::new(conn))
    }

    fn connections(&self) -> u32 {
        self.max_size()
    }

    fn reset(
        &self,
        table: &DescribedTable,
        step: &str,
        key: &RowKey,
        seen: &SeenJob,
    ) -> Called<()> {
        table.step(step)?.reset_if_unchanged(self, key, seen)
    }

    fn ignore(
        &self,
        table: &DescribedTable,
        step: &str,
        key: &RowKey,
        seen: &SeenJob,
        reason: &str,
    ) -> Called<()> {
        let step = table.step(step)?;
        step.ignore_if_unchanged(self, key, seen, reason)
    }

    fn expire(
        &self,
        table: &DescribedTable,
        step: &str,
        key: &RowKey,
        seen: &SeenLock,
    ) -> Called<()> {
        table.step(step)?.expire(self, key, seen)
    }

    fn prune(
        &self,
        table: &DescribedTable,
        statuses: &[StatusCode],
        unchanged_for: Duration,
    ) -> Called<usize> {
        table.prune(self, statuses, unchanged_for)
    }
}
