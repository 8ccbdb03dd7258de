//! How far long work is, for the one who waits for it.

use indicatif::{ProgressBar, ProgressStyle};

/// The line where the number of all jobs is known, which is as wide as the terminal; and
/// where it is not.
const OF_A_NUMBER: &str = "{wide_bar} {human_pos} of {human_len} {msg}";
const OF_ANY: &str = "{spinner} {human_pos} {msg}";

/// A line on standard error, where that is a terminal; otherwise nothing.
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// `what` follows the number of jobs. `of` is how many there are, where that is known.
    pub fn new(what: &'static str, of: Option<u64>) -> Self {
        let (bar, template) = match of {
            Some(number) => (ProgressBar::new(number), OF_A_NUMBER),
            None => (ProgressBar::new_spinner(), OF_ANY),
        };
        let style = ProgressStyle::with_template(template);
        // A test holds that the templates are valid.
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_message(what);
        bar.tick();
        Self(bar)
    }

    /// Nothing is shown, whatever standard error is.
    pub fn hidden() -> Self {
        Self(ProgressBar::hidden())
    }

    /// So many more.
    pub fn add(&self, count: usize) {
        self.0.inc(count.try_into().unwrap_or(u64::MAX));
    }
}

/// The line goes with the work: what came of it is printed.
impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_are_valid_templates() {
        for template in [OF_A_NUMBER, OF_ANY] {
            ProgressStyle::with_template(template).unwrap();
        }
    }
}
