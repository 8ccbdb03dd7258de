//! What can happen next. A worker decides by the crate's own functions.

use stateright::Model;
use status_protocol::{LostAnswer, Start};

use crate::Protocol;
use crate::database::{Code, Ending, Guard, JOBS, MAX_RETRY, STEPS, Statement};
use crate::world::{Attempt, Hand, Late, Stage, State};

/// What becomes of a statement that is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Answered,
    /// It did not arrive.
    NotSent,
    /// It was executed, and the answer did not arrive.
    AnswerLost,
    /// The connection broke; the server executes it later.
    Late,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Success,
    Failure,
    Release,
}

/// Of a worker, and mostly of one of its jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// One of the jobs, or with `None` all that are ready.
    Claim {
        worker: usize,
        job: Option<usize>,
        step: u8,
        fate: Fate,
    },
    ClaimAgain {
        worker: usize,
        job: usize,
    },
    Renew {
        worker: usize,
        job: usize,
        fate: Fate,
    },
    End {
        worker: usize,
        job: usize,
        end: End,
        fate: Fate,
    },
    LookUp {
        worker: usize,
        job: usize,
    },
    WriteAgain {
        worker: usize,
        job: usize,
        fate: Fate,
    },
    ReadDead {
        worker: usize,
        job: usize,
        step: u8,
    },
    Expire {
        worker: usize,
        job: usize,
        fate: Fate,
    },
    Crash {
        worker: usize,
    },
    LateStatementLands,
    /// All locks that are not renewed get old.
    TimePasses,
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new([self.killer, false], self.budget)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let fates: &[Fate] = match (state.left.lost_answers, state.late) {
            (0, _) => &[Fate::Answered],
            (_, Some(_)) => &[Fate::Answered, Fate::NotSent, Fate::AnswerLost],
            (_, None) => &[Fate::Answered, Fate::NotSent, Fate::AnswerLost, Fate::Late],
        };
        let mut idle = false;
        for (worker, hands) in state.workers.iter().enumerate() {
            if *hands == [Hand::Off; JOBS] {
                // One who is idle does what all of them could.
                if !idle {
                    self.beginnings(state, worker, fates, actions);
                }
                idle = true;
                continue;
            }
            let mut crashes = false;
            for (job, hand) in hands.iter().enumerate() {
                crashes |= !matches!(hand, Hand::Off | Hand::Expiring { .. });
                match hand {
                    Hand::Off => {}
                    Hand::Claiming { .. } => actions.push(Action::ClaimAgain { worker, job }),
                    Hand::Ending(_, _, Stage::LookUp | Stage::LastLook) => {
                        actions.push(Action::LookUp { worker, job });
                    }
                    _ => {}
                }
                for &fate in fates {
                    match hand {
                        Hand::Running(_) => {
                            if state.left.renewals > 0 {
                                actions.push(Action::Renew { worker, job, fate });
                            }
                            for end in [End::Success, End::Failure, End::Release] {
                                let may = end != End::Release || state.left.releases > 0;
                                if may && !state.rows[job].kills {
                                    actions.push(Action::End {
                                        worker,
                                        job,
                                        end,
                                        fate,
                                    });
                                }
                            }
                        }
                        Hand::Ending(_, _, Stage::Write) => {
                            actions.push(Action::WriteAgain { worker, job, fate });
                        }
                        Hand::Expiring { .. } => actions.push(Action::Expire { worker, job, fate }),
                        _ => {}
                    }
                }
            }
            // One who has only looked leaves no trace when it dies.
            if crashes {
                actions.push(Action::Crash { worker });
            }
        }
        if state.late.is_some() {
            actions.push(Action::LateStatementLands);
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

    /// What a worker with nothing in hand can do.
    fn beginnings(&self, state: &State, worker: usize, fates: &[Fate], actions: &mut Vec<Action>) {
        for step in 0..self.steps {
            let ready = |job: usize| state.rows[job].is_ready(step, self.out);
            for (job, row) in state.rows.iter().enumerate() {
                if ready(job) {
                    let job = Some(job);
                    actions.extend(fates.iter().map(|&fate| Action::Claim {
                        worker,
                        job,
                        step,
                        fate,
                    }));
                }
                // What a claim does that is refused, and `expire_locks`.
                let start = STEPS[usize::from(step)].may_start(&row.state(&state.clock));
                let expires = start == Start::Expired || self.out == Some(Guard::ExpiryOfOwn);
                if expires && row.is_expired(step, &state.clock, self.out) {
                    actions.push(Action::ReadDead { worker, job, step });
                }
            }
            if (0..JOBS).all(ready) {
                let job = None;
                actions.extend(fates.iter().map(|&fate| Action::Claim {
                    worker,
                    job,
                    step,
                    fate,
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
                fate,
            } => self.claim(state, worker, job, step, fate),
            Action::ClaimAgain { worker, job } => self.claim_again(state, worker, job)?,
            Action::Renew { worker, job, fate } => self.renew(state, worker, job, fate),
            Action::End {
                worker,
                job,
                end,
                fate,
            } => {
                let Hand::Running(attempt) = state.workers[worker][job] else {
                    return None;
                };
                let step = &STEPS[usize::from(attempt.step)];
                let ending = match end {
                    End::Success => Ending::Success(step.succeeded),
                    End::Failure => {
                        let (outcome, _) = step.after_failure(attempt.retry.into(), None);
                        Ending::Failure(outcome.status, outcome.retry as u8)
                    }
                    End::Release => {
                        state.left.releases -= 1;
                        Ending::Release(step.released(attempt.retry.into()))
                    }
                };
                self.write_end(state, worker, job, attempt, ending, Stage::Write, fate);
            }
            Action::WriteAgain { worker, job, fate } => {
                let Hand::Ending(attempt, ending, _) = state.workers[worker][job] else {
                    return None;
                };
                self.write_end(state, worker, job, attempt, ending, Stage::LastLook, fate);
            }
            Action::LookUp { worker, job } => self.look_up(state, worker, job)?,
            Action::ReadDead { worker, job, step } => {
                let row = &state.rows[job];
                let (token, retry) = (row.lock?, row.retry);
                state.workers[worker][job] = Hand::Expiring { step, token, retry };
            }
            Action::Expire { worker, job, fate } => {
                let Hand::Expiring { step, token, retry } = state.workers[worker][job] else {
                    return None;
                };
                let expire = self.expiry(job, step, token, retry);
                state.workers[worker][job] = Hand::Off;
                self.send(state, &expire, false, fate);
            }
            Action::Crash { worker } => state.workers[worker] = [Hand::Off; JOBS],
            Action::LateStatementLands => {
                let late = state.late.take()?;
                state.execute(&late.statement, late.overtaken, self.out);
            }
            Action::TimePasses => state.clock.pass(),
        }
        Some(())
    }

    /// Sends a statement, and tells what it changed, if an answer came.
    fn send(
        &self,
        state: &mut State,
        statement: &Statement,
        overtaken: bool,
        fate: Fate,
    ) -> Option<[bool; JOBS]> {
        if fate != Fate::Answered {
            state.left.lost_answers -= 1;
        }
        match fate {
            Fate::Answered => return Some(state.execute(statement, overtaken, self.out)),
            Fate::NotSent => {}
            Fate::AnswerLost => {
                state.execute(statement, overtaken, self.out);
            }
            Fate::Late => {
                state.late = Some(Late {
                    statement: *statement,
                    overtaken,
                })
            }
        }
        None
    }

    fn claim(&self, state: &mut State, worker: usize, job: Option<usize>, step: u8, fate: Fate) {
        let token = state.new_token();
        let claim = Statement::Claim {
            job: job.map(|job| job as u8),
            step,
            token,
        };
        let answer = self.send(state, &claim, false, fate);
        for n in (0..JOBS).filter(|n| job.is_none_or(|job| job == *n)) {
            match answer {
                Some(changed) if changed[n] => hold(state, worker, n, step, token),
                Some(_) => {}
                None => state.workers[worker][n] = Hand::Claiming { step, token },
            }
        }
    }

    /// The claim is sent again, with its token; refused, the row is looked at.
    fn claim_again(&self, state: &mut State, worker: usize, job: usize) -> Option<()> {
        let Hand::Claiming { step, token } = state.workers[worker][job] else {
            return None;
        };
        let row = state.rows[job];
        let is_own = row.lock == Some(token);
        if is_own && self.out != Some(Guard::ClaimLooksUp) {
            hold(state, worker, job, step, token);
            return Some(());
        }
        let token = if self.out == Some(Guard::FreshToken) {
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
                state.workers[worker][job] = Hand::Off;
                Some(())
            }
        }
    }

    fn renew(&self, state: &mut State, worker: usize, job: usize, fate: Fate) {
        let Hand::Running(mut attempt) = state.workers[worker][job] else {
            return;
        };
        state.left.renewals -= 1;
        let renew = Statement::Renew {
            job: job as u8,
            token: attempt.token,
        };
        let answer = self.send(state, &renew, attempt.overtaken, fate);
        attempt.lock_at = answer.map(|_| state.rows[job].lock_at);
        state.workers[worker][job] = match answer {
            Some(changed) if !changed[job] => Hand::Off,
            _ => Hand::Running(attempt),
        };
    }

    #[allow(clippy::too_many_arguments, reason = "the hand, and what it writes")]
    fn write_end(
        &self,
        state: &mut State,
        worker: usize,
        job: usize,
        attempt: Attempt,
        ending: Ending,
        refused: Stage,
        fate: Fate,
    ) {
        let statement = Statement::End {
            job: job as u8,
            token: attempt.token,
            ending,
        };
        let answer = self.send(state, &statement, attempt.overtaken, fate);
        // What landed is noted in the hand.
        let landed = state.workers[worker][job]
            .attempt()
            .is_some_and(|attempt| attempt.landed);
        let attempt = Attempt { landed, ..attempt };
        state.workers[worker][job] = match answer {
            Some(changed) if changed[job] => {
                return report(state, worker, job, attempt, ending, Some(true));
            }
            Some(_) if refused == Stage::LastLook && self.out != Some(Guard::EndLooksUp) => {
                Hand::Ending(attempt, ending, Stage::LastLook)
            }
            Some(_) => return report(state, worker, job, attempt, ending, Some(false)),
            None if self.out == Some(Guard::EndLooksUp) => {
                Hand::Ending(attempt, ending, Stage::Write)
            }
            None => Hand::Ending(attempt, ending, Stage::LookUp),
        };
    }

    fn look_up(&self, state: &mut State, worker: usize, job: usize) -> Option<()> {
        let Hand::Ending(attempt, ending, stage) = state.workers[worker][job] else {
            return None;
        };
        let row = state.rows[job].state(&state.clock);
        let answer = STEPS[usize::from(attempt.step)].after_lost_answer(
            &row,
            &attempt.token.to_string(),
            attempt.lock_at.map(|at| state.clock.time(at)),
            ending.status(),
        );
        let told = match answer {
            LostAnswer::Written => Some(true),
            LostAnswer::StillHeld if stage == Stage::LookUp => {
                state.workers[worker][job] = Hand::Ending(attempt, ending, Stage::Write);
                return Some(());
            }
            LostAnswer::StillHeld | LostAnswer::ExpiredFirst => Some(false),
            LostAnswer::Unknown => None,
        };
        report(state, worker, job, attempt, ending, told);
        Some(())
    }

    fn expiry(&self, job: usize, step: u8, token: u8, retry: u8) -> Statement {
        let (outcome, _) = STEPS[usize::from(step)].after_failure(retry.into(), None);
        let counts = self.out != Some(Guard::ExpiryCounts);
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
    state.workers[worker][job] = Hand::Running(Attempt {
        step,
        token,
        lock_at: Some(row.lock_at),
        retry: row.retry,
        overtaken: false,
        landed: false,
    });
}

/// The worker hears that its end landed, that it did not, or that nobody can tell.
fn report(
    state: &mut State,
    worker: usize,
    job: usize,
    attempt: Attempt,
    ending: Ending,
    told: Option<bool>,
) {
    state.broken.false_report |= match told {
        // An expiry leaves a row as the failure would have that it came
        // before: the attempt failed either way, and that was counted once.
        Some(true) => {
            !attempt.landed && (!attempt.overtaken || matches!(ending, Ending::Success(_)))
        }
        Some(false) => attempt.landed,
        // It can tell as long as it holds the lock.
        None => state.rows[job].lock == Some(attempt.token),
    };
    state.workers[worker][job] = Hand::Off;
}
