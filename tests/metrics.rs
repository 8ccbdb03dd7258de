//! What the feature `metrics` records.
#![cfg(all(feature = "metrics", feature = "sqlite"))]

use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use diesel_status_tracker::{MetricsObserver, StatusTracked, job_table};
use metrics_exporter_prometheus::PrometheusBuilder;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

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

#[derive(Queryable, Selectable)]
#[diesel(table_name = jobs)]
struct Job {
    status: i32,
}

#[derive(Default, Insertable, AsChangeset)]
#[diesel(table_name = jobs)]
struct JobUpdates {
    data: Option<serde_json::Value>,
}

impl StatusTracked for Job {
    type Job = Job;
    const PENDING: i32 = 10;
    const IN_PROGRESS: i32 = 20;
    const FAILED: i32 = 30;
    const SUCCEEDED: i32 = 40;
    const IGNORED: i32 = 50;
    const MAX_RETRY: i32 = 2;
}

job_table! {
    Job in jobs { key: (id: String), status: i32, updates: JobUpdates, connections: [SqliteConnection] }
}

#[test]
fn transitions_are_counted_runs_timed_and_no_key_is_a_label() {
    let manager = ConnectionManager::<SqliteConnection>::new(":memory:");
    let pool = Pool::builder().max_size(1).build(manager).unwrap();
    pool.get()
        .unwrap()
        .run_pending_migrations(MIGRATIONS)
        .unwrap();
    // The recorder of this thread alone.
    let recorder = PrometheusBuilder::new().build_recorder();
    let text = metrics::with_local_recorder(&recorder, || {
        let _observing = Job::observe(MetricsObserver::new());
        let rows = (0..3).map(|n| (format!("secret-{n}"), JobUpdates::default()));
        Job::create_many(&pool, rows).unwrap();
        Job::run_job(&pool, "secret-0", |_, _| Ok(())).unwrap();
        let fail = || Job::run_job(&pool, "secret-1", |_, _| Err::<(), _>("hidden".into()));
        fail().unwrap_err();
        fail().unwrap_err();
        let _running = Job::start(&pool, "secret-2").unwrap();
        recorder.handle().render()
    });

    let of = |metric: &str| -> Vec<&str> {
        let is_it = |line: &&str| line.starts_with(metric);
        text.lines().filter(is_it).collect()
    };
    let mut counts = of("status_tracker_transitions_total");
    counts.sort_unstable();
    let count = |transition: &str, n: u32| {
        format!(
            r#"status_tracker_transitions_total{{table="jobs",step="Job",transition="{transition}"}} {n}"#
        )
    };
    let expected = [
        count("created", 3),
        count("failed", 1),
        count("ignored", 1),
        count("started", 4),
        count("succeeded", 1),
    ];
    assert_eq!(counts, expected);
    let running = of("status_tracker_running");
    assert_eq!(
        running,
        [r#"status_tracker_running{table="jobs",step="Job"} 1"#]
    );
    for transition in ["failed", "ignored", "succeeded"] {
        let count = format!(
            r#"status_tracker_run_duration_seconds_count{{table="jobs",step="Job",transition="{transition}"}} 1"#
        );
        assert!(text.contains(&count), "{text}");
    }
    for described in [
        "# TYPE status_tracker_transitions_total counter",
        "# HELP status_tracker_run_duration_seconds How long",
        "# TYPE status_tracker_running gauge",
    ] {
        assert!(text.contains(described), "{described}: {text}");
    }
    assert!(
        !text.contains("secret") && !text.contains("hidden"),
        "{text}"
    );
}
