//! One attempt of a job, from its claim to its outcome, or to the expiry of its lock.

pub(crate) mod claim;
pub(crate) mod expiry;
pub(crate) mod lease;
pub(crate) mod outcome;
pub(crate) mod running;
pub(crate) mod step;
pub(crate) mod transaction;
