//! Threads share statements where their jobs are quick. If each of them sent its own for a
//! job or for a batch, it would wait for the database for most of its time, and the
//! database would spend most of its time on the statements and not on the rows.
//!
//! So one claim is in progress at a time, which asks for the jobs of all threads, and one
//! flush, with the outcomes of all; or both in one. If a flush takes longer than ten
//! milliseconds, or a claim longer than a second, another one is begun.

use std::time::{Duration, Instant};

use super::{AHEAD, Scheduler, Settings, after};
use crate::attempt::claim::LARGEST_CLAIM;

/// So many outcomes and more are written beside a claim, and not with it: two processors of
/// a server execute two statements at the same time. With fewer it saves more to have one
/// commit.
const LARGE_GROUP: usize = 30;

/// No thread waits for longer than this for the statement of another, or for jobs that are
/// about to end: a row may be held, or a job may not be quick.
const LONGEST_WAIT_FOR_OTHERS: Duration = Duration::from_millis(10);

/// The most jobs that a claim asks for, so that the sum of all claims does not overflow.
const MOST_WANTED: usize = 1_000_000;

impl<Job, Completion> Scheduler<Job, Completion> {
    /// A claim asks for a batch, or for a job for each free thread if that is more. A shared
    /// one asks for a batch for each thread, unless they would need too long for that.
    pub(super) fn wanted(&self, now: Instant) -> usize {
        let threads = self.settings.threads;
        let for_threads = match self.shares_statements() {
            true => {
                let soon = self.pace.jobs_in(AHEAD).saturating_mul(threads);
                self.group().min(soon)
            }
            false => (self.idle + 1).saturating_sub(self.expected(now)),
        };
        let wanted = for_threads.min(LARGEST_CLAIM).max(self.settings.batch);
        wanted.min(MOST_WANTED)
    }

    fn shares_statements(&self) -> bool {
        self.settings.threads > 1 && self.pace.jobs_are_quick()
    }

    /// So many outcomes are written at a time: a batch, or a batch for each thread that
    /// shares a statement, up to what a claim brings.
    pub(super) fn group(&self) -> usize {
        let Settings { threads, batch, .. } = self.settings;
        match self.shares_statements() {
            true => batch.saturating_mul(threads).min(LARGEST_CLAIM).max(batch),
            false => batch,
        }
    }

    /// Whether outcomes are written with the commit of a claim, and not beside it.
    pub(super) fn commits_both(&self) -> bool {
        self.settings.commits_both
            && (!self.shares_statements()
                || self.settings.writers == 1
                || self.group() < LARGE_GROUP)
    }

    /// When a thread may flush. `None`: now.
    pub(super) fn flush_shared_until(&self) -> Option<Instant> {
        // An outcome does not wait for a claim that may find nothing.
        let both = self.commits_both() && !self.sparse;
        let claim = self.claims.last_begun().filter(|_| both);
        self.shared_until(self.flushes.last_begun().max(claim))
    }

    /// When a thread may claim. `None`: now.
    pub(super) fn claim_shared_until(&self) -> Option<Instant> {
        let flush = self.flushes.last_begun().filter(|_| self.commits_both());
        self.shared_until(self.claims.last_begun().max(flush))
    }

    /// Where the threads share statements, the next one waits for the end of the one that has
    /// `begun`, and for the jobs that are about to end. So it takes their outcomes along, and
    /// claims jobs for their threads.
    fn shared_until(&self, begun: Option<Instant>) -> Option<Instant> {
        if !self.shares_statements() {
            return None;
        }
        let most = self.settings.finish_within.min(LONGEST_WAIT_FOR_OTHERS);
        let are_few = !self.due.is_empty() && self.due.len() < self.settings.threads;
        let jobs_end = (self.running > 0 && are_few)
            .then(|| after(self.due_since, self.pace.time_of(2).min(most)));
        begun.map(|begun| after(begun, most)).or(jobs_end)
    }
}
