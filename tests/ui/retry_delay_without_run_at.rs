include!("setup/jobs.rs");
include!("setup/job.rs");
include!("setup/updates.rs");

impl diesel_status_tracker::StatusTracked for Job {
    type Job = Job;
    const PENDING: i32 = 10;
    const IN_PROGRESS: i32 = 20;
    const FAILED: i32 = 30;
    const SUCCEEDED: i32 = 40;
    const IGNORED: i32 = 50;
    const RETRY_DELAY: Option<fn(i32) -> std::time::Duration> =
        Some(|_| std::time::Duration::from_secs(60));
}

diesel_status_tracker::job_table! {
    Job in jobs {
        key: (id: String),
        status: i32,
        updates: JobUpdates,
        connections: [SqliteConnection],
        steps: [Job],
    }
}

fn main() {}
