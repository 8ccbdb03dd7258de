//! Drops of the user's values, which may panic.

pub(crate) use status_protocol::panics::{Discarded, discard};
