//! Three steps on one row: a photo is downloaded, resized and published. A
//! step starts only from where the step before it ended, and when one fails,
//! what was done before it stays done.
//!
//! ```text
//! cargo run --example pipeline
//! ```

use std::error::Error;

use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool};
use diesel_status_tracker::{StatusTracked, job_table, sqlite, status_codes};

mod schema {
    diesel::table! {
        photos (id) {
            id -> Integer,
            status -> Integer,
            create_at -> Timestamp,
            update_at -> Timestamp,
            lock -> Nullable<Text>,
            lock_at -> Nullable<Timestamp>,
            retry -> Integer,
            errors -> Json,
            bytes -> Nullable<Integer>,
            url -> Nullable<Text>,
        }
    }
}
use schema::photos;

const CREATE_TABLE: &str = "CREATE TABLE photos (
    id INTEGER PRIMARY KEY, status INTEGER NOT NULL, create_at TIMESTAMP NOT NULL, update_at TIMESTAMP NOT NULL,
    lock TEXT, lock_at TIMESTAMP, retry INTEGER NOT NULL, errors TEXT NOT NULL, bytes INTEGER, url TEXT)";

// Each step has its own five codes, so that a row says which step it is in.
status_codes! {
    enum Status {
        Pending = 10, Downloading = 11, DownloadFailed = 12, Downloaded = 13, DownloadIgnored = 14,
        ResizePending = 20, Resizing = 21, ResizeFailed = 22, Resized = 23, ResizeIgnored = 24,
        PublishPending = 30, Publishing = 31, PublishFailed = 32, Published = 33, PublishIgnored = 34,
    }
}

#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = photos)]
struct Photo {
    id: i32,
    status: Status,
    bytes: Option<i32>,
    url: Option<String>,
}

#[derive(Debug, Default, Insertable, AsChangeset)]
#[diesel(table_name = photos)]
struct PhotoUpdates {
    bytes: Option<i32>,
    url: Option<String>,
}

struct Download;
impl StatusTracked for Download {
    type Job = Photo;
    const PENDING: Status = Status::Pending;
    const IN_PROGRESS: Status = Status::Downloading;
    const FAILED: Status = Status::DownloadFailed;
    const SUCCEEDED: Status = Status::Downloaded;
    const IGNORED: Status = Status::DownloadIgnored;
}

struct Resize;
impl StatusTracked for Resize {
    type Job = Photo;
    const PENDING: Status = Status::ResizePending; // what a `reset` of this step writes
    const MORE_PENDING: &'static [Status] = &[Download::SUCCEEDED]; // what makes it the second
    const IN_PROGRESS: Status = Status::Resizing;
    const FAILED: Status = Status::ResizeFailed;
    const SUCCEEDED: Status = Status::Resized;
    const IGNORED: Status = Status::ResizeIgnored;
}

struct Publish;
impl StatusTracked for Publish {
    type Job = Photo;
    const PENDING: Status = Status::PublishPending;
    const MORE_PENDING: &'static [Status] = &[Resize::SUCCEEDED];
    const IN_PROGRESS: Status = Status::Publishing;
    const FAILED: Status = Status::PublishFailed;
    const SUCCEEDED: Status = Status::Published;
    const IGNORED: Status = Status::PublishIgnored;
}

job_table! {
    Photo in photos {
        key: (id: i32),
        status: Status,
        updates: PhotoUpdates,
        connections: [SqliteConnection],
        steps: [Download, Resize, Publish],
    }
}

type SqlitePool = Pool<ConnectionManager<SqliteConnection>>;

/// Takes the photo as far as it gets. A step that is done already, or whose
/// turn has not come, finds no job, so this can be called again at any time.
fn go_on(pool: &SqlitePool, free_memory: i32) -> Result<(), diesel_status_tracker::Error> {
    Download::run_next(pool, |photo, updates| {
        println!("  downloading photo {}", photo.id);
        updates.bytes = Some(4_000);
        Ok(())
    })?;
    Resize::run_next(pool, |photo, updates| {
        let bytes = photo.bytes.ok_or("no picture")?; // what the step before has left
        println!("  resizing {bytes} bytes");
        if bytes > free_memory {
            return Err(format!("{bytes} bytes needed, {free_memory} free").into());
        }
        updates.bytes = Some(bytes / 10);
        Ok(())
    })?;
    Publish::run_next(pool, |photo, updates| {
        println!("  publishing {} bytes", photo.bytes.unwrap_or(0));
        updates.url = Some(format!("https://photos.example/{}", photo.id));
        Ok(())
    })?;
    Ok(())
}

fn show(pool: &SqlitePool) -> Result<(), diesel_status_tracker::Error> {
    // `find` is the same whichever step it is called on.
    if let Some(photo) = Publish::find(pool, 1)? {
        println!(
            "  {}: bytes {:?}, url {:?}",
            photo.status, photo.bytes, photo.url
        );
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?; // removed at the end, with the database
    let file = folder.path().join("photos.db");
    let pool = Pool::builder()
        .max_size(4)
        .test_on_check_out(false) // the tracker replaces a dead connection when it meets one
        .connection_customizer(Box::new(sqlite::Customizer::default()))
        .build(ConnectionManager::new(file.to_string_lossy()))?;
    diesel::sql_query(CREATE_TABLE).execute(&mut pool.get()?)?;

    println!("A new photo:");
    Download::create_and_save(&pool, 1, PhotoUpdates::default())?;
    show(&pool)?;

    println!("Publishing it before the other steps is refused:");
    let refusal = Publish::run_job(&pool, 1, |_, _| Ok(())).unwrap_err();
    println!("  {refusal}");

    println!("The first run fails in the middle:");
    let failure = go_on(&pool, 1_000).unwrap_err();
    println!("  {failure}");
    show(&pool)?;

    println!("The second run goes on from there, without another download:");
    go_on(&pool, 8_000)?;
    show(&pool)?;
    Ok(())
}
