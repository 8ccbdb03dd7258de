//! Stopping a worker from outside.

use std::fmt::{self, Debug};

use tokio::sync::watch;

/// Stops a [`Worker`](crate::Worker) from anywhere: a signal handler, a web server
/// that shuts down, or the job itself.
#[derive(Clone)]
pub struct WorkerHandle(watch::Sender<bool>);

impl Default for WorkerHandle {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl WorkerHandle {
    /// Tells the worker to shut down, and returns at once. The worker claims no more
    /// jobs, finishes those that run, releases those that it has not begun, and
    /// returns. A worker that is not running yet ends as soon as it begins.
    pub fn shutdown(&self) {
        if !self.0.send_replace(true) {
            tracing::info!("shutting down");
        }
    }

    /// Whether the worker was told to shut down.
    #[must_use]
    pub fn is_shut_down(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the worker is told to shut down.
    pub(crate) async fn told(&self) {
        let mut told = self.0.subscribe();
        // The sender lives as long as this handle, so there is no error.
        let _told = told.wait_for(|is_told| *is_told).await.is_ok();
    }
}

impl Debug for WorkerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerHandle")
            .field("is_shut_down", &self.is_shut_down())
            .finish()
    }
}
