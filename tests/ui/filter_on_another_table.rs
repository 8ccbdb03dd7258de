include!("setup/jobs.rs");
include!("setup/job.rs");
include!("setup/updates.rs");
include!("setup/step.rs");

diesel_status_tracker::job_table! {
    Job in jobs {
        key: (id: String),
        status: i32,
        updates: JobUpdates,
        connections: [SqliteConnection],
    }
}

diesel::table! {
    letters (id) {
        id -> Text,
        kind -> Text,
    }
}

use diesel::prelude::*;
use diesel_status_tracker::StatusTracked;

fn main() {
    let _ = Job::filter(letters::kind.eq("mail"));
}
