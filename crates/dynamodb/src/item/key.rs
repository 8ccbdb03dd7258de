//! The key of an item, as the SDK and as people read it.

use std::fmt::{self, Display, Write};
use std::sync::Arc;

use aws_sdk_dynamodb::types::AttributeValue;
use serde::Serialize;

use super::Item;
use super::names::KeyAttributes;
use super::value::to_value;
use crate::error::{Error, Result};

/// The key of one item.
#[derive(Debug, Clone)]
pub(crate) struct ItemKey {
    pub attributes: Item,
    /// Table and key, as people read them. No two keys have the same name.
    pub name: Arc<str>,
}

impl Display for ItemKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl ItemKey {
    /// The key that the user gave.
    pub fn of<K: Serialize>(table: &str, names: &KeyAttributes, key: &K) -> Result<Self> {
        let misfit = |problem: String| Error::Misconfigured {
            job: table.into(),
            problem,
        };
        let value =
            to_value(key).map_err(|error| misfit(format!("the key cannot be written: {error}")))?;
        let parts = match (value, names.sort) {
            (AttributeValue::L(parts), Some(_)) => parts,
            (part, None) => vec![part],
            (part, Some(sort)) => {
                return Err(misfit(format!(
                    "the key is written as {part:?}, and the table has the sort key `{sort}`: make `Key` a pair"
                )));
            }
        };
        let both: Vec<_> = std::iter::once(names.partition).chain(names.sort).collect();
        let fits = |part: &AttributeValue| part.is_s() || part.is_n() || part.is_b();
        if parts.len() != both.len() || !parts.iter().all(fits) {
            return Err(misfit(format!(
                "the key is written as {parts:?}, and must be a text, a number or bytes for each of {both:?}"
            )));
        }
        let attributes = both.into_iter().map(str::to_owned).zip(parts).collect();
        Ok(Self::of_attributes(table, names, attributes))
    }

    /// The key of an item that was read. `None` where it has none of these
    /// attributes, which DynamoDB does not let happen.
    pub fn of_item(table: &str, names: &KeyAttributes, item: &Item) -> Option<Self> {
        let mut attributes = Item::new();
        for name in std::iter::once(names.partition).chain(names.sort) {
            attributes.insert(name.to_owned(), item.get(name)?.clone());
        }
        Some(Self::of_attributes(table, names, attributes))
    }

    fn of_attributes(table: &str, names: &KeyAttributes, attributes: Item) -> Self {
        let mut name = table.to_owned();
        let parts = std::iter::once(names.partition).chain(names.sort);
        for (n, part) in parts.filter_map(|name| attributes.get(name)).enumerate() {
            name.push_str(if n == 0 { " " } else { ", " });
            let _never_fails = match part {
                AttributeValue::S(text) => write!(name, "{text:?}"),
                AttributeValue::N(number) => write!(name, "{number}"),
                AttributeValue::B(bytes) => bytes
                    .as_ref()
                    .iter()
                    .try_for_each(|byte| write!(name, "{byte:02x}")),
                other => write!(name, "{other:?}"),
            };
        }
        Self {
            attributes,
            name: name.into(),
        }
    }
}
