//! The tracked table, one row a file, and the two steps that each row takes.

use std::time::Duration;

use diesel::prelude::*;
use diesel_status_tracker::{StatusTracked, job_table, status_codes};
use serde_json::Value;

mod schema {
    diesel::table! {
        files (path) {
            path -> Text,
            status -> Integer,
            create_at -> Timestamp,
            update_at -> Timestamp,
            lock -> Nullable<Text>,
            lock_at -> Nullable<Timestamp>,
            retry -> Integer,
            errors -> Json,
            size -> Nullable<BigInt>,
            checksum -> Nullable<Text>,
            lines -> Nullable<BigInt>,
            words -> Nullable<BigInt>,
            seconds -> Nullable<Double>,
        }
    }
}
use schema::files;

status_codes! {
    pub enum Status {
        Pending = 10, Checksumming = 12, ChecksumFailed = 14, Checksummed = 16, ChecksumIgnored = 18,
        CountPending = 20, Counting = 22, CountFailed = 24, Done = 26, CountIgnored = 28,
    }
}

#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = files)]
pub struct FileJob {
    pub path: String,
    pub status: Status,
    pub retry: i32,
    pub errors: Value,
    pub size: Option<i64>,
    pub checksum: Option<String>,
    pub lines: Option<i64>,
    pub words: Option<i64>,
    pub seconds: Option<f64>,
}

impl FileJob {
    /// How long the steps that are done have taken.
    pub fn seconds(&self) -> f64 {
        self.seconds.unwrap_or(0.0)
    }
}

#[derive(Debug, Default, Insertable, AsChangeset)]
#[diesel(table_name = files)]
pub struct FileUpdates {
    pub size: Option<i64>,
    pub checksum: Option<String>,
    pub lines: Option<i64>,
    pub words: Option<i64>,
    pub seconds: Option<f64>,
}

/// Short, so that the files which a killed process held are soon free; for a
/// file that takes longer the worker renews the lock.
const LOCK_EXPIRE: Duration = Duration::from_secs(5);

/// Step 1: size and checksum.
pub struct Checksum;
impl StatusTracked for Checksum {
    type Job = FileJob;
    const PENDING: Status = Status::Pending;
    const IN_PROGRESS: Status = Status::Checksumming;
    const FAILED: Status = Status::ChecksumFailed;
    const SUCCEEDED: Status = Status::Checksummed;
    const IGNORED: Status = Status::ChecksumIgnored;
    const LOCK_EXPIRE: Duration = LOCK_EXPIRE;
}

/// Step 2: lines and words.
pub struct Count;
impl StatusTracked for Count {
    type Job = FileJob;
    const PENDING: Status = Status::CountPending;
    const MORE_PENDING: &'static [Status] = &[Checksum::SUCCEEDED];
    const IN_PROGRESS: Status = Status::Counting;
    const FAILED: Status = Status::CountFailed;
    const SUCCEEDED: Status = Status::Done;
    const IGNORED: Status = Status::CountIgnored;
    const LOCK_EXPIRE: Duration = LOCK_EXPIRE;
}

impl Status {
    /// Whether no step will touch the file any more.
    pub fn is_final(self) -> bool {
        matches!(
            self,
            Self::Done | Self::ChecksumIgnored | Self::CountIgnored
        )
    }
}

// An application has its one database; this example goes by its features.
job_table! {
    FileJob in files {
        key: (path: String),
        status: Status,
        updates: FileUpdates,
        connections: [
            SqliteConnection,
            #[cfg(feature = "postgres")] PgConnection,
            #[cfg(feature = "mysql")] MysqlConnection,
        ],
        steps: [Checksum, Count],
    }
}
