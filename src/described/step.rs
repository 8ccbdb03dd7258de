//! What can be done with the jobs of one step of a described table.

use std::sync::Arc;

use super::{SeenJob, SeenLock, checked};
use crate::attempt::expiry;
use crate::db::database::Database;
use crate::error::{Error, Result};
use crate::rows::{ignore, reset};
use crate::sql::described::{Described, DescribedConnection, DescribedRows, RowKey};
use crate::table_info::{Phase, Role, StepInfo};
use status_protocol::Step;

/// One step of a [`DescribedTable`](super::DescribedTable), and what can be done with
/// its jobs.
#[derive(Debug, Clone)]
pub struct DescribedStep {
    table: Arc<Described>,
    number: usize,
}

/// What came of resetting several jobs.
#[derive(Debug)]
#[non_exhaustive]
pub struct ResetMany {
    /// So many were reset.
    pub count: usize,
    /// The others, each with the reason why it was passed over.
    pub passed_over: Vec<PassedOver>,
}

/// A job that was passed over.
#[derive(Debug)]
#[non_exhaustive]
pub struct PassedOver {
    /// Its key.
    pub key: RowKey,
    /// Why.
    pub error: Error,
}

fn as_seen(seen: &SeenJob) -> reset::Seen<'_> {
    reset::Seen {
        status: &seen.status,
        update_at: seen.update_at.as_deref(),
    }
}

impl DescribedStep {
    pub(super) fn new(table: Arc<Described>, number: usize) -> Self {
        Self { table, number }
    }

    /// Its description.
    #[must_use]
    pub fn info(&self) -> &StepInfo {
        &self.table.info().steps()[self.number]
    }

    /// Makes a job `PENDING` again, with `retry` 0 and ready now, as
    /// [`StatusTracked::reset`](crate::StatusTracked::reset) does.
    ///
    /// # Errors
    ///
    /// Those of [`StatusTracked::reset`](crate::StatusTracked::reset), and
    /// [`Error::Database`] where the database does not take the key for one of the
    /// table.
    pub fn reset<D>(&self, db: D, key: impl Into<RowKey>) -> Result<()>
    where
        D: Database<Connection: DescribedConnection>,
    {
        let key = checked(&self.table, key)?;
        reset::one(db, &self.rows(), &key, &self.step())
    }

    /// [`reset`](Self::reset)s a job if it is still as it was `seen`, which
    /// [`JobState::seen`](super::JobState::seen) tells: that is a condition of the
    /// statement that changes the row. For what a person decides by looking at a job: one
    /// that has run since, and has succeeded, is not to run again.
    ///
    /// ```
    /// # #[cfg(not(feature = "sqlite"))] fn main() {}
    /// # #[cfg(feature = "sqlite")] fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use diesel::prelude::*;
    /// # use diesel_status_tracker::{DescribedTable, Error, StepCodes, StepInfo, TableInfo};
    /// # let mut conn = SqliteConnection::establish(":memory:")?;
    /// # diesel::sql_query("CREATE TABLE jobs (id INTEGER PRIMARY KEY, status INTEGER NOT NULL, create_at TIMESTAMP NOT NULL,
    /// #     update_at TIMESTAMP NOT NULL, lock TEXT, lock_at TIMESTAMP, retry INTEGER NOT NULL, errors TEXT NOT NULL)")
    /// #     .execute(&mut conn)?;
    /// # diesel::sql_query("INSERT INTO jobs VALUES (7, 50, '2026-01-01 00:00:00', '2026-01-01 00:00:00', NULL, NULL, 3, '{}')")
    /// #     .execute(&mut conn)?;
    /// # let codes = StepCodes {
    /// #     pending: 10.into(), in_progress: 20.into(), failed: 30.into(), succeeded: 40.into(), ignored: 50.into(),
    /// # };
    /// # let info = TableInfo::named("jobs").key(["id"]).usual_columns().step(StepInfo::new("job", codes)).build()?;
    /// # let table = DescribedTable::new(info);
    /// let seen = table.find(&mut conn, "7")?.expect("it is there").seen();
    /// let step = table.step("job")?;
    /// step.reset_if_unchanged(&mut conn, "7", &seen)?;
    ///
    /// let again = step.reset_if_unchanged(&mut conn, "7", &seen);
    /// assert!(matches!(again, Err(Error::JobChanged { .. })));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`reset`](Self::reset), [`Error::Locked`] also where another transaction
    /// holds the row for longer than a moment; [`Error::JobChanged`] where it has changed
    /// since, and could still be reset; [`Error::OutcomeUnknown`] where the answer was lost and
    /// the row does not tell.
    pub fn reset_if_unchanged<D>(&self, db: D, key: impl Into<RowKey>, seen: &SeenJob) -> Result<()>
    where
        D: Database<Connection: DescribedConnection>,
    {
        let key = checked(&self.table, key)?;
        reset::if_unchanged(db, &self.rows(), &key, &self.step(), as_seen(seen))
    }

    /// [`reset`](Self::reset)s several jobs, and says which of them it has passed over
    /// and why: a job that an attempt holds, one of another step, a key without a row,
    /// a key that the database does not take for one, a row that another transaction
    /// holds for longer than about a second.
    ///
    /// # Errors
    ///
    /// Only those of all calls. After an error some may have been reset.
    pub fn reset_many<D, K>(&self, db: D, keys: impl IntoIterator<Item = K>) -> Result<ResetMany>
    where
        D: Database<Connection: DescribedConnection>,
        K: Into<RowKey>,
    {
        let keys = keys.into_iter().map(|key| checked(&self.table, key));
        let keys = keys.collect::<Result<Vec<_>>>()?;
        let mut passed_over = Vec::new();
        let count = reset::each_told(db, &self.rows(), keys, &self.step(), |key, error| {
            passed_over.push(PassedOver { key, error });
        })?;
        Ok(ResetMany { count, passed_over })
    }

    /// Leaves a job alone from now on: its status becomes `IGNORED`, and `reason`
    /// stands in its `errors` as the newest entry. Use it for pending and failed jobs,
    /// and for those whose attempt is dead. [`reset`](Self::reset) takes it back.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::Locked`] while an attempt holds it;
    /// [`Error::AlreadySucceeded`] and [`Error::Ignored`] where there is nothing to
    /// ignore; [`Error::NotReady`] where the row is in another step;
    /// [`Error::UpdateDropped`] where a trigger or a rule drops the update;
    /// [`Error::OutcomeUnknown`] where the answer was lost and the row does not tell.
    pub fn ignore<D>(&self, db: D, key: impl Into<RowKey>, reason: &str) -> Result<()>
    where
        D: Database<Connection: DescribedConnection>,
    {
        let key = checked(&self.table, key)?;
        ignore::one(db, &self.rows(), &key, &self.step(), reason, None)
    }

    /// [`ignore`](Self::ignore)s a job if it is still as it was `seen`, as
    /// [`reset_if_unchanged`](Self::reset_if_unchanged) resets it.
    ///
    /// # Errors
    ///
    /// Those of [`ignore`](Self::ignore), [`Error::Locked`] also where another transaction
    /// holds the row for longer than a moment, and [`Error::JobChanged`] where it has
    /// changed since, and could still be ignored.
    pub fn ignore_if_unchanged<D>(
        &self,
        db: D,
        key: impl Into<RowKey>,
        seen: &SeenJob,
        reason: &str,
    ) -> Result<()>
    where
        D: Database<Connection: DescribedConnection>,
    {
        let key = checked(&self.table, key)?;
        let (rows, step) = (self.rows(), self.step());
        ignore::one(db, &rows, &key, &step, reason, Some(as_seen(seen)))
    }

    /// Ends an attempt now whose worker is known to be dead, without waiting for its
    /// lock to expire. It counts as failed, as an expired one does. `seen` is the
    /// lock of that attempt, as [`JobState::seen_lock`](super::JobState::seen_lock) has
    /// it: an attempt that began or renewed its lock since is not hit.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::AttemptChanged`] where that attempt has ended, or
    /// has renewed its lock, or is another step's; [`Error::Locked`] where another
    /// transaction holds the row for longer than a moment; [`Error::UpdateDropped`];
    /// [`Error::OutcomeUnknown`].
    pub fn expire<D>(&self, db: D, key: impl Into<RowKey>, seen: &SeenLock) -> Result<()>
    where
        D: Database<Connection: DescribedConnection>,
    {
        let key = checked(&self.table, key)?;
        let seen = expiry::Seen {
            token: &seen.token,
            lock_at: &seen.lock_at,
        };
        expiry::expire_seen(db, &self.rows(), &key, &self.step(), seen)
    }

    /// Ends the attempts of this step whose lock has expired, and returns how many, as
    /// [`StatusTracked::expire_locks`](crate::StatusTracked::expire_locks) does.
    ///
    /// # Errors
    ///
    /// Only those of all calls. After an error some may have been expired.
    pub fn expire_locks<D>(&self, db: D) -> Result<usize>
    where
        D: Database<Connection: DescribedConnection>,
    {
        let rows = self.rows();
        let step = self.step();
        // Observers hear of the steps of the program, of which this is none.
        let mut once = expiry::Once {
            table: &rows,
            step: &step,
            source: None,
        };
        expiry::expire_all(db, &rows, &step, &mut once)
    }

    fn rows(&self) -> DescribedRows<'_> {
        DescribedRows {
            table: &self.table,
            step: Some(self.info()),
        }
    }

    fn step(&self) -> Step<Phase> {
        let has_run_at = self.table.info().column(Role::RunAt).is_some();
        self.info().step(has_run_at)
    }
}
