//! Wakes the idle workers of this process when one of its calls makes jobs ready, so
//! that they need not wait for their next look at the table.

use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::table_info::TableInfo;

/// What a worker hears of the calls of this process.
///
/// It leaves a trace also while the worker is busy: a search for jobs may have begun
/// before the job was there. So a worker calls [`listen`](Self::listen) before a search
/// and [`sleep`](Self::sleep) after it.
#[derive(Default)]
pub(crate) struct Bell {
    /// Jobs may have become ready since the last call of `listen`.
    rung: AtomicBool,
    /// The worker must be woken.
    sleeping: AtomicBool,
}

impl Bell {
    /// A search for ready jobs begins.
    pub fn listen(&self) {
        self.rung.store(false, Ordering::SeqCst);
    }

    /// The next ring is to wake the worker. `true`: it has rung since `listen`, so that
    /// the worker must look again instead of sleeping.
    pub fn sleep(&self) -> bool {
        // Whoever rings does the same the other way round, so that one of the two sees
        // what the other has written.
        self.sleeping.store(true, Ordering::SeqCst);
        let rung = self.rung.load(Ordering::SeqCst);
        if rung {
            self.sleeping.store(false, Ordering::SeqCst);
        }
        rung
    }

    /// Whether the next ring wakes the worker.
    pub fn is_awaited(&self) -> bool {
        self.sleeping.load(Ordering::SeqCst)
    }

    /// Jobs may have become ready. Returns whether the caller is to wake the worker,
    /// which only the first of many callers is.
    pub fn ring(&self) -> bool {
        self.rung.store(true, Ordering::SeqCst);
        self.sleeping.load(Ordering::SeqCst) && self.sleeping.swap(false, Ordering::SeqCst)
    }
}

/// Whether a worker looks for jobs with this status, which is of its table's type.
type Wants = dyn Fn(&dyn Any) -> bool + Send + Sync;

/// A worker that wants to be woken.
pub(crate) struct Sleeper {
    pub table: &'static TableInfo,
    pub wants: Box<Wants>,
    pub bell: Arc<Bell>,
    /// Wakes it now, or tells it that a job will be ready after this time.
    pub wake: Box<dyn Fn(Option<Duration>) + Send + Sync>,
}

static SLEEPERS: RwLock<Vec<Arc<Sleeper>>> = RwLock::new(Vec::new());
/// How many there are. In a process without workers, a call reads this and no more.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Wakes this worker from now on, until the return value is dropped.
pub(crate) fn register(sleeper: Sleeper) -> Registration {
    let sleeper = Arc::new(sleeper);
    change(|all| all.push(Arc::clone(&sleeper)));
    Registration(sleeper)
}

pub(crate) struct Registration(Arc<Sleeper>);

impl Drop for Registration {
    fn drop(&mut self) {
        change(|all| all.retain(|other| !Arc::ptr_eq(other, &self.0)));
    }
}

fn change(change: impl FnOnce(&mut Vec<Arc<Sleeper>>)) {
    // The list is complete at any time, so poison is ignored.
    let mut all = SLEEPERS.write().unwrap_or_else(PoisonError::into_inner);
    change(&mut all);
    COUNT.store(all.len(), Ordering::SeqCst);
}

/// Jobs of the table have this status from now on, and nobody holds them. `delay`: they
/// are not ready before. `own`: the worker that has done this, and knows.
///
/// A worker that is busy is not disturbed: it takes two atomic writes and the read side
/// of a lock that is written only when a worker begins or ends.
pub(crate) fn ring<S: Any>(
    table: fn() -> &'static TableInfo,
    status: &S,
    delay: Option<Duration>,
    own: Option<&Arc<Bell>>,
) {
    if COUNT.load(Ordering::SeqCst) <= usize::from(own.is_some()) {
        return;
    }
    let table = table();
    let woken: Vec<_> = {
        let all = SLEEPERS.read().unwrap_or_else(PoisonError::into_inner);
        let others = all.iter().filter(|sleeper| {
            std::ptr::eq(sleeper.table, table)
                && own.is_none_or(|own| !Arc::ptr_eq(own, &sleeper.bell))
                && (sleeper.wants)(status)
        });
        // A delay is told to those that are busy, too: they could not know it otherwise.
        let woken = others.filter(|sleeper| delay.is_some() || sleeper.bell.ring());
        woken.cloned().collect()
    };
    // Not under the lock: it takes the worker's own.
    for sleeper in woken {
        (sleeper.wake)(delay);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_rings_wake_a_sleeping_worker_once() {
        let bell = Bell::default();
        bell.listen();
        assert!(!bell.ring(), "it does not sleep");
        assert!(bell.sleep(), "it has rung during the search");
        bell.listen();
        assert!(!bell.sleep());
        assert!(bell.ring());
        assert!(!bell.ring());
        bell.listen();
        assert!(!bell.sleep());
        assert!(bell.ring(), "it sleeps again");
    }

    #[test]
    fn a_ring_is_never_lost_between_a_search_and_sleep() {
        for _ in 0..1_000 {
            let bell = Arc::new(Bell::default());
            bell.listen();
            let (wakes, looks_again) = std::thread::scope(|scope| {
                let ringer = scope.spawn(|| bell.ring());
                let looks_again = bell.sleep();
                (ringer.join().unwrap(), looks_again)
            });
            assert!(wakes || looks_again);
        }
    }
}
