include!("setup/jobs.rs");
include!("setup/updates.rs");

#[derive(diesel::Queryable, diesel::Selectable)]
#[diesel(table_name = jobs)]
struct Job {
    data: Option<String>,
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
