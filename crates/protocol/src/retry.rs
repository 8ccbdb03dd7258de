//! What an error of the business logic can ask for: [`Retry`].

use std::error::Error as StdError;
use std::fmt::{self, Display};
use std::time::Duration;

use crate::BoxError;
use crate::causes::causes;

/// An error that says what is to become of the job.
///
/// Return it from the closure of `StatusTracked::run_job` and of the other
/// calls that run a job. It may stand anywhere in the chain of sources, also
/// inside an `anyhow` error, with or without context.
///
/// ```
/// # use status_protocol::{BoxError, Retry};
/// use std::time::Duration;
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

/// What a [`Retry`] asks for. It is the source of the `Retry`, because an error
/// that wraps another may show only the sources of that: a boxed `anyhow` error
/// does.
#[derive(Debug)]
struct Signal {
    directive: RetryDirective,
    cause: Option<BoxError>,
}

/// What an error asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryDirective {
    /// A failure; the job is not tried again before this time has passed.
    After(Duration),
    /// A failure; the job is not tried again.
    Never,
    /// No failure: the job is ready again, as if it had not been claimed.
    Release,
}

impl Retry {
    /// The attempt failed; the job is not ready again before `delay` has
    /// passed, by the database's clock. This replaces
    /// `StatusTracked::RETRY_DELAY`. The table needs a `run_at` column: without
    /// one this is logged, and counts as a plain failure. At `MAX_RETRY` the job
    /// is ignored all the same. A delay of more than a century counts as a
    /// century.
    #[must_use]
    pub fn after(delay: Duration) -> Self {
        Self::of(RetryDirective::After(delay))
    }

    /// The attempt failed, and every other one would fail too: the job is
    /// ignored at once.
    #[must_use]
    pub fn never() -> Self {
        Self::of(RetryDirective::Never)
    }

    /// The job is released: no attempt is counted, and nothing is recorded.
    /// Use it for a shutdown, or when the limit of some service is reached. The
    /// job goes behind those that have waited for longer. Any other worker or
    /// call may claim it at once. The same worker leaves it alone for a pause,
    /// which grows from 0.1 to 10 seconds when the job is released again and
    /// again.
    #[must_use]
    pub fn release() -> Self {
        Self::of(RetryDirective::Release)
    }

    /// Adds the error that led to this; it is recorded too.
    #[must_use]
    pub fn because(mut self, cause: impl Into<BoxError>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    fn of(directive: RetryDirective) -> Self {
        Self(Signal {
            directive,
            cause: None,
        })
    }
}

/// What this error or one of its sources asks for.
#[must_use]
pub fn directive_of(error: &(dyn StdError + 'static)) -> Option<RetryDirective> {
    causes(error).find_map(|error| {
        let signal = match error.downcast_ref::<Retry>() {
            Some(retry) => Some(&retry.0),
            None => error.downcast_ref::<Signal>(),
        };
        signal.map(|signal| signal.directive)
    })
}

impl Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.directive {
            RetryDirective::After(delay) => write!(f, "to be tried again after {delay:?}"),
            RetryDirective::Never => f.write_str("not to be tried again"),
            RetryDirective::Release => f.write_str("released"),
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
