//! Requests to DynamoDB: their texts, what their failures mean, what they consume.

pub(crate) mod capacity;
pub(crate) mod expression;
pub(crate) mod fault;
pub(crate) mod read;
pub(crate) mod statements;
pub(crate) mod write;
