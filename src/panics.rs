//! Panics of the user's code where no job runs: an error that cannot be shown,
//! a policy that fails, a value that cannot be dropped. Each is caught, so
//! that it ends neither a thread nor, while the thread unwinds, the process.

use std::any::Any;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Calls the user's code, or the message of its panic. `what` names it in the
/// log, which does not get the message: it may hold what `redact` takes out.
pub(crate) fn caught<T>(what: &str, code: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(code)).map_err(|payload| {
        tracing::error!("{what} panicked");
        let message = message_of(&*payload).to_owned();
        // The second payload may panic like the first, and so on: it is leaked.
        if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            std::mem::forget(second);
        }
        message
    })
}

/// The message of a panic.
pub(crate) fn message_of(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("the payload is no text")
}

/// Drops a value of the user's. `what` names it in the log.
pub(crate) fn discard<T>(what: &str, value: T) {
    let _told = caught(what, || drop(value));
}

/// A value of the user's, which is dropped by [`discard`].
#[derive(Debug)]
pub(crate) struct Discarded<T>(Option<T>);

impl<T> Discarded<T> {
    pub fn new(value: T) -> Self {
        Self(Some(value))
    }
}

impl<T> Deref for Discarded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.0 {
            Some(value) => value,
            None => unreachable!("only its drop takes it"),
        }
    }
}

impl<T> DerefMut for Discarded<T> {
    fn deref_mut(&mut self) -> &mut T {
        match &mut self.0 {
            Some(value) => value,
            None => unreachable!("only its drop takes it"),
        }
    }
}

impl<T> Drop for Discarded<T> {
    fn drop(&mut self) {
        discard("the drop of a row or its updates", self.0.take());
    }
}
