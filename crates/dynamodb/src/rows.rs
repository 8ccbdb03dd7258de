//! Calls that need no attempt.

pub(crate) mod bulk;
pub(crate) mod create;
pub(crate) mod read;
pub(crate) mod reset;
