//! What can become of a job.

/// A step in the life of a job, as an observer sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Transition {
    /// An attempt has begun.
    Started,
    /// The attempt succeeded, and that is recorded.
    Succeeded,
    /// The attempt failed; the job will be tried again.
    Failed {
        /// Failures in a row, this one included.
        retry: i32,
    },
    /// The attempt failed, and the job is left alone from now on.
    Ignored {
        /// Failures in a row, this one included.
        retry: i32,
    },
    /// The job was released, with no attempt counted.
    Released,
    /// The attempt lost its lock, or its outcome could not be recorded. Nothing was
    /// written, and another attempt may have the job.
    Lost,
    /// The lock of a dead attempt has expired, which is one more failure of the
    /// job.
    Expired {
        /// Failures in a row, this one included.
        retry: i32,
    },
}
