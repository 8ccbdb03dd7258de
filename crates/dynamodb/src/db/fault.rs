//! What a failed request means: whether it may have been applied, and whether it is
//! worth another try.

use std::error::Error as StdError;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use status_protocol::{BoxError, backoff};
use std::time::Duration;

use crate::error::Error;

/// Tries of a request, those of the SDK for each of them not counted.
const TRIES: i32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A request that failed. A condition that was false is no fault.
#[derive(Debug)]
pub(crate) struct Fault {
    pub kind: FaultKind,
    pub source: BoxError,
    /// A write that may have been applied: no answer came, or the SDK has sent it more
    /// than once, and the answer to the last try does not tell about those before it.
    pub maybe_applied: bool,
}

/// DynamoDB's answer, with its code and message.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct Answer {
    text: String,
    source: BoxError,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// DynamoDB has refused it for now, and has not applied it.
    Throttled,
    /// It met another transaction, and was not applied.
    Conflict,
    /// No answer came, or one that does not tell: it may have been applied.
    NoAnswer,
    /// It is refused each time, and was not applied.
    Permanent,
}

impl Fault {
    /// What an error of the SDK means. Its text is what DynamoDB says, which the
    /// SDK's own texts leave out.
    pub fn of<E>(error: SdkError<E, HttpResponse>) -> Self
    where
        E: StdError + ProvideErrorMetadata + Send + Sync + 'static,
    {
        let kind = kind(&error);
        let source = match (error.code(), error.message()) {
            (Some(code), message) => Answer {
                text: format!("{code}: {}", message.unwrap_or("no message")),
                source: error.into(),
            }
            .into(),
            _ => error.into(),
        };
        Self {
            kind,
            source,
            maybe_applied: kind == FaultKind::NoAnswer,
        }
    }

    /// The same for a write.
    pub fn of_write<E>(error: SdkError<E, HttpResponse>, attempts: &Attempts) -> Self
    where
        E: StdError + ProvideErrorMetadata + Send + Sync + 'static,
    {
        Self::of(error).after_a_write(attempts.more_than_one())
    }

    pub fn after_a_write(mut self, sent_again: bool) -> Self {
        self.maybe_applied |= sent_again;
        self
    }

    pub fn permanent(source: BoxError) -> Self {
        Self {
            kind: FaultKind::Permanent,
            source,
            maybe_applied: false,
        }
    }

    /// Whether the item has no room for the write.
    pub fn is_of_size(&self) -> bool {
        let text = self.source.to_string();
        self.kind == FaultKind::Permanent && text.contains("size") && text.contains("exceeded")
    }

    /// The error for the caller.
    pub fn into_error(self, job: &str) -> Error {
        let (job, source) = (job.to_owned(), self.source);
        match self.kind {
            FaultKind::Throttled => Error::Throttled { job, source },
            _ => Error::Database { job, source },
        }
    }
}

fn kind<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> FaultKind {
    match error {
        SdkError::ServiceError(service) => {
            let code = service.err().code().unwrap_or_default();
            of_code(code).unwrap_or_else(|| {
                // A server between here and DynamoDB answers without a code.
                match service.raw().status().as_u16() {
                    429 => FaultKind::Throttled,
                    500.. => FaultKind::NoAnswer,
                    _ => FaultKind::Permanent,
                }
            })
        }
        SdkError::ConstructionFailure(_) => FaultKind::Permanent,
        SdkError::DispatchFailure(failure) => match failure.as_connector_error() {
            // As when there are no credentials, or the endpoint is no address.
            Some(error) if error.is_user() => FaultKind::Permanent,
            None => FaultKind::Permanent,
            Some(_) => FaultKind::NoAnswer,
        },
        _ => FaultKind::NoAnswer,
    }
}

/// What a code of DynamoDB means; `None` if its HTTP status has to tell.
pub(crate) fn of_code(code: &str) -> Option<FaultKind> {
    Some(match code {
        "ProvisionedThroughputExceededException"
        | "ProvisionedThroughputExceeded"
        | "ThrottlingException"
        | "ThrottlingError"
        | "RequestLimitExceeded"
        | "LimitExceededException" => FaultKind::Throttled,
        "TransactionConflictException"
        | "TransactionConflict"
        | "ReplicatedWriteConflictException" => FaultKind::Conflict,
        // An earlier try with the same token is still being applied.
        "TransactionInProgressException" | "InternalServerError" | "ServiceUnavailable" => {
            FaultKind::NoAnswer
        }
        _ => return None,
    })
}

/// Counts how often the SDK sends a request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attempts(Arc<AtomicU32>);

impl Attempts {
    pub fn more_than_one(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 1
    }
}

impl Intercept for Attempts {
    fn name(&self) -> &'static str {
        "Attempts"
    }

    fn read_before_attempt(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// The tries of one request.
#[derive(Debug)]
pub(crate) struct Tries<'a> {
    job: &'a str,
    failed: i32,
}

impl<'a> Tries<'a> {
    pub fn new(job: &'a str) -> Self {
        Self { job, failed: 0 }
    }

    /// Waits before the next try.
    ///
    /// # Errors
    ///
    /// The fault does not pass by itself, or there were tries enough.
    pub async fn after(&mut self, fault: Fault) -> Result<(), Fault> {
        self.failed += 1;
        if fault.kind == FaultKind::Permanent || self.failed >= TRIES {
            return Err(fault);
        }
        tracing::warn!(job = self.job, kind = ?fault.kind, error = %fault.source, "to be tried again");
        tokio::time::sleep(backoff::exponential(
            FIRST_PAUSE,
            LONGEST_PAUSE,
            self.failed,
        ))
        .await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_tells_throttling_from_errors() {
        assert_eq!(
            of_code("ProvisionedThroughputExceededException"),
            Some(FaultKind::Throttled)
        );
        assert_eq!(of_code("TransactionConflict"), Some(FaultKind::Conflict));
        assert_eq!(of_code("InternalServerError"), Some(FaultKind::NoAnswer));
        assert_eq!(of_code("ValidationException"), None);
    }
}
