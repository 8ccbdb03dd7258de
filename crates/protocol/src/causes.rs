//! An error and its sources, as text. The user's code writes that text: it may
//! panic, and the chain of sources may have no end.

use std::error::Error as StdError;
use std::fmt::{self, Write};

use crate::panics::caught;

/// Longer chains are cut.
const MOST_CAUSES: usize = 64;
/// Bytes that are read of an error. This is more than is kept, so that a secret
/// is not cut in two before `redact` sees it.
const LONGEST_READ: usize = 64 * 1024;

/// The last source of a chain that could not be followed to its end.
#[derive(Debug, thiserror::Error)]
enum Unfollowed {
    #[error("(its `source` panicked)")]
    Panicked,
    #[error("(and more sources, which are left out)")]
    TooMany,
}

/// The error, its source, the source of that, and so on: 64 at most. Where a
/// `source` panics, the last one says so.
pub fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    let mut count = 0;
    std::iter::successors(Some(error), move |error| {
        let error: &'a (dyn StdError + 'static) = *error;
        count += 1;
        match caught("the `source` of an error", || error.source()) {
            Ok(Some(_)) if count == MOST_CAUSES => Some(&Unfollowed::TooMany),
            Ok(source) => source,
            Err(_) => Some(&Unfollowed::Panicked),
        }
    })
}

/// The error and its sources in one line, since many errors leave out the cause
/// in their own text.
#[must_use]
pub fn chain(error: &(dyn StdError + 'static)) -> String {
    let text = |error| shown("Display", |text| write!(text, "{error}")).finish();
    let mut texts: Vec<String> = causes(error).map(text).collect();
    texts.dedup();
    texts.join(": ")
}

/// What an error shows of itself in one of its forms.
pub(crate) fn shown(form: &str, write: impl FnOnce(&mut Bounded) -> fmt::Result) -> Bounded {
    let mut text = Bounded::default();
    match caught(&format!("the `{form}` of an error"), || write(&mut text)) {
        Ok(Ok(())) => {}
        // The text is full, and the rest is left out.
        Ok(Err(_)) => text.full = true,
        Err(message) => {
            let space = if text.text.is_empty() { "" } else { " " };
            let _full = write!(text, "{space}(its `{form}` panicked: {message})");
        }
    }
    text
}

/// A text that takes the first [`LONGEST_READ`] bytes and refuses the rest, so
/// that an error of any size costs bounded memory and time.
#[derive(Default)]
pub(crate) struct Bounded {
    pub text: String,
    pub full: bool,
}

impl Write for Bounded {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let room = LONGEST_READ - self.text.len();
        let cut = more.floor_char_boundary(room);
        self.text.push_str(&more[..cut]);
        self.full = cut < more.len();
        if self.full { Err(fmt::Error) } else { Ok(()) }
    }
}

impl Bounded {
    pub fn finish(mut self) -> String {
        if self.full {
            self.text.push('…');
        }
        self.text
    }
}
