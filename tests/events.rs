//! What operators see: a span per attempt, and an event for each transition
//! and refusal, through `tracing`.
#![cfg(feature = "sqlite")]

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use diesel_status_tracker::clock::ago;
use diesel_status_tracker::{BoxError, Failure, Retry, StatusTracked, job_table};

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

    fn redact(failure: &mut Failure) {
        failure.error = failure.error.replace("sk_4f9a", "***");
    }
}

job_table! {
    Job in jobs { key: (id: String), status: i32, updates: JobUpdates, connections: [SqliteConnection] }
}

type DbPool = Pool<ConnectionManager<SqliteConnection>>;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The lines that `work` logs with a job named `job-1` at hand.
fn logged(work: impl FnOnce(&DbPool)) -> Vec<String> {
    let pool: DbPool = Pool::builder()
        .max_size(1)
        .build(ConnectionManager::new(":memory:"))
        .unwrap();
    pool.get()
        .unwrap()
        .run_pending_migrations(MIGRATIONS)
        .unwrap();
    Job::create_and_save(&pool, "job-1", JobUpdates::default()).unwrap();
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG)
        .with_ansi(false)
        .without_time()
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || work(&pool));
    let bytes = log.0.lock().unwrap().clone();
    String::from_utf8(bytes)
        .unwrap()
        .lines()
        .map(|line| line.trim().to_owned())
        .collect()
}

fn fail(pool: &DbPool) {
    Job::run_job(pool, "job-1", |_, _| Err::<(), _>("no paper".into())).unwrap_err();
}

#[test]
fn an_attempt_that_succeeds_logs_its_start_and_its_end() {
    let lines = logged(|pool| Job::run_job(pool, "job-1", |_, _| Ok(())).unwrap());
    let span = r#"attempt{table="jobs" key="job-1" step="Job" attempt=1}: diesel_status_tracker::attempt::running"#;
    assert_eq!(
        lines,
        [
            format!("INFO {span}: started"),
            format!("INFO {span}: succeeded")
        ]
    );
}

#[test]
fn what_the_business_logic_logs_stands_in_the_span_of_its_attempt() {
    let lines = logged(|pool| {
        Job::run_job(pool, "job-1", |_, _| {
            tracing::info!("printing");
            Ok(())
        })
        .unwrap();
    });
    assert!(
        lines[1].starts_with(r#"INFO attempt{table="jobs" key="job-1" step="Job" attempt=1}"#),
        "{lines:?}"
    );
    assert!(lines[1].ends_with("printing"), "{lines:?}");
}

#[test]
fn a_failure_is_a_warning_and_the_last_one_an_error() {
    let lines = logged(|pool| {
        fail(pool);
        fail(pool);
    });
    assert!(lines[1].starts_with("WARN"), "{lines:?}");
    assert!(
        lines[1].ends_with(r#"failed error="no paper" retry=1"#),
        "{lines:?}"
    );
    assert!(lines[3].starts_with("ERROR"), "{lines:?}");
    assert!(lines[3].contains("attempt=2"), "{lines:?}");
    assert!(
        lines[3].ends_with(r#"ignored error="no paper" retry=2"#),
        "{lines:?}"
    );
}

#[test]
fn a_refusal_is_for_those_who_debug_and_names_the_job() {
    let lines = logged(|pool| {
        let _held = Job::start(pool, "job-1").unwrap();
        Job::start(pool, "job-1").unwrap_err();
    });
    assert!(lines[1].starts_with("DEBUG"), "{lines:?}");
    assert!(
        lines[1].contains(r#"refused job=jobs "job-1""#),
        "{lines:?}"
    );
    assert!(lines[1].contains("is locked since"), "{lines:?}");
}

#[test]
fn an_expired_lock_and_its_late_worker_are_warnings() {
    let lines = logged(|pool| {
        let late = Job::start(pool, "job-1").unwrap();
        diesel::update(jobs::table)
            .set(jobs::lock_at.eq(ago(Duration::from_secs(24 * 60 * 60))))
            .execute(&mut pool.get().unwrap())
            .unwrap();
        Job::expire_locks(pool).unwrap();
        late.succeed().unwrap_err();
    });
    assert!(lines[1].starts_with("WARN"), "{lines:?}");
    assert!(
        lines[1].ends_with(r#"lock expired, failed job=jobs "job-1" retry=1"#),
        "{lines:?}"
    );
    assert!(lines[2].starts_with("WARN"), "{lines:?}");
    assert!(lines[2].ends_with("lock lost"), "{lines:?}");
}

#[test]
fn a_released_job_is_for_information() {
    let lines = logged(|pool| {
        Job::run_job(pool, "job-1", |_, _| Err::<(), _>(Retry::release().into())).unwrap_err();
    });
    assert!(lines[1].starts_with("INFO attempt{"), "{lines:?}");
    assert!(lines[1].ends_with("running: released"), "{lines:?}");
    assert_eq!(lines.len(), 2, "{lines:?}");
}

#[test]
fn a_delay_for_which_the_table_has_no_column_is_a_warning() {
    let lines = logged(|pool| {
        let later = Retry::after(Duration::from_secs(60));
        Job::run_job(pool, "job-1", |_, _| Err::<(), _>(later.into())).unwrap_err();
    });
    assert!(lines[1].starts_with("WARN attempt{"), "{lines:?}");
    assert!(lines[1].contains("needs a `run_at` column"), "{lines:?}");
    assert!(lines[2].starts_with("WARN attempt{"), "{lines:?}");
    assert!(lines[2].contains("failed"), "{lines:?}");
}

#[test]
fn what_a_step_redacts_no_line_says() {
    let lines = logged(|pool| {
        let refused = || Err::<(), BoxError>("the key sk_4f9a is not valid".into());
        Job::run_job(pool, "job-1", |_, _| refused()).unwrap_err();
        // This failure cannot be recorded, which is told all the same.
        Job::run_job(pool, "job-1", |_, _| {
            diesel::update(jobs::table)
                .set(jobs::lock.eq("another's"))
                .execute(&mut pool.get().unwrap())
                .unwrap();
            refused()
        })
        .unwrap_err();
    });
    let told: Vec<_> = lines
        .iter()
        .filter(|line| line.contains("the key"))
        .collect();
    assert_eq!(told.len(), 2, "{lines:?}");
    assert!(
        told.iter()
            .all(|line| line.contains("the key *** is not valid")),
        "{lines:?}"
    );
}

#[test]
fn an_error_that_panics_is_logged_without_its_secrets() {
    #[derive(Debug)]
    struct Mute;
    impl std::fmt::Display for Mute {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            panic!("the key sk_4f9a is not valid")
        }
    }
    impl std::error::Error for Mute {}

    let lines = logged(|pool| Job::start(pool, "job-1").unwrap().fail(Mute).unwrap());

    let span = r#"attempt{table="jobs" key="job-1" step="Job" attempt=1}: diesel_status_tracker::"#;
    assert_eq!(
        lines[1..],
        [
            format!("ERROR {span}panics: the `Display` of an error panicked"),
            format!(
                r#"WARN {span}attempt::running: failed error="(its `Display` panicked: the key *** is not valid)" retry=1"#
            ),
        ]
    );
}
