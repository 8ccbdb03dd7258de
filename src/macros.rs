//! What the macros generate, and what they check first.

pub mod check;
mod job_table;
pub(crate) mod status_codes;
