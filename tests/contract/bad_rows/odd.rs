//! Rows as hands leave them: every combination of what the columns can hold.

use std::collections::BTreeMap;

use diesel::prelude::*;
use diesel_status_tracker::clock::now;
use diesel_status_tracker::{Error, StatusTracked};
use serde_json::{Value, json};

use super::super::database::TestDb;
use super::super::jobs::{Job, Status, jobs};

/// A code that nothing stands for.
pub const UNKNOWN: i32 = 77;
/// A code that another step may have.
const ANOTHERS: i32 = 90;

const STATUSES: [i32; 7] = [10, 20, 30, 40, 50, ANOTHERS, UNKNOWN];
const LOCKS: [Option<&str>; 3] = [None, Some("me"), Some("")];
const LOCK_ATS: [LockAt; 4] = [LockAt::Null, LockAt::Past, LockAt::Now, LockAt::Ahead];
const RETRIES: [i32; 5] = [0, Job::MAX_RETRY, 1000, -5, i32::MAX];
const ERRORS: [&str; 4] = ["{}", HISTORY, "[1]", "\"a text\""];
const HISTORY: &str =
    r#"{"error": "x", "traceback": "", "attempt": 1, "at": "", "history": [{"error": "x"}]}"#;

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LockAt {
    Null,
    Past,
    Now,
    Ahead,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Odd {
    pub id: String,
    pub status: i32,
    pub lock: Option<&'static str>,
    pub lock_at: LockAt,
    pub retry: i32,
    pub errors: &'static str,
}

/// What becomes of a row.
#[derive(Debug, PartialEq)]
pub enum Fate {
    Done,
    Locked {
        expires: bool,
    },
    AlreadySucceeded,
    Ignored {
        retry: i32,
    },
    NotReady,
    /// Its status cannot be read.
    Unreadable,
}

impl Odd {
    /// Each combination, once.
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for status in STATUSES {
            for (lock, lock_at) in LOCKS.into_iter().flat_map(|l| LOCK_ATS.map(|at| (l, at))) {
                for (retry, errors) in RETRIES.into_iter().flat_map(|r| ERRORS.map(|e| (r, e))) {
                    let id = all.len().to_string();
                    all.push(Self {
                        id,
                        status,
                        lock,
                        lock_at,
                        retry,
                        errors,
                    });
                }
            }
        }
        all
    }

    /// Whether a claim takes it as it is.
    pub fn is_ready(&self) -> bool {
        self.lock.is_none() && [10, 30].contains(&self.status)
    }

    /// Whether it is an attempt whose worker is presumed dead.
    pub fn is_dead(&self) -> bool {
        self.lock.is_some() && self.status == 20 && self.lock_at == LockAt::Past
    }

    /// Whether nobody can hold it.
    pub fn is_free(&self) -> bool {
        self.lock.is_none() || matches!(self.lock_at, LockAt::Null | LockAt::Past)
    }

    pub fn is_known(&self) -> bool {
        self.status != UNKNOWN
    }

    pub fn is_of_this_step(&self) -> bool {
        self.is_known() && self.status != ANOTHERS
    }

    /// `retry` after one more failure.
    pub fn after_failure(&self) -> (Status, i32) {
        failed(self.retry)
    }

    pub fn fate_of_start(&self) -> Fate {
        let after = self.after_failure();
        match self.status {
            UNKNOWN => Fate::Unreadable,
            _ if self.is_dead() && after.0 == Status::Ignored => Fate::Ignored { retry: after.1 },
            _ if self.is_dead() || self.is_ready() => Fate::Done,
            _ if self.lock.is_some() => Fate::Locked {
                expires: self.status == 20 && self.lock_at != LockAt::Null,
            },
            40 => Fate::AlreadySucceeded,
            50 => Fate::Ignored { retry: self.retry },
            _ => Fate::NotReady,
        }
    }

    pub fn fate_of_reset(&self) -> Fate {
        match self.status {
            UNKNOWN => Fate::Unreadable,
            // Not for this step to reset, however old its lock.
            ANOTHERS if self.lock.is_some() => Fate::Locked { expires: false },
            ANOTHERS => Fate::NotReady,
            _ if !self.is_free() => Fate::Locked { expires: true },
            _ => Fate::Done,
        }
    }

    /// What `errors` holds when the failures `texts`, newest first, have come on top.
    pub fn assert_recorded(&self, errors: &Value, texts: &[&str]) {
        let history = errors["history"].as_array().unwrap();
        for (entry, text) in history.iter().zip(texts) {
            assert!(
                entry["error"].as_str().unwrap().contains(text),
                "{self:?}: {errors}"
            );
        }
        let found: Value = serde_json::from_str(self.errors).unwrap();
        let kept = match self.errors {
            "{}" => vec![],
            HISTORY => found["history"].as_array().unwrap().clone(),
            _ => vec![json!({"found": found})],
        };
        assert_eq!(history[texts.len()..], kept, "{self:?}");
    }
}

/// Status and `retry` after one more failure.
pub fn failed(retry: i32) -> (Status, i32) {
    let retry = retry.saturating_add(1);
    let more = retry < Job::MAX_RETRY;
    (
        if more {
            Status::Failed
        } else {
            Status::Ignored
        },
        retry,
    )
}

impl Fate {
    pub fn of<T>(result: &Result<T, Error>) -> Self {
        match result {
            Ok(_) => Self::Done,
            Err(Error::Locked { expires_at, .. }) => Self::Locked {
                expires: expires_at.is_some(),
            },
            Err(Error::AlreadySucceeded { .. }) => Self::AlreadySucceeded,
            Err(Error::Ignored { retry, .. }) => Self::Ignored { retry: *retry },
            Err(Error::NotReady { .. }) => Self::NotReady,
            Err(error @ Error::Database { .. }) if error.to_string().contains("77 is no code") => {
                Self::Unreadable
            }
            Err(other) => panic!("{other:?}"),
        }
    }
}

/// A database with these rows.
pub fn with_rows(rows: &[Odd]) -> TestDb {
    let db = TestDb::new();
    let time = |at| match at {
        LockAt::Null | LockAt::Now => "NULL",
        LockAt::Past => "'2001-01-01 00:00:00.000'",
        LockAt::Ahead => "'2999-01-01 00:00:00.000'",
    };
    let values = rows.iter().map(|row| {
        let Odd { id, status, retry, errors, .. } = row;
        let lock = row.lock.map_or("NULL".to_owned(), |lock| format!("'{lock}'"));
        let lock_at = time(row.lock_at);
        format!("('{id}', {status}, '2001-01-01 00:00:00.000', '2001-01-01 00:00:00.000', {lock}, {lock_at}, {retry}, '{errors}')")
    });
    let values: Vec<_> = values.collect();
    db.sql(&format!(
        "INSERT INTO jobs (id, status, create_at, update_at, `lock`, lock_at, retry, errors) VALUES {}",
        values.join(", ")
    ));
    // By the database's clock.
    let new = rows.iter().filter(|row| row.lock_at == LockAt::Now);
    diesel::update(jobs::table.filter(jobs::id.eq_any(new.map(|row| &row.id))))
        .set(jobs::lock_at.eq(now()))
        .execute(&mut *db.conn())
        .unwrap();
    db
}

/// All rows that can be read, by their keys.
pub fn read(db: &TestDb) -> BTreeMap<String, Job> {
    let known = STATUSES
        .into_iter()
        .filter_map(|code| Status::try_from(code).ok());
    let known = jobs::table.filter(jobs::status.eq_any(known));
    let rows: Vec<Job> = known
        .select(Job::as_select())
        .load(&mut *db.conn())
        .unwrap();
    rows.into_iter().map(|row| (row.id.clone(), row)).collect()
}
