//! Exactly once: the business writes and the success mark in one transaction.

use std::cell::Cell;
use std::error::Error as StdError;
use std::panic::{AssertUnwindSafe, catch_unwind};

use diesel::result::{DatabaseErrorKind, Error as DieselError};

use crate::connection::TrackerConnection;
use crate::ending::{Ending, Landing, landing};
use crate::error::{BoxError, Result, causes};
use crate::retry::{self, Fault, Verdict};
use crate::running::{RunningJob, Trouble};
use crate::signal::wish_of;
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
enum Outcome<T> {
    Committed(T),
    LockLost,
    /// Rolled back, for the job's own fault.
    Failed(Trouble),
    /// Rolled back to make way for another transaction, or with the connection.
    MadeWay(BoxError),
    /// The connection broke at the commit.
    Unknown(T, DieselError),
}

/// What became of a commit whose answer was lost.
enum Traced {
    Committed,
    Released,
    Lost,
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
        // Whatever comes, it is not for the drop to try once more.
        self.ended = Some(Transition::Lost);
        match self.transact(work)? {
            Outcome::Committed(value) => {
                self.landed(&Ending::Success(J::Updates::default()));
                Ok(value)
            }
            Outcome::LockLost => Err(self.lock_lost()),
            Outcome::Failed(trouble) => {
                let ending = self.ending_after(&trouble);
                Err(self.end_in_trouble(&ending, trouble))
            }
            Outcome::MadeWay(source) => {
                let release = self.release();
                self.end(&release, false)?;
                Err(self.failed(source))
            }
            Outcome::Unknown(value, source) => match self.trace_commit()? {
                Traced::Committed => {
                    self.landed(&Ending::Success(J::Updates::default()));
                    Ok(value)
                }
                Traced::Released => {
                    let release = self.release();
                    self.landed(&release);
                    Err(self.failed(source.into()))
                }
                Traced::Lost => Err(self.lock_lost()),
            },
        }
    }

    fn transact<T>(
        &mut self,
        work: impl FnOnce(&mut C, &J, &mut J::Updates) -> Result<T, BoxError>,
    ) -> Result<Outcome<T>> {
        let updates = std::mem::take(&mut self.updates);
        // Taken once a transaction has begun: the work is never run twice.
        let mut work = Some((work, updates));
        retry::run(&self.pool, &JobName::<J>(&self.lease.key), |conn, _| {
            let stage = Cell::new(Stage::Beginning);
            let (mut trouble, mut value) = (None, None);
            let done = conn.both_or_neither(
                |conn| {
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
                    if J::succeed_row(conn, key, token, &updates, &self.step)? == 0 {
                        stage.set(Stage::LockLost);
                        return Err(DieselError::RollbackTransaction);
                    }
                    value = Some(done);
                    stage.set(Stage::Committing);
                    Ok(())
                },
            );
            let error = match (done, value.take(), trouble) {
                (Ok(()), Some(value), _) => return Ok(Outcome::Committed(value)),
                (_, _, Some(trouble)) => {
                    return Ok(match trouble {
                        Trouble::Error(error) if made_way::<C>(&*error) => Outcome::MadeWay(error),
                        trouble => Outcome::Failed(trouble),
                    });
                }
                (Err(error), done, None) => {
                    value = done;
                    error
                }
                (Ok(()), None, None) => DieselError::NotInTransaction,
            };
            if stage.get() == Stage::LockLost {
                return Ok(Outcome::LockLost);
            }
            if stage.get() == Stage::Beginning {
                return Err(Fault::Database(error));
            }
            Ok(match (retry::judge(conn, &error), stage.get(), value) {
                (Verdict::Broken, Stage::Committing, Some(value)) => Outcome::Unknown(value, error),
                (Verdict::Passing | Verdict::Broken, ..) => Outcome::MadeWay(error.into()),
                (Verdict::Permanent, Stage::Working, _) => {
                    Outcome::Failed(Trouble::Error(EndedEarly(error).into()))
                }
                (Verdict::Permanent, ..) if is_refused(&error) => {
                    Outcome::Failed(Trouble::Error(EndedEarly(error).into()))
                }
                (Verdict::Permanent, ..) => Outcome::Failed(Trouble::Error(error.into())),
            })
        })
    }

    /// Finds out what became of the commit, by giving the job back: a server
    /// that is still at the commit has the row locked, and keeps this waiting.
    fn trace_commit(&self) -> Result<Traced> {
        let released = self.release();
        retry::run(&self.pool, &JobName::<J>(&self.lease.key), |conn, again| {
            if released.write(conn, &self.lease, &self.step)? > 0 {
                return Ok(Traced::Released);
            }
            let status = self.released_status();
            if again
                && let Ok(Some(Landing::Landed)) =
                    landing::<J, C>(conn, &self.lease, &self.step, status)
            {
                return Ok(Traced::Released);
            }
            let commit = landing::<J, C>(conn, &self.lease, &self.step, self.step.succeeded)?;
            Ok(match commit {
                Some(Landing::Landed) => Traced::Committed,
                _ => Traced::Lost,
            })
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
            .any(|error| match error {
                DieselError::DatabaseError(DatabaseErrorKind::SerializationFailure, _) => true,
                DieselError::DatabaseError(DatabaseErrorKind::Unknown, information) => C::CONFLICTS
                    .iter()
                    .any(|part| information.message().contains(part)),
                _ => false,
            })
}

/// PostgreSQL's answer to whatever follows an error in a transaction.
fn is_refused(error: &DieselError) -> bool {
    matches!(error, DieselError::DatabaseError(_, information)
        if information.message().contains("current transaction is aborted"))
}
