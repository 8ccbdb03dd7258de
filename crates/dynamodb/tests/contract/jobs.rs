//! The jobs of most tests.

use std::time::Duration;

use dynamodb_status_tracker::{KeyAttributes, StatusTracked, Tracked};
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Job {
    pub id: String,
    pub status: i32,
    pub retry: i32,
    pub version: Option<i64>,
    #[serde(default)]
    pub errors: Value,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct Updates {
    pub version: Option<i64>,
    pub note: Option<String>,
}

pub fn version(version: i64) -> Updates {
    Updates {
        version: Some(version),
        note: None,
    }
}

impl Tracked for Job {
    type Key = String;
    type Status = i32;
    type Updates = Updates;
    const KEY: KeyAttributes = KeyAttributes::partition("id");
}

/// A step on [`Job`] with the codes 10 to 50, and a policy.
macro_rules! step {
    ($name:ident { $($policy:tt)* }) => {
        #[derive(Debug)]
        pub struct $name;

        impl dynamodb_status_tracker::StatusTracked for $name {
            type Job = Job;
            const PENDING: i32 = 10;
            const IN_PROGRESS: i32 = 20;
            const FAILED: i32 = 30;
            const SUCCEEDED: i32 = 40;
            const IGNORED: i32 = 50;
            $($policy)*
        }
    };
}
pub(crate) use step;

impl StatusTracked for Job {
    type Job = Job;
    const PENDING: i32 = 10;
    const IN_PROGRESS: i32 = 20;
    const FAILED: i32 = 30;
    const SUCCEEDED: i32 = 40;
    const IGNORED: i32 = 50;
}

// Its locks count as abandoned after a moment of watching.
step! { Brief { const LOCK_EXPIRE: Duration = Duration::from_millis(50); } }

macro_rules! assert_err {
    ($result:expr, $pattern:pat) => {
        match $result {
            Err($pattern) => {}
            other => panic!("not {}: {other:?}", stringify!($pattern)),
        }
    };
}
pub(crate) use assert_err;
