//! The lock as its holder knows it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

/// The lock of one attempt, shared by all who write on its behalf.
#[derive(Debug)]
pub(crate) struct Lease<K> {
    pub key: K,
    pub token: Arc<str>,
    time: Mutex<Time>,
    lost: AtomicBool,
    /// Its end is being written, or was tried to: no renewal is to come in between.
    outcome: AtomicBool,
}

/// When the lock was last written.
#[derive(Debug)]
struct Time {
    /// By the database's clock. Where the answer to a renewal was lost, the row
    /// may bear a later one: then an end is not taken for another's by its time.
    lock_at: Option<DateTime<Utc>>,
    /// By this machine's: no later than the database did it.
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
        // A time is whole or not written: poison says nothing about it.
        self.time.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
