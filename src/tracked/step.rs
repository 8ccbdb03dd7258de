//! The constants of a step as values, checked.

use super::{StatusOf, StatusTracked, UpdatesOf};
use crate::attempt::step::{JobStep, updates_are_checked};
use crate::error::{Error, Result};
use crate::sql::store::JobStore;
use crate::sql::tracked_table::Tracked;
use crate::table_info::SHORTEST_LOCK;
use status_protocol::Step;

impl<S: StatusTracked> JobStep for S {
    type Job = <S as StatusTracked>::Job;

    fn step() -> Result<Step<StatusOf<S>>> {
        step::<S>()
    }
}

/// The same as [`step`], where the updates are checked too.
pub(super) fn step_over<S: StatusTracked, C>() -> Result<Step<StatusOf<S>>>
where
    S::Job: JobStore<C>,
{
    let step = step::<S>()?;
    updates_are_checked::<S::Job, C>()?;
    Ok(step)
}

/// The constants of `S` as values, checked.
pub(crate) fn step<S: StatusTracked>() -> Result<Step<StatusOf<S>>> {
    const {
        assert!(
            S::RETRY_DELAY.is_none() || S::Job::HAS_RUN_AT,
            "a step sets RETRY_DELAY, but its table has no `run_at` to make a job wait: add the column, and name it in `columns: {{ run_at: … }}` of `job_table!`"
        );
    }
    let step = Step {
        pending: S::PENDING,
        in_progress: S::IN_PROGRESS,
        failed: S::FAILED,
        succeeded: S::SUCCEEDED,
        ignored: S::IGNORED,
        more_pending: S::MORE_PENDING,
        lock_expire: S::LOCK_EXPIRE,
        max_retry: S::MAX_RETRY,
        retry_delay: S::RETRY_DELAY,
        max_conflicts: S::MAX_CONFLICTS,
        has_run_at: S::Job::HAS_RUN_AT,
        redact: S::redact,
    };
    let problem = if let Some((one, other)) = step.clash() {
        format!(
            "{one} and {other} of step `{}` are the same status; give each its own",
            std::any::type_name::<S>()
        )
    } else if let Some(column) = S::Job::tracked_column_in_updates() {
        format!(
            "`{}` sets the tracked column `{column}`; take that field out",
            std::any::type_name::<UpdatesOf<S>>()
        )
    } else if step.lock_expire < SHORTEST_LOCK {
        format!(
            "LOCK_EXPIRE of step `{}` is {:?}, and each lock would be lost as soon as it is taken; make it longer than an attempt takes",
            std::any::type_name::<S>(),
            step.lock_expire
        )
    } else {
        return Ok(step);
    };
    Err(Error::Misconfigured {
        job: S::Job::table_name().into(),
        problem,
    })
}
