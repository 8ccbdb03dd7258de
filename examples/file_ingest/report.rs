//! What is printed at the end.

use diesel::r2d2::{ConnectionManager, Pool};
use diesel_status_tracker::{BoxError, JobStore, Order, StatusTracked, TrackerConnection};

use crate::files::{Checksum, FileJob, Status};

/// No list is longer than this.
const LINES: usize = 5;

pub fn print<C>(pool: &Pool<ConnectionManager<C>>, left_out: &[String]) -> Result<(), BoxError>
where
    C: TrackerConnection,
    FileJob: JobStore<C>,
{
    println!("\n{:<16} {:>8}", "status", "files");
    let mut unfinished = 0;
    for (status, files) in Checksum::count_by_status(pool)? {
        println!("{status:<16} {files:>8}");
        unfinished += if status.is_final() { 0 } else { files };
    }
    if unfinished > 0 {
        println!("\n{unfinished} files are not finished: start again to go on");
    }

    // An application would leave the sums and the order to the database; here
    // they are made by code that serves all three.
    let all = |status| Checksum::query_by_status(pool, status, i64::MAX, Order::default());
    let mut done = all(Status::Done)?;
    let sum = |value: fn(&FileJob) -> Option<i64>| done.iter().filter_map(value).sum::<i64>();
    println!(
        "\nDone: {} lines, {} words, {:.1} MiB",
        sum(|file| file.lines),
        sum(|file| file.words),
        sum(|file| file.size) as f64 / (1024.0 * 1024.0),
    );

    done.sort_by(|a, b| b.seconds().total_cmp(&a.seconds()));
    done.truncate(LINES);
    list(
        "The slowest",
        done.iter().map(|file| {
            format!(
                "{:.3} s  {:>9} bytes  crc {}  {:?}",
                file.seconds(),
                file.size.unwrap_or(0),
                file.checksum.as_deref().unwrap_or("-"),
                file.path,
            )
        }),
    );

    let mut given_up = all(Status::ChecksumIgnored)?;
    given_up.extend(all(Status::CountIgnored)?);
    list(
        "Given up (--retry tries them again)",
        given_up.iter().map(|file| {
            let reason = file.errors["error"]
                .as_str()
                .unwrap_or("no reason is recorded");
            format!("{:?}: {reason}, {} failures", file.path, file.retry)
        }),
    );

    list("Left out", left_out.iter().cloned());
    Ok(())
}

fn list(title: &str, lines: impl ExactSizeIterator<Item = String>) {
    let more = lines.len().saturating_sub(LINES);
    if lines.len() > 0 {
        println!("\n{title}:");
    }
    lines.take(LINES).for_each(|line| println!("  {line}"));
    if more > 0 {
        println!("  and {more} more");
    }
}
