//! The document in the `errors` column: what writes it, and what reads it.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

use crate::failure::Failure;

/// Entries that a document keeps.
const CAPACITY: usize = 10;
/// The fields of an [`ErrorEntry`].
const FIELDS: [&str; 4] = ["error", "traceback", "attempt", "at"];

/// The failures of a job, as its `errors` column records them: the newest
/// first, ten at most.
///
/// Reading never fails. Content that this crate did not write is kept as an
/// entry that has a text and nothing else.
///
/// ```
/// # use status_protocol::ErrorLog;
/// use serde_json::json;
///
/// // As a row holds it after one failure, where somebody had written a note before.
/// let errors = json!({
///     "error": "connection refused", "traceback": "", "attempt": 1, "at": "2026-03-01T12:00:00.000Z",
///     "history": [
///         { "error": "connection refused", "traceback": "", "attempt": 1, "at": "2026-03-01T12:00:00.000Z" },
///         { "found": "looked at by Ada" },
///     ],
/// });
/// let log = ErrorLog::read(&errors);
///
/// let newest = log.newest().unwrap();
/// assert_eq!(newest.error, "connection refused");
/// assert_eq!(newest.attempt, Some(1));
/// assert_eq!(newest.at.unwrap().to_string(), "2026-03-01 12:00:00 UTC");
///
/// let note = &log.entries()[1];
/// assert_eq!((note.error.as_str(), note.attempt), ("looked at by Ada", None));
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ErrorLog {
    entries: Vec<ErrorEntry>,
}

/// One failed attempt in an [`ErrorLog`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ErrorEntry {
    /// The error and its sources, one line each; the whole content as text
    /// where this crate did not write it.
    pub error: String,
    /// The error's `Debug` form, which for some types holds a backtrace.
    #[serde(default, deserialize_with = "if_it_fits")]
    pub traceback: Option<String>,
    /// Failures in a row, this one included.
    #[serde(default, deserialize_with = "if_it_fits")]
    pub attempt: Option<i32>,
    /// When it failed, by the database's clock, in UTC.
    #[serde(
        default,
        deserialize_with = "if_it_fits",
        serialize_with = "to_the_millisecond"
    )]
    pub at: Option<DateTime<Utc>>,
    /// What the document holds. It is written back as it is.
    #[serde(skip)]
    stored: Value,
}

impl ErrorLog {
    /// Reads the content of an `errors` column.
    #[must_use]
    pub fn read(document: &Value) -> Self {
        Self::from(document.clone())
    }

    /// Reads the content of an `errors` column of a text type. A text that is
    /// no JSON is an entry of its own.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        if text.trim().is_empty() {
            return Self::default();
        }
        Self::from(serde_json::from_str(text).unwrap_or_else(|_| Value::from(text)))
    }

    /// The failures, the newest first.
    #[must_use]
    pub fn entries(&self) -> &[ErrorEntry] {
        &self.entries
    }

    /// The last failure.
    #[must_use]
    pub fn newest(&self) -> Option<&ErrorEntry> {
        self.entries.first()
    }

    /// Adds a failure, and forgets the oldest one where there are too many.
    /// `attempt`: failures in a row, this one included.
    pub fn push(&mut self, failure: &Failure, attempt: i32, at: DateTime<Utc>) {
        let mut entry = ErrorEntry {
            error: failure.error.clone(),
            traceback: Some(failure.traceback.clone()),
            attempt: Some(attempt),
            at: Some(at),
            stored: Value::Null,
        };
        entry.stored = json!(entry);
        self.entries.insert(0, entry);
        self.entries.truncate(CAPACITY);
    }

    /// The content for the column: the newest entry, and all of them as
    /// `history`.
    #[must_use]
    pub fn document(&self) -> Value {
        let mut document = match self.newest() {
            None => return json!({}),
            Some(newest) if newest.attempt.is_some() => newest.stored.clone(),
            // Not written by this crate: it stands in the history alone.
            Some(_) => json!({}),
        };
        let stored = self.entries.iter().map(|entry| entry.stored.clone());
        document["history"] = stored.collect();
        document
    }
}

impl From<Value> for ErrorLog {
    fn from(document: Value) -> Self {
        let mut newest = match document {
            Value::Null => return Self::default(),
            Value::Object(object) => object,
            other => return Self::of_foreign(other),
        };
        let history = match newest.remove("history") {
            Some(Value::Array(history)) => history,
            Some(other) => {
                newest.insert("history".into(), other);
                return Self::of_foreign(Value::Object(newest));
            }
            None => Vec::new(),
        };
        let mut entries: Vec<_> = history.into_iter().map(ErrorEntry::of).collect();
        // What stands beside the history repeats its first entry.
        if let Some(first) = entries.first() {
            if first.stored == Value::Object(newest.clone()) {
                newest.clear();
            }
            newest.retain(|field, _| !FIELDS.contains(&&**field));
        }
        // If somebody has added something, that is an entry of its own.
        if !newest.is_empty() {
            entries.insert(0, ErrorEntry::foreign(Value::Object(newest)));
        }
        Self { entries }
    }
}

impl ErrorLog {
    /// A document that this crate did not write.
    fn of_foreign(document: Value) -> Self {
        Self {
            entries: vec![ErrorEntry::foreign(document)],
        }
    }
}

impl IntoIterator for ErrorLog {
    type Item = ErrorEntry;
    type IntoIter = std::vec::IntoIter<ErrorEntry>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

impl<'a> IntoIterator for &'a ErrorLog {
    type Item = &'a ErrorEntry;
    type IntoIter = std::slice::Iter<'a, ErrorEntry>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.iter()
    }
}

impl ErrorEntry {
    /// Content beside the history. It is kept under `found`, since it need not
    /// be an object.
    fn foreign(found: Value) -> Self {
        Self::of(json!({ "found": found }))
    }
}

impl ErrorEntry {
    /// An entry of the history.
    fn of(stored: Value) -> Self {
        let found = stored.get("found").unwrap_or(&stored);
        let known = found.is_object().then(|| Self::deserialize(found).ok());
        let mut entry = known.flatten().unwrap_or_else(|| Self {
            error: match found {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            },
            traceback: None,
            attempt: None,
            at: None,
            stored: Value::Null,
        });
        entry.stored = stored;
        entry
    }
}

/// A field of an entry, `None` where it is of another type than this crate's.
fn if_it_fits<'de, D, T>(field: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: serde::de::DeserializeOwned,
{
    let value = Value::deserialize(field)?;
    Ok(T::deserialize(value).ok())
}

fn to_the_millisecond<S: Serializer>(
    at: &Option<DateTime<Utc>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    at.map(|at| at.to_rfc3339_opts(SecondsFormat::Millis, true))
        .serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 123_456_789).unwrap()
    }

    /// The document after one more failure.
    fn after(document: &Value, error: &str, attempt: i32) -> Value {
        let mut log = ErrorLog::read(document);
        log.push(&Failure::because(error), attempt, at(attempt.into()));
        log.document()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let document = after(&after(&json!({}), "first", 1), "second", 2);
        let newest = json!({
            "error": "second", "traceback": "", "attempt": 2, "at": "1970-01-01T00:00:02.123Z"
        });
        let oldest = json!({
            "error": "first", "traceback": "", "attempt": 1, "at": "1970-01-01T00:00:01.123Z"
        });
        let mut expected = newest.clone();
        expected["history"] = json!([newest, oldest]);
        assert_eq!(document, expected);

        let log = ErrorLog::read(&document);
        assert_eq!(log.document(), document);
        assert_eq!(ErrorLog::parse(&document.to_string()), log);
        let told = |entry: &ErrorEntry| (entry.error.clone(), entry.attempt, entry.at);
        let told: Vec<_> = log.into_iter().map(|entry| told(&entry)).collect();
        let millisecond = |second| DateTime::from_timestamp(second, 123_000_000);
        assert_eq!(
            told,
            [
                ("second".into(), Some(2), millisecond(2)),
                ("first".into(), Some(1), millisecond(1))
            ]
        );
    }

    #[test]
    fn the_ten_newest_failures_are_kept() {
        let mut document = Value::Null;
        for attempt in 1..=12 {
            document = after(&document, "again", attempt);
        }
        let log = ErrorLog::read(&document);
        let attempts: Vec<_> = log.into_iter().map(|entry| entry.attempt).collect();
        assert_eq!(attempts, (3..=12).rev().map(Some).collect::<Vec<_>>());
    }

    #[test]
    fn an_empty_column_has_no_entries() {
        for empty in [json!(null), json!({}), json!({ "history": [] })] {
            assert_eq!(ErrorLog::read(&empty), ErrorLog::default(), "{empty}");
        }
        for empty in ["", " ", "null", "{}"] {
            assert_eq!(ErrorLog::parse(empty), ErrorLog::default(), "{empty}");
        }
    }

    #[test]
    fn content_of_others_is_an_entry_with_its_text() {
        for (foreign, text) in [
            (json!("a note"), "a note"),
            (json!(7), "7"),
            (json!(["a", "b"]), r#"["a","b"]"#),
            (json!({ "note": "x" }), r#"{"note":"x"}"#),
            (json!({ "history": "x" }), r#"{"history":"x"}"#),
            (json!({ "error": 7 }), r#"{"error":7}"#),
        ] {
            let log = ErrorLog::read(&foreign);
            let [entry] = log.entries() else {
                panic!("{log:?}");
            };
            assert_eq!((&*entry.error, entry.attempt, entry.at), (text, None, None));

            // It stays, as it was, in what is written next.
            let next = after(&foreign, "ours", 1);
            assert_eq!(next["history"][1], json!({ "found": foreign }));
            assert_eq!(ErrorLog::read(&next).entries()[1], *entry);
        }
        assert_eq!(ErrorLog::parse("no JSON").entries()[0].error, "no JSON");
    }

    #[test]
    fn a_field_of_another_type_does_not_hide_the_others() {
        let odd = json!({ "error": "x", "attempt": "first", "at": "yesterday", "traceback": [] });
        let log = ErrorLog::read(&json!({ "history": [odd, 3] }));
        let entry = log.newest().unwrap();
        assert_eq!((&*entry.error, entry.attempt, entry.at), ("x", None, None));
        assert_eq!(log.entries()[1].error, "3");
        assert_eq!(log.document(), json!({ "history": [odd, 3] }));
    }

    #[test]
    fn what_somebody_has_added_beside_the_history_is_kept() {
        let mut document = after(&json!({}), "ours", 1);
        document["note"] = json!("seen");
        let next = after(&document, "ours again", 2);
        let errors: Vec<_> = ErrorLog::read(&next).into_iter().collect();
        assert_eq!(errors.len(), 3);
        assert_eq!(next["history"][1], json!({ "found": { "note": "seen" } }));
    }
}
