//! What is printed of whole tables, and who reads it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use super::{Console, consoles, said};
use crate::database::{Kind, TestDatabase};

fn spawn(console: &Console, arguments: &[&str]) -> Child {
    let mut command = console.command(arguments);
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn the_end_of_a_pipe_is_no_error() {
    let console = Console::new(TestDatabase::new(Kind::Sqlite).unwrap());
    console.many(5_000);
    let mut child = spawn(&console, &["export", "jobs"]);
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut first)
        .unwrap();
    assert!(first.starts_with("{\"key\":[\"job-1\"]"), "{first}");
    let said = said(child.wait_with_output().unwrap());
    assert_eq!((said.code, &*said.err), (0, ""));
}

/// More rows than a pipe holds: while they are not read, the program cannot have ended.
const UNREAD: usize = 1_000;

/// Reads all but the end of what is exported, and says how much memory the program has
/// used until then, in KiB, and how many lines it has printed.
fn memory_of_export(rows: usize) -> (u64, usize) {
    let console = Console::new(TestDatabase::new(Kind::Sqlite).unwrap());
    console.many(rows);
    let mut child = spawn(&console, &["export", "jobs"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut count = 0;
    for _ in UNREAD..rows {
        lines.next().unwrap().unwrap();
        count += 1;
    }
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.unwrap().trim_end_matches("kB").trim().parse().unwrap();
    count += lines.count();
    assert!(child.wait().unwrap().success());
    (peak, count)
}

#[test]
fn the_memory_of_an_export_does_not_grow_with_the_table() {
    let (small, few) = memory_of_export(2_000);
    let (large, many) = memory_of_export(60_000);
    assert_eq!((few, many), (2_000, 60_000));
    assert!(
        large < small + 4_096,
        "{small} KiB for {few} rows, {large} KiB for {many}"
    );
}

#[test]
fn an_export_has_each_row_once_on_every_database() {
    for console in consoles() {
        console.fill();
        let all = console.run(&["export", "jobs"]).json();
        let keys: Vec<_> = all
            .iter()
            .map(|job| job["key"][0].as_str().unwrap())
            .collect();
        assert_eq!(
            keys,
            ["dead", "done", "failed", "held", "ignored", "pending"]
        );
        let some = console
            .run(&["export", "jobs", "--status", "failed"])
            .json();
        assert_eq!(some.len(), 1);
        assert_eq!(some[0]["error"], "timeout after 5 s");
    }
}
