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

use diesel_status_tracker::{Result, StatusTracked};

fn read_twice(conn: &mut diesel::SqliteConnection) -> Result<()> {
    Job::find(conn, "job-1")?;
    Job::find(conn, "job-1")?;
    Ok(())
}

fn main() {}
