//! Imports point one way, as CONTRIBUTING.md has it: a room of a crate's `src/` uses
//! those below it, and none above.

use std::fs;
use std::path::{Path, PathBuf};

/// The rooms, from the calls down to what knows nothing of the others.
const ROOMS: &[&[&str]] = &[
    &["tracked", "described"],
    &["worker"],
    &["attempt"],
    &["rows"],
    &["macros"],
    &["sql"],
    &["db"],
    &["metrics"],
    &["observer"],
    &["wake"],
    &["table_info"],
    &["error", "guide", "keys", "panics"],
];

/// The same of `crates/dynamodb`.
const ROOMS_OF_DYNAMODB: &[&[&str]] = &[
    &["blocking"],
    &["calls"],
    &["worker"],
    &["rows"],
    &["attempt"],
    &["db"],
    &["tracked"],
    &["table"],
    &["sightings"],
    &["item", "capacity", "runtime"],
    &["error"],
    &["clock"],
];

/// The same of `crates/console`.
const ROOMS_OF_CONSOLE: &[&[&str]] = &[
    &["main"],
    &["cli"],
    &["console", "demo"],
    &["web"],
    &["doctor", "describe", "scaffold"],
    &["migration"],
    &["roles"],
    &["catalog"],
    &["export", "failures", "job", "metrics"],
    &["actions", "durations"],
    &["jobs"],
    &["fingerprint", "overview"],
    &["description", "testing"],
    &["status"],
    &["sql"],
    &["table", "database"],
    &["error"],
];

fn floor(rooms: &[&[&str]], room: &str) -> Option<usize> {
    rooms.iter().position(|some| some.contains(&room))
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The rooms that a file names, without its comments, its tests and the code
/// that its macros generate elsewhere.
fn used(text: &str) -> impl Iterator<Item = &str> {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.flat_map(|line| {
        line.match_indices("crate::").filter_map(move |(at, name)| {
            let is_generated = line[..at].ends_with('$');
            let room = &line[at + name.len()..];
            let end = room.find(|c: char| !c.is_ascii_lowercase() && c != '_');
            (!is_generated).then(|| &room[..end.unwrap_or(room.len())])
        })
    })
}

#[test]
fn imports_point_one_way() {
    hold("src", ROOMS);
}

#[test]
fn imports_of_the_dynamodb_crate_point_one_way() {
    hold("crates/dynamodb/src", ROOMS_OF_DYNAMODB);
}

#[test]
fn imports_of_the_console_point_one_way() {
    hold("crates/console/src", ROOMS_OF_CONSOLE);
}

fn hold(src: &str, rooms: &[&[&str]]) {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join(src);
    let mut all = Vec::new();
    files(&src, &mut all);
    let mut wrong = Vec::new();
    let mut seen = 0;
    for path in all {
        let inner = path.strip_prefix(&src).unwrap();
        let room = inner.iter().next().unwrap().to_str().unwrap();
        let room = room.strip_suffix(".rs").unwrap_or(room);
        let is_test = inner.ends_with("tests.rs") || inner.iter().any(|part| part == "tests");
        if room == "lib" || is_test {
            continue;
        }
        let own =
            floor(rooms, room).unwrap_or_else(|| panic!("{room} is in no row of CONTRIBUTING.md"));
        let text = fs::read_to_string(&path).unwrap();
        for other in used(&text).filter(|other| !other.is_empty() && *other != room) {
            seen += 1;
            match floor(rooms, other) {
                Some(floor) if floor > own => {}
                _ => wrong.push(format!("{} uses {other}", inner.display())),
            }
        }
    }
    assert!(seen > 50, "the imports were not found");
    assert!(wrong.is_empty(), "{wrong:#?}");
}
