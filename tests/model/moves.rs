//! What can happen next. A worker decides with the functions of `status_protocol`.

mod statements;

use stateright::Model;
use status_protocol::Start;

use crate::Protocol;
use crate::database::{JOBS, MAX_RETRY, Outcome, Rule, STEPS};
use crate::world::{Activity, Stage, State};

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
}
