//! What `docs/expansion.rs` shows, expanded: the module `generated`.

include!("jobs.rs");
include!("job.rs");
include!("updates.rs");

mod generated {
    use super::{Job, JobUpdates, jobs};

    diesel_status_tracker::job_table! {
        Job in jobs {
            key: (id: String),
            status: i32,
            updates: JobUpdates,
            connections: [SqliteConnection],
        }
    }
}
