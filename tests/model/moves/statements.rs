//! What a worker sends, and what it makes of the answers.

use status_protocol::{LostAnswer, Start};

use super::Delivery;
use crate::Protocol;
use crate::database::{Code, JOBS, Outcome, Rule, STEPS, Statement};
use crate::world::{Activity, Attempt, Late, Stage, State};

impl Protocol {
    /// Sends a statement. Returns what it has changed, if an answer came.
    pub(super) fn send(
        &self,
        state: &mut State,
        statement: &Statement,
        expired: bool,
        delivery: Delivery,
    ) -> Option<[bool; JOBS]> {
        if delivery != Delivery::Answered {
            state.left.lost_answers -= 1;
        }
        match delivery {
            Delivery::Answered => return Some(state.execute(statement, expired, self.out)),
            Delivery::NotSent => {}
            Delivery::AnswerLost => {
                state.execute(statement, expired, self.out);
            }
            Delivery::Late => {
                state.late = Some(Late {
                    statement: *statement,
                    expired,
                })
            }
        }
        None
    }

    pub(super) fn claim(
        &self,
        state: &mut State,
        worker: usize,
        job: Option<usize>,
        step: u8,
        delivery: Delivery,
    ) {
        let token = state.new_token();
        let claim = Statement::Claim {
            job: job.map(|job| job as u8),
            step,
            token,
        };
        let answer = self.send(state, &claim, false, delivery);
        for n in (0..JOBS).filter(|n| job.is_none_or(|job| job == *n)) {
            match answer {
                Some(changed) if changed[n] => hold(state, worker, n, step, token),
                Some(_) => {}
                None => state.workers[worker][n] = Activity::Claiming { step, token },
            }
        }
    }

    /// The claim is sent again. If it is refused, the worker looks at the row.
    pub(super) fn claim_again(&self, state: &mut State, worker: usize, job: usize) -> Option<()> {
        let Activity::Claiming { step, token } = state.workers[worker][job] else {
            return None;
        };
        let row = state.rows[job];
        let is_own = row.lock == Some(token);
        if is_own && self.out != Some(Rule::ClaimLooksUp) {
            hold(state, worker, job, step, token);
            return Some(());
        }
        let token = if self.out == Some(Rule::FreshToken) {
            token
        } else {
            state.new_token()
        };
        let claim = Statement::Claim {
            job: Some(job as u8),
            step,
            token,
        };
        if state.execute(&claim, false, self.out)[job] {
            hold(state, worker, job, step, token);
            return Some(());
        }
        match STEPS[usize::from(step)].may_start(&row.state(&state.clock)) {
            Start::Ready => None,
            Start::Expired => {
                let expire = self.expiry(job, step, row.lock?, row.retry);
                state.execute(&expire, false, self.out)[job].then_some(())
            }
            Start::Refused(_) => {
                state.broken.false_report |= is_own;
                state.workers[worker][job] = Activity::Idle;
                Some(())
            }
        }
    }

    pub(super) fn renew(&self, state: &mut State, worker: usize, job: usize, delivery: Delivery) {
        let Activity::Running(mut attempt) = state.workers[worker][job] else {
            return;
        };
        state.left.renewals -= 1;
        let renew = Statement::Renew {
            job: job as u8,
            token: attempt.token,
        };
        let answer = self.send(state, &renew, attempt.expired, delivery);
        attempt.lock_at = answer.map(|_| state.rows[job].lock_at);
        state.workers[worker][job] = match answer {
            Some(changed) if !changed[job] => Activity::Idle,
            _ => Activity::Running(attempt),
        };
    }

    #[allow(clippy::too_many_arguments, reason = "the job, and what is written")]
    pub(super) fn write_outcome(
        &self,
        state: &mut State,
        worker: usize,
        job: usize,
        attempt: Attempt,
        outcome: Outcome,
        refused: Stage,
        delivery: Delivery,
    ) {
        let statement = Statement::Complete {
            job: job as u8,
            token: attempt.token,
            outcome,
        };
        let answer = self.send(state, &statement, attempt.expired, delivery);
        // `send` has noted in the activity whether it was written.
        let written = state.workers[worker][job]
            .attempt()
            .is_some_and(|attempt| attempt.written);
        let attempt = Attempt { written, ..attempt };
        state.workers[worker][job] = match answer {
            Some(changed) if changed[job] => {
                return report(state, worker, job, attempt, outcome, Some(true));
            }
            Some(_) if refused == Stage::LastLook && self.out != Some(Rule::OutcomeLooksUp) => {
                Activity::Completing(attempt, outcome, Stage::LastLook)
            }
            Some(_) => return report(state, worker, job, attempt, outcome, Some(false)),
            None if self.out == Some(Rule::OutcomeLooksUp) => {
                Activity::Completing(attempt, outcome, Stage::Write)
            }
            None => Activity::Completing(attempt, outcome, Stage::LookUp),
        };
    }

    pub(super) fn look_up(&self, state: &mut State, worker: usize, job: usize) -> Option<()> {
        let Activity::Completing(attempt, outcome, stage) = state.workers[worker][job] else {
            return None;
        };
        let row = state.rows[job].state(&state.clock);
        let answer = STEPS[usize::from(attempt.step)].after_lost_answer(
            &row,
            &attempt.token.to_string(),
            attempt.lock_at.map(|at| state.clock.time(at)),
            outcome.status(),
        );
        let told = match answer {
            LostAnswer::Written => Some(true),
            LostAnswer::StillHeld if stage == Stage::LookUp => {
                state.workers[worker][job] = Activity::Completing(attempt, outcome, Stage::Write);
                return Some(());
            }
            LostAnswer::StillHeld | LostAnswer::ExpiredFirst => Some(false),
            LostAnswer::Unknown => None,
        };
        report(state, worker, job, attempt, outcome, told);
        Some(())
    }

    pub(super) fn expiry(&self, job: usize, step: u8, token: u8, retry: u8) -> Statement {
        let (outcome, _) = STEPS[usize::from(step)].after_failure(retry.into(), None);
        let counts = self.out != Some(Rule::ExpiryCounts);
        let (status, retry): (Code, _) = if counts {
            (outcome.status, outcome.retry as u8)
        } else {
            (STEPS[usize::from(step)].failed, retry)
        };
        Statement::Expire {
            job: job as u8,
            step,
            token,
            status,
            retry,
        }
    }
}

/// The answer to a claim has come: the attempt begins.
fn hold(state: &mut State, worker: usize, job: usize, step: u8, token: u8) {
    let row = &state.rows[job];
    state.workers[worker][job] = Activity::Running(Attempt {
        step,
        token,
        lock_at: Some(row.lock_at),
        retry: row.retry,
        expired: false,
        written: false,
    });
}

/// The worker is told that its outcome was written, that it was not, or that
/// nobody knows.
fn report(
    state: &mut State,
    worker: usize,
    job: usize,
    attempt: Attempt,
    outcome: Outcome,
    told: Option<bool>,
) {
    state.broken.false_report |= match told {
        // An expiry leaves the row as the failure would have. In both cases the
        // attempt failed, and that was counted once.
        Some(true) => {
            !attempt.written && (!attempt.expired || matches!(outcome, Outcome::Success(_)))
        }
        Some(false) => attempt.written,
        // It can be known as long as the attempt holds the lock.
        None => state.rows[job].lock == Some(attempt.token),
    };
    state.workers[worker][job] = Activity::Idle;
}
