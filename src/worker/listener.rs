//! Tells idle workers what other programs have changed, by a connection of its own.

use std::fmt::{self, Debug};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use diesel::result::ConnectionResult;
use status_protocol::backoff;
use status_protocol::panics::caught;

use crate::db::changes::{Changes, Channel, Tells, Version};
use crate::db::connection::TrackerConnection;
use crate::db::retry::{Verdict, judge};
use crate::error::BoxError;
use crate::table_info::TableInfo;
use crate::wake::Bell;

/// The pause between two questions for changes. A question is no statement on
/// PostgreSQL: it reads what has come over the line. On SQLite it reads no table.
const TICK: Duration = Duration::from_millis(2);
/// How often the line is tried, and the numbers of the tables are read again.
const CHECK: Duration = Duration::from_secs(30);
/// Pauses before another connection is opened.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long the end of the last worker waits for the connection to be closed.
const WAIT_FOR_END: Duration = Duration::from_secs(1);

/// What a worker is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// Somebody may have made jobs ready.
    Changed,
    /// From now on the worker is told of changes. There may have been some before.
    Listening,
    /// From now on it is not.
    Deaf,
}

/// A worker that is told.
struct Hearer {
    table: &'static TableInfo,
    bell: Arc<Bell>,
    tell: Box<dyn Fn(News) + Send + Sync>,
}

/// Has idle workers begin at once with the jobs that **other programs** make ready:
/// a connection of its own for any number of workers over one database, in one program.
///
/// ```
/// # mod m {
/// # use diesel::prelude::*; use diesel::r2d2::{ConnectionManager, Pool};
/// # use diesel_status_tracker::{Error, JobStore, Listener, StatusTracked, UpdatesOf};
/// # #[cfg(feature = "sqlite")]
/// # fn work<Job: StatusTracked<Job = Job> + JobStore<SqliteConnection> + Send, Mail: StatusTracked<Job = Mail> + JobStore<SqliteConnection> + Send>(
/// #     pool: Pool<ConnectionManager<SqliteConnection>>, url: &str) -> Result<(), Error>
/// # where UpdatesOf<Job>: Send, UpdatesOf<Mail>: Send {
/// let listener = Listener::at(url);
/// let jobs = Job::worker(&pool).listen(&listener);
/// let mails = Mail::worker(&pool).listen(&listener);
/// # jobs.run(|_, _| Ok(()))?; mails.run(|_, _| Ok(()))?; Ok(()) }
/// # }
/// # fn main() {}
/// ```
///
/// - **PostgreSQL**: by `LISTEN`. The tables need the trigger that notifies, which
///   `migrations/postgres` and the page on [workers][worker] have. It costs nothing to
///   speak of while nobody listens. The connection must reach the server itself: behind
///   a pooler in transaction mode notifications do not arrive, which is found out and
///   logged. So give it a URL of its own there.
/// - **SQLite**: by `PRAGMA data_version`, each two milliseconds while a worker is idle.
///   The table is read only after somebody has changed the file.
/// - **MariaDB and MySQL** cannot tell it. The worker looks by itself; see
///   [`poll_between`](crate::Worker::poll_between).
///
/// The connection is opened when the first worker begins, and closed when the last one
/// ends. When it is lost, the workers look once each second, or as often as they are set
/// to if that is more, until there is another one. Both are logged. No error of the
/// listener ends a worker.
///
/// [worker]: https://docs.rs/diesel_status_tracker/latest/diesel_status_tracker/guide/worker/index.html
pub struct Listener<C: TrackerConnection>(Arc<Shared<C>>);

struct Shared<C> {
    connect: Box<dyn Fn() -> ConnectionResult<C> + Send + Sync>,
    state: Mutex<State>,
    /// `state` has changed.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    hearers: Vec<Arc<Hearer>>,
    /// How often `hearers` has changed.
    changes: u64,
    /// Its thread runs.
    is_running: bool,
    is_listening: bool,
}

impl<C: TrackerConnection> Listener<C> {
    /// A listener whose connections are made with this URL. On SQLite, that of the file.
    #[must_use]
    pub fn at(url: impl Into<String>) -> Self {
        let url = url.into();
        Self::new(move || C::establish(&url))
    }

    /// A listener whose connections are made by `connect`, which may be called again at
    /// any time: after a lost connection, and on PostgreSQL once more each time, to try
    /// whether notifications arrive.
    #[must_use]
    pub fn new(connect: impl Fn() -> ConnectionResult<C> + Send + Sync + 'static) -> Self {
        Self(Arc::new(Shared {
            connect: Box::new(connect),
            state: Mutex::default(),
            changed: Condvar::new(),
        }))
    }

    /// Whether its workers are told of changes now.
    #[must_use]
    pub fn is_listening(&self) -> bool {
        self.0.state().is_listening
    }

    /// Tells this worker of changes, until the return value is dropped.
    pub(super) fn tell(
        &self,
        table: &'static TableInfo,
        bell: Arc<Bell>,
        tell: impl Fn(News) + Send + Sync + 'static,
    ) -> std::io::Result<Hearing<C>> {
        let hearer = Arc::new(Hearer {
            table,
            bell,
            tell: Box::new(tell),
        });
        let mut state = self.0.state();
        if !state.is_running {
            let shared = Arc::clone(&self.0);
            let thread = thread::Builder::new().name("job listener".into());
            thread.spawn(move || shared.run())?;
            state.is_running = true;
        }
        state.hearers.push(Arc::clone(&hearer));
        state.changes += 1;
        self.0.changed.notify_all();
        drop(state);
        Ok(Hearing {
            shared: Arc::clone(&self.0),
            hearer,
        })
    }
}

impl<C: TrackerConnection> Clone for Listener<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C: TrackerConnection> Debug for Listener<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("is_listening", &self.is_listening())
            .finish_non_exhaustive()
    }
}

/// A worker is told of changes.
pub(super) struct Hearing<C: TrackerConnection> {
    shared: Arc<Shared<C>>,
    hearer: Arc<Hearer>,
}

impl<C: TrackerConnection> Drop for Hearing<C> {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state
            .hearers
            .retain(|other| !Arc::ptr_eq(other, &self.hearer));
        state.changes += 1;
        self.shared.changed.notify_all();
        // A line that has gone silent may hold up the thread for longer. It ends by itself.
        let is_closing = |state: &mut State| state.is_running && state.hearers.is_empty();
        let waited = self
            .shared
            .changed
            .wait_timeout_while(state, WAIT_FOR_END, is_closing);
        drop(waited);
    }
}

/// A table, and those who want to know when it changes.
struct Watched {
    table: &'static TableInfo,
    channel: Option<Channel>,
    /// Nobody tells of this table.
    is_deaf: bool,
    hearers: Vec<Arc<Hearer>>,
}

impl Watched {
    fn tell(&self, news: News) {
        for hearer in &self.hearers {
            (hearer.tell)(news);
        }
    }
}

impl<C> Shared<C> {
    fn state(&self) -> MutexGuard<'_, State> {
        // All fields are valid at any time, so poison is ignored.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while there are workers to tell, for this time at most. `false`: there are none.
    fn pause(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        let mut state = self.state();
        while !state.hearers.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            let waited = self.changed.wait_timeout(state, left);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        false
    }
}

impl<C: TrackerConnection> Shared<C> {
    /// The body of the thread.
    fn run(&self) {
        let mut failures = 0;
        while self.goes_on() {
            let ended = caught("a listener", || self.listen(failures > 0));
            let problem = match ended {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => error.to_string(),
                Err(panic) => format!("panic: {panic}"),
            };
            let (was_listening, hearers) = {
                let mut state = self.state();
                let was = std::mem::take(&mut state.is_listening);
                (was, state.hearers.clone())
            };
            if was_listening || failures == 0 {
                tracing::warn!(
                    problem,
                    "not listening for jobs of other programs: until this is possible again, \
                     idle workers look for them at least once a second"
                );
                failures = 0;
                for hearer in hearers {
                    (hearer.tell)(News::Deaf);
                }
            }
            failures += 1;
            self.pause(backoff::exponential(FIRST_PAUSE, LONGEST_PAUSE, failures));
        }
    }

    /// Whether there are workers to tell. Otherwise the thread counts as ended.
    fn goes_on(&self) -> bool {
        let mut state = self.state();
        let goes_on = !state.hearers.is_empty();
        state.is_running = goes_on;
        state.is_listening = false;
        if !goes_on {
            self.changed.notify_all();
        }
        goes_on
    }

    /// Opens a connection, and tells what it hears until nobody wants to know.
    fn listen(&self, again: bool) -> Result<(), BoxError> {
        let mut conn = (self.connect)()?;
        let tells = conn.facts().tells;
        if tells == Tells::Nothing {
            tracing::info!(
                "this database does not tell of changes: the workers look by themselves"
            );
            drop(conn);
            while self.pause(CHECK) {}
            return Ok(());
        }
        if tells == Tells::Notifications && !conn.hears(&mut (self.connect)()?)? {
            return Err(
                "notifications do not arrive on this connection, as behind a pooler in \
                        transaction mode; give the listener a URL of the server itself"
                    .into(),
            );
        }
        let mut version = Version::default();
        conn.changes(&mut version)?;
        let mut watched: Vec<Watched> = Vec::new();
        let mut known = None;
        let mut check_at = Instant::now() + CHECK;
        loop {
            let now = Instant::now();
            let checks = now >= check_at && tells == Tells::Notifications;
            if checks {
                check_at = now + CHECK;
            }
            let wanted = {
                let state = self.state();
                let is_new = known.replace(state.changes) != Some(state.changes);
                (checks || is_new).then(|| state.hearers.clone())
            };
            if let Some(wanted) = wanted {
                watch(&mut conn, &mut watched, &wanted, checks)?;
                let was = std::mem::replace(&mut self.state().is_listening, true);
                if !was && again {
                    tracing::info!("listening for jobs of other programs again");
                }
            }
            let is_awaited = |hearer: &Arc<Hearer>| hearer.bell.is_awaited();
            // Nobody reads a file while all workers are busy. What has come over a line is
            // read always, since the server would keep it.
            let asks = tells == Tells::Notifications
                || watched
                    .iter()
                    .flat_map(|watched| &watched.hearers)
                    .any(is_awaited);
            if asks {
                let changes: Changes = conn.changes(&mut version)?;
                for watched in &watched {
                    if changes.concern(watched.channel) {
                        watched.tell(News::Changed);
                    }
                }
            }
            if !self.pause(TICK) {
                return Ok(());
            }
        }
    }
}

/// Listens for all tables that are wanted, and to no other. With `checks`, the channel of
/// each is looked up anew: a table may have taken the place of another one, or have come.
fn watch<C: TrackerConnection>(
    conn: &mut C,
    watched: &mut Vec<Watched>,
    wanted: &[Arc<Hearer>],
    checks: bool,
) -> Result<(), BoxError> {
    for one in &mut *watched {
        one.hearers
            .retain(|told| wanted.iter().any(|other| Arc::ptr_eq(told, other)));
        if checks && !one.hearers.is_empty() {
            listen_to(conn, one)?;
        }
    }
    for gone in watched.extract_if(.., |one| one.hearers.is_empty()) {
        if let Some(channel) = gone.channel {
            conn.unlisten(channel)?;
        }
    }
    for hearer in wanted {
        let place = watched
            .iter()
            .position(|one| std::ptr::eq(one.table, hearer.table));
        let one = if let Some(place) = place {
            &mut watched[place]
        } else {
            let mut new = Watched {
                table: hearer.table,
                channel: None,
                is_deaf: true,
                hearers: Vec::new(),
            };
            listen_to(conn, &mut new)?;
            watched.push(new);
            let last = watched.len() - 1;
            &mut watched[last]
        };
        if !one.hearers.iter().any(|told| Arc::ptr_eq(told, hearer)) {
            one.hearers.push(Arc::clone(hearer));
            (hearer.tell)(if one.is_deaf {
                News::Deaf
            } else {
                News::Listening
            });
        }
    }
    Ok(())
}

/// Listens to the channel of the table. One table that cannot be listened to costs the
/// others nothing.
fn listen_to<C: TrackerConnection>(conn: &mut C, watched: &mut Watched) -> Result<(), BoxError> {
    let table = watched.table;
    let begun = conn.channel(table).and_then(|channel| {
        if channel == watched.channel && !watched.is_deaf {
            return Ok(());
        }
        if let Some(old) = watched.channel.take() {
            conn.unlisten(old)?;
        }
        if let Some(channel) = channel
            && !conn.listen(channel)?
        {
            tracing::warn!(
                %table,
                "no trigger of this table notifies, so jobs of other programs are found by the \
                 regular looks alone; the page on workers has the trigger"
            );
        }
        watched.channel = channel;
        Ok(())
    });
    let was_deaf = watched.is_deaf;
    match begun {
        Ok(()) => watched.is_deaf = false,
        Err(error) if judge(conn, &error) == Verdict::Broken => return Err(error.into()),
        Err(error) => {
            if !was_deaf || watched.hearers.is_empty() {
                tracing::warn!(%table, %error, "not listening for jobs of this table");
            }
            watched.is_deaf = true;
        }
    }
    if was_deaf != watched.is_deaf {
        watched.tell(if watched.is_deaf {
            News::Deaf
        } else {
            News::Listening
        });
    }
    Ok(())
}
