//! Which files there are.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The key's column on MySQL is the narrowest, and PostgreSQL indexes no more
/// than 2,700 bytes.
const LONGEST_PATH: usize = 2_600;

#[derive(Default)]
pub struct Listing {
    pub paths: Vec<String>,
    /// What is there and cannot be a row, with the reason.
    pub left_out: Vec<String>,
}

/// All regular files under `folder`, except for those of the `database`.
pub fn list(folder: &Path, database: Option<&Path>) -> Listing {
    let mut listing = Listing::default();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        if let Err(error) = list_one(&folder, database, &mut folders, &mut listing) {
            listing.left_out.push(format!("{folder:?}: {error}"));
        }
    }
    // In order, so that processes which start together insert the rows in the
    // same order, and do not wait for each other's locks in a circle.
    listing.paths.sort();
    listing
}

fn list_one(
    folder: &Path,
    database: Option<&Path>,
    folders: &mut Vec<PathBuf>,
    listing: &mut Listing,
) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?; // of a link itself: links are not followed
        let path = entry.path();
        if kind.is_dir() {
            folders.push(path);
        } else if kind.is_file() {
            match why_left_out(&path, database) {
                None => listing.paths.push(path.to_string_lossy().into_owned()),
                Some(reason) => listing.left_out.push(format!("{path:?}: {reason}")),
            }
        }
    }
    Ok(())
}

fn why_left_out(path: &Path, database: Option<&Path>) -> Option<&'static str> {
    if database.is_some_and(|database| belongs_to(path, database)) {
        // Whoever opens and closes these files takes SQLite's locks away.
        return Some("belongs to the database of this run");
    }
    match path.to_str() {
        None => Some("the path is not UTF-8, as the key must be"),
        Some(path) if path.len() > LONGEST_PATH => Some("the path is too long for a key"),
        Some(_) => None,
    }
}

/// Whether `path` is the SQLite database or one of the files beside it.
fn belongs_to(path: &Path, database: &Path) -> bool {
    ["", "-wal", "-shm", "-journal"].iter().any(|suffix| {
        let mut file = database.as_os_str().to_owned();
        file.push(suffix);
        path.as_os_str() == file
    })
}
