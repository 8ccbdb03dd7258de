//! What a worker's threads have at hand, and what each is to do next: pure
//! decisions, no database and no clock.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::bulk;

/// Work that is claimed ahead, while another claim is under way, is no more
/// than what the threads do in this time: enough to hide a claim, and too
/// little to keep jobs from other workers.
const AHEAD: Duration = Duration::from_millis(10);

/// How long claims and ends make room for a renewal, at the most: its own
/// connection alone may be at fault.
const ROOM_FOR_RENEWAL: Duration = Duration::from_secs(1);

/// Ends that are written at a time, at the most: their keys have to find room
/// among the 32,766 parameters of a statement on SQLite.
const LARGEST_GROUP: usize = 2_000;

/// Longer waits are cut to this: a century, which every clock has left.
const LONGEST_WAIT: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// The time when this wait is over.
pub(super) fn after(now: Instant, wait: Duration) -> Instant {
    now.checked_add(wait.min(LONGEST_WAIT)).unwrap_or(now)
}

/// How a worker works.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub threads: usize,
    /// Jobs of one claim, and ends that are written without waiting for more.
    pub batch: usize,
    pub poll_every: Duration,
    /// How long an end waits for others to be written with.
    pub finish_within: Duration,
    pub until_empty: bool,
    /// Statements that the database takes at a time.
    pub writers: usize,
}

/// Who asks for something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// One of the threads that run jobs.
    Hand,
    /// The one that writes ends which are due while all hands are at work.
    Keeper,
}

/// What to do next.
#[derive(Debug, PartialEq)]
pub(super) enum Task<Job, End> {
    Run(Job),
    Finish(Vec<End>),
    /// `quiet`: nothing else is under way in this worker.
    Claim {
        quiet: bool,
    },
    /// Until something happens, or this time has passed.
    Wait(Option<Duration>),
    Stop,
}

/// What a claim came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// As many jobs as it asked for.
    Enough,
    /// Fewer.
    Some,
    /// None now, but there will be some without anybody's doing: other
    /// transactions hold the ready rows, or these are put off until then.
    Later(Instant),
    /// None is ready.
    Nothing,
}

/// The jobs and ends at hand.
#[derive(Debug)]
pub(super) struct Desk<Job, End> {
    settings: Settings,
    waiting: VecDeque<Job>,
    due: Vec<End>,
    due_since: Instant,
    /// Ends that could not be written, each with the time of its next try.
    put_off: Vec<(Instant, End)>,
    /// No end can be written at the moment: what is begun now might be done
    /// in vain.
    blocked: bool,
    /// The keeper knows that something is due.
    announced: bool,
    running: usize,
    claiming: usize,
    finishing: usize,
    /// Hands that wait for something to do.
    pub idle: usize,
    /// Seconds that a job takes, the last ones weighing most.
    job_takes: f64,
    /// The table has fewer ready jobs than a claim asks for.
    sparse: bool,
    /// Nothing was ready when nothing was under way.
    dry: bool,
    /// A claim is under way that began when nothing else was, and nothing
    /// has happened since.
    looking: bool,
    claim_from: Instant,
    finish_from: Instant,
    /// Until then a renewal that is under way has the database for itself.
    room_until: Option<Instant>,
    /// The first look for dead attempts is under way.
    expiring: bool,
    shutting_down: bool,
}

impl<Job, End> Desk<Job, End> {
    pub fn new(settings: Settings, now: Instant) -> Self {
        Self {
            settings,
            waiting: VecDeque::new(),
            due: Vec::new(),
            due_since: now,
            put_off: Vec::new(),
            blocked: false,
            announced: false,
            running: 0,
            claiming: 0,
            finishing: 0,
            idle: 0,
            job_takes: f64::INFINITY,
            sparse: false,
            dry: false,
            looking: false,
            claim_from: now,
            finish_from: now,
            room_until: None,
            expiring: true,
            shutting_down: false,
        }
    }

    pub fn next(&mut self, who: Who, now: Instant) -> Task<Job, End> {
        let is_hand = who == Who::Hand;
        self.take_up(now);
        if self.may_finish(now) && self.should_finish(is_hand, now) {
            self.finishing += 1;
            self.announced = false;
            let group = self
                .due
                .len()
                .min(self.settings.batch.clamp(bulk::CHUNK, LARGEST_GROUP));
            return Task::Finish(self.due.drain(..group).collect());
        }
        if is_hand && !self.blocked {
            if let Some(job) = self.waiting.pop_front() {
                self.running += 1;
                return Task::Run(job);
            }
            if self.may_claim(now) {
                let quiet = self.is_quiet();
                self.looking |= quiet;
                self.claiming += 1;
                return Task::Claim { quiet };
            }
        }
        if self.is_over() {
            return Task::Stop;
        }
        let due = (!self.due.is_empty() && !self.is_at_limit())
            .then(|| self.with_room(self.finish_from.max(self.overdue_from())));
        let claim = (is_hand && self.wants_claim()).then(|| self.with_room(self.claim_from));
        let put_off = self.put_off.iter().map(|(at, _)| *at);
        let next = due.into_iter().chain(claim).chain(put_off).min();
        Task::Wait(next.map(|at| at.saturating_duration_since(now)))
    }

    /// A job has come to its end, which is to be written, after this time.
    pub fn ran(&mut self, took: Duration, now: Instant) {
        self.running -= 1;
        let took = took.as_secs_f64();
        self.job_takes = if self.job_takes.is_finite() {
            self.job_takes * 0.9 + took * 0.1
        } else {
            took
        };
        self.recheck(now);
    }

    /// This end is to be written.
    pub fn put_due(&mut self, end: End, now: Instant) {
        if self.due.is_empty() {
            self.due_since = now;
        }
        self.due.push(end);
    }

    /// Whether the keeper is to be told that something is due, which a hand
    /// has left for other work.
    pub fn announce_due(&mut self) -> bool {
        let is_due = !self.due.is_empty() || !self.put_off.is_empty();
        let is_news = is_due && !self.announced;
        self.announced |= is_news;
        is_news
    }

    /// These jobs were claimed.
    pub fn claimed(&mut self, jobs: impl IntoIterator<Item = Job>) {
        self.waiting.extend(jobs);
    }

    /// A claim came to its end.
    pub fn end_claim(&mut self, found: Found, quiet: bool, now: Instant) {
        self.claiming -= 1;
        self.sparse = found != Found::Enough;
        let undisturbed = quiet && std::mem::take(&mut self.looking);
        self.dry = found == Found::Nothing && undisturbed;
        match found {
            Found::Enough | Found::Some => {}
            Found::Later(_) | Found::Nothing if quiet && !undisturbed => self.claim_from = now,
            Found::Later(at) => self.claim_from = at.min(after(now, self.settings.poll_every)),
            Found::Nothing => {
                self.claim_from = after(now, self.settings.poll_every);
                if !quiet {
                    self.recheck(now);
                }
            }
        }
    }

    /// A claim failed; the next is to wait for so long.
    pub fn fail_claim(&mut self, pause: Duration, now: Instant) {
        self.claiming -= 1;
        self.looking = false;
        self.claim_from = after(now, pause);
    }

    /// A group of ends was written.
    pub fn end_finish(&mut self, now: Instant) {
        self.finishing -= 1;
        self.blocked = false;
        self.due_since = now;
        self.recheck(now);
    }

    /// No end of a group could be written, for no fault of theirs: no more are
    /// tried for so long, and no jobs are begun until one is written.
    pub fn fail_finish(&mut self, ends: Vec<End>, pause: Duration, now: Instant) {
        self.finishing -= 1;
        self.blocked = true;
        self.finish_from = after(now, pause);
        self.due_since = now;
        self.due.extend(ends);
    }

    /// This end could not be written, for a reason of its own; it is tried
    /// again after so long.
    pub fn put_off(&mut self, end: End, pause: Duration, now: Instant) {
        self.put_off.push((after(now, pause), end));
        self.announced = false;
    }

    /// A job that was given back is ready again at this time.
    pub fn ready_at(&mut self, at: Instant) {
        self.claim_from = self.claim_from.min(at);
        self.dry = false;
    }

    /// There may be something to claim.
    pub fn poll(&mut self, now: Instant) {
        self.claim_from = now;
        self.dry = false;
        self.looking = false;
    }

    /// Takes the claimed jobs that are not begun.
    pub fn shut_down(&mut self) -> Vec<Job> {
        self.shutting_down = true;
        self.waiting.drain(..).collect()
    }

    /// The first look for dead attempts is done: what it has ended is ready.
    pub fn end_expiry(&mut self, now: Instant) {
        if std::mem::take(&mut self.expiring) {
            self.recheck(now);
        }
    }

    pub fn is_shutting_down(&self) -> bool {
        self.shutting_down
    }

    /// Keeps claims and ends from being begun for a while, in which locks are
    /// renewed, which nothing must delay: not a queue for a connection, nor, on
    /// SQLite, one for the file.
    pub fn begin_renewal(&mut self, now: Instant) {
        self.room_until = Some(after(now, ROOM_FOR_RENEWAL));
    }

    /// The renewal is over.
    pub fn end_renewal(&mut self) {
        self.room_until = None;
    }

    /// This time, or later where a renewal comes first.
    fn with_room(&self, at: Instant) -> Instant {
        self.room_until.map_or(at, |until| at.max(until))
    }

    /// No more is going to happen.
    pub fn is_over(&self) -> bool {
        let is_dry = self.dry && !self.expiring;
        let is_at_end = self.shutting_down || (self.settings.until_empty && is_dry);
        is_at_end && self.is_quiet()
    }

    fn is_quiet(&self) -> bool {
        self.waiting.is_empty()
            && self.due.is_empty()
            && self.put_off.is_empty()
            && self.running + self.claiming + self.finishing == 0
    }

    /// Where the worker ends with the last job, it looks at once whether
    /// that was it.
    fn recheck(&mut self, now: Instant) {
        if self.settings.until_empty && self.is_quiet() {
            self.claim_from = self.claim_from.min(now);
        }
    }

    /// Has the ends written again whose time has come.
    fn take_up(&mut self, now: Instant) {
        let ends = self.put_off.extract_if(.., |(at, _)| *at <= now);
        self.due.extend(ends.map(|(_, end)| end));
    }

    fn is_at_limit(&self) -> bool {
        self.claiming + self.finishing >= self.settings.writers
    }

    fn may_finish(&self, now: Instant) -> bool {
        !self.due.is_empty() && !self.is_at_limit() && now >= self.with_room(self.finish_from)
    }

    fn should_finish(&self, is_hand: bool, now: Instant) -> bool {
        let is_free = is_hand && self.waiting.is_empty();
        self.due.len() >= self.settings.batch.min(LARGEST_GROUP)
            || self.shutting_down
            || now >= self.overdue_from()
            // A lone job does not wait; among many, the next claim comes first.
            || (is_free && (self.sparse || (self.claiming == 0 && !self.may_claim(now))))
    }

    fn overdue_from(&self) -> Instant {
        // All work waits for ends that could not be written.
        if self.blocked {
            return self.finish_from;
        }
        after(self.due_since, self.settings.finish_within)
    }

    fn wants_claim(&self) -> bool {
        if self.shutting_down || self.blocked {
            return false;
        }
        // What another claim brought meanwhile would be missing in the last look.
        if self.settings.until_empty && (self.dry || self.looking) {
            return false;
        }
        let coming = self.claiming.saturating_mul(self.settings.batch);
        let takes = coming as f64 * self.job_takes / self.settings.threads as f64;
        self.waiting.is_empty()
            && !self.is_at_limit()
            && (coming < self.idle + 1
                || (self.claiming < self.settings.threads && takes < AHEAD.as_secs_f64()))
    }

    fn may_claim(&self, now: Instant) -> bool {
        now >= self.with_room(self.claim_from) && self.wants_claim()
    }
}

#[cfg(test)]
mod tests;
