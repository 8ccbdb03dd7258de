//! What a worker does beside its jobs: it renews their locks, and ends the dead
//! attempts of others. Each has a thread of its own, for nothing may keep a
//! renewal waiting.

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::{Crew, FIRST_PAUSE, LONGEST_PAUSE, WorkersDesk, lock, wait};
use crate::connection::TrackerConnection;
use crate::error::Result;
use crate::expiry::{self, Expires};
use crate::retry::Kept;
use crate::store::{JobStore, Obstacle};
use crate::transition::Transition;
use crate::worker::aside::{Aside, Why};
use crate::worker::desk::after;
use crate::worker::leases;
use crate::worker::observer::Event;
use status_protocol::backoff;

/// How soon a lock is tried again whose row another transaction holds.
const SOON: Duration = Duration::from_millis(50);
/// The longest pause between two such tries.
const NOT_SO_SOON: Duration = Duration::from_secs(1);

impl<J: JobStore<C>, C: TrackerConnection> Crew<J, C> {
    /// The thread that renews locks, until the others are done.
    pub fn renew(&self, mut kept: Kept<C>) {
        let interval = self.interval();
        kept.patience = interval;
        let mut failures = 0;
        let mut next_round = after(Instant::now(), interval);
        // Those whose rows were held are tried again between the rounds.
        let mut held = Vec::new();
        let mut tries = 0;
        loop {
            let next = if held.is_empty() {
                next_round
            } else {
                let pause = backoff::exponential(SOON, NOT_SO_SOON, tries);
                next_round.min(after(Instant::now(), pause))
            };
            let Some(mut desk) = self.wait_until(next) else {
                return;
            };
            let now = Instant::now();
            let is_round = now >= next_round;
            // Under the desk's lock, where ends are marked as such.
            let leases = if is_round {
                desk.begin_renewal(now);
                self.leases.standing()
            } else {
                leases::still_standing(std::mem::take(&mut held))
            };
            drop(desk);
            let renewed = self.tried("a renewal", || {
                leases::renew::<J, C>(&self.pool, &mut kept, &leases)
            });
            drop(leases);
            if is_round {
                self.desk().end_renewal();
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

    /// The thread that ends dead attempts, until the others are done.
    pub fn expire(&self) {
        let mut failures = 0;
        let aside = Mutex::new(Aside::default());
        loop {
            let pause = match self.tried("an expiry", || self.expire_all(&aside)) {
                Ok(()) => {
                    failures = 0;
                    self.interval()
                }
                Err(error) => {
                    failures += 1;
                    tracing::error!(%error, "dead attempts are not ended");
                    backoff::exponential(FIRST_PAUSE, LONGEST_PAUSE, failures).min(self.interval())
                }
            };
            self.desk().end_expiry(Instant::now());
            self.wake_all();
            if self.wait_until(after(Instant::now(), pause)).is_none() {
                return;
            }
        }
    }

    fn expire_all(&self, aside: &Mutex<Aside<J::Key>>) -> Result<()> {
        let mut watch = Watch {
            crew: self,
            aside,
            expired: false,
        };
        expiry::expire_all::<_, J>(&self.pool, &self.step, &mut watch)?;
        if watch.expired {
            self.desk().poll(Instant::now());
        }
        Ok(())
    }

    fn interval(&self) -> Duration {
        interval(self.step.lock_expire)
    }

    /// Waits, and has the desk then; `None` when the worker is done.
    fn wait_until(&self, next: Instant) -> Option<MutexGuard<'_, WorkersDesk<J, C>>> {
        let mut desk = self.desk();
        loop {
            if desk.is_over() {
                return None;
            }
            let left = next.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Some(desk);
            }
            desk = wait(&self.upkeep, desk, Some(left));
        }
    }
}

/// The time between two rounds of renewals: two may fail before a lock expires.
fn interval(lock_expire: Duration) -> Duration {
    (lock_expire / 3).max(Duration::from_millis(1))
}

/// What a worker makes of dead attempts.
struct Watch<'a, J: JobStore<C>, C: TrackerConnection> {
    crew: &'a Crew<J, C>,
    aside: &'a Mutex<Aside<J::Key>>,
    expired: bool,
}

impl<J: JobStore<C>, C: TrackerConnection> Expires<J> for Watch<'_, J, C> {
    /// Its own jobs are alive, however old their locks may be.
    fn is_past(&mut self, key: &J::Key) -> bool {
        self.crew.leases.hold(key) || lock(self.aside).contains(key, Instant::now())
    }

    fn expired(&mut self, key: &J::Key, retry: i32) {
        self.expired = true;
        lock(self.aside).take(key);
        self.crew.tell(&Event {
            table: J::TABLE,
            key,
            transition: Transition::Expired { retry },
            elapsed: Duration::ZERO,
        });
    }

    fn passed_over(&mut self, key: &J::Key, obstacle: Obstacle) {
        if matches!(obstacle, Obstacle::Held) {
            let (_, times) = lock(self.aside).put(key, Why::Held, Instant::now());
            if times == 1 {
                expiry::passed_over::<J>(key, &obstacle);
            }
        } else {
            self.crew.put_aside(self.aside, key, obstacle);
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
