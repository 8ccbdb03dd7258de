//! The families that send so many requests that moto's server takes minutes for them:
//! it is in Python, and looks at each item of a table for each search.

use super::families::{database, jobs, proxy};

#[path = "concurrency.rs"]
mod concurrency;
#[path = "expire.rs"]
mod expire;
#[path = "faults.rs"]
mod faults;
#[path = "next.rs"]
mod next;
#[path = "worker.rs"]
mod worker;
