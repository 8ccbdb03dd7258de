//! SQLite: what a pool needs to serve several threads.

use std::time::Duration;

use diesel::SqliteConnection;
use diesel::connection::SimpleConnection;
use diesel::r2d2::{CustomizeConnection, Error};

/// Prepares each connection of a pool for use by several threads: write-ahead
/// logging, so that readers and the writer do not wait for each other, and a
/// busy timeout, so that writers wait for each other instead of failing.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use diesel::SqliteConnection;
/// use diesel::r2d2::{ConnectionManager, Pool};
///
/// # let folder = tempfile::tempdir()?;
/// # let file = folder.path().join("jobs.db");
/// # let url = file.to_str().ok_or("path")?;
/// let pool: Pool<ConnectionManager<SqliteConnection>> = Pool::builder()
///     .connection_customizer(Box::new(diesel_status_tracker::sqlite::Customizer::default()))
///     .build(ConnectionManager::new(url))?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Customizer {
    /// How long a statement waits for another writer, in whole milliseconds. 5
    /// seconds by default, 24 days at most.
    pub busy_timeout: Duration,
    /// Whether each commit is on the disk before the call returns
    /// (`synchronous = FULL`). This is the default. Without it (`NORMAL`) a power
    /// cut may undo the last commits, also claims and success marks, but never a
    /// part of a commit. In exchange commits do not wait for the disk. A crash of
    /// the program undoes nothing in either case.
    pub durable: bool,
}

impl Default for Customizer {
    fn default() -> Self {
        Self {
            busy_timeout: Duration::from_secs(5),
            durable: true,
        }
    }
}

impl CustomizeConnection<SqliteConnection, Error> for Customizer {
    fn on_acquire(&self, conn: &mut SqliteConnection) -> Result<(), Error> {
        // The timeout comes first: the switch to write-ahead logging needs the file
        // for itself, and the connections of the pool open at the same time.
        let timeout = i32::try_from(self.busy_timeout.as_millis()).unwrap_or(i32::MAX);
        let synchronous = if self.durable { "FULL" } else { "NORMAL" };
        conn.batch_execute(&format!(
            "PRAGMA busy_timeout = {timeout}; PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous};"
        ))
        .map_err(Error::QueryError)
    }
}
