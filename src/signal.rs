//! What an error of the business logic can ask for: [`Retry`].

use std::error::Error as StdError;
use std::fmt::{self, Display};
use std::time::Duration;

use crate::causes::causes;
use crate::error::BoxError;

/// An error that says what is to become of the job.
///
/// Return it from the closure of [`run_job`](crate::StatusTracked::run_job)
/// and the other calls that run one. It is found wherever in the chain of
/// sources it stands, through `anyhow` with and without context too.
///
/// ```
/// use std::time::Duration;
/// use diesel_status_tracker::{BoxError, Retry};
///
/// fn send(status: u16) -> Result<(), BoxError> {
///     match status {
///         200 => Ok(()),
///         404 => Err(Retry::never().because("no such customer"))?,
///         503 => Err(Retry::after(Duration::from_secs(30)))?,
///         429 => Err(Retry::release())?,
///         other => Err(format!("status {other}"))?,     // a plain failure
///     }
/// }
/// # assert!(send(404).is_err());
/// ```
#[derive(Debug)]
pub struct Retry(Signal);

/// The signal of a [`Retry`] is its own source, since what wraps an error
/// may show its sources only: `anyhow` does, once it is a boxed error.
#[derive(Debug)]
struct Signal {
    wish: Wish,
    cause: Option<BoxError>,
}

/// What an error asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// A failure, to be tried again no sooner than after this time.
    After(Duration),
    /// A failure for good.
    Never,
    /// No failure: ready again, as if it had not been claimed.
    Release,
}

impl Retry {
    /// The attempt failed; the job is not ready again before `delay` has
    /// passed, by the database's clock, in place of
    /// [`RETRY_DELAY`](crate::StatusTracked::RETRY_DELAY). The table needs a
    /// `run_at` column: without one this is logged, and is a plain failure.
    /// At `MAX_RETRY` the job is ignored all the same. A delay of more than a
    /// century counts as one.
    #[must_use]
    pub fn after(delay: Duration) -> Self {
        Self::of(Wish::After(delay))
    }

    /// The attempt failed, and no other is going to do better: the job is
    /// ignored at once.
    #[must_use]
    pub fn never() -> Self {
        Self::of(Wish::Never)
    }

    /// The job is given back: no attempt is counted, and nothing is recorded.
    /// For a shutdown, or where the limit of some service is reached. It goes
    /// behind the jobs that have waited for longer, and any other worker or
    /// call may have it at once. The same worker leaves it alone for a pause,
    /// which grows from 0.1 to 10 seconds when the job is released again and
    /// again.
    #[must_use]
    pub fn release() -> Self {
        Self::of(Wish::Release)
    }

    /// With the error that led to it, which is recorded too.
    #[must_use]
    pub fn because(mut self, cause: impl Into<BoxError>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    fn of(wish: Wish) -> Self {
        Self(Signal { wish, cause: None })
    }
}

/// What this error or one of its sources asks for.
pub(crate) fn wish_of(error: &(dyn StdError + 'static)) -> Option<Wish> {
    causes(error).find_map(|error| {
        let signal = match error.downcast_ref::<Retry>() {
            Some(retry) => Some(&retry.0),
            None => error.downcast_ref::<Signal>(),
        };
        signal.map(|signal| signal.wish)
    })
}

impl Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.wish {
            Wish::After(delay) => write!(f, "to be tried again after {delay:?}"),
            Wish::Never => f.write_str("not to be tried again"),
            Wish::Release => f.write_str("released"),
        }
    }
}

impl Display for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for Retry {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.0)
    }
}

impl StdError for Signal {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}
