//! What the calls report, as metrics.

use ::metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

use crate::observer::{Event, Observer, Transition};

const TRANSITIONS: &str = "status_tracker_transitions_total";
const RUN_DURATION: &str = "status_tracker_run_duration_seconds";
const RUNNING: &str = "status_tracker_running";

/// Records what the calls do through the [`metrics`](https://docs.rs/metrics) facade,
/// for whichever recorder the program has installed. With the feature `metrics`.
///
/// | name | type | labels | what |
/// |---|---|---|---|
/// | `status_tracker_transitions_total` | counter | `table`, `step`, `transition` | jobs that made the transition; the names are those of [`Transition::name`] |
/// | `status_tracker_run_duration_seconds` | histogram | `table`, `step`, `transition` | how long the business logic of an attempt took, by what became of it |
/// | `status_tracker_running` | gauge | `table`, `step` | attempts that run in this process |
///
/// No label holds a key or the text of an error, so there are as many series as tables
/// and steps have transitions.
///
/// Register it once, when the recorder is installed. Registered twice, it counts twice.
/// A guard that is leaked with [`std::mem::forget`] counts as running for ever.
///
/// ```
/// use diesel_status_tracker::{MetricsObserver, observe};
///
/// // First install a recorder, as of the crate `metrics-exporter-prometheus`.
/// observe(MetricsObserver::new()).forever();
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct MetricsObserver {}

impl MetricsObserver {
    /// Describes the metrics to the recorder.
    #[must_use]
    pub fn new() -> Self {
        describe_counter!(
            TRANSITIONS,
            Unit::Count,
            "Jobs that made a transition, by table, step and transition."
        );
        describe_histogram!(
            RUN_DURATION,
            Unit::Seconds,
            "How long the business logic of an attempt took, by table, step and outcome."
        );
        describe_gauge!(
            RUNNING,
            Unit::Count,
            "Attempts that run in this process, by table and step."
        );
        Self {}
    }
}

impl Default for MetricsObserver {
    fn default() -> Self {
        Self::new()
    }
}

impl Observer for MetricsObserver {
    fn observe(&self, event: &Event<'_>) {
        let table = event.table.to_string();
        let step = event.step.to_owned();
        let transition = event.transition.name();
        let running = || gauge!(RUNNING, "table" => table.clone(), "step" => step.clone());
        if event.transition == Transition::Started {
            running().increment(1);
        } else if let Some(elapsed) = event.elapsed {
            running().decrement(1);
            histogram!(
                RUN_DURATION,
                "table" => table.clone(), "step" => step.clone(), "transition" => transition
            )
            .record(elapsed);
        }
        counter!(TRANSITIONS, "table" => table, "step" => step, "transition" => transition)
            .increment(event.jobs as u64);
    }
}
