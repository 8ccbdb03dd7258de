//! What a call may be given to reach the database: a pool or a connection.

use std::fmt::Display;
use std::sync::Arc;

use r2d2::{ManageConnection, Pool, PooledConnection};

use crate::db::connection::TrackerConnection;
use crate::db::pool::AnyPool;
use crate::db::retry::{self, Fault, Verdict, judge};
use crate::error::{Error, Result};

/// What the calls take as `db`: `&pool`, `&Arc<Pool>`, or `&mut connection`.
/// The pool is any pool of `r2d2` whose connections are tracked, whatever manages them.
///
/// With a pool, a call borrows a connection for the time of its statements, and
/// tries again after a transient error. With a connection it takes part in the
/// caller's open transaction, and returns the first error. A `&mut` is moved into
/// the call; write `&mut *conn` to keep it.
pub trait Database {
    /// The connection's type.
    type Connection: TrackerConnection;

    /// Runs `work` for `job`. The second argument of `work` is true if an earlier
    /// try may have been applied: its connection broke before the answer came.
    #[doc(hidden)]
    fn run<T>(
        &mut self,
        job: &dyn Display,
        work: impl FnMut(&mut Self::Connection, bool) -> Result<T, Fault>,
    ) -> Result<T>;
}

impl<M: ManageConnection<Connection: TrackerConnection>> Database for &Pool<M> {
    type Connection = M::Connection;

    fn run<T>(
        &mut self,
        job: &dyn Display,
        work: impl FnMut(&mut M::Connection, bool) -> Result<T, Fault>,
    ) -> Result<T> {
        retry::run(*self, job, work)
    }
}

impl<M: ManageConnection<Connection: TrackerConnection>> Database for &Arc<Pool<M>> {
    type Connection = M::Connection;

    fn run<T>(
        &mut self,
        job: &dyn Display,
        work: impl FnMut(&mut M::Connection, bool) -> Result<T, Fault>,
    ) -> Result<T> {
        retry::run(&***self, job, work)
    }
}

impl<C: TrackerConnection> Database for &AnyPool<C> {
    type Connection = C;

    fn run<T>(
        &mut self,
        job: &dyn Display,
        work: impl FnMut(&mut C, bool) -> Result<T, Fault>,
    ) -> Result<T> {
        retry::run(&***self, job, work)
    }
}

// A borrowed connection gets one try, since a failed statement may have broken the
// caller's transaction.

impl<C: TrackerConnection> Database for &mut C {
    type Connection = C;

    fn run<T>(
        &mut self,
        job: &dyn Display,
        mut work: impl FnMut(&mut C, bool) -> Result<T, Fault>,
    ) -> Result<T> {
        // A transaction that breaks is rolled back.
        let is_undone = matches!(self.depth(), Ok(1..));
        work(self, false).map_err(|fault| match fault {
            Fault::Once(source) if !is_undone && judge::<C>(self, &source) == Verdict::Broken => {
                Error::OutcomeUnknown {
                    job: job.to_string(),
                    source,
                }
            }
            fault => fault.into_error(job),
        })
    }
}

impl<M: ManageConnection<Connection: TrackerConnection>> Database for &mut PooledConnection<M> {
    type Connection = M::Connection;

    fn run<T>(
        &mut self,
        job: &dyn Display,
        work: impl FnMut(&mut M::Connection, bool) -> Result<T, Fault>,
    ) -> Result<T> {
        (&mut ***self).run(job, work)
    }
}
