//! Random sequences of calls, by several workers on connections of their own,
//! held against a model: each answer, and each row after each call.
//!
//! A failure is reduced to the fewest calls that show it. PROPTEST_CASES sets
//! how many sequences are tried.

mod answer;
mod call;
mod model;
mod row;
mod rules;
mod step;
mod system;

use std::cell::RefCell;
use std::sync::atomic::Ordering;

use proptest::test_runner::{Config, RngSeed, TestError, TestRunner};
use proptest_state_machine::ReferenceStateMachine;

use model::Model;
use system::System;

/// The calls of one case, at most.
const LONGEST: usize = 24;

#[test]
fn each_call_does_to_the_rows_what_the_model_says() {
    let mut config = Config {
        failure_persistence: None,
        max_shrink_iters: 5000,
        ..Config::default()
    };
    let seed = match config.rng_seed {
        RngSeed::Fixed(seed) => seed,
        RngSeed::Random => uuid::Uuid::new_v4().as_u64_pair().0,
    };
    config.rng_seed = RngSeed::Fixed(seed);

    let system = RefCell::new(System::new());
    let cases = Model::sequential_strategy(1..LONGEST);
    let result = TestRunner::new(config).run(&cases, |(mut model, calls, seen)| {
        let mut system = system.borrow_mut();
        system.begin(&model)?;
        for call in &calls {
            // Of these, those that are seen to run are kept when it is reduced.
            if let Some(seen) = &seen {
                seen.fetch_add(1, Ordering::SeqCst);
            }
            model.follow(call);
            system.follow(call, &model)?;
        }
        Ok(())
    });

    match result {
        Ok(()) => {}
        Err(TestError::Fail(why, (_, calls, _))) => {
            let calls: String = calls.iter().map(|call| format!("    {call:?}\n")).collect();
            panic!(
                "with the jobs \"a\" and \"b\" to pack, these calls:\n{calls}{why}\nPROPTEST_RNG_SEED={seed}"
            );
        }
        Err(abort) => panic!("{abort}"),
    }
}
