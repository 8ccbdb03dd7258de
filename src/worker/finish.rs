//! The ends of attempts, written in groups.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use diesel::QueryResult;
use diesel::result::Error as DieselError;

use crate::apart::{Mode, all_or_each};
use crate::connection::{TrackerConnection, together};
use crate::ending::{Ending, Landing, landing};
use crate::error::{BoxError, Error};
use crate::panics::discard;
use crate::retry::{self, Fault, Verdict};
use crate::running::{RunningJob, Trouble};
use crate::statement::LockWait;
use crate::store::{JobStore, Obstacle};
use crate::transition::Transition;
use status_protocol::Step;
use status_protocol::panics::caught;

/// Tries after which an end that the database refuses, though it answers,
/// counts as the job's own fault: as with updates that break a constraint.
const MOST_REFUSALS: u32 = 3;

/// Tries of a group whose transaction is rolled back in favour of another,
/// before each end is written alone.
const TRIES_TOGETHER: u32 = 3;

/// Ends that are tried in a row, though the database rolls them back or takes
/// no write at all: the locks of the others are not renewed meanwhile.
const MOST_IN_VAIN: usize = 2;

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
    /// The last try failed, and so did a renewal of the job's lock.
    pub is_stuck: bool,
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
            is_stuck: false,
            error: None,
            refusals: 0,
        }
    }

    /// No more tries.
    pub fn give_up(&mut self) {
        tracing::error!(job = self.job.name(), "given up; its lock will expire");
        self.lose();
    }

    fn lose(&mut self) {
        self.job.ended = Some(Transition::Lost);
        self.fate = Fate::Over;
    }

    fn come_to(&mut self, landing: Landing) {
        self.fate = Fate::Over;
        match landing {
            Landing::Landed => self.job.landed(&self.ending),
            Landing::Lost => {
                self.job.ended = Some(Transition::Lost);
                self.job.lock_lost();
            }
        }
    }

    fn put_back(&mut self, fate: Fate) {
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
        finish.is_stuck = false;
        if finish.job.is_lost() {
            // The row is another's: what this attempt did is dropped.
            finish.lose();
        } else if finish.doubtful || finish.tries > 1 {
            alone.push(finish);
        } else {
            fresh.push(finish);
        }
    }
    let mut progress = Progress::default();
    if fresh.len() > 1 {
        let write = || write_together(&mut fresh, step);
        progress.is_away = !caught("the end of a job", write).unwrap_or_else(|_| {
            // As it is found when each is written alone.
            fresh.iter_mut().for_each(|finish| {
                finish.doubtful = true;
                finish.put_back(Fate::OfAll);
            });
            true
        });
        progress.got_through = fresh.iter().any(|finish| finish.fate == Fate::Over);
        fresh.retain(|finish| finish.fate == Fate::OfAll);
    }
    let mut stuck = Vec::new();
    for finish in alone.into_iter().chain(fresh) {
        if progress.is_away {
            // Each of them would wait for as long as the first.
            finish.put_back(Fate::OfAll);
        } else if progress.in_vain >= MOST_IN_VAIN {
            if progress.got_through {
                // It is its turn the next time.
                finish.tries -= 1;
                finish.put_back(Fate::OfItsOwn);
            } else {
                finish.put_back(Fate::OfAll);
            }
        } else if let Some(error) = write_alone(finish, step, &mut progress) {
            stuck.push((finish, error));
        }
    }
    for (finish, error) in stuck {
        if progress.got_through {
            refused(finish, error);
        } else {
            finish.is_stuck = true;
            finish.put_back(Fate::OfAll);
        }
    }
}

/// What has become of a group so far.
#[derive(Default)]
struct Progress {
    /// The database has taken a write.
    got_through: bool,
    /// The database cannot be had.
    is_away: bool,
    /// Ends that were tried for long, and could not be written.
    in_vain: usize,
}

/// Writes one end, whatever became of earlier tries. Returns the error where
/// the database answers, but refuses the end, and a renewal of the lock, too:
/// it depends on the other ends whose fault that is.
fn write_alone<J: JobStore<C>, C: TrackerConnection>(
    finish: &mut Finish<J, C>,
    step: &Step<J::Status>,
    progress: &mut Progress,
) -> Option<DieselError> {
    let Finish { job, ending, .. } = finish;
    let wait = if finish.tries > 1 {
        LockWait::Never
    } else {
        LockWait::Briefly
    };
    let (doubtful, mut is_broken) = (finish.doubtful, false);
    // What the user's code does when the updates are written may panic.
    let write = || {
        retry::run(&job.pool, &job.name(), |conn, again| {
            is_broken = false;
            match ending.write_once(conn, &job.lease, step, doubtful || again, wait) {
                Err(Fault::Database(error)) if retry::is_held(conn, &error) => Ok(None),
                Err(Fault::Database(error)) => {
                    is_broken = retry::judge(conn, &error) == Verdict::Broken;
                    finish.doubtful |= is_broken;
                    Err(Fault::Database(error))
                }
                other => other.map(Some),
            }
        })
    };
    let landing = match catch_unwind(AssertUnwindSafe(write)) {
        Ok(landing) => landing,
        Err(panic) => {
            finish.fate = Fate::Over;
            job.record_panic(ending, &*panic);
            discard("the drop of a panic's payload", panic);
            return None;
        }
    };
    let error = match landing {
        Ok(Some(landing)) => {
            progress.got_through = true;
            finish.come_to(landing);
            return None;
        }
        Ok(None) => {
            finish.put_back(Fate::OfItsOwn);
            return None;
        }
        Err(error) => error,
    };
    match error {
        Error::Database { source, .. } if !is_broken => {
            tracing::warn!(job = job.name(), error = %source, "the end of an attempt is not recorded");
            return not_written(finish, source, progress);
        }
        error @ (Error::Database { .. } | Error::Pool { .. }) => {
            tracing::warn!(%error, "the end of an attempt is not recorded");
            progress.is_away = true;
            finish.put_back(Fate::OfAll);
        }
        error @ Error::OutcomeUnknown { .. } => {
            tracing::error!(%error, "given up: its row has changed since");
            finish.lose();
        }
        error => {
            tracing::warn!(%error, "the end of an attempt is not recorded");
            finish.give_up();
            finish.error = Some(error);
        }
    }
    None
}

/// Finds out whether the database refuses this end, or all writes: by a write
/// that changes nothing else, the renewal of the job's own lock.
fn not_written<J: JobStore<C>, C: TrackerConnection>(
    finish: &mut Finish<J, C>,
    source: DieselError,
    progress: &mut Progress,
) -> Option<DieselError> {
    let is_passing = retry::is_passing::<C>(&source);
    match finish.job.renew() {
        Ok(()) => {
            progress.got_through = true;
            progress.in_vain += usize::from(is_passing);
            refused(finish, source);
            None
        }
        Err(Error::LockLost { .. }) => {
            finish.lose();
            None
        }
        Err(error) => {
            tracing::warn!(%error, "nor can its lock be renewed");
            progress.in_vain += 1;
            Some(source)
        }
    }
}

/// Notes that the database refuses an end. When it has done so often enough,
/// the end is written as a failure instead.
fn refused<J: JobStore<C>, C: TrackerConnection>(finish: &mut Finish<J, C>, source: DieselError) {
    finish.refusals += 1;
    if finish.refusals < MOST_REFUSALS {
        return finish.put_back(Fate::OfItsOwn);
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
                let written = which_landed(conn, group, &alike.members, step)?;
                written.into_iter().for_each(|n| landed[n] = true);
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
/// is in the way. Those that are still [`Fate::OfAll`] then are to be written
/// alone. Tells whether the database can be had.
fn write_together<J: JobStore<C>, C: TrackerConnection>(
    group: &mut [&mut Finish<J, C>],
    step: &Step<J::Status>,
) -> bool {
    let Some(first) = group.first() else {
        return true;
    };
    let pool = first.job.pool.clone();
    let plan = Plan::of(group);
    let mut tries = 0;
    let written = retry::run(&pool, &J::TABLE, |conn: &mut C, doubtful| {
        if doubtful {
            return Ok(None);
        }
        tries += 1;
        let written = all_or_each(
            conn,
            Mode::Together,
            0..group.len(),
            |conn| write_as_planned(conn, group, &plan, step),
            |conn, n| write_one(conn, group, *n, step, LockWait::Never),
        );
        match written {
            // One of them may be the cause, at each try.
            Err(error)
                if tries >= TRIES_TOGETHER && retry::judge(conn, &error) == Verdict::Passing =>
            {
                tracing::warn!(table = J::TABLE, %error, "ends of attempts are written one by one");
                Ok(Some(Vec::new()))
            }
            other => other.map(Some).map_err(Fault::Database),
        }
    });
    match written {
        Ok(Some(written)) => {
            for (n, landed) in written {
                let finish = &mut *group[n];
                match landed {
                    Ok(true) => finish.come_to(Landing::Landed),
                    Ok(false) => finish.come_to(Landing::Lost),
                    // Alone it is found out whose fault that is.
                    Err(Obstacle::Refused(_) | Obstacle::Unreadable(_)) => {
                        finish.put_back(Fate::OfAll);
                    }
                    Err(Obstacle::Held | Obstacle::Dropped) => {
                        finish.put_back(Fate::OfItsOwn);
                    }
                }
            }
            true
        }
        outcome => {
            // Without a connection nothing was sent. Else an answer was lost,
            // and each has to be looked up.
            let doubtful = !matches!(outcome, Err(Error::Pool { .. }));
            for finish in group {
                finish.doubtful |= doubtful;
                finish.put_back(Fate::OfAll);
            }
            if let Err(error) = &outcome {
                tracing::warn!(%error, "ends of attempts are not recorded");
            }
            outcome.is_ok()
        }
    }
}
