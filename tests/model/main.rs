//! The protocol as a model, of which a model checker tries every run: three workers
//! that claim, stall, crash, renew and finish; a database that executes one
//! statement at a time, and answers or does not.
//!
//! The model has what a database does (`database.rs`, the conditions of
//! `src/sql/statements.rs`) and the order in which a worker sends statements
//! (`moves.rs`, as in `src/attempt/claim.rs`, `src/attempt/expiry.rs` and `src/attempt/outcome.rs`). It
//! makes no decisions: for these it asks `Step` of `status_protocol`. A worker that
//! writes outcomes and claims jobs with one commit makes both steps in a row, which is
//! one of the runs here; each half of a lost answer is looked up on its own.
//!
//! A property that no run can break shows little. So each rule of the protocol is
//! taken out in turn, and the checker must find a run that breaks the property
//! which the rule protects.

mod database;
mod moves;
mod properties;
mod world;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use stateright::{Checker, HasDiscoveries, Model};

use database::Rule;
use properties::{AGREED, ALONE, BOUNDED, COUNTED, ENDED, FENCED, FINAL, POISON, TRUE};
use world::Budget;

/// The model has three workers, two jobs, `MAX_RETRY` 2, and this.
#[derive(Clone, Copy)]
pub struct Protocol {
    /// Steps that a row goes through.
    pub steps: u8,
    /// The first job kills every worker that runs it.
    pub killer: bool,
    /// A bound for what would make the model endless. Crashes and stalls have none.
    pub budget: Budget,
    /// The rule that is taken out.
    pub out: Option<Rule>,
}

const ONE_STEP: Protocol = Protocol {
    steps: 1,
    killer: false,
    budget: Budget {
        lost_answers: 1,
        renewals: 0,
        releases: 0,
    },
    out: None,
};

const TWO_STEPS: Protocol = Protocol {
    steps: 2,
    killer: false,
    budget: Budget {
        lost_answers: 0,
        renewals: 1,
        releases: 0,
    },
    out: None,
};

/// Tries all runs, until `stop`.
fn try_all(protocol: Protocol, stop: HasDiscoveries) -> impl Checker<Protocol> {
    let checker = protocol.checker().threads(2).finish_when(stop);
    checker.spawn_bfs().join()
}

/// No run breaks a property. It must visit `at_least` this many states, because a
/// model that stops early would break none.
fn holds(protocol: Protocol, at_least: usize) {
    let checker = try_all(protocol, HasDiscoveries::AnyFailures);
    println!(
        "{} states, {} steps between them, the longest run has {}",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
    );
    checker.assert_properties();
    assert!(checker.unique_state_count() >= at_least);
}

/// Takes out a rule. Then some run must break the property.
fn breaks(protocol: Protocol, rule: Rule, property: &'static str) {
    let protocol = Protocol {
        out: Some(rule),
        ..protocol
    };
    let stop = HasDiscoveries::AllOf(BTreeSet::from([property]));
    let run = try_all(protocol, stop).assert_any_discovery(property);
    let mut shown = format!("without {rule:?}, not so: {property}\n");
    for action in run.into_actions() {
        writeln!(shown, "  {action:?}").unwrap();
    }
    println!("{shown}");
}

/// About 133,000 states, with 861,000 steps between them.
#[test]
fn the_protocol_survives_a_lost_answer() {
    holds(ONE_STEP, 100_000);
}

/// About 76,000 states, with 486,000 steps between them.
#[test]
fn the_protocol_survives_two_steps_on_one_row() {
    holds(TWO_STEPS, 60_000);
}

#[test]
fn the_protocol_survives_a_job_that_is_released() {
    let budget = Budget {
        lost_answers: 0,
        renewals: 0,
        releases: 1,
    };
    holds(
        Protocol {
            budget,
            ..TWO_STEPS
        },
        50_000,
    );
}

#[test]
fn a_job_that_kills_its_workers_ends_ignored() {
    let killer = Protocol {
        killer: true,
        ..ONE_STEP
    };
    holds(killer, 10_000);
    breaks(killer, Rule::Expiry, POISON);
}

/// All of it at once.
#[test]
#[ignore = "takes minutes; see CONTRIBUTING"]
fn the_protocol_survives_all_at_once() {
    let budget = Budget {
        lost_answers: 1,
        renewals: 1,
        releases: 0,
    };
    holds(
        Protocol {
            budget,
            ..TWO_STEPS
        },
        1_000_000,
    );
}

#[test]
fn without_the_token_an_attempt_writes_to_a_row_of_another() {
    breaks(TWO_STEPS, Rule::FenceOfToken, FENCED);
}

#[test]
fn without_the_key_an_attempt_writes_to_other_jobs_of_its_claim() {
    breaks(TWO_STEPS, Rule::FenceOfKey, FENCED);
}

#[test]
fn a_claim_of_a_row_that_is_not_free_lets_two_attempts_run() {
    breaks(TWO_STEPS, Rule::ClaimOfFree, ALONE);
}

#[test]
fn a_claim_of_a_row_that_is_not_ready_undoes_a_success() {
    breaks(TWO_STEPS, Rule::ClaimOfReady, FINAL);
    breaks(TWO_STEPS, Rule::ClaimOfReady, AGREED);
}

#[test]
fn an_expiry_without_the_dead_token_counts_wrong() {
    breaks(TWO_STEPS, Rule::ExpiryOfToken, COUNTED);
}

#[test]
fn an_expiry_of_a_renewed_lock_lets_two_attempts_run() {
    breaks(TWO_STEPS, Rule::ExpiryOfOld, ALONE);
}

#[test]
fn an_expiry_of_an_attempt_of_another_step_undoes_a_success() {
    breaks(TWO_STEPS, Rule::ExpiryOfOwn, FINAL);
}

#[test]
fn an_expiry_that_does_not_count_never_ends() {
    breaks(TWO_STEPS, Rule::ExpiryCounts, BOUNDED);
    breaks(TWO_STEPS, Rule::ExpiryCounts, COUNTED);
}

#[test]
fn a_job_whose_worker_died_is_stuck_without_expiry() {
    breaks(TWO_STEPS, Rule::Expiry, ENDED);
}

#[test]
fn a_claim_that_is_not_looked_up_leaves_a_lock_without_an_attempt() {
    breaks(ONE_STEP, Rule::ClaimLooksUp, TRUE);
}

#[test]
fn a_claim_that_is_sent_again_with_its_token_revives_a_lost_attempt() {
    breaks(ONE_STEP, Rule::FreshToken, FENCED);
}

#[test]
fn an_outcome_that_is_not_looked_up_is_taken_for_lost() {
    breaks(ONE_STEP, Rule::OutcomeLooksUp, TRUE);
}

/// This is why MySQL needs `DATETIME(6)`: a plain `DATETIME` has whole seconds.
#[test]
fn with_a_coarse_clock_a_lost_answer_cannot_be_traced() {
    breaks(ONE_STEP, Rule::FineClock, TRUE);
}
