//! What is known of the steps of a table.

use std::fmt::{self, Debug, Display};
use std::time::Duration;

use status_protocol::{Failure, Step};

/// A status code as its column holds it.
///
/// ```
/// use diesel_status_tracker::StatusCode;
///
/// assert_eq!(StatusCode::from(10).to_string(), "10");
/// assert_eq!(StatusCode::from("sent").to_string(), "sent");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum StatusCode {
    /// In a column of integers.
    Number(i64),
    /// In a column of text, or of an enum type of the database.
    Text(String),
}

impl From<i64> for StatusCode {
    fn from(code: i64) -> Self {
        Self::Number(code)
    }
}

impl From<&str> for StatusCode {
    fn from(code: &str) -> Self {
        Self::Text(code.into())
    }
}

impl From<String> for StatusCode {
    fn from(code: String) -> Self {
        Self::Text(code)
    }
}

impl Display for StatusCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(code) => Display::fmt(code, f),
            Self::Text(code) => f.write_str(code),
        }
    }
}

/// The five codes of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepCodes {
    /// A new job, and one that was reset.
    pub pending: StatusCode,
    /// An attempt is running.
    pub in_progress: StatusCode,
    /// The last attempt failed; it may be tried again.
    pub failed: StatusCode,
    /// Done.
    pub succeeded: StatusCode,
    /// Failed too often; left alone until reset.
    pub ignored: StatusCode,
}

impl StepCodes {
    /// The codes with the names of their constants.
    pub(crate) fn named(&self) -> [(&'static str, &StatusCode); 5] {
        [
            ("PENDING", &self.pending),
            ("IN_PROGRESS", &self.in_progress),
            ("FAILED", &self.failed),
            ("SUCCEEDED", &self.succeeded),
            ("IGNORED", &self.ignored),
        ]
    }
}

/// One step of a table: its name, its status codes and its policy.
///
/// A step that is written in Rust is [`StepInfo::of`] its type. Any other is
/// described by its values:
///
/// ```
/// use std::time::Duration;
/// use diesel_status_tracker::{StepCodes, StepInfo};
///
/// let codes = StepCodes {
///     pending: "new".into(),
///     in_progress: "sending".into(),
///     failed: "failed".into(),
///     succeeded: "sent".into(),
///     ignored: "dropped".into(),
/// };
/// let step = StepInfo::new("send", codes).with_lock_expire(Duration::from_secs(60));
/// assert_eq!((step.name(), step.max_retry()), ("send", 3));
/// ```
#[derive(Clone)]
pub struct StepInfo {
    name: String,
    codes: StepCodes,
    more_pending: Vec<StatusCode>,
    lock_expire: Duration,
    max_retry: i32,
    retry_delay: Option<fn(i32) -> Duration>,
    redact: fn(&mut Failure),
}

/// The resolution of SQLite's clock.
pub(crate) const SHORTEST_LOCK: Duration = Duration::from_millis(1);

impl StepInfo {
    /// A step with this name and these codes, and otherwise with the defaults of
    /// [`StatusTracked`](crate::StatusTracked).
    #[must_use]
    pub fn new(name: impl Into<String>, codes: StepCodes) -> Self {
        Self {
            name: name.into(),
            codes,
            more_pending: Vec::new(),
            lock_expire: Duration::from_secs(15 * 60),
            max_retry: 3,
            retry_delay: None,
            redact: |_| {},
        }
    }

    /// The same step with another name.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// With more statuses from which it starts.
    #[must_use]
    pub fn with_more_pending(mut self, codes: impl IntoIterator<Item = StatusCode>) -> Self {
        self.more_pending = codes.into_iter().collect();
        self
    }

    /// With another time after which a lock counts as abandoned.
    #[must_use]
    pub fn with_lock_expire(mut self, lock_expire: Duration) -> Self {
        self.lock_expire = lock_expire;
        self
    }

    /// With another number of failures in a row after which a job is ignored.
    #[must_use]
    pub fn with_max_retry(mut self, max_retry: i32) -> Self {
        self.max_retry = max_retry;
        self
    }

    /// With a delay after each failure, as `RETRY_DELAY`. It takes effect where
    /// the table has a `run_at` column.
    #[must_use]
    pub fn with_retry_delay(mut self, retry_delay: Option<fn(i32) -> Duration>) -> Self {
        self.retry_delay = retry_delay;
        self
    }

    pub(crate) fn with_redact(mut self, redact: fn(&mut Failure)) -> Self {
        self.redact = redact;
        self
    }

    /// Its name, for people.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its five codes.
    #[must_use]
    pub fn codes(&self) -> &StepCodes {
        &self.codes
    }

    /// More statuses from which it starts.
    #[must_use]
    pub fn more_pending(&self) -> &[StatusCode] {
        &self.more_pending
    }

    /// After this time without a renewal a lock counts as abandoned.
    #[must_use]
    pub fn lock_expire(&self) -> Duration {
        self.lock_expire
    }

    /// Failures in a row after which a job is ignored.
    #[must_use]
    pub fn max_retry(&self) -> i32 {
        self.max_retry
    }

    /// What a status means to this step.
    pub(crate) fn phase(&self, status: &StatusCode) -> Phase {
        let phases = [
            Phase::Pending,
            Phase::InProgress,
            Phase::Failed,
            Phase::Succeeded,
            Phase::Ignored,
        ];
        let mut codes = self.codes.named().into_iter().zip(phases);
        match codes.find(|((_, code), _)| *code == status) {
            Some((_, phase)) => phase,
            None if self.more_pending.contains(status) => Phase::More,
            None => Phase::Other,
        }
    }

    /// The step as the rules know it.
    pub(crate) fn step(&self, has_run_at: bool) -> Step<Phase> {
        Step {
            pending: Phase::Pending,
            in_progress: Phase::InProgress,
            failed: Phase::Failed,
            succeeded: Phase::Succeeded,
            ignored: Phase::Ignored,
            more_pending: &[Phase::More],
            lock_expire: self.lock_expire,
            max_retry: self.max_retry,
            retry_delay: self.retry_delay,
            max_conflicts: 1,
            has_run_at,
            redact: self.redact,
        }
    }

    /// What is wrong with it, if anything is.
    pub(super) fn problem(&self) -> Option<String> {
        let name = &self.name;
        if name.is_empty() {
            return Some("a step has an empty name: give it one".into());
        }
        let codes = self.codes.named();
        for (n, (one, code)) in codes.iter().enumerate() {
            if let Some((other, _)) = codes[n + 1..].iter().find(|(_, other)| other == code) {
                return Some(format!(
                    "{one} and {other} of step `{name}` are the same status, {code}; give each its own"
                ));
            }
            // A step that started from its own final status would run for ever.
            let is_claimed_or_final = !matches!(*one, "PENDING" | "FAILED");
            if is_claimed_or_final && self.more_pending.contains(code) {
                return Some(format!(
                    "{one} and one of MORE_PENDING of step `{name}` are the same status, {code}; take it out of MORE_PENDING"
                ));
            }
        }
        if self.lock_expire < SHORTEST_LOCK {
            return Some(format!(
                "LOCK_EXPIRE of step `{name}` is {:?}, and each lock would be lost as soon as it is taken; make it longer than an attempt takes",
                self.lock_expire
            ));
        }
        None
    }

    /// All codes that it names.
    pub(super) fn all_codes(&self) -> impl Iterator<Item = &StatusCode> {
        let codes = self.codes.named().into_iter().map(|(_, code)| code);
        codes.chain(&self.more_pending)
    }
}

impl Debug for StepInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StepInfo")
            .field("name", &self.name)
            .field("codes", &self.codes)
            .field("more_pending", &self.more_pending)
            .field("lock_expire", &self.lock_expire)
            .field("max_retry", &self.max_retry)
            .finish_non_exhaustive()
    }
}

/// What a status means to one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Its `PENDING`.
    Pending,
    /// Its `IN_PROGRESS`.
    InProgress,
    /// Its `FAILED`.
    Failed,
    /// Its `SUCCEEDED`.
    Succeeded,
    /// Its `IGNORED`.
    Ignored,
    /// One of its `MORE_PENDING`.
    More,
    /// None of its own.
    Other,
}
