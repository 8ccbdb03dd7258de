//! What the compiler tells those who use the crate wrongly: the first line
//! names the column, the type or the entry, and the way out.
//!
//! Each case in `tests/ui/` is one call of rustc, with the libraries that this test
//! was built with. So nothing is built for it. `BLESS=1` writes down what the
//! compiler says now.
#![cfg(feature = "sqlite")]

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs, thread};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// What a case may use.
const LIBRARIES: [&str; 2] = ["diesel", "diesel_status_tracker"];

#[test]
fn messages() {
    let (cases, arguments) = (cases(), library_arguments());
    let next = AtomicUsize::new(0);
    let work = || {
        let mut wrong = Vec::new();
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            wrong.extend(check(case, &arguments));
        }
        wrong
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let wrong: Vec<String> = thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        let wrong = workers.into_iter().map(|worker| worker.join().unwrap());
        wrong.flatten().collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `docs/expansion.rs`, which the docs show, is what `job_table!` expands to.
#[test]
fn the_expansion_is_as_the_docs_have_it() {
    let output = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .current_dir(ROOT)
        .env("RUSTC_BOOTSTRAP", "1")
        .args(["--edition=2024", "--crate-type=lib", "-Zunpretty=expanded"])
        .args(library_arguments())
        .arg("tests/ui/setup/expansion.rs")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let all = String::from_utf8(output.stdout).unwrap();
    let (_, module) = all.split_once("\nmod generated {\n").unwrap();
    let (module, _) = module.split_once("\n}\n").unwrap();
    let lines = module.lines().filter(|line| !line.trim().is_empty());
    let expansion: String = lines
        .map(|line| format!("{}\n", line.strip_prefix("    ").unwrap_or(line)))
        .collect();
    assert!(
        expansion.contains("::Tracked for JobTableRow"),
        "{expansion}"
    );

    let file = Path::new(ROOT).join("docs/expansion.rs");
    if env::var_os("BLESS").is_some() {
        fs::write(file, expansion).unwrap();
        return;
    }
    let expected = fs::read_to_string(file).unwrap_or_default();
    assert!(
        expansion == expected,
        "job_table! now expands to\n\n{expansion}\nIf that is right: BLESS=1"
    );
}

/// The cases that the features allow, relative to the root.
fn cases() -> Vec<String> {
    let is_server = [cfg!(feature = "postgres"), cfg!(feature = "mysql")];
    let mut cases = files("tests/ui");
    cases.extend(files("tests/ui/features").into_iter().filter(|case| {
        match case.rsplit('/').next().unwrap() {
            "postgres_is_off.rs" => !is_server[0],
            "mysql_is_off.rs" => !is_server[1],
            _ => is_server == [true, true],
        }
    }));
    assert!(cases.len() > 30, "few cases are left: {cases:?}");
    cases
}

fn files(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(Path::new(ROOT).join(folder)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let cases = names.filter(|name| name.ends_with(".rs"));
    cases.map(|name| format!("{folder}/{name}")).collect()
}

/// Where the libraries of this test are: asks cargo, which has them at hand.
fn library_arguments() -> Vec<OsString> {
    let mut features = Vec::new();
    for (name, is_on) in [
        ("default", cfg!(feature = "default")),
        ("sqlite", true),
        ("postgres", cfg!(feature = "postgres")),
        ("mysql", cfg!(feature = "mysql")),
    ] {
        features.extend(is_on.then_some(name));
    }
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(ROOT)
        .args(["test", "--no-run", "--test", "ui", "--message-format=json"])
        .args(["--no-default-features", "--features", &features.join(",")])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");

    let mut arguments = Vec::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let message: serde_json::Value = serde_json::from_str(line).unwrap();
        let name = message["target"]["name"].as_str().unwrap_or_default();
        let files = message["filenames"].as_array().into_iter().flatten();
        let mut files = files.filter_map(|file| file.as_str());
        let Some(file) = files.find(|file| LIBRARIES.contains(&name) && file.ends_with(".rlib"))
        else {
            continue;
        };
        let folder = Path::new(file).parent().unwrap().display().to_string();
        arguments.push("--extern".into());
        arguments.push(format!("{name}={file}").into());
        arguments.push("-L".into());
        arguments.push(format!("dependency={folder}").into());
    }
    let count = arguments.len() / 4;
    assert_eq!(count, LIBRARIES.len(), "cargo said: {arguments:?}");
    arguments
}

/// What is wrong with one case, if anything is.
fn check(case: &str, arguments: &[OsString]) -> Option<String> {
    let name = Path::new(case).file_stem().unwrap();
    let output = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .current_dir(ROOT)
        .args(["--edition=2024", "--crate-type=bin", "--emit=metadata"])
        .args(["--verbose", "--diagnostic-width=140", "-Adead_code"])
        .arg("-o")
        .arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name))
        .args(arguments)
        .arg(case)
        .output()
        .unwrap();
    if output.status.success() {
        return Some(format!("{case} compiles"));
    }
    let said = normalize(&String::from_utf8(output.stderr).unwrap(), case);
    let file: PathBuf = Path::new(ROOT).join(case).with_extension("stderr");
    if env::var_os("BLESS").is_some() {
        fs::write(file, said).unwrap();
        return None;
    }
    let expected = fs::read_to_string(file).unwrap_or_default();
    (said != expected).then(|| {
        format!("{case}: the compiler now says\n\n{said}\nand not\n\n{expected}\nIf that is as good: BLESS=1")
    })
}

/// The compiler's words, without the line numbers of other files than the case:
/// they change, and the message does not.
fn normalize(said: &str, case: &str) -> String {
    let said = said.replace(&format!("{ROOT}/"), "");
    let mut messages: Vec<String> = Vec::new();
    for message in said.split("\n\n") {
        let mut lines = message.lines().peekable();
        let ends = [
            "error: aborting due to",
            "For more information",
            "Some errors have",
        ];
        let is_end = ends.iter().any(|end| message.starts_with(end));
        if lines.peek().is_some() && !is_end {
            messages.push(with_narrow_margin(lines, case));
        }
    }
    messages.join("\n")
}

/// One message. The margin that holds the line numbers is as wide as the largest
/// number that is left in it.
fn with_narrow_margin<'a>(lines: impl Iterator<Item = &'a str>, case: &str) -> String {
    let is_number = |c: char| c == ' ' || c.is_ascii_digit();
    let (mut is_case, mut was, mut width) = (false, 0, 1);
    let mut parts = Vec::new();
    for line in lines {
        let text = line.trim_start_matches(is_number);
        let margin = &line[..line.len() - text.len()];
        let mut text = text.to_owned();
        if text.starts_with("--> ") || text.starts_with("::: ") {
            was = margin.len();
            is_case = text[4..].starts_with(&format!("{case}:"));
            if !is_case {
                let end = text.find(".rs:").map_or(text.len(), |at| at + 3);
                text.truncate(end);
            }
        }
        // What the compiler suggests is of the case, if it names no other file.
        is_case |= text.starts_with("help: ");
        let number = if is_case { margin.trim() } else { "" };
        width = width.max(number.len());
        parts.push((line, margin, number, text));
    }

    let mut message = String::new();
    for (line, margin, number, text) in parts {
        let line = if text.starts_with("--> ") || text.starts_with("::: ") {
            format!("{:width$}{text}", "")
        } else if !margin.is_empty() && (text.starts_with('|') || text.starts_with("= ")) {
            format!("{number:>width$} {text}")
        } else if let Some(mark) = line.strip_prefix("... ") {
            format!("...{:width$}{}", "", mark.trim_start())
        } else if margin.len() > was {
            line[was.saturating_sub(width)..].to_owned()
        } else {
            line.to_owned()
        };
        message.push_str(line.trim_end());
        message.push('\n');
    }
    message
}
