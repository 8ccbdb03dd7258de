//! What a worker needs to know of the step whose jobs it runs.

use status_protocol::Step;
use status_protocol::panics::caught;

use crate::error::{Error, Result};
use crate::sql::store::JobStore;
use crate::sql::tracked_table::Tracked;

/// A step of a table's jobs. Every [`StatusTracked`](crate::StatusTracked) is one.
pub trait JobStep: 'static {
    /// The row type of the table.
    type Job: Tracked;

    /// Its status codes and policy, checked.
    #[doc(hidden)]
    fn step() -> Result<Step<<Self::Job as Tracked>::Status>>;
}

/// Refuses updates that set a column although nobody has touched them: a success
/// would write over the user's data.
pub(crate) fn updates_are_checked<J: JobStore<C>, C>() -> Result<()> {
    // If `default` panics, the first attempt reports that.
    let sets_nothing = caught("`Updates::default()`", || J::default_sets_nothing());
    let sets_nothing = sets_nothing
        .unwrap_or(Ok(true))
        .map_err(|source| Error::Database {
            job: J::table_name().into(),
            source,
        })?;
    if sets_nothing {
        return Ok(());
    }
    Err(Error::Misconfigured {
        job: J::table_name().into(),
        problem: format!(
            "`{}::default()` sets a column, so each success would write over it; make each field an `Option`, and take out `treat_none_as_null`",
            std::any::type_name::<J::Updates>()
        ),
    })
}
