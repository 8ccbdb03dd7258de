//! What a worker has done.

use std::fmt::{self, Display};

use crate::attempt::running::Ended;

/// What a worker has done, in attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Summary {
    /// Attempts that succeeded.
    pub succeeded: u64,
    /// Attempts that failed; their jobs will be tried again.
    pub failed: u64,
    /// Attempts that failed, after which the job is left alone.
    pub ignored: u64,
    /// Jobs that were released, with no attempt counted.
    pub released: u64,
    /// Attempts that lost their lock, or whose outcome could not be recorded.
    pub lost: u64,
    /// Items that could not be claimed.
    pub refused: u64,
}

impl Summary {
    pub(crate) fn add(&mut self, ended: Ended) {
        *match ended {
            Ended::Succeeded => &mut self.succeeded,
            Ended::Failed => &mut self.failed,
            Ended::Ignored => &mut self.ignored,
            Ended::Released | Ended::Conflict => &mut self.released,
            Ended::Lost => &mut self.lost,
        } += 1;
    }
}

impl Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            succeeded,
            failed,
            ignored,
            released,
            lost,
            refused,
        } = self;
        write!(
            f,
            "{succeeded} succeeded, {failed} failed, {ignored} ignored, {released} released, {lost} lost, {refused} refused"
        )
    }
}
