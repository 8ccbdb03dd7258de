include!("setup/jobs.rs");
include!("setup/job.rs");

#[derive(Default, diesel::Insertable)]
#[diesel(table_name = jobs)]
struct JobUpdates {
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
