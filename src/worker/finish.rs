//! The ends of attempts, written in groups.

use std::sync::Arc;
use std::time::Instant;

use diesel::QueryResult;

use crate::connection::{TrackerConnection, together};
use crate::ending::{Ending, Landing, landing};
use crate::error::{BoxError, Error};
use crate::protocol::Step;
use crate::retry::{self, Fault};
use crate::running::{RunningJob, Trouble};
use crate::store::JobStore;
use crate::transition::Transition;

/// Tries after which an end that the database refuses, though it answers,
/// counts as the job's own fault: as with updates that break a constraint.
const MOST_REFUSALS: u32 = 3;

/// The end of an attempt that is to be written.
pub(super) struct Finish<J: JobStore<C>, C: TrackerConnection> {
    pub job: Box<RunningJob<J, C>>,
    pub ending: Ending<J>,
    /// When the business logic began; `None` where it did not.
    pub begun: Option<Instant>,
    /// An earlier try may have landed.
    pub doubtful: bool,
    pub tries: u32,
    pub refusals: u32,
    /// Why it is not written.
    pub error: Option<Error>,
}

impl<J: JobStore<C>, C: TrackerConnection> Finish<J, C> {
    pub fn new(job: Box<RunningJob<J, C>>, ending: Ending<J>, begun: Option<Instant>) -> Self {
        Self {
            job,
            ending,
            begun,
            doubtful: false,
            tries: 0,
            refusals: 0,
            error: None,
        }
    }
}

/// Writes the ends; each either bears its transition then (`job.ended`), or is
/// to be tried again.
pub(super) fn write<J: JobStore<C>, C: TrackerConnection>(
    group: &mut [Finish<J, C>],
    step: &Step<J::Status>,
) {
    let mut fresh: Vec<&mut Finish<J, C>> = Vec::new();
    let mut alone = Vec::new();
    for finish in group {
        finish.tries += 1;
        if finish.job.is_lost() {
            // The row is another's: what this attempt did is dropped.
            finish.job.ended = Some(Transition::Lost);
        } else if finish.doubtful {
            alone.push(finish);
        } else {
            fresh.push(finish);
        }
    }
    if fresh.len() == 1 || !write_together(&mut fresh, step) {
        alone.append(&mut fresh);
    }
    for finish in alone {
        write_alone(finish);
    }
}

/// Writes one end, whatever became of earlier tries.
fn write_alone<J: JobStore<C>, C: TrackerConnection>(finish: &mut Finish<J, C>) {
    let Finish { job, ending, .. } = finish;
    let error = match job.end(ending, finish.doubtful) {
        Ok(()) | Err(Error::LockLost { .. }) => return,
        Err(error) => error,
    };
    tracing::warn!(%error, "the end of an attempt is not recorded");
    let Error::Database { source, .. } = error else {
        if matches!(error, Error::Pool { .. }) {
            finish.put_back();
        }
        finish.error = Some(error);
        return;
    };
    finish.put_back();
    let answers = retry::run(&finish.job.pool, &finish.job.name(), |conn: &mut C, _| {
        Ok(conn.ping()?)
    });
    if answers.is_ok() && !retry::is_passing::<C>(&source) {
        finish.refusals += 1;
    }
    if finish.refusals >= MOST_REFUSALS {
        // Once more, as a failure; then its lock is left to expire.
        finish.job.ended = Some(Transition::Lost);
        let failure = finish
            .job
            .ending_after(&Trouble::Error(BoxError::from(source)));
        if let Err(error) = finish.job.end(&failure, true) {
            tracing::error!(%error, "given up; its lock will expire");
        }
    }
}

impl<J: JobStore<C>, C: TrackerConnection> Finish<J, C> {
    fn put_back(&mut self) {
        self.doubtful = true;
        self.job.ended = None;
    }
}

/// The ends of one token that set nothing but the success mark.
struct Alike<K> {
    token: Arc<str>,
    members: Vec<usize>,
    keys: Vec<K>,
}

/// Which of the rows that were to be marked together bear the mark.
fn which_landed<J: JobStore<C>, C: TrackerConnection>(
    conn: &mut C,
    group: &[&mut Finish<J, C>],
    members: &[usize],
    step: &Step<J::Status>,
) -> QueryResult<Vec<usize>> {
    let mut landed = Vec::new();
    for n in members {
        match landing::<J, C>(conn, &group[*n].job.lease, step, step.succeeded) {
            Ok(Some(Landing::Landed)) => landed.push(*n),
            Err(Fault::Database(error) | Fault::Final(error)) => return Err(error),
            Ok(_) | Err(Fault::Untraceable) => {}
        }
    }
    Ok(landed)
}

/// Writes the ends in as few statements as can be: those that set nothing
/// else together, the others each by its own, in one transaction. Tells
/// whether that landed for all that still hold their lock; else nothing did.
fn write_together<J: JobStore<C>, C: TrackerConnection>(
    group: &mut [&mut Finish<J, C>],
    step: &Step<J::Status>,
) -> bool {
    let Some(first) = group.first() else {
        return true;
    };
    let pool = first.job.pool.clone();
    let mut alike: Vec<Alike<J::Key>> = Vec::new();
    let mut single = Vec::new();
    for (n, finish) in group.iter().enumerate() {
        let sets_nothing = match &finish.ending {
            Ending::Success(updates) => J::sets_nothing(updates).unwrap_or(false),
            _ => false,
        };
        if !sets_nothing {
            single.push(n);
            continue;
        }
        let lease = &finish.job.lease;
        let key = lease.key.clone();
        match alike.iter_mut().find(|alike| alike.token == lease.token) {
            Some(alike) => {
                alike.members.push(n);
                alike.keys.push(key);
            }
            None => alike.push(Alike {
                token: lease.token.clone(),
                members: vec![n],
                keys: vec![key],
            }),
        }
    }

    let statements = alike.len() + single.len();
    let written = retry::run(&pool, &J::TABLE, |conn: &mut C, doubtful| {
        if doubtful {
            // It may have landed: each has to be looked up.
            return Ok(None);
        }
        let write = |conn: &mut C| -> QueryResult<_> {
            let mut landed = vec![false; group.len()];
            for alike in &alike {
                let count = J::succeed_rows(conn, &alike.keys, &alike.token, step)?;
                if count == alike.keys.len() {
                    alike.members.iter().for_each(|n| landed[*n] = true);
                } else {
                    let held = which_landed(conn, group, &alike.members, step)?;
                    held.into_iter().for_each(|n| landed[n] = true);
                }
            }
            for n in &single {
                let Finish { job, ending, .. } = &*group[*n];
                landed[*n] = ending.write(conn, &job.lease, step)? > 0;
            }
            Ok(landed)
        };
        let landed = together(conn, statements, write);
        landed.map(Some).map_err(Fault::Database)
    });
    match written {
        Ok(Some(landed)) => {
            for (finish, landed) in group.iter_mut().zip(landed) {
                if landed {
                    finish.job.landed(&finish.ending);
                } else {
                    finish.job.ended = Some(Transition::Lost);
                    finish.job.lock_lost();
                }
            }
            true
        }
        outcome => {
            if let Err(error) = outcome {
                tracing::warn!(%error, "ends of attempts are not recorded together");
            }
            group.iter_mut().for_each(|finish| finish.put_back());
            false
        }
    }
}
