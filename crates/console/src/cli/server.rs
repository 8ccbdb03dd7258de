//! A small server: so many connections at once, each for so long, and an end in order.

use std::future::{Future, pending};
use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Connections that are open at once; others wait.
const CONNECTIONS: usize = 200;
/// A request has begun, and its head is complete, within this time.
const HEAD_WITHIN: Duration = Duration::from_secs(15);
/// A connection is closed after this time, so that slow readers do not fill up all.
const LIFE: Duration = Duration::from_secs(300);
/// So long a request that is being answered may take at the end.
const LAST_ANSWER: Duration = Duration::from_secs(5);

/// Logs to the standard error what was changed, and what goes wrong.
fn log() {
    let targets = Targets::new()
        .with_target("diesel_status_console", Level::INFO)
        .with_target("diesel_status_tracker", Level::WARN);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    tracing_subscriber::registry()
        .with(lines)
        .with(targets)
        .init();
}

/// Serves until the program is told to end, by Ctrl-C or SIGTERM. `ready` is told the
/// address.
pub(super) fn serve(
    listen: SocketAddr,
    router: Router,
    ready: impl FnOnce(SocketAddr) -> io::Result<()>,
) -> io::Result<()> {
    log();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(listen).await.map_err(|error| {
            io::Error::new(
                error.kind(),
                format!(
                    "{listen} cannot be listened on ({error}): choose another address with --listen"
                ),
            )
        })?;
        let end = told_to_end()?;
        ready(listener.local_addr()?)?;
        accept(listener, router, end).await;
        Ok(())
    })
}

async fn accept(listener: TcpListener, router: Router, end: impl Future<Output = ()>) {
    let mut end = pin!(end);
    let (ends, ended) = watch::channel(false);
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let mut open = JoinSet::new();
    loop {
        let next = async {
            let permit = Arc::clone(&permits).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            () = &mut end => break,
            next = next => next,
        };
        // Those that have ended are forgotten.
        while open.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) => {
                let (router, ended) = (router.clone(), ended.clone());
                open.spawn(async move {
                    let _permit = permit;
                    answer(stream, router, ended).await;
                });
            }
            // Out of file handles, for instance: others may be closed meanwhile.
            Err(error) => {
                tracing::warn!(%error, "no connection was accepted");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    ends.send_replace(true);
    while open.join_next().await.is_some() {}
}

async fn answer(stream: TcpStream, router: Router, mut ended: watch::Receiver<bool>) {
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let is_over = tokio::select! {
        // A connection that breaks concerns its client alone.
        _ = connection.as_mut() => true,
        _ = ended.wait_for(|is_ended| *is_ended) => false,
        () = sleep(LIFE) => false,
    };
    if !is_over {
        connection.as_mut().graceful_shutdown();
        let _ = timeout(LAST_ANSWER, connection).await;
    }
}

/// Ends when the program is told to.
fn told_to_end() -> io::Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    let mut terminate = {
        use tokio::signal::unix::{SignalKind, signal};
        signal(SignalKind::terminate())?
    };
    Ok(async move {
        let interrupted = async {
            if tokio::signal::ctrl_c().await.is_err() {
                pending::<()>().await;
            }
        };
        #[cfg(unix)]
        tokio::select! {
            () = interrupted => {}
            _ = terminate.recv() => {}
        }
        #[cfg(not(unix))]
        interrupted.await;
    })
}
