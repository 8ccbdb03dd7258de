//! Maintenance: renews the locks of the worker's jobs, and expires the dead
//! attempts of others. Each has its own thread, because nothing may delay a
//! renewal.

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::{FIRST_PAUSE, JobScheduler, LONGEST_PAUSE, Runtime, due, lock, wait};
use crate::attempt::expiry::{self, Expires};
use crate::db::connection::TrackerConnection;
use crate::db::retry::Kept;
use crate::error::Result;
use crate::sql::results::Obstacle;
use crate::sql::store::JobStore;
use crate::sql::table_rows::Typed;
use crate::worker::leases;
use crate::worker::paused::{PauseReason, PausedJobs};
use crate::worker::scheduler::after;
use status_protocol::{FailureOutcome, backoff};

/// The first pause before a lock is tried again whose row another transaction
/// holds.
const FIRST_PAUSE_FOR_HELD: Duration = Duration::from_millis(50);
/// The longest pause between two such tries.
const LONGEST_PAUSE_FOR_HELD: Duration = Duration::from_secs(1);

impl<J: JobStore<C>, C: TrackerConnection> Runtime<J, C> {
    /// The body of the thread that renews locks, until the others are done.
    pub fn renew(&self, mut kept: Kept<C>) {
        let interval = self.interval();
        kept.patience = interval;
        let mut failures = 0;
        let mut next_round = after(Instant::now(), interval);
        // Locks whose rows were held are tried again between the rounds.
        let mut held = Vec::new();
        let mut tries = 0;
        loop {
            let next = if held.is_empty() {
                next_round
            } else {
                let pause =
                    backoff::exponential(FIRST_PAUSE_FOR_HELD, LONGEST_PAUSE_FOR_HELD, tries);
                next_round.min(after(Instant::now(), pause))
            };
            let Some(mut scheduler) = self.wait_until(next) else {
                return;
            };
            let now = Instant::now();
            let is_round = now >= next_round;
            // Under the scheduler's lock, as `mark_completing`.
            let leases = if is_round {
                scheduler.begin_renewal(now);
                self.leases.standing()
            } else {
                leases::still_standing(std::mem::take(&mut held))
            };
            drop(scheduler);
            let renewed = self.tried("a renewal", || {
                leases::renew::<J, C>(&self.pool, &mut kept, &leases)
            });
            drop(leases);
            if is_round {
                self.scheduler().end_renewal();
                self.wake_all();
            }
            let pause = match renewed {
                Ok(left) => {
                    failures = 0;
                    tries = if left.is_empty() { 0 } else { tries + 1 };
                    held = left;
                    interval
                }
                Err(error) => {
                    failures += 1;
                    tracing::error!(%error, "locks are not renewed");
                    backoff::exponential(FIRST_PAUSE, LONGEST_PAUSE, failures).min(interval)
                }
            };
            if is_round || failures > 0 {
                next_round = after(Instant::now(), pause);
            }
        }
    }

    /// The body of the thread that expires dead attempts, until the others are done.
    pub fn expire(&self) {
        let mut failures = 0;
        let paused = Mutex::new(PausedJobs::default());
        loop {
            let pause = match self.tried("an expiry", || self.expire_all(&paused)) {
                Ok(()) => {
                    failures = 0;
                    self.interval()
                }
                Err(error) => {
                    failures += 1;
                    tracing::error!(%error, "dead attempts are not expired");
                    backoff::exponential(FIRST_PAUSE, LONGEST_PAUSE, failures).min(self.interval())
                }
            };
            self.scheduler().end_expiry(Instant::now());
            self.wake_all();
            if self.wait_until(after(Instant::now(), pause)).is_none() {
                return;
            }
        }
    }

    fn expire_all(&self, paused: &Mutex<PausedJobs<J::Key>>) -> Result<()> {
        let mut watch = Watch {
            runtime: self,
            paused,
            expired: false,
        };
        expiry::expire_all(&self.pool, &Typed::<J>::new(), &self.step, &mut watch)?;
        if watch.expired {
            self.scheduler().poll(Instant::now());
        }
        Ok(())
    }

    fn interval(&self) -> Duration {
        interval(self.step.lock_expire)
    }

    /// Waits until then. `None` when the worker is done.
    fn wait_until(&self, next: Instant) -> Option<MutexGuard<'_, JobScheduler<J, C>>> {
        let mut scheduler = self.scheduler();
        loop {
            if scheduler.is_over() {
                return None;
            }
            let left = next.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Some(scheduler);
            }
            scheduler = wait(&self.maintenance, scheduler, Some(left));
        }
    }
}

/// The time between two rounds of renewals. Two rounds may fail before a lock
/// expires.
fn interval(lock_expire: Duration) -> Duration {
    (lock_expire / 3).max(Duration::from_millis(1))
}

/// How a worker reacts to dead attempts.
struct Watch<'a, J: JobStore<C>, C: TrackerConnection> {
    runtime: &'a Runtime<J, C>,
    paused: &'a Mutex<PausedJobs<J::Key>>,
    expired: bool,
}

impl<J: JobStore<C>, C: TrackerConnection> Expires<J::Key, J::Status> for Watch<'_, J, C> {
    /// The worker's own jobs are alive, however old their locks are.
    fn is_past(&mut self, key: &J::Key) -> bool {
        self.runtime.leases.hold(key) || lock(self.paused).contains(key, Instant::now())
    }

    fn expired(&mut self, key: &J::Key, outcome: &FailureOutcome<J::Status>) {
        self.expired = true;
        lock(self.paused).resume(key);
        let transition = expiry::transition(outcome, &self.runtime.step);
        self.runtime.sums().add(transition);
        if let Some(delay) = outcome.delay {
            let at = due(Instant::now(), delay);
            self.runtime.scheduler().due_at(at);
        }
        self.runtime.ring_others(&outcome.status, outcome.delay);
        let own = self.runtime.own_observer();
        expiry::tell(&self.runtime.reports.source, own, key, transition);
    }

    fn passed_over(&mut self, key: &J::Key, obstacle: Obstacle) {
        if matches!(obstacle, Obstacle::Held) {
            let (_, times) = lock(self.paused).pause(key, PauseReason::Held, Instant::now());
            if times == 1 {
                expiry::passed_over(&Typed::<J>::new(), key, &obstacle);
            }
        } else {
            self.runtime.pause_row(self.paused, key, obstacle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_renewals_may_fail_before_a_lock_expires() {
        let lock_expire = Duration::from_secs(15 * 60);
        assert!(3 * interval(lock_expire) <= lock_expire);
        assert!(4 * interval(lock_expire) > lock_expire, "nor too often");
        assert!(interval(Duration::ZERO) > Duration::ZERO);
    }
}
