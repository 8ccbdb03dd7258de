//! Requests to DynamoDB: their texts and what their failures mean.

pub(crate) mod expression;
pub(crate) mod fault;
pub(crate) mod read;
pub(crate) mod statements;
pub(crate) mod write;
