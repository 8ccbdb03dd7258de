//! The business logic, and the threads that do it.

use std::fs;
use std::io::{ErrorKind, Read};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use diesel::r2d2::{ConnectionManager, Pool};
use diesel_status_tracker::{
    BoxError, Error, JobStore, RunningJob, StatusTracked, TrackerConnection,
};
use indicatif::ProgressBar;

use crate::files::{Checksum, Count, FileJob, FileUpdates, LOCK_EXPIRE, Status};

/// How long a thread that found nothing to do waits before it looks again.
const PAUSE: Duration = Duration::from_millis(100);

/// Takes every row of the table to its end.
pub fn drain<C>(
    pool: &Pool<ConnectionManager<C>>,
    threads: u32,
    bar: &ProgressBar,
) -> Result<(), Error>
where
    C: TrackerConnection,
    FileJob: JobStore<C>,
{
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| work(pool, &over)))
            .collect();
        // A worker ends by itself only when the database fails it.
        let watched = watch(pool, bar, || {
            workers.iter().any(|worker| worker.is_finished())
        });
        over.store(true, Ordering::Relaxed);
        for worker in workers {
            worker.join().unwrap_or_else(|panic| resume_unwind(panic))?;
        }
        watched
    })
}

/// Runs one job after the other until it is told that all is over.
fn work<C>(pool: &Pool<ConnectionManager<C>>, over: &AtomicBool) -> Result<(), Error>
where
    C: TrackerConnection,
    FileJob: JobStore<C>,
{
    while !over.load(Ordering::Relaxed) {
        // The second step first: what is begun is finished before more is begun.
        let ran = match Count::run_next(pool, count) {
            Ok(None) => Checksum::run_next(pool, checksum),
            other => other,
        };
        match ran {
            Ok(Some(())) => {}
            // None is free right now. Others may hold some that will fail.
            Ok(None) => thread::sleep(PAUSE),
            // The row says why, and when it is ready it is somebody's turn again.
            Err(Error::Failed { .. } | Error::LockLost { .. } | Error::OutcomeUnknown { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Shows how far all processes together are, and frees the files of those
/// that were killed, until nothing is left to do.
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
        Checksum::expire_locks(pool)?;
        Count::expire_locks(pool)?;
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

/// Reads the file piece by piece. In between the lock is renewed, so that a
/// file may take as long as it likes; only a killed process lets it expire.
fn read<C>(file: &RunningJob<FileJob, C>, mut each: impl FnMut(&[u8])) -> Result<(), BoxError>
where
    C: TrackerConnection,
    FileJob: JobStore<C>,
{
    let mut source = fs::File::open(&file.path)?;
    let mut chunk = vec![0; 256 * 1024];
    let mut renewed = Instant::now();
    loop {
        match source.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(length) => each(&chunk[..length]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
        if renewed.elapsed() > LOCK_EXPIRE / 3 {
            file.renew()?; // an error here means that the file is another's now: stop
            renewed = Instant::now();
        }
    }
}
