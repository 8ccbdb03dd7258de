//! Pools whose connections a test prepares itself, and a log of what they run.

use std::fmt;
use std::sync::{Arc, Mutex};

use diesel::connection::InstrumentationEvent;
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, CustomizeConnection, Error, Pool};

use super::backend;
use super::database::{TestConnection, TestPool};

/// A pool like that of the other tests, each connection of which goes through
/// `prepare` first.
pub fn pool_with(
    url: &str,
    size: u32,
    prepare: impl Fn(&mut TestConnection) + Send + Sync + 'static,
) -> TestPool {
    Pool::builder()
        .max_size(size)
        .min_idle(Some(0))
        .test_on_check_out(false)
        .connection_customizer(Box::new(Prepare(prepare)))
        .build_unchecked(ConnectionManager::new(url))
}

struct Prepare<F>(F);

impl<F> fmt::Debug for Prepare<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Prepare")
    }
}

impl<F> CustomizeConnection<TestConnection, Error> for Prepare<F>
where
    F: Fn(&mut TestConnection) + Send + Sync + 'static,
{
    fn on_acquire(&self, conn: &mut TestConnection) -> Result<(), Error> {
        backend::customizer().on_acquire(conn)?;
        (self.0)(conn);
        Ok(())
    }
}

/// What a connection did, statements without their values.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    Started(String),
    /// A statement was prepared, and is kept.
    Prepared(String),
    /// The database's message.
    Failed(String),
    Transaction,
}

/// A statement that begins with its verb: what limits its wait for locks, on
/// MariaDB a comment before it, comes last.
fn statement(sql: &str) -> String {
    let sql = sql.trim();
    let is_limited = sql.starts_with("/*M!");
    match sql.split_once("*/ ").filter(|_| is_limited) {
        Some((limit, sql)) => format!("{sql} {limit}*/"),
        None => sql.to_owned(),
    }
}

/// The first word of a statement. A union begins with a bracket.
pub fn verb(sql: &str) -> &str {
    let sql = sql.trim_start_matches('(');
    sql.split(' ').next().unwrap_or_default()
}

/// What the connections that it watches do.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<Event>>>);

impl Log {
    pub fn watch(&self, conn: &mut TestConnection) {
        self.watch_and(conn, |_| {});
    }

    /// Calls `then` at each event, on the thread and in the midst of the call
    /// that caused it.
    pub fn watch_and(
        &self,
        conn: &mut TestConnection,
        mut then: impl FnMut(&Event) + Send + 'static,
    ) {
        let log = self.clone();
        conn.set_instrumentation(move |event: InstrumentationEvent<'_>| {
            let event = match event {
                InstrumentationEvent::StartQuery { query, .. } => {
                    let text = query.to_string();
                    let sql = text.split(" -- binds").next().unwrap();
                    Event::Started(statement(sql))
                }
                InstrumentationEvent::CacheQuery { sql, .. } => Event::Prepared(statement(sql)),
                InstrumentationEvent::FinishQuery {
                    error: Some(error), ..
                } => Event::Failed(error.to_string()),
                InstrumentationEvent::BeginTransaction { .. } => Event::Transaction,
                _ => return,
            };
            log.0.lock().unwrap().push(event.clone());
            then(&event);
        });
    }

    /// The events since the last call.
    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    /// The statements since the last call.
    pub fn statements(&self) -> Vec<String> {
        let started = |event| match event {
            Event::Started(sql) => Some(sql),
            _ => None,
        };
        self.take().into_iter().filter_map(started).collect()
    }
}
