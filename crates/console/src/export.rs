//! All rows of a table, a piece after the other.

use std::time::Duration;

use diesel_status_tracker::{PagePlace, Role, RowKey};

use crate::error::Result;
use crate::jobs::JobRow;
use crate::sql::{Part, statements};
use crate::table::Source;

/// A piece may take longer than what a page shows: somebody waits for all of them.
const PIECE_LIMIT: Duration = Duration::from_secs(30);

/// The next rows after a key, in the order of the keys, which the primary key has: so no
/// other index is needed, and each row is read once.
pub(crate) fn piece(source: &Source, after: Option<RowKey>, limit: usize) -> Result<Vec<JobRow>> {
    source.session(PIECE_LIMIT, |session| {
        let names = session.names();
        let (columns, _) = names.list_columns(Role::UpdateAt, None);
        let key: Vec<_> = names
            .info
            .key()
            .map(|name| names.dialect.quoted(name))
            .collect();
        let condition = match after {
            None => Part::from("1 = 1"),
            Some(key_of_last) => {
                let place = PagePlace {
                    time: None,
                    key: key_of_last,
                };
                let later = names.later_key(&place, 0, false);
                match (names.info.key().next(), place.key.parts()) {
                    // The first column stands alone first, so that the key's index finds it.
                    (Some(first), [text, _, ..]) => Part::from(format!("{} >= ", key[0]))
                        .and(names.dialect.as_column(&names.table(), first, text))
                        .and(" AND ")
                        .and(later),
                    _ => later,
                }
            }
        };
        let given = [
            ("columns", columns),
            ("condition", condition),
            ("order", Part::from(key.join(", "))),
            ("limit", Part::from(limit.to_string())),
        ];
        let rows = session.ask(&statements::EXPORTED, PIECE_LIMIT, &given)?;
        Ok(rows.iter().map(|row| JobRow::of(session, row)).collect())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestRow, on_each_database};

    #[test]
    fn each_row_is_read_once_in_the_order_of_the_keys() {
        on_each_database(|table| {
            let ids = ["a", "b/c", "d?e", "f", "g'"];
            let rows: Vec<_> = ids.iter().map(|id| TestRow::new(id, 40)).collect();
            table.insert_all(&rows);
            table.insert(&TestRow::new("unknown", 77));
            let mut seen = Vec::new();
            let mut after = None;
            loop {
                let piece = piece(&table.source, after, 2).unwrap();
                assert!(piece.len() <= 2);
                let Some(last) = piece.last() else { break };
                after = Some(last.key.clone());
                seen.extend(piece.into_iter().map(|job| job.key.parts()[1].clone()));
            }
            assert_eq!(seen, ["a", "b/c", "d?e", "f", "g'", "unknown"]);
        });
    }
}
