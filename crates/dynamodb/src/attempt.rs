//! One attempt: how it begins, how it ends, and how a dead one is found.

pub(crate) mod blocking;
pub(crate) mod claim;
mod ending;
pub(crate) mod expiry;
pub(crate) mod lease;
pub(crate) mod outcome;
pub(crate) mod running;
pub(crate) mod state;
pub(crate) mod transaction;
