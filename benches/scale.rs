//! How the speed of a worker changes with threads, processes and finished rows, and a
//! picture of that: `scripts/with-servers cargo bench --all-features --bench scale`.
//!
//! Jobs do nothing. Processes begin at the same time, and the time counts until the last
//! of them has found nothing more. Arguments choose what is measured:
//!
//! ```text
//! cargo bench --bench scale -- [--database postgres] [--jobs 100000] [--batch 100] [--threads 1,4,16,64] [--processes 1,8] [--finished 0,1000000] [--rounds 3] [--picture docs/scale-postgres.svg]
//! ```
//!
//! Where there are finished rows, the jobs of each turn are added to them.

#[allow(dead_code, reason = "the other bench uses the rest")]
#[path = "drain/table.rs"]
mod table;

mod scale {
    pub mod options;
    pub mod picture;
}

use std::io::{BufRead, BufReader, Write, stdin};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use scale::options::{Options, Part};
use scale::picture::{Curve, draw};

fn main() {
    match Options::read() {
        Ok(options) => measure(&options),
        Err(part) => take_part(&part),
    }
}

/// A worker holds a connection for a claim or for outcomes, and not for a job.
fn connections(threads: usize) -> usize {
    threads.min(16) + 3
}

/// What one of several processes does.
fn take_part(part: &Part) {
    macro_rules! with {
        ($module:ident) => {{
            let pool = table::$module::open(connections(part.threads));
            let (pool, _) = pool.expect("a server");
            println!("ready");
            stdin().read_line(&mut String::new()).expect("a sign");
            table::$module::worker(&pool, part.threads, part.batch, false);
        }};
    }
    match &*part.database {
        "postgres" => with!(postgres),
        "mysql" => with!(mysql),
        other => panic!("no server: {other}"),
    }
}

/// Processes that wait for their sign.
struct Crew(Vec<Child>);

impl Crew {
    fn gather(processes: usize, part: &Part) -> Self {
        let program = std::env::current_exe().expect("this program");
        let start = |_| {
            let mut child = Command::new(&program)
                .args(part.to_args())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("a process");
            let out = child.stdout.as_mut().expect("its output");
            let mut line = String::new();
            BufReader::new(out).read_line(&mut line).expect("a line");
            assert_eq!(line, "ready\n");
            child
        };
        Self((0..processes).map(start).collect())
    }

    fn run(mut self) {
        for child in &mut self.0 {
            let sign = child.stdin.as_mut().expect("its input");
            sign.write_all(b"go\n").expect("it listens");
        }
        for mut child in self.0 {
            assert!(child.wait().expect("its end").success());
        }
    }
}

fn measure(options: &Options) {
    println!(
        "{} jobs in batches of {}; jobs per second, medians of {} rounds",
        options.jobs, options.batch, options.rounds
    );
    println!(
        "{:<12} {:>10} {:>10} {:>8} {:>10}",
        "database", "finished", "processes", "threads", "jobs/s"
    );
    let mut curves = Vec::new();
    macro_rules! on {
        ($module:ident) => {
            if options.database == stringify!($module) {
                let Some((pool, _)) = table::$module::open(1) else {
                    return;
                };
                for &finished in &options.finished {
                    table::$module::clear(&pool);
                    table::$module::fill(&pool, finished, 0, "first");
                    let mut turn = 0;
                    let mut done = finished;
                    curves.extend(curves_with(options, finished, |part, processes| {
                        if finished == 0 {
                            table::$module::clear(&pool);
                            done = 0;
                        }
                        turn += 1;
                        table::$module::fill(&pool, 0, options.jobs, &format!("job-{turn}"));
                        let crew = Crew::gather(processes, part);
                        let begun = Instant::now();
                        crew.run();
                        let rate = options.jobs as f64 / begun.elapsed().as_secs_f64();
                        done += options.jobs;
                        assert_eq!(table::$module::done(&pool), done, "done");
                        rate
                    }));
                }
            }
        };
    }
    on!(postgres);
    on!(mysql);
    if let Some(file) = &options.picture {
        draw(file, &options.database, &curves);
        println!("drawn in {}", file.display());
    }
}

/// The curves over so many finished rows. `turn` returns a rate.
fn curves_with(
    options: &Options,
    finished: usize,
    mut turn: impl FnMut(&Part, usize) -> f64,
) -> Vec<Curve> {
    let mut curves = Vec::new();
    for &processes in &options.processes {
        let mut points = Vec::new();
        for &threads in &options.threads {
            let part = Part {
                database: options.database.clone(),
                threads,
                batch: options.batch,
            };
            let mut rates: Vec<f64> = (0..options.rounds)
                .map(|_| turn(&part, processes))
                .collect();
            rates.sort_by(f64::total_cmp);
            let rate = rates[rates.len() / 2];
            println!(
                "{:<12} {finished:>10} {processes:>10} {threads:>8} {rate:>10.0}",
                options.database
            );
            points.push((threads, rate));
        }
        curves.push(Curve {
            finished,
            processes,
            points,
        });
    }
    curves
}
