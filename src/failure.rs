//! What is recorded of a failed attempt: the document in the `errors` column.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt::{Debug, Write};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::causes;

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

/// The cause of a failed attempt.
#[derive(Debug, Clone)]
pub struct Failure {
    error: String,
    traceback: String,
}

impl Failure {
    /// The error and its sources, one line each, and its `Debug` form, which
    /// for some error types holds a backtrace.
    pub fn of(error: &(dyn StdError + 'static)) -> Self {
        let mut lines = Bounded::default();
        let mut last: Option<String> = None;
        for cause in causes(error) {
            let mut text = Bounded::default();
            // A writer that is full refuses the rest, which is what it is for.
            let mut cut = write!(text, "{cause}").is_err();
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
        Self {
            error: lines.finish(),
            traceback: bounded_debug(error),
        }
    }

    /// The message of a panic.
    pub fn of_panic(payload: &(dyn Any + Send)) -> Self {
        let message = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("the payload is no text");
        Self::because(&format!("panic: {message}"))
    }

    /// A failure that has no error of its own.
    pub fn because(reason: &str) -> Self {
        let mut text = Bounded::default();
        let _full = write!(text, "{reason}");
        Self {
            error: text.finish(),
            traceback: String::new(),
        }
    }

    /// The error and its sources in one line, for logs.
    pub fn summary(&self) -> String {
        let mut line = self.error.lines().collect::<Vec<_>>().join(": ");
        line.truncate(line.floor_char_boundary(LONGEST_SUMMARY));
        line
    }

    /// The new content of `errors`, given the old one. Something else than
    /// an object of this crate, found there, is kept in the history.
    pub fn document(&self, previous: Value, attempt: i32, at: DateTime<Utc>) -> Value {
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

/// A text that takes the first [`LONGEST_TEXT`] bytes and refuses the rest,
/// so that formatting an error of any size costs a bounded amount.
#[derive(Default)]
struct Bounded {
    text: String,
    full: bool,
}

impl Write for Bounded {
    fn write_str(&mut self, more: &str) -> std::fmt::Result {
        let room = LONGEST_TEXT - self.text.len();
        let cut = more.floor_char_boundary(room);
        self.text.push_str(&more[..cut]);
        self.full = cut < more.len();
        if self.full {
            Err(std::fmt::Error)
        } else {
            Ok(())
        }
    }
}

impl Bounded {
    fn finish(self) -> String {
        // PostgreSQL's jsonb takes no NUL.
        let mut text = self.text.replace('\0', "\u{fffd}");
        if self.full {
            text.push_str("… (cut at 8 KiB)");
        }
        text
    }
}

fn bounded_debug(error: &dyn Debug) -> String {
    let mut text = Bounded::default();
    let _full = write!(text, "{error:?}");
    text.finish()
}
