//! The demonstration: its workers work, and nothing is left of it.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::pages::Pages;

struct Demo {
    pages: Pages,
    folder: tempfile::TempDir,
}

fn start() -> Demo {
    let folder = tempfile::tempdir().unwrap();
    let pages = Pages::of(
        Command::new(env!("CARGO_BIN_EXE_status-console"))
            .arg("demo")
            .env("TMPDIR", folder.path())
            .stderr(Stdio::piped()),
    );
    Demo { pages, folder }
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The processes whose command line names this path.
fn processes(path: &Path) -> usize {
    let path = path.to_str().unwrap();
    let all = fs::read_dir("/proc").unwrap().flatten();
    all.filter(|entry| {
        fs::read(entry.path().join("cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).contains(path))
    })
    .count()
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn number(metrics: &str, start: &str) -> i64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(start));
    line.map_or(0, |value| value.trim().parse().unwrap())
}

#[test]
fn jobs_are_worked_on_and_nothing_is_left_at_the_end() {
    let mut demo = start();
    let page = get(&demo.pages.address, "/");
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    for table in ["invoices", "photos", "webhooks"] {
        assert!(page.contains(table), "{table}\n{page}");
    }
    until("some job of each step succeeds, and some fail", || {
        let metrics = get(&demo.pages.address, "/metrics");
        let steps = [
            ("invoices", "Invoice"),
            ("photos", "Resize"),
            ("webhooks", "Webhook"),
        ];
        let succeeded = |(table, step)| {
            let start = format!(
                "status_console_jobs{{status=\"succeeded\",step=\"{step}\",table=\"{table}\"}}"
            );
            number(&metrics, &start) > 0
        };
        let failures = "status_console_failures_last_hour{step=\"Webhook\",table=\"webhooks\"}";
        steps.into_iter().all(succeeded) && number(&metrics, failures) > 0
    });
    assert_eq!(processes(demo.folder.path()), 2);

    let id = demo.pages.child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-s", "INT", &id])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(demo.pages.child.wait().unwrap().code(), Some(0));
    assert_eq!(processes(demo.folder.path()), 0);
    assert_eq!(fs::read_dir(demo.folder.path()).unwrap().count(), 0);
}

#[test]
fn its_workers_end_with_it_however_it_ends() {
    let mut demo = start();
    until("its workers run", || processes(demo.folder.path()) == 2);
    demo.pages.child.kill().unwrap();
    demo.pages.child.wait().unwrap();
    until("its workers end", || processes(demo.folder.path()) == 0);
}
