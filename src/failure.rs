//! What is recorded of a failed attempt: the document in the `errors` column.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt::Write;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::causes::{Bounded, causes, shown};
use crate::panics::{caught, message_of};

/// Longer texts are cut, so that no backtrace breaks a column.
const LONGEST_TEXT: usize = 8 * 1024;
/// Bytes of a line in a log.
const LONGEST_SUMMARY: usize = 500;
/// Failures that the history keeps.
const HISTORY: usize = 10;

/// One failed attempt, as `errors` shows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    error: String,
    traceback: String,
    attempt: i32,
    at: String,
}

/// The cause of a failed attempt, as `errors` and the log are going to show
/// it. [`StatusTracked::redact`](crate::StatusTracked::redact) may change it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Failure {
    /// The error and its sources, one line each; `panic: …` after a panic.
    pub error: String,
    /// The error's `Debug` form, which for some types holds a backtrace;
    /// empty after a panic.
    pub traceback: String,
}

impl Failure {
    /// The error and its sources, one line each, and its `Debug` form, which
    /// for some error types holds a backtrace.
    pub(crate) fn of(error: &(dyn StdError + 'static), redact: fn(&mut Self)) -> Self {
        let mut lines = Bounded::default();
        let mut last: Option<String> = None;
        for cause in causes(error) {
            let text = shown("Display", |text| write!(text, "{cause}"));
            let mut cut = text.full;
            // Some errors say no more than their source, as `Retry` does.
            if last.as_ref() == Some(&text.text) {
                continue;
            }
            let line_break = if last.is_some() { "\n" } else { "" };
            cut |= write!(lines, "{line_break}{}", text.text).is_err();
            if cut {
                lines.full = true;
                break;
            }
            last = Some(text.text);
        }
        let failure = Self {
            error: lines.finish(),
            traceback: shown("Debug", |text| write!(text, "{error:?}")).finish(),
        };
        failure.redacted(redact)
    }

    /// The message of a panic.
    pub(crate) fn of_panic(payload: &(dyn Any + Send), redact: fn(&mut Self)) -> Self {
        Self::because_of_panic(message_of(payload), redact)
    }

    fn because_of_panic(message: &str, redact: fn(&mut Self)) -> Self {
        Self::because(&format!("panic: {message}")).redacted(redact)
    }

    /// This failure, which says as well that `RETRY_DELAY` panicked, where it
    /// did, with this message.
    pub(crate) fn and_of_delay(mut self, panic: Option<String>, redact: fn(&mut Self)) -> Self {
        if let Some(message) = panic {
            let panic = Self::because_of_panic(&message, redact).error;
            self.error
                .push_str("\n`RETRY_DELAY` panicked, so the job is ready at once: ");
            self.error.push_str(&panic);
        }
        self
    }

    /// A failure that has no error of its own.
    pub(crate) fn because(reason: &str) -> Self {
        let mut text = Bounded::default();
        let _full = write!(text, "{reason}");
        Self {
            error: text.finish(),
            traceback: String::new(),
        }
    }

    /// As the step wants it kept. Where it cannot say, nothing is.
    fn redacted(self, redact: fn(&mut Self)) -> Self {
        let redacted = caught("`redact`", || {
            let mut failure = self;
            redact(&mut failure);
            failure
        });
        let mut failure = redacted
            .unwrap_or_else(|_| Self::because("`redact` panicked: what failed is not recorded"));
        cut(&mut failure.error);
        cut(&mut failure.traceback);
        failure
    }

    /// The error and its sources in one line, for logs.
    pub(crate) fn summary(&self) -> String {
        let mut line = self.error.lines().collect::<Vec<_>>().join(": ");
        line.truncate(line.floor_char_boundary(LONGEST_SUMMARY));
        line
    }

    /// The new content of `errors`, given the old one. Something else than
    /// an object of this crate, found there, is kept in the history.
    pub(crate) fn document(&self, previous: Value, attempt: i32, at: DateTime<Utc>) -> Value {
        let entry = Entry {
            error: self.error.clone(),
            traceback: self.traceback.clone(),
            attempt,
            at: at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
        };
        let mut history = vec![json!(entry)];
        history.extend(past(previous));
        history.truncate(HISTORY);
        let mut document = json!(entry);
        document["history"] = history.into();
        document
    }
}

/// The entries of a document that was read, newest first.
fn past(previous: Value) -> Vec<Value> {
    let found = match previous {
        Value::Null => return Vec::new(),
        Value::Object(object) if object.is_empty() => return Vec::new(),
        Value::Object(mut object) => match object.remove("history") {
            Some(Value::Array(history)) => return history,
            Some(other) => {
                object.insert("history".into(), other);
                Value::Object(object)
            }
            None => Value::Object(object),
        },
        other => other,
    };
    vec![json!({ "found": found })]
}

/// Makes a text fit for the column.
fn cut(text: &mut String) {
    if text.len() > LONGEST_TEXT {
        text.truncate(text.floor_char_boundary(LONGEST_TEXT));
        text.push_str("… (cut at 8 KiB)");
    }
    // PostgreSQL's jsonb takes no NUL.
    if text.contains('\0') {
        *text = text.replace('\0', "\u{fffd}");
    }
}
