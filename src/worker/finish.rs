//! The ends of attempts, written in groups.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use diesel::QueryResult;

use crate::apart::all_or_each;
use crate::connection::{TrackerConnection, together};
use crate::ending::{Ending, Landing, landing};
use crate::error::{BoxError, Error};
use crate::panics::{caught, discard};
use crate::protocol::Step;
use crate::retry::{self, Fault};
use crate::running::{RunningJob, Trouble};
use crate::statement::LockWait;
use crate::store::{JobStore, Obstacle};
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
    /// What the last try came to.
    pub fate: Fate,
    /// Why it was given up, where that is no fault of the job's.
    pub error: Option<Error>,
    refusals: u32,
}

/// What a try to write an end came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is written, or lost: `job.ended` tells.
    Over,
    /// Not yet: another transaction holds the row, or the database refuses it.
    OfItsOwn,
    /// Not yet: no end can be written now.
    OfAll,
}

impl<J: JobStore<C>, C: TrackerConnection> Finish<J, C> {
    pub fn new(job: Box<RunningJob<J, C>>, ending: Ending<J>, begun: Option<Instant>) -> Self {
        Self {
            job,
            ending,
            begun,
            doubtful: false,
            tries: 0,
            fate: Fate::OfAll,
            error: None,
            refusals: 0,
        }
    }

    /// No more tries: the lock will expire.
    pub fn give_up(&mut self) {
        tracing::error!(job = self.job.name(), "given up; its lock will expire");
        self.job.ended = Some(Transition::Lost);
        self.fate = Fate::Over;
    }

    fn is_over(&mut self, landing: Landing) {
        self.fate = Fate::Over;
        match landing {
            Landing::Landed => self.job.landed(&self.ending),
            Landing::Lost => {
                self.job.ended = Some(Transition::Lost);
                self.job.lock_lost();
            }
        }
    }

    fn is_put_back(&mut self, fate: Fate) {
        self.fate = fate;
        self.job.ended = None;
    }
}

/// Writes the ends, and notes the fate of each.
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
            finish.fate = Fate::Over;
        } else if finish.doubtful || finish.tries > 1 {
            alone.push(finish);
        } else {
            fresh.push(finish);
        }
    }
    let mut can_be_written = true;
    if fresh.len() > 1 {
        let write = || write_together(&mut fresh, step);
        can_be_written = caught("the end of a job", write).unwrap_or_else(|_| {
            // As it is found when each is written alone.
            fresh.iter_mut().for_each(|finish| {
                finish.doubtful = true;
                finish.is_put_back(Fate::OfAll);
            });
            true
        });
        fresh.retain(|finish| finish.fate == Fate::OfAll);
    }
    for finish in alone.into_iter().chain(fresh) {
        // Each of them would wait for as long as the first.
        if can_be_written {
            write_alone(finish, step);
            can_be_written = finish.fate != Fate::OfAll;
        } else {
            finish.is_put_back(Fate::OfAll);
        }
    }
}

/// Writes one end, whatever became of earlier tries.
fn write_alone<J: JobStore<C>, C: TrackerConnection>(
    finish: &mut Finish<J, C>,
    step: &Step<J::Status>,
) {
    let Finish { job, ending, .. } = finish;
    let doubtful = finish.doubtful;
    let wait = if finish.tries > 1 {
        LockWait::Never
    } else {
        LockWait::Briefly
    };
    // What the user's code does when the updates are written may panic.
    let mut is_broken = false;
    let write = || {
        retry::run_noting(
            &job.pool,
            &mut is_broken,
            &job.name(),
            |conn, again| match ending.write_once(conn, &job.lease, step, doubtful || again, wait) {
                Err(Fault::Database(error)) if retry::is_held(conn, &error) => Ok(None),
                other => other.map(Some),
            },
        )
    };
    let landing = match catch_unwind(AssertUnwindSafe(write)) {
        Ok(landing) => landing,
        Err(panic) => {
            finish.fate = Fate::Over;
            job.record_panic(ending, &*panic);
            return discard("the drop of a panic's payload", panic);
        }
    };
    let error = match landing {
        Ok(Some(landing)) => return finish.is_over(landing),
        Ok(None) => return finish.is_put_back(Fate::OfItsOwn),
        Err(error) => error,
    };
    tracing::warn!(%error, "the end of an attempt is not recorded");
    match error {
        // The database may answer again by now. It has refused nothing.
        Error::Database { .. } if is_broken => {
            finish.doubtful = true;
            finish.is_put_back(Fate::OfAll);
        }
        Error::Database { source, .. } => {
            let answers = retry::run(&finish.job.pool, &finish.job.name(), |conn: &mut C, _| {
                Ok(conn.ping()?)
            });
            if answers.is_ok() && !retry::is_passing::<C>(&source) {
                refused(finish, source);
            } else {
                finish.doubtful = true;
                finish.is_put_back(Fate::OfAll);
            }
        }
        Error::Pool { .. } => finish.is_put_back(Fate::OfAll),
        error => {
            finish.give_up();
            finish.error = Some(error);
        }
    }
}

/// Notes that the database refuses an end. When it has done so often enough,
/// the end is written as a failure instead.
fn refused<J: JobStore<C>, C: TrackerConnection>(
    finish: &mut Finish<J, C>,
    source: diesel::result::Error,
) {
    finish.refusals += 1;
    if finish.refusals < MOST_REFUSALS {
        return finish.is_put_back(Fate::OfItsOwn);
    }
    finish.fate = Fate::Over;
    let trouble = Trouble::Error(BoxError::from(source));
    let failure = finish.job.ending_after(&trouble);
    if let Err(error) = finish.job.end(&failure, true) {
        tracing::error!(%error, "given up; its lock will expire");
    }
}

/// The ends of one token that set nothing but the success mark.
struct Alike<K> {
    token: Arc<str>,
    members: Vec<usize>,
    keys: Vec<K>,
}

/// What is to be written together.
struct Plan<K> {
    alike: Vec<Alike<K>>,
    /// Those that set something else.
    single: Vec<usize>,
}

impl<K: Clone> Plan<K> {
    fn of<J: JobStore<C, Key = K>, C: TrackerConnection>(group: &[&mut Finish<J, C>]) -> Self {
        let mut plan = Self {
            alike: Vec::new(),
            single: Vec::new(),
        };
        for (n, finish) in group.iter().enumerate() {
            let sets_nothing = match &finish.ending {
                Ending::Success(updates) => J::sets_nothing(updates).unwrap_or(false),
                _ => false,
            };
            if !sets_nothing {
                plan.single.push(n);
                continue;
            }
            let lease = &finish.job.lease;
            let key = lease.key.clone();
            let mut alike = plan.alike.iter_mut();
            match alike.find(|alike| alike.token == lease.token) {
                Some(alike) => {
                    alike.members.push(n);
                    alike.keys.push(key);
                }
                None => plan.alike.push(Alike {
                    token: lease.token.clone(),
                    members: vec![n],
                    keys: vec![key],
                }),
            }
        }
        plan
    }

    fn statements(&self) -> usize {
        self.alike.len() + self.single.len()
    }
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

/// Which ends landed: each with whether it did, or what kept it.
type Written = Vec<(usize, Result<bool, Obstacle>)>;

/// Writes the ends in as few statements as can be: those that set nothing
/// else together, the others each by its own, in one transaction.
fn write_as_planned<J: JobStore<C>, C: TrackerConnection>(
    conn: &mut C,
    group: &[&mut Finish<J, C>],
    plan: &Plan<J::Key>,
    step: &Step<J::Status>,
) -> QueryResult<Written> {
    together(conn, plan.statements(), |conn: &mut C| -> QueryResult<_> {
        let mut landed = vec![false; group.len()];
        for alike in &plan.alike {
            let count = J::succeed_rows(conn, &alike.keys, &alike.token, step)?;
            if count == alike.keys.len() {
                alike.members.iter().for_each(|n| landed[*n] = true);
            } else {
                let held = which_landed(conn, group, &alike.members, step)?;
                held.into_iter().for_each(|n| landed[n] = true);
            }
        }
        for n in &plan.single {
            landed[*n] = write_one(conn, group, *n, step, LockWait::Briefly)?;
        }
        Ok(landed.into_iter().map(Ok).enumerate().collect())
    })
}

fn write_one<J: JobStore<C>, C: TrackerConnection>(
    conn: &mut C,
    group: &[&mut Finish<J, C>],
    n: usize,
    step: &Step<J::Status>,
    wait: LockWait,
) -> QueryResult<bool> {
    let Finish { job, ending, .. } = &*group[n];
    Ok(ending.write(conn, &job.lease, step, wait)? > 0)
}

/// Writes the ends together, or each apart from the others where one of them
/// is in the way. Tells whether the database can be had: where an answer was
/// lost, each has to be looked up.
fn write_together<J: JobStore<C>, C: TrackerConnection>(
    group: &mut [&mut Finish<J, C>],
    step: &Step<J::Status>,
) -> bool {
    let Some(first) = group.first() else {
        return true;
    };
    let pool = first.job.pool.clone();
    let plan = Plan::of(group);
    let written = retry::run(&pool, &J::TABLE, |conn: &mut C, doubtful| {
        if doubtful {
            return Ok(None);
        }
        let written = all_or_each(
            conn,
            0..group.len(),
            |conn| write_as_planned(conn, group, &plan, step),
            |conn, n| write_one(conn, group, *n, step, LockWait::Never),
        );
        written.map(Some).map_err(Fault::Database)
    });
    match written {
        Ok(Some(written)) => {
            for (n, landed) in written {
                let finish = &mut *group[n];
                match landed {
                    Ok(true) => finish.is_over(Landing::Landed),
                    Ok(false) => finish.is_over(Landing::Lost),
                    Err(Obstacle::Refused(error) | Obstacle::Unreadable(error)) => {
                        refused(finish, error);
                    }
                    Err(Obstacle::Held | Obstacle::Dropped) => {
                        finish.is_put_back(Fate::OfItsOwn);
                    }
                }
            }
            true
        }
        outcome => {
            for finish in group {
                finish.doubtful = true;
                finish.is_put_back(Fate::OfAll);
            }
            if let Err(error) = &outcome {
                tracing::warn!(%error, "ends of attempts are not recorded");
            }
            outcome.is_ok()
        }
    }
}
