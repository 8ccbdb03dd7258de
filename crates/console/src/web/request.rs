//! What a request says, and how its work is done.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, OriginalUri, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

use super::App;
use super::layout::{self, Frame};
use crate::error::Error;
use crate::table::Source;

/// A request waits no longer than this for others to end.
pub(super) const TURN_LIMIT: Duration = Duration::from_secs(5);

pub(super) type Pairs = Vec<(String, String)>;

/// A request.
#[derive(Clone)]
pub(super) struct Request {
    pub app: Arc<App>,
    /// The path under which the console is mounted.
    pub base: String,
    /// The path and the query, as the browser knows them.
    pub url: String,
    /// The query.
    pub pairs: Pairs,
    pub who: String,
}

impl FromRequestParts<Arc<App>> for Request {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Infallible> {
        let inner = parts.uri.path();
        let uri = parts
            .extensions
            .get::<OriginalUri>()
            .map_or(&parts.uri, |original| &original.0);
        let path = uri.path();
        let base = path
            .strip_suffix(inner)
            .unwrap_or(path)
            .trim_end_matches('/');
        let query = parts.uri.query().unwrap_or_default();
        let header = app.who.as_ref().and_then(|name| parts.headers.get(name));
        let who = header.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        Ok(Self {
            app: Arc::clone(app),
            base: base.into(),
            url: uri
                .path_and_query()
                .map_or_else(|| path.into(), ToString::to_string),
            pairs: form_urlencoded::parse(query.as_bytes())
                .into_owned()
                .collect(),
            who: who.unwrap_or_else(|| "unknown".into()),
        })
    }
}

/// The first value with this name.
pub(super) fn value<'a>(pairs: &'a Pairs, name: &str) -> Option<&'a str> {
    let found = pairs.iter().find(|(other, _)| other == name);
    found.map(|(_, value)| &**value)
}

impl Request {
    /// A link to a page of the console.
    pub fn link<'a>(
        &self,
        page: &str,
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(pairs);
        let query = query.finish();
        let mark = if query.is_empty() { "" } else { "?" };
        format!("{}/{page}{mark}{query}", self.base)
    }

    /// The table that these pairs name.
    pub fn source(&self, pairs: &Pairs) -> Result<Source, Failure> {
        let name = value(pairs, "table").unwrap_or_default();
        let found = self.app.sources.iter().find(|source| source.name() == name);
        found.cloned().ok_or_else(|| {
            self.failure(
                StatusCode::NOT_FOUND,
                format!("the console has no table `{name}`"),
            )
        })
    }

    pub fn failure(&self, status: StatusCode, message: String) -> Failure {
        Failure {
            frame: Box::new(Frame::of(self, "Error", None)),
            status,
            message,
            more: html! {},
        }
    }

    /// An error that leaves nothing to show.
    pub fn failed(&self, error: &Error) -> Failure {
        self.failure(status(error), error.to_string())
    }

    /// It has waited for too long for its turn.
    pub fn busy(&self) -> Failure {
        let message = "other requests keep the console busy; try again in a moment";
        self.failure(StatusCode::SERVICE_UNAVAILABLE, message.into())
    }

    /// Runs what waits for the database of a table on a thread of its own.
    pub async fn run<T: Send + 'static>(
        &self,
        source: &Source,
        work: impl FnOnce(&Source) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        // First that of the table, so that nobody who waits for it keeps others away.
        let turn = async {
            let table = self.app.tables.get(source.name())?;
            let of_table = Arc::clone(&table.permits).acquire_owned().await.ok()?;
            let of_all = Arc::clone(&self.app.permits).acquire_owned().await.ok()?;
            Some((of_table, of_all))
        };
        let Ok(Some(permits)) = tokio::time::timeout(TURN_LIMIT, turn).await else {
            return Err(self.busy());
        };
        let source = source.clone();
        // The permits go along: the work goes on where the browser has left.
        let done = tokio::task::spawn_blocking(move || {
            let done = work(&source);
            drop(permits);
            done
        });
        done.await.map_err(|panic| {
            tracing::error!(%panic, "console: a page panicked");
            let message = "a mistake of the console stopped this page; its log says more";
            self.failure(StatusCode::INTERNAL_SERVER_ERROR, message.into())
        })
    }
}

fn status(error: &Error) -> StatusCode {
    match error {
        Error::NotPrunable(_) => StatusCode::BAD_REQUEST,
        Error::Partly { source, .. } => status(source),
        Error::TimeLimit { .. } | Error::NoConnection { .. } => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// An answer that says what went wrong.
pub(super) struct Failure {
    frame: Box<Frame>,
    status: StatusCode,
    pub message: String,
    /// How somebody may go on.
    more: Markup,
}

impl Failure {
    pub fn with(mut self, more: Markup) -> Self {
        self.more = more;
        self
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let page = self.frame.page(&html! {
            h1 { "This did not work" }
            (layout::problem(&self.message))
            (self.more)
        });
        (self.status, page).into_response()
    }
}

pub(super) async fn no_page(State(_): State<Arc<App>>, request: Request) -> Failure {
    request.failure(StatusCode::NOT_FOUND, "the console has no such page".into())
}
