//! Panics of the user's code outside of a job: in the `Display` of an error, in
//! a policy, in a drop. Each is caught, so that it does not end a thread. While
//! a thread already unwinds, a second panic would end the process.

use std::any::Any;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The target of the log. A filter for `diesel_status_tracker` must show these
/// messages, too.
const TARGET: &str = "diesel_status_tracker::panics";

/// Calls the user's code. Where it panics, returns the message of the panic.
///
/// `what` names the code in the log. The log does not get the message, since
/// that may hold what `redact` removes.
///
/// # Errors
///
/// The message of the panic.
pub fn caught<T>(what: &str, code: impl FnOnce() -> T) -> Result<T, String> {
    let (mut code, mut value) = (Some(code), None);
    let run = &mut || value = code.take().map(|code| code());
    // Only that much is compiled for each type.
    run_caught(what, run)?;
    match value {
        Some(value) => Ok(value),
        None => unreachable!("code that did not panic has left its value"),
    }
}

fn run_caught(what: &str, code: &mut dyn FnMut()) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(code)).map_err(|payload| {
        tracing::error!(target: TARGET, "{what} panicked");
        let message = message_of(&*payload).to_owned();
        // The payload of a second panic may panic as well, so it is leaked.
        if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            std::mem::forget(second);
        }
        message
    })
}

/// The message of a panic.
#[must_use]
pub fn message_of(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("the payload is no text")
}

/// Drops a value of the user's. `what` names it in the log.
pub fn discard<T>(what: &str, value: T) {
    let _told = caught(what, || drop(value));
}

/// A value of the user's, which is dropped by [`discard`].
#[derive(Debug)]
pub struct Discarded<T>(Option<T>);

impl<T> Discarded<T> {
    /// Takes the value.
    pub fn new(value: T) -> Self {
        Self(Some(value))
    }

    /// Returns the value, which is then dropped as usual.
    pub fn into_inner(mut self) -> T {
        match self.0.take() {
            Some(value) => value,
            None => unreachable!("only `drop` and this take the value"),
        }
    }
}

impl<T> Deref for Discarded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.0 {
            Some(value) => value,
            None => unreachable!("only `drop` takes the value"),
        }
    }
}

impl<T> DerefMut for Discarded<T> {
    fn deref_mut(&mut self) -> &mut T {
        match &mut self.0 {
            Some(value) => value,
            None => unreachable!("only `drop` takes the value"),
        }
    }
}

impl<T> Drop for Discarded<T> {
    fn drop(&mut self) {
        if let Some(value) = self.0.take() {
            discard("the drop of a row or its updates", value);
        }
    }
}
