//! A state of the model: the rows, what each worker believes and is about to
//! do, what is still on its way to the database, and what may yet go wrong.

use std::hash::{Hash, Hasher};

use crate::database::{
    Clock, Code, Ending, Guard, JOBS, NEVER, Phase, Row, STEPS, Stamp, Statement, Token,
};

pub const WORKERS: usize = 3;

/// What one attempt knows, and what became of it in truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt {
    pub step: u8,
    pub token: Token,
    /// When its lock was last written; `None` while that is in doubt.
    pub lock_at: Option<Stamp>,
    /// As the claim read it.
    pub retry: u8,
    /// Another has taken its lock away.
    pub overtaken: bool,
    /// Its end is written.
    pub landed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    LookUp,
    Write,
    LastLook,
}

/// What a worker does about one job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hand {
    Off,
    /// It has sent a claim whose answer was lost.
    Claiming {
        step: u8,
        token: Token,
    },
    Running(Attempt),
    /// It has tried to write the end, and the answer was lost.
    Ending(Attempt, Ending, Stage),
    /// It has read a dead attempt.
    Expiring {
        step: u8,
        token: Token,
        retry: u8,
    },
}

impl Hand {
    fn token(&mut self) -> Option<&mut Token> {
        match self {
            Self::Off => None,
            Self::Claiming { token, .. } | Self::Expiring { token, .. } => Some(token),
            Self::Running(attempt) | Self::Ending(attempt, ..) => Some(&mut attempt.token),
        }
    }

    pub fn attempt(&mut self) -> Option<&mut Attempt> {
        match self {
            Self::Running(attempt) | Self::Ending(attempt, ..) => Some(attempt),
            _ => None,
        }
    }
}

/// One process: a hand for each job, of which it has several in use only
/// after a claim of several jobs.
pub type Worker = [Hand; JOBS];

/// A statement that has left its worker, whose connection then broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Late {
    pub statement: Statement,
    pub overtaken: bool,
}

/// What may still go wrong, or be done for no reason of the protocol's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Budget {
    pub lost_answers: u8,
    pub renewals: u8,
    pub releases: u8,
}

/// What must not happen, and has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Broken {
    /// A write landed that was not of the attempt which holds the row.
    pub intrusion: bool,
    /// A worker was told that its write landed, and it had not, or that it
    /// had not, and it had.
    pub false_report: bool,
    /// A step of the model that brings its end no closer.
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
            workers: [[Hand::Off; JOBS]; WORKERS],
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

    /// Executes a statement, and tells which rows it has changed.
    pub fn execute(
        &mut self,
        statement: &Statement,
        is_overtaken: bool,
        out: Option<Guard>,
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
                    self.overtake(n, stolen);
                }
                Statement::End { job, token, .. } => {
                    self.broken.intrusion |= is_overtaken || job != key;
                    self.land(n, token);
                }
                Statement::Renew { job, .. } => self.broken.intrusion |= is_overtaken || job != key,
            }
        }
        changed
    }

    /// Notes for all who act for this lock that it is no longer theirs.
    fn overtake(&mut self, job: usize, lock: Option<Token>) {
        for worker in &mut self.workers {
            if let Some(attempt) = worker[job].attempt()
                && Some(attempt.token) == lock
            {
                attempt.overtaken = true;
            }
        }
        if let Some(late) = &mut self.late
            && let Statement::End {
                job: key, token, ..
            }
            | Statement::Renew { job: key, token } = late.statement
            && (usize::from(key), Some(token)) == (job, lock)
        {
            late.overtaken = true;
        }
    }

    fn land(&mut self, job: usize, token: Token) {
        for worker in &mut self.workers {
            if let Some(attempt) = worker[job].attempt()
                && attempt.token == token
            {
                attempt.landed = true;
            }
        }
    }

    /// How far it is to the end at most, the weightiest first: a number that
    /// every step makes smaller, which proves that every run has an end.
    pub fn distance(&self, steps: u8, most_failures: u8) -> [u8; 5] {
        let Budget {
            lost_answers,
            renewals,
            releases,
        } = self.left;
        let to_go_wrong = 2 * lost_answers + u8::from(self.late.is_some()) + renewals + releases;
        let (mut attempts, mut free, mut fresh, mut hands) = (0, 0, 0, 0);
        for row in &self.rows {
            if row.status.1 != Phase::Ignored {
                let steps = steps.saturating_sub(row.done);
                attempts += (steps * (most_failures + 1)).saturating_sub(row.failures);
            }
            free += u8::from(row.lock.is_none());
            fresh += u8::from(self.clock.is_fresh(row.lock_at));
        }
        for (job, hand) in self
            .workers
            .iter()
            .flat_map(|worker| worker.iter().enumerate())
        {
            let row = &self.rows[job];
            hands += match *hand {
                Hand::Claiming { .. } => 7,
                Hand::Running(_) => 6,
                Hand::Ending(_, _, Stage::LookUp) => 5,
                Hand::Ending(_, _, Stage::Write) => 4,
                Hand::Ending(_, _, Stage::LastLook) => 3,
                Hand::Off => 1,
                Hand::Expiring { step, token, .. } => {
                    let stands = row.lock == Some(token) && row.is_expired(step, &self.clock, None);
                    if stands { 0 } else { 2 }
                }
            };
        }
        [to_go_wrong, attempts, free, fresh, hands]
    }

    /// The same state in other words: it matters neither which worker, which
    /// job, which token or what time it is, but only which are the same, and
    /// which time came first.
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
                | Statement::End { job, .. }
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
        for hand in self.workers.iter_mut().flatten() {
            hand.token().into_iter().for_each(&mut rename);
        }
        if let Some(late) = &mut self.late {
            let (Statement::Claim { token, .. }
            | Statement::End { token, .. }
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
        for hand in self.workers.iter_mut().flatten() {
            if let Some(Attempt {
                lock_at: Some(at), ..
            }) = hand.attempt()
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

/// States that are the same in other words are visited once.
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
