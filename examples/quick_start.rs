//! The tutorial: three jobs, of which one succeeds, one fails once, and one
//! fails until it is ignored.
//!
//! ```text
//! cargo run --example quick_start
//! ```

use std::error::Error;

use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use diesel_status_tracker::{StatusTracked, job_table, sqlite, status_codes};
use serde_json::{Value, json};

// The table, as `diesel print-schema` writes it. You own it: add what you like.
mod schema {
    diesel::table! {
        jobs (id) {
            id -> Text,
            status -> Integer,
            create_at -> Timestamp,
            update_at -> Timestamp,
            lock -> Nullable<Text>,
            lock_at -> Nullable<Timestamp>,
            retry -> Integer,
            data -> Nullable<Json>,
            errors -> Json,
        }
    }
}
use schema::jobs;

status_codes! {
    enum Status { Pending = 10, InProgress = 20, Failed = 30, Succeeded = 40, Ignored = 50 }
}

#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = jobs)]
struct Job {
    id: String,
    status: Status,
    retry: i32,
    data: Option<Value>,
    errors: Value,
}

/// The columns that are yours to set. The others belong to the tracker.
#[derive(Debug, Clone, Default, Insertable, AsChangeset)]
#[diesel(table_name = jobs)]
struct JobUpdates {
    data: Option<Value>,
}

impl StatusTracked for Job {
    type Job = Job;
    const PENDING: Status = Status::Pending;
    const IN_PROGRESS: Status = Status::InProgress;
    const FAILED: Status = Status::Failed;
    const SUCCEEDED: Status = Status::Succeeded;
    const IGNORED: Status = Status::Ignored;
    const MAX_RETRY: i32 = 3; // the default
}

job_table! {
    Job in jobs {
        key: (id: String),
        status: Status,
        updates: JobUpdates,
        connections: [SqliteConnection],
        steps: [Job],
    }
}

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    // The crate tells what happens to each job as `tracing` events: refusals
    // at DEBUG, starts and successes at INFO, failures at WARN and ERROR.
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .without_time()
        .with_target(false)
        .compact()
        .init();

    let folder = tempfile::tempdir()?; // removed at the end, with the database
    let file = folder.path().join("jobs.db");
    let pool = Pool::builder()
        .max_size(4)
        .test_on_check_out(false) // the tracker replaces a dead connection when it meets one
        .connection_customizer(Box::new(sqlite::Customizer::default()))
        .build(ConnectionManager::<SqliteConnection>::new(
            file.to_string_lossy(),
        ))?;
    pool.get()?.run_pending_migrations(MIGRATIONS)?;

    println!("\n# Three jobs");
    for id in ["job-1", "job-2", "job-3"] {
        let data = Some(json!({"version": 0}));
        let job = Job::create_and_save(&pool, id, JobUpdates { data })?;
        println!("{id} is {}", job.status);
    }

    println!("\n# job-1 succeeds; its data is updated together with its status");
    Job::run_job(&pool, "job-1", |job, updates| {
        println!(
            "job-1 works on {}",
            job.data.as_ref().unwrap_or(&Value::Null)
        );
        updates.data = Some(json!({"version": 1}));
        Ok(())
    })?;

    println!("\n# job-2 fails; what it set is dropped");
    let failure = Job::run_job(&pool, "job-2", |_, updates| {
        updates.data = Some(json!({"version": 1}));
        Err::<(), _>("the disk is full".into())
    });
    println!("run_job returned: {}", failure.unwrap_err());

    println!("\n# job-3 fails three times in a row, which is MAX_RETRY");
    for _ in 0..3 {
        let _recorded = Job::run_job(&pool, "job-3", |_, _| -> Result<(), _> {
            Err("no such customer".into())
        });
    }

    println!("\n# What the next start of each says");
    Job::run_job(&pool, "job-1", |_, _| Ok(())).unwrap_err(); // AlreadySucceeded
    Job::run_job(&pool, "job-2", |_, _| Ok(()))?; // a failed job may be tried again
    Job::run_job(&pool, "job-3", |_, _| Ok(())).unwrap_err(); // Ignored

    println!("\n# job-3 is mended, reset, and runs");
    Job::reset(&pool, "job-3")?;
    Job::run_job(&pool, "job-3", |_, _| Ok(()))?;

    // Beyond the tracker's calls the table is plain Diesel.
    println!("\n# The rows");
    println!(
        "{:<6} {:<10} {:>5}  {:<14} last error (kept after success)",
        "id", "status", "retry", "data"
    );
    for job in jobs::table
        .select(Job::as_select())
        .load(&mut pool.get()?)?
    {
        println!(
            "{:<6} {:<10} {:>5}  {:<14} {}",
            job.id,
            job.status,
            job.retry,
            job.data.unwrap_or_default().to_string(),
            job.errors["error"].as_str().unwrap_or("-"),
        );
    }
    Ok(())
}
