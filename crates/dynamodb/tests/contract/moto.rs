//! On moto's server, which serves transactions too.

/// The variable that names the server.
pub const SERVER: &str = "MOTO_URL";

#[path = "families.rs"]
mod families;

#[path = "processes.rs"]
mod processes;
#[path = "transaction.rs"]
mod transaction;
