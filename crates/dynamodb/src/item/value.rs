//! The user's values as attributes.

use aws_sdk_dynamodb::types::AttributeValue;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use status_protocol::BoxError;
use status_protocol::panics::caught;

use super::Item;
use super::names::{Attributes, KeyAttributes};

/// A value of the user's as an attribute. Its `Serialize` may panic.
pub(crate) fn to_value<T: Serialize>(value: &T) -> Result<AttributeValue, BoxError> {
    caught("`Serialize` of a value", || {
        serde_dynamo::to_attribute_value(value)
    })
    .map_err(|message| format!("its `Serialize` panicked: {message}"))?
    .map_err(BoxError::from)
}

/// A status as an attribute: a text or a number.
pub(crate) fn status_value<S: Serialize>(status: &S) -> Result<AttributeValue, BoxError> {
    match to_value(status)? {
        value @ (AttributeValue::S(_) | AttributeValue::N(_)) => Ok(value),
        other => Err(format!("it is written as {other:?}, and must be a text or a number").into()),
    }
}

/// A status as a part of the index's partition key.
pub(crate) fn status_text<S: Serialize>(status: &S) -> Result<String, BoxError> {
    match status_value(status)? {
        AttributeValue::S(text) | AttributeValue::N(text) => Ok(text),
        other => Err(format!("{other:?} is no status").into()),
    }
}

/// The attributes that the updates set: those that are not `None`.
pub(crate) fn changes<T: Serialize>(
    updates: &T,
    attributes: &Attributes,
    key: &KeyAttributes,
) -> Result<Item, BoxError> {
    let changes = match to_value(updates)? {
        AttributeValue::M(changes) => changes,
        // `()`, for jobs that set nothing.
        AttributeValue::Null(_) => Item::new(),
        other => {
            return Err(
                format!("the updates are written as {other:?}, and must be a struct").into(),
            );
        }
    };
    let own = |name: &&String| attributes.has(name) || key.has(name);
    if let Some(name) = changes.keys().find(own) {
        return Err(
            format!("the updates set the tracked attribute `{name}`; take that field out").into(),
        );
    }
    let set = changes
        .into_iter()
        .filter(|(_, value)| !matches!(value, AttributeValue::Null(_)));
    Ok(set.collect())
}

/// The item as the user's type. Its `Deserialize` may panic.
pub(crate) fn read_item<T: DeserializeOwned>(item: Item) -> Result<T, BoxError> {
    caught("`Deserialize` of an item", || serde_dynamo::from_item(item))
        .map_err(|message| format!("its `Deserialize` panicked: {message}"))?
        .map_err(BoxError::from)
}

/// The content of `errors` as an attribute.
pub(crate) fn errors_value(errors: &Value) -> Result<AttributeValue, BoxError> {
    Ok(serde_dynamo::to_attribute_value(errors)?)
}

/// The content of `errors`, whatever stands there.
pub(crate) fn read_errors(value: Option<&AttributeValue>) -> Value {
    match value {
        None => Value::Null,
        Some(AttributeValue::S(text)) => {
            serde_json::from_str(text).unwrap_or_else(|_| Value::from(text.as_str()))
        }
        Some(value) => serde_dynamo::from_attribute_value(value.clone())
            .unwrap_or_else(|_| Value::from(format!("{value:?}"))),
    }
}
