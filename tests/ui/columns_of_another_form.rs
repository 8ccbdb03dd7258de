include!("setup/jobs.rs");
include!("setup/job.rs");
include!("setup/updates.rs");

diesel_status_tracker::job_table! {
    Job in jobs {
        key: (id: String),
        status: i32,
        updates: JobUpdates,
        connections: [SqliteConnection],
        columns: { lock = lease },
    }
}

fn main() {}
