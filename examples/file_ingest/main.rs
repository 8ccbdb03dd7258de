//! Checksums and counts the lines and words of every file under a folder, by
//! several threads, in two steps a file, each with a worker of its own. Kill
//! it at any time and start it again: it goes on where it was.
//!
//! ```text
//! cargo run --release --example file_ingest -- [FOLDER] [--database URL] [--threads N] [--retry]
//! ```
//!
//! A database holds one list of files, and a run works on all of it: a second
//! folder in the same database makes the list longer, and a second process
//! shares the work. Without `--database` each folder has a database of its own.
//!
//! Ctrl-C lets it finish the files that are being read. A kill counts as a
//! failed attempt for these: one that is there at three kills in a row might be
//! their cause, and is given up. A file that is done is not read again, even if
//! it has changed.

mod database;
mod files;
mod listing;
mod report;
mod work;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;

#[cfg(feature = "mysql")]
use diesel::MysqlConnection;
#[cfg(feature = "postgres")]
use diesel::PgConnection;
use diesel::SqliteConnection;
use diesel::r2d2::{ConnectionManager, Pool};
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use diesel_status_tracker::{BoxError, JobStore, Order, StatusTracked, TrackerConnection, sqlite};
use indicatif::{ProgressBar, ProgressStyle};

use files::{Checksum, Count, FileJob, FileUpdates, Status};

const USAGE: &str = "\
usage: file_ingest [FOLDER] [--database URL] [--threads N] [--retry]

FOLDER          the folder with the files; this crate's own sources by default
--database URL  a SQLite file (path or sqlite://path), postgres://… or mysql://…;
                by default a SQLite file for each folder, among the temporary files
--threads N     for each of the two steps; by default as many as the machine
                has processors
--retry         try those files again that were given up";

struct Options {
    folder: PathBuf,
    database: Option<String>,
    threads: usize,
    retry: bool,
}

fn main() -> ExitCode {
    match options().and_then(|options| options.map_or(Ok(()), |options| run(&options))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("file_ingest: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What the command line says; `None` where it only asks for help.
fn options() -> Result<Option<Options>, BoxError> {
    let mut folder = None;
    let mut database = None;
    let mut threads = thread::available_parallelism().map_or(1, usize::from);
    let mut retry = false;
    let mut args = env::args_os().skip(1);
    while let Some(arg) = args.next() {
        match arg.to_str() {
            Some("--help" | "-h") => {
                println!("{USAGE}");
                return Ok(None);
            }
            Some("--database") => {
                let url = args.next().and_then(|url| url.into_string().ok());
                database = Some(url.ok_or("--database needs a path or URL, in UTF-8")?);
            }
            Some("--threads") => {
                let number = args.next().and_then(|number| number.to_str()?.parse().ok());
                threads = number
                    .filter(|number| (1..=1000).contains(number))
                    .ok_or("--threads needs a number from 1 to 1000")?;
            }
            Some("--retry") => retry = true,
            Some(option) if option.starts_with('-') => {
                return Err(format!("unknown option `{option}`, see --help").into());
            }
            _ if folder.is_none() => folder = Some(PathBuf::from(arg)),
            _ => return Err("one folder at a time, see --help".into()),
        }
    }
    let folder = folder.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let folder = fs::canonicalize(&folder)
        .and_then(|folder| fs::read_dir(&folder).map(|_| folder))
        .map_err(|error| format!("cannot read the folder {folder:?}: {error}"))?;
    Ok(Some(Options {
        folder,
        database,
        threads,
        retry,
    }))
}

const SQLITE: EmbeddedMigrations = embed_migrations!("examples/file_ingest/migrations/sqlite");
#[cfg(feature = "postgres")]
const POSTGRES: EmbeddedMigrations = embed_migrations!("examples/file_ingest/migrations/postgres");
#[cfg(feature = "mysql")]
const MYSQL: EmbeddedMigrations = embed_migrations!("examples/file_ingest/migrations/mysql");

/// Opens the database and ingests the folder. All that follows is the same
/// code for each database.
fn run(options: &Options) -> Result<(), BoxError> {
    let default = || default_database(&options.folder);
    let url = &options.database.clone().unwrap_or_else(default);
    let threads = options.threads;
    match url.split_once("://") {
        None | Some(("sqlite", _)) => {
            let path = url.strip_prefix("sqlite://").unwrap_or(url);
            if path.is_empty() || path == ":memory:" {
                return Err("SQLite has to use a file: several connections share it".into());
            }
            let builder =
                Pool::builder().connection_customizer(Box::new(sqlite::Customizer::default()));
            let pool = database::open::<SqliteConnection>(path, threads, builder, || SQLITE)?;
            println!("Database: {path} (start again to go on, delete it to begin anew)");
            ingest(options, &pool, fs::canonicalize(path).ok().as_deref())
        }
        #[cfg(feature = "postgres")]
        Some(("postgres" | "postgresql", _)) => {
            let builder = Pool::builder();
            let pool = database::open::<PgConnection>(url, threads, builder, || POSTGRES)?;
            ingest(options, &pool, None)
        }
        #[cfg(feature = "mysql")]
        Some(("mysql", _)) => {
            let builder = Pool::builder();
            let pool = database::open::<MysqlConnection>(url, threads, builder, || MYSQL)?;
            ingest(options, &pool, None)
        }
        #[cfg(not(feature = "postgres"))]
        Some(("postgres" | "postgresql", _)) => Err(feature_is_off("postgres")),
        #[cfg(not(feature = "mysql"))]
        Some(("mysql", _)) => Err(feature_is_off("mysql")),
        Some((scheme, _)) => Err(format!("`{scheme}://` is no known database, see --help").into()),
    }
}

#[cfg(not(all(feature = "postgres", feature = "mysql")))]
fn feature_is_off(feature: &str) -> BoxError {
    format!(
        "{feature}://… needs the feature `{feature}`: \
         cargo run --features {feature} --example file_ingest -- …"
    )
    .into()
}

/// Always the same file for the same folder: that is how a second start finds
/// what the first has done.
fn default_database(folder: &Path) -> String {
    let folder = crc32fast::hash(folder.as_os_str().as_encoded_bytes());
    let file = env::temp_dir().join(format!("file_ingest-{folder:08x}.db"));
    file.to_string_lossy().into_owned()
}

fn ingest<C>(
    options: &Options,
    pool: &Pool<ConnectionManager<C>>,
    database: Option<&Path>,
) -> Result<(), BoxError>
where
    C: TrackerConnection,
    FileJob: JobStore<C>,
{
    let Options {
        folder,
        threads,
        retry,
        ..
    } = options;
    let listing = listing::list(folder, database);
    let found = listing.paths.len();
    // Rows that are there already stay as they are.
    let rows = listing
        .paths
        .into_iter()
        .map(|path| (path, FileUpdates::default()));
    let new = Checksum::create_many(pool, rows)?;
    println!(
        "Folder: {} ({found} files, {new} of them new)",
        folder.display()
    );
    if *retry {
        let again = give_another_chance(pool)?;
        println!("{again} files that were given up are tried again");
    }

    let mut before = 0;
    for (status, files) in Checksum::count_by_status(pool)? {
        before += if status.is_final() { files as u64 } else { 0 };
    }
    println!("Finished before this run: {before}");

    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} files, {elapsed}  {msg}")?;
    let bar = ProgressBar::new(0).with_style(style).with_position(before);
    let drained = work::drain(pool, *threads, &bar);
    bar.finish_and_clear();
    drained.map_err(|error| format!("stopped, start again to go on: {error}"))?;

    report::print(pool, &listing.left_out)
}

/// Makes the ignored files of each step pending in that step.
fn give_another_chance<C>(pool: &Pool<ConnectionManager<C>>) -> Result<usize, BoxError>
where
    C: TrackerConnection,
    FileJob: JobStore<C>,
{
    let ignored = |status| Checksum::query_by_status(pool, status, i64::MAX, Order::default());
    let paths = ignored(Status::ChecksumIgnored)?
        .into_iter()
        .map(|file| file.path);
    let first = Checksum::reset_many(pool, paths)?;
    let paths = ignored(Status::CountIgnored)?
        .into_iter()
        .map(|file| file.path);
    Ok(first + Count::reset_many(pool, paths)?)
}
