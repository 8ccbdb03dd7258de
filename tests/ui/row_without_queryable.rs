include!("setup/jobs.rs");
include!("setup/updates.rs");

#[derive(diesel::Selectable)]
#[diesel(table_name = jobs)]
struct Job {
    status: i32,
}

diesel_status_tracker::job_table! {
    Job in jobs {
        key: (id: String),
        status: i32,
        updates: JobUpdates,
        connections: [SqliteConnection],
    }
}

fn main() {}
