//! Draining a table with a worker, against a program by hand that claims `n`
//! and finishes `n` with one statement each, prepared once:
//! `scripts/with-servers cargo bench --all-features --bench drain`.
//!
//! Both have four threads and as many jobs, which do nothing, and take turns
//! within one run. Arguments choose what is measured:
//!
//! ```text
//! cargo bench --bench drain -- [--jobs 40000] [--batch 1,100,1000] [--finished 0] [--updates] [--snapshot] [--rounds 5] [--database postgres]
//! ```
//!
//! `--finished` puts so many finished rows into the table first; `--updates`
//! has each job set a JSON column; `--snapshot` has another transaction look at
//! the table all the while, as a backup does, so that no version of a row can go.

mod drain {
    pub mod by_hand;
    pub mod contest;
    pub mod options;
    pub mod table;
}

use drain::contest;
use drain::options::Options;

/// Threads of the worker, and of the program by hand.
const THREADS: usize = 4;

fn main() {
    let options = Options::read();
    println!(
        "{} jobs{}{}, {} finished rows, {THREADS} threads; jobs per second, medians of {} rounds",
        options.jobs,
        if options.updates {
            " that set a JSON column"
        } else {
            ""
        },
        if options.snapshot {
            " under an old snapshot"
        } else {
            ""
        },
        options.finished,
        options.rounds
    );
    println!(
        "{:<12} {:>6} {:>10} {:>10} {:>16} {:>20}",
        "database", "batch", "worker", "by hand", "worker / by hand", "processor, µs a job"
    );
    #[cfg(feature = "sqlite")]
    contest::sqlite(&options);
    #[cfg(feature = "postgres")]
    contest::postgres(&options);
    #[cfg(feature = "mysql")]
    contest::mysql(&options);
    if let Some(peak) = peak_memory() {
        println!("peak memory of this process: {peak}");
    }
}

/// What all threads of this process have had of the processors, as Linux counts it: in
/// hundredths of a second.
fn processor_time() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // After the name of the program, in which anything may stand.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / 100.0)
}

/// As Linux counts it.
fn peak_memory() -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(peak.trim().to_owned())
}
