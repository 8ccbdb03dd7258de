//! How a worker gets its jobs.

use std::fmt::Display;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::{Crew, FIRST_PAUSE, LONGEST_PAUSE, WorkersDesk, give_back, lock};
use crate::claim::{self, Next};
use crate::connection::TrackerConnection;
use crate::error::{Error, Result};
use crate::keys::KeySet;
use crate::retry;
use crate::store::{JobName, JobStore, Obstacle, Search};
use crate::worker::aside::{Aside, Why};
use crate::worker::desk::{Found, Task, Who};
use status_protocol::backoff;

/// The longest pause between two claims that find nothing but rows that other
/// transactions hold.
const LONGEST_PAUSE_FOR_HELD: Duration = Duration::from_secs(1);

impl<J: JobStore<C>, C: TrackerConnection> Crew<J, C> {
    /// The first claim, whose error is the caller's, unless it may pass: the
    /// table is there, and the database can be had.
    pub fn claim_first<S: 'static>(&self) -> Result<()> {
        let task = self.desk().next(Who::Hand, Instant::now());
        let Task::Claim { quiet } = task else {
            return Ok(());
        };
        match self.try_claim::<S>(quiet) {
            Err(Error::Database { source, .. }) if retry::is_passing::<C>(&source) => {
                self.fail_claim(&source);
                Ok(())
            }
            other => other,
        }
    }

    pub(super) fn claim<S: 'static>(&self, quiet: bool) -> MutexGuard<'_, WorkersDesk<J, C>> {
        if let Err(error) = self.tried("a claim", || self.try_claim::<S>(quiet)) {
            self.fail_claim(&error);
        }
        self.desk()
    }

    fn fail_claim(&self, error: &dyn Display) {
        let failures = self.failed_claims.fetch_add(1, Ordering::Relaxed) + 1;
        let pause = backoff::exponential(FIRST_PAUSE, LONGEST_PAUSE, failures);
        tracing::error!(%error, ?pause, "no jobs could be claimed");
        self.desk().fail_claim(pause, Instant::now());
    }

    fn try_claim<S: 'static>(&self, quiet: bool) -> Result<()> {
        let wanted = self.settings.batch;
        let (past, next_ready) = {
            let aside = self.aside();
            let now = Instant::now();
            if let Some(until) = aside.full_until(now) {
                drop(aside);
                tracing::warn!(
                    table = J::TABLE,
                    "too many jobs were given back, or cannot be claimed: no more are claimed for now"
                );
                let mut desk = self.desk();
                desk.end_claim(Found::Later(until), quiet, now);
                self.wake(&desk);
                return Ok(());
            }
            // Of those that this claim leaves out, though their time may have come by its end.
            (aside.now(now), aside.next_ready(now))
        };
        let (next, front_from) = self.search::<S>(past, quiet && self.settings.until_empty)?;
        self.failed_claims.store(0, Ordering::Relaxed);
        self.leases.add(next.jobs.iter().map(|job| &job.lease));
        let now = Instant::now();
        let is_held = |(_, obstacle): &(_, Obstacle)| matches!(obstacle, Obstacle::Held);
        let are_held = next.jobs.is_empty() && next.passed_over.iter().any(is_held);
        // Who holds a row for long is asked for it more rarely.
        let times = match are_held {
            true => self.held_claims.fetch_add(1, Ordering::Relaxed) + 1,
            false => self.held_claims.swap(0, Ordering::Relaxed),
        };
        let found = match next.jobs.len() {
            0 if are_held => {
                let pause = backoff::exponential(FIRST_PAUSE, LONGEST_PAUSE_FOR_HELD, times);
                Found::Later(now + pause)
            }
            0 => {
                let later = next_ready.into_iter().chain(front_from).min();
                later.map_or(Found::Nothing, Found::Later)
            }
            n if n < wanted => Found::Some,
            _ => Found::Enough,
        };
        for (key, obstacle) in next.passed_over {
            self.put_aside(&self.aside, &key, obstacle);
        }
        let mut desk = self.desk();
        desk.end_claim(found, quiet, now);
        if desk.is_shutting_down() {
            for job in next.jobs {
                give_back(&mut desk, Box::new(job), now);
            }
        } else {
            desk.claimed(next.jobs.into_iter().map(Box::new));
        }
        self.wake(&desk);
        Ok(())
    }

    /// Claims what is ready, from where the last search has ended. From the front
    /// where that gives none and it is time for it, or is to be known for sure.
    /// Tells when to search from the front, where that has not been done.
    fn search<S: 'static>(
        &self,
        past: KeySet<J::Key>,
        for_sure: bool,
    ) -> Result<(Next<J, C>, Option<Instant>)> {
        let mut search = Search { past, since: None };
        if J::OLDEST_FIRST {
            search.since = lock(&self.frontier).next(Instant::now());
        }
        loop {
            let begun = Instant::now();
            let wanted = self.settings.batch;
            let next = claim::next::<S, J, C>(&self.pool, wanted, self.step, &search)?;
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

    /// Leaves a row alone that cannot be changed, and says so once.
    pub(super) fn put_aside(&self, aside: &Mutex<Aside<J::Key>>, key: &J::Key, obstacle: Obstacle) {
        let why = match &obstacle {
            Obstacle::Held => return,
            Obstacle::Unreadable(_) => {
                self.sums().unreadable += 1;
                Why::BadRow
            }
            Obstacle::Refused(_) | Obstacle::Dropped => {
                self.sums().refused += 1;
                Why::BadRow
            }
        };
        let (_, times) = lock(aside).put(key, why, Instant::now());
        let error = obstacle.into_error(JobName::<J>(key).to_string());
        if times == 1 {
            tracing::error!(%error, "set aside, to be tried again later");
        } else {
            tracing::debug!(%error, times, "set aside again");
        }
    }
}
