#![doc = include_str!("../README.md")]
#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod backoff;
pub mod causes;
mod error_log;
mod failure;
pub mod panics;
mod retry;
mod step;

pub use error_log::{ErrorEntry, ErrorLog};
pub use failure::Failure;
pub use retry::{Retry, RetryDirective, directive_of};
pub use step::{FailedAttempt, FailureOutcome, LostAnswer, Refusal, RowState, Start, Step};

/// Any error of the business logic; `?` converts every error type into it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
