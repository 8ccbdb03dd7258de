//! Calls on rows that need no attempt: create, reset, prune.

pub(crate) mod apart;
pub(crate) mod bulk;
pub(crate) mod create;
pub(crate) mod reset;
