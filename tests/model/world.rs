//! A state of the model: the rows, what each worker knows and does next, what is
//! still on its way to the database, and what may still go wrong.

use std::hash::{Hash, Hasher};

use crate::database::{
    Clock, Code, JOBS, NEVER, Outcome, Phase, Row, Rule, STEPS, Stamp, Statement, Token,
};

pub const WORKERS: usize = 3;

/// What one attempt knows, and what really happened to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt {
    pub step: u8,
    pub token: Token,
    /// When its lock was last written; `None` while that is not known.
    pub lock_at: Option<Stamp>,
    /// As the claim read it.
    pub retry: u8,
    /// It has lost its lock to an expiry or a claim.
    pub expired: bool,
    /// Its outcome is written.
    pub written: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    LookUp,
    Write,
    LastLook,
}

/// What a worker does about one job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Activity {
    Idle,
    /// It has sent a claim whose answer was lost.
    Claiming {
        step: u8,
        token: Token,
    },
    Running(Attempt),
    /// It has tried to write the outcome, and the answer was lost.
    Completing(Attempt, Outcome, Stage),
    /// It has read a dead attempt.
    Expiring {
        step: u8,
        token: Token,
        retry: u8,
    },
}

impl Activity {
    fn token(&mut self) -> Option<&mut Token> {
        match self {
            Self::Idle => None,
            Self::Claiming { token, .. } | Self::Expiring { token, .. } => Some(token),
            Self::Running(attempt) | Self::Completing(attempt, ..) => Some(&mut attempt.token),
        }
    }

    pub fn attempt(&mut self) -> Option<&mut Attempt> {
        match self {
            Self::Running(attempt) | Self::Completing(attempt, ..) => Some(attempt),
            _ => None,
        }
    }
}

/// One process: an activity for each job. Several are not idle only after a claim
/// of several jobs.
pub type Worker = [Activity; JOBS];

/// A statement that was sent before the connection broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Late {
    pub statement: Statement,
    pub expired: bool,
}

/// What may still go wrong, and what a worker may still do without need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Budget {
    pub lost_answers: u8,
    pub renewals: u8,
    pub releases: u8,
}

/// What has happened and must not happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Broken {
    /// An attempt has written to a row that it does not hold.
    pub foreign_write: bool,
    /// A worker was told that its outcome was written although it was not, or the
    /// reverse.
    pub false_report: bool,
    /// A step of the model did not bring the end closer.
    pub detour: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    pub clock: Clock,
    pub rows: [Row; JOBS],
    pub workers: [Worker; WORKERS],
    pub late: Option<Late>,
    pub left: Budget,
    pub broken: Broken,
    pub last_token: Token,
}

impl State {
    pub fn new(kills: [bool; JOBS], left: Budget) -> Self {
        Self {
            clock: Clock {
                last: NEVER + 1,
                old: NEVER,
            },
            rows: kills.map(Row::new),
            workers: [[Activity::Idle; JOBS]; WORKERS],
            late: None,
            left,
            broken: Broken::default(),
            last_token: 0,
        }
    }

    pub fn new_token(&mut self) -> Token {
        self.last_token += 1;
        self.last_token
    }

    /// Executes a statement. Returns which rows it has changed.
    pub fn execute(
        &mut self,
        statement: &Statement,
        is_expired: bool,
        out: Option<Rule>,
    ) -> [bool; JOBS] {
        let mut changed = [false; JOBS];
        let mut clock = self.clock;
        let now = clock.stamp(out);
        for (n, changed) in changed.iter_mut().enumerate() {
            let row = self.rows[n];
            let key = n as u8;
            if !row.takes(key, statement, &self.clock, out) {
                continue;
            }
            *changed = true;
            self.rows[n].set(statement, now);
            if self.rows[n].lock_at == now {
                self.clock = clock;
            }
            match *statement {
                Statement::Claim { token, .. } | Statement::Expire { token, .. } => {
                    let stolen = match statement {
                        Statement::Claim { .. } => row.lock.filter(|lock| *lock != token),
                        _ => row.lock,
                    };
                    self.note_expired(n, stolen);
                }
                Statement::Complete { job, token, .. } => {
                    self.broken.foreign_write |= is_expired || job != key;
                    self.note_written(n, token);
                }
                Statement::Renew { job, .. } => {
                    self.broken.foreign_write |= is_expired || job != key
                }
            }
        }
        changed
    }

    /// Notes for the attempts with this lock that they have lost it.
    fn note_expired(&mut self, job: usize, lock: Option<Token>) {
        for worker in &mut self.workers {
            if let Some(attempt) = worker[job].attempt()
                && Some(attempt.token) == lock
            {
                attempt.expired = true;
            }
        }
        if let Some(late) = &mut self.late
            && let Statement::Complete {
                job: key, token, ..
            }
            | Statement::Renew { job: key, token } = late.statement
            && (usize::from(key), Some(token)) == (job, lock)
        {
            late.expired = true;
        }
    }

    fn note_written(&mut self, job: usize, token: Token) {
        for worker in &mut self.workers {
            if let Some(attempt) = worker[job].attempt()
                && attempt.token == token
            {
                attempt.written = true;
            }
        }
    }

    /// The greatest distance to the end, with the most important part first. Each
    /// step makes it smaller, which proves that every run has an end.
    pub fn distance(&self, steps: u8, most_failures: u8) -> [u8; 5] {
        let Budget {
            lost_answers,
            renewals,
            releases,
        } = self.left;
        let to_go_wrong = 2 * lost_answers + u8::from(self.late.is_some()) + renewals + releases;
        let (mut attempts, mut free, mut fresh, mut activities) = (0, 0, 0, 0);
        for row in &self.rows {
            if row.status.1 != Phase::Ignored {
                let steps = steps.saturating_sub(row.done);
                attempts += (steps * (most_failures + 1)).saturating_sub(row.failures);
            }
            free += u8::from(row.lock.is_none());
            fresh += u8::from(self.clock.is_fresh(row.lock_at));
        }
        for (job, activity) in self
            .workers
            .iter()
            .flat_map(|worker| worker.iter().enumerate())
        {
            let row = &self.rows[job];
            activities += match *activity {
                Activity::Claiming { .. } => 7,
                Activity::Running(_) => 6,
                Activity::Completing(_, _, Stage::LookUp) => 5,
                Activity::Completing(_, _, Stage::Write) => 4,
                Activity::Completing(_, _, Stage::LastLook) => 3,
                Activity::Idle => 1,
                Activity::Expiring { step, token, .. } => {
                    let stands = row.lock == Some(token) && row.is_expired(step, &self.clock, None);
                    if stands { 0 } else { 2 }
                }
            };
        }
        [to_go_wrong, attempts, free, fresh, activities]
    }

    /// An equal state in normal form. The names of workers, jobs and tokens and the
    /// exact times do not matter: only which are equal, and which time came first.
    fn canonical(&self) -> Self {
        let mut state = self.clone();
        state.rename_tokens();
        state.rename_stamps();
        let key = |row: &Row, n: usize| (*row, state.workers.map(|worker| worker[n]));
        if key(&state.rows[0], 0) > key(&state.rows[1], 1) {
            state.swap_jobs();
        }
        state.workers.sort_unstable();
        state.rename_tokens();
        state.rename_stamps();
        state
    }

    fn swap_jobs(&mut self) {
        self.rows.swap(0, 1);
        self.workers.iter_mut().for_each(|worker| worker.swap(0, 1));
        if let Some(late) = &mut self.late {
            match &mut late.statement {
                Statement::Claim { job: None, .. } => {}
                Statement::Claim { job: Some(job), .. }
                | Statement::Complete { job, .. }
                | Statement::Renew { job, .. }
                | Statement::Expire { job, .. } => *job = 1 - *job,
            }
        }
    }

    fn rename_tokens(&mut self) {
        let mut names = [0; 64];
        let mut last = 0;
        let mut rename = |token: &mut Token| {
            let name = &mut names[usize::from(*token)];
            if *name == 0 {
                last += 1;
                *name = last;
            }
            *token = *name;
        };
        for row in &mut self.rows {
            row.lock.iter_mut().for_each(&mut rename);
        }
        for activity in self.workers.iter_mut().flatten() {
            activity.token().into_iter().for_each(&mut rename);
        }
        if let Some(late) = &mut self.late {
            let (Statement::Claim { token, .. }
            | Statement::Complete { token, .. }
            | Statement::Renew { token, .. }
            | Statement::Expire { token, .. }) = &mut late.statement;
            rename(token);
        }
        self.last_token = 0;
    }

    fn rename_stamps(&mut self) {
        const FIRST_FRESH: Stamp = 32;
        let (mut names, mut old, mut fresh) = ([NEVER; 64], NEVER, FIRST_FRESH);
        let clock = self.clock;
        let mut rename = |stamp: &mut Stamp| {
            let name = &mut names[usize::from(*stamp)];
            if *name == NEVER && *stamp != NEVER {
                let last = if clock.is_fresh(*stamp) {
                    &mut fresh
                } else {
                    &mut old
                };
                *last += 1;
                *name = *last;
            }
            *stamp = *name;
        };
        for row in &mut self.rows {
            rename(&mut row.lock_at);
        }
        for activity in self.workers.iter_mut().flatten() {
            if let Some(Attempt {
                lock_at: Some(at), ..
            }) = activity.attempt()
            {
                rename(at);
            }
        }
        self.clock = Clock {
            last: FIRST_FRESH,
            old: FIRST_FRESH,
        };
    }
}

/// Equal states are visited once.
impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let state = self.canonical();
        (
            state.rows,
            state.workers,
            state.late,
            state.left,
            state.broken,
        )
            .hash(hasher);
    }
}

/// Whether a row of `done` steps may have this status.
pub fn fits(done: u8, status: Code) -> bool {
    let next = usize::from(done);
    let has_begun = STEPS.get(next).is_some_and(|step| {
        let mut codes = step.codes().into_iter();
        status != step.succeeded && codes.any(|(_, code)| code == status)
    });
    has_begun
        || next > 0
            && STEPS
                .get(next - 1)
                .is_some_and(|step| status == step.succeeded)
}
