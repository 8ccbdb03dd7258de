//! Exactly once: the business writes and the success mark in one transaction.

use std::cell::Cell;
use std::error::Error as StdError;
use std::panic::{AssertUnwindSafe, catch_unwind};

use diesel::result::Error as DieselError;

use crate::causes::causes;
use crate::connection::TrackerConnection;
use crate::ending::{Ending, Landing, landing};
use crate::error::{BoxError, Error, Result};
use crate::panics::Discarded;
use crate::retry::{self, Fault, Verdict};
use crate::running::{RunningJob, Trouble};
use crate::signal::wish_of;
use crate::statement::LockWait;
use crate::store::{JobName, JobStore};
use crate::transition::Transition;

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
        match self.transact(work) {
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
    pub(crate) fn transact<T>(
        &mut self,
        work: impl FnOnce(&mut C, &J, &mut J::Updates) -> Result<T, BoxError>,
    ) -> Outcome<T> {
        let tried = catch_unwind(AssertUnwindSafe(|| self.try_once(work)));
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
        work: impl FnOnce(&mut C, &J, &mut J::Updates) -> Result<T, BoxError>,
    ) -> Result<Try<T>> {
        let updates = Discarded::new(std::mem::take(&mut self.updates));
        // Taken once a transaction has begun: the work is never run twice.
        let mut work = Some((work, updates));
        retry::run(&self.pool, &JobName::<J>(&self.lease.key), |conn, _| {
            let stage = Cell::new(Stage::Beginning);
            let (mut trouble, mut value) = (None, None);
            let done = conn.both_or_neither(
                |conn| {
                    if C::WRITERS == 1 && !self.still_holds(conn)? {
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
                        // Kept here, since an error of the rollback would take its place.
                        Ok(Err(error)) => trouble = Some(Trouble::Error(error)),
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
                    let (key, token) = (&self.lease.key, &self.lease.token);
                    if J::succeed_row(conn, key, token, &updates, &self.step, LockWait::Briefly)?
                        == 0
                    {
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
                (Err(_), Some(Trouble::Error(source))) if made_way::<C>(&*source) => {
                    return Ok(Try::Over(Outcome::MadeWay {
                        source,
                        doubtful: false,
                        is_conflict: true,
                    }));
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
            let verdict = retry::judge(conn, &error);
            Ok(Try::Over(match (verdict, stage.get(), value) {
                (Verdict::Broken, Stage::Committing, Some(value)) => {
                    return Ok(Try::CommitUnknown(value, error));
                }
                (Verdict::Passing | Verdict::Broken, ..) => Outcome::MadeWay {
                    source: error.into(),
                    doubtful: false,
                    is_conflict: verdict == Verdict::Passing,
                },
                (Verdict::Permanent, stage, _) if stage == Stage::Working || is_refused(&error) => {
                    Outcome::Failed(Trouble::Error(EndedEarly(error).into()))
                }
                (Verdict::Permanent, ..) => Outcome::Failed(Trouble::Error(error.into())),
            }))
        })
    }

    /// Whether the lock still stands, in a transaction that keeps all others from
    /// changing that. It may have waited for longer than the lock lasts. And a
    /// file that cannot be written to is found out before the work is done.
    fn still_holds(&self, conn: &mut C) -> diesel::QueryResult<bool> {
        let (key, token) = (std::slice::from_ref(&self.lease.key), &*self.lease.token);
        let renewed = J::renew_rows(conn, key, &[token], LockWait::Never)?;
        Ok(!renewed.is_empty())
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

/// Whether the business logic's error is the database's, by which it rolled
/// back one transaction for the sake of another. The loss of a connection is
/// not among them: a job that brings down its connection each time has to
/// come to an end.
fn made_way<C: TrackerConnection>(error: &(dyn StdError + 'static)) -> bool {
    wish_of(error).is_none()
        && causes(error)
            .filter_map(|error| error.downcast_ref::<DieselError>())
            .any(retry::is_conflict::<C>)
}

/// PostgreSQL's answer to whatever follows an error in a transaction.
fn is_refused(error: &DieselError) -> bool {
    matches!(error, DieselError::DatabaseError(_, information)
        if information.message().contains("current transaction is aborted"))
}
