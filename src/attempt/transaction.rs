//! Exactly once: the writes of the business logic and the success mark in one
//! transaction.

use std::cell::Cell;
use std::error::Error as StdError;
use std::panic::{AssertUnwindSafe, catch_unwind};

use diesel::result::{DatabaseErrorKind, Error as DieselError};

use crate::attempt::outcome::AttemptError;
use crate::attempt::outcome::{Outcome, WriteResult, earlier_write};
use crate::attempt::running::RunningJob;
use crate::db::connection::{MaybeDatabaseError, TrackerConnection, cause_of};
use crate::db::database_error::Cause;
use crate::db::retry::{self, Fault, Verdict};
use crate::error::{BoxError, Error, Result};
use crate::observer::Transition;
use crate::panics::Discarded;
use crate::sql::dialect::LockWait;
use crate::sql::store::JobStore;
use status_protocol::causes::causes;
use status_protocol::directive_of;

/// How far the transaction has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Beginning,
    Working,
    Marking,
    LockLost,
    Committing,
}

/// Why the transaction is not committed.
#[derive(Debug)]
enum Stop {
    Database(DieselError),
    /// The attempt does not hold the lock any more.
    LockLost,
    /// The business logic returned an error, or panicked.
    WorkFailed,
    /// The business logic began a transaction and left it open, or ended this one.
    EndedEarly,
}

impl From<DieselError> for Stop {
    fn from(error: DieselError) -> Self {
        Self::Database(error)
    }
}

impl MaybeDatabaseError for Stop {
    fn database_error(&self) -> Option<&DieselError> {
        match self {
            Self::Database(error) => Some(error),
            Self::LockLost | Self::WorkFailed | Self::EndedEarly => None,
        }
    }
}

/// What came of the transaction.
pub(crate) enum TransactionResult<T> {
    /// Committed, together with the success mark.
    Committed(T),
    /// Rolled back: another attempt has the job.
    LockLost,
    /// Rolled back: the job failed.
    Failed(AttemptError),
    /// Rolled back because of a conflict, or because the connection broke.
    RolledBack {
        source: BoxError,
        /// The job is already released.
        is_released: bool,
        /// Another transaction was the cause.
        is_conflict: bool,
    },
    /// The database could not be reached.
    Unavailable(Error),
}

/// What came of one try.
enum Try<T> {
    Done(TransactionResult<T>),
    /// The connection broke at the commit.
    CommitUnknown(T, DieselError),
}

#[derive(Debug, thiserror::Error)]
#[error(
    "the transaction ended before the job did, so nothing of it counts: pass on every database error, and do not begin, commit or roll back by hand"
)]
struct EndedEarly(#[source] Option<DieselError>);

impl<J: JobStore<C>, C: TrackerConnection> RunningJob<J, C> {
    /// Runs `work` in a transaction that commits together with the success
    /// mark, or not at all: what `work` writes on the connection that it gets
    /// happens exactly once, however often the job is attempted.
    ///
    /// `work` gets the row and not the guard, because a renewal on another
    /// connection could wait for this transaction for ever. A connection is
    /// held while `work` runs: keep it short.
    ///
    /// # Errors
    ///
    /// Those of [`run_job_in_transaction`](crate::StatusTracked::run_job_in_transaction)
    /// after its claim.
    pub fn run_in_transaction<T>(
        mut self,
        work: impl FnOnce(&mut C, &J, &mut J::Updates) -> Result<T, BoxError>,
    ) -> Result<T> {
        let result = self.transact(false, work);
        self.attempt.work_ended();
        match result {
            TransactionResult::Committed(value) => {
                self.attempt.is_over(None);
                Ok(value)
            }
            TransactionResult::LockLost => {
                let error = self.attempt.lock_lost();
                self.attempt.is_over(None);
                Err(error)
            }
            TransactionResult::Failed(attempt_error) => {
                let outcome = self.attempt.outcome_of(&attempt_error).into();
                Err(self.end_with_error(&outcome, attempt_error))
            }
            TransactionResult::RolledBack {
                source,
                is_released,
                ..
            } => {
                let release = self.attempt.release().into();
                let released = if is_released {
                    self.note_written(&release);
                    self.attempt.is_over(None);
                    Ok(())
                } else {
                    self.end(&release, false)
                };
                match released {
                    Ok(()) => Err(self.failed(source)),
                    Err(error) => {
                        AttemptError::Error(source).discard();
                        Err(error)
                    }
                }
            }
            TransactionResult::Unavailable(error) => {
                self.attempt.is_over(None);
                Err(error)
            }
        }
    }

    /// Runs the transaction. It records a success, and nothing else.
    /// `takes_row`: it locks the job's row first, so that nobody can change
    /// the row before the transaction ends. With one writer it does so anyway.
    pub(crate) fn transact<T>(
        &mut self,
        takes_row: bool,
        work: impl FnOnce(&mut C, &J, &mut J::Updates) -> Result<T, BoxError>,
    ) -> TransactionResult<T> {
        let tried = catch_unwind(AssertUnwindSafe(|| self.try_once(takes_row, work)));
        let result = match tried {
            // A value in the updates panicked. The transaction ended with its connection.
            Err(panic) => TransactionResult::Failed(AttemptError::Panic(panic)),
            Ok(Ok(Try::Done(result))) => result,
            Ok(Ok(Try::CommitUnknown(value, source))) => match self.trace_commit() {
                Ok(true) => TransactionResult::Committed(value),
                Ok(false) => TransactionResult::RolledBack {
                    source: source.into(),
                    is_released: true,
                    is_conflict: false,
                },
                Err(Error::RowChanged { job }) => {
                    TransactionResult::Unavailable(Error::OutcomeUnknown { job, source })
                }
                Err(error) => TransactionResult::Unavailable(error),
            },
            Ok(Err(error)) => TransactionResult::Unavailable(error),
        };
        match result {
            TransactionResult::Committed(_) => {
                self.note_written(&Outcome::Success(Discarded::new(J::Updates::default())));
            }
            // It did not fail, so `Drop` must not record a failure.
            TransactionResult::Unavailable(_) | TransactionResult::LockLost => {
                self.attempt.ended = Some(Transition::Lost);
            }
            TransactionResult::Failed(_) | TransactionResult::RolledBack { .. } => {}
        }
        result
    }

    fn try_once<T>(
        &mut self,
        takes_row: bool,
        work: impl FnOnce(&mut C, &J, &mut J::Updates) -> Result<T, BoxError>,
    ) -> Result<Try<T>> {
        let updates = Discarded::new(std::mem::take(&mut self.updates));
        // Taken once a transaction has begun: the work never runs twice.
        let mut work = Some((work, updates));
        retry::run(&*self.pool, &self.attempt.row(), |conn, _| {
            let takes_row = takes_row || conn.facts().writers == 1;
            let stage = Cell::new(Stage::Beginning);
            // Kept out here: where the rollback fails, Diesel returns that error alone.
            let (mut attempt_error, mut value) = (None, None);
            let (mut cause, mut is_refused) = (None, false);
            let done = conn.both_or_neither(
                |conn| {
                    let (key, token) = (&self.attempt.lease.key, &self.attempt.lease.token);
                    if takes_row && !J::take_row(conn, key, token)? {
                        stage.set(Stage::LockLost);
                        return Err(Stop::LockLost);
                    }
                    stage.set(Stage::Working);
                    let Some((work, mut updates)) = work.take() else {
                        return Err(Stop::EndedEarly);
                    };
                    let run = || work(conn, self.job(), &mut updates);
                    match self
                        .attempt
                        .span
                        .in_scope(|| catch_unwind(AssertUnwindSafe(run)))
                    {
                        Ok(Ok(value)) => return Ok((value, updates)),
                        // Judged here: after the rollback the database knows no more of it.
                        Ok(Err(error)) => {
                            cause = cause_of_all(conn, &*error);
                            attempt_error = Some(AttemptError::Error(error));
                        }
                        Err(panic) => attempt_error = Some(AttemptError::Panic(panic)),
                    }
                    Err(Stop::WorkFailed)
                },
                |conn, (done, updates)| {
                    // A transaction that `work` left open would not be committed.
                    if conn.depth()? != 1 {
                        return Err(Stop::EndedEarly);
                    }
                    stage.set(Stage::Marking);
                    // From here on a renewal may find that the lock is given up.
                    self.attempt.lease.set_completing(true);
                    let (key, token) = (&self.attempt.lease.key, &self.attempt.lease.token);
                    let wait = LockWait::Briefly;
                    let marked =
                        J::succeed_row(conn, key, token, &updates, &self.attempt.step, wait);
                    let marked = marked.inspect_err(|error| is_refused = conn.is_refusal(error));
                    if marked? == 0 {
                        stage.set(Stage::LockLost);
                        return Err(Stop::LockLost);
                    }
                    value = Some(done);
                    stage.set(Stage::Committing);
                    Ok(())
                },
            );
            let stop = match (done, attempt_error) {
                (Ok(()), _) => match value.take() {
                    Some(value) => return Ok(Try::Done(TransactionResult::Committed(value))),
                    None => Stop::EndedEarly,
                },
                (Err(_), Some(attempt_error)) => {
                    return self.work_failed(conn, attempt_error, cause).map(Try::Done);
                }
                (Err(stop), None) => stop,
            };
            if stage.get() == Stage::LockLost {
                return Ok(Try::Done(TransactionResult::LockLost));
            }
            let Stop::Database(error) = stop else {
                return Ok(Try::Done(TransactionResult::Failed(AttemptError::Error(
                    EndedEarly(None).into(),
                ))));
            };
            if stage.get() == Stage::Beginning {
                return Err(Fault::Database(error));
            }
            let mut verdict = retry::judge(conn, &error);
            if verdict == Verdict::Unclear && retry::learn_language(&*self.pool, conn) {
                verdict = retry::judge(conn, &error);
            }
            Ok(Try::Done(match (verdict, stage.get(), value) {
                (Verdict::SharedSession, ..) => return Err(Fault::Final(error)),
                (Verdict::Broken, Stage::Committing, Some(value)) => {
                    return Ok(Try::CommitUnknown(value, error));
                }
                (Verdict::Transient | Verdict::Broken, ..) => TransactionResult::RolledBack {
                    source: error.into(),
                    is_released: false,
                    is_conflict: verdict == Verdict::Transient,
                },
                (_, stage, _) if stage == Stage::Working || is_refused => {
                    TransactionResult::Failed(AttemptError::Error(EndedEarly(Some(error)).into()))
                }
                (Verdict::Permanent | Verdict::Unclear, ..) => {
                    TransactionResult::Failed(AttemptError::Error(error.into()))
                }
            }))
        })
    }

    /// What follows from an error or a panic of the business logic.
    fn work_failed<T>(
        &self,
        conn: &mut C,
        attempt_error: AttemptError,
        cause: Option<Cause>,
    ) -> Result<TransactionResult<T>, Fault> {
        let source = match attempt_error {
            AttemptError::Error(source) => source,
            panic @ AttemptError::Panic(_) => return Ok(TransactionResult::Failed(panic)),
        };
        if cause.is_some_and(|cause| self.is_conflict(conn, cause, &*source)) {
            return Ok(TransactionResult::RolledBack {
                source,
                is_released: false,
                is_conflict: true,
            });
        }
        let shared_session = of_shared_session(&*source);
        let attempt_error = AttemptError::Error(source);
        match shared_session {
            Some(error) => {
                attempt_error.discard();
                Err(Fault::Final(error))
            }
            None => Ok(TransactionResult::Failed(attempt_error)),
        }
    }

    /// Whether the business logic failed because the database rolled back its
    /// transaction for the sake of another. A lost connection does not count:
    /// a job that breaks its connection each time must become ignored.
    fn is_conflict(&self, conn: &mut C, cause: Cause, error: &(dyn StdError + 'static)) -> bool {
        match cause {
            Cause::Held | Cause::Conflict => true,
            Cause::Unclear => {
                !conn.knows_language()
                    && retry::learn_language(&*self.pool, conn)
                    && matches!(
                        cause_of_all(conn, error),
                        Some(Cause::Held | Cause::Conflict)
                    )
            }
            _ => false,
        }
    }

    /// Finds out whether the commit was applied, by releasing the job: where the
    /// server is still at the commit, it has the row locked, and this waits.
    /// `false`: it was not, and the job is released.
    fn trace_commit(&self) -> Result<bool> {
        let release: Outcome<J> = self.attempt.release().into();
        retry::run(&*self.pool, &self.attempt.row(), |conn, again| {
            if release.write(
                conn,
                &self.attempt.lease,
                &self.attempt.step,
                LockWait::Briefly,
            )? > 0
            {
                return Ok(false);
            }
            let mut is_written = |status| -> Result<bool, Fault> {
                let earlier =
                    earlier_write::<J, C>(conn, &self.attempt.lease, &self.attempt.step, status)?;
                Ok(earlier == Some(WriteResult::Written))
            };
            if again && matches!(is_written(self.attempt.released_status()), Ok(true)) {
                return Ok(false);
            }
            is_written(self.attempt.step.succeeded)
        })
    }
}

/// The cause of the business logic's error, if an error of the database is among
/// its sources and may be a conflict. Call it right after that error. `None` for
/// a `Retry`, which says itself what is to follow.
fn cause_of_all<C: TrackerConnection>(
    conn: &mut C,
    error: &(dyn StdError + 'static),
) -> Option<Cause> {
    if directive_of(error).is_some() {
        return None;
    }
    let causes: Vec<Cause> = database_errors(error)
        .map(|error| cause_of(conn, error))
        .collect();
    [Cause::Held, Cause::Conflict, Cause::Unclear]
        .into_iter()
        .find(|cause| causes.contains(cause))
}

fn database_errors<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a DieselError> {
    causes(error).filter_map(|error| error.downcast_ref::<DieselError>())
}

/// The database's error where the statements of the business logic met the
/// prepared statements of another client: the job is not at fault.
fn of_shared_session(error: &(dyn StdError + 'static)) -> Option<DieselError> {
    let error = database_errors(error).find(|error| retry::is_of_shared_session(error))?;
    let kind = DatabaseErrorKind::Unknown;
    Some(DieselError::DatabaseError(
        kind,
        Box::new(error.to_string()),
    ))
}
