//! Two steps on the rows of one table: parcels are packed, then shipped.

use std::time::Duration;

use chrono::NaiveDateTime;
use diesel::prelude::*;
use diesel_status_tracker::StatusTracked;
use serde_json::Value;

pub const TABLE: &str = "CREATE TABLE parcels (
    id VARCHAR(20) NOT NULL PRIMARY KEY, status INTEGER NOT NULL, create_at DATETIME(6) NOT NULL,
    update_at DATETIME(6) NOT NULL, `lock` VARCHAR(32), lock_at DATETIME(6), retry INTEGER NOT NULL,
    run_at DATETIME(6), data INTEGER, note INTEGER, errors JSON NOT NULL
)";

diesel::table! {
    parcels (id) {
        id -> Text, status -> Integer, create_at -> Timestamp, update_at -> Timestamp, lock -> Nullable<Text>,
        lock_at -> Nullable<Timestamp>, retry -> Integer, run_at -> Nullable<Timestamp>, data -> Nullable<Integer>,
        note -> Nullable<Integer>, errors -> Json,
    }
}

#[derive(Debug, Clone, PartialEq, Queryable, Selectable)]
#[diesel(table_name = parcels)]
pub struct Parcel {
    pub id: String,
    pub status: i32,
    pub update_at: NaiveDateTime,
    pub lock: Option<String>,
    pub lock_at: Option<NaiveDateTime>,
    pub retry: i32,
    pub run_at: Option<NaiveDateTime>,
    pub data: Option<i32>,
    pub note: Option<i32>,
    pub errors: Value,
}

#[derive(Debug, Default, Insertable, AsChangeset)]
#[diesel(table_name = parcels)]
pub struct ParcelUpdates {
    pub data: Option<i32>,
}

tracked! {
    Parcel in parcels {
        key: (id: String), status: i32, updates: ParcelUpdates, columns: { run_at: run_at }, steps: [Pack, Ship],
    }
}

/// A step, as the model knows it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Step {
    Pack,
    Ship,
}

impl Step {
    /// Pending, in progress, failed, succeeded, ignored.
    pub const fn codes(self) -> [i32; 5] {
        match self {
            Self::Pack => [10, 20, 30, 40, 50],
            Self::Ship => [60, 70, 80, 90, 95],
        }
    }

    pub const fn pending(self) -> i32 {
        self.codes()[0]
    }

    pub const fn in_progress(self) -> i32 {
        self.codes()[1]
    }

    pub const fn failed(self) -> i32 {
        self.codes()[2]
    }

    pub const fn succeeded(self) -> i32 {
        self.codes()[3]
    }

    pub const fn ignored(self) -> i32 {
        self.codes()[4]
    }

    pub const fn max_retry(self) -> i32 {
        match self {
            Self::Pack => 2,
            Self::Ship => 3,
        }
    }

    pub fn waits_after_failure(self) -> bool {
        self == Self::Ship
    }

    /// Whether it starts from this status.
    pub fn is_ready(self, status: i32) -> bool {
        let packed = self == Self::Ship && status == Self::Pack.succeeded();
        packed || status == self.pending() || status == self.failed()
    }
}

/// Far from now, whatever the clocks say.
pub const DELAY: Duration = Duration::from_secs(9 * 24 * 60 * 60);

macro_rules! step_as_modelled {
    ($Step:ident { $($more:tt)* }) => {
        pub struct $Step;
        impl StatusTracked for $Step {
            type Job = Parcel;
            const PENDING: i32 = Step::$Step.pending();
            const IN_PROGRESS: i32 = Step::$Step.in_progress();
            const FAILED: i32 = Step::$Step.failed();
            const SUCCEEDED: i32 = Step::$Step.succeeded();
            const IGNORED: i32 = Step::$Step.ignored();
            const MAX_RETRY: i32 = Step::$Step.max_retry();
            $($more)*
        }
    };
}

step_as_modelled! { Pack {} }
step_as_modelled! { Ship {
    const MORE_PENDING: &'static [i32] = &[Pack::SUCCEEDED];
    const RETRY_DELAY: Option<fn(i32) -> Duration> = Some(|_| DELAY);
} }
