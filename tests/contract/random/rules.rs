//! What must become of a row: written from what the crate promises, and not
//! from its code.

use super::call::{Ending, JOBS, Job, Worker};
use super::model::{Answer, Attempt, Cause, Guard, LockAt, Model, Row};
use super::step::Step;

/// The failures that a row keeps.
const HISTORY: usize = 10;

impl Model {
    /// Counts the jobs for which `work` does something.
    pub(super) fn each(&mut self, mut work: impl FnMut(&mut Self, Job) -> bool) -> Answer {
        let done = JOBS.map(|job| work(self, job));
        Answer::Count(done.into_iter().filter(|done| *done).count())
    }

    pub(super) fn row(&mut self, job: Job) -> &mut Row {
        self.rows.get_mut(job).unwrap()
    }

    pub(super) fn change(&mut self, job: Job) {
        self.changes += 1;
        let order = self.changes;
        let row = self.row(job);
        (row.changed, row.order) = (true, order);
    }

    pub(super) fn create(&mut self, step: Step, job: Job) -> bool {
        if self.rows.contains_key(job) {
            return false;
        }
        let row = Row {
            status: step.pending(),
            lock: None,
            lock_at: LockAt::Never,
            retry: 0,
            waits: false,
            data: Some(self.calls),
            note: None,
            failures: Vec::new(),
            changed: true,
            order: 0,
        };
        self.rows.insert(job, row);
        self.change(job);
        true
    }

    pub(super) fn start(&mut self, step: Step, job: Job) -> Result<Attempt, Answer> {
        self.expire(step, job);
        let Some(row) = self.rows.get(job) else {
            return Err(Answer::NotFound);
        };
        if row.is_ready(step) {
            return Ok(self.claim(step, job));
        }
        Err(if row.lock.is_some() {
            Answer::Locked {
                expires: row.status == step.in_progress(),
            }
        } else if row.status == step.succeeded() {
            Answer::AlreadySucceeded
        } else if row.status == step.ignored() {
            Answer::Ignored { retry: row.retry }
        } else {
            Answer::NotReady {
                waits: step.is_ready(row.status),
            }
        })
    }

    pub(super) fn claim(&mut self, step: Step, job: Job) -> Attempt {
        self.attempts += 1;
        let attempt = self.attempts;
        let row = self.row(job);
        row.status = step.in_progress();
        (row.lock, row.lock_at) = (Some(attempt), LockAt::Fresh);
        self.change(job);
        attempt
    }

    pub(super) fn hold(&mut self, worker: Worker, step: Step, job: Job, attempt: Attempt) {
        self.guards.push(Guard {
            worker,
            job,
            step,
            attempt,
        });
    }

    pub(super) fn let_go(&mut self, worker: Worker, job: Job) -> Guard {
        let guard = self.guard(worker, job).unwrap().clone();
        self.guards.retain(|other| *other != guard);
        guard
    }

    pub(super) fn holds(&self, guard: &Guard) -> bool {
        let row = self.rows.get(guard.job);
        row.is_some_and(|row| row.lock == Some(guard.attempt))
    }

    pub(super) fn renew(&mut self, worker: Worker, job: Job) -> Answer {
        if !self.holds(self.guard(worker, job).unwrap()) {
            return Answer::LockLost;
        }
        self.row(job).lock_at = LockAt::Fresh;
        Answer::Done
    }

    pub(super) fn end(&mut self, step: Step, job: Job, attempt: Attempt, ending: Ending) -> Answer {
        if self.rows.get(job).and_then(|row| row.lock) != Some(attempt) {
            return Answer::LockLost;
        }
        let data = Some(self.calls);
        let row = self.row(job);
        match ending {
            Ending::Succeed => {
                (row.status, row.retry) = (step.succeeded(), 0);
                (row.lock, row.data) = (None, data);
            }
            Ending::Release => {
                let failed = row.retry > 0;
                row.lock = None;
                row.status = if failed {
                    step.failed()
                } else {
                    step.pending()
                };
            }
            failure => {
                self.fail(step, job, Cause::Told, failure);
                return Answer::Done;
            }
        }
        self.change(job);
        Answer::Done
    }

    pub(super) fn fail(&mut self, step: Step, job: Job, cause: Cause, how: Ending) {
        let row = self.row(job);
        row.lock = None;
        row.retry += 1;
        row.failures.insert(0, (cause, row.retry));
        row.failures.truncate(HISTORY);
        if row.retry >= step.max_retry() || how == Ending::Never {
            row.status = step.ignored();
        } else {
            row.status = step.failed();
            row.waits |= step.waits_after_failure() || how == Ending::After;
        }
        self.change(job);
    }

    pub(super) fn expire(&mut self, step: Step, job: Job) -> bool {
        let row = self.rows.get(job);
        let dead = row.is_some_and(|row| row.is_dead(step));
        if dead {
            self.fail(step, job, Cause::Expired, Ending::Fail);
        }
        dead
    }

    pub(super) fn reset(&mut self, step: Step, job: Job) -> bool {
        let row = self.rows.get_mut(job);
        let free = |row: &&mut Row| row.lock.is_none() || row.lock_at != LockAt::Fresh;
        let ours = |row: &&mut Row| step.codes().contains(&row.status);
        let Some(row) = row.filter(ours).filter(free) else {
            return false;
        };
        (row.status, row.retry) = (step.pending(), 0);
        (row.lock, row.waits) = (None, false);
        self.change(job);
        true
    }
}

impl Row {
    pub(super) fn is_ready(&self, step: Step) -> bool {
        self.lock.is_none() && step.is_ready(self.status) && !self.waits
    }

    /// Whether it is in progress, and its worker presumed dead.
    pub(super) fn is_dead(&self, step: Step) -> bool {
        self.lock.is_some() && self.status == step.in_progress() && self.lock_at == LockAt::Aged
    }

    pub(super) fn is_locked(&self, step: Step) -> bool {
        self.lock.is_some() && !self.is_dead(step)
    }
}
