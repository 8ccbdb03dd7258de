//! Claims jobs in batches, gives them out one by one, and records their outcomes.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::{join_all, select};
use status_protocol::Step;
use tokio::sync::{Mutex as AsyncMutex, Notify};

use super::{Settings, Summary, WorkerHandle};
use crate::attempt::claim;
use crate::attempt::lease::Lease;
use crate::attempt::outcome::Outcome;
use crate::attempt::running::{AttemptError, Ended, RunningJob};
use crate::db::fault::FaultKind;
use crate::error::{Error, Result};
use crate::item::key::ItemKey;
use crate::table::Table;
use crate::tracked::{StatusOf, StatusTracked};

/// How long this worker leaves a job alone that was released. It doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long it leaves an item alone that cannot be claimed.
const ASIDE: Duration = Duration::from_secs(60);
/// The longest wait while jobs of this worker run or wait, when it works until
/// nothing is left.
const SHORT_WAIT: Duration = Duration::from_millis(100);

pub(crate) struct Pump<S: StatusTracked> {
    pub table: Table,
    pub step: Step<StatusOf<S>>,
    pub settings: Settings,
    handle: WorkerHandle,
    /// Claimed and not begun. Whoever has the lock is the one that claims.
    claimed: AsyncMutex<VecDeque<RunningJob<S>>>,
    state: Mutex<State>,
    /// An attempt has ended.
    ended: Notify,
}

#[derive(Default)]
struct State {
    summary: Summary,
    leases: HashMap<Arc<str>, Arc<Lease>>,
    running: usize,
    paused: HashMap<Arc<str>, Paused>,
    /// Items that cannot be claimed, and until when they are left alone.
    aside: HashMap<Arc<str>, Instant>,
    has_looked: bool,
    is_empty: bool,
    error: Option<Error>,
}

/// A job that was released.
#[derive(Debug)]
struct Paused {
    times: u32,
    conflicts: i32,
    until: Instant,
}

impl<S: StatusTracked> Pump<S> {
    pub fn new(
        table: Table,
        step: Step<StatusOf<S>>,
        settings: Settings,
        handle: WorkerHandle,
    ) -> Self {
        Self {
            table,
            step,
            settings,
            handle,
            claimed: AsyncMutex::default(),
            state: Mutex::default(),
            ended: Notify::new(),
        }
    }

    /// The locks of all claimed jobs.
    pub fn leases(&self) -> Vec<Arc<Lease>> {
        self.state().leases.values().cloned().collect()
    }

    pub fn shut_down(&self) {
        self.handle.shutdown();
    }

    /// What it has done, or why it could not begin.
    pub fn summary(&self) -> Result<Summary> {
        let mut state = self.state();
        match state.error.take() {
            Some(error) => Err(error),
            None => {
                tracing::info!(table = self.table.name(), "done: {}", state.summary);
                Ok(state.summary)
            }
        }
    }

    /// The next job; `None` when the worker is to end.
    pub async fn next(&self) -> Option<RunningJob<S>> {
        let mut claimed = self.claimed.lock().await;
        loop {
            if self.handle.is_shut_down() {
                let unstarted = claimed.drain(..).map(|job| self.release(job));
                join_all(unstarted).await;
                return None;
            }
            if let Some(mut job) = claimed.pop_front() {
                job.is_unstarted = false;
                job.started();
                self.state().running += 1;
                return Some(job);
            }
            if self.state().is_empty {
                return None;
            }
            // A job that ends while the search is under way may be ready again, and the
            // search has passed it: so the last search is one that began at rest.
            let was_at_rest = self.has_nothing_to_do();
            let was_beaten = match self.claim(&mut claimed).await {
                Ok(was_beaten) => was_beaten,
                Err(error) => {
                    let mut state = self.state();
                    if !state.has_looked {
                        state.error = Some(error);
                        drop(state);
                        self.shut_down();
                        return None;
                    }
                    tracing::error!(%error, "no jobs could be claimed");
                    true
                }
            };
            self.state().has_looked = true;
            if !claimed.is_empty() {
                continue;
            }
            if self.settings.until_empty && was_at_rest && !was_beaten && self.has_nothing_to_do() {
                self.state().is_empty = true;
                return None;
            }
            self.pause().await;
        }
    }

    /// Whether none of its own jobs can become ready.
    fn has_nothing_to_do(&self) -> bool {
        let state = self.state();
        state.running == 0 && state.paused.is_empty()
    }

    /// Claims a batch. Returns whether another worker was faster with some job.
    async fn claim(&self, claimed: &mut VecDeque<RunningJob<S>>) -> Result<bool> {
        let now = Instant::now();
        let may_claim = |key: &ItemKey| {
            let state = self.state();
            let is_paused = state
                .paused
                .get(&key.name)
                .is_some_and(|paused| paused.until > now);
            let is_aside = state.aside.get(&key.name).is_some_and(|until| *until > now);
            !is_paused && !is_aside
        };
        let next =
            claim::next::<S>(&self.table, self.settings.batch, &self.step, &may_claim).await?;
        let mut state = self.state();
        // A job that was released, and whose pause is over, was seen by a search that
        // found fewer jobs than it wanted: if it was not claimed, somebody else has it.
        let is_full = next.jobs.len() >= self.settings.batch;
        let is_claimed = |name: &Arc<str>| next.jobs.iter().any(|job| job.lease.key.name == *name);
        state
            .paused
            .retain(|name, paused| is_full || paused.until > now || is_claimed(name));
        state.aside.retain(|_, until| *until > now);
        for (key, error) in next.passed_over {
            tracing::error!(%error, "passed over");
            if state.aside.insert(key.name, now + ASIDE).is_none() {
                state.summary.refused += 1;
            }
        }
        for mut job in next.jobs {
            job.is_unstarted = true;
            job.conflicts = state
                .paused
                .get(&job.lease.key.name)
                .map_or(0, |paused| paused.conflicts);
            state
                .leases
                .insert(Arc::clone(&job.lease.token), Arc::clone(&job.lease));
            claimed.push_back(job);
        }
        Ok(next.was_beaten)
    }

    async fn pause(&self) {
        let mut pause = self.settings.poll_every;
        if self.settings.until_empty {
            pause = pause.min(SHORT_WAIT);
        }
        let woken = async {
            if self.settings.until_empty {
                self.ended.notified().await;
            } else {
                std::future::pending().await
            }
        };
        let told = std::pin::pin!(self.handle.told());
        let woken = std::pin::pin!(woken);
        // Whichever comes first.
        let _first = tokio::time::timeout(pause, select(told, woken))
            .await
            .is_ok();
    }

    /// Releases a job that was not begun.
    async fn release(&self, mut job: RunningJob<S>) {
        let release = job.release();
        if let Err(error) = job.end(&release).await {
            tracing::error!(%error, "not released; its lock will expire");
        }
        let mut state = self.state();
        state.leases.remove(&job.lease.token);
        state.summary.released += 1;
    }

    /// Records the outcome of a job. While DynamoDB is away it tries again, until the
    /// lock may have expired.
    pub async fn finish(
        &self,
        mut job: RunningJob<S>,
        outcome: Outcome<S>,
        result: Result<(), AttemptError>,
    ) {
        if let Err(attempt_error) = result {
            attempt_error.discard();
        }
        loop {
            let fault = match job.try_end(&outcome).await {
                Ok(_) => break,
                Err(fault) => fault,
            };
            let passes = matches!(fault.kind, FaultKind::Throttled | FaultKind::NoAnswer);
            if !passes || job.lease.age() > self.step.lock_expire {
                let error = fault.into_error(&job.name());
                tracing::error!(%error, "the outcome could not be recorded");
                break;
            }
            tokio::time::sleep(LONGEST_PAUSE.min(self.settings.poll_every)).await;
        }
        let ended = job.ended.unwrap_or(Ended::Lost);
        let name = Arc::clone(&job.lease.key.name);
        let mut state = self.state();
        state.leases.remove(&job.lease.token);
        state.running -= 1;
        state.summary.add(ended);
        match ended {
            Ended::Released | Ended::Conflict => {
                let paused = state.paused.entry(name).or_insert(Paused {
                    times: 0,
                    conflicts: 0,
                    until: Instant::now(),
                });
                let pause = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(paused.times));
                paused.times += 1;
                paused.conflicts = if ended == Ended::Conflict {
                    paused.conflicts + 1
                } else {
                    0
                };
                paused.until = Instant::now() + pause.min(LONGEST_PAUSE);
            }
            _ => drop(state.paused.remove(&name)),
        }
        drop(state);
        self.ended.notify_one();
        // The user's values are dropped here, outside of the lock.
        drop(job);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is valid at any moment, so poison is ignored.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
