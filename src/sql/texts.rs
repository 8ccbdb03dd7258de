//! Which texts of a statement stay prepared, where it has many.
//!
//! Diesel keeps each text that a connection has prepared, for as long as the
//! connection lives. An update with twelve optional columns has 4,096.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use diesel::QueryResult;
use diesel::backend::Backend;
use diesel::query_builder::QueryFragment;

use super::backend::text_of;
use super::described::DescribedCall;
use super::dialect::{DIALECTS, Dialect, LockWait};
use super::new_rows::RowGroup;
use super::prepared::FixedTexts;
use super::statements::{self, STATEMENTS, Statement};
use super::typed::Fragments;
use super::written::{self, Part};
use crate::table_info::{StatusCode, TableInfo};

/// Texts of one statement that are kept, where there is no other limit.
const USUAL_MOST: usize = 32;
/// Texts of large inserts that are kept. One with two values a row takes PostgreSQL half a
/// megabyte for each connection.
const MOST_LARGE: usize = 8;
/// The first ones are kept at once: most programs have no more.
const AT_ONCE: usize = 8;
/// Each of the others is kept when it has been sent so often.
const OFTEN: u32 = 16;
/// Smaller limits are all kept.
const SMALL: usize = 16;
/// Texts that are counted meanwhile. When there are more, counting begins anew.
const MOST_COUNTED: usize = 1024;

/// Which texts of one statement on one table stay prepared, on all
/// connections. To find one of those takes no lock.
#[derive(Debug)]
pub struct Texts<const MOST: usize = USUAL_MOST> {
    /// Their hashes, in the order in which they came; 0 is none.
    kept: [AtomicU64; MOST],
    /// How often each of the others was sent.
    sent: Mutex<BTreeMap<u64, u32>>,
}

impl<const MOST: usize> Texts<MOST> {
    /// None yet.
    #[allow(clippy::new_without_default)]
    #[must_use]
    pub const fn new() -> Self {
        Self {
            kept: [const { AtomicU64::new(0) }; MOST],
            sent: Mutex::new(BTreeMap::new()),
        }
    }

    /// Whether a statement with this part, the only one that varies, stays
    /// prepared. One that is empty does, and is not counted.
    fn keeps_part<DB>(&self, part: &dyn QueryFragment<DB>) -> QueryResult<bool>
    where
        DB: Backend + Default,
        DB::QueryBuilder: Default,
    {
        if part.is_noop(&DB::default())? {
            return Ok(true);
        }
        Ok(self.keeps(text_of(part)?))
    }

    /// Whether a statement with this filter stays prepared, and with this limit if
    /// that varies the text too.
    fn keeps_filter<DB>(
        &self,
        filter: &dyn QueryFragment<DB>,
        limit: Option<i64>,
    ) -> QueryResult<bool>
    where
        DB: Backend + Default,
        DB::QueryBuilder: Default,
    {
        Ok(self.keeps((text_of(filter)?, limit)))
    }

    /// Whether a statement with this limit stays prepared. With those that
    /// people choose it does, and is not counted.
    fn keeps_limit(&self, limit: usize) -> bool {
        limit <= SMALL || round_up(limit) == limit || self.keeps(limit)
    }

    /// Whether the statement with this text stays prepared.
    fn keeps(&self, text: impl Hash) -> bool {
        let mut hash = DefaultHasher::new();
        text.hash(&mut hash);
        let hash = hash.finish().max(1);
        self.count_kept(hash).is_none() || self.count(hash)
    }

    /// How many are kept, `None` if this is one of them.
    fn count_kept(&self, hash: u64) -> Option<usize> {
        for (n, kept) in self.kept.iter().enumerate() {
            match kept.load(Ordering::Relaxed) {
                0 => return Some(n),
                other if other == hash => return None,
                _ => {}
            }
        }
        Some(MOST)
    }

    /// Counts one that is not kept, and tells whether it is from now on.
    fn count(&self, hash: u64) -> bool {
        // Counts are whole at any time.
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have been here since.
        let Some(kept) = self.count_kept(hash) else {
            return true;
        };
        let Some(place) = self.kept.get(kept) else {
            // No more are going to be kept.
            sent.clear();
            return false;
        };
        if sent.len() >= MOST_COUNTED {
            sent.clear();
        }
        let times = sent.entry(hash).or_default();
        *times += 1;
        let keep = kept < AT_ONCE || *times >= OFTEN;
        if keep {
            sent.remove(&hash);
            place.store(hash, Ordering::Relaxed);
        }
        keep
    }
}

/// The statements, written for one table, by their number and by how they wait.
#[derive(Debug)]
struct Written([[OnceLock<Vec<Part>>; 2]; STATEMENTS]);

impl Written {
    const fn new() -> Self {
        Self([const { [const { OnceLock::new() }; 2] }; STATEMENTS])
    }
}

/// The texts of one table on one backend, by what varies them.
#[derive(Debug)]
pub struct TableTexts {
    pub(super) inserts: Texts,
    pub(super) large_inserts: Texts<MOST_LARGE>,
    pub(super) successes: Texts,
    pub(super) saves: Texts,
    pub(super) limits: Texts,
    pub(super) filters: Texts,
    /// The statements as they are written for the table, for each dialect that is
    /// used: one backend of Diesel's may reach servers of several.
    written: [OnceLock<Box<Written>>; DIALECTS],
    pub(super) default_sets_nothing: OnceLock<bool>,
    pub(super) fixed: FixedTexts,
}

impl TableTexts {
    /// None yet.
    #[allow(clippy::new_without_default)]
    #[must_use]
    pub const fn new() -> Self {
        Self {
            inserts: Texts::new(),
            large_inserts: Texts::new(),
            successes: Texts::new(),
            saves: Texts::new(),
            limits: Texts::new(),
            filters: Texts::new(),
            written: [const { OnceLock::new() }; DIALECTS],
            default_sets_nothing: OnceLock::new(),
            fixed: FixedTexts::new(),
        }
    }

    /// Whether a statement with these fragments, this filter and this limit stays
    /// prepared.
    pub(super) fn keeps<DB>(
        &self,
        statement: &Statement,
        dialect: &Dialect,
        fragments: &Fragments<'_, DB>,
        group: &RowGroup,
        filter: Option<&dyn QueryFragment<DB>>,
        limit: Option<i64>,
    ) -> QueryResult<bool>
    where
        DB: Backend<QueryBuilder: Default> + Default,
    {
        if let Some(filter) = filter {
            let limit = limit.filter(|_| statement.has_limit_in_text());
            return self.filters.keeps_filter(filter, limit);
        }
        match (&group.text, group.rows.len()) {
            (_, 0) => {}
            (Some(text), 1) => return Ok(self.inserts.keeps(text)),
            (Some(text), rows) if group.is_full(dialect) => {
                return Ok(self.large_inserts.keeps((text, rows)));
            }
            _ => return Ok(false),
        }
        match (fragments.changes, limit) {
            (Some(changes), _) if std::ptr::eq(statement, &statements::SAVE_ROW) => {
                self.saves.keeps_part(changes)
            }
            (Some(changes), _) => self.successes.keeps_part(changes),
            (None, Some(limit)) if statement.has_limit_in_text() => {
                let limit = usize::try_from(limit).unwrap_or(usize::MAX);
                Ok(self.limits.keeps_limit(limit))
            }
            _ => Ok(true),
        }
    }

    /// Whether a statement on a table that is known at run time stays prepared. Its
    /// text varies with the statuses and with the place of a page.
    pub(super) fn keeps_list(&self, statement: &Statement, call: &DescribedCall<'_>) -> bool {
        if call.statuses.is_empty() {
            return true;
        }
        let numbers = call.statuses.iter().map(|status| match status {
            StatusCode::Number(number) => Some(*number),
            StatusCode::Text(_) => None,
        });
        let page = call.plain.page.map(|page| {
            let after = page.after.map(|place| place.time.is_some());
            (page.by, page.is_descending, after)
        });
        self.limits
            .keeps((statement.number, numbers.collect::<Vec<_>>(), page))
    }

    /// A statement, written for the table.
    pub(super) fn parts(
        &self,
        statement: &Statement,
        dialect: &Dialect,
        info: &TableInfo,
        wait: LockWait,
    ) -> &[Part] {
        let written = self.written[dialect.number].get_or_init(|| Box::new(Written::new()));
        written.0[statement.number][wait as usize]
            .get_or_init(|| written::write(statement, dialect, info, wait))
    }
}

/// The next of the lengths that people choose for a batch: 1, 2, 5, 10, 20, 50, …
pub(super) fn round_up(length: usize) -> usize {
    let mut round = 1_usize;
    while round < length {
        round = match round.to_string().as_bytes()[0] {
            b'2' => (round / 2).saturating_mul(5),
            _ => round.saturating_mul(2),
        };
    }
    round
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(texts: &Texts) -> usize {
        texts.count_kept(0).unwrap_or_default()
    }

    #[test]
    fn a_few_texts_are_kept_at_once() {
        let texts = Texts::new();
        for n in 0..AT_ONCE {
            assert!(texts.keeps(n) && texts.keeps(n));
        }
        assert!(!texts.keeps(AT_ONCE));
        assert_eq!(kept(&texts), AT_ONCE);
    }

    #[test]
    fn of_many_texts_those_are_kept_that_are_sent_often_up_to_a_bound() {
        let texts = Texts::new();
        // Each of these comes seldom.
        for _ in 0..OFTEN {
            (0..10_000).for_each(|n| _ = texts.keeps(n));
        }
        assert_eq!(kept(&texts), AT_ONCE);
        for n in 0..100 {
            (0..OFTEN).for_each(|_| _ = texts.keeps(("often", n)));
        }
        assert_eq!(kept(&texts), USUAL_MOST);
        assert!(texts.keeps(("often", 0)) && !texts.keeps(("often", 99)));
        assert!(texts.sent.lock().unwrap().is_empty());
    }

    #[test]
    fn the_limits_that_people_choose_are_kept_beside_a_few_others() {
        let texts: Texts = Texts::new();
        let limits = (1..=1000).filter(|n| texts.keeps_limit(*n));
        let round = [20, 50, 100, 200, 500, 1000];
        assert_eq!(limits.count(), SMALL + round.len() + AT_ONCE);
        for _ in 0..OFTEN {
            round.iter().for_each(|n| assert!(texts.keeps_limit(*n)));
            texts.keeps_limit(777);
        }
        assert!(texts.keeps_limit(777));
    }

    #[test]
    fn threads_keep_a_text_once() {
        let texts = Texts::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|n| _ = texts.keeps(n % AT_ONCE)));
            }
        });
        assert_eq!(kept(&texts), AT_ONCE);
    }
}
