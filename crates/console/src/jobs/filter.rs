//! Which jobs are meant, and in which order: as a link has it, and as SQL.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel_status_tracker::{PagePlace, Role, SortBy, StatusCode, StepInfo, TableInfo};

use crate::overview::span;
use crate::sql::{Dialect, Names, PageEnd, Part, StatusAs};
use crate::status::Status;

/// Which jobs are meant, and in which order. By default all with a code that a step
/// knows, the last changed first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    /// The step; all where there is none.
    pub step: Option<String>,
    /// All where there is none; without the succeeded where an error is sought.
    pub statuses: Vec<Status>,
    /// Not changed for at least this time.
    pub older: Option<Duration>,
    /// Changed within this time.
    pub newer: Option<Duration>,
    /// Parts of the key; an empty one is any, one that ends with `*` is a beginning.
    pub key: Vec<String>,
    /// A text in `errors`.
    pub error: Option<String>,
    /// The fingerprint of the newest error.
    pub group: Option<String>,
    pub locked: bool,
    /// Its lock is older than the step lets an attempt run.
    pub expired: bool,
    /// `run_at` lies ahead.
    pub later: bool,
    pub by: SortBy,
    pub oldest_first: bool,
    /// Not changed after this time; no link has it.
    pub until: Option<DateTime<Utc>>,
}

/// A link has a place in the list beside the filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum From {
    Start,
    After(PagePlace),
    Before(PagePlace),
}

impl Filter {
    /// Reads what a link or a form says. Other names are passed over; `Err` says which
    /// value is wrong.
    pub fn read(pairs: &[(String, String)]) -> Result<(Self, From), String> {
        let mut filter = Self::default();
        let (mut time, mut place, mut is_before) = (None, Vec::new(), None);
        for (name, value) in pairs {
            if value.is_empty() && name != "key" && name != "place" {
                continue;
            }
            match &**name {
                "step" => filter.step = Some(value.clone()),
                "status" => match Status::named(value) {
                    // Twice would be counted twice.
                    Some(status) if filter.statuses.contains(&status) => {}
                    Some(status) => filter.statuses.push(status),
                    None => {
                        let names = Status::ALL.map(Status::name).join(", ");
                        return Err(format!("`{value}` is no status: the statuses are {names}"));
                    }
                },
                "older" => filter.older = Some(read_span(value)?),
                "newer" => filter.newer = Some(read_span(value)?),
                "key" => filter.key.push(value.clone()),
                "error" => filter.error = Some(value.clone()),
                "group" => filter.group = Some(value.clone()),
                "locked" => filter.locked = true,
                "expired" => filter.expired = true,
                "later" => filter.later = true,
                "order" => match &**value {
                    "changed" => {}
                    "changed-asc" => filter.oldest_first = true,
                    "created" => filter.by = SortBy::CreateAt,
                    "created-asc" => (filter.by, filter.oldest_first) = (SortBy::CreateAt, true),
                    _ => {
                        return Err(format!(
                            "`{value}` is no order: write changed, changed-asc, created or created-asc"
                        ));
                    }
                },
                "time" => time = Some(value.clone()),
                "place" => place.push(value.clone()),
                "go" => is_before = Some(value == "back"),
                _ => {}
            }
        }
        if filter.key.iter().all(String::is_empty) {
            filter.key.clear();
        }
        let place = PagePlace {
            time,
            key: place.into(),
        };
        let from = match is_before {
            None => From::Start,
            Some(false) => From::After(place),
            Some(true) => From::Before(place),
        };
        Ok((filter, from))
    }

    /// The order as a link has it.
    pub fn order(&self) -> &'static str {
        match (self.by, self.oldest_first) {
            (SortBy::UpdateAt, false) => "changed",
            (SortBy::UpdateAt, true) => "changed-asc",
            (SortBy::CreateAt, false) => "created",
            (SortBy::CreateAt, true) => "created-asc",
        }
    }

    /// What [`read`](Self::read) reads.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs = Vec::new();
        let mut push = |name, value: Option<String>| pairs.extend(value.map(|value| (name, value)));
        push("step", self.step.clone());
        for status in &self.statuses {
            push("status", Some(status.name().into()));
        }
        push("older", self.older.map(written_span));
        push("newer", self.newer.map(written_span));
        for part in &self.key {
            push("key", Some(part.clone()));
        }
        push("error", self.error.clone());
        push("group", self.group.clone());
        push("locked", self.locked.then(|| "1".into()));
        push("expired", self.expired.then(|| "1".into()));
        push("later", self.later.then(|| "1".into()));
        push(
            "order",
            (self.order() != "changed").then(|| self.order().into()),
        );
        pairs
    }

    /// The filter in words.
    pub fn words(&self) -> String {
        let mut words = Vec::new();
        words.extend(self.step.as_ref().map(|step| format!("of step {step}")));
        if !self.statuses.is_empty() {
            let names: Vec<_> = self.statuses.iter().map(ToString::to_string).collect();
            words.push(format!("that are {}", names.join(" or ")));
        }
        words.extend(
            self.leaves_out_succeeded()
                .then(|| "that have not succeeded".into()),
        );
        words.extend(self.older.map(|age| format!("unchanged for {}", span(age))));
        words.extend(
            self.newer
                .map(|age| format!("changed in the last {}", span(age))),
        );
        if !self.key.is_empty() {
            words.push(format!("with the key {}", self.key.join(", ")));
        }
        words.extend(
            self.error
                .as_ref()
                .map(|text| format!("with “{text}” in their errors")),
        );
        words.extend(
            self.group
                .as_ref()
                .map(|group| format!("with the error “{group}”")),
        );
        words.extend(self.locked.then(|| "that are locked".into()));
        words.extend(self.expired.then(|| "whose lock has expired".into()));
        words.extend(self.later.then(|| "that are due later".into()));
        match words.is_empty() {
            true => "all jobs".into(),
            false => format!("jobs {}", words.join(", ")),
        }
    }

    fn role(&self) -> Role {
        match self.by {
            SortBy::UpdateAt => Role::UpdateAt,
            SortBy::CreateAt => Role::CreateAt,
        }
    }

    /// The steps that are meant.
    pub fn steps<'a>(&self, info: &'a TableInfo) -> Vec<&'a StepInfo> {
        let steps = info.steps().iter();
        steps
            .filter(|step| self.step.as_ref().is_none_or(|name| name == step.name()))
            .collect()
    }

    /// Whether jobs that have succeeded are left out, since nothing says that they are meant:
    /// an error is sought, and theirs are past. They are most of the table, and to read
    /// the errors of all of them takes too long.
    pub fn leaves_out_succeeded(&self) -> bool {
        self.statuses.is_empty() && self.is_error_sought()
    }

    /// Whether jobs are meant because of what their errors say.
    pub fn is_error_sought(&self) -> bool {
        self.error.is_some() || self.group.is_some()
    }

    /// Whether a lock is looked for in jobs in progress alone, since no status was chosen:
    /// MySQL's indexes begin with the status, and it would read all finished jobs.
    pub fn means_in_progress(&self, names: &Names<'_>) -> bool {
        let is_lock_sought = self.locked || self.expired;
        self.statuses.is_empty() && is_lock_sought && names.dialect == Dialect::Mysql
    }

    /// The statuses that are meant: those that were chosen, or else all.
    pub fn meant_statuses(&self, names: &Names<'_>) -> Vec<Status> {
        let mut statuses = self.statuses.clone();
        if self.means_in_progress(names) {
            return vec![Status::InProgress];
        }
        if statuses.is_empty() {
            statuses.extend(Status::ALL);
            statuses.retain(|status| *status != Status::Succeeded || !self.leaves_out_succeeded());
        }
        statuses
    }

    /// The conditions of the branches, each of which an index may serve. No row is in
    /// two of them.
    pub fn branches(&self, names: &Names<'_>, status_as: StatusAs) -> Vec<String> {
        let statuses = self.meant_statuses(names);
        self.branches_of(names, status_as, &statuses, &mut Vec::new())
    }

    /// The same for some of the statuses, without the codes that were taken before.
    pub fn branches_of(
        &self,
        names: &Names<'_>,
        status_as: StatusAs,
        statuses: &[Status],
        taken: &mut Vec<StatusCode>,
    ) -> Vec<String> {
        let mut branches = Vec::new();
        for step in self.steps(names.info) {
            let mut codes: Vec<_> = statuses
                .iter()
                .flat_map(|status| status.codes(step))
                .collect();
            // Two steps may share a code.
            codes.retain(|code| !taken.contains(code));
            taken.extend(codes.iter().cloned());
            let locked = (self.locked || self.expired).then_some(true);
            let mut conditions = names.with_codes_as(status_as, step, &codes, locked);
            if self.expired {
                let old = names.is_expired(step);
                conditions
                    .iter_mut()
                    .for_each(|condition| condition.push_str(&old));
            }
            branches.extend(conditions);
        }
        branches
    }

    /// What a row has to fulfil besides.
    pub fn conditions(&self, names: &Names<'_>) -> Vec<Part> {
        let update_at = names.column(Role::UpdateAt);
        let mut conditions = names.key_is(&self.key);
        if let Some(age) = self.older {
            conditions.push(format!("{update_at} <= {}", names.ago(Role::UpdateAt, age)).into());
        }
        if let Some(age) = self.newer {
            conditions.push(format!("{update_at} > {}", names.ago(Role::UpdateAt, age)).into());
        }
        if let Some(until) = self.until {
            let until = names.at(Role::UpdateAt, until);
            conditions.push(format!("{update_at} <= {until}").into());
        }
        if self.later {
            let condition = match names.info.column(Role::RunAt) {
                None => "1 = 0".into(),
                Some(_) => format!(
                    "{} > {}",
                    names.column(Role::RunAt),
                    names.ago(Role::RunAt, Duration::ZERO)
                ),
            };
            conditions.push(condition.into());
        }
        if let Some(text) = &self.error {
            conditions.push(names.error_contains(text));
        }
        conditions
    }

    /// The order, and where a page begins.
    pub fn page_end<'a>(&self, from: &'a From) -> PageEnd<'a> {
        let (after, is_before) = match from {
            From::Start => (None, false),
            From::After(place) => (Some(place), false),
            From::Before(place) => (Some(place), true),
        };
        PageEnd {
            by: self.role(),
            is_descending: self.oldest_first == is_before,
            after,
            has_bound: after.is_some()
                || (self.by == SortBy::UpdateAt && (self.older.is_some() || self.until.is_some())),
        }
    }
}

/// Units of time spans, the largest first.
const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];

fn read_span(text: &str) -> Result<Duration, String> {
    let found = UNITS.iter().find_map(|(unit, seconds)| {
        let number = text.trim().strip_suffix(unit)?.trim_end();
        let number: u64 = number.parse().ok()?;
        // Longer than any row is old.
        (number <= 36_500 * 86_400 / seconds).then(|| Duration::from_secs(number * seconds))
    });
    found.ok_or_else(|| format!("`{text}` is no time span: write 30s, 15m, 2h or 7d"))
}

fn written_span(span: Duration) -> String {
    let seconds = span.as_secs();
    let fits = |(_, unit): &&(&str, u64)| seconds.is_multiple_of(*unit);
    let (name, unit) = UNITS.iter().find(fits).unwrap_or(&UNITS[3]);
    format!("{}{name}", seconds / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_reproduces_the_view() {
        let filter = Filter {
            step: Some("send & pay".into()),
            statuses: vec![Status::Failed, Status::Ignored],
            older: Some(Duration::from_secs(7200)),
            newer: Some(Duration::from_secs(86_400)),
            key: vec![String::new(), "a/b?*".into()],
            error: Some("\"x\"".into()),
            group: Some("timeout after #".into()),
            locked: true,
            expired: true,
            later: true,
            by: SortBy::CreateAt,
            oldest_first: true,
            until: None,
        };
        for filter in [filter, Filter::default()] {
            let pairs = filter
                .pairs()
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value));
            let (read, from) = Filter::read(&pairs.collect::<Vec<_>>()).unwrap();
            assert_eq!((read, from), (filter, From::Start));
        }
    }

    #[test]
    fn a_filter_is_told_in_words() {
        let filter = Filter {
            step: Some("send".into()),
            statuses: vec![Status::Failed, Status::Ignored],
            older: Some(Duration::from_secs(7200)),
            ..Filter::default()
        };
        assert_eq!(
            filter.words(),
            "jobs of step send, that are failed or ignored, unchanged for 2 h 0 min"
        );
        assert_eq!(Filter::default().words(), "all jobs");
        let sought = Filter {
            error: Some("refused".into()),
            ..Filter::default()
        };
        assert_eq!(
            sought.words(),
            "jobs that have not succeeded, with “refused” in their errors"
        );
    }

    #[test]
    fn what_is_wrong_in_a_link_is_said() {
        let read = |name: &str, value: &str| Filter::read(&[(name.into(), value.into())]);
        assert!(
            read("status", "lost")
                .unwrap_err()
                .contains("`lost` is no status")
        );
        assert!(read("older", "soon").unwrap_err().contains("write 30s"));
        assert!(read("older", "99999999999999999999d").is_err());
        assert!(read("newer", "9999999999d").is_err());
        assert!(read("order", "x").is_err());
        assert!(read("status", "").is_ok());
        let twice = ["failed", "failed"].map(|status| ("status".into(), status.into()));
        assert_eq!(Filter::read(&twice).unwrap().0.statuses, [Status::Failed]);
    }
}
