//! The lock as its holder knows it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};

/// The lock of one attempt, shared by all who write on its behalf.
#[derive(Debug)]
pub(crate) struct Lease<K> {
    pub key: K,
    pub token: Arc<str>,
    /// When the lock was last written; `None` while that is in doubt.
    lock_at: Mutex<Option<DateTime<Utc>>>,
    lost: AtomicBool,
    /// Its end is being written, or was tried to: no renewal is to come in between.
    ending: AtomicBool,
}

impl<K> Lease<K> {
    pub fn new(key: K, token: Arc<str>, lock_at: Option<DateTime<Utc>>) -> Self {
        Self {
            key,
            token,
            lock_at: Mutex::new(lock_at),
            lost: AtomicBool::new(false),
            ending: AtomicBool::new(false),
        }
    }

    pub fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }

    pub fn set_ending(&self, ending: bool) {
        self.ending.store(ending, Ordering::Release);
    }

    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    pub fn lose(&self) {
        self.lost.store(true, Ordering::Release);
    }

    pub fn lock_at(&self) -> Option<DateTime<Utc>> {
        *self.time()
    }

    pub fn set_lock_at(&self, lock_at: Option<DateTime<Utc>>) {
        *self.time() = lock_at;
    }

    /// Leaves the time in doubt, while the row may bear the old or a new one.
    pub fn doubt(&self) -> Option<DateTime<Utc>> {
        self.time().take()
    }

    fn time(&self) -> MutexGuard<'_, Option<DateTime<Utc>>> {
        // A time is whole or not written: poison says nothing about it.
        self.lock_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
