include!("../setup/jobs.rs");
include!("../setup/job.rs");
include!("../setup/updates.rs");
include!("../setup/step.rs");

diesel_status_tracker::job_table! {
    Job in jobs {
        key: (id: String),
        status: i32,
        updates: JobUpdates,
        connections: [SqliteConnection],
    }
}

use diesel::r2d2::{ConnectionManager, Pool};
use diesel_status_tracker::{Result, StatusTracked};

fn read(pool: &Pool<ConnectionManager<diesel::PgConnection>>) -> Result<()> {
    Job::find(pool, "job-1")?;
    Ok(())
}

fn main() {}
