//! Metrics of all jobs: a few calls and a worker, and at the end the text that
//! Prometheus would read.
//!
//! ```text
//! cargo run --features metrics --example metrics
//! ```

use std::error::Error;
use std::thread;
use std::time::Duration;

use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use diesel_status_tracker::{
    MetricsObserver, StatusTracked, job_table, observe, sqlite, status_codes,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use serde_json::{Value, json};

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

status_codes! {
    enum Status { Pending = 10, InProgress = 20, Failed = 30, Succeeded = 40, Ignored = 50 }
}

#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = jobs)]
struct Letter {
    id: String,
    status: Status,
}

#[derive(Debug, Clone, Default, Insertable, AsChangeset)]
#[diesel(table_name = jobs)]
struct LetterUpdates {
    data: Option<Value>,
}

impl StatusTracked for Letter {
    type Job = Letter;
    const PENDING: Status = Status::Pending;
    const IN_PROGRESS: Status = Status::InProgress;
    const FAILED: Status = Status::Failed;
    const SUCCEEDED: Status = Status::Succeeded;
    const IGNORED: Status = Status::Ignored;
}

job_table! {
    Letter in jobs {
        key: (id: String),
        status: Status,
        updates: LetterUpdates,
        connections: [SqliteConnection],
        steps: [Letter],
    }
}

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    // A service would have Prometheus read this over HTTP:
    // `PrometheusBuilder::new().install()` listens for it.
    let prometheus = PrometheusBuilder::new()
        .set_buckets_for_metric(
            Matcher::Full("status_tracker_run_duration_seconds".into()),
            &[0.001, 0.01, 0.1, 1.0, 10.0],
        )?
        .install_recorder()?;
    // One line has all calls of all tables counted, and all workers.
    observe(MetricsObserver::new()).forever();

    let folder = tempfile::tempdir()?; // removed at the end, with the database
    let file = folder.path().join("jobs.db");
    let pool = Pool::builder()
        .max_size(4)
        .connection_customizer(Box::new(sqlite::Customizer::default()))
        .build(ConnectionManager::<SqliteConnection>::new(
            file.to_string_lossy(),
        ))?;
    pool.get()?.run_pending_migrations(MIGRATIONS)?;

    let letters = (0..20).map(|n| {
        let data = Some(json!({ "pages": n }));
        (format!("letter-{n}"), LetterUpdates { data })
    });
    Letter::create_many(&pool, letters)?;
    Letter::run_job(&pool, "letter-0", |_letter, _updates| Ok(()))?;

    let summary = Letter::worker(&pool)
        .threads(2)
        .run_until_empty(|letter, _updates| {
            thread::sleep(Duration::from_millis(2)); // the printer
            match &*letter.id {
                "letter-13" => Err("no paper".into()),
                _ => Ok(()),
            }
        })?;
    println!("{summary}\n");
    println!("{}", prometheus.render());
    Ok(())
}
