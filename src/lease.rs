//! A lock, as far as its holder knows.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

/// The lock of one attempt. All threads that write for the attempt share it.
#[derive(Debug)]
pub(crate) struct Lease<K> {
    pub key: K,
    pub token: Arc<str>,
    time: Mutex<Time>,
    lost: AtomicBool,
    /// The outcome is being written, or a try to write it failed. There must be no
    /// renewal meanwhile.
    outcome: AtomicBool,
}

/// When the lock was last written.
#[derive(Debug)]
struct Time {
    /// By the database's clock. If the answer to a renewal was lost, the row may
    /// have a later time.
    lock_at: Option<DateTime<Utc>>,
    /// By this machine's clock: not later than the database wrote it.
    asked_at: Instant,
}

impl<K> Lease<K> {
    /// `asked_at`: when the claim was sent.
    pub fn new(key: K, token: Arc<str>, lock_at: Option<DateTime<Utc>>, asked_at: Instant) -> Self {
        Self {
            key,
            token,
            time: Mutex::new(Time { lock_at, asked_at }),
            lost: AtomicBool::new(false),
            outcome: AtomicBool::new(false),
        }
    }

    pub fn is_completing(&self) -> bool {
        self.outcome.load(Ordering::Acquire)
    }

    pub fn set_completing(&self, outcome: bool) {
        self.outcome.store(outcome, Ordering::Release);
    }

    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    pub fn lose(&self) {
        self.lost.store(true, Ordering::Release);
    }

    pub fn lock_at(&self) -> Option<DateTime<Utc>> {
        self.time().lock_at
    }

    /// The lock was written at `lock_at`, by a statement that was sent at `asked_at`.
    pub fn set_renewed(&self, lock_at: Option<DateTime<Utc>>, asked_at: Instant) {
        *self.time() = Time { lock_at, asked_at };
    }

    /// How long ago the lock was written, or longer.
    pub fn age(&self) -> Duration {
        self.time().asked_at.elapsed()
    }

    fn time(&self) -> MutexGuard<'_, Time> {
        // The time is valid at any moment, so poison is ignored.
        self.time.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
