//! Calls on rows that need no attempt: create, reset, ignore, prune.

pub(crate) mod apart;
pub(crate) mod bulk;
pub(crate) mod create;
pub(crate) mod ignore;
pub(crate) mod reset;
