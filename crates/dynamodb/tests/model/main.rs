//! The protocol as a model, all of whose runs are tried: workers whose clocks differ
//! by hours, one job, crashes, workers that stall, lost answers, claims that arrive
//! late, reads that are old.
//!
//! It asks `status_protocol` for each decision, as `src/attempt/` does, and mirrors the
//! conditions of `src/db/statements.rs`. Each rule has a test that takes it out and
//! finds the run that goes wrong.

mod moves;
mod world;

use std::collections::{HashMap, VecDeque};

use world::{Breach, Rule, State};

/// The run that led to a state: what was done, newest first.
type Parents = HashMap<State, Option<(State, String)>>;

/// Tries all runs. Returns all states, or the first run that breaks a promise.
fn explore(out: Option<Rule>) -> Result<Parents, (Breach, Vec<String>)> {
    let first = State::new();
    let mut parents: Parents = HashMap::from([(first, None)]);
    let mut next = VecDeque::from([first]);
    while let Some(state) = next.pop_front() {
        for (name, after) in moves::all(&state, out) {
            if parents.contains_key(&after) {
                continue;
            }
            parents.insert(after, Some((state, name)));
            if let Some(breach) = after.breach {
                return Err((breach, run_to(&parents, after)));
            }
            next.push_back(after);
        }
    }
    Ok(parents)
}

fn run_to(parents: &Parents, mut state: State) -> Vec<String> {
    let mut run = Vec::new();
    while let Some(Some((before, name))) = parents.get(&state) {
        run.push(name.clone());
        state = *before;
    }
    run.reverse();
    run
}

#[track_caller]
fn goes_wrong_without(rule: Rule, expected: Breach) {
    let (breach, run) = explore(Some(rule)).expect_err("no run goes wrong");
    println!("without {rule:?}: {breach:?}\n  {}", run.join("\n  "));
    assert_eq!(breach, expected);
}

#[test]
fn no_run_breaks_a_promise_and_from_each_state_the_job_can_end() {
    let parents = explore(None).unwrap_or_else(|(breach, run)| panic!("{breach:?}: {run:#?}"));
    println!("{} states", parents.len());
    assert!(
        parents.len() > 10_000,
        "the model has become too small to say something"
    );
    // Backwards from the ends.
    let mut before: HashMap<State, Vec<State>> = HashMap::new();
    for state in parents.keys() {
        for (_, after) in moves::all(state, None) {
            before.entry(after).or_default().push(*state);
        }
    }
    let mut ends: Vec<_> = parents
        .keys()
        .filter(|state| state.has_ended())
        .copied()
        .collect();
    let mut can_end: std::collections::HashSet<_> = ends.iter().copied().collect();
    while let Some(state) = ends.pop() {
        for earlier in before.get(&state).into_iter().flatten() {
            if can_end.insert(*earlier) {
                ends.push(*earlier);
            }
        }
    }
    if let Some(stuck) = parents.keys().find(|state| !can_end.contains(state)) {
        panic!("stuck: {stuck:?} after {:#?}", run_to(&parents, *stuck));
    }
}

#[test]
fn an_expiry_by_the_wall_clocks_takes_jobs_from_live_workers() {
    goes_wrong_without(Rule::OwnWatch, Breach::LiveAttemptExpired);
}

#[test]
fn an_expiry_must_demand_the_counter_that_was_watched() {
    goes_wrong_without(Rule::UnchangedCounter, Breach::LiveAttemptExpired);
}

#[test]
fn a_watch_must_begin_anew_with_each_renewal() {
    goes_wrong_without(Rule::WatchBeginsAnew, Breach::LiveAttemptExpired);
}

#[test]
fn a_claim_must_demand_that_the_job_is_ready() {
    goes_wrong_without(Rule::ClaimDemandsReady, Breach::RunAfterSuccess);
}

#[test]
fn a_claim_must_demand_that_nobody_holds_the_item() {
    goes_wrong_without(Rule::ClaimDemandsFree, Breach::TwoHolders);
}

#[test]
fn an_outcome_must_demand_the_token() {
    goes_wrong_without(Rule::Fence, Breach::LateWrite);
}

#[test]
fn an_outcome_must_demand_the_number_of_its_claim() {
    goes_wrong_without(Rule::ClaimNumber, Breach::LateWrite);
}

#[test]
fn an_outcome_whose_answer_was_lost_must_be_looked_up_by_its_token() {
    goes_wrong_without(Rule::LookUpByToken, Breach::FalseReport);
}
