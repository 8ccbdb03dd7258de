//! Runs futures where there is no runtime, and in the background.

use std::future::Future;
use std::sync::OnceLock;

use tokio::runtime::{Handle, Runtime};
use tokio::task::AbortHandle;

use crate::error::{Error, Result};

/// The runtime of this crate, or why there is none.
fn runtime() -> Result<&'static Handle> {
    static RUNTIME: OnceLock<std::io::Result<Runtime>> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("status-tracker")
            .enable_all()
            .build()
    });
    match runtime {
        Ok(runtime) => Ok(runtime.handle()),
        Err(error) => Err(Error::ThreadNotStarted {
            job: "the blocking calls".into(),
            source: std::io::Error::new(error.kind(), error.to_string()),
        }),
    }
}

/// Runs the future on this thread. Its connections and timers are served by the
/// runtime of this crate.
pub(crate) fn block<T>(future: impl Future<Output = T>) -> Result<T> {
    let _entered = runtime()?.enter();
    Ok(pollster::block_on(future))
}

/// Runs the future in the background, in the runtime of this thread if it has one.
pub(crate) fn spawn(future: impl Future<Output = ()> + Send + 'static) -> Result<AbortHandle> {
    let handle = match Handle::try_current() {
        Ok(current) => current,
        Err(_) => runtime()?.clone(),
    };
    Ok(handle.spawn(future).abort_handle())
}
