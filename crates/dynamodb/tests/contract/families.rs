//! All families of tests that each server serves, listed once.

#[path = "blocking.rs"]
mod blocking;
#[path = "create.rs"]
mod create;
#[path = "database.rs"]
pub mod database;
#[path = "guard.rs"]
mod guard;
#[path = "jobs.rs"]
pub mod jobs;
#[path = "pipeline.rs"]
mod pipeline;
#[path = "proxy.rs"]
pub mod proxy;
#[path = "reset.rs"]
mod reset;
#[path = "retry.rs"]
mod retry;
#[path = "run.rs"]
mod run;
