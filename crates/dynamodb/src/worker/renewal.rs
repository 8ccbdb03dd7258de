//! Renews the locks of all jobs that a worker has claimed.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::task::AbortHandle;

use super::pump::Pump;
use crate::attempt::lease::Lease;
use crate::attempt::running::renew;
use crate::error::Result;
use crate::item::Item;
use crate::runtime;
use crate::tracked::StatusTracked;

/// A lock is renewed when this part of `LOCK_EXPIRE` has passed.
const PART: u32 = 3;
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Requests that are sent at a time.
const AT_A_TIME: usize = 16;

/// Ends with it.
pub(crate) struct Renewing(AbortHandle);

impl Drop for Renewing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Renews in the background, so that a job that blocks its task costs the others no
/// lock.
pub(crate) fn begin<S: StatusTracked>(pump: &Arc<Pump<S>>) -> Result<Renewing> {
    let pump = Arc::clone(pump);
    let renewing = runtime::spawn(async move {
        let due = pump.step.lock_expire / PART;
        // So often that a lock that was not due is not too old the next time.
        let pause = (due / 2).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        loop {
            tokio::time::sleep(pause).await;
            let old = pump.leases().into_iter().filter(|lease| lease.age() >= due);
            // A renewal that takes long must not keep the others from the next round.
            let round = renew_all(&pump, old.collect());
            if tokio::time::timeout(due.max(pause), round).await.is_err() {
                tracing::warn!(table = pump.table.name(), "the renewal of locks takes long");
            }
        }
    })?;
    Ok(Renewing(renewing))
}

async fn renew_all<S: StatusTracked>(pump: &Pump<S>, leases: Vec<Arc<Lease>>) {
    let mut leases = leases.into_iter();
    let mut renewing = FuturesUnordered::new();
    loop {
        while renewing.len() < AT_A_TIME
            && let Some(lease) = leases.next()
        {
            renewing.push(renew_one(pump, lease));
        }
        if renewing.next().await.is_none() {
            return;
        }
    }
}

async fn renew_one<S: StatusTracked>(pump: &Pump<S>, lease: Arc<Lease>) {
    if lease.is_completing() || lease.is_lost() {
        return;
    }
    match renew::<S>(&pump.table, &lease, Item::new()).await {
        Ok(true) => tracing::debug!(job = %lease.key, "lock renewed"),
        // The outcome may have been written meanwhile.
        Ok(false) if lease.is_completing() => {}
        Ok(false) => tracing::warn!(job = %lease.key, "lock lost"),
        Err(fault) => tracing::warn!(job = %lease.key, error = %fault.source, "lock not renewed"),
    }
}
