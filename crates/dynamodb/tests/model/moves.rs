//! What can happen next.

use status_protocol::{LostAnswer, Start};

use crate::world::{
    Activity, Attempt, Breach, Code, OLDEST, Rule, STEP, State, Token, WORKERS, Watch,
};

/// All that can happen, and the state after it.
pub fn all(state: &State, out: Option<Rule>) -> Vec<(String, State)> {
    let mut moves = Vec::new();
    for worker in 0..WORKERS {
        let mut add = |what: &str, after: Option<State>| {
            if let Some(after) = after.filter(|after| after != state) {
                moves.push((format!("worker {worker} {what}"), after));
            }
        };
        match state.workers[worker] {
            Activity::Idle => {
                add("claims", claim(state, worker, false, out));
                add(
                    "claims, and a copy of that is late",
                    claim(state, worker, true, out),
                );
                add(
                    "sees the lock",
                    see(state, worker, state.item.lock, true, out),
                );
                // An old read shows a lock that was there before.
                add(
                    "sees an old lock",
                    see(state, worker, state.before, false, out),
                );
                add("expires", expire(state, worker, out));
            }
            Activity::Running(attempt) => {
                add("renews", renew(state, worker, attempt));
                add(
                    "succeeds",
                    complete(state, worker, attempt, STEP.succeeded, out),
                );
                add("fails", fail(state, worker, attempt, out));
                add(
                    "succeeds, and the answer is lost",
                    lose_answer(state, worker, attempt, true, out),
                );
                add(
                    "succeeds, and that does not arrive",
                    lose_answer(state, worker, attempt, false, out),
                );
                add("crashes", crash(state, worker));
                add("stalls", stall(state, worker, attempt));
            }
            Activity::Unsure(attempt) => add("looks up", look_up(state, worker, attempt, out)),
        }
    }
    if let Some(token) = state.late {
        let mut after = *state;
        after.late = None;
        apply_claim(&mut after, token, None, out);
        moves.push(("the late claim arrives".into(), after));
    }
    if let Some(after) = tick(state) {
        moves.push(("time passes".into(), after));
    }
    moves
}

/// Half of LOCK_EXPIRE passes. Who renews has done so.
fn tick(state: &State) -> Option<State> {
    let mut after = *state;
    for activity in &mut after.workers {
        match activity {
            Activity::Running(attempt) if attempt.renews => {
                if !attempt.renewed {
                    return None;
                }
                attempt.renewed = false;
            }
            _ => {}
        }
    }
    for watch in after.watches.iter_mut().flatten() {
        watch.age = OLDEST.min(watch.age + 1);
    }
    if let Some((_, ago)) = &mut after.item.stamped {
        *ago = OLDEST.min(*ago + 1);
    }
    (after != *state).then_some(after)
}

/// The claim as DynamoDB executes it. Returns whether its condition was true.
fn apply_claim(state: &mut State, token: Token, by: Option<usize>, out: Option<Rule>) -> bool {
    let item = &state.item;
    let ready = STEP.ready().contains(&item.status)
        // The index names the items; without the condition any open one is taken.
        || out == Some(Rule::ClaimDemandsReady)
        || (out == Some(Rule::ClaimDemandsFree) && item.status == STEP.in_progress);
    let free = item.lock.is_none() || out == Some(Rule::ClaimDemandsFree);
    // The condition against a token that has just ended is left out: it saves work, and
    // no promise rests on it.
    if !(ready && free) {
        return false;
    }
    if item.status == STEP.succeeded {
        state.breach = Some(Breach::RunAfterSuccess);
    } else if item.lock.is_some() {
        state.breach = Some(Breach::TwoHolders);
    }
    if by.is_none() {
        for activity in &mut state.workers {
            if let Activity::Running(attempt) | Activity::Unsure(attempt) = activity {
                attempt.superseded |= attempt.token == token;
            }
        }
    }
    state.item.status = STEP.in_progress;
    state.item.stamped = by.map(|by| (by, 0));
    state.lock_changes(Some(token));
    true
}

fn claim(state: &State, worker: usize, copy: bool, out: Option<Rule>) -> Option<State> {
    let mut after = *state;
    let (token, retry) = (state.new_token(), state.item.retry);
    if copy {
        after.late_claims = state.late_claims.checked_sub(1)?;
        after.late = Some(token);
    }
    if !apply_claim(&mut after, token, Some(worker), out) {
        return None;
    }
    after.watches[worker] = None;
    after.workers[worker] = Activity::Running(Attempt {
        token,
        retry,
        renews: true,
        renewed: true,
        superseded: false,
        expired: false,
        written: false,
    });
    Some(after)
}

/// A look at the lock: the watch begins anew if the lock is another one.
fn see(
    state: &State,
    worker: usize,
    lock: Option<Token>,
    is_now: bool,
    out: Option<Rule>,
) -> Option<State> {
    let mut after = *state;
    let watch = &mut after.watches[worker];
    *watch = match (lock, *watch) {
        (None, _) => None,
        (Some(token), Some(old)) if old.token == token && (old.unchanged || !is_now) => Some(old),
        (Some(token), Some(old)) if old.token == token && out == Some(Rule::WatchBeginsAnew) => {
            Some(Watch {
                unchanged: true,
                ..old
            })
        }
        (Some(token), _) => Some(Watch {
            token,
            unchanged: is_now && Some(token) == state.item.lock,
            age: 0,
        }),
    };
    Some(after)
}

fn expire(state: &State, worker: usize, out: Option<Rule>) -> Option<State> {
    let token = state.item.lock?;
    let (row, unchanged) = if out == Some(Rule::OwnWatch) {
        state.item.stamped?;
        (state.row_by_stamp(worker), true)
    } else {
        let watch = state.watches[worker].filter(|watch| watch.token == token)?;
        (state.row(worker, watch.age), watch.unchanged)
    };
    if STEP.may_start(&row) != Start::Expired {
        return None;
    }
    if !unchanged && out != Some(Rule::UnchangedCounter) {
        return None;
    }
    let mut after = *state;
    for activity in &mut after.workers {
        if let Activity::Running(attempt) | Activity::Unsure(attempt) = activity
            && attempt.token == token
            && !attempt.written
        {
            attempt.expired = true;
            if attempt.renews && matches!(activity, Activity::Running(_)) {
                after.breach = Some(Breach::LiveAttemptExpired);
            }
        }
    }
    let (outcome, _) = STEP.after_failure(state.item.retry.into(), None);
    after.item.status = outcome.status;
    after.item.retry = outcome.retry as u8;
    after.item.last_lock = Some(token);
    after.lock_changes(None);
    after.watches[worker] = None;
    Some(after)
}

fn renew(state: &State, worker: usize, attempt: Attempt) -> Option<State> {
    let mut after = *state;
    if !holds(state, attempt, None) {
        after.workers[worker] = Activity::Idle;
        return Some(after);
    }
    if attempt.renewed {
        return None;
    }
    after.item.stamped = Some((worker, 0));
    after.lock_changes(Some(attempt.token));
    after.workers[worker] = Activity::Running(Attempt {
        renewed: true,
        ..attempt
    });
    Some(after)
}

/// The condition of all that an attempt writes.
fn holds(state: &State, attempt: Attempt, out: Option<Rule>) -> bool {
    let same_claim = !attempt.superseded || out == Some(Rule::ClaimNumber);
    state.item.lock == Some(attempt.token) && same_claim
}

/// The write of an outcome as DynamoDB executes it.
fn apply_outcome(
    state: &mut State,
    attempt: Attempt,
    status: Code,
    retry: u8,
    out: Option<Rule>,
) -> bool {
    let held = holds(state, attempt, out);
    if !held && out != Some(Rule::Fence) {
        return false;
    }
    if !held || attempt.expired || attempt.written {
        state.breach = Some(Breach::LateWrite);
    }
    state.item.status = status;
    state.item.retry = retry;
    state.item.last_lock = Some(attempt.token);
    state.lock_changes(None);
    true
}

fn complete(
    state: &State,
    worker: usize,
    attempt: Attempt,
    status: Code,
    out: Option<Rule>,
) -> Option<State> {
    let mut after = *state;
    apply_outcome(&mut after, attempt, status, 0, out);
    after.workers[worker] = Activity::Idle;
    Some(after)
}

fn fail(state: &State, worker: usize, attempt: Attempt, out: Option<Rule>) -> Option<State> {
    let (outcome, _) = STEP.after_failure(attempt.retry.into(), None);
    let mut after = *state;
    apply_outcome(
        &mut after,
        attempt,
        outcome.status,
        outcome.retry as u8,
        out,
    );
    after.workers[worker] = Activity::Idle;
    Some(after)
}

fn lose_answer(
    state: &State,
    worker: usize,
    attempt: Attempt,
    arrives: bool,
    out: Option<Rule>,
) -> Option<State> {
    let mut after = *state;
    after.lost_answers = state.lost_answers.checked_sub(1)?;
    let written = arrives && apply_outcome(&mut after, attempt, STEP.succeeded, 0, out);
    after.workers[worker] = Activity::Unsure(Attempt {
        written,
        renews: false,
        ..attempt
    });
    Some(after)
}

/// What the item tells about a success whose answer was lost.
fn look_up(state: &State, worker: usize, attempt: Attempt, out: Option<Rule>) -> Option<State> {
    let was_last = state.item.last_lock == Some(attempt.token) || out == Some(Rule::LookUpByToken);
    let row = state.row(worker, 0);
    let token = attempt.token.to_string();
    let mut after = *state;
    after.workers[worker] = Activity::Idle;
    match STEP.lost_answer(&row, &token, was_last, STEP.succeeded) {
        LostAnswer::Written if !attempt.written => after.breach = Some(Breach::FalseReport),
        LostAnswer::ExpiredFirst if attempt.written => after.breach = Some(Breach::FalseReport),
        LostAnswer::StillHeld => {
            apply_outcome(&mut after, attempt, STEP.succeeded, 0, out);
        }
        LostAnswer::Written | LostAnswer::ExpiredFirst | LostAnswer::Unknown => {}
    }
    Some(after)
}

fn crash(state: &State, worker: usize) -> Option<State> {
    let mut after = *state;
    after.crashes = state.crashes.checked_sub(1)?;
    after.workers[worker] = Activity::Idle;
    after.watches[worker] = None;
    Some(after)
}

fn stall(state: &State, worker: usize, attempt: Attempt) -> Option<State> {
    if !attempt.renews {
        return None;
    }
    let mut after = *state;
    after.stalls = state.stalls.checked_sub(1)?;
    after.workers[worker] = Activity::Running(Attempt {
        renews: false,
        ..attempt
    });
    Some(after)
}
