//! Worker processes, and all that may happen to them: `scripts/chaos --help`.

mod check;
mod crew;
mod load;
mod picture;
#[path = "../../../tests/contract/proxy.rs"]
#[expect(dead_code, reason = "the contract's tests need more of it")]
mod proxy;
mod scenario;
mod scenarios;
mod servers;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use std::{env, fs};

use scenario::{Report, Size};
use tempfile::TempDir;

const SHORT: Size = Size {
    jobs: 300,
    faults_for: Duration::from_secs(5),
};
const LONG: Size = Size {
    jobs: 4000,
    faults_for: Duration::from_secs(30),
};

/// The worker's side; see [`crew::Crew`].
fn play_worker(backend: &str) {
    let mut args = env::args().skip(1);
    let mut next = || args.next().expect("a URL, and a file");
    let (url, diary) = (next(), next());
    let diary = worker::Diary::open(&diary).expect("a file");
    let mut backends = worker::BACKENDS.into_iter();
    let backend = backends.find(|known| known.name == backend);
    (backend.expect("a backend").work)(&url, diary, worker::Pace::read(args));
}

/// Not under TMPDIR, which the servers' users might not get into.
fn folder() -> TempDir {
    let mut folder = tempfile::Builder::new();
    let folder = folder.prefix("chaos").tempdir_in("/tmp").unwrap();
    servers::let_others_in(folder.path());
    folder
}

/// Where the figures go: `tmp` in cargo's target folder, in which this program is.
fn output() -> PathBuf {
    let this = env::current_exe().unwrap();
    let target = this.ancestors().nth(3).unwrap();
    let output = target.join("tmp");
    fs::create_dir_all(&output).unwrap();
    output
}

fn main() -> ExitCode {
    if let Ok(backend) = env::var(crew::PART) {
        play_worker(&backend);
        return ExitCode::SUCCESS;
    }
    let (mut size, mut only, mut seed) = (LONG, Vec::new(), fastrand::u64(..));
    let mut is_short = false;
    let mut args = env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--short" => (size, is_short) = (SHORT, true),
            "--seed" => seed = args.next().and_then(|n| n.parse().ok()).expect("a number"),
            name => only.push(name.to_lowercase()),
        }
    }
    println!("chaos: seed {seed}");
    fastrand::seed(seed);

    let is_asked_for = |name: &str| {
        let name = name.to_lowercase();
        only.iter().any(|part| name.contains(part.as_str()))
    };
    let names = scenarios::ALL.map(|(name, ..)| name);
    let all = names.iter().chain(load::ALL.iter().map(|(name, _)| name));
    if !only.is_empty() && !all.clone().any(|name| is_asked_for(name)) {
        println!("chaos: nothing is called {}; there are:", only.join(" or "));
        all.for_each(|name| println!("    {name}"));
        return ExitCode::FAILURE;
    }
    for (name, play) in load::ALL {
        if is_asked_for(name) {
            println!("chaos: {name}");
            play(folder().path());
            return ExitCode::SUCCESS;
        }
    }
    let output = output();
    let mut table = String::from(Report::HEAD);
    let mut failed = Vec::new();
    for (name, in_short, play) in scenarios::ALL {
        if !(is_asked_for(name) || only.is_empty() && (in_short || !is_short)) {
            continue;
        }
        println!("chaos: {name}");
        let folder = folder();
        let Some(report) = play(name, size, folder.path()) else {
            continue;
        };
        println!("{}{}", Report::HEAD, report.row());
        table.push_str(&report.row());
        if name.contains("failover") {
            fs::write(output.join("failover.svg"), picture::draw(&report)).unwrap();
        }
        if !report.violations.is_empty() {
            failed.push(name);
            for violation in report.violations.iter().take(20) {
                println!("VIOLATED: {violation}");
            }
            for (count, line) in report.complaints.iter().take(20) {
                println!("{count:>6} {line}");
            }
            println!("all is left in {}", folder.keep().display());
        }
    }
    fs::write(output.join("chaos.md"), &table).unwrap();
    println!("{table}");
    if failed.is_empty() {
        println!(
            "chaos: nothing lost, nothing doubled; written to {}",
            output.display()
        );
        ExitCode::SUCCESS
    } else {
        println!("chaos: FAILED: {} (seed {seed})", failed.join(", "));
        ExitCode::FAILURE
    }
}
