//! Where an open job stands in the index.

use chrono::{DateTime, Utc};
use serde::Serialize;
use status_protocol::BoxError;

use super::value::status_text;
use crate::clock::stamp;

/// Partition key of the index: the status from which a step starts, and a shard.
///
/// A claim leaves it as it is, and so does a renewal: that saves two index writes a
/// job, and lets whoever looks for work come across dead attempts too.
pub(crate) fn queue<S: Serialize>(status: &S, shard: u32) -> Result<String, BoxError> {
    Ok(format!("{}#{shard}", status_text(status)?))
}

/// Sort key of the index for a job that is ready since `at`. By any clock it comes
/// before the jobs that wait for their time.
pub(crate) fn ready_since(at: DateTime<Utc>) -> String {
    format!("0 {}", stamp(at))
}

/// The same for a job that is not ready before `at`.
pub(crate) fn ready_after(at: DateTime<Utc>) -> String {
    format!("1 {}", stamp(at))
}

/// A random number below `end`.
pub(crate) fn any_below(end: u32) -> u32 {
    let (random, _) = uuid::Uuid::new_v4().as_u64_pair();
    // The upper bits: some of the lower ones are fixed.
    u32::try_from(random >> 32).map_or(0, |random| random % end.max(1))
}
