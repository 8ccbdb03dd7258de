//! PostgreSQL: what a pool needs if there is a pooler before the server, or if the
//! server's messages are not English.

use std::time::Duration;

use diesel::PgConnection;
use diesel::connection::{CacheSize, Connection, SimpleConnection};
use diesel::r2d2::{CustomizeConnection, Error};

/// Prepares each connection of a pool: whether it keeps prepared statements,
/// how long its statements may take, and the language of its errors.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use diesel::PgConnection;
/// use diesel::r2d2::{ConnectionManager, Pool};
/// use diesel_status_tracker::postgres::Customizer;
///
/// # let Ok(url) = std::env::var("POSTGRES_URL") else { return Ok(()) };
/// let pool: Pool<ConnectionManager<PgConnection>> = Pool::builder()
///     .connection_customizer(Box::new(Customizer {
///         lock_timeout: Some(Duration::from_secs(5)),
///         ..Customizer::default()
///     }))
///     .build(ConnectionManager::new(url))?;
/// # Ok(()) }
/// ```
///
/// Behind PgBouncer in transaction mode:
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use diesel::PgConnection;
/// # use diesel::r2d2::{ConnectionManager, Pool};
/// # use diesel_status_tracker::postgres::Customizer;
/// # let Ok(url) = std::env::var("PGBOUNCER_URL") else { return Ok(()) };
/// let pool: Pool<ConnectionManager<PgConnection>> = Pool::builder()
///     .connection_customizer(Box::new(Customizer {
///         prepared_statements: false,
///         ..Customizer::default()
///     }))
///     .build(ConnectionManager::new(url))?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Customizer {
    /// Whether a connection prepares each statement once and keeps it. `true`
    /// by default.
    ///
    /// Set it to `false` if a pooler gives each transaction another session of the
    /// server, as PgBouncer does with `pool_mode = transaction`: at the next call
    /// another client may have the session on which a statement was prepared. Then
    /// set the timeouts below by `ALTER ROLE app SET …`, because here they would be
    /// set on a session that other clients get too.
    pub prepared_statements: bool,
    /// How long a statement may take, in whole milliseconds. `None`, the
    /// default, leaves the server's setting (`statement_timeout`).
    ///
    /// A statement of this crate that is stopped by it is tried again.
    pub statement_timeout: Option<Duration>,
    /// How long a statement may wait for a lock, in whole milliseconds. `None`,
    /// the default, leaves the server's setting (`lock_timeout`).
    ///
    /// A statement of this crate that is stopped by it is tried again. A job
    /// whose transaction is stopped by it is released, no attempt counted.
    pub lock_timeout: Option<Duration>,
    /// Whether to ask the server for English messages (`lc_messages`), by which this
    /// crate recognizes a lock timeout. `true` by default.
    ///
    /// A role that is not allowed to ask keeps its language, without an error. The
    /// server's administrator can allow it: `ALTER ROLE app SET lc_messages = 'C'`,
    /// or `GRANT SET ON PARAMETER lc_messages TO app` (PostgreSQL 15 and later). It
    /// is not asked without `prepared_statements`, because another client may get
    /// the session next.
    pub english_messages: bool,
}

/// Only if the role is allowed to. Otherwise the server would log an error for each
/// new connection.
const SPEAK_ENGLISH: &str = "DO $$ BEGIN PERFORM set_config('lc_messages', 'C', false);
    EXCEPTION WHEN insufficient_privilege THEN NULL; END $$";

impl Default for Customizer {
    fn default() -> Self {
        Self {
            prepared_statements: true,
            statement_timeout: None,
            lock_timeout: None,
            english_messages: true,
        }
    }
}

impl CustomizeConnection<PgConnection, Error> for Customizer {
    fn on_acquire(&self, conn: &mut PgConnection) -> Result<(), Error> {
        if !self.prepared_statements {
            conn.set_prepared_statement_cache_size(CacheSize::Disabled);
        }
        if self.english_messages
            && self.prepared_statements
            && let Err(error) = conn.batch_execute(SPEAK_ENGLISH)
        {
            tracing::debug!(%error, "the language of the server's messages stays as it is");
        }
        let mut settings = String::new();
        for (name, timeout) in [
            ("statement_timeout", self.statement_timeout),
            ("lock_timeout", self.lock_timeout),
        ] {
            if let Some(timeout) = timeout {
                // 0 would mean no timeout at all.
                let most = i32::MAX.unsigned_abs().into();
                let timeout = timeout.as_millis().clamp(1, most);
                settings.push_str(&format!("SET {name} = {timeout};"));
            }
        }
        if settings.is_empty() {
            return Ok(());
        }
        conn.batch_execute(&settings).map_err(Error::QueryError)
    }
}
