//! Opening the database, whichever it is.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use diesel::r2d2::{Builder, ConnectionManager, Pool};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness};
use diesel_status_tracker::{BoxError, TrackerConnection};

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A pool for two workers of `threads` threads each, on an up-to-date table.
pub fn open<C>(
    url: &str,
    threads: usize,
    builder: Builder<ConnectionManager<C>>,
    migrations: fn() -> EmbeddedMigrations,
) -> Result<Pool<ConnectionManager<C>>, BoxError>
where
    C: TrackerConnection + MigrationHarness<C::Backend>,
{
    try_to_connect::<C>(url)?;
    let pool = builder
        .max_size(threads as u32 + 3) // none is held while a file is read
        .connection_timeout(PATIENCE)
        .test_on_check_out(false) // the tracker replaces a dead connection when it meets one
        .build(ConnectionManager::new(url))
        .map_err(|error| cannot_open(url, error))?;

    // A second process may be creating the table at this very moment. The
    // later one fails, and finds the work done when it looks again.
    let mut tries = 1;
    while let Err(error) = pool.get()?.run_pending_migrations(migrations()) {
        if tries == 5 {
            return Err(format!("cannot create the table `files`: {error}").into());
        }
        tries += 1;
        thread::sleep(Duration::from_millis(300));
    }
    Ok(pool)
}

/// Connects once, without the pool, which would try a wrong address again and
/// again for as long as its patience lasts.
fn try_to_connect<C: TrackerConnection>(url: &str) -> Result<(), BoxError> {
    let (sender, answer) = mpsc::channel();
    let address = url.to_owned();
    // In a thread, for a server that does not answer at all can take minutes.
    thread::spawn(move || sender.send(C::establish(&address).map(drop)));
    match answer.recv_timeout(PATIENCE) {
        Ok(connected) => connected.map_err(|error| cannot_open(url, error)),
        Err(_) => Err(cannot_open(url, format!("no answer within {PATIENCE:?}"))),
    }
}

/// One line, without the user and password that a URL may hold.
fn cannot_open(url: &str, error: impl ToString) -> BoxError {
    let place = url.rsplit('@').next().unwrap_or_default();
    let error = error.to_string();
    let error = error.lines().next().unwrap_or_default();
    format!("cannot open the database {place}: {error}").into()
}
