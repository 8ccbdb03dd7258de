include!("setup/jobs.rs");
include!("setup/job.rs");
include!("setup/updates.rs");

struct LoggingConnection(diesel::SqliteConnection);

diesel_status_tracker::job_table! {
    Job in jobs {
        key: (id: String),
        status: i32,
        updates: JobUpdates,
        connections: [SqliteConnection, LoggingConnection],
    }
}

fn main() {}
