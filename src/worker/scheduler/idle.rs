//! How long idle threads wait, and when one of them is woken.

use std::time::Instant;

use super::{Role, Scheduler, after};

impl<Job, Completion> Scheduler<Job, Completion> {
    /// Until when a thread waits that has no task.
    pub(super) fn waits_until(&mut self, who: Role, now: Instant) -> Option<Instant> {
        let next = self.next_change(who, now);
        match who {
            Role::WorkerThread => {
                self.awaited = next;
                next
            }
            Role::Flusher => {
                // While outcomes are written again and again it looks at the clock, so that
                // it need not be woken for each group.
                let soon = after(now, self.settings.finish_within);
                let has_flushed = std::mem::take(&mut self.has_flushed);
                let until = next.into_iter().chain(has_flushed.then_some(soon)).min();
                self.announced = until.is_some_and(|at| at <= soon);
                until
            }
        }
    }

    /// When a thread that has nothing to do will have a task if nothing happens until then.
    fn next_change(&self, who: Role, now: Instant) -> Option<Instant> {
        let due = (!self.due.is_empty() && !self.is_at_limit()).then(|| {
            let shared_until = self.flush_shared_until().filter(|until| now < *until);
            let at = shared_until.unwrap_or_else(|| self.overdue_from());
            self.with_room(self.flush_from.max(at))
        });
        let claim = match who {
            Role::WorkerThread => self.next_claim(now),
            Role::Flusher => None,
        };
        let postponed = self.postponed.iter().map(|(at, _)| *at);
        due.into_iter().chain(claim).chain(postponed).min()
    }

    /// When a worker thread will claim: also when a claim in progress takes too long.
    fn next_claim(&self, now: Instant) -> Option<Instant> {
        let from = [Some(now), self.claims_take_long_from()];
        let mut from = from.into_iter().flatten();
        let wanted_from = from.find(|at| self.wants_claim(*at))?;
        let shared_until = self.claim_shared_until().unwrap_or(wanted_from);
        Some(self.with_room(self.claim_from.max(shared_until).max(wanted_from)))
    }

    /// Whether to wake one of the idle threads: it has a task now, or will have one sooner
    /// than any of them looks by itself. Each thread that gets a task asks this. So at most
    /// one thread more is woken than there are tasks.
    pub fn wakes_another(&mut self, now: Instant) -> bool {
        if self.idle == 0 {
            return false;
        }
        self.take_up(now);
        // What that thread would find.
        self.idle -= 1;
        let has_task = self.flushes_now(true, now)
            || !self.blocked && (!self.waiting.is_empty() || self.may_claim(now))
            || self.is_over();
        let at = match has_task {
            true => Some(now),
            false => self.next_change(Role::WorkerThread, now),
        };
        self.idle += 1;
        let Some(at) = at else {
            return false;
        };
        let is_sooner = self.awaited.is_none_or(|awaited| at < awaited);
        if is_sooner {
            self.awaited = Some(at);
        }
        is_sooner
    }

    /// A worker thread has no task.
    pub fn begin_idle(&mut self) {
        self.idle += 1;
    }

    /// It looks again. So it is not known any more when one of the others will.
    pub fn end_idle(&mut self) {
        self.idle -= 1;
        self.awaited = None;
    }

    /// Whether to wake the flusher: something is due, and it does not know yet.
    pub fn announce_due(&mut self) -> bool {
        let is_due = !self.due.is_empty() || !self.postponed.is_empty();
        let is_news = is_due && !self.announced;
        self.announced |= is_news;
        is_news
    }
}
