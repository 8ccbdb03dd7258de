include!("../setup/jobs.rs");
include!("../setup/job.rs");
include!("../setup/updates.rs");
include!("../setup/step.rs");

diesel_status_tracker::job_table! {
    Job in jobs {
        key: (id: String),
        status: i32,
        updates: JobUpdates,
        connections: [SqliteConnection, MysqlConnection],
    }
}

use diesel::r2d2::{ConnectionManager, Pool};
use diesel::prelude::*;
use diesel_status_tracker::StatusTracked;

fn claim(pool: &Pool<ConnectionManager<PgConnection>>) {
    let _ = Job::filter(jobs::id.eq("a")).claim_next(pool, 1);
}

fn main() {}
