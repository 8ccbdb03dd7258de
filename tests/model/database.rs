//! The table, and the statements on it. A database executes each in one step. The
//! conditions are those of `src/sql/statements.rs`.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use status_protocol::{RowState, Step};

pub const JOBS: usize = 2;
pub const MAX_RETRY: u8 = 2;

/// A fencing token is a number here.
pub type Token = u8;

/// When a lock was written: a number that grows with each write.
pub type Stamp = u8;

/// The `lock_at` of a row that was never claimed.
pub const NEVER: Stamp = 0;

/// The database's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Clock {
    /// The last stamp.
    pub last: Stamp,
    /// Locks with this stamp, or an earlier one, have expired.
    pub old: Stamp,
}

impl Clock {
    pub fn stamp(&mut self, out: Option<Rule>) -> Stamp {
        if out != Some(Rule::FineClock) {
            self.last += 1;
        }
        self.last
    }

    /// So much time passes that all locks expire.
    pub fn pass(&mut self) {
        self.old = self.last;
        self.last += 1;
    }

    pub fn is_fresh(&self, stamp: Stamp) -> bool {
        stamp > self.old
    }

    /// The stamp as a time for the crate: old stamps are long ago.
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

/// A status code: the step, and which of its five codes.
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
    /// Steps that have succeeded: not a column, but what really happened.
    pub done: u8,
    /// Attempts that have failed since; not a column either.
    pub failures: u8,
}

/// The outcome that an attempt writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    Success(Code),
    Failure(Code, u8),
    Release(Code),
}

impl Outcome {
    pub fn status(self) -> Code {
        match self {
            Self::Success(status) | Self::Failure(status, _) | Self::Release(status) => status,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Statement {
    /// `claim_row`, or `claim_rows` for all jobs.
    Claim {
        job: Option<u8>,
        step: u8,
        token: Token,
    },
    /// `succeed_row`, `fail_row`, `release_rows`.
    Complete {
        job: u8,
        token: Token,
        outcome: Outcome,
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

/// A rule of the protocol. A test takes one out, and shows what breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// An attempt's write needs its token.
    FenceOfToken,
    /// An attempt's write needs its key.
    FenceOfKey,
    /// A claim needs a row that nobody works on. The lock and the status both show
    /// that, so taking out one of them breaks nothing.
    ClaimOfFree,
    /// A claim needs one of the ready statuses.
    ClaimOfReady,
    /// An expiry needs the token that was found dead.
    ExpiryOfToken,
    /// An expiry checks again that the lock is old.
    ExpiryOfOld,
    /// A step expires only its own rows in progress.
    ExpiryOfOwn,
    /// An expiry counts as one more failure.
    ExpiryCounts,
    /// Locks expire.
    Expiry,
    /// No two locks have the same time.
    FineClock,
    /// After a lost answer a claim looks for its token.
    ClaimLooksUp,
    /// A claim that is sent again has a new token.
    FreshToken,
    /// After a lost answer an attempt looks whether its outcome was written.
    OutcomeLooksUp,
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

    /// The `WHERE`, for the row of this job.
    pub fn takes(&self, row: u8, statement: &Statement, clock: &Clock, out: Option<Rule>) -> bool {
        let keeps = |rule| out != Some(rule);
        let is = |job| job == row || !keeps(Rule::FenceOfKey);
        let held = |token| self.lock == Some(token) || !keeps(Rule::FenceOfToken);
        match *statement {
            Statement::Claim { job, step, .. } => {
                job.is_none_or(|job| job == row) && self.is_ready(step, out)
            }
            Statement::Complete { job, token, .. } | Statement::Renew { job, token } => {
                is(job) && held(token)
            }
            Statement::Expire {
                job, step, token, ..
            } => {
                job == row
                    && (self.lock == Some(token) || !keeps(Rule::ExpiryOfToken))
                    && if keeps(Rule::ExpiryOfOld) {
                        self.is_expired(step, clock, out)
                    } else {
                        self.lock.is_some()
                    }
            }
        }
    }

    /// `ready!`
    pub fn is_ready(&self, step: u8, out: Option<Rule>) -> bool {
        let free = self.lock.is_none() || out == Some(Rule::ClaimOfFree);
        let step = &STEPS[usize::from(step)];
        let ready = out == Some(Rule::ClaimOfReady)
            || self.status == step.pending
            || self.status == step.failed
            || step.more_pending.contains(&self.status)
            || out == Some(Rule::ClaimOfFree) && self.status == step.in_progress;
        free && ready
    }

    /// `expired!`
    pub fn is_expired(&self, step: u8, clock: &Clock, out: Option<Rule>) -> bool {
        let own =
            self.status == STEPS[usize::from(step)].in_progress || out == Some(Rule::ExpiryOfOwn);
        out != Some(Rule::Expiry) && self.lock.is_some() && own && !clock.is_fresh(self.lock_at)
    }

    /// `SET`
    pub fn set(&mut self, statement: &Statement, now: Stamp) {
        match *statement {
            Statement::Claim { step, token, .. } => {
                self.status = STEPS[usize::from(step)].in_progress;
                self.lock = Some(token);
                self.lock_at = now;
            }
            Statement::Complete { outcome, .. } => {
                self.lock = None;
                self.status = outcome.status();
                match outcome {
                    Outcome::Success(_) => {
                        self.retry = 0;
                        self.done += 1;
                        self.failures = 0;
                    }
                    Outcome::Failure(_, retry) => {
                        self.retry = retry;
                        self.failures += 1;
                    }
                    Outcome::Release(_) => {}
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
