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
        status_field: none,
    }
}

use diesel_status_tracker::StatusTracked;

fn show(job: &Job) -> bool {
    Job::is_pending(job)
}

fn main() {}
