//! An item: the names of its attributes, its key, and what it says of the job.

pub(crate) mod key;
pub(crate) mod names;
pub(crate) mod queue;
pub(crate) mod stored;
pub(crate) mod value;

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

/// An item as the SDK has it.
pub(crate) type Item = HashMap<String, AttributeValue>;
