include!("setup/jobs.rs");
include!("setup/job.rs");
include!("setup/updates.rs");

diesel_status_tracker::job_table! {
    Job in jobs {
        status: i32,
        key: (id: String),
        updates: JobUpdates,
        connections: [SqliteConnection],
    }
}

fn main() {}
