//! The beginning of a key on SQLite, whose planner does not know how many keys begin so.

use super::condition::Names;
use super::dialect::Dialect;
use super::part::Part;

/// A condition that an index of the key finds, and one that says how much there is to find.
#[derive(Debug)]
pub(crate) struct Beginning {
    /// The rows of the index at which one looks; cheap to count up to a cap.
    pub range: Part,
    /// What a query needs to use the index too, and then sorts. It is for few rows.
    pub condition: Part,
}

impl Names<'_> {
    /// `None` where this is no beginning that the primary key finds, or the planner decides
    /// itself.
    pub fn beginning(&self, parts: &[String]) -> Option<Beginning> {
        let at = parts.iter().position(|part| part.ends_with('*'))?;
        let (before, rest) = parts.split_at(at);
        let start = rest.first()?.strip_suffix('*')?;
        let is_of_index = !start.is_empty() && before.iter().all(|part| !part.is_empty());
        if self.dialect != Dialect::Sqlite || !is_of_index {
            return None;
        }
        let column = self.dialect.quoted(self.info.key().nth(at)?);
        let end = format!("{start}\u{10ffff}");
        let range = Part::from(format!("{column} >= "))
            .and(Part::bind(start))
            .and(format!(" AND {column} < "))
            .and(Part::bind(end));
        let all = self.key_is(before).into_iter().chain([range]);
        let mut pattern = String::new();
        for c in start.chars() {
            match c {
                '*' | '?' | '[' => pattern.extend(['[', c, ']']),
                _ => pattern.push(c),
            }
        }
        pattern.push('*');
        Some(Beginning {
            range: Part::joined(all, " AND "),
            condition: Part::from(format!("{column} GLOB ")).and(Part::bind(pattern)),
        })
    }
}
