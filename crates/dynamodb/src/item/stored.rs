//! What an item says of its job.

use aws_sdk_dynamodb::types::AttributeValue;
use serde::de::DeserializeOwned;
use serde_json::Value;
use status_protocol::BoxError;

use super::Item;
use super::names::Attributes;
use super::value::{read_errors, read_item};
use crate::clock::read_stamp;
use chrono::{DateTime, Utc};

/// The tracked attributes of an item.
#[derive(Debug, Clone)]
pub(crate) struct Stored<S> {
    pub status: S,
    pub lock: Option<Lock>,
    pub last_lock: Option<String>,
    pub retry: i32,
    pub run_at: Option<DateTime<Utc>>,
    pub errors: Value,
}

/// The lock of an item: what others watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lock {
    pub token: String,
    /// `None` on an item that somebody else has locked.
    pub renewals: Option<u64>,
    /// The number of the claim; 0 on an item that somebody else has locked.
    pub claims: u64,
}

impl<S> Stored<S> {
    pub fn token(&self) -> Option<&str> {
        self.lock.as_ref().map(|lock| &*lock.token)
    }
}

/// Reads the tracked attributes of an item.
///
/// # Errors
///
/// The item has no status, or one that is none of the user's.
pub(crate) fn read<S: DeserializeOwned>(
    names: &Attributes,
    item: &Item,
) -> Result<Stored<S>, BoxError> {
    let status = item
        .get(names.status)
        .ok_or_else(|| format!("it has no attribute `{}`", names.status))?;
    let wrapped = Item::from([("status".to_owned(), status.clone())]);
    let StatusOnly { status } =
        read_item(wrapped).map_err(|error| format!("its status {status:?} is unknown: {error}"))?;
    let text = |name| match item.get(name) {
        Some(AttributeValue::S(text)) => Some(text.clone()),
        _ => None,
    };
    let lock = match item.get(names.lock) {
        None | Some(AttributeValue::Null(_)) => None,
        // Somebody has locked it by hand, with a value of any type.
        Some(other) => Some(Lock {
            token: other
                .as_s()
                .map_or_else(|_| format!("{other:?}"), Clone::clone),
            renewals: number(item.get(names.renewals)),
            claims: number(item.get(names.claims)).unwrap_or(0),
        }),
    };
    Ok(Stored {
        status,
        lock,
        last_lock: text(names.last_lock),
        retry: number(item.get(names.retry)).unwrap_or(0),
        run_at: text(names.run_at).as_deref().and_then(read_stamp),
        errors: read_errors(item.get(names.errors)),
    })
}

/// The number of the claim that holds the item, whatever else cannot be read.
pub(crate) fn claims(names: &Attributes, item: &Item) -> u64 {
    number(item.get(names.claims)).unwrap_or(0)
}

#[derive(serde::Deserialize)]
struct StatusOnly<S> {
    status: S,
}

fn number<N: std::str::FromStr>(value: Option<&AttributeValue>) -> Option<N> {
    value?.as_n().ok()?.parse().ok()
}
