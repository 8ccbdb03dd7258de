include!("setup/jobs.rs");
include!("setup/job.rs");

diesel_status_tracker::job_table! {
    Job in jobs {
        key: (id: String),
        status: i32,
        updates: (),
        connections: [SqliteConnection],
    }
}

fn main() {}
