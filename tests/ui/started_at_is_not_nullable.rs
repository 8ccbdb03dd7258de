include!("setup/job.rs");
include!("setup/updates.rs");

diesel::table! {
    jobs (id) {
        id -> Text,
        status -> Integer,
        create_at -> Timestamp,
        update_at -> Timestamp,
        lock -> Nullable<Text>,
        lock_at -> Nullable<Timestamp>,
        retry -> Integer,
        errors -> Json,
        data -> Nullable<Text>,
        begun -> Timestamp,
    }
}

diesel_status_tracker::job_table! {
    Job in jobs {
        key: (id: String),
        status: i32,
        updates: JobUpdates,
        connections: [SqliteConnection],
        columns: { started_at: begun },
    }
}

fn main() {}
