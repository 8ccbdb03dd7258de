//! What must hold in every state, and in every run.

use stateright::Property;
use status_protocol::Start;

use crate::Protocol;
use crate::database::{Clock, JOBS, MAX_RETRY, Phase, Row, STEPS};
use crate::world::{Activity, State, fits};

pub const ALONE: &str = "one attempt at a time runs a job";
pub const FENCED: &str = "only the holder of the lock writes to the row";
pub const FINAL: &str = "success is final";
pub const COUNTED: &str = "each failure is counted once, up to MAX_RETRY";
pub const TRUE: &str = "what a worker is told is true";
pub const AGREED: &str = "the crate and the database agree on what may start";
pub const BOUNDED: &str = "every run ends";
pub const ENDED: &str = "every job ends succeeded or ignored";
pub const POISON: &str = "a job that kills its workers ends ignored";

pub fn all(protocol: &Protocol) -> Vec<Property<Protocol>> {
    let mut properties: Vec<Property<Protocol>> = vec![
        Property::always(ALONE, |_, state: &State| {
            (0..JOBS).all(|job| runners(state, job) <= 1)
        }),
        Property::always(FENCED, |_, state: &State| !state.broken.foreign_write),
        Property::always(FINAL, |_, state: &State| {
            state.rows.iter().all(|row| fits(row.done, row.status))
        }),
        Property::always(COUNTED, |protocol: &Protocol, state: &State| {
            let lost = protocol.budget.lost_answers - state.left.lost_answers;
            state.rows.iter().all(|row| counted(row, lost))
        }),
        Property::always(TRUE, |_, state: &State| !state.broken.false_report),
        Property::always(AGREED, |protocol: &Protocol, state: &State| {
            (0..protocol.steps).all(|step| {
                state
                    .rows
                    .iter()
                    .all(|row| agreed(protocol, row, step, &state.clock))
            })
        }),
        Property::always(BOUNDED, |_, state: &State| !state.broken.detour),
        // This check is sound because no run visits a state twice: `BOUNDED`.
        Property::eventually(ENDED, |protocol: &Protocol, state: &State| {
            let last = STEPS[usize::from(protocol.steps) - 1].succeeded;
            state
                .rows
                .iter()
                .all(|row| row.status == last || row.status.1 == Phase::Ignored)
        }),
    ];
    if protocol.killer {
        properties.push(Property::eventually(POISON, |_, state: &State| {
            let poison = |row: &&Row| row.kills;
            state
                .rows
                .iter()
                .find(poison)
                .is_some_and(|row| row.status == STEPS[0].ignored)
        }));
    }
    properties
}

/// The workers that run a job, and whose lock has not expired as far as they can
/// know.
fn runners(state: &State, job: usize) -> usize {
    let runs = |activity: &Activity| matches!(activity, Activity::Running(attempt) if attempt.lock_at.is_some_and(|at| state.clock.is_fresh(at)));
    state
        .workers
        .iter()
        .filter(|worker| runs(&worker[job]))
        .count()
}

fn agreed(protocol: &Protocol, row: &Row, step: u8, clock: &Clock) -> bool {
    let start = STEPS[usize::from(step)].may_start(&row.state(clock));
    row.is_ready(step, protocol.out) == (start == Start::Ready)
        && row.is_expired(step, clock, protocol.out) == (start == Start::Expired)
}

/// After a lost answer a failure may be written twice, but it is counted once.
fn counted(row: &Row, lost_answers: u8) -> bool {
    let shown = match row.status.1 {
        Phase::Pending | Phase::Succeeded => row.retry == 0,
        Phase::InProgress => row.retry < MAX_RETRY,
        Phase::Failed => (1..MAX_RETRY).contains(&row.retry),
        Phase::Ignored => row.retry == MAX_RETRY,
    };
    shown && (row.retry..=row.retry + lost_answers).contains(&row.failures)
}
