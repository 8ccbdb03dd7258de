//! The table, and the statements on it: each is one step, as a database
//! executes it. The conditions are those of `src/job_table/store.rs`.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use status_protocol::{RowState, Step};

pub const JOBS: usize = 2;
pub const MAX_RETRY: u8 = 2;

/// What a fencing token is here: a number.
pub type Token = u8;

/// When a lock was written: the how manyeth time that was done.
pub type Stamp = u8;

/// The `lock_at` of a row that was never claimed.
pub const NEVER: Stamp = 0;

/// The database's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Clock {
    /// The last stamp.
    pub last: Stamp,
    /// Locks of this stamp, and of those before it, have expired.
    pub old: Stamp,
}

impl Clock {
    pub fn stamp(&mut self, out: Option<Guard>) -> Stamp {
        if out != Some(Guard::FineClock) {
            self.last += 1;
        }
        self.last
    }

    /// For longer than any lock stands.
    pub fn pass(&mut self) {
        self.old = self.last;
        self.last += 1;
    }

    pub fn is_fresh(&self, stamp: Stamp) -> bool {
        stamp > self.old
    }

    /// As the crate sees it: the old stamps lie far back.
    pub fn time(&self, stamp: Stamp) -> DateTime<Utc> {
        let age = if self.is_fresh(stamp) { 1 } else { 1000 };
        self.now() - TimeDelta::seconds(age) + TimeDelta::microseconds(stamp.into())
    }

    fn now(&self) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    Pending,
    InProgress,
    Failed,
    Succeeded,
    Ignored,
}

/// A status code: of which step, and which of its five.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(pub u8, pub Phase);

/// The second step starts where the first has succeeded.
pub static STEPS: [Step<Code>; 2] = [step(0, &[]), step(1, &[Code(0, Phase::Succeeded)])];

const fn step(n: u8, more_pending: &'static [Code]) -> Step<Code> {
    Step {
        pending: Code(n, Phase::Pending),
        in_progress: Code(n, Phase::InProgress),
        failed: Code(n, Phase::Failed),
        succeeded: Code(n, Phase::Succeeded),
        ignored: Code(n, Phase::Ignored),
        more_pending,
        lock_expire: Duration::from_secs(60),
        max_retry: MAX_RETRY as i32,
        retry_delay: None,
        max_conflicts: 10,
        has_run_at: false,
        redact: |_| {},
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Row {
    /// This job kills every worker that runs it.
    pub kills: bool,
    pub status: Code,
    pub lock: Option<Token>,
    pub lock_at: Stamp,
    pub retry: u8,
    /// Steps that have succeeded; no column, but what really happened.
    pub done: u8,
    /// Attempts that have failed since, no column either.
    pub failures: u8,
}

/// What an attempt writes at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ending {
    Success(Code),
    Failure(Code, u8),
    Release(Code),
}

impl Ending {
    pub fn status(self) -> Code {
        match self {
            Self::Success(status) | Self::Failure(status, _) | Self::Release(status) => status,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Statement {
    /// `claim_row`, or `claim_rows` where it goes for all jobs.
    Claim {
        job: Option<u8>,
        step: u8,
        token: Token,
    },
    /// `succeed_row`, `fail_row`, `release_rows`.
    End {
        job: u8,
        token: Token,
        ending: Ending,
    },
    /// `renew_rows`, `save_row`.
    Renew { job: u8, token: Token },
    /// `expire_row`.
    Expire {
        job: u8,
        step: u8,
        token: Token,
        status: Code,
        retry: u8,
    },
}

/// What keeps the protocol right. A test takes out one, and sees what breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// An attempt's write demands its token.
    FenceOfToken,
    /// An attempt's write demands its key.
    FenceOfKey,
    /// A claim demands a row that nobody works on. The lock and the status
    /// both say so: to take out one of them alone breaks nothing.
    ClaimOfFree,
    /// A claim demands one of the statuses that are ready.
    ClaimOfReady,
    /// An expiry demands the token that was found dead.
    ExpiryOfToken,
    /// An expiry demands, once more, that the lock is old.
    ExpiryOfOld,
    /// A step expires only what it has in progress itself.
    ExpiryOfOwn,
    /// An expiry is one more failure.
    ExpiryCounts,
    /// Locks expire at all.
    Expiry,
    /// No two locks are written at the same moment.
    FineClock,
    /// A claim whose answer was lost looks for its token.
    ClaimLooksUp,
    /// A claim that is sent again has a token of its own.
    FreshToken,
    /// An end whose answer was lost is looked up.
    EndLooksUp,
}

impl Row {
    pub fn new(kills: bool) -> Self {
        Self {
            kills,
            status: STEPS[0].pending,
            lock: None,
            lock_at: NEVER,
            retry: 0,
            done: 0,
            failures: 0,
        }
    }

    /// What `row_state` reads.
    pub fn state(&self, clock: &Clock) -> RowState<Code> {
        RowState {
            status: self.status,
            lock: self.lock.map(|token| token.to_string()),
            lock_at: (self.lock_at != NEVER).then(|| clock.time(self.lock_at)),
            retry: self.retry.into(),
            run_at: None,
            now: clock.now(),
        }
    }

    /// `WHERE`, for the row of this job.
    pub fn takes(&self, row: u8, statement: &Statement, clock: &Clock, out: Option<Guard>) -> bool {
        let guarded = |guard| out != Some(guard);
        let is = |job| job == row || !guarded(Guard::FenceOfKey);
        let held = |token| self.lock == Some(token) || !guarded(Guard::FenceOfToken);
        match *statement {
            Statement::Claim { job, step, .. } => {
                job.is_none_or(|job| job == row) && self.is_ready(step, out)
            }
            Statement::End { job, token, .. } | Statement::Renew { job, token } => {
                is(job) && held(token)
            }
            Statement::Expire {
                job, step, token, ..
            } => {
                job == row
                    && (self.lock == Some(token) || !guarded(Guard::ExpiryOfToken))
                    && if guarded(Guard::ExpiryOfOld) {
                        self.is_expired(step, clock, out)
                    } else {
                        self.lock.is_some()
                    }
            }
        }
    }

    /// `ready!`
    pub fn is_ready(&self, step: u8, out: Option<Guard>) -> bool {
        let free = self.lock.is_none() || out == Some(Guard::ClaimOfFree);
        let step = &STEPS[usize::from(step)];
        let ready = out == Some(Guard::ClaimOfReady)
            || self.status == step.pending
            || self.status == step.failed
            || step.more_pending.contains(&self.status)
            || out == Some(Guard::ClaimOfFree) && self.status == step.in_progress;
        free && ready
    }

    /// `expired!`
    pub fn is_expired(&self, step: u8, clock: &Clock, out: Option<Guard>) -> bool {
        let own =
            self.status == STEPS[usize::from(step)].in_progress || out == Some(Guard::ExpiryOfOwn);
        out != Some(Guard::Expiry) && self.lock.is_some() && own && !clock.is_fresh(self.lock_at)
    }

    /// `SET`
    pub fn set(&mut self, statement: &Statement, now: Stamp) {
        match *statement {
            Statement::Claim { step, token, .. } => {
                self.status = STEPS[usize::from(step)].in_progress;
                self.lock = Some(token);
                self.lock_at = now;
            }
            Statement::End { ending, .. } => {
                self.lock = None;
                self.status = ending.status();
                match ending {
                    Ending::Success(_) => {
                        self.retry = 0;
                        self.done += 1;
                        self.failures = 0;
                    }
                    Ending::Failure(_, retry) => {
                        self.retry = retry;
                        self.failures += 1;
                    }
                    Ending::Release(_) => {}
                }
            }
            Statement::Renew { .. } => self.lock_at = now,
            Statement::Expire { status, retry, .. } => {
                self.lock = None;
                self.status = status;
                self.retry = retry;
                self.failures += 1;
            }
        }
    }
}
