//! How a worker gets its jobs.

use std::fmt::Display;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::{FIRST_PAUSE, JobScheduler, LONGEST_PAUSE, Runtime, lock, release};
use crate::attempt::claim::{self, Next, Sent};
use crate::db::connection::{Facts, TrackerConnection};
use crate::db::retry;
use crate::error::{Error, Result};
use crate::keys::KeySet;
use crate::sql::results::{Obstacle, Search};
use crate::sql::store::JobStore;
use crate::sql::table_rows::RowName;
use crate::worker::paused::{PauseReason, PausedJobs};
use crate::worker::scheduler::{Claim, Found, Role, Task};
use status_protocol::backoff;

/// The longest pause between two claims that find only rows that other
/// transactions hold.
const LONGEST_PAUSE_FOR_HELD: Duration = Duration::from_secs(1);

impl<J: JobStore<C>, C: TrackerConnection> Runtime<J, C> {
    /// The first claim. Its error goes to the caller unless it is transient, so
    /// that a missing table or an unreachable database ends the worker at once.
    pub fn claim_first<S: 'static>(&self, facts: &Facts) -> Result<()> {
        let task = self.scheduler().next(Role::WorkerThread, Instant::now());
        let Task::Claim(claim) = task else {
            return Ok(());
        };
        match self.try_claim::<S>(claim, None) {
            Err(Error::Database { source, .. }) if retry::is_transient(facts, &source) => {
                self.fail_claim(claim, &source);
                Ok(())
            }
            other => other,
        }
    }

    pub(super) fn claim<S: 'static>(&self, claim: Claim) -> MutexGuard<'_, JobScheduler<J, C>> {
        self.claim_after::<S>(claim, None)
    }

    /// Claims jobs. If the answer to an `earlier` claim was lost, its jobs are looked for
    /// first.
    pub(super) fn claim_after<S: 'static>(
        &self,
        claim: Claim,
        earlier: Option<Sent>,
    ) -> MutexGuard<'_, JobScheduler<J, C>> {
        if let Err(error) = self.tried("a claim", || self.try_claim::<S>(claim, earlier)) {
            self.fail_claim(claim, &error);
        }
        self.scheduler()
    }

    fn fail_claim(&self, claim: Claim, error: &dyn Display) {
        let failures = self.failed_claims.fetch_add(1, Ordering::Relaxed) + 1;
        let pause = backoff::exponential(FIRST_PAUSE, LONGEST_PAUSE, failures);
        tracing::error!(%error, ?pause, "no jobs could be claimed");
        // A claim that ends later must not sleep: what this one has been called for is
        // not found yet.
        self.bell.ring();
        self.scheduler().fail_claim(claim, pause, Instant::now());
    }

    fn try_claim<S: 'static>(&self, claim: Claim, earlier: Option<Sent>) -> Result<()> {
        self.bell.listen();
        let (past, next_ready) = {
            let paused = self.paused();
            let now = Instant::now();
            if let Some(until) = paused.full_until(now)
                && earlier.is_none()
            {
                drop(paused);
                tracing::warn!(
                    table = J::table_name(),
                    "too many jobs were released or cannot be claimed: no more are claimed for now"
                );
                let mut scheduler = self.scheduler();
                scheduler.end_claim(claim, Found::Later(until), now);
                self.wake(&mut scheduler, now);
                return Ok(());
            }
            // Both at the same time: a job that this claim leaves out may be ready when
            // the claim ends.
            (paused.all_now(now), paused.next_ready(now))
        };
        let for_sure = claim.quiet && self.settings.until_empty;
        let (next, front_from) = self.search::<S>(claim.wanted, past, for_sure, earlier)?;
        self.failed_claims.store(0, Ordering::Relaxed);
        let later = next_ready.into_iter().chain(front_from).min();
        self.take(next, claim, later);
        Ok(())
    }

    /// Hands claimed jobs to the threads. Where there are none, some may be ready `later`.
    pub(super) fn take(&self, next: Next<J, C>, claim: Claim, later: Option<Instant>) {
        self.leases
            .add(next.jobs.iter().map(|job| &job.attempt.lease));
        let now = Instant::now();
        let is_held = |(_, obstacle): &(_, Obstacle)| matches!(obstacle, Obstacle::Held);
        let are_held = next.jobs.is_empty() && next.passed_over.iter().any(is_held);
        // The longer others hold the rows, the longer the pause.
        let times = match are_held {
            true => self.held_claims.fetch_add(1, Ordering::Relaxed) + 1,
            false => self.held_claims.swap(0, Ordering::Relaxed),
        };
        let found = match next.jobs.len() {
            0 if are_held => {
                let pause = backoff::exponential(FIRST_PAUSE, LONGEST_PAUSE_FOR_HELD, times);
                Found::Later(now + pause)
            }
            0 => later.map_or(Found::Nothing, Found::Later),
            n if n < claim.wanted => Found::Few,
            _ => Found::Enough,
        };
        for (key, obstacle) in next.passed_over {
            self.pause_row(&self.paused, &key, obstacle);
        }
        let mut scheduler = self.scheduler();
        scheduler.end_claim(claim, found, now);
        if matches!(found, Found::Later(_) | Found::Nothing) && self.bell.sleep() {
            scheduler.ring(now);
        }
        if scheduler.is_shutting_down() {
            for job in next.jobs {
                release(&mut scheduler, Box::new(job), now);
            }
        } else {
            scheduler.claimed(next.jobs.into_iter().map(Box::new));
        }
        self.wake(&mut scheduler, now);
    }

    /// Claims ready jobs, beginning where the last search has ended. Where there is
    /// none, it searches from the front if it is time for that, or if the caller
    /// must know `for_sure`. Otherwise it returns when to search from the front.
    fn search<S: 'static>(
        &self,
        wanted: usize,
        past: KeySet<J::Key>,
        for_sure: bool,
        mut earlier: Option<Sent>,
    ) -> Result<(Next<J, C>, Option<Instant>)> {
        let mut search = Search {
            past,
            since: None,
            filter: self.filter.clone(),
        };
        if J::OLDEST_FIRST {
            search.since = lock(&self.frontier).next(Instant::now());
        }
        loop {
            let begun = Instant::now();
            let next =
                claim::next::<S, J, C>(&self.pool, wanted, self.step, &search, earlier.take())?;
            let now = Instant::now();
            let mut frontier = lock(&self.frontier);
            frontier.reached(search.since, next.reached, now - begun, now);
            if search.since.is_none() {
                return Ok((next, None));
            }
            if !next.jobs.is_empty() || !for_sure && frontier.next(now).is_some() {
                return Ok((next, Some(frontier.front_from())));
            }
            search.since = None;
        }
    }

    /// Pauses a row that cannot be changed, and logs that once.
    pub(super) fn pause_row(
        &self,
        paused: &Mutex<PausedJobs<J::Key>>,
        key: &J::Key,
        obstacle: Obstacle,
    ) {
        let reason = match &obstacle {
            Obstacle::Held => return,
            Obstacle::Unreadable(_) => {
                self.sums().unreadable += 1;
                PauseReason::BadRow
            }
            Obstacle::Refused(_) | Obstacle::Dropped => {
                self.sums().refused += 1;
                PauseReason::BadRow
            }
        };
        let (_, times) = lock(paused).pause(key, reason, Instant::now());
        let error = obstacle.into_error(RowName::of::<J>(key).to_string());
        if times == 1 {
            tracing::error!(%error, "set aside, to be tried again later");
        } else {
            tracing::debug!(%error, times, "set aside again");
        }
    }
}
