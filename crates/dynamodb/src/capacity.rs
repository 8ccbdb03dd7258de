//! What requests consume.

use std::sync::{Mutex, PoisonError};

use aws_sdk_dynamodb::types::ConsumedCapacity;

/// What the requests of a [`Table`](crate::Table) have consumed, as DynamoDB says:
/// tables and indexes together.
///
/// A conditional write that was refused is counted as one unit, because DynamoDB
/// charges it and does not say how much; for items of more than 1 KB it is more.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct Capacity {
    /// Read units.
    pub reads: f64,
    /// Write units.
    pub writes: f64,
    /// Requests that were sent. Those that the SDK repeats count once.
    pub requests: u64,
    /// Conditional writes that were refused; they are among the requests and the
    /// write units.
    pub refused: u64,
}

/// The sum so far.
#[derive(Debug, Default)]
pub(crate) struct Counted(Mutex<Capacity>);

impl Counted {
    pub fn read(&self) -> Capacity {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn wrote(&self, consumed: Option<&ConsumedCapacity>) {
        self.add(|sum| sum.writes += units(consumed));
    }

    /// A request that wrote to several tables.
    pub fn wrote_all(&self, consumed: &[ConsumedCapacity]) {
        self.add(|sum| sum.writes += consumed.iter().map(|one| units(Some(one))).sum::<f64>());
    }

    pub fn got(&self, consumed: Option<&ConsumedCapacity>) {
        self.add(|sum| sum.reads += units(consumed));
    }

    pub fn refused(&self) {
        self.add(|sum| {
            sum.writes += 1.0;
            sum.refused += 1;
        });
    }

    fn add(&self, change: impl FnOnce(&mut Capacity)) {
        let mut sum = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sum.requests += 1;
        change(&mut sum);
    }
}

fn units(consumed: Option<&ConsumedCapacity>) -> f64 {
    consumed
        .and_then(ConsumedCapacity::capacity_units)
        .unwrap_or(0.0)
}
