//! What a step in Rust tells of itself.

use std::any::type_name;

use super::{StatusOf, StatusTracked, step};
use crate::error::{Error, Result};
use crate::sql::tracked_table::Tracked;
use crate::table_info::{StatusCode, StepCodes, StepInfo, TableInfo};

impl StepInfo {
    /// The step `S`, whose status codes are numbers. Its name is that of the type.
    ///
    /// # Errors
    ///
    /// [`Error::Misconfigured`] where the codes are no numbers: use
    /// [`of_text`](Self::of_text). And where the constants of `S` are not valid.
    pub fn of<S: StatusTracked>() -> Result<Self> {
        let number = |status| S::Job::number(status).map(StatusCode::Number);
        Self::made_of::<S>(&number)
    }

    /// The step `S`, whose status codes are text: `text` gives what their column
    /// holds.
    ///
    /// # Errors
    ///
    /// [`Error::Misconfigured`] where the constants of `S` are not valid.
    pub fn of_text<S: StatusTracked>(text: impl Fn(StatusOf<S>) -> String) -> Result<Self> {
        Self::made_of::<S>(&|status| Some(StatusCode::Text(text(status))))
    }

    fn made_of<S: StatusTracked>(code: &dyn Fn(StatusOf<S>) -> Option<StatusCode>) -> Result<Self> {
        let step = step::<S>()?;
        let path = type_name::<S>();
        let name = path.rsplit("::").next().unwrap_or(path);
        let code = |status| {
            code(status).ok_or_else(|| Error::Misconfigured {
                job: S::Job::table_name().into(),
                problem: format!(
                    "the status {status:?} of step `{name}` is no number: use `StepInfo::of_text`, which is told what the column holds"
                ),
            })
        };
        let codes = StepCodes {
            pending: code(step.pending)?,
            in_progress: code(step.in_progress)?,
            failed: code(step.failed)?,
            succeeded: code(step.succeeded)?,
            ignored: code(step.ignored)?,
        };
        let more_pending = step.more_pending.iter().map(|status| code(*status));
        Ok(Self::new(name, codes)
            .with_more_pending(more_pending.collect::<Result<Vec<_>>>()?)
            .with_lock_expire(step.lock_expire)
            .with_max_retry(step.max_retry)
            .with_retry_delay(step.retry_delay)
            .with_redact(step.redact))
    }
}

impl TableInfo {
    /// The table of the step `S`, with this one step; see [`StepInfo::of`].
    /// [`with_steps`](Self::with_steps) gives it several.
    ///
    /// # Errors
    ///
    /// Those of [`StepInfo::of`].
    pub fn of<S: StatusTracked>() -> Result<Self> {
        S::Job::info().clone().with_steps([StepInfo::of::<S>()?])
    }
}
