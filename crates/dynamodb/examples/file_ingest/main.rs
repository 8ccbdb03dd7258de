//! Checksums and counts the lines and words of every file under a folder, by several
//! threads, in two steps a file, each with a worker of its own. Kill it at any time and
//! start it again: it goes on where it was.
//!
//! ```text
//! scripts/with-dynamodb cargo run -p dynamodb_status_tracker --example file_ingest -- [FOLDER]
//! ```
//!
//! It reaches the server that DYNALITE_URL names, without TLS. A program for AWS takes
//! its client from `aws_config` instead, and its table from a template; see the README.

mod files;
mod table;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;

use dynamodb_status_tracker::blocking::{BlockingCalls, RunningJob};
use dynamodb_status_tracker::{BoxError, ErrorLog, StatusTracked, Summary, Table};

use files::{Checksum, Count, FileUpdates, Status};

/// DynamoDB takes 2 KB as a partition key.
const LONGEST_PATH: usize = 2_048;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("file_ingest: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), BoxError> {
    let folder = std::env::args_os().nth(1).map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let folder = fs::canonicalize(&folder)
        .map_err(|error| format!("cannot read the folder {folder:?}: {error}"))?;
    let table = table::open()?;

    let paths = list(&folder)?;
    let found = paths.len();
    // Items that are there already stay as they are.
    let new = Checksum::create_many(
        &table,
        paths.into_iter().map(|path| (path, FileUpdates::default())),
    )?;
    println!(
        "Folder: {} ({found} files, {new} of them new)",
        folder.display()
    );

    let (checksums, counts) = drain(&table)?;
    println!("Checksums: {checksums}");
    println!("Counts: {counts}");
    report(&table)
}

/// All regular files under `folder` whose path can be a key.
fn list(folder: &Path) -> Result<Vec<String>, BoxError> {
    let (mut folders, mut paths) = (vec![folder.to_path_buf()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let kind = entry.file_type()?; // of a link itself: links are not followed
            match entry.path().to_str() {
                _ if kind.is_dir() => folders.push(entry.path()),
                Some(path) if kind.is_file() && path.len() <= LONGEST_PATH => {
                    paths.push(path.to_owned())
                }
                _ => println!("left out: {:?}", entry.path()),
            }
        }
    }
    Ok(paths)
}

/// Runs a worker for each step until the first has nothing left, and then the second.
fn drain(table: &Table) -> Result<(Summary, Summary), dynamodb_status_tracker::Error> {
    let counting = Count::worker(table).threads(2).batch(10);
    let all_have_checksums = counting.handle();
    thread::scope(|scope| {
        let counts = scope.spawn(|| counting.run_blocking(count));
        let checksums = Checksum::worker(table)
            .threads(2)
            .batch(10)
            .run_blocking_until_empty(checksum);
        all_have_checksums.shutdown();
        let counts = counts.join().expect("a worker catches panics")?;
        // What the first step has finished last.
        let last = Count::worker(table)
            .threads(2)
            .batch(10)
            .run_blocking_until_empty(count)?;
        let mut counts = counts;
        counts.succeeded += last.succeeded;
        counts.failed += last.failed;
        counts.ignored += last.ignored;
        Ok((checksums?, counts))
    })
}

/// Step 1.
fn checksum(file: &RunningJob<Checksum>, updates: &mut FileUpdates) -> Result<(), BoxError> {
    let (mut size, mut checksum) = (0, crc32fast::Hasher::new());
    read(
        &file.path,
        || file.is_lost(),
        |chunk| {
            size += chunk.len() as u64;
            checksum.update(chunk);
        },
    )?;
    updates.size = Some(size);
    updates.checksum = Some(format!("{:08x}", checksum.finalize()));
    Ok(())
}

/// Step 2: line ends, and words as `wc` counts them.
fn count(file: &RunningJob<Count>, updates: &mut FileUpdates) -> Result<(), BoxError> {
    let (mut lines, mut words, mut in_word) = (0, 0, false);
    read(
        &file.path,
        || file.is_lost(),
        |chunk| {
            for byte in chunk {
                lines += u64::from(*byte == b'\n');
                let is_word = !byte.is_ascii_whitespace();
                words += u64::from(is_word && !in_word);
                in_word = is_word;
            }
        },
    )?;
    updates.lines = Some(lines);
    updates.words = Some(words);
    Ok(())
}

/// Reads the file piece by piece. It may take as long as it likes: the worker renews
/// the lock. Once the lock is lost the file is another's.
fn read(
    path: &str,
    is_lost: impl Fn() -> bool,
    mut each: impl FnMut(&[u8]),
) -> Result<(), BoxError> {
    let mut source = fs::File::open(path)?;
    let mut chunk = vec![0; 256 * 1024];
    while !is_lost() {
        match source.read(&mut chunk)? {
            0 => return Ok(()),
            length => each(&chunk[..length]),
        }
    }
    Err("the lock is lost".into())
}

fn report(table: &Table) -> Result<(), BoxError> {
    let done = Count::query_by_status(table, Count::SUCCEEDED, usize::MAX)?;
    let sum = |of: fn(&files::File) -> Option<u64>| done.iter().filter_map(of).sum::<u64>();
    println!(
        "{} files done: {} bytes, {} lines, {} words",
        done.len(),
        sum(|file| file.size),
        sum(|file| file.lines),
        sum(|file| file.words)
    );
    if done.iter().any(|file| file.checksum.is_none()) {
        return Err("a file was counted before it had a checksum".into());
    }
    for status in [Status::ChecksumIgnored, Status::CountIgnored] {
        for file in Count::query_by_status(table, status, usize::MAX)? {
            let errors = ErrorLog::read(&file.errors);
            let why = errors.newest().map_or("", |newest| newest.error.as_str());
            println!("given up: {}: {why}", file.path);
        }
    }
    Ok(())
}
