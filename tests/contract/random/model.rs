//! What each call must answer, and leave in the rows, in plain values.

use std::collections::BTreeMap;

use super::call::{Call, Ending, Job, Worker};
use super::step::Step;

/// An attempt, by its number in the case.
pub type Attempt = u32;

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LockAt {
    Never,
    Aged,
    Fresh,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cause {
    Expired,
    Dropped,
    Told,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub status: i32,
    pub lock: Option<Attempt>,
    pub lock_at: LockAt,
    pub retry: i32,
    /// Whether `run_at` lies ahead.
    pub waits: bool,
    pub data: Option<i32>,
    /// What a transaction of the job's own wrote.
    pub note: Option<i32>,
    /// Cause and number of the attempt, newest first.
    pub failures: Vec<(Cause, i32)>,
    /// Whether the last call set `update_at`.
    pub changed: bool,
    /// The place of its last change among all.
    pub order: u32,
}

/// What a call answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    Done,
    Count(usize),
    Got(Vec<Job>),
    Seen {
        locked: Option<bool>,
        counts: Vec<(i32, i64)>,
    },
    NotFound,
    AlreadyExists,
    Locked {
        expires: bool,
    },
    AlreadySucceeded,
    Ignored {
        retry: i32,
    },
    NotReady {
        waits: bool,
    },
    LockLost,
    Failed,
    Released,
    /// What no call may answer.
    Other(String),
}

/// Somebody's guard, whether it still holds its job or not.
#[derive(Debug, Clone, PartialEq)]
pub struct Guard {
    pub worker: Worker,
    pub job: Job,
    pub step: Step,
    pub attempt: Attempt,
}

#[derive(Debug, Clone)]
pub struct Model {
    pub rows: BTreeMap<Job, Row>,
    pub guards: Vec<Guard>,
    /// What the last call answers.
    pub answer: Answer,
    /// The number of the last call, which is the data that it writes.
    pub calls: i32,
    pub attempts: Attempt,
    pub changes: u32,
}

impl Model {
    pub fn new() -> Self {
        let mut new = Self {
            rows: BTreeMap::new(),
            guards: Vec::new(),
            answer: Answer::Done,
            calls: 0,
            attempts: 0,
            changes: 0,
        };
        for job in ["a", "b"] {
            new.create(Step::Pack, job);
        }
        new
    }

    /// The guard that `worker` has of `job`.
    pub fn guard(&self, worker: Worker, job: Job) -> Option<&Guard> {
        self.guards
            .iter()
            .find(|guard| (guard.worker, guard.job) == (worker, job))
    }

    /// What `step` would claim next.
    pub fn next(&self, step: Step, n: usize) -> Vec<Job> {
        let ready = self.rows.iter().filter(|(_, row)| row.is_ready(step));
        let mut ready: Vec<_> = ready.map(|(job, row)| (row.order, *job)).collect();
        ready.sort();
        ready.into_iter().map(|(_, job)| job).take(n).collect()
    }

    pub fn follow(&mut self, call: &Call) {
        self.calls += 1;
        for row in self.rows.values_mut() {
            row.changed = false;
        }
        self.answer = self.answer_to(call);
    }

    fn answer_to(&mut self, call: &Call) -> Answer {
        match *call {
            Call::Create { step, job } if self.create(step, job) => Answer::Done,
            Call::Create { .. } => Answer::AlreadyExists,
            Call::CreateMany { step } => self.each(|model, job| model.create(step, job)),
            Call::Start { worker, step, job } => match self.start(step, job) {
                Ok(attempt) => {
                    self.hold(worker, step, job, attempt);
                    Answer::Done
                }
                Err(refusal) => refusal,
            },
            Call::Run {
                step,
                job,
                within,
                ending,
                ..
            } => match self.start(step, job) {
                Ok(attempt) => {
                    self.end(step, job, attempt, ending);
                    if within && ending == Ending::Succeed {
                        self.row(job).note = Some(self.calls);
                    }
                    ending.answer_of_run()
                }
                Err(refusal) => refusal,
            },
            Call::RunNext { step, ending, .. } => match self.next(step, 1)[..] {
                [job] => {
                    let attempt = self.claim(step, job);
                    self.end(step, job, attempt, ending);
                    match ending.answer_of_run() {
                        Answer::Done => Answer::Got(vec![job]),
                        other => other,
                    }
                }
                _ => Answer::Got(Vec::new()),
            },
            Call::ClaimNext { worker, step, n } => {
                let jobs = self.next(step, n);
                for job in &jobs {
                    let attempt = self.claim(step, job);
                    self.hold(worker, step, job, attempt);
                }
                Answer::Got(jobs)
            }
            Call::End {
                worker,
                job,
                ending,
            } => {
                let guard = self.let_go(worker, job);
                self.end(guard.step, job, guard.attempt, ending)
            }
            Call::Drop { worker, job } => {
                let guard = self.let_go(worker, job);
                if self.holds(&guard) {
                    self.fail(guard.step, job, Cause::Dropped, Ending::Fail);
                }
                Answer::Done
            }
            Call::Forget { worker, job } => {
                self.let_go(worker, job);
                Answer::Done
            }
            Call::Renew { worker, job } => self.renew(worker, job),
            Call::Save { worker, job } => {
                let answer = self.renew(worker, job);
                if answer == Answer::Done {
                    self.row(job).data = Some(self.calls);
                    self.change(job);
                }
                answer
            }
            Call::AgeLock { job } => {
                self.row(job).lock_at = LockAt::Aged;
                Answer::Done
            }
            Call::ComeDue { job } => {
                self.row(job).waits = false;
                Answer::Done
            }
            Call::ExpireLocks { step } => self.each(|model, job| model.expire(step, job)),
            Call::Reset { step, job } if self.reset(step, job) => Answer::Done,
            Call::Reset { step, job } => match self.rows.get(job) {
                None => Answer::NotFound,
                Some(row) if row.lock.is_some() => Answer::Locked {
                    expires: step.codes().contains(&row.status),
                },
                Some(_) => Answer::NotReady { waits: false },
            },
            Call::ResetMany { step } => self.each(|model, job| model.reset(step, job)),
            Call::Prune { step } => self.each(|model, job| {
                let row = &model.rows.get(job);
                let ends = [step.succeeded(), step.ignored()];
                let goes = row.is_some_and(|row| row.lock.is_none() && ends.contains(&row.status));
                goes && model.rows.remove(job).is_some()
            }),
            Call::Look { step, job } => {
                let mut counts = BTreeMap::new();
                for row in self.rows.values() {
                    *counts.entry(row.status).or_default() += 1;
                }
                Answer::Seen {
                    locked: self.rows.get(job).map(|row| row.is_locked(step)),
                    counts: counts.into_iter().collect(),
                }
            }
        }
    }
}
