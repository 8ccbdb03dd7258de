//! An item as the rules see it.

use std::time::{Duration, Instant};

use status_protocol::RowState;

use crate::item::key::ItemKey;
use crate::item::stored::Stored;
use crate::table::Table;

/// The item as the rules see it: the time of its lock is the time since which it is
/// watched here without a renewal. `read_at`: when it had been read.
pub(crate) fn state<S: Copy>(
    table: &Table,
    key: &ItemKey,
    stored: &Stored<S>,
    lock_expire: Duration,
    read_at: Instant,
) -> RowState<S> {
    let clock = table.clock();
    let lock_at = match &stored.lock {
        Some(lock) => Some(clock.at(table.sightings().see(key, lock, lock_expire, read_at))),
        None => {
            table.sightings().forget(key);
            None
        }
    };
    RowState {
        status: stored.status,
        lock: stored.token().map(str::to_owned),
        lock_at,
        retry: stored.retry,
        run_at: stored.run_at,
        now: clock.at(read_at),
    }
}
