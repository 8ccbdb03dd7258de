//! What can happen next. A worker decides with the functions of `status_protocol`.

use stateright::Model;
use status_protocol::{LostAnswer, Start};

use crate::Protocol;
use crate::database::{Code, JOBS, MAX_RETRY, Outcome, Rule, STEPS, Statement};
use crate::world::{Activity, Attempt, Late, Stage, State};

/// What happens to a statement that is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    Answered,
    /// It did not arrive.
    NotSent,
    /// It was executed, and the answer did not arrive.
    AnswerLost,
    /// The connection broke; the server executes it later.
    Late,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutcomeKind {
    Success,
    Failure,
    Release,
}

/// A step of the model: mostly of one worker and one of its jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// One of the jobs, or with `None` all that are ready.
    Claim {
        worker: usize,
        job: Option<usize>,
        step: u8,
        delivery: Delivery,
    },
    ClaimAgain {
        worker: usize,
        job: usize,
    },
    Renew {
        worker: usize,
        job: usize,
        delivery: Delivery,
    },
    Complete {
        worker: usize,
        job: usize,
        kind: OutcomeKind,
        delivery: Delivery,
    },
    LookUp {
        worker: usize,
        job: usize,
    },
    WriteAgain {
        worker: usize,
        job: usize,
        delivery: Delivery,
    },
    ReadDead {
        worker: usize,
        job: usize,
        step: u8,
    },
    Expire {
        worker: usize,
        job: usize,
        delivery: Delivery,
    },
    Crash {
        worker: usize,
    },
    LateStatementExecutes,
    /// All locks that are not renewed become old.
    TimePasses,
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new([self.killer, false], self.budget)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let deliveries: &[Delivery] = match (state.left.lost_answers, state.late) {
            (0, _) => &[Delivery::Answered],
            (_, Some(_)) => &[Delivery::Answered, Delivery::NotSent, Delivery::AnswerLost],
            (_, None) => &[
                Delivery::Answered,
                Delivery::NotSent,
                Delivery::AnswerLost,
                Delivery::Late,
            ],
        };
        let mut idle = false;
        for (worker, activities) in state.workers.iter().enumerate() {
            if *activities == [Activity::Idle; JOBS] {
                // All idle workers can do the same, so one of them is enough.
                if !idle {
                    self.beginnings(state, worker, deliveries, actions);
                }
                idle = true;
                continue;
            }
            let mut crashes = false;
            for (job, activity) in activities.iter().enumerate() {
                crashes |= !matches!(activity, Activity::Idle | Activity::Expiring { .. });
                match activity {
                    Activity::Idle => {}
                    Activity::Claiming { .. } => actions.push(Action::ClaimAgain { worker, job }),
                    Activity::Completing(_, _, Stage::LookUp | Stage::LastLook) => {
                        actions.push(Action::LookUp { worker, job });
                    }
                    _ => {}
                }
                for &delivery in deliveries {
                    match activity {
                        Activity::Running(_) => {
                            if state.left.renewals > 0 {
                                actions.push(Action::Renew {
                                    worker,
                                    job,
                                    delivery,
                                });
                            }
                            for kind in [
                                OutcomeKind::Success,
                                OutcomeKind::Failure,
                                OutcomeKind::Release,
                            ] {
                                let may = kind != OutcomeKind::Release || state.left.releases > 0;
                                if may && !state.rows[job].kills {
                                    actions.push(Action::Complete {
                                        worker,
                                        job,
                                        kind,
                                        delivery,
                                    });
                                }
                            }
                        }
                        Activity::Completing(_, _, Stage::Write) => {
                            actions.push(Action::WriteAgain {
                                worker,
                                job,
                                delivery,
                            });
                        }
                        Activity::Expiring { .. } => actions.push(Action::Expire {
                            worker,
                            job,
                            delivery,
                        }),
                        _ => {}
                    }
                }
            }
            // A worker that has only read leaves no trace when it dies.
            if crashes {
                actions.push(Action::Crash { worker });
            }
        }
        if state.late.is_some() {
            actions.push(Action::LateStatementExecutes);
        }
        if state
            .rows
            .iter()
            .any(|row| state.clock.is_fresh(row.lock_at))
        {
            actions.push(Action::TimePasses);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        self.act(&mut state, action)?;
        let closer = self.distance(&state) < self.distance(last);
        state.broken.detour |= !closer;
        Some(state)
    }

    fn properties(&self) -> Vec<stateright::Property<Self>> {
        crate::properties::all(self)
    }
}

impl Protocol {
    fn distance(&self, state: &State) -> [u8; 5] {
        state.distance(self.steps, MAX_RETRY + self.budget.lost_answers)
    }

    /// What an idle worker can do.
    fn beginnings(
        &self,
        state: &State,
        worker: usize,
        deliveries: &[Delivery],
        actions: &mut Vec<Action>,
    ) {
        for step in 0..self.steps {
            let ready = |job: usize| state.rows[job].is_ready(step, self.out);
            for (job, row) in state.rows.iter().enumerate() {
                if ready(job) {
                    let job = Some(job);
                    actions.extend(deliveries.iter().map(|&delivery| Action::Claim {
                        worker,
                        job,
                        step,
                        delivery,
                    }));
                }
                // As a refused claim does, and `expire_locks`.
                let start = STEPS[usize::from(step)].may_start(&row.state(&state.clock));
                let expires = start == Start::Expired || self.out == Some(Rule::ExpiryOfOwn);
                if expires && row.is_expired(step, &state.clock, self.out) {
                    actions.push(Action::ReadDead { worker, job, step });
                }
            }
            if (0..JOBS).all(ready) {
                let job = None;
                actions.extend(deliveries.iter().map(|&delivery| Action::Claim {
                    worker,
                    job,
                    step,
                    delivery,
                }));
            }
        }
    }

    fn act(&self, state: &mut State, action: Action) -> Option<()> {
        match action {
            Action::Claim {
                worker,
                job,
                step,
                delivery,
            } => self.claim(state, worker, job, step, delivery),
            Action::ClaimAgain { worker, job } => self.claim_again(state, worker, job)?,
            Action::Renew {
                worker,
                job,
                delivery,
            } => self.renew(state, worker, job, delivery),
            Action::Complete {
                worker,
                job,
                kind,
                delivery,
            } => {
                let Activity::Running(attempt) = state.workers[worker][job] else {
                    return None;
                };
                let step = &STEPS[usize::from(attempt.step)];
                let outcome = match kind {
                    OutcomeKind::Success => Outcome::Success(step.succeeded),
                    OutcomeKind::Failure => {
                        let (outcome, _) = step.after_failure(attempt.retry.into(), None);
                        Outcome::Failure(outcome.status, outcome.retry as u8)
                    }
                    OutcomeKind::Release => {
                        state.left.releases -= 1;
                        Outcome::Release(step.released(attempt.retry.into()))
                    }
                };
                self.write_outcome(state, worker, job, attempt, outcome, Stage::Write, delivery);
            }
            Action::WriteAgain {
                worker,
                job,
                delivery,
            } => {
                let Activity::Completing(attempt, outcome, _) = state.workers[worker][job] else {
                    return None;
                };
                self.write_outcome(
                    state,
                    worker,
                    job,
                    attempt,
                    outcome,
                    Stage::LastLook,
                    delivery,
                );
            }
            Action::LookUp { worker, job } => self.look_up(state, worker, job)?,
            Action::ReadDead { worker, job, step } => {
                let row = &state.rows[job];
                let (token, retry) = (row.lock?, row.retry);
                state.workers[worker][job] = Activity::Expiring { step, token, retry };
            }
            Action::Expire {
                worker,
                job,
                delivery,
            } => {
                let Activity::Expiring { step, token, retry } = state.workers[worker][job] else {
                    return None;
                };
                let expire = self.expiry(job, step, token, retry);
                state.workers[worker][job] = Activity::Idle;
                self.send(state, &expire, false, delivery);
            }
            Action::Crash { worker } => state.workers[worker] = [Activity::Idle; JOBS],
            Action::LateStatementExecutes => {
                let late = state.late.take()?;
                state.execute(&late.statement, late.expired, self.out);
            }
            Action::TimePasses => state.clock.pass(),
        }
        Some(())
    }

    /// Sends a statement. Returns what it has changed, if an answer came.
    fn send(
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

    fn claim(
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
    fn claim_again(&self, state: &mut State, worker: usize, job: usize) -> Option<()> {
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

    fn renew(&self, state: &mut State, worker: usize, job: usize, delivery: Delivery) {
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
    fn write_outcome(
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

    fn look_up(&self, state: &mut State, worker: usize, job: usize) -> Option<()> {
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

    fn expiry(&self, job: usize, step: u8, token: u8, retry: u8) -> Statement {
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
