//! On dynalite, which serves everything but transactions.

/// The variable that names the server.
pub const SERVER: &str = "DYNALITE_URL";

#[path = "families.rs"]
mod families;
#[path = "many_requests.rs"]
mod many_requests;
