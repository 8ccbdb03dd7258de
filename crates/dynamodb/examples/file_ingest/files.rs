//! The item, and the two steps on it.

use dynamodb_status_tracker::{KeyAttributes, StatusTracked, Tracked};
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Debug, Deserialize)]
pub struct File {
    pub path: String,
    pub size: Option<u64>,
    pub checksum: Option<String>,
    pub lines: Option<u64>,
    pub words: Option<u64>,
    pub errors: Value,
}

/// What a step has found out.
#[derive(Debug, Default, Serialize)]
pub struct FileUpdates {
    pub size: Option<u64>,
    pub checksum: Option<String>,
    pub lines: Option<u64>,
    pub words: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    New,
    ChecksumRunning,
    ChecksumFailed,
    ChecksumDone,
    ChecksumIgnored,
    /// Only after a reset of the second step.
    CountPending,
    CountRunning,
    CountFailed,
    CountDone,
    CountIgnored,
}

impl Tracked for File {
    type Key = String;
    type Status = Status;
    type Updates = FileUpdates;
    const KEY: KeyAttributes = KeyAttributes::partition("path");
    const CONTINUES: &'static [Status] = &[Checksum::SUCCEEDED];
}

pub struct Checksum;

impl StatusTracked for Checksum {
    type Job = File;
    const PENDING: Status = Status::New;
    const IN_PROGRESS: Status = Status::ChecksumRunning;
    const FAILED: Status = Status::ChecksumFailed;
    const SUCCEEDED: Status = Status::ChecksumDone;
    const IGNORED: Status = Status::ChecksumIgnored;
}

pub struct Count;

impl StatusTracked for Count {
    type Job = File;
    const PENDING: Status = Status::CountPending;
    const IN_PROGRESS: Status = Status::CountRunning;
    const FAILED: Status = Status::CountFailed;
    const SUCCEEDED: Status = Status::CountDone;
    const IGNORED: Status = Status::CountIgnored;
    const MORE_PENDING: &'static [Status] = &[Checksum::SUCCEEDED];
}
