//! Pieces of SQL, with the text that each binds.

/// What stands where a value is bound, until the whole statement is known.
const BOUND: char = '\u{1}';

/// A piece of SQL. Only text is bound: numbers and names are the description's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Part {
    text: String,
    binds: Vec<String>,
}

impl From<String> for Part {
    fn from(text: String) -> Self {
        Self {
            text,
            binds: Vec::new(),
        }
    }
}

impl From<&str> for Part {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl Part {
    /// A value that is bound.
    pub fn bind(value: impl Into<String>) -> Self {
        Self {
            text: BOUND.into(),
            binds: vec![value.into()],
        }
    }

    pub fn push(&mut self, other: impl Into<Self>) {
        let other = other.into();
        self.text.push_str(&other.text);
        self.binds.extend(other.binds);
    }

    /// What tells it from others.
    pub fn name(&self) -> String {
        format!("{self:?}")
    }

    /// The same with more at its end.
    pub fn and(mut self, other: impl Into<Self>) -> Self {
        self.push(other);
        self
    }

    /// The parts with `between` in between.
    pub fn joined(parts: impl IntoIterator<Item = Self>, between: &str) -> Self {
        let mut joined = Self::default();
        for (n, part) in parts.into_iter().enumerate() {
            joined.push(if n > 0 { between } else { "" });
            joined.push(part);
        }
        joined
    }

    /// The text with a place for each bound value, and the values.
    pub fn finish(self, place: impl Fn(usize) -> String) -> (String, Vec<String>) {
        let mut text = String::with_capacity(self.text.len());
        let mut number = 0;
        for c in self.text.chars() {
            if c == BOUND {
                number += 1;
                text.push_str(&place(number));
            } else {
                text.push(c);
            }
        }
        (text, self.binds)
    }
}

/// The template with each `:word` replaced by what `part` gives for it. `Err` names a
/// word for which there is nothing.
pub(crate) fn fill(template: &str, part: impl Fn(&str) -> Option<Part>) -> Result<Part, String> {
    let mut filled = Part::default();
    let mut rest = template;
    while let Some(at) = rest.find(':') {
        let (before, after) = rest.split_at(at);
        filled.push(before);
        let after = &after[1..];
        let is_of_word = |c: char| c.is_ascii_lowercase() || c == '_';
        let end = after.find(|c| !is_of_word(c)).unwrap_or(after.len());
        let word = &after[..end];
        filled.push(part(word).ok_or_else(|| word.to_owned())?);
        rest = &after[end..];
    }
    filled.push(rest);
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_order_whatever_is_put_around_them() {
        let filled = fill("a = :b AND :c.", |word| match word {
            "b" => Some(Part::bind("1")),
            "c" => Some(
                Part::from("c IN (")
                    .and(Part::joined(["2", "3"].map(Part::bind), ", "))
                    .and(")"),
            ),
            _ => None,
        });
        let (text, binds) = filled.unwrap().finish(|n| format!("${n}"));
        assert_eq!(text, "a = $1 AND c IN ($2, $3).");
        assert_eq!(binds, ["1", "2", "3"]);
    }

    #[test]
    fn a_word_without_a_part_is_named() {
        assert_eq!(fill("SELECT :what", |_| None).unwrap_err(), "what");
    }
}
