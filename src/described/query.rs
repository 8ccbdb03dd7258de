//! What is asked of a described table, and what is shown of its rows.

use chrono::{DateTime, Utc};

use crate::sql::call::{Page, Place};
use crate::sql::described::{Described, RowKey, TextRecord};
use crate::table_info::{Role, StatusCode};

/// What is tracked of one row.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct JobState {
    /// Its key.
    pub key: RowKey,
    /// Its status, empty text where that is NULL.
    pub status: StatusCode,
    /// When it was created. This and the other times are in UTC, and `None` where
    /// the column is NULL or holds what is no time.
    pub create_at: Option<DateTime<Utc>>,
    /// When it last changed.
    pub update_at: Option<DateTime<Utc>>,
    /// The token of the attempt that holds it.
    pub lock: Option<String>,
    /// When that attempt took or renewed its lock. It stays when the attempt ends.
    pub lock_at: Option<DateTime<Utc>>,
    /// The failures in a row.
    pub retry: i32,
    /// Before when the job does not start.
    pub run_at: Option<DateTime<Utc>>,
    /// The database's time when the row was read.
    pub now: Option<DateTime<Utc>>,
    /// The times as the database shows them: created, changed, locked.
    shown: [Option<String>; 3],
}

impl JobState {
    pub(super) fn of(table: &Described, record: TextRecord) -> Self {
        let plain = record.plain;
        let mut shown = plain.shown.into_iter();
        Self {
            key: record.key.unwrap_or_else(|| Vec::new().into()),
            status: table.status(record.status.unwrap_or_default()),
            create_at: plain.create_at,
            update_at: plain.update_at,
            lock: plain.lock,
            lock_at: plain.lock_at,
            retry: plain.retry,
            run_at: plain.run_at,
            now: plain.now,
            shown: [(); 3].map(|()| shown.next().flatten()),
        }
    }

    /// The lock as it was seen, for [`DescribedStep::expire`](super::DescribedStep::expire).
    /// `None` where nobody holds the row, or the lock has no time.
    #[must_use]
    pub fn seen_lock(&self) -> Option<SeenLock> {
        Some(SeenLock {
            token: self.lock.clone()?,
            lock_at: self.shown[2].clone()?,
        })
    }

    /// The job as it was seen, for
    /// [`DescribedStep::reset_if_unchanged`](super::DescribedStep::reset_if_unchanged) and
    /// [`DescribedStep::ignore_if_unchanged`](super::DescribedStep::ignore_if_unchanged).
    #[must_use]
    pub fn seen(&self) -> SeenJob {
        SeenJob {
            status: self.status.clone(),
            update_at: self.shown[1].clone(),
        }
    }

    /// Its place in a list, for [`JobQuery::after`] and [`JobQuery::before`].
    #[must_use]
    pub fn place(&self, sorted_by: SortBy) -> PagePlace {
        let time = match sorted_by {
            SortBy::CreateAt => &self.shown[0],
            SortBy::UpdateAt => &self.shown[1],
        };
        PagePlace {
            time: time.clone(),
            key: self.key.clone(),
        }
    }
}

/// A lock as it was seen: only an attempt that has neither ended nor renewed it
/// since is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenLock {
    /// The token.
    pub token: String,
    /// `lock_at`, as the database shows it.
    pub lock_at: String,
}

/// A job as it was seen: it is meant only while it has not changed since. Each change by
/// the tracker writes another `update_at`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenJob {
    /// Its status.
    pub status: StatusCode,
    /// `update_at`, as the database shows it; `None` for NULL.
    pub update_at: Option<String>,
}

/// By which time a list is sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SortBy {
    /// By the last change.
    #[default]
    UpdateAt,
    /// By the creation.
    CreateAt,
}

impl SortBy {
    fn role(self) -> Role {
        match self {
            Self::UpdateAt => Role::UpdateAt,
            Self::CreateAt => Role::CreateAt,
        }
    }
}

/// The place of a row in a list. It stays valid when the row changes or is deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PagePlace {
    /// The time by which the list is sorted, as the database shows it; `None` for
    /// NULL, which is before all times.
    pub time: Option<String>,
    /// The key of the row.
    pub key: RowKey,
}

/// Which rows a page of a list has: see
/// [`DescribedTable::list`](super::DescribedTable::list).
///
/// ```
/// use diesel_status_tracker::{JobQuery, PagePlace, SortBy};
///
/// let place = PagePlace { time: Some("2026-01-01 00:00:00".into()), key: "job-1".into() };
/// let failed = JobQuery::of([30.into(), 50.into()])
///     .sorted_by(SortBy::CreateAt)
///     .newest_first()
///     .limit(20)
///     .after(place);
/// assert_eq!(failed.statuses().len(), 2);
/// ```
#[derive(Debug, Clone)]
pub struct JobQuery {
    statuses: Vec<StatusCode>,
    sorted_by: SortBy,
    newest_first: bool,
    limit: usize,
    place: Option<PagePlace>,
    is_before: bool,
}

impl JobQuery {
    /// The rows with these statuses: the first 50, the oldest last change first.
    #[must_use]
    pub fn of(statuses: impl IntoIterator<Item = StatusCode>) -> Self {
        Self {
            statuses: statuses.into_iter().collect(),
            sorted_by: SortBy::default(),
            newest_first: false,
            limit: 50,
            place: None,
            is_before: false,
        }
    }

    /// Sorted by another time. Rows with the same time are sorted by their keys.
    #[must_use]
    pub fn sorted_by(mut self, time: SortBy) -> Self {
        self.sorted_by = time;
        self
    }

    /// The newest first.
    #[must_use]
    pub fn newest_first(mut self) -> Self {
        self.newest_first = true;
        self
    }

    /// At most so many.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// The rows that follow this place: the next page.
    #[must_use]
    pub fn after(mut self, place: PagePlace) -> Self {
        (self.place, self.is_before) = (Some(place), false);
        self
    }

    /// The last rows before this place: the page before. They stand in the order of
    /// the list.
    #[must_use]
    pub fn before(mut self, place: PagePlace) -> Self {
        (self.place, self.is_before) = (Some(place), true);
        self
    }

    /// The statuses that are asked for.
    #[must_use]
    pub fn statuses(&self) -> &[StatusCode] {
        &self.statuses
    }

    pub(super) fn place(&self) -> Option<&PagePlace> {
        self.place.as_ref()
    }

    /// A row more tells whether there are more.
    pub(super) fn limit_and_one(&self) -> i64 {
        i64::try_from(self.limit).map_or(i64::MAX, |limit| limit.saturating_add(1))
    }

    pub(super) fn page(&self) -> Page<'_> {
        Page {
            by: self.sorted_by.role(),
            is_descending: self.newest_first != self.is_before,
            after: self.place.as_ref().map(|place| Place {
                time: place.time.as_deref(),
                key: place.key.parts(),
            }),
        }
    }

    pub(super) fn page_of(&self, mut jobs: Vec<JobState>) -> JobPage {
        let has_more = jobs.len() > self.limit;
        jobs.truncate(self.limit);
        if self.is_before {
            jobs.reverse();
        }
        JobPage { jobs, has_more }
    }
}

/// A page of a list.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct JobPage {
    /// The rows, in the order of the list.
    pub jobs: Vec<JobState>,
    /// Whether there are more in the direction in which the page was asked for.
    pub has_more: bool,
}

/// A column of a row, as the database shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ColumnText {
    /// The column's name.
    pub name: String,
    /// Its value, `None` for NULL.
    pub text: Option<String>,
    /// Whether the value is, or may be, longer than that.
    pub is_cut: bool,
}

impl ColumnText {
    pub(super) fn of(name: String, bytes: Option<Vec<u8>>, most_bytes: usize) -> Self {
        let is_cut = bytes
            .as_ref()
            .is_some_and(|bytes| bytes.len() >= most_bytes);
        let text = bytes.map(|bytes| match std::str::from_utf8(&bytes) {
            Ok(text) => text.to_owned(),
            // A letter that was cut in the middle is left out.
            Err(error) if is_cut && error.error_len().is_none() => {
                String::from_utf8_lossy(&bytes[..error.valid_up_to()]).into_owned()
            }
            Err(_) => String::from_utf8_lossy(&bytes).into_owned(),
        });
        Self { name, text, is_cut }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_that_was_cut_in_the_middle_is_left_out() {
        let cut = |bytes: &[u8]| ColumnText::of("a".into(), Some(bytes.into()), 2);
        let text = |bytes| cut(bytes).text.unwrap();
        assert_eq!(text("aé".as_bytes().get(..2).unwrap()), "a");
        assert_eq!(text(b"\xffa"), "\u{fffd}a");
        assert!(cut(b"ab").is_cut && !cut(b"a").is_cut);
        assert_eq!(ColumnText::of("a".into(), None, 2).text, None);
    }
}
