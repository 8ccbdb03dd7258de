//! Stopping a worker from outside.

use std::fmt::{self, Debug};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Stops a [`Worker`](crate::Worker) from any thread: a signal handler's, that of
/// a web server that shuts down, or the job's own.
#[derive(Clone, Default)]
pub struct WorkerHandle(Arc<Control>);

#[derive(Default)]
struct Control {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    is_shut_down: bool,
    /// Wakes the threads of the worker that is running.
    wake: Option<Box<dyn Fn() + Send>>,
}

impl WorkerHandle {
    /// Tells the worker to shut down, and returns at once. The worker claims no
    /// more jobs, finishes those that run, releases those that it has not begun,
    /// and returns. A worker that is not running yet ends as soon as it begins.
    pub fn shutdown(&self) {
        let mut state = self.state();
        if !state.is_shut_down {
            state.is_shut_down = true;
            tracing::info!("shutting down");
        }
        if let Some(wake) = &state.wake {
            wake();
        }
    }

    /// [`shutdown`](Self::shutdown), then waits up to `timeout` for the worker to
    /// return. `true` if it has. If it has not, it still goes on shutting down. A
    /// job that calls this waits for itself.
    pub fn shutdown_and_wait(&self, timeout: Duration) -> bool {
        self.shutdown();
        let end = Instant::now().checked_add(timeout);
        let mut state = self.state();
        while state.wake.is_some() {
            let left = end.map_or(Duration::MAX, |end| {
                end.saturating_duration_since(Instant::now())
            });
            if left.is_zero() {
                return false;
            }
            (state, _) = self
                .0
                .ended
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
        true
    }

    /// Whether the worker was told to shut down.
    pub fn is_shut_down(&self) -> bool {
        self.state().is_shut_down
    }

    /// A worker runs, until the return value is dropped.
    pub(super) fn begin(&self, wake: impl Fn() + Send + 'static) -> Running {
        self.state().wake = Some(Box::new(wake));
        Running(self.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Both fields are valid at any time, so poison is ignored.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Debug for WorkerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerHandle")
            .field("is_shut_down", &self.is_shut_down())
            .finish_non_exhaustive()
    }
}

/// A worker runs.
pub(super) struct Running(WorkerHandle);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.state().wake = None;
        self.0.0.ended.notify_all();
    }
}
