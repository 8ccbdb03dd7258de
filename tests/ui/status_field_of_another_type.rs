include!("setup/jobs.rs");
include!("setup/job.rs");
include!("setup/updates.rs");

diesel_status_tracker::status_codes! {
    enum Status { Pending = 10, InProgress = 20, Failed = 30, Succeeded = 40, Ignored = 50 }
}

diesel_status_tracker::job_table! {
    Job in jobs {
        key: (id: String),
        status: Status,
        updates: JobUpdates,
        connections: [SqliteConnection],
    }
}

fn main() {}
