//! A row as it is, in the model's terms.

use chrono::{NaiveDate, NaiveDateTime, TimeDelta};

use super::model::{Attempt, Cause, LockAt, Row};
use super::step::{DELAY, Parcel};

/// Reads a row of which the model says that its last change was number
/// `order`; `holder` knows the attempts by their tokens.
pub fn read(row: &Parcel, order: u32, holder: impl Fn(&str) -> Option<Attempt>) -> Row {
    let recent = long_ago(0) + TimeDelta::days(20 * 365);
    let changed = row.update_at > recent;
    Row {
        status: row.status,
        // The token of nobody known is nobody's.
        lock: row
            .lock
            .as_deref()
            .map(|token| holder(token).unwrap_or(Attempt::MAX)),
        lock_at: match row.lock_at {
            None => LockAt::Never,
            Some(at) if at > recent => LockAt::Fresh,
            Some(_) => LockAt::Aged,
        },
        retry: row.retry,
        waits: row
            .run_at
            .is_some_and(|at| at > chrono::Utc::now().naive_utc() + DELAY / 2),
        data: row.data,
        note: row.note,
        failures: failures(&row.errors),
        order: if changed || row.update_at == long_ago(order) {
            order
        } else {
            0
        },
        changed,
    }
}

/// A time that is long past, later by a second for each `n`.
pub fn long_ago(n: u32) -> NaiveDateTime {
    let start = NaiveDate::from_ymd_opt(2001, 1, 1).unwrap();
    start.and_hms_opt(0, 0, 0).unwrap() + TimeDelta::seconds(n.into())
}

/// What is in `errors`, newest first.
fn failures(errors: &serde_json::Value) -> Vec<(Cause, i32)> {
    if *errors == serde_json::json!({}) {
        return Vec::new();
    }
    let history = errors["history"].as_array().unwrap();
    for part in ["error", "traceback", "attempt", "at"] {
        assert_eq!(errors[part], history[0][part]);
    }
    let read = |entry: &serde_json::Value| {
        let error = entry["error"].as_str().unwrap();
        let causes = [
            ("told", Cause::Told),
            ("dropped unfinished", Cause::Dropped),
            ("lock expired", Cause::Expired),
        ];
        let cause = causes.iter().find(|(text, _)| error.contains(text));
        (cause.unwrap().1, entry["attempt"].as_i64().unwrap() as i32)
    };
    history.iter().map(read).collect()
}
