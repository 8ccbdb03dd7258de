//! What is recorded of a failed attempt.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt::Write;

use crate::causes::{Bounded, causes, shown};
use crate::panics::{caught, message_of};

/// Longer texts are cut, so that a backtrace always fits into the column.
const LONGEST_TEXT: usize = 8 * 1024;
/// Bytes of a line in a log.
const LONGEST_SUMMARY: usize = 500;

/// The cause of a failed attempt, as the `errors` column and the log show it.
/// `StatusTracked::redact` may change it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// The error and its sources, one line each; `panic: …` after a panic.
    pub error: String,
    /// The error's `Debug` form, which for some types holds a backtrace;
    /// empty after a panic.
    pub traceback: String,
}

impl Failure {
    /// What an error says of itself: up to 64 KiB of each text.
    ///
    /// The error's `Display`, `Debug` and `source` may panic. Then the text
    /// says so.
    #[must_use]
    pub fn of(error: &(dyn StdError + 'static)) -> Self {
        let mut lines = Bounded::default();
        let mut last: Option<String> = None;
        for cause in causes(error) {
            let text = shown("Display", |text| write!(text, "{cause}"));
            let mut cut = text.full;
            // Some errors show the text of their source, as `Retry` does.
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
            traceback: shown("Debug", |text| write!(text, "{error:?}")).finish(),
        }
    }

    /// The message of a panic.
    #[must_use]
    pub fn of_panic(payload: &(dyn Any + Send)) -> Self {
        Self::of_panic_message(message_of(payload))
    }

    pub(crate) fn of_panic_message(message: &str) -> Self {
        Self::because(&format!("panic: {message}"))
    }

    /// A failure that has no error value, with this text.
    #[must_use]
    pub fn because(reason: &str) -> Self {
        let mut text = Bounded::default();
        let _full = write!(text, "{reason}");
        Self {
            error: text.finish(),
            traceback: String::new(),
        }
    }

    /// This failure as `redact` changes it, cut to 8 KiB a text. If `redact`
    /// panics, none of the text is kept: it may hold secrets.
    pub(crate) fn redacted(self, redact: fn(&mut Self)) -> Self {
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

    /// The error and its sources in one line of 500 bytes at most, for logs.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut line = self.error.lines().collect::<Vec<_>>().join(": ");
        line.truncate(line.floor_char_boundary(LONGEST_SUMMARY));
        line
    }
}

/// Makes a text fit for the column.
fn cut(text: &mut String) {
    if text.len() > LONGEST_TEXT {
        text.truncate(text.floor_char_boundary(LONGEST_TEXT));
        text.push_str("… (cut at 8 KiB)");
    }
    // PostgreSQL's jsonb cannot hold a NUL.
    if text.contains('\0') {
        *text = text.replace('\0', "\u{fffd}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_and_its_sources_are_one_line_each() {
        let retry = crate::Retry::never().because("no such customer");
        let failure = Failure::of(&retry);
        assert_eq!(failure.error, "not to be tried again\nno such customer");
        assert_eq!(failure.summary(), "not to be tried again: no such customer");
        assert!(failure.traceback.contains("no such customer"));
    }

    #[test]
    fn a_long_text_is_cut_and_a_nul_is_replaced() {
        let failure = Failure::because(&"é".repeat(100_000)).redacted(|_| {});
        assert!(failure.error.ends_with("… (cut at 8 KiB)"));
        assert!(failure.error.len() < LONGEST_TEXT + 30);
        assert_eq!(
            Failure::because("a\0b").redacted(|_| {}).error,
            "a\u{fffd}b"
        );
    }

    #[test]
    fn nothing_is_kept_where_redact_panics() {
        let failure = Failure::because("secret").redacted(|failure| {
            failure.traceback = "secret".into();
            panic!("cannot redact");
        });
        assert!(!format!("{failure:?}").contains("secret"));
    }
}
