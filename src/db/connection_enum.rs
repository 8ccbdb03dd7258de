//! An enum of connections: one program, and the database is chosen when it runs.

use diesel::QueryResult;
use diesel::r2d2::R2D2Connection;
use diesel::result::Error as DieselError;

use crate::db::changes::{Changes, Channel, TellsChanges, Version};
use crate::db::connection::{Facts, TrackerConnection};
use crate::db::database_error::{Cause, Information};
use crate::table_info::TableInfo;

/// An enum of Diesel's connections, for a program that learns from its settings
/// which database it uses.
///
/// Diesel derives the connection, and this trait tells which of Diesel's connections
/// a value holds:
///
/// ```
/// # #[cfg(all(feature = "sqlite", feature = "postgres"))] mod m {
/// use diesel::prelude::*;
/// use diesel_status_tracker::{ConnectionEnum, InnerConnection};
///
/// #[derive(diesel::MultiConnection)]
/// pub enum DbConnection {
///     Sqlite(SqliteConnection),
///     Postgres(PgConnection),
/// }
///
/// impl ConnectionEnum for DbConnection {
///     fn inner(&mut self) -> InnerConnection<'_> {
///         match self {
///             Self::Sqlite(conn) => InnerConnection::Sqlite(conn),
///             Self::Postgres(conn) => InnerConnection::Postgres(conn),
///         }
///     }
/// }
/// # }
/// # fn main() {}
/// ```
///
/// In `connections` of [`job_table!`](crate::job_table) the enum stands beside the
/// connections that it may hold: `connections: [SqliteConnection, PgConnection,
/// DbConnection]`. Each call then does on the connection in the enum what it does on
/// that connection alone. A call on a connection that `connections` does not list
/// returns [`Error::Misconfigured`](crate::Error::Misconfigured).
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be tracked over: `connections` takes SqliteConnection, PgConnection and MysqlConnection, by these names, and enums of them",
    label = "neither one of these three, nor an enum of them",
    note = "an enum derives `diesel::MultiConnection` and implements `diesel_status_tracker::ConnectionEnum`"
)]
pub trait ConnectionEnum: R2D2Connection + Send + 'static {
    /// The connection that this value holds.
    fn inner(&mut self) -> InnerConnection<'_>;
}

/// The connection in a value of a [`ConnectionEnum`].
#[non_exhaustive]
#[allow(
    missing_debug_implementations,
    reason = "Diesel's connections have none"
)]
pub enum InnerConnection<'a> {
    /// SQLite.
    #[cfg(feature = "sqlite")]
    Sqlite(&'a mut diesel::SqliteConnection),
    /// PostgreSQL.
    #[cfg(feature = "postgres")]
    Postgres(&'a mut diesel::PgConnection),
    /// MySQL or MariaDB.
    #[cfg(feature = "mysql")]
    Mysql(&'a mut diesel::MysqlConnection),
}

/// Does the same on whichever connection it is.
macro_rules! on_inner {
    ($inner:expr, $conn:ident => $work:expr) => {
        match $inner {
            #[cfg(feature = "sqlite")]
            InnerConnection::Sqlite($conn) => $work,
            #[cfg(feature = "postgres")]
            InnerConnection::Postgres($conn) => $work,
            #[cfg(feature = "mysql")]
            InnerConnection::Mysql($conn) => $work,
        }
    };
}
pub(crate) use on_inner;

impl InnerConnection<'_> {
    /// The name of the connection, as `job_table!` takes it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => "SqliteConnection",
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => "PgConnection",
            #[cfg(feature = "mysql")]
            Self::Mysql(_) => "MysqlConnection",
        }
    }
}

impl<C: ConnectionEnum> TellsChanges for C {
    fn hears(&mut self, other: &mut Self) -> QueryResult<bool> {
        match (self.inner(), other.inner()) {
            #[cfg(feature = "postgres")]
            (InnerConnection::Postgres(conn), InnerConnection::Postgres(other)) => {
                conn.hears(other)
            }
            // The others have no notifications.
            #[allow(unreachable_patterns, reason = "there may be no others")]
            _ => Ok(true),
        }
    }

    fn channel(&mut self, table: &TableInfo) -> QueryResult<Option<Channel>> {
        on_inner!(self.inner(), conn => conn.channel(table))
    }

    fn listen(&mut self, channel: Channel) -> QueryResult<bool> {
        on_inner!(self.inner(), conn => conn.listen(channel))
    }

    fn unlisten(&mut self, channel: Channel) -> QueryResult<()> {
        on_inner!(self.inner(), conn => conn.unlisten(channel))
    }

    fn changes(&mut self, known: &mut Version) -> QueryResult<Changes> {
        on_inner!(self.inner(), conn => conn.changes(known))
    }
}

impl<C: ConnectionEnum> TrackerConnection for C {
    const FACTS: Option<&'static Facts> = None;

    fn facts(&mut self) -> &'static Facts {
        on_inner!(self.inner(), conn => conn.facts())
    }

    fn cause(&mut self, error: &Information) -> Cause {
        on_inner!(self.inner(), conn => conn.cause(error))
    }

    fn knows_language(&mut self) -> bool {
        on_inner!(self.inner(), conn => conn.knows_language())
    }

    fn learn_language(&mut self, other: &mut Self) -> QueryResult<bool> {
        match (self.inner(), other.inner()) {
            #[cfg(feature = "postgres")]
            (InnerConnection::Postgres(conn), InnerConnection::Postgres(other)) => {
                conn.learn_language(other)
            }
            // The others have nothing to learn.
            #[allow(unreachable_patterns, reason = "there may be no others")]
            _ => Ok(false),
        }
    }

    fn keeps_snapshots(&mut self) -> QueryResult<bool> {
        on_inner!(self.inner(), conn => conn.keeps_snapshots())
    }

    fn is_refusal(&mut self, error: &DieselError) -> bool {
        on_inner!(self.inner(), conn => conn.is_refusal(error))
    }

    fn begin_write(&mut self) -> QueryResult<()> {
        on_inner!(self.inner(), conn => conn.begin_write())
    }

    fn own_lock_wait(&mut self) -> QueryResult<Option<String>> {
        on_inner!(self.inner(), conn => conn.own_lock_wait())
    }

    fn restore_lock_wait(&mut self, own: String) -> QueryResult<()> {
        on_inner!(self.inner(), conn => conn.restore_lock_wait(own))
    }
}

/// A value of an enum holds a connection that `connections` does not list. Diesel's
/// errors carry it to where the call's error is made.
#[derive(Debug, thiserror::Error)]
#[error(
    "this call has a connection that is a {connection}, which its `job_table!` does not list: add it to `connections`"
)]
pub(crate) struct NotListed {
    pub table: &'static str,
    connection: &'static str,
}

impl NotListed {
    pub fn error(table: &'static str, inner: &InnerConnection<'_>) -> DieselError {
        DieselError::QueryBuilderError(Box::new(Self {
            table,
            connection: inner.name(),
        }))
    }

    /// The one in an error of Diesel's, if it is there.
    pub fn among(error: &DieselError) -> Option<&Self> {
        match error {
            DieselError::QueryBuilderError(error) => error.downcast_ref(),
            _ => None,
        }
    }
}
