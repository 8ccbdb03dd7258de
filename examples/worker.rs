//! A worker that drains a table of thumbnails to make, with threads, a
//! progress bar and a graceful end.
//!
//! ```text
//! cargo run --release --example worker -- [--jobs N] [--threads N] [--batch N] [--database PATH]
//! ```
//!
//! Things to try, with `--jobs 20000` for the time to do it:
//!
//! - Ctrl-C, or `kill`: the thumbnails that are being made are finished, those
//!   that were only claimed are given back, and the summary is printed. Start
//!   it again, and it goes on.
//! - The same command in a second terminal: both share the work. The second
//!   finds the table filled, and adds nothing.
//! - `kill -9`: what it had in hand is locked until `LOCK_EXPIRE` is over; then
//!   whoever works next, or is still at it, makes these thumbnails too.

use std::env;
use std::path::PathBuf;
use std::process::{self, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::dsl::count_star;
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool};
use diesel_status_tracker::{
    BoxError, Event, Order, StatusTracked, Transition, job_table, sqlite, status_codes,
};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

mod schema {
    diesel::table! {
        thumbnails (photo) {
            photo -> Text,
            status -> Integer,
            create_at -> Timestamp,
            update_at -> Timestamp,
            lock -> Nullable<Text>,
            lock_at -> Nullable<Timestamp>,
            retry -> Integer,
            errors -> Json,
            checksum -> Nullable<Text>,
            made_by -> Nullable<Text>,
        }
    }
}
use schema::thumbnails;

const CREATE_TABLE: &str = "
    CREATE TABLE IF NOT EXISTS thumbnails (
        photo TEXT NOT NULL PRIMARY KEY, status INTEGER NOT NULL,
        create_at TIMESTAMP NOT NULL, update_at TIMESTAMP NOT NULL, lock TEXT, lock_at TIMESTAMP,
        retry INTEGER NOT NULL, errors TEXT NOT NULL, checksum TEXT, made_by TEXT);
    CREATE INDEX IF NOT EXISTS thumbnails_ready ON thumbnails (update_at)
        WHERE lock IS NULL AND status IN (10, 30);
    CREATE INDEX IF NOT EXISTS thumbnails_locked ON thumbnails (lock_at) WHERE lock IS NOT NULL;";

status_codes! {
    enum Status { Pending = 10, InProgress = 20, Failed = 30, Succeeded = 40, Ignored = 50 }
}

#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = thumbnails)]
struct Thumbnail {
    photo: String,
    status: Status,
    retry: i32,
    errors: Value,
}

#[derive(Debug, Default, Insertable, AsChangeset)]
#[diesel(table_name = thumbnails)]
struct ThumbnailUpdates {
    checksum: Option<String>,
    made_by: Option<String>,
}

impl StatusTracked for Thumbnail {
    type Job = Thumbnail;
    const PENDING: Status = Status::Pending;
    const IN_PROGRESS: Status = Status::InProgress;
    const FAILED: Status = Status::Failed;
    const SUCCEEDED: Status = Status::Succeeded;
    const IGNORED: Status = Status::Ignored;
    // Short, so that the work of a killed process is soon free. No thumbnail
    // has to be made within it: the worker renews the locks in time.
    const LOCK_EXPIRE: Duration = Duration::from_secs(10);
}

job_table! {
    Thumbnail in thumbnails {
        key: (photo: String),
        status: Status,
        updates: ThumbnailUpdates,
        connections: [SqliteConnection],
        steps: [Thumbnail],
    }
}

type SqlitePool = Pool<ConnectionManager<SqliteConnection>>;

const USAGE: &str = "\
usage: worker [--jobs N] [--threads N] [--batch N] [--database PATH]

--jobs N         thumbnails that are to be in the table; 2000 by default
--threads N      thumbnails made at a time; by default as many as processors
--batch N        thumbnails claimed at a time; 50 by default
--database PATH  a SQLite file, which is made if need be; by default
                 worker-example.db among the temporary files

Start it twice, and both share the work. Ctrl-C ends it, a second Ctrl-C at once.";

struct Options {
    jobs: usize,
    threads: usize,
    batch: usize,
    database: PathBuf,
}

fn main() -> ExitCode {
    match options().and_then(|options| options.map_or(Ok(()), |options| run(&options))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("worker: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What the command line says; `None` where it only asks for help.
fn options() -> Result<Option<Options>, BoxError> {
    let mut options = Options {
        jobs: 2_000,
        threads: thread::available_parallelism().map_or(1, usize::from),
        batch: 50,
        database: env::temp_dir().join("worker-example.db"),
    };
    let mut args = env::args().skip(1);
    while let Some(option) = args.next() {
        if matches!(&*option, "--help" | "-h") {
            println!("{USAGE}");
            return Ok(None);
        }
        let value = args.next();
        let number = |range: std::ops::RangeInclusive<usize>| {
            let number = value.as_ref().and_then(|value| value.parse().ok());
            number
                .filter(|number| range.contains(number))
                .ok_or_else(|| format!("{option} needs a number in {range:?}"))
        };
        match &*option {
            "--jobs" => options.jobs = number(0..=10_000_000)?,
            "--threads" => options.threads = number(1..=1_000)?,
            "--batch" => options.batch = number(1..=10_000)?,
            "--database" => options.database = value.ok_or("--database needs a path")?.into(),
            _ => return Err(format!("unknown option `{option}`, see --help").into()),
        }
    }
    Ok(Some(options))
}

fn run(options: &Options) -> Result<(), BoxError> {
    let pool = Pool::builder()
        .max_size(4) // none is held while a thumbnail is made
        .test_on_check_out(false) // the tracker replaces a dead connection when it meets one
        .connection_customizer(Box::new(sqlite::Customizer::default()))
        .build(ConnectionManager::new(options.database.to_string_lossy()))?;
    pool.get()?.batch_execute(CREATE_TABLE)?;
    println!(
        "Database: {} (delete it to begin anew)",
        options.database.display()
    );

    // Rows that are there already stay as they are, whatever has become of them.
    let photos = (1..=options.jobs).map(|n| (format!("photo-{n:05}"), Default::default()));
    let new = Thumbnail::create_many(&pool, photos)?;
    let open = open(&Thumbnail::count_by_status(&pool)?);
    println!("{new} new thumbnails, {open} to make in all");

    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} by this process, {elapsed}")?;
    let bar = ProgressBar::new(open as u64).with_style(style);
    let me = format!("process {}", process::id());

    let worker = Thumbnail::worker(&pool)
        .threads(options.threads)
        .batch(options.batch)
        .observer({
            let bar = bar.clone();
            move |event: &Event<'_>| {
                let last = matches!(
                    event.transition,
                    Transition::Succeeded | Transition::Ignored { .. }
                );
                bar.inc(last.into());
            }
        });

    let handle = worker.handle();
    ctrlc::set_handler(move || {
        if handle.is_shut_down() {
            process::exit(130); // asked twice: as a kill, and just as safe
        }
        eprintln!("\nFinishing what is running …");
        handle.shutdown();
    })?;

    let begun = Instant::now();
    // Returns when nothing is ready any more, or after a shutdown.
    let summary = worker.run_until_empty(|job, updates| {
        updates.checksum = Some(make(job)?);
        updates.made_by = Some(me.clone());
        Ok(())
    })?;
    bar.finish_and_clear();
    println!(
        "\nThis process, in {:.1} s: {summary}",
        begun.elapsed().as_secs_f64()
    );
    report(&pool)
}

/// The work: a deterministic picture, made sixteen times smaller. Every tenth
/// photo cannot be had at first, and one in 400 is no photo at all.
fn make(job: &Thumbnail) -> Result<String, BoxError> {
    const SIDE: usize = 256;
    const CELL: usize = 16;
    let seed = crc32fast::hash(job.photo.as_bytes());
    if seed.is_multiple_of(400) {
        return Err("the file is no photo".into());
    }
    if seed % 10 == 1 && job.retry == 0 {
        return Err("the photo server is busy".into());
    }
    let pixel = |x: usize, y: usize| (seed as usize ^ (x * x + y * y)) % 256;
    let mut thumbnail = Vec::new();
    for top in (0..SIDE).step_by(CELL) {
        for left in (0..SIDE).step_by(CELL) {
            let cell = (0..CELL * CELL).map(|n| pixel(left + n % CELL, top + n / CELL));
            thumbnail.push((cell.sum::<usize>() / (CELL * CELL)) as u8);
        }
    }
    Ok(format!("{:08x}", crc32fast::hash(&thumbnail)))
}

/// Thumbnails that are neither made nor given up.
fn open(counts: &[(Status, i64)]) -> i64 {
    let open = counts
        .iter()
        .filter(|(status, _)| !matches!(status, Status::Succeeded | Status::Ignored));
    open.map(|(_, jobs)| jobs).sum()
}

fn report(pool: &SqlitePool) -> Result<(), BoxError> {
    let counts = Thumbnail::count_by_status(pool)?;
    println!("\n{:<24} {:>8}", "status", "jobs");
    for (status, jobs) in &counts {
        println!("{:<24} {jobs:>8}", status.to_string());
    }

    // Beyond the tracker's calls the table is plain Diesel.
    println!("\n{:<24} {:>8}", "made by", "jobs");
    let made_by: Vec<(String, i64)> = thumbnails::table
        .filter(thumbnails::made_by.is_not_null())
        .group_by(thumbnails::made_by)
        .select((thumbnails::made_by.assume_not_null(), count_star()))
        .order_by(count_star().desc())
        .load(&mut pool.get()?)?;
    for (process, jobs) in made_by {
        println!("{process:<24} {jobs:>8}");
    }

    let given_up = Thumbnail::query_by_status(pool, Status::Ignored, 3, Order::default())?;
    if !given_up.is_empty() {
        println!("\nGiven up, for instance:");
    }
    for job in given_up {
        let reason = job.errors["error"].as_str().unwrap_or("-");
        println!("{}: {reason}, {} times", job.photo, job.retry);
    }

    match open(&counts) {
        0 => println!("\nAll is done."),
        open => println!(
            "\n{open} are still to be made: start it again to go on. Another process may be at \
             some; those of a killed one are free after {:?}.",
            Thumbnail::LOCK_EXPIRE
        ),
    }
    Ok(())
}
