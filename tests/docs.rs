//! The pages of the repository: their links lead to files and headings that exist, and
//! the README shows nothing that only the documentation tool hides.

use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// All pages, relative to the root.
fn pages() -> Vec<PathBuf> {
    let mut pages = Vec::new();
    for folder in ["", "docs", "crates"] {
        for entry in fs::read_dir(Path::new(ROOT).join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let readme = path.join("README.md");
            let page = if readme.exists() { readme } else { path };
            if page.extension().is_some_and(|extension| extension == "md") {
                pages.push(page);
            }
        }
    }
    assert!(pages.len() > 10, "few pages are left: {pages:?}");
    pages
}

/// The lines of a page outside its code, with `true`, and inside, with `false`.
fn lines(text: &str) -> impl Iterator<Item = (bool, &str)> {
    let mut is_text = true;
    text.lines().map(move |line| {
        let is_fence = line.starts_with("```");
        is_text ^= is_fence;
        (is_text && !is_fence, line)
    })
}

/// What the links of a line lead to: `[text](target)`, and `[label]: target`.
fn targets(line: &str) -> Vec<&str> {
    let inline = line.match_indices("](").map(|(at, _)| &line[at + 2..]);
    let mut targets: Vec<_> = inline.map(|rest| rest.split(')').next().unwrap()).collect();
    if line.starts_with('[') {
        targets.extend(line.split_once("]: ").map(|(_, target)| target));
    }
    targets
}

/// The labels of `[text][label]`.
fn labels(line: &str) -> impl Iterator<Item = &str> {
    let ends = line.match_indices("][").map(|(at, _)| &line[at + 2..]);
    ends.map(|rest| rest.split(']').next().unwrap())
}

/// The name under which a heading can be linked to.
fn anchor(heading: &str) -> String {
    let kept = heading
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

fn anchors(text: &str) -> Vec<String> {
    let text = lines(text).filter_map(|(is_text, line)| is_text.then_some(line));
    let headings = text.filter(|line| line.starts_with('#'));
    headings
        .map(|line| anchor(line.trim_start_matches('#').trim()))
        .collect()
}

/// What is wrong with a link from `page` to `target`, if anything is.
fn problem(page: &Path, target: &str) -> Option<String> {
    if target.starts_with("https://") {
        return None;
    }
    let (file, heading) = target.split_once('#').unwrap_or((target, ""));
    let path = match file {
        "" => page.to_owned(),
        file => page.parent().unwrap().join(file),
    };
    let wrong = if !path.exists() {
        "there is no such file"
    } else if !heading.is_empty()
        && !anchors(&fs::read_to_string(&path).unwrap()).contains(&heading.to_owned())
    {
        "there is no such heading"
    } else {
        return None;
    };
    Some(format!("{}: {target}: {wrong}", page.display()))
}

#[test]
fn links_lead_to_files_and_headings_that_exist() {
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for (_, line) in lines(&text).filter(|(is_text, _)| *is_text) {
            for target in targets(line) {
                seen += 1;
                wrong.extend(problem(&page, target));
            }
            for label in labels(line) {
                if !text.contains(&format!("\n[{label}]: ")) {
                    wrong.push(format!("{}: [{label}] is not defined", page.display()));
                }
            }
        }
    }
    assert!(seen > 20, "the links were not found");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A repository shows such lines.
#[test]
fn no_page_has_lines_that_only_the_documentation_hides() {
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let mut is_rust = false;
        for (_, line) in lines(&text) {
            if let Some(language) = line.strip_prefix("```") {
                is_rust = language.starts_with("rust");
            }
            let is_hidden = is_rust && (line == "#" || line.starts_with("# "));
            assert!(!is_hidden, "{}: {line}", page.display());
        }
    }
}

/// The page and the migration have one trigger.
#[test]
fn the_page_on_workers_has_the_trigger_of_the_migration() {
    let root = Path::new(ROOT);
    let migration = "migrations/postgres/2026-11-28-000000_notify_listeners/up.sql";
    let migration = fs::read_to_string(root.join(migration)).unwrap();
    let (_, trigger) = migration.split_once("\n\n").unwrap();
    assert!(trigger.starts_with("CREATE FUNCTION"), "{trigger}");
    let page = fs::read_to_string(root.join("docs/worker.md")).unwrap();
    assert!(page.contains(&format!("```sql\n{trigger}```\n")));
}
