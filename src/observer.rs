//! What the calls report: an event for each transition, to observers that come
//! and go.

use std::any::{Any, TypeId, type_name};
use std::fmt::{self, Debug};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::table_info::TableInfo;
use crate::wake;
use status_protocol::Failure;
use status_protocol::panics::caught;

/// A step in the life of a job, as an [`Observer`] sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Transition {
    /// Rows were inserted.
    Created,
    /// An attempt has begun.
    Started,
    /// The attempt has saved updates in mid-run.
    Saved,
    /// The attempt succeeded, and that is recorded.
    Succeeded,
    /// The attempt failed; the job will be tried again.
    Failed {
        /// Failures in a row, this one included.
        retry: i32,
    },
    /// The attempt failed, and the job is left alone from now on.
    Ignored {
        /// Failures in a row, this one included.
        retry: i32,
    },
    /// The job was released, with no attempt counted.
    Released,
    /// The attempt lost its lock, or its outcome could not be recorded, or it is not
    /// known whether it was. Another attempt may have the job.
    Lost,
    /// The lock of a dead attempt has expired, which is one more failure of the
    /// job.
    Expired {
        /// Failures in a row, this one included.
        retry: i32,
        /// Whether the job is left alone from now on.
        ignored: bool,
    },
    /// Jobs were reset.
    Reset,
    /// Old rows were deleted.
    Pruned,
}

impl Transition {
    /// A name for logs and labels: `created`, `started`, `saved`, `succeeded`,
    /// `failed`, `ignored`, `released`, `lost`, `expired`, `expired_ignored`, `reset`
    /// or `pruned`.
    ///
    /// ```
    /// use diesel_status_tracker::Transition;
    ///
    /// assert_eq!(Transition::Failed { retry: 2 }.name(), "failed");
    /// ```
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Started => "started",
            Self::Saved => "saved",
            Self::Succeeded => "succeeded",
            Self::Failed { .. } => "failed",
            Self::Ignored { .. } => "ignored",
            Self::Released => "released",
            Self::Lost => "lost",
            Self::Expired { ignored: false, .. } => "expired",
            Self::Expired { ignored: true, .. } => "expired_ignored",
            Self::Reset => "reset",
            Self::Pruned => "pruned",
        }
    }
}

/// One transition of a job, or of several jobs by one call.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Event<'a> {
    /// The table, with its schema.
    pub table: &'a TableInfo,
    /// The name of the step's type, without its path.
    pub step: &'a str,
    /// The job's key; `None` where [`jobs`](Self::jobs) were changed together, and where
    /// the database has made the key ([`create`](crate::StatusTracked::create)).
    pub key: Option<&'a dyn Debug>,
    /// What became of it.
    pub transition: Transition,
    /// How many jobs: 1, or more for `create_many`, `reset_many` and `prune`.
    pub jobs: usize,
    /// The number of the attempt: 1, and 1 more for each failure in a row before it.
    /// `None` where no attempt is concerned.
    pub attempt: Option<i32>,
    /// Why the attempt failed, after [`redact`](crate::StatusTracked::redact). `None`
    /// where it did not fail. [`Lost`](Transition::Lost) has it if the business logic
    /// failed and that could not be recorded.
    pub error: Option<&'a Failure>,
    /// How long the business logic took, at the end of an attempt that has begun: from
    /// the claim, or from when the worker began it. In a transaction the commit counts
    /// too.
    pub elapsed: Option<Duration>,
}

impl Debug for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("table", &format_args!("{}", self.table))
            .field("step", &self.step)
            .field("key", &self.key)
            .field("transition", &self.transition)
            .field("jobs", &self.jobs)
            .field("attempt", &self.attempt)
            .field("error", &self.error.map(Failure::summary))
            .field("elapsed", &self.elapsed)
            .finish_non_exhaustive()
    }
}

/// Is told of each transition that this process makes: for metrics, alerts, a
/// progress bar, a test.
///
/// It is called after the transition is recorded in the database, on the thread that
/// has made it. That thread waits until it returns, and no other thread does. The events
/// of one attempt come in order. Those of two attempts may not: once an outcome is
/// recorded, another thread may begin the next attempt, and tell of it first. A
/// transition that may have been recorded, where the database does not tell, is
/// [`Lost`](Transition::Lost) if it ended an attempt, and is not told otherwise.
///
/// A call with `&mut conn` inside an open transaction tells before the caller
/// commits. If the caller then rolls back, the transition has not happened, and no
/// event says so.
///
/// A closure is enough:
///
/// ```
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// use diesel_status_tracker::{Event, Transition};
///
/// static SUCCEEDED: AtomicUsize = AtomicUsize::new(0);
///
/// let observing = diesel_status_tracker::observe(|event: &Event<'_>| {
///     if event.transition == Transition::Succeeded {
///         SUCCEEDED.fetch_add(1, Ordering::Relaxed);
///     }
/// });
/// // … the program …
/// drop(observing);
/// ```
pub trait Observer: Send + Sync {
    /// Jobs have made a transition. A panic is caught and logged.
    fn observe(&self, event: &Event<'_>);
}

impl<F: Fn(&Event<'_>) + Send + Sync> Observer for F {
    fn observe(&self, event: &Event<'_>) {
        self(event);
    }
}

/// Tells `observer` of every transition that this process makes, on any table, until
/// the return value is dropped. Any number of observers may be told side by side.
///
/// [`StatusTracked::observe`](crate::StatusTracked::observe) is the same for one step,
/// and [`Worker::observer`](crate::Worker::observer) for one worker.
///
/// Without an observer the calls build no events. See [`Observer`] for an example.
pub fn observe(observer: impl Observer + 'static) -> Observing {
    register(None, Arc::new(observer))
}

/// An observer is told, until this is dropped. A call of the observer that is under
/// way on another thread then may end later.
#[derive(Debug)]
#[must_use = "the observer is told only while this value lives: keep it, or call `forever`"]
pub struct Observing {
    /// The number of the registration.
    number: u64,
}

impl Observing {
    /// The observer is told as long as the process runs.
    ///
    /// ```
    /// use diesel_status_tracker::Event;
    ///
    /// let print = |event: &Event<'_>| println!("{} {}", event.table, event.transition.name());
    /// diesel_status_tracker::observe(print).forever();
    /// ```
    pub fn forever(self) {
        std::mem::forget(self);
    }
}

impl Drop for Observing {
    fn drop(&mut self) {
        change(|all| all.retain(|registered| registered.number != self.number));
    }
}

#[derive(Clone)]
struct Registered {
    number: u64,
    /// The step whose events it wants; `None` for all.
    step: Option<TypeId>,
    observer: Arc<dyn Observer>,
}

/// The observers of the process.
static REGISTERED: RwLock<Option<Arc<[Registered]>>> = RwLock::new(None);
/// How many there are. A call that nobody wants to hear of reads this and no more.
static LISTENING: AtomicUsize = AtomicUsize::new(0);

/// Tells `observer` of the events of one step, or of all.
pub(crate) fn register(step: Option<TypeId>, observer: Arc<dyn Observer>) -> Observing {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    change(|all| {
        all.push(Registered {
            number,
            step,
            observer,
        });
    });
    Observing { number }
}

fn change(change: impl FnOnce(&mut Vec<Registered>)) {
    let before = {
        let mut registered = REGISTERED.write().unwrap_or_else(PoisonError::into_inner);
        let mut all = registered.as_deref().unwrap_or_default().to_vec();
        change(&mut all);
        LISTENING.store(all.len(), Ordering::Release);
        registered.replace(all.into())
    };
    // An observer is the user's, and its drop may do anything: not under the lock.
    crate::panics::discard("the drop of an observer", before);
}

/// The step whose calls report.
#[derive(Clone, Copy)]
pub(crate) struct Source {
    step: TypeId,
    type_name: &'static str,
    table: fn() -> &'static TableInfo,
}

impl Source {
    /// The step `S`, on the rows of this table.
    pub fn of<S: 'static>(table: fn() -> &'static TableInfo) -> Self {
        Self {
            step: TypeId::of::<S>(),
            type_name: type_name::<S>(),
            table,
        }
    }

    /// The table of the rows.
    pub fn table(&self) -> &'static TableInfo {
        (self.table)()
    }

    /// The name of the step's type, with its path.
    pub fn type_name(&self) -> &'static str {
        self.type_name
    }

    /// Whether anybody in the process listens to any step.
    #[expect(clippy::unused_self, reason = "only who reports asks")]
    pub fn may_be_heard(&self) -> bool {
        LISTENING.load(Ordering::Acquire) > 0
    }

    /// Who wants to hear of this step: `own`, and those that are registered. `None`
    /// where nobody does; then no event need be built.
    pub fn audience<'a>(&self, own: Option<&'a dyn Observer>) -> Option<Audience<'a>> {
        if own.is_none() && !self.may_be_heard() {
            return None;
        }
        self.registered(own)
    }

    // Apart, so that the common case stays small where it is inlined.
    #[cold]
    fn registered<'a>(&self, own: Option<&'a dyn Observer>) -> Option<Audience<'a>> {
        let registered = REGISTERED
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let audience = Audience {
            own,
            registered,
            step: self.step,
        };
        (own.is_some() || audience.registered().next().is_some()).then_some(audience)
    }

    /// Wakes the workers of this process to which jobs with this status are ready.
    pub fn ring<S: Any>(&self, status: &S, delay: Option<Duration>) {
        wake::ring(self.table, status, delay, None);
    }

    /// An event of this step, to be completed by the caller.
    pub fn event<'a>(&self, transition: Transition) -> Event<'a> {
        Event {
            table: self.table(),
            step: short_name(self.type_name),
            key: None,
            transition,
            jobs: 1,
            attempt: None,
            error: None,
            elapsed: None,
        }
    }

    /// Tells that one job that no attempt holds, or several, made a transition.
    pub fn tell(&self, transition: Transition, jobs: usize, key: Option<&dyn Debug>) {
        if jobs > 0
            && let Some(audience) = self.audience(None)
        {
            audience.tell(&Event {
                key,
                jobs,
                ..self.event(transition)
            });
        }
    }
}

/// A type's name without its path, also where it has parameters.
fn short_name(type_name: &'static str) -> &'static str {
    let outer = type_name.find('<').unwrap_or(type_name.len());
    let from = type_name[..outer].rfind("::").map_or(0, |at| at + 2);
    &type_name[from..]
}

/// Those who are told of an event.
pub(crate) struct Audience<'a> {
    own: Option<&'a dyn Observer>,
    registered: Option<Arc<[Registered]>>,
    step: TypeId,
}

impl Audience<'_> {
    fn registered(&self) -> impl Iterator<Item = &Registered> {
        let all = self.registered.as_deref().unwrap_or_default().iter();
        all.filter(|registered| registered.step.is_none_or(|step| step == self.step))
    }

    /// Tells them. Whatever an observer does, the others are told, and so is the
    /// caller's own work not disturbed.
    pub fn tell(&self, event: &Event<'_>) {
        let registered = self.registered().map(|registered| &*registered.observer);
        for observer in self.own.into_iter().chain(registered) {
            if caught("the observer", || observer.observe(event)).is_err() {
                tracing::error!(?event, "the observer panicked at this event");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_goes_by_its_own_name() {
        assert_eq!(short_name("app::photos::Resize"), "Resize");
        assert_eq!(
            short_name("app::Mail<app::kinds::Daily>"),
            "Mail<app::kinds::Daily>"
        );
        assert_eq!(short_name("Job"), "Job");
    }
}
