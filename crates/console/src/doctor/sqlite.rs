//! SQLite: the settings of the file and of this connection, and where the file is.

use std::fs;
use std::path::Path;

use diesel::{QueryResult, SqliteConnection};

use super::{Finding, Severity};
use crate::catalog::Catalog;
use crate::sql::doctor as sql;

/// File systems on which the locks of SQLite do not hold.
const NETWORK: &[&str] = &[
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "ceph",
    "fuse.sshfs",
    "glusterfs",
    "lustre",
];

pub(super) fn check(conn: &mut SqliteConnection, catalog: &Catalog) -> QueryResult<Vec<Finding>> {
    let facts = sql::sqlite(conn, catalog.schema.as_deref().unwrap_or("main"))?;
    let mut findings = Vec::new();
    if !matches!(&*facts.journal, "wal" | "memory") {
        findings.push(
            Finding::new(
                "journal_mode",
                Severity::Warning,
                format!(
                    "the journal mode is {}: readers and the writer wait for each other",
                    facts.journal
                ),
            )
            .mended_by("PRAGMA journal_mode = WAL;"),
        );
    }
    if facts.synchronous == 0 {
        findings.push(
            Finding::new(
                "synchronous",
                Severity::Warning,
                "synchronous is OFF on this connection: a power cut may destroy the file",
            )
            .mended_by("PRAGMA synchronous = FULL;"),
        );
    }
    if facts.busy_timeout == 0 && !facts.file.is_empty() {
        findings.push(
            Finding::new(
                "busy_timeout",
                Severity::Warning,
                "this connection has no busy timeout: it fails at once where another one writes (the tracker's `sqlite::Customizer` sets it for a pool)",
            )
            .mended_by("PRAGMA busy_timeout = 5000;"),
        );
    }
    // Other systems than Linux do not tell.
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    if let Some(kind) =
        file_system(&mounts, Path::new(&facts.file)).filter(|kind| NETWORK.contains(kind))
    {
        findings.push(Finding::new(
            "network_file_system",
            Severity::Broken,
            format!("the file is on a network file system ({kind}), where SQLite's locks do not hold: move it to a disk of the machine, or take a database server"),
        ));
    }
    Ok(findings)
}

/// The kind of the file system that a file is on: that of the longest path of a mount.
fn file_system<'a>(mounts: &'a str, file: &Path) -> Option<&'a str> {
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?, words.next()?))
    });
    let of_file = mounts.filter(|(path, _)| file.starts_with(path.replace("\\040", " ")));
    of_file
        .max_by_key(|(path, _)| path.len())
        .map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_system_is_that_of_the_nearest_mount() {
        let mounts = "/dev/sda1 / ext4 rw 0 0\nserver:/a /srv/my\\040data nfs4 rw 0 0\n";
        let kind = |path: &str| file_system(mounts, Path::new(path));
        assert_eq!(kind("/srv/my data/jobs.db"), Some("nfs4"));
        assert_eq!(kind("/srv/my data2/jobs.db"), Some("ext4"));
        assert_eq!(kind(""), None);
    }
}
