//! The calls of a case, and how they are drawn.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::Union;
use proptest_state_machine::ReferenceStateMachine;

use super::model::{Answer, Model};
use super::step::Step;

pub type Worker = usize;
pub type Job = &'static str;

pub const JOBS: [Job; 3] = ["a", "b", "c"];
pub const WORKERS: usize = 3;

/// One call, short to read: a failed case is a list of these.
#[rustfmt::skip]
#[derive(Debug, Clone)]
pub enum Call {
    Create { step: Step, job: Job },
    CreateMany { step: Step },
    Start { worker: Worker, step: Step, job: Job },
    /// `within`: in a transaction.
    Run { worker: Worker, step: Step, job: Job, within: bool, ending: Ending },
    RunNext { worker: Worker, step: Step, ending: Ending },
    ClaimNext { worker: Worker, step: Step, n: usize },
    End { worker: Worker, job: Job, ending: Ending },
    /// Unfinished.
    Drop { worker: Worker, job: Job },
    /// As a worker that is killed.
    Forget { worker: Worker, job: Job },
    Renew { worker: Worker, job: Job },
    Save { worker: Worker, job: Job },
    AgeLock { job: Job },
    ComeDue { job: Job },
    ExpireLocks { step: Step },
    Reset { step: Step, job: Job },
    ResetMany { step: Step },
    Prune { step: Step },
    /// Reads alone.
    Look { step: Step, job: Job },
}

impl Call {
    /// The step of the call, any where it has none.
    pub fn step(&self) -> Step {
        match *self {
            Self::Create { step, .. }
            | Self::CreateMany { step }
            | Self::Start { step, .. }
            | Self::Run { step, .. }
            | Self::RunNext { step, .. }
            | Self::ClaimNext { step, .. }
            | Self::ExpireLocks { step }
            | Self::Reset { step, .. }
            | Self::ResetMany { step }
            | Self::Prune { step }
            | Self::Look { step, .. } => step,
            _ => Step::Pack,
        }
    }
}

/// How an attempt ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Ending {
    Succeed,
    Fail,
    /// `Retry::never()`
    Never,
    /// `Retry::after(…)`
    After,
    /// `Retry::release()`
    Release,
}

impl Ending {
    /// What `run_job` answers to it.
    pub fn answer_of_run(self) -> Answer {
        match self {
            Self::Succeed => Answer::Done,
            Self::Release => Answer::Released,
            _ => Answer::Failed,
        }
    }
}

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Call;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self::new()).boxed()
    }

    fn transitions(state: &Self) -> BoxedStrategy<Call> {
        let mut calls = of_anybody();
        // Of those who have lost their job as many calls as of the others,
        // although they are few: they are who can do harm.
        for late in [false, true] {
            let guards = state.guards.iter();
            let guards = guards.filter(|guard| late != state.holds(guard));
            let guards: Vec<_> = guards.map(|guard| (guard.worker, guard.job)).collect();
            if !guards.is_empty() {
                calls.push((30, of_holders(guards)));
            }
        }
        let rows = || state.rows.iter();
        let locked: Vec<_> = rows().filter(|(_, row)| row.lock.is_some()).collect();
        let locked: Vec<Job> = locked.into_iter().map(|(job, _)| *job).collect();
        if !locked.is_empty() {
            calls.push((
                20,
                select(locked).prop_map(|job| Call::AgeLock { job }).boxed(),
            ));
        }
        let waiting: Vec<_> = rows().filter(|(_, row)| row.waits).collect();
        let waiting: Vec<Job> = waiting.into_iter().map(|(job, _)| *job).collect();
        if !waiting.is_empty() {
            calls.push((
                12,
                select(waiting)
                    .prop_map(|job| Call::ComeDue { job })
                    .boxed(),
            ));
        }
        Union::new_weighted(calls).boxed()
    }

    fn preconditions(state: &Self, call: &Call) -> bool {
        let has = |worker, job| state.guard(worker, job).is_some();
        match *call {
            // A worker has one guard of a job, so that its calls need no number.
            Call::Start { worker, job, .. } => !has(worker, job),
            Call::ClaimNext { worker, step, n } => {
                !state.next(step, n).into_iter().any(|job| has(worker, job))
            }
            Call::End { worker, job, .. }
            | Call::Drop { worker, job }
            | Call::Forget { worker, job }
            | Call::Renew { worker, job }
            | Call::Save { worker, job } => has(worker, job),
            Call::AgeLock { job } => state.rows.get(job).is_some_and(|row| row.lock.is_some()),
            Call::ComeDue { job } => state.rows.get(job).is_some_and(|row| row.waits),
            _ => true,
        }
    }

    fn apply(mut state: Self, call: &Call) -> Self {
        state.follow(call);
        state
    }
}

#[rustfmt::skip]
fn of_anybody() -> Vec<(u32, BoxedStrategy<Call>)> {
    let worker = || 1..=WORKERS;
    let step = || select(&[Step::Pack, Step::Ship][..]);
    let job = || select(&JOBS[..]);
    vec![
        (4, (step(), job()).prop_map(|(step, job)| Call::Create { step, job }).boxed()),
        (1, step().prop_map(|step| Call::CreateMany { step }).boxed()),
        (20, (worker(), step(), job()).prop_map(|(worker, step, job)| Call::Start { worker, step, job }).boxed()),
        (8, (worker(), step(), job(), any::<bool>(), ending())
            .prop_map(|(worker, step, job, within, ending)| Call::Run { worker, step, job, within, ending }).boxed()),
        (6, (worker(), step(), ending()).prop_map(|(worker, step, ending)| Call::RunNext { worker, step, ending }).boxed()),
        (10, (worker(), step(), 1..=3usize).prop_map(|(worker, step, n)| Call::ClaimNext { worker, step, n }).boxed()),
        (8, step().prop_map(|step| Call::ExpireLocks { step }).boxed()),
        (6, (step(), job()).prop_map(|(step, job)| Call::Reset { step, job }).boxed()),
        (2, step().prop_map(|step| Call::ResetMany { step }).boxed()),
        (2, step().prop_map(|step| Call::Prune { step }).boxed()),
        (3, (step(), job()).prop_map(|(step, job)| Call::Look { step, job }).boxed()),
    ]
}

#[rustfmt::skip]
fn of_holders(guards: Vec<(Worker, Job)>) -> BoxedStrategy<Call> {
    let guard = || select(guards.clone());
    prop_oneof![
        5 => (guard(), ending()).prop_map(|((worker, job), ending)| Call::End { worker, job, ending }),
        1 => guard().prop_map(|(worker, job)| Call::Drop { worker, job }),
        1 => guard().prop_map(|(worker, job)| Call::Forget { worker, job }),
        1 => guard().prop_map(|(worker, job)| Call::Renew { worker, job }),
        1 => guard().prop_map(|(worker, job)| Call::Save { worker, job }),
    ]
    .boxed()
}

fn ending() -> impl Strategy<Value = Ending> {
    use Ending::{After, Fail, Never, Release, Succeed};
    prop_oneof![
        4 => Just(Succeed), 4 => Just(Fail), 1 => Just(Never), 1 => Just(After), 2 => Just(Release),
    ]
}
