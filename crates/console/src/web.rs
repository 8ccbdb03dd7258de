//! The pages: what a browser asks for, and what it gets.

mod act;
mod asset;
mod chart;
mod durations;
mod failures;
mod guard;
mod job;
mod jobs;
mod layout;
mod overview;
mod request;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::HeaderName;
use axum::middleware::from_fn;
use axum::routing::{get, post};
use tokio::sync::Semaphore;

use crate::table::Source;

/// Requests that use a connection at the same time.
const AT_ONCE: usize = 4;
/// Of those, requests for one table: a database that does not answer leaves the others
/// some.
const OF_ONE_TABLE: usize = 2;
/// A form has no more bytes than this.
const MOST_BYTES: usize = 512 * 1024;
/// A request, its body included, takes no longer.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// What all requests share.
pub(crate) struct App {
    sources: Vec<Source>,
    has_actions: bool,
    who: Option<HeaderName>,
    permits: Arc<Semaphore>,
    tables: HashMap<String, Table>,
}

/// What the requests for one table share.
struct Table {
    permits: Arc<Semaphore>,
    overview: overview::Shared,
}

impl App {
    pub fn new(sources: Vec<Source>, has_actions: bool, who: Option<HeaderName>) -> Self {
        let table = |source: &Source| {
            let table = Table {
                permits: Arc::new(Semaphore::new(OF_ONE_TABLE)),
                overview: overview::Shared::default(),
            };
            (source.name().to_owned(), table)
        };
        Self {
            tables: sources.iter().map(table).collect(),
            sources,
            has_actions,
            who,
            permits: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }
}

pub(crate) fn router<S: Clone + Send + Sync + 'static>(app: Arc<App>) -> Router<S> {
    Router::new()
        .route("/", get(overview::page))
        .route("/jobs", get(jobs::page))
        .route("/job", get(job::page))
        .route("/failures", get(failures::page))
        .route("/durations", get(durations::page))
        .route("/act", post(act::on_marked))
        .route("/act-all", get(act::preview_all).post(act::on_all))
        .route("/assets/{name}", get(asset::asset))
        .fallback(request::no_page)
        .layer(DefaultBodyLimit::max(MOST_BYTES))
        .layer(from_fn(guard::guard))
        .with_state(app)
}

#[cfg(test)]
mod tests;
