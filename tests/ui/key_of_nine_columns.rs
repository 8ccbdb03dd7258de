include!("setup/job.rs");
include!("setup/updates.rs");

diesel::table! {
    jobs (id, a, b, c, d, e, f, g, h) {
        id -> Text,
        status -> Integer,
        create_at -> Timestamp,
        update_at -> Timestamp,
        lock -> Nullable<Text>,
        lock_at -> Nullable<Timestamp>,
        retry -> Integer,
        errors -> Json,
        data -> Nullable<Text>,
        a -> Integer,
        b -> Integer,
        c -> Integer,
        d -> Integer,
        e -> Integer,
        f -> Integer,
        g -> Integer,
        h -> Integer,
    }
}

diesel_status_tracker::job_table! {
    Job in jobs {
        key: (id: String, a: i32, b: i32, c: i32, d: i32, e: i32, f: i32, g: i32, h: i32),
        status: i32,
        updates: JobUpdates,
        connections: [SqliteConnection],
    }
}

fn main() {}
