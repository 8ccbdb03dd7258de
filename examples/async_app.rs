//! A web application: the calls from async code, and a worker beside the
//! server, which end together.
//!
//! ```text
//! cargo run --example async_app                            # a short demonstration
//! cargo run --example async_app -- --serve 127.0.0.1:8080  # until Ctrl-C
//! ```
//!
//! | request | does |
//! |---|---|
//! | `POST /jobs` with `{"id": "…"}` | enqueues a job; enqueueing it twice is harmless |
//! | `GET /jobs/{id}` | shows a job |
//! | `GET /jobs` | counts by status |
//! | `POST /jobs/{id}/reset` | a finished job is to run again |
//!
//! The calls of this crate block while the database answers, so each runs in
//! `spawn_blocking`. The worker has threads of its own.

use std::env;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use axum::extract::{self, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use diesel_status_tracker::{BoxError, Error, StatusTracked, job_table, sqlite, status_codes};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::{JoinError, spawn_blocking};

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

#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = jobs)]
struct Job {
    id: String,
    status: Status,
    retry: i32,
    data: Option<Value>,
    errors: Value,
}

#[derive(Debug, Default, Insertable, AsChangeset)]
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

type SqlitePool = Pool<ConnectionManager<SqliteConnection>>;

/// Runs one call where it may block. A pool is cheap to clone.
async fn blocking<T: Send + 'static>(
    pool: &SqlitePool,
    call: impl FnOnce(&SqlitePool) -> Result<T, Error> + Send + 'static,
) -> Result<T, Failure> {
    let pool = pool.clone();
    match spawn_blocking(move || call(&pool)).await {
        Ok(result) => result.map_err(Failure::Tracker),
        Err(panic) => Err(Failure::Panic(panic)),
    }
}

/// What goes wrong, as HTTP has it.
enum Failure {
    Tracker(Error),
    Panic(JoinError),
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, error) = match &self {
            Self::Tracker(error) => (status_of(error), error.to_string()),
            Self::Panic(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        };
        (status, Json(json!({ "error": error }))).into_response()
    }
}

fn status_of(error: &Error) -> StatusCode {
    match error {
        Error::NotFound { .. } => StatusCode::NOT_FOUND,
        // The job is in another state than the caller thinks.
        Error::AlreadyExists { .. }
        | Error::AlreadySucceeded { .. }
        | Error::Ignored { .. }
        | Error::Locked { .. }
        | Error::LockLost { .. }
        | Error::NotReady { .. } => StatusCode::CONFLICT,
        // Later it may go well.
        Error::Pool { .. } | Error::Released { .. } => StatusCode::SERVICE_UNAVAILABLE,
        // What an application should not show to everybody, but log.
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn app(pool: SqlitePool) -> Router {
    Router::new()
        .route("/jobs", get(count).post(enqueue))
        .route("/jobs/{id}", get(show))
        .route("/jobs/{id}/reset", post(reset))
        .with_state(pool)
}

#[derive(Deserialize)]
struct NewJob {
    id: String,
}

async fn enqueue(
    State(pool): State<SqlitePool>,
    Json(NewJob { id }): Json<NewJob>,
) -> Result<(StatusCode, Json<Value>), Failure> {
    // With `create_and_save`, the second time would be `AlreadyExists`, a 409.
    let new = blocking(&pool, |pool| {
        Job::create_if_absent(pool, id, JobUpdates::default())
    });
    Ok(match new.await? {
        Some(job) => (StatusCode::CREATED, Json(as_json(job))),
        None => (StatusCode::OK, Json(json!({ "exists": true }))),
    })
}

async fn show(
    State(pool): State<SqlitePool>,
    extract::Path(id): extract::Path<String>,
) -> Result<Json<Value>, Failure> {
    let job = blocking(&pool, move |pool| {
        Job::find(pool, &*id)?.ok_or(Error::NotFound {
            job: format!("jobs {id:?}"),
        })
    });
    Ok(Json(as_json(job.await?)))
}

async fn count(State(pool): State<SqlitePool>) -> Result<Json<Value>, Failure> {
    let counts = blocking(&pool, |pool| Job::count_by_status(pool)).await?;
    let counts = counts
        .into_iter()
        .map(|(status, jobs)| (status.to_string(), jobs.into()));
    Ok(Json(Value::Object(counts.collect::<Map<_, _>>())))
}

async fn reset(
    State(pool): State<SqlitePool>,
    extract::Path(id): extract::Path<String>,
) -> Result<StatusCode, Failure> {
    blocking(&pool, |pool| Job::reset(pool, id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn as_json(job: Job) -> Value {
    json!({
        "id": job.id,
        "status": job.status.to_string(),
        "retry": job.retry,
        "data": job.data,
        "error": job.errors["error"],
    })
}

/// The work: here, to measure the job's name.
fn work(job: &Job, updates: &mut JobUpdates) -> Result<(), BoxError> {
    thread::sleep(Duration::from_millis(300)); // so that one can see it run
    if job.id.contains("bad") {
        return Err("this cannot be measured".into());
    }
    updates.data = Some(json!({ "length": job.id.len() }));
    Ok(())
}

/// Serves and works until it is told to stop, then ends both.
async fn serve(listener: TcpListener, pool: SqlitePool, stop: Arc<Notify>) -> Result<(), BoxError> {
    println!("Serving on http://{}", listener.local_addr()?);
    let worker = Job::worker(&pool)
        .threads(2)
        .poll_every(Duration::from_millis(100));
    let handle = worker.handle();
    let worker = thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            let summary = worker.run(|job, updates| work(job, updates));
            stop.notify_one(); // where it could not begin, there is no use in serving
            summary
        }
    });

    let server = axum::serve(listener, app(pool))
        .with_graceful_shutdown(async move { stop.notified().await });
    let served = server.await;

    // The requests are answered. Now the jobs that run are finished; those
    // that take longer than this are left to the expiry of their locks.
    println!("The server has ended, the worker finishes what runs");
    if spawn_blocking(move || handle.shutdown_and_wait(Duration::from_secs(10))).await? {
        let summary = worker.join().map_err(|_| "the worker panicked")??;
        println!("The worker has ended: {summary}");
    } else {
        println!("The worker is still busy, and left behind");
    }
    Ok(served?)
}

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

fn open(database: &Path) -> Result<SqlitePool, BoxError> {
    let pool = Pool::builder()
        .max_size(8) // the requests share it with the worker
        .connection_timeout(Duration::from_secs(5)) // then a request gets its 503
        .test_on_check_out(false) // the tracker replaces a dead connection when it meets one
        .connection_customizer(Box::new(sqlite::Customizer::default()))
        .build(ConnectionManager::new(database.to_string_lossy()))?;
    pool.get()?.run_pending_migrations(MIGRATIONS)?;
    Ok(pool)
}

const USAGE: &str = "\
usage: async_app [--serve ADDRESS]

Without an address it serves on a free port, is its own client for a short
demonstration, and ends. With one, as 127.0.0.1:8080, it serves until Ctrl-C,
on async_app-example.db among the temporary files.";

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let stop = Arc::new(Notify::new());
    match args[..] {
        [] => {
            let folder = tempfile::tempdir()?; // removed at the end, with the database
            let pool = open(&folder.path().join("jobs.db"))?;
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let address = listener.local_addr()?;
            let client = spawn_blocking({
                let stop = Arc::clone(&stop);
                move || {
                    let done = demonstrate(address);
                    stop.notify_one();
                    done
                }
            });
            serve(listener, pool, stop).await?;
            client.await?
        }
        ["--serve", address] => {
            let listener = TcpListener::bind(address).await?;
            let handler = Arc::clone(&stop);
            ctrlc::set_handler(move || handler.notify_one())?; // and SIGTERM
            let pool = open(&env::temp_dir().join("async_app-example.db"))?;
            serve(listener, pool, stop).await
        }
        _ => {
            println!("{USAGE}");
            Ok(())
        }
    }
}

/// A client: it prints what it asks, and the answers.
fn demonstrate(server: SocketAddr) -> Result<(), BoxError> {
    let ask = |request: &str, body: &str| ask(server, request, body);
    let shows = |path: &str, what: &str| -> Result<(), BoxError> {
        for _ in 0..500 {
            if send(server, &format!("GET {path}"), "")?.1.contains(what) {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        ask(&format!("GET {path}"), "")
    };

    println!("\n# A job is enqueued once, however often it is posted");
    ask("POST /jobs", r#"{"id": "letter"}"#)?;
    ask("POST /jobs", r#"{"id": "letter"}"#)?;
    println!("\n# The worker takes it: a reset is refused meanwhile");
    shows("/jobs/letter", "InProgress")?;
    ask("POST /jobs/letter/reset", "")?;
    shows("/jobs/letter", "Succeeded")?;
    println!("\n# One that fails is tried again, and given up");
    ask("POST /jobs", r#"{"id": "bad letter"}"#)?;
    shows("/jobs/bad%20letter", "Ignored")?;
    println!("\n# There is none of this name");
    ask("GET /jobs/parcel", "")?;
    ask("POST /jobs/parcel/reset", "")?;
    println!("\n# What is running at the end is finished");
    ask("POST /jobs", r#"{"id": "last letter"}"#)?;
    shows("/jobs/last%20letter", "InProgress")?;
    ask("GET /jobs", "")?;
    println!();
    Ok(())
}

fn ask(server: SocketAddr, request: &str, body: &str) -> Result<(), BoxError> {
    let (status, answer) = send(server, request, body)?;
    println!("> {request} {body}\n  {status} {answer}");
    Ok(())
}

/// As much of an HTTP client as this needs: status and body of the answer.
fn send(server: SocketAddr, request: &str, body: &str) -> Result<(String, String), BoxError> {
    let mut stream = TcpStream::connect(server)?;
    write!(
        stream,
        "{request} HTTP/1.1\r\nhost: {server}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no HTTP answer")?;
    let status = head.lines().next().unwrap_or_default();
    let status = status.strip_prefix("HTTP/1.1 ").unwrap_or(status);
    Ok((status.into(), body.into()))
}
