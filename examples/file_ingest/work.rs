//! The business logic, the workers that do it, and an eye on them.

use std::fs;
use std::io::{ErrorKind, Read};
use std::panic::resume_unwind;
use std::thread;
use std::time::{Duration, Instant};

use diesel::r2d2::{ConnectionManager, Pool};
use diesel_status_tracker::{
    BoxError, Error, JobStore, RunningJob, StatusTracked, TrackerConnection, WorkerHandle,
};
use indicatif::ProgressBar;

use crate::files::{Checksum, Count, FileJob, FileUpdates, Status};

/// How long who found nothing to do waits before looking again.
const PAUSE: Duration = Duration::from_millis(100);

/// Takes every row of the table to its end, or as far as Ctrl-C lets it.
pub fn drain<C>(
    pool: &Pool<ConnectionManager<C>>,
    threads: usize,
    bar: &ProgressBar,
) -> Result<(), BoxError>
where
    C: TrackerConnection,
    FileJob: JobStore<C>,
{
    // A worker for each step. The first makes the second's jobs, so neither
    // can tell by itself when all is done: both run until they are shut down.
    let checksums = Checksum::worker(pool).threads(threads).poll_every(PAUSE);
    let counts = Count::worker(pool).threads(threads).poll_every(PAUSE);
    let handles = [checksums.handle(), counts.handle()];
    let shut_down = move || handles.iter().for_each(WorkerHandle::shutdown);
    ctrlc::set_handler(shut_down.clone())?;

    thread::scope(|scope| {
        let workers = [
            scope.spawn(|| checksums.run(checksum)),
            scope.spawn(|| counts.run(count)),
        ];
        // A worker ends by itself only when it cannot even begin.
        let watched = watch(pool, bar, || {
            workers.iter().any(|worker| worker.is_finished())
        });
        shut_down();
        for worker in workers {
            worker.join().unwrap_or_else(|panic| resume_unwind(panic))?;
        }
        Ok(watched?)
    })
}

/// Shows how far all processes together are, until nothing is left to do or
/// the workers have stopped.
fn watch<C>(
    pool: &Pool<ConnectionManager<C>>,
    bar: &ProgressBar,
    stopped: impl Fn() -> bool,
) -> Result<(), Error>
where
    C: TrackerConnection,
    FileJob: JobStore<C>,
{
    while !stopped() {
        let looked_at = Instant::now();
        let counts = Checksum::count_by_status(pool)?;

        let total: i64 = counts.iter().map(|(_, files)| files).sum();
        let (last, under_way): (Vec<_>, Vec<_>) = counts
            .into_iter()
            .partition(|(status, _)| status.is_final());
        let finished: i64 = last.iter().map(|(_, files)| files).sum();
        bar.set_length(total as u64);
        bar.set_position(finished as u64);
        bar.set_message(
            under_way
                .iter()
                .filter(|(status, _)| *status != Status::Pending)
                .map(|(status, files)| format!("{files} {status}"))
                .collect::<Vec<_>>()
                .join(", "),
        );
        if finished == total {
            break;
        }
        // Counting reads the whole table, which may be large.
        thread::sleep(PAUSE.max(looked_at.elapsed() * 10));
    }
    Ok(())
}

/// Step 1.
fn checksum<C>(file: &RunningJob<FileJob, C>, updates: &mut FileUpdates) -> Result<(), BoxError>
where
    C: TrackerConnection,
    FileJob: JobStore<C>,
{
    let begun = Instant::now();
    let (mut size, mut checksum) = (0, crc32fast::Hasher::new());
    read(file, |chunk| {
        size += chunk.len() as i64;
        checksum.update(chunk);
    })?;
    updates.size = Some(size);
    updates.checksum = Some(format!("{:08x}", checksum.finalize()));
    updates.seconds = Some(begun.elapsed().as_secs_f64());
    Ok(())
}

/// Step 2: line ends, and words as `wc` counts them.
fn count<C>(file: &RunningJob<FileJob, C>, updates: &mut FileUpdates) -> Result<(), BoxError>
where
    C: TrackerConnection,
    FileJob: JobStore<C>,
{
    let begun = Instant::now();
    let (mut lines, mut words, mut in_word) = (0, 0, false);
    read(file, |chunk| {
        for byte in chunk {
            lines += i64::from(*byte == b'\n');
            let is_word = !byte.is_ascii_whitespace();
            words += i64::from(is_word && !in_word);
            in_word = is_word;
        }
    })?;
    updates.lines = Some(lines);
    updates.words = Some(words);
    // What the first step has set is in the row.
    updates.seconds = Some(file.seconds() + begun.elapsed().as_secs_f64());
    Ok(())
}

/// Reads the file piece by piece. It may take as long as it likes: the worker
/// renews the lock, and only a killed process lets it expire.
fn read<C>(file: &RunningJob<FileJob, C>, mut each: impl FnMut(&[u8])) -> Result<(), BoxError>
where
    C: TrackerConnection,
    FileJob: JobStore<C>,
{
    let mut source = fs::File::open(&file.path)?;
    let mut chunk = vec![0; 256 * 1024];
    // Once the lock is lost, as after a long sleep of the machine, the file is
    // another's, and nothing of this attempt counts.
    while !file.is_lost() {
        match source.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(length) => each(&chunk[..length]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err("the lock is lost".into())
}
