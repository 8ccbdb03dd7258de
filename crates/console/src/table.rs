//! A tracked table and the database that it is in.

use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use diesel::r2d2::{ManageConnection, Pool};
use diesel_status_tracker::{
    DescribedConnection, DescribedTable, InnerConnection, ResetMany, RowKey, SeenLock, StatusCode,
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
        let mut work = Some(work);
        let mut done = None;
        self.database
            .with(&mut |conn| done = work.take().map(|work| work(conn)))
            .map_err(|source| Error::NoConnection {
                table: self.name().into(),
                source,
            })?;
        done.expect("`with` has called what it was given")
    }

    /// Runs `work` on two connections at once; `None` where the pool has only one, or
    /// none is free.
    pub(crate) fn with_two<T>(
        &self,
        work: impl FnOnce(InnerConnection<'_>, InnerConnection<'_>) -> T,
    ) -> Result<Option<T>> {
        let mut work = Some(work);
        let mut done = None;
        self.database
            .with_two(&mut |one, other| done = work.take().map(|work| work(one, other)))
            .map_err(|source| Error::NoConnection {
                table: self.name().into(),
                source,
            })?;
        Ok(done)
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

    pub(crate) fn reset(&self, step: &str, keys: Vec<RowKey>) -> Result<ResetMany> {
        Ok(self.database.reset(&self.table, step, keys)?)
    }

    pub(crate) fn ignore(&self, step: &str, key: &RowKey, reason: &str) -> Result<()> {
        Ok(self.database.ignore(&self.table, step, key, reason)?)
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

/// A pool, whatever its connections are. The calls are those of [`DescribedTable`],
/// which repeats what a transient error has broken.
trait AnyDatabase: Send + Sync {
    fn with(
        &self,
        work: &mut dyn FnMut(InnerConnection<'_>),
    ) -> Result<(), diesel::r2d2::PoolError>;
    /// Does not call `work` where the pool has only one connection, or none is free.
    fn with_two(
        &self,
        work: &mut dyn FnMut(InnerConnection<'_>, InnerConnection<'_>),
    ) -> Result<(), diesel::r2d2::PoolError>;
    fn reset(&self, table: &DescribedTable, step: &str, keys: Vec<RowKey>) -> Called<ResetMany>;
    fn ignore(&self, table: &DescribedTable, step: &str, key: &RowKey, reason: &str) -> Called<()>;
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
    fn with(
        &self,
        work: &mut dyn FnMut(InnerConnection<'_>),
    ) -> Result<(), diesel::r2d2::PoolError> {
        // The application's pool may wait for longer, and a page would not.
        let mut conn = self.get_timeout(self.connection_timeout().min(CONNECTION_WITHIN))?;
        work(conn.inner_connection());
        Ok(())
    }

    fn with_two(
        &self,
        work: &mut dyn FnMut(InnerConnection<'_>, InnerConnection<'_>),
    ) -> Result<(), diesel::r2d2::PoolError> {
        if self.max_size() < 2 {
            return Ok(());
        }
        let mut one = self.get()?;
        // Where others use the pool, this is not to wait for them with one in hand.
        if let Ok(mut other) = self.get_timeout(Duration::from_secs(1)) {
            work(one.inner_connection(), other.inner_connection());
        }
        Ok(())
    }

    fn reset(&self, table: &DescribedTable, step: &str, keys: Vec<RowKey>) -> Called<ResetMany> {
        table.step(step)?.reset_many(self, keys)
    }

    fn ignore(&self, table: &DescribedTable, step: &str, key: &RowKey, reason: &str) -> Called<()> {
        table.step(step)?.ignore(self, key, reason)
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
