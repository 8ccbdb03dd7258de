//! The item, the workers, and what they know.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use status_protocol::{RowState, Step};

pub type Code = u8;
pub type Token = u8;

pub const WORKERS: usize = 2;

pub const STEP: Step<Code> = Step {
    pending: 1,
    in_progress: 2,
    failed: 3,
    succeeded: 4,
    ignored: 5,
    more_pending: &[],
    lock_expire: LOCK_EXPIRE,
    max_retry: 3,
    retry_delay: None,
    max_conflicts: 10,
    has_run_at: true,
    redact: |_| {},
};

/// Two ticks of the model, less a moment: a lock is old when two ticks have passed.
const LOCK_EXPIRE: Duration = Duration::from_secs(119);
const TICK: TimeDelta = TimeDelta::seconds(60);
/// Ticks after which nothing more is to be told apart.
pub const OLDEST: u8 = 2;

/// How far each worker's wall clock is ahead.
const AHEAD: [TimeDelta; WORKERS] = [TimeDelta::hours(-5), TimeDelta::hours(9)];

/// A rule that a test takes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    OwnWatch,
    UnchangedCounter,
    WatchBeginsAnew,
    ClaimDemandsReady,
    ClaimDemandsFree,
    Fence,
    ClaimNumber,
    LookUpByToken,
}

/// A promise that was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Breach {
    /// An attempt that renews in time was expired.
    LiveAttemptExpired,
    /// An attempt began after the job had succeeded.
    RunAfterSuccess,
    /// An attempt began while another one held the job.
    TwoHolders,
    /// A write landed after its attempt was expired, or had ended.
    LateWrite,
    /// A worker believes in a success that was not written.
    FalseReport,
}

/// The item in DynamoDB. The counter of renewals is not kept as a number: each watch
/// knows whether it has changed since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Item {
    pub status: Code,
    pub lock: Option<Token>,
    pub last_lock: Option<Token>,
    pub retry: u8,
    /// Who wrote `lock_at`, and how many ticks ago.
    pub stamped: Option<(usize, u8)>,
}

/// What a worker does with the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activity {
    Idle,
    Running(Attempt),
    /// The answer to its success was lost.
    Unsure(Attempt),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Attempt {
    pub token: Token,
    pub retry: u8,
    /// It renews before each tick.
    pub renews: bool,
    pub renewed: bool,
    /// Its claim has arrived a second time, and the item has another number.
    pub superseded: bool,
    /// It was expired, which it does not know.
    pub expired: bool,
    /// Its success was written, which it does not know.
    pub written: bool,
}

/// A lock that a worker watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Watch {
    pub token: Token,
    /// Neither the token nor the counter has changed since it was seen.
    pub unchanged: bool,
    pub age: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct State {
    pub item: Item,
    /// The lock before the last change, which an old read still shows.
    pub before: Option<Token>,
    pub workers: [Activity; WORKERS],
    pub watches: [Option<Watch>; WORKERS],
    /// A second copy of a claim, which the network delivers later.
    pub late: Option<Token>,
    pub crashes: u8,
    pub stalls: u8,
    pub lost_answers: u8,
    pub late_claims: u8,
    pub breach: Option<Breach>,
}

impl State {
    pub fn new() -> Self {
        Self {
            item: Item {
                status: STEP.pending,
                lock: None,
                last_lock: None,
                retry: 0,
                stamped: None,
            },
            before: None,
            workers: [Activity::Idle; WORKERS],
            watches: [None; WORKERS],
            late: None,
            crashes: 2,
            stalls: 1,
            lost_answers: 1,
            late_claims: 1,
            breach: None,
        }
    }

    pub fn has_ended(&self) -> bool {
        self.item.lock.is_none() && [STEP.succeeded, STEP.ignored].contains(&self.item.status)
    }

    /// The smallest token that nobody knows.
    pub fn new_token(&self) -> Token {
        let attempts = self.workers.iter().filter_map(|activity| match activity {
            Activity::Idle => None,
            Activity::Running(attempt) | Activity::Unsure(attempt) => Some(attempt.token),
        });
        let watched = self.watches.iter().flatten().map(|watch| watch.token);
        let item = [self.item.lock, self.item.last_lock, self.late, self.before];
        let known: Vec<_> = attempts
            .chain(watched)
            .chain(item.into_iter().flatten())
            .collect();
        (1..).find(|token| !known.contains(token)).unwrap()
    }

    /// Something has written to the lock.
    pub fn lock_changes(&mut self, lock: Option<Token>) {
        self.before = self.item.lock;
        self.item.lock = lock;
        self.watches
            .iter_mut()
            .flatten()
            .for_each(|watch| watch.unchanged = false);
    }

    /// The item as `worker` sees it, in its own wall clock: `watched` ticks ago it saw
    /// the lock first.
    pub fn row(&self, worker: usize, watched: u8) -> RowState<Code> {
        let now = DateTime::<Utc>::UNIX_EPOCH + TimeDelta::days(1) + AHEAD[worker];
        RowState {
            status: self.item.status,
            lock: self.item.lock.map(|token| token.to_string()),
            lock_at: self.item.lock.map(|_| now - TICK * i32::from(watched)),
            retry: self.item.retry.into(),
            run_at: None,
            now,
        }
    }

    /// The same with the stamp that the holder wrote by its own wall clock.
    pub fn row_by_stamp(&self, worker: usize) -> RowState<Code> {
        let mut row = self.row(worker, 0);
        row.lock_at = self
            .item
            .stamped
            .map(|(by, ago)| row.now - AHEAD[worker] + AHEAD[by] - TICK * i32::from(ago));
        row
    }
}
