//! The protocol as a model, whose every run is tried by a model checker:
//! three workers that claim, stall, crash, renew and finish; a database that
//! executes one statement at a time, and answers, or does not.
//!
//! The model holds what a database does (`database.rs`, the conditions of
//! `src/job_table/store.rs`) and in which order a worker sends it what
//! (`moves.rs`, after `src/claim.rs`, `src/expiry.rs` and `src/ending.rs`).
//! What decides is not in it: the crate's own `Step` is asked.
//!
//! A property that no run can break shows little. So each guard of the
//! protocol is taken out in turn, and the checker has to find the run that
//! breaks the property which it keeps.

mod database;
mod moves;
mod properties;
mod world;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use stateright::{Checker, HasDiscoveries, Model};

use database::Guard;
use properties::{AGREED, ALONE, BOUNDED, COUNTED, ENDED, FENCED, FINAL, POISON, TRUE};
use world::Budget;

/// What the model is made of: three workers, two jobs, `MAX_RETRY` 2, and this.
#[derive(Clone, Copy)]
pub struct Protocol {
    /// One row goes through this many.
    pub steps: u8,
    /// The first job kills every worker that runs it.
    pub killer: bool,
    /// Crashes and stalls come in any number: these make the model endless,
    /// were there no bound.
    pub budget: Budget,
    /// The guard that is taken out.
    pub out: Option<Guard>,
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

/// Tries all runs, until it may stop.
fn try_all(protocol: Protocol, stop: HasDiscoveries) -> impl Checker<Protocol> {
    let checker = protocol.checker().threads(2).finish_when(stop);
    checker.spawn_bfs().join()
}

/// No run breaks a property. `at_least` that many states are to be visited: a
/// model that came to a halt would break none.
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

/// Takes out a guard, and demands that some run breaks the property.
fn breaks(protocol: Protocol, guard: Guard, property: &'static str) {
    let protocol = Protocol {
        out: Some(guard),
        ..protocol
    };
    let stop = HasDiscoveries::AllOf(BTreeSet::from([property]));
    let run = try_all(protocol, stop).assert_any_discovery(property);
    let mut shown = format!("without {guard:?}, not so: {property}\n");
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
fn the_protocol_survives_a_job_that_is_given_back() {
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
    breaks(killer, Guard::Expiry, POISON);
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
fn an_attempt_that_writes_without_its_token_intrudes() {
    breaks(TWO_STEPS, Guard::FenceOfToken, FENCED);
}

#[test]
fn an_attempt_that_writes_without_its_key_ends_other_jobs_of_its_claim() {
    breaks(TWO_STEPS, Guard::FenceOfKey, FENCED);
}

#[test]
fn a_claim_of_a_row_that_is_not_free_makes_two_run_it() {
    breaks(TWO_STEPS, Guard::ClaimOfFree, ALONE);
}

#[test]
fn a_claim_of_a_row_that_is_not_ready_undoes_a_success() {
    breaks(TWO_STEPS, Guard::ClaimOfReady, FINAL);
    breaks(TWO_STEPS, Guard::ClaimOfReady, AGREED);
}

#[test]
fn an_expiry_without_the_dead_token_loses_count() {
    breaks(TWO_STEPS, Guard::ExpiryOfToken, COUNTED);
}

#[test]
fn an_expiry_of_a_lock_that_was_renewed_makes_two_run_it() {
    breaks(TWO_STEPS, Guard::ExpiryOfOld, ALONE);
}

#[test]
fn an_expiry_of_another_steps_attempt_undoes_a_success() {
    breaks(TWO_STEPS, Guard::ExpiryOfOwn, FINAL);
}

#[test]
fn an_expiry_that_does_not_count_goes_on_for_ever() {
    breaks(TWO_STEPS, Guard::ExpiryCounts, BOUNDED);
    breaks(TWO_STEPS, Guard::ExpiryCounts, COUNTED);
}

#[test]
fn a_job_whose_worker_died_is_stuck_without_expiry() {
    breaks(TWO_STEPS, Guard::Expiry, ENDED);
}

#[test]
fn a_claim_that_is_not_looked_up_is_held_by_nobody() {
    breaks(ONE_STEP, Guard::ClaimLooksUp, TRUE);
}

#[test]
fn a_claim_that_is_sent_again_with_its_token_brings_back_an_attempt() {
    breaks(ONE_STEP, Guard::FreshToken, FENCED);
}

#[test]
fn an_end_that_is_not_looked_up_is_taken_for_lost() {
    breaks(ONE_STEP, Guard::EndLooksUp, TRUE);
}

/// Hence `DATETIME(6)` on MySQL, whose plain `DATETIME` has whole seconds.
#[test]
fn an_end_is_not_traceable_by_a_coarse_clock() {
    breaks(ONE_STEP, Guard::FineClock, TRUE);
}
