//! The jobs and outcomes that a worker has, and what each of its threads does
//! next. These are pure decisions, without a database and without a clock.

mod idle;
mod pace;
mod sharing;

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::attempt::claim::LARGEST_CLAIM;
use crate::rows::bulk;
use pace::{Pace, Statements};
use status_protocol::backoff;

/// While one claim is under way, another one is started only for as much work as
/// the threads do in this time, and a claim that they share asks for no more. That is
/// enough to hide the time of a claim, and too little to keep jobs from other workers.
const AHEAD: Duration = Duration::from_millis(10);

/// While claims of so many jobs are under way, no other one is started ahead. On
/// PostgreSQL a claim locks, until its end, also rows that others have claimed since it
/// began, and the outcomes of those wait for it: 128 threads that each claimed 1,000 did
/// 2,000 jobs a second, and with this limit 45,000.
pub(super) const MOST_AHEAD: usize = 200;

/// A claim that takes longer may hang. It waits for no row, but with many workers on a busy
/// server it takes a tenth of a second, and more claims would make that worse.
const LONGEST_CLAIM: Duration = Duration::from_secs(1);

/// The longest time that claims and flushes wait for a renewal. It may be slow
/// for a reason of its own connection.
const ROOM_FOR_RENEWAL: Duration = Duration::from_secs(1);

/// The most outcomes of one group: their keys must fit into the 32,766 parameters
/// of a statement on SQLite.
const LARGEST_GROUP: usize = 2_000;

/// Times at which jobs will be ready, as far as they are kept. Later ones are found by
/// the regular looks.
const MOST_DUE_TIMES: usize = 10_000;

/// Pauses between two looks that a call of this process or a change by another one causes
/// and that find nothing: it may have been in another database, or not be committed yet.
/// The first such look causes none, since the worker's own changes may have caused it.
const FIRST_FALSE_ALARM: Duration = Duration::from_millis(10);
pub(super) const LONGEST_FALSE_ALARM: Duration = Duration::from_secs(1);
/// The same where each commit to a file of SQLite's causes a look, which costs little.
pub(super) const LONGEST_FALSE_ALARM_OF_A_FILE: Duration = Duration::from_millis(20);

/// The longest pause of a worker that cannot hear what it wants to listen to.
const LONGEST_POLL_WHEN_DEAF: Duration = Duration::from_secs(1);
/// What the pause between two looks is of the time since a job was found.
const SHARE_OF_QUIET: u32 = 10;

/// The longest wait: a century. A clock can add that without overflow.
const LONGEST_WAIT: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// The time at which this wait is over.
pub(super) fn after(now: Instant, wait: Duration) -> Instant {
    now.checked_add(wait.min(LONGEST_WAIT)).unwrap_or(now)
}

/// How a worker works.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub threads: usize,
    /// Jobs of one claim, and outcomes that are written without waiting for more.
    pub batch: usize,
    /// The longest and the shortest pause between two looks that find nothing.
    pub poll_every: Duration,
    pub poll_first: Duration,
    pub longest_false_alarm: Duration,
    /// How long an outcome waits for others of its group.
    pub finish_within: Duration,
    pub until_empty: bool,
    /// While claims of so many jobs are under way, no other one is started ahead.
    pub most_ahead: usize,
    /// Writes that the database executes at a time.
    pub writers: usize,
    /// Whether outcomes may be written and jobs claimed with one commit. Not on MySQL,
    /// where a claim in a transaction reads old rows, or locks what it reads.
    pub commits_both: bool,
}

/// The kind of thread that asks for a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// One of the threads that run jobs.
    WorkerThread,
    /// The thread that writes outcomes while all worker threads are busy.
    Flusher,
}

/// What a thread does next.
#[derive(Debug, PartialEq)]
pub(super) enum Task<Job, Completion> {
    Run(Job),
    Flush(Vec<Completion>),
    /// Write these, and claim the next jobs with the same commit.
    FlushAndClaim(Vec<Completion>, Claim),
    Claim(Claim),
    /// Until something happens, or this time has passed.
    Wait(Option<Duration>),
    Stop,
}

/// A claim that a thread is to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim {
    /// It asks for so many jobs.
    pub wanted: usize,
    /// Nothing else is in progress in this worker.
    pub quiet: bool,
}

/// What a claim has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// As many jobs as it asked for.
    Enough,
    /// Fewer.
    Few,
    /// None now, but look again at this time: other transactions hold the ready
    /// rows, or this worker pauses the ready jobs until then.
    Later(Instant),
    /// None is ready.
    Nothing,
}

/// The jobs and outcomes of a worker, and what is in progress.
#[derive(Debug)]
pub(super) struct Scheduler<Job, Completion> {
    settings: Settings,
    waiting: VecDeque<Job>,
    due: Vec<Completion>,
    due_since: Instant,
    /// Outcomes that could not be written, each with the time of its next try.
    postponed: Vec<(Instant, Completion)>,
    /// No outcome can be written now. No job is begun either, because its result
    /// might be lost.
    blocked: bool,
    /// The flusher looks in time by itself, whatever becomes due.
    announced: bool,
    /// A group was taken since the flusher looked.
    has_flushed: bool,
    running: usize,
    claiming: usize,
    /// Jobs that these claims ask for.
    coming: usize,
    /// So many of these claims began before jobs were last found or became ready. That
    /// one of them finds nothing says nothing about what is ready now.
    outdated: usize,
    flushing: usize,
    /// Worker threads that wait for a task.
    idle: usize,
    /// When one of them looks by itself at the latest.
    awaited: Option<Instant>,
    pace: Pace,
    claims: Statements,
    flushes: Statements,
    /// The table has fewer ready jobs than a claim asks for.
    sparse: bool,
    /// Nothing was ready while nothing else was in progress.
    dry: bool,
    /// A claim is in progress that began when nothing else was, and nothing has
    /// happened since.
    looking: bool,
    claim_from: Instant,
    /// When a claim last found a job.
    found_at: Instant,
    /// It wants to be told of the changes of others, and nobody tells it now.
    deaf: bool,
    /// When jobs will be ready that are not yet.
    due_times: BTreeSet<Instant>,
    /// The worker was woken since the last claim ended.
    woken: bool,
    /// Claims in a row for which it was woken and that found nothing.
    false_alarms: i32,
    /// When a claim may be the next one for which it is woken.
    alarm_from: Instant,
    flush_from: Instant,
    /// Flushes and claims are made apart until then.
    apart_until: Instant,
    /// A renewal is in progress, and has the database for itself until then.
    room_until: Option<Instant>,
    /// The first search for dead attempts is in progress.
    expiring: bool,
    shutting_down: bool,
}

impl<Job, Completion> Scheduler<Job, Completion> {
    pub fn new(settings: Settings, now: Instant) -> Self {
        Self {
            settings,
            waiting: VecDeque::new(),
            due: Vec::new(),
            due_since: now,
            postponed: Vec::new(),
            blocked: false,
            announced: false,
            has_flushed: false,
            running: 0,
            claiming: 0,
            coming: 0,
            outdated: 0,
            flushing: 0,
            idle: 0,
            awaited: None,
            pace: Pace::default(),
            claims: Statements::default(),
            flushes: Statements::default(),
            sparse: false,
            dry: false,
            looking: false,
            claim_from: now,
            found_at: now,
            deaf: false,
            due_times: BTreeSet::new(),
            woken: false,
            false_alarms: 0,
            alarm_from: now,
            flush_from: now,
            apart_until: now,
            room_until: None,
            expiring: true,
            shutting_down: false,
        }
    }

    pub fn next(&mut self, who: Role, now: Instant) -> Task<Job, Completion> {
        let is_worker_thread = who == Role::WorkerThread;
        self.take_up(now);
        if self.flushes_now(is_worker_thread, now) {
            let claims_too = is_worker_thread && self.may_claim_with_flush(now);
            self.flushes.begin(self.flushing, now);
            self.flushing += 1;
            self.has_flushed = true;
            let group = self
                .due
                .len()
                .min(self.group().clamp(bulk::CHUNK, LARGEST_GROUP));
            let group = self.due.drain(..group).collect();
            if claims_too {
                let wanted = self.wanted(now).min(LARGEST_CLAIM);
                return Task::FlushAndClaim(group, self.begin_claim(wanted, false, now));
            }
            return Task::Flush(group);
        }
        if is_worker_thread && !self.blocked {
            // Before the jobs that wait: they are few enough to be done when it ends.
            if self.may_claim(now) {
                let quiet = self.is_quiet();
                self.looking |= quiet;
                // This claim finds what is ready by now.
                while self.due_times.first().is_some_and(|at| *at <= now) {
                    self.due_times.pop_first();
                }
                return Task::Claim(self.begin_claim(self.wanted(now), quiet, now));
            }
            if let Some(job) = self.waiting.pop_front() {
                self.running += 1;
                return Task::Run(job);
            }
        }
        if self.is_over() {
            return Task::Stop;
        }
        let until = self.waits_until(who, now);
        Task::Wait(until.map(|at| at.saturating_duration_since(now)))
    }

    /// A job has run for this time.
    pub fn ran(&mut self, took: Duration, now: Instant) {
        self.running -= 1;
        self.pace.job_ran(took);
        self.recheck(now);
    }

    /// This outcome is to be written.
    pub fn add_due(&mut self, completion: Completion, now: Instant) {
        if self.due.is_empty() {
            self.due_since = now;
        }
        self.due.push(completion);
    }

    /// These jobs were claimed.
    pub fn claimed(&mut self, jobs: impl IntoIterator<Item = Job>) {
        self.waiting.extend(jobs);
    }

    fn begin_claim(&mut self, wanted: usize, quiet: bool, now: Instant) -> Claim {
        self.claims.begin(self.claiming, now);
        self.claiming += 1;
        self.coming += wanted;
        Claim { wanted, quiet }
    }

    /// A claim is over.
    pub fn end_claim(&mut self, claim: Claim, found: Found, now: Instant) {
        let quiet = claim.quiet;
        self.claim_ended(claim, now);
        self.sparse = found != Found::Enough;
        let undisturbed = quiet && std::mem::take(&mut self.looking);
        self.dry = found == Found::Nothing && undisturbed;
        let is_outdated = self.outdated > 0;
        self.outdated = self.outdated.saturating_sub(1);
        match found {
            Found::Enough | Found::Few => self.look_again(now),
            Found::Later(_) | Found::Nothing if (quiet && !undisturbed) || is_outdated => {
                self.claim_from = now;
            }
            Found::Later(at) => self.pause_claims(Some(at), now),
            Found::Nothing => self.pause_claims(None, now),
        }
        if !quiet {
            self.recheck(now);
        }
        if let Some(at) = self.due_times.first() {
            self.claim_from = self.claim_from.min(*at);
        }
        let was_woken = std::mem::take(&mut self.woken);
        if matches!(found, Found::Enough | Found::Few) {
            self.false_alarms = 0;
            self.found_at = now;
        } else if was_woken {
            if self.false_alarms > 0 {
                let longest = self.settings.longest_false_alarm;
                let pause = backoff::exponential(FIRST_FALSE_ALARM, longest, self.false_alarms);
                self.alarm_from = after(now, pause);
            }
            self.false_alarms = self.false_alarms.saturating_add(1);
        }
    }

    fn claim_ended(&mut self, claim: Claim, now: Instant) {
        self.claiming -= 1;
        self.coming -= claim.wanted;
        if let Some(took) = self.claims.end(now) {
            self.pace.statement_took(took);
        }
    }

    /// Jobs that the claims in progress are expected to bring. One that takes long may hang:
    /// then only a batch is expected of it, so that others are begun.
    fn expected(&self, now: Instant) -> usize {
        match self.claims_take_long_from() {
            Some(from) if now < from => self.coming,
            _ => self
                .coming
                .min(self.claiming.saturating_mul(self.settings.batch)),
        }
    }

    fn claims_take_long_from(&self) -> Option<Instant> {
        let begun = self.claims.last_begun()?;
        Some(after(begun, LONGEST_CLAIM))
    }

    /// There may be more jobs, which the claims in progress need not find.
    fn look_again(&mut self, now: Instant) {
        self.claim_from = self.claim_from.min(now);
        self.outdated = self.claiming;
    }

    /// Waits for the next regular look, for the time at which jobs are ready, or for what
    /// was to be awaited before: whichever comes first.
    fn pause_claims(&mut self, ready_at: Option<Instant>, now: Instant) {
        let look_at = after(now, self.poll_pause(now));
        let until = ready_at.map_or(look_at, |at| at.min(look_at));
        self.claim_from = match self.claim_from > now {
            true => self.claim_from.min(until),
            false => until,
        };
    }

    /// How long to wait before the next look: the longer, the longer no job was found.
    fn poll_pause(&self, now: Instant) -> Duration {
        let quiet = now.saturating_duration_since(self.found_at);
        let most = match self.deaf {
            true => self.settings.poll_every.min(LONGEST_POLL_WHEN_DEAF),
            false => self.settings.poll_every,
        };
        (quiet / SHARE_OF_QUIET)
            .max(self.settings.poll_first)
            .min(most)
    }

    /// A claim failed; the next one waits for this time.
    pub fn fail_claim(&mut self, claim: Claim, pause: Duration, now: Instant) {
        self.claim_ended(claim, now);
        self.looking = false;
        self.claim_from = after(now, pause);
        // No call of this process is to shorten the pause.
        self.alarm_from = self.alarm_from.max(self.claim_from);
    }

    /// A flush and a claim that were to be one commit changed nothing. For this time
    /// they are made apart.
    pub fn keep_apart(&mut self, pause: Duration, now: Instant) {
        self.apart_until = after(now, pause);
    }

    /// A group of outcomes was sent, and nothing was reported of it yet.
    pub fn flushed(&mut self, now: Instant) {
        if let Some(took) = self.flushes.end(now) {
            self.pace.statement_took(took);
        }
    }

    /// A group of outcomes was written.
    pub fn end_flush(&mut self, now: Instant) {
        self.flushing -= 1;
        self.announced &= !self.blocked;
        self.blocked = false;
        self.due_since = now;
        self.recheck(now);
    }

    /// No outcome of a group could be written, and the database is at fault. No
    /// other one is tried for this time, and no job is begun until one is written.
    pub fn fail_flush(&mut self, completions: Vec<Completion>, pause: Duration, now: Instant) {
        self.flushing -= 1;
        self.blocked = true;
        self.flush_from = after(now, pause);
        self.due_since = now;
        self.announced = false;
        self.due.extend(completions);
    }

    /// This outcome could not be written because of its own row. It is tried again
    /// after this time.
    pub fn postpone(&mut self, completion: Completion, pause: Duration, now: Instant) {
        self.postponed.push((after(now, pause), completion));
        self.announced = false;
    }

    /// A job that was released is ready again at this time.
    pub fn ready_at(&mut self, at: Instant) {
        self.claim_from = self.claim_from.min(at);
        self.dry = false;
    }

    /// A call of this process, or a change by another one, may have made jobs ready. If
    /// the last two did not lead to any job, there is a pause first.
    pub fn ring(&mut self, now: Instant) {
        self.woken = true;
        self.claim_from = self.claim_from.min(now.max(self.alarm_from));
    }

    /// Whether nobody tells it of the changes of others, although it wants to know.
    pub fn set_deaf(&mut self, deaf: bool) {
        self.deaf = deaf;
    }

    /// A job will be ready at this time. A worker that runs until nothing is ready does
    /// not wait for it.
    pub fn due_at(&mut self, at: Instant) {
        if self.settings.until_empty {
            return;
        }
        self.claim_from = self.claim_from.min(at);
        self.due_times.insert(at);
        if self.due_times.len() > MOST_DUE_TIMES {
            self.due_times.pop_last();
        }
    }

    /// There may be something to claim.
    pub fn poll(&mut self, now: Instant) {
        self.look_again(now);
        self.dry = false;
        self.looking = false;
    }

    /// Shuts down, and returns the claimed jobs that are not begun.
    pub fn shut_down(&mut self) -> Vec<Job> {
        self.shutting_down = true;
        self.waiting.drain(..).collect()
    }

    /// The first search for dead attempts is over: the jobs that it has expired
    /// are ready.
    pub fn end_expiry(&mut self, now: Instant) {
        if std::mem::take(&mut self.expiring) {
            self.recheck(now);
        }
    }

    pub fn is_shutting_down(&self) -> bool {
        self.shutting_down
    }

    /// A renewal of locks begins. For a while no claim and no flush is started,
    /// because nothing must delay the renewal: no queue for a connection and, on
    /// SQLite, no queue for the file.
    pub fn begin_renewal(&mut self, now: Instant) {
        self.room_until = Some(after(now, ROOM_FOR_RENEWAL));
    }

    /// The renewal is over.
    pub fn end_renewal(&mut self) {
        self.room_until = None;
    }

    /// This time, or a later one if a renewal comes first.
    fn with_room(&self, at: Instant) -> Instant {
        self.room_until.map_or(at, |until| at.max(until))
    }

    /// The worker has nothing more to do.
    pub fn is_over(&self) -> bool {
        let is_dry = self.dry && !self.expiring;
        let is_at_end = self.shutting_down || (self.settings.until_empty && is_dry);
        is_at_end && self.is_quiet()
    }

    fn is_quiet(&self) -> bool {
        self.waiting.is_empty()
            && self.due.is_empty()
            && self.postponed.is_empty()
            && self.running + self.claiming + self.flushing == 0
    }

    /// A worker that runs until the table is empty looks again at once when it
    /// has nothing in progress.
    fn recheck(&mut self, now: Instant) {
        if self.settings.until_empty && self.is_quiet() {
            self.claim_from = self.claim_from.min(now);
        }
    }

    /// Makes the postponed outcomes due whose time has come.
    fn take_up(&mut self, now: Instant) {
        let postponed = self.postponed.extract_if(.., |(at, _)| *at <= now);
        self.due.extend(postponed.map(|(_, completion)| completion));
    }

    fn is_at_limit(&self) -> bool {
        self.claiming + self.flushing >= self.settings.writers
    }

    fn flushes_now(&self, is_worker_thread: bool, now: Instant) -> bool {
        self.may_flush(now) && self.should_flush(is_worker_thread, now)
    }

    fn may_flush(&self, now: Instant) -> bool {
        let from = self
            .flush_from
            .max(self.flush_shared_until().unwrap_or(now));
        !self.due.is_empty() && !self.is_at_limit() && now >= self.with_room(from)
    }

    fn should_flush(&self, is_worker_thread: bool, now: Instant) -> bool {
        let is_free = is_worker_thread && self.waiting.is_empty();
        let is_batch = self.due.len() >= self.settings.batch.min(LARGEST_GROUP);
        self.due.len() >= self.group().min(LARGEST_GROUP)
            || self.shutting_down
            || now >= self.overdue_from()
            // The outcome of a lone job does not wait. With many jobs the next claim
            // comes first, if it does not take them along.
            || (is_free && self.sparse)
            || (is_worker_thread && is_batch && self.may_claim_with_flush(now))
            || (is_free && (is_batch || self.claiming == 0) && !self.may_claim(now))
    }

    fn overdue_from(&self) -> Instant {
        // All work waits for the outcomes that could not be written.
        if self.blocked {
            return self.flush_from;
        }
        after(self.due_since, self.settings.finish_within)
    }

    fn wants_claim(&self, now: Instant) -> bool {
        if self.shutting_down || self.blocked {
            return false;
        }
        // The last look must be the only claim: it would not see the jobs that
        // another claim has taken.
        if self.settings.until_empty && (self.dry || self.looking) {
            return false;
        }
        // Two claims that overlap again and again would put the last look off for ever,
        // since that is made when nothing is in progress.
        if self.settings.until_empty && self.sparse && self.claiming > 0 {
            return false;
        }
        if self.is_at_limit() {
            return false;
        }
        if !self.waiting.is_empty() {
            return self.claiming == 0 && self.runs_short();
        }
        let expected = self.expected(now);
        let of_each = expected.div_ceil(self.settings.threads);
        expected < self.idle + 1
            || (self.claiming < self.settings.threads
                && expected < self.settings.most_ahead
                && self.pace.time_of(of_each) < AHEAD)
    }

    /// The other threads will have done the jobs that wait before a claim brings more. They
    /// are less than a batch, so that a worker that dies does not have many in hand, and
    /// none where it claims one by one.
    fn runs_short(&self) -> bool {
        let of_each = self.waiting.len().div_ceil(self.settings.threads);
        self.settings.threads > 1
            && self.settings.batch > 1
            && self.waiting.len() < self.settings.batch
            && !self.sparse
            && self.pace.time_of(of_each) < self.pace.statement_time()
    }

    fn may_claim(&self, now: Instant) -> bool {
        let from = self
            .claim_from
            .max(self.claim_shared_until().unwrap_or(now));
        now >= self.with_room(from) && self.wants_claim(now)
    }

    /// An outcome must not wait for a claim that finds nothing.
    fn may_claim_with_flush(&self, now: Instant) -> bool {
        self.commits_both() && !self.sparse && now >= self.apart_until && self.may_claim(now)
    }
}

#[cfg(test)]
mod tests;
