//! The contract of every call, on servers that speak DynamoDB's protocol: one file a
//! family in `contract/`, listed in `families.rs`.
//!
//! ```sh
//! scripts/with-dynamodb cargo test -p dynamodb_status_tracker --test contract
//! ```
#![allow(
    clippy::duplicate_mod,
    reason = "each family is compiled once for each server"
)]

#[path = "contract/dynalite.rs"]
mod dynalite;
#[path = "contract/moto.rs"]
mod moto;
