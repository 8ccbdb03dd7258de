//! What a user says of an item and of a step: [`Tracked`] and [`StatusTracked`].

use std::fmt::Debug;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use status_protocol::{Failure, Step};

use crate::error::{Error, Result};
use crate::item::names::{Attributes, KeyAttributes};
use crate::item::value::status_value;
use crate::table::Table;

/// The type of a step's keys.
pub type KeyOf<S> = <<S as StatusTracked>::Job as Tracked>::Key;
/// The type of a step's status codes.
pub type StatusOf<S> = <<S as StatusTracked>::Job as Tracked>::Status;
/// The type of a step's updates.
pub type UpdatesOf<S> = <<S as StatusTracked>::Job as Tracked>::Updates;

/// The item of a tracked table, as the user's own type that `serde` reads. It
/// need not have the tracked attributes.
///
/// ```
/// use dynamodb_status_tracker::{Attributes, KeyAttributes, Tracked};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, Deserialize)]
/// struct Invoice {
///     tenant: String,
///     number: i64,
///     total: Option<i64>,
/// }
///
/// #[derive(Default, Serialize)]
/// struct InvoiceUpdates {
///     total: Option<i64>,
/// }
///
/// impl Tracked for Invoice {
///     type Key = (String, i64);
///     type Status = i32;
///     type Updates = InvoiceUpdates;
///     const KEY: KeyAttributes = KeyAttributes::with_sort("tenant", "number");
///     const ATTRIBUTES: Attributes = Attributes { status: "state", ..Attributes::DEFAULT };
/// }
/// ```
pub trait Tracked: DeserializeOwned + Send + Sync + 'static {
    /// The key: a text, a number or bytes; a pair of them for a table with a sort
    /// key.
    type Key: Serialize + Clone + Send + Sync + 'static;
    /// The status: an integer, or an enum that `serde` writes as a text or a number.
    type Status: Copy + PartialEq + Debug + Serialize + DeserializeOwned + Send + Sync + 'static;
    /// The attributes that a job may set, as a struct that `serde` writes. A field
    /// that is `None` leaves its attribute as it is.
    type Updates: Serialize + Default + Send + Sync + 'static;

    /// The names of the key's attributes.
    const KEY: KeyAttributes;
    /// The names of the tracked attributes.
    const ATTRIBUTES: Attributes = Attributes::DEFAULT;
    /// Final statuses of one step from which another step starts: those in
    /// `MORE_PENDING` of all steps. They keep an item in the index of open jobs.
    /// None by default; a step whose `MORE_PENDING` is not listed is refused on
    /// first use.
    const CONTINUES: &'static [Self::Status] = &[];
}

/// One step of tracked work on the items of a table: five status codes and a
/// policy. Its calls are those of [`Calls`](crate::Calls), and for threads those
/// of [`BlockingCalls`](crate::blocking::BlockingCalls).
///
/// A plain table has one step, implemented on the item type itself; a pipeline
/// has several, each a type of its own with the same [`Job`](Self::Job).
///
/// ```
/// # use dynamodb_status_tracker::{KeyAttributes, StatusTracked, Tracked};
/// # #[derive(serde::Deserialize)] struct Job { id: String }
/// # impl Tracked for Job {
/// #     type Key = String; type Status = i32; type Updates = (); const KEY: KeyAttributes = KeyAttributes::partition("id");
/// # }
/// use std::time::Duration;
///
/// impl StatusTracked for Job {
///     type Job = Job;
///     const PENDING: i32 = 10;
///     const IN_PROGRESS: i32 = 20;
///     const FAILED: i32 = 30;
///     const SUCCEEDED: i32 = 40;
///     const IGNORED: i32 = 50;
///     const MAX_RETRY: i32 = 5;
///     const LOCK_EXPIRE: Duration = Duration::from_secs(60);
/// }
/// ```
pub trait StatusTracked: Sized + Send + Sync + 'static {
    /// The item type.
    type Job: Tracked;

    /// A new job, and one that was reset.
    const PENDING: StatusOf<Self>;
    /// An attempt is running.
    const IN_PROGRESS: StatusOf<Self>;
    /// The last attempt failed; it may be tried again.
    const FAILED: StatusOf<Self>;
    /// Done; never run again unless reset.
    const SUCCEEDED: StatusOf<Self>;
    /// Failed `MAX_RETRY` times in a row; left alone until reset.
    const IGNORED: StatusOf<Self>;
    /// More statuses from which this step starts, such as the `SUCCEEDED` of an
    /// earlier step. None by default. [`Tracked::CONTINUES`] must list them.
    const MORE_PENDING: &'static [StatusOf<Self>] = &[];
    /// A worker counts as dead when another one has watched its lock for this time
    /// and has seen no renewal. 15 minutes by default. It must be longer than any
    /// attempt takes, unless the attempt calls [`renew`](crate::RunningJob::renew).
    /// Less than a millisecond is refused on first use.
    const LOCK_EXPIRE: Duration = Duration::from_secs(15 * 60);
    /// Failures in a row, crashes included, after which a job is ignored.
    /// 3 by default.
    const MAX_RETRY: i32 = 3;
    /// How long a job waits after its failure number `retry` in a row, crashes
    /// included, before it is ready again; see [`backoff`](crate::backoff).
    /// `None` by default: it is ready at once. If it panics, the job is ready at
    /// once, and its `errors` say so.
    ///
    /// The end of the pause is a time by the clock of the worker that failed, and
    /// other workers compare it with their own clocks. Where these differ by an
    /// hour, the job runs an hour too early or too late.
    const RETRY_DELAY: Option<fn(retry: i32) -> Duration> = None;
    /// Conflicts in a row with other transactions after which a worker counts a
    /// failed attempt; before that it releases the job each time. 10 by default.
    const MAX_CONFLICTS: i32 = 10;

    /// Changes what is recorded of a failed attempt: nothing by default.
    ///
    /// It is called for each error and each panic of the business logic, before
    /// anything of it is written to `errors` or to the log. It gets up to 64 KiB of
    /// each text; of the result 8 KiB are kept. Shorter texts make each write of the
    /// item cheaper. If `redact` itself panics, neither text is kept.
    fn redact(failure: &mut Failure) {
        let _as_it_is = failure;
    }
}

/// The resolution of the stamps.
const SHORTEST_LOCK: Duration = Duration::from_millis(1);

/// The constants of `S` as values, checked.
pub(crate) fn step<S: StatusTracked>(table: &Table) -> Result<Step<StatusOf<S>>> {
    let step = Step {
        pending: S::PENDING,
        in_progress: S::IN_PROGRESS,
        failed: S::FAILED,
        succeeded: S::SUCCEEDED,
        ignored: S::IGNORED,
        more_pending: S::MORE_PENDING,
        lock_expire: S::LOCK_EXPIRE,
        max_retry: S::MAX_RETRY,
        retry_delay: S::RETRY_DELAY,
        max_conflicts: S::MAX_CONFLICTS,
        has_run_at: true,
        redact: S::redact,
    };
    match problem::<S>(&step) {
        None => Ok(step),
        Some(problem) => Err(Error::Misconfigured {
            job: table.name().into(),
            problem,
        }),
    }
}

fn problem<S: StatusTracked>(step: &Step<StatusOf<S>>) -> Option<String> {
    let name = std::any::type_name::<S>();
    if let Some((one, other)) = step.clash() {
        return Some(format!(
            "{one} and {other} of step `{name}` are the same status; give each its own"
        ));
    }
    let is_listed = |status| S::Job::CONTINUES.contains(status);
    if let Some(status) = S::MORE_PENDING.iter().find(|status| !is_listed(status)) {
        return Some(format!(
            "{status:?} is in MORE_PENDING of step `{name}`, and not in CONTINUES of its item; add it there, so that the index keeps such items"
        ));
    }
    if step.lock_expire < SHORTEST_LOCK {
        return Some(format!(
            "LOCK_EXPIRE of step `{name}` is {:?}, and each lock would be lost as soon as it is taken; make it longer than an attempt takes",
            step.lock_expire
        ));
    }
    let codes = step.codes();
    let codes = codes.iter().map(|(_, code)| code).chain(step.more_pending);
    for code in codes {
        if let Err(error) = status_value(code) {
            return Some(format!("status {code:?} of step `{name}`: {error}"));
        }
    }
    if let Some(name) = S::Job::ATTRIBUTES.clash(&S::Job::KEY) {
        return Some(format!(
            "two tracked attributes are called `{name}`; give each its own name"
        ));
    }
    None
}
