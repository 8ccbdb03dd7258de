//! Writes the outcomes of attempts, in groups.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use diesel::QueryResult;
use diesel::result::Error as DieselError;

use super::plan::Plan;
use crate::attempt::outcome::AttemptError;
use crate::attempt::outcome::{Outcome, WriteResult};
use crate::attempt::running::RunningJob;
use crate::db::connection::TrackerConnection;
use crate::db::retry::{self, Fault, Verdict};
use crate::error::{BoxError, Error};
use crate::observer::Transition;
use crate::panics::discard;
use crate::rows::apart::{Mode, all_or_each};
use crate::sql::dialect::LockWait;
use crate::sql::results::Obstacle;
use crate::sql::store::JobStore;
use status_protocol::Step;
use status_protocol::panics::caught;

/// After so many tries an outcome that the database refuses counts as the job's
/// own fault, as with updates that break a constraint.
const MOST_REFUSALS: u32 = 3;

/// Tries of a group whose transaction is rolled back because of a conflict. Then
/// each outcome is written alone.
const TRIES_TOGETHER: u32 = 3;

/// Outcomes that are tried in a row although the database rolls them back, or
/// takes no write at all. Each try takes long, and no lock of this group is
/// renewed meanwhile.
const MOST_FAILED_WRITES: usize = 2;

/// A job that has run, and the outcome that is to be written.
pub(super) struct Completion<J: JobStore<C>, C: TrackerConnection> {
    pub job: Box<RunningJob<J, C>>,
    pub outcome: Outcome<J>,
    /// An earlier try may have been applied.
    pub maybe_applied: bool,
    pub tries: u32,
    /// What came of the last try.
    pub state: WriteState,
    /// The last try failed, and so did a renewal of the job's lock.
    pub is_stuck: bool,
    /// Why it was given up, where that is not the job's fault.
    pub error: Option<Error>,
    refusals: u32,
}

/// What came of a try to write an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WriteState {
    /// It is written, or lost: `job.attempt.ended` says which.
    Done,
    /// Not written: another transaction holds the row, or the database refuses it.
    RowBlocked,
    /// Not written: no outcome can be written now.
    AllBlocked,
}

impl<J: JobStore<C>, C: TrackerConnection> Completion<J, C> {
    pub fn new(job: Box<RunningJob<J, C>>, outcome: Outcome<J>) -> Self {
        Self {
            job,
            outcome,
            maybe_applied: false,
            tries: 0,
            state: WriteState::AllBlocked,
            is_stuck: false,
            error: None,
            refusals: 0,
        }
    }

    /// Whether it was never tried, and the attempt holds the row as far as is known.
    pub fn is_fresh(&self) -> bool {
        self.tries == 0 && !self.maybe_applied && !self.job.is_lost()
    }

    /// No more tries.
    pub fn give_up(&mut self) {
        tracing::error!(
            job = self.job.attempt.name(),
            "given up; its lock will expire"
        );
        self.lose();
    }

    fn lose(&mut self) {
        self.job.attempt.ended = Some(Transition::Lost);
        self.state = WriteState::Done;
    }

    /// Writes the outcome. Whether the row still bore the job's token.
    pub fn write(&self, conn: &mut C, step: &Step<J::Status>, wait: LockWait) -> QueryResult<bool> {
        Ok(self
            .outcome
            .write(conn, &self.job.attempt.lease, step, wait)?
            > 0)
    }

    pub fn record(&mut self, result: WriteResult) {
        self.state = WriteState::Done;
        match result {
            WriteResult::Written => self.job.note_written(&self.outcome),
            WriteResult::LockLost => {
                self.job.attempt.ended = Some(Transition::Lost);
                self.job.attempt.lock_lost();
            }
        }
    }

    fn retry_later(&mut self, state: WriteState) {
        self.state = state;
        self.job.attempt.ended = None;
    }
}

/// Writes the outcomes, and notes the state of each.
pub(super) fn write<J: JobStore<C>, C: TrackerConnection>(
    group: &mut [Completion<J, C>],
    step: &Step<J::Status>,
) {
    let mut fresh: Vec<&mut Completion<J, C>> = Vec::new();
    let mut alone = Vec::new();
    for completion in group {
        completion.tries += 1;
        completion.is_stuck = false;
        if completion.job.is_lost() {
            // Another attempt has the row, so this outcome is dropped.
            completion.lose();
        } else if completion.maybe_applied || completion.tries > 1 {
            alone.push(completion);
        } else {
            fresh.push(completion);
        }
    }
    let mut progress = Progress::default();
    if fresh.len() > 1 {
        let write = || write_together(&mut fresh, step);
        progress.is_unavailable =
            !caught("writing the outcome of a job", write).unwrap_or_else(|_| {
                // Writing each alone finds out which one panics.
                fresh.iter_mut().for_each(|completion| {
                    completion.maybe_applied = true;
                    completion.retry_later(WriteState::AllBlocked);
                });
                true
            });
        progress.has_written = fresh
            .iter()
            .any(|completion| completion.state == WriteState::Done);
        fresh.retain(|completion| completion.state == WriteState::AllBlocked);
    }
    let mut stuck = Vec::new();
    for completion in alone.into_iter().chain(fresh) {
        if progress.is_unavailable {
            // Each of them would wait for as long as the first did.
            completion.retry_later(WriteState::AllBlocked);
        } else if progress.failed_writes >= MOST_FAILED_WRITES {
            if progress.has_written {
                // This was no try: it is its turn the next time.
                completion.tries -= 1;
                completion.retry_later(WriteState::RowBlocked);
            } else {
                completion.retry_later(WriteState::AllBlocked);
            }
        } else if let Some(error) = write_alone(completion, step, &mut progress) {
            stuck.push((completion, error));
        }
    }
    for (completion, error) in stuck {
        if progress.has_written {
            refused(completion, error);
        } else {
            completion.is_stuck = true;
            completion.retry_later(WriteState::AllBlocked);
        }
    }
}

/// What is known of a group so far.
#[derive(Default)]
struct Progress {
    /// The database has taken a write.
    has_written: bool,
    /// The database cannot be reached.
    is_unavailable: bool,
    /// Outcomes that were tried for long, and could not be written.
    failed_writes: usize,
}

/// Writes one outcome, whatever came of earlier tries. Returns the error where
/// the database answers, but refuses both the outcome and a renewal of the lock.
/// The other outcomes then show whether the job is at fault or the database.
fn write_alone<J: JobStore<C>, C: TrackerConnection>(
    completion: &mut Completion<J, C>,
    step: &Step<J::Status>,
    progress: &mut Progress,
) -> Option<DieselError> {
    let Completion { job, outcome, .. } = completion;
    let wait = if completion.tries > 1 {
        LockWait::Never
    } else {
        LockWait::Briefly
    };
    let (maybe_applied, mut verdict) = (completion.maybe_applied, None);
    // The user's code that binds the updates may panic.
    let write = || {
        retry::run(&*job.pool, &job.attempt.name(), |conn, again| {
            verdict = None;
            match outcome.write_once(conn, &job.attempt.lease, step, maybe_applied || again, wait) {
                Err(Fault::Database(error)) if retry::is_held(conn, &error) => Ok(None),
                Err(Fault::Database(error)) => {
                    verdict = Some(retry::judge(conn, &error));
                    completion.maybe_applied |= verdict == Some(Verdict::Broken);
                    Err(Fault::Database(error))
                }
                other => other.map(Some),
            }
        })
    };
    let result = match catch_unwind(AssertUnwindSafe(write)) {
        Ok(result) => result,
        Err(panic) => {
            completion.state = WriteState::Done;
            if let Some(failure) = job.record_panic(outcome, &*panic) {
                completion.outcome = failure;
            }
            discard("the drop of a panic's payload", panic);
            return None;
        }
    };
    let error = match result {
        Ok(Some(result)) => {
            progress.has_written = true;
            completion.record(result);
            return None;
        }
        Ok(None) => {
            completion.retry_later(WriteState::RowBlocked);
            return None;
        }
        Err(error) => error,
    };
    match error {
        Error::Database { source, .. } if verdict != Some(Verdict::Broken) => {
            tracing::warn!(job = job.attempt.name(), error = %source, "the outcome of an attempt is not recorded");
            let is_transient = verdict == Some(Verdict::Transient);
            return not_written(completion, source, is_transient, progress);
        }
        error @ (Error::Database { .. } | Error::Pool { .. }) => {
            tracing::warn!(%error, "the outcome of an attempt is not recorded");
            progress.is_unavailable = true;
            completion.retry_later(WriteState::AllBlocked);
        }
        error @ (Error::OutcomeUnknown { .. } | Error::RowChanged { .. }) => {
            tracing::error!(%error, "given up: its row has changed since");
            completion.lose();
        }
        error => {
            tracing::warn!(%error, "the outcome of an attempt is not recorded");
            completion.give_up();
            completion.error = Some(error);
        }
    }
    None
}

/// Finds out whether the database refuses this outcome, or all writes. For that
/// it renews the job's lock, a write that changes nothing else.
fn not_written<J: JobStore<C>, C: TrackerConnection>(
    completion: &mut Completion<J, C>,
    source: DieselError,
    is_transient: bool,
    progress: &mut Progress,
) -> Option<DieselError> {
    match completion.job.renew() {
        Ok(()) => {
            progress.has_written = true;
            progress.failed_writes += usize::from(is_transient);
            refused(completion, source);
            None
        }
        Err(Error::LockLost { .. }) => {
            completion.lose();
            None
        }
        Err(error) => {
            tracing::warn!(%error, "its lock cannot be renewed either");
            progress.failed_writes += 1;
            Some(source)
        }
    }
}

/// Notes that the database refuses an outcome. When it has done so often enough,
/// a failure is written instead.
fn refused<J: JobStore<C>, C: TrackerConnection>(
    completion: &mut Completion<J, C>,
    source: DieselError,
) {
    completion.refusals += 1;
    if completion.refusals < MOST_REFUSALS {
        return completion.retry_later(WriteState::RowBlocked);
    }
    completion.state = WriteState::Done;
    let attempt_error = AttemptError::Error(BoxError::from(source));
    completion.outcome = completion.job.attempt.outcome_of(&attempt_error).into();
    match completion.job.write(&completion.outcome, true) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "given up; its lock will expire"),
        Err(panic) => resume_unwind(panic),
    }
}

/// The same completions, to be read.
fn shared<'a, J: JobStore<C>, C: TrackerConnection>(
    group: &'a [&mut Completion<J, C>],
) -> Vec<&'a Completion<J, C>> {
    group.iter().map(|completion| &**completion).collect()
}

/// Writes the outcomes together, or each on its own where one of them fails.
/// Those that are still [`WriteState::AllBlocked`] then must be written alone.
/// Returns whether the database can be reached.
fn write_together<J: JobStore<C>, C: TrackerConnection>(
    group: &mut [&mut Completion<J, C>],
    step: &Step<J::Status>,
) -> bool {
    let Some(first) = group.first() else {
        return true;
    };
    let pool = first.job.pool.clone();
    let mut tries = 0;
    let written = retry::run(&*pool, &J::table_name(), |conn: &mut C, maybe_applied| {
        if maybe_applied {
            return Ok(None);
        }
        tries += 1;
        let written = all_or_each(
            conn,
            Mode::Together,
            0..group.len(),
            |conn| {
                let group = shared(group);
                let written = Plan::of(conn, &group).write_in_transaction(conn, &group, step)?;
                Ok(written.into_iter().map(Ok).enumerate().collect())
            },
            |conn, n| group[*n].write(conn, step, LockWait::Never),
        );
        match written {
            // One of them may cause this at each try.
            Err(error)
                if tries >= TRIES_TOGETHER && retry::judge(conn, &error) == Verdict::Transient =>
            {
                tracing::warn!(table = J::table_name(), %error, "outcomes of attempts are written one by one");
                Ok(Some(Vec::new()))
            }
            other => other.map(Some).map_err(Fault::Database),
        }
    });
    match written {
        Ok(Some(written)) => {
            for (n, is_written) in written {
                let completion = &mut *group[n];
                match is_written {
                    Ok(true) => completion.record(WriteResult::Written),
                    Ok(false) => completion.record(WriteResult::LockLost),
                    // Writing it alone finds out whose fault that is.
                    Err(Obstacle::Refused(_) | Obstacle::Unreadable(_)) => {
                        completion.retry_later(WriteState::AllBlocked);
                    }
                    Err(Obstacle::Held | Obstacle::Dropped) => {
                        completion.retry_later(WriteState::RowBlocked);
                    }
                }
            }
            true
        }
        outcome => {
            // Without a connection nothing was sent. Otherwise an answer was lost,
            // and each row has to be read.
            let maybe_applied = !matches!(outcome, Err(Error::Pool { .. }));
            for completion in group {
                completion.maybe_applied |= maybe_applied;
                completion.retry_later(WriteState::AllBlocked);
            }
            if let Err(error) = &outcome {
                tracing::warn!(%error, "outcomes of attempts are not recorded");
            }
            outcome.is_ok()
        }
    }
}
