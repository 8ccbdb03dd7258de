//! What a call may be given to reach the database: a pool or a connection.

use std::fmt::Display;
use std::sync::Arc;

use diesel::r2d2::{ConnectionManager, PooledConnection};

use crate::connection::{PoolOf, TrackerConnection};
use crate::error::Result;
use crate::retry::{self, Fault};

/// What the calls take as `db`: `&pool`, `&Arc<Pool>`, or `&mut connection`.
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

impl<C: TrackerConnection> Database for &PoolOf<C> {
    type Connection = C;

    fn run<T>(
        &mut self,
        job: &dyn Display,
        work: impl FnMut(&mut C, bool) -> Result<T, Fault>,
    ) -> Result<T> {
        retry::run(self, job, work)
    }
}

impl<C: TrackerConnection> Database for &Arc<PoolOf<C>> {
    type Connection = C;

    fn run<T>(
        &mut self,
        job: &dyn Display,
        work: impl FnMut(&mut C, bool) -> Result<T, Fault>,
    ) -> Result<T> {
        (&***self).run(job, work)
    }
}

/// A borrowed connection: one try, since a failed statement may have broken
/// the caller's transaction.
macro_rules! borrowed_connection {
    ([$($generics:tt)*] $type:ty, $connection:ty) => {
        impl $($generics)* Database for &mut $type {
            type Connection = $connection;

            fn run<T>(&mut self, job: &dyn Display, mut work: impl FnMut(&mut $connection, bool) -> Result<T, Fault>) -> Result<T> {
                work(self, false).map_err(|fault| fault.into_error(job))
            }
        }
    };
}

#[cfg(feature = "sqlite")]
borrowed_connection!([] diesel::SqliteConnection, diesel::SqliteConnection);
#[cfg(feature = "postgres")]
borrowed_connection!([] diesel::PgConnection, diesel::PgConnection);
#[cfg(feature = "mysql")]
borrowed_connection!([] diesel::MysqlConnection, diesel::MysqlConnection);
borrowed_connection!([<C: TrackerConnection>] PooledConnection<ConnectionManager<C>>, C);
