include!("setup/jobs.rs");
include!("setup/updates.rs");

#[derive(diesel::Queryable, diesel::Selectable)]
#[diesel(table_name = jobs)]
struct Job {
    data: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Status {
    Pending = 10,
}

diesel_status_tracker::job_table! {
    Job in jobs {
        key: (id: String),
        status: Status,
        updates: JobUpdates,
        connections: [SqliteConnection],
        status_field: none,
    }
}

fn main() {}
