//! A lock, as far as its holder knows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::item::key::ItemKey;

/// The lock of one attempt. All that write for the attempt share it.
#[derive(Debug)]
pub(crate) struct Lease {
    pub key: ItemKey,
    pub token: Arc<str>,
    /// The number of the claim.
    pub claims: u64,
    /// Not later than DynamoDB wrote the lock.
    asked_at: Mutex<Instant>,
    lost: AtomicBool,
    /// The outcome is being written. There must be no renewal meanwhile.
    completing: AtomicBool,
    /// A write of the outcome may have been applied, and its answer was lost.
    maybe_applied: AtomicBool,
}

impl Lease {
    /// `asked_at`: when the claim was sent.
    pub fn new(key: ItemKey, token: Arc<str>, claims: u64, asked_at: Instant) -> Self {
        Self {
            key,
            token,
            claims,
            asked_at: Mutex::new(asked_at),
            lost: AtomicBool::new(false),
            completing: AtomicBool::new(false),
            maybe_applied: AtomicBool::new(false),
        }
    }

    pub fn is_completing(&self) -> bool {
        self.completing.load(Ordering::Acquire)
    }

    pub fn set_completing(&self) {
        self.completing.store(true, Ordering::Release);
    }

    pub fn is_maybe_applied(&self) -> bool {
        self.maybe_applied.load(Ordering::Acquire)
    }

    pub fn set_maybe_applied(&self) {
        self.maybe_applied.store(true, Ordering::Release);
    }

    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    pub fn lose(&self) {
        self.lost.store(true, Ordering::Release);
    }

    pub fn set_renewed(&self, asked_at: Instant) {
        *self.asked_at.lock().unwrap_or_else(PoisonError::into_inner) = asked_at;
    }

    /// How long ago the lock was written, or longer.
    pub fn age(&self) -> Duration {
        self.asked_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .elapsed()
    }
}
