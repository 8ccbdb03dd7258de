//! What a worker needs to know of the step whose jobs it runs.

use status_protocol::Step;

use crate::error::Result;
use crate::sql::store::Tracked;

/// A step of a table's jobs. Every [`StatusTracked`](crate::StatusTracked) is one.
pub trait JobStep: 'static {
    /// The row type of the table.
    type Job: Tracked;

    /// Its status codes and policy, checked.
    #[doc(hidden)]
    fn step() -> Result<Step<<Self::Job as Tracked>::Status>>;
}
