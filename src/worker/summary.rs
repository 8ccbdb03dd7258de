//! What a worker has done, in numbers.

use std::fmt::{self, Display};

use crate::observer::Transition;

/// What a [`Worker`](crate::Worker) has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Summary {
    /// Attempts that succeeded.
    pub succeeded: u64,
    /// Attempts that failed; their jobs will be tried again.
    pub failed: u64,
    /// Attempts that failed, and whose jobs are left alone from now on.
    pub ignored: u64,
    /// Jobs that were released, with no attempt counted.
    pub released: u64,
    /// Attempts that lost their lock, or whose outcome could not be recorded.
    pub lost: u64,
    /// Dead attempts of others that were expired.
    pub expired: u64,
    /// How often a row was set aside because the program cannot read it.
    pub unreadable: u64,
    /// How often a row was set aside because the database refuses to have it
    /// claimed or expired: a constraint, a trigger or a rule prevents it.
    pub refused: u64,
}

impl Summary {
    pub(super) fn add(&mut self, transition: Transition) {
        match transition {
            Transition::Started
            | Transition::Saved
            | Transition::Created
            | Transition::Reset
            | Transition::Pruned => {}
            Transition::Succeeded => self.succeeded += 1,
            Transition::Failed { .. } => self.failed += 1,
            Transition::Ignored { .. } => self.ignored += 1,
            Transition::Released => self.released += 1,
            Transition::Lost => self.lost += 1,
            Transition::Expired { .. } => self.expired += 1,
        }
    }
}

/// `12 succeeded, 3 failed, 1 ignored, 0 released, 0 lost`, and the other counts
/// that are not zero.
impl Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} succeeded, {} failed, {} ignored, {} released, {} lost",
            self.succeeded, self.failed, self.ignored, self.released, self.lost
        )?;
        if self.expired > 0 {
            write!(f, ", {} of others expired", self.expired)?;
        }
        if self.unreadable > 0 {
            write!(f, ", {} times an unreadable row", self.unreadable)?;
        }
        if self.refused > 0 {
            write!(f, ", {} times a row that cannot be changed", self.refused)?;
        }
        Ok(())
    }
}
