//! `serve`: the pages, for a browser.

use std::env;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use clap::Subcommand;
use headers::authorization::Basic;
use headers::{Authorization, HeaderMapExt};
use subtle::ConstantTimeEq;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::task::spawn_blocking;

use super::server::serve;
use super::tables::lasting_sources;
use super::{Common, Done};
use crate::console::Console;
use crate::metrics;
use crate::table::Source;

const USER: &str = "STATUS_CONSOLE_USER";
const PASSWORD: &str = "STATUS_CONSOLE_PASSWORD";
/// Who sends a request, as the password has shown.
const WHO: HeaderName = HeaderName::from_static("x-status-console-user");

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Serve the pages, and /metrics, on an address of this machine.
    ///
    /// A user and a password come from the environment (STATUS_CONSOLE_USER, STATUS_CONSOLE_PASSWORD)
    /// or from a file. Without them, only this machine can be served. The pages are not encrypted:
    /// put a reverse proxy before them where others come in.
    #[command(
        after_help = "Examples:\n  status-console serve\n  status-console serve --listen 10.0.0.5:8080 --password-file /etc/status-console.password --allow-actions"
    )]
    Serve {
        /// The tables; otherwise all of the description.
        tables: Vec<String>,
        /// The address and the port; port 0 is any that is free.
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
        listen: SocketAddr,
        /// A file whose first line is user:password.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
}

pub(super) fn run(common: &Common, command: &Command) -> Done {
    let Command::Serve {
        tables,
        listen,
        password_file,
    } = command;
    let login = Login::find(password_file.as_deref())?;
    if login.is_none() && !listen.ip().is_loopback() {
        return Err(format!(
            "{} is open to other machines: give a user and a password ({USER}, {PASSWORD}, or --password-file), or listen on 127.0.0.1",
            listen.ip()
        )
        .into());
    }
    let router = pages(
        &lasting_sources(common, tables)?,
        common.allow_actions,
        login,
    )?;
    let out = common.output();
    serve(*listen, router, |address| {
        out.text(&format!("http://{address}/\n"))
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The pages and the metrics, for those who may come in.
pub(super) fn pages(
    sources: &[Source],
    has_actions: bool,
    login: Option<Login>,
) -> crate::Result<Router> {
    let console = sources
        .iter()
        .cloned()
        .try_fold(Console::new(), Console::source)?;
    let console = console.actions(has_actions).who(WHO);
    let login = login.map(Arc::new);
    let sources: Arc<[Source]> = sources.into();
    // One at a time: scrapers that are impatient do not add up.
    let turn = Arc::new(Mutex::new(()));
    let metrics = move || {
        let (sources, turn) = (Arc::clone(&sources), Arc::clone(&turn));
        async move { numbers(sources, turn.lock_owned().await).await }
    };
    let router = console.router().route("/metrics", get(metrics));
    Ok(router.layer(from_fn(move |request: Request, next: Next| {
        let login = login.clone();
        async move { admitted(login.as_deref(), request, next).await }
    })))
}

/// `turn` lasts until the tables are read, also where the scraper has hung up.
async fn numbers(sources: Arc<[Source]>, turn: OwnedMutexGuard<()>) -> Response {
    let read = spawn_blocking(move || {
        let _turn = turn;
        let tables = metrics::read(&sources);
        for (table, read) in &tables {
            if let Err(error) = read {
                tracing::warn!(%table, %error, "the metrics are without this table");
            }
        }
        metrics::text(&tables)
    });
    let text = match read.await {
        Ok(text) => text.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match text {
        Ok(text) => ([(CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error).into_response(),
    }
}

/// Who may come in.
#[derive(Clone)]
pub(super) struct Login {
    user: String,
    password: String,
}

impl Login {
    fn find(file: Option<&Path>) -> Result<Option<Self>, String> {
        if let Some(path) = file {
            let text = fs::read_to_string(path)
                .map_err(|error| format!("the file {} cannot be read: {error}", path.display()))?;
            let line = text.lines().next().and_then(|line| line.split_once(':'));
            let (user, password) = line
                .filter(|(user, password)| !user.is_empty() && !password.is_empty())
                .ok_or_else(|| {
                    format!(
                        "the first line of {} is to be user:password",
                        path.display()
                    )
                })?;
            return Ok(Some(Self {
                user: user.into(),
                password: password.into(),
            }));
        }
        let given = |name| env::var(name).ok().filter(|value| !value.is_empty());
        match (given(USER), given(PASSWORD)) {
            (None, None) => Ok(None),
            (Some(user), Some(password)) => Ok(Some(Self { user, password })),
            _ => Err(format!(
                "only one of {USER} and {PASSWORD} is set: set both"
            )),
        }
    }

    /// In the same time, whatever is wrong.
    fn admits(&self, given: &Basic) -> bool {
        let user = self.user.as_bytes().ct_eq(given.username().as_bytes());
        let password = self.password.as_bytes().ct_eq(given.password().as_bytes());
        (user & password).into()
    }
}

async fn admitted(login: Option<&Login>, mut request: Request, next: Next) -> Response {
    // Nobody else says who somebody is.
    request.headers_mut().remove(WHO);
    let Some(login) = login else {
        if is_local(request.headers()) {
            return next.run(request).await;
        }
        // A page of another site, whose name leads here, would otherwise read these.
        return (
            StatusCode::MISDIRECTED_REQUEST,
            "open this page by 127.0.0.1 or localhost\n",
        )
            .into_response();
    };
    let given = request.headers().typed_get::<Authorization<Basic>>();
    if !given.is_some_and(|given| login.admits(&given.0)) {
        let ask = [(
            WWW_AUTHENTICATE,
            "Basic realm=\"status-console\", charset=\"UTF-8\"",
        )];
        return (
            StatusCode::UNAUTHORIZED,
            ask,
            "a user and a password are needed\n",
        )
            .into_response();
    }
    if let Ok(who) = HeaderValue::from_str(&login.user) {
        request.headers_mut().insert(WHO, who);
    }
    next.run(request).await
}

/// Whether the request names this machine.
fn is_local(headers: &HeaderMap) -> bool {
    let host = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    matches!(name, "127.0.0.1" | "localhost" | "[::1]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_local() {
        let is_local = |host: &str| {
            let host = HeaderValue::from_str(host).unwrap();
            is_local(&HeaderMap::from_iter([(HOST, host)]))
        };
        for host in ["127.0.0.1:8080", "localhost", "[::1]:80"] {
            assert!(is_local(host), "{host}");
        }
        for host in [
            "evil.example",
            "127.0.0.1.evil.example:80",
            "localhost:80.evil.example",
            "",
        ] {
            assert!(!is_local(host), "{host}");
        }
    }
}
