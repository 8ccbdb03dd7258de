//! Exactly once: the business writes and the success mark in one transaction.

use std::cell::Cell;
use std::error::Error as StdError;
use std::panic::{AssertUnwindSafe, catch_unwind};

use diesel::result::{DatabaseErrorKind, Error as DieselError};

use crate::connection::{TrackerConnection, cause_of};
use crate::database_error::Cause;
use crate::ending::{Ending, Landing, landing};
use crate::error::{BoxError, Error, Result};
use crate::panics::Discarded;
use crate::retry::{self, Fault, Verdict};
use crate::running::{RunningJob, Trouble};
use crate::statement::LockWait;
use crate::store::{JobName, JobStore};
use crate::transition::Transition;
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

/// What the transaction came to.
pub(crate) enum Outcome<T> {
    /// It landed, the success mark with it.
    Committed(T),
    /// Rolled back: the job is another's.
    LockLost,
    /// Rolled back, for the job's own fault.
    Failed(Trouble),
    /// Rolled back to make way for another transaction, or with the
    /// connection. `doubtful`: the job may have been released by now.
    /// `is_conflict`: another transaction was the cause.
    MadeWay {
        source: BoxError,
        doubtful: bool,
        is_conflict: bool,
    },
    /// The database was not to be had.
    Unreached(Error),
}

/// What came of one try.
enum Try<T> {
    Over(Outcome<T>),
    /// The connection broke at the commit.
    CommitUnknown(T, DieselError),
}

#[derive(Debug, thiserror::Error)]
#[error(
    "the transaction had come to its end before the job did, and nothing of it counts: pass on every database error, and neither begin nor commit nor roll back by hand"
)]
struct EndedEarly(#[source] DieselError);

impl<J: JobStore<C>, C: TrackerConnection> RunningJob<J, C> {
    /// Runs `work` in a transaction that commits together with the success
    /// mark, or not at all: what `work` writes on the connection that it is
    /// given happens exactly once, however often the job is attempted.
    ///
    /// `work` gets the row in place of the guard, since a renewal on another
    /// connection could wait for this one for ever. This is the one time that
    /// a connection is held while user code runs: keep it short.
    ///
    /// # Errors
    ///
    /// Those of [`run_job_in_transaction`](crate::StatusTracked::run_job_in_transaction)
    /// after its claim.
    pub fn run_in_transaction<T>(
        mut self,
        work: impl FnOnce(&mut C, &J, &mut J::Updates) -> Result<T, BoxError>,
    ) -> Result<T> {
        match self.transact(C::WRITERS == 1, work) {
            Outcome::Committed(value) => Ok(value),
            Outcome::LockLost => Err(self.lock_lost()),
            Outcome::Failed(trouble) => {
                let ending = self.ending_after(&trouble);
                Err(self.end_in_trouble(&ending, trouble))
            }
            Outcome::MadeWay {
                source, doubtful, ..
            } => {
                let release = self.release();
                match self.end(&release, doubtful) {
                    Ok(()) => Err(self.failed(source)),
                    Err(error) => {
                        Trouble::Error(source).discard();
                        Err(error)
                    }
                }
            }
            Outcome::Unreached(error) => Err(error),
        }
    }

    /// Runs the transaction. A success is recorded then, all else is not.
    /// `takes_row`: it begins with the job's row, which nobody can change then
    /// before it ends.
    pub(crate) fn transact<T>(
        &mut self,
        takes_row: bool,
        work: impl FnOnce(&mut C, &J, &mut J::Updates) -> Result<T, BoxError>,
    ) -> Outcome<T> {
        let tried = catch_unwind(AssertUnwindSafe(|| self.try_once(takes_row, work)));
        let outcome = match tried {
            // Of a value in the updates. The transaction went with its connection.
            Err(panic) => Outcome::Failed(Trouble::Panic(panic)),
            Ok(Ok(Try::Over(outcome))) => outcome,
            Ok(Ok(Try::CommitUnknown(value, source))) => match self.trace_commit() {
                Ok(true) => Outcome::Committed(value),
                Ok(false) => Outcome::MadeWay {
                    source: source.into(),
                    doubtful: true,
                    is_conflict: false,
                },
                Err(error) => Outcome::Unreached(error),
            },
            Ok(Err(error)) => Outcome::Unreached(error),
        };
        match outcome {
            Outcome::Committed(_) => {
                self.landed(&Ending::Success(Discarded::new(J::Updates::default())))
            }
            // It did not fail: its drop has nothing to record.
            Outcome::Unreached(_) | Outcome::LockLost => self.ended = Some(Transition::Lost),
            Outcome::Failed(_) | Outcome::MadeWay { .. } => {}
        }
        outcome
    }

    fn try_once<T>(
        &mut self,
        takes_row: bool,
        work: impl FnOnce(&mut C, &J, &mut J::Updates) -> Result<T, BoxError>,
    ) -> Result<Try<T>> {
        let updates = Discarded::new(std::mem::take(&mut self.updates));
        // Taken once a transaction has begun: the work is never run twice.
        let mut work = Some((work, updates));
        retry::run(&self.pool, &JobName::<J>(&self.lease.key), |conn, _| {
            let stage = Cell::new(Stage::Beginning);
            let (mut trouble, mut value) = (None, None);
            let (mut cause, mut is_refused) = (None, false);
            let done = conn.both_or_neither(
                |conn| {
                    let (key, token) = (&self.lease.key, &self.lease.token);
                    if takes_row && !J::take_row(conn, key, token)? {
                        stage.set(Stage::LockLost);
                        return Err(DieselError::RollbackTransaction);
                    }
                    stage.set(Stage::Working);
                    let Some((work, mut updates)) = work.take() else {
                        return Err(DieselError::AlreadyInTransaction);
                    };
                    let run = || work(conn, self.job(), &mut updates);
                    match self.span.in_scope(|| catch_unwind(AssertUnwindSafe(run))) {
                        Ok(Ok(value)) => return Ok((value, updates)),
                        // Kept and judged here: an error of the rollback would take
                        // its place, and the database would know no more of it.
                        Ok(Err(error)) => {
                            cause = cause_of_all(conn, &*error);
                            trouble = Some(Trouble::Error(error));
                        }
                        Err(panic) => trouble = Some(Trouble::Panic(panic)),
                    }
                    Err(DieselError::RollbackTransaction)
                },
                |conn, (done, updates)| {
                    // What `work` left open would not be committed.
                    if conn.depth()? != 1 {
                        return Err(DieselError::AlreadyInTransaction);
                    }
                    stage.set(Stage::Marking);
                    // From here on a renewal may find the lock given up.
                    self.lease.set_ending(true);
                    let (key, token) = (&self.lease.key, &self.lease.token);
                    let wait = LockWait::Briefly;
                    let marked = J::succeed_row(conn, key, token, &updates, &self.step, wait);
                    let marked = marked.inspect_err(|error| is_refused = conn.is_refusal(error));
                    if marked? == 0 {
                        stage.set(Stage::LockLost);
                        return Err(DieselError::RollbackTransaction);
                    }
                    value = Some(done);
                    stage.set(Stage::Committing);
                    Ok(())
                },
            );
            let error = match (done, trouble) {
                (Ok(()), _) => match value.take() {
                    Some(value) => return Ok(Try::Over(Outcome::Committed(value))),
                    None => DieselError::NotInTransaction,
                },
                (Err(_), Some(Trouble::Error(source)))
                    if cause.is_some_and(|cause| self.makes_way(conn, cause, &*source)) =>
                {
                    return Ok(Try::Over(Outcome::MadeWay {
                        source,
                        doubtful: false,
                        is_conflict: true,
                    }));
                }
                (Err(_), Some(Trouble::Error(source))) => {
                    let shared_session = of_shared_session(&*source);
                    let trouble = Trouble::Error(source);
                    let Some(error) = shared_session else {
                        return Ok(Try::Over(Outcome::Failed(trouble)));
                    };
                    trouble.discard();
                    return Err(Fault::Final(error));
                }
                (Err(_), Some(trouble)) => return Ok(Try::Over(Outcome::Failed(trouble))),
                (Err(error), None) => error,
            };
            if stage.get() == Stage::LockLost {
                return Ok(Try::Over(Outcome::LockLost));
            }
            if stage.get() == Stage::Beginning {
                return Err(Fault::Database(error));
            }
            let mut verdict = retry::judge(conn, &error);
            if verdict == Verdict::Unclear && retry::learn_language(&self.pool, conn) {
                verdict = retry::judge(conn, &error);
            }
            Ok(Try::Over(match (verdict, stage.get(), value) {
                (Verdict::WrongWay, ..) => return Err(Fault::Final(error)),
                (Verdict::Broken, Stage::Committing, Some(value)) => {
                    return Ok(Try::CommitUnknown(value, error));
                }
                (Verdict::Passing | Verdict::Broken, ..) => Outcome::MadeWay {
                    source: error.into(),
                    doubtful: false,
                    is_conflict: verdict == Verdict::Passing,
                },
                (_, stage, _) if stage == Stage::Working || is_refused => {
                    Outcome::Failed(Trouble::Error(EndedEarly(error).into()))
                }
                (Verdict::Permanent | Verdict::Unclear, ..) => {
                    Outcome::Failed(Trouble::Error(error.into()))
                }
            }))
        })
    }

    /// Whether the business logic's error, of this cause, is the database's, by
    /// which it rolled back one transaction for the sake of another. The loss of
    /// a connection is not: a job that brings down its connection each time has
    /// to come to an end.
    fn makes_way(&self, conn: &mut C, cause: Cause, error: &(dyn StdError + 'static)) -> bool {
        match cause {
            Cause::Held | Cause::Conflict => true,
            Cause::Unclear => {
                !conn.knows_language()
                    && retry::learn_language(&self.pool, conn)
                    && matches!(
                        cause_of_all(conn, error),
                        Some(Cause::Held | Cause::Conflict)
                    )
            }
            _ => false,
        }
    }

    /// Finds out whether the commit landed, by giving the job back: a server
    /// that is still at the commit has the row locked, and keeps this waiting.
    fn trace_commit(&self) -> Result<bool> {
        let release = self.release();
        retry::run(&self.pool, &JobName::<J>(&self.lease.key), |conn, again| {
            if release.write(conn, &self.lease, &self.step, LockWait::Briefly)? > 0 {
                return Ok(false);
            }
            let mut landed = |status| landing::<J, C>(conn, &self.lease, &self.step, status);
            if again && matches!(landed(self.released_status()), Ok(Some(Landing::Landed))) {
                return Ok(false);
            }
            Ok(landed(self.step.succeeded)? == Some(Landing::Landed))
        })
    }
}

/// The cause of the business logic's error, where it may be one to make way for
/// and the database's is among its sources: asked right after it. A `Retry` says
/// itself what is to follow.
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

/// The error by which the business logic's statements met another client's, as
/// the database told it: it is not the job's.
fn of_shared_session(error: &(dyn StdError + 'static)) -> Option<DieselError> {
    let error = database_errors(error).find(|error| retry::is_of_shared_session(error))?;
    let kind = DatabaseErrorKind::Unknown;
    Some(DieselError::DatabaseError(
        kind,
        Box::new(error.to_string()),
    ))
}
