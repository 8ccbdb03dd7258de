//! A thread that has outcomes to write and no job left does both with one commit:
//! it writes them and claims the next jobs.

use std::sync::MutexGuard;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::flusher::mark_completing;
use super::{FIRST_PAUSE, JobScheduler, LONGEST_PAUSE, Runtime, lock};
use crate::db::connection::TrackerConnection;
use crate::sql::results::Search;
use crate::sql::store::JobStore;
use crate::worker::completion::Completion;
use crate::worker::exchange::{Exchange, exchange};
use crate::worker::scheduler::Claim;
use status_protocol::backoff;

impl<J: JobStore<C>, C: TrackerConnection> Runtime<J, C> {
    /// Writes the outcomes and claims jobs. Where that cannot be one commit, because
    /// of one row or of the connection, the two are made one after the other: only
    /// then it is found out which row it was.
    pub(super) fn flush_and_claim<'a, S: 'static>(
        &'a self,
        scheduler: MutexGuard<'a, JobScheduler<J, C>>,
        mut group: Vec<Completion<J, C>>,
        claim: Claim,
    ) -> MutexGuard<'a, JobScheduler<J, C>> {
        mark_completing(&group);
        drop(scheduler);
        let begun = Instant::now();
        let (past, next_ready, is_full) = {
            let paused = self.paused();
            let is_full = paused.full_until(begun).is_some();
            (paused.all_now(begun), paused.next_ready(begun), is_full)
        };
        if is_full || !group.iter().all(Completion::is_fresh) {
            // Each of these needs a look of its own. Others go on as before.
            drop(self.write(group));
            return self.claim::<S>(claim);
        }
        let mut search = Search {
            past,
            since: None,
            filter: self.filter.clone(),
        };
        if J::OLDEST_FIRST {
            search.since = lock(&self.frontier).next(begun);
        }
        let done = exchange::<S, J, C>(&self.pool, &mut group, claim.wanted, self.step, &search);
        let earlier = match done {
            Exchange::Done(next) => {
                let now = Instant::now();
                self.failed_both.store(0, Ordering::Relaxed);
                self.failed_claims.store(0, Ordering::Relaxed);
                let mut frontier = lock(&self.frontier);
                frontier.reached(search.since, next.reached, now - begun, now);
                // A claim of its own finds out whether there is none at all, at once or
                // when the next search from the front is due.
                let front_from = match search.since.and(frontier.next(now)) {
                    Some(_) => frontier.front_from(),
                    None => now,
                };
                drop(frontier);
                let later = next_ready.into_iter().chain([front_from]).min();
                // Before the outcomes are reported, so that the other threads go on.
                self.take(next, claim, later);
                return self.written(group);
            }
            Exchange::Nothing => None,
            Exchange::Unknown(sent) => {
                for completion in &mut group {
                    completion.maybe_applied = true;
                }
                Some(sent)
            }
        };
        let failures = self.failed_both.fetch_add(1, Ordering::Relaxed) + 1;
        let pause = backoff::exponential(FIRST_PAUSE, LONGEST_PAUSE, failures);
        let mut scheduler = self.write(group);
        scheduler.keep_apart(pause, Instant::now());
        drop(scheduler);
        self.claim_after::<S>(claim, earlier)
    }
}
