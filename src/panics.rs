//! Drops of the user's values, which may panic.

use std::ops::{Deref, DerefMut};

use status_protocol::panics::caught;

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
        discard("the drop of a row or its updates", self.0.take());
    }
}
