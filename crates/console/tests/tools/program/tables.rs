//! Which tables and which jobs are meant, and what is said where that cannot be known.

use std::fs;

use super::{Console, consoles};
use crate::database::{Kind, TestDatabase};

#[test]
fn the_codes_that_were_assumed_are_named_where_the_table_has_others() {
    for console in consoles() {
        console.fill();
        fs::remove_file(console.folder.path().join("status-console.toml")).unwrap();
        assert_eq!(console.run(&["list", "jobs"]).err, "");
        console
            .database
            .sql("UPDATE jobs SET status = status / 10 WHERE id <> 'done'");
        let said = console.run(&["list", "jobs", "--json"]);
        assert_eq!((said.code, said.json_lines().len()), (0, 1));
        assert_eq!(
            said.err,
            "status-console: no file describes `jobs`, so that its codes are assumed: 10 pending, 20 in progress, 30 failed, \
             40 succeeded, 50 ignored; it has jobs with other codes too, which are not shown (1, 2, 3, 5): write its codes \
             into the file that `status-console describe jobs > status-console.toml` begins\n"
        );
    }
}

#[test]
fn the_jobs_whose_lock_has_expired_are_listed() {
    for console in consoles() {
        console.fill();
        let list = console.run(&["list", "jobs", "--expired", "--json"]);
        let keys: Vec<_> = list
            .json_lines()
            .iter()
            .map(|job| job["key"][0].clone())
            .collect();
        assert_eq!(keys, ["dead"]);
    }
}

/// A second table, whose database cannot be reached.
fn describe_one_that_is_away(console: &Console) {
    let path = console.folder.path().join("status-console.toml");
    let jobs = fs::read_to_string(&path).unwrap();
    let away = jobs.replace("[tables.jobs", "[tables.away").replace(
        "url_env = \"DATABASE_URL\"",
        "url = \"sqlite:///no/such/file\"",
    );
    fs::write(&path, [away, jobs].join("\n")).unwrap();
}

#[test]
fn a_table_that_cannot_be_read_is_named_and_hides_no_other() {
    for console in consoles() {
        console.fill();
        describe_one_that_is_away(&console);
        for check in [&["overview"][..], &["overview", "--check"]] {
            let said = console.run(check);
            assert_eq!(said.code, 3, "{}", said.err);
            assert!(said.out.contains("jobs\tjob\tstuck"), "{}", said.out);
            let lines: Vec<_> = said.err.lines().collect();
            assert_eq!(lines.len(), 1, "{}", said.err);
            assert!(
                lines[0].starts_with(
                    "status-console: `away` cannot be read: there is no SQLite database"
                ),
                "{}",
                said.err
            );
        }
        console.database.sql("DROP TABLE jobs");
        let gone = console.run(&["overview", "jobs"]);
        assert_eq!(gone.code, 1, "{}", gone.err);
        assert!(gone.err.contains("on `jobs`"), "{}", gone.err);
    }
}

#[test]
fn the_doctor_and_the_metrics_go_on_too() {
    for console in consoles() {
        console.fill();
        describe_one_that_is_away(&console);
        let doctor = console.run(&["doctor"]);
        assert_eq!(doctor.code, 3, "{}", doctor.err);
        assert!(doctor.out.contains("jobs: warning:") && doctor.err.contains("`away`"));
        let metrics = console.run(&["metrics"]);
        assert!(metrics.out.contains("table_readable{table=\"away\"} 0"));
        assert!(metrics.out.contains("table_readable{table=\"jobs\"} 1"));
    }
}

#[test]
fn keys_are_printed_as_they_are_typed() {
    let console = Console::new(TestDatabase::new(Kind::Sqlite).unwrap());
    console.fill();
    let said = console.run(&["--allow-actions", "reset", "jobs", "no \"such\"", "--yes"]);
    assert_eq!(
        said.out,
        "0 done, 1 passed over\nkey\tpassed over, for\nno \"such\"\tthere is no such job\n"
    );
    let json = console.run(&["--allow-actions", "reset", "jobs", "a", "--yes", "--json"]);
    assert_eq!(
        json.json_lines()[0]["passed_over"][0]["key"],
        serde_json::json!(["a"])
    );
    let show = console.run(&["show", "jobs", "a b"]);
    assert_eq!(
        show.err,
        "status-console: no row of `jobs` has the key a b\n"
    );
}

#[test]
fn why_a_database_cannot_be_used_is_said_in_one_line() {
    let console = Console::new(TestDatabase::new(Kind::Sqlite).unwrap());
    fs::remove_file(console.folder.path().join("status-console.toml")).unwrap();
    fs::write(
        console.folder.path().join("letter"),
        "no database".repeat(100),
    )
    .unwrap();
    let holds = |url: &str, why: &str| {
        let said = console.run(&["--url", url, "list", "jobs"]);
        assert_eq!(
            (said.code, said.err.lines().count()),
            (3, 1),
            "{}",
            said.err
        );
        let is_clear = said.err.contains("cannot be used:") && said.err.contains(why);
        let is_hushed = !said.err.contains("secret") && !said.err.contains("multiconnection");
        assert!(is_clear && is_hushed, "{}", said.err);
    };
    holds("sqlite://letter", "not a database");
    // Nobody listens there, whatever the driver calls that.
    holds("postgres://me:secret@127.0.0.1:1/jobs", "127.0.0.1");
    holds("mysql://me:secret@127.0.0.1:1/jobs", "127.0.0.1");
    if let Ok(url) = std::env::var("MYSQL_URL") {
        let (_, server) = url.rsplit_once('@').unwrap();
        holds(&format!("mysql://test:secret@{server}"), "'test'");
    }
    if let Ok(url) = std::env::var("POSTGRES_URL") {
        let (server, _) = url.rsplit_once('/').unwrap();
        holds(&format!("{server}/no_such_database"), "no_such_database");
    }
}

#[test]
fn a_table_that_is_not_tracked_is_told_what_it_lacks() {
    for console in consoles() {
        fs::remove_file(console.folder.path().join("status-console.toml")).unwrap();
        console
            .database
            .sql("CREATE TABLE mails (id INTEGER NOT NULL PRIMARY KEY, status INTEGER NOT NULL)");
        let list = console.run(&["list", "mails"]);
        assert_eq!(list.code, 3);
        assert!(
            list.err.starts_with(
                "status-console: no column of `mails` looks like create_at, update_at, lock, lock_at, retry, errors: \
                 `status-console migration mails` prints the SQL"
            ),
            "{}",
            list.err
        );
        // That is what the doctor is for.
        let doctor = console.run(&["doctor", "mails"]);
        assert_eq!(doctor.code, 2, "{}", doctor.err);
    }
}

#[test]
fn a_filter_that_finds_nothing_is_told_in_words() {
    for console in consoles() {
        console.fill();
        let none = console.run(&["list", "jobs", "--error", "no such error"]);
        assert_eq!((none.code, &*none.out), (0, ""));
        assert_eq!(
            none.err,
            "status-console: none is found: jobs that have not succeeded, with “no such error” in their errors\n"
        );
    }
}

#[test]
fn statuses_for_which_an_action_is_not_are_refused_before_anybody_is_asked() {
    for console in consoles() {
        console.fill();
        let ignore = |statuses: &str| {
            let of = ["ignore", "jobs", "--reason", "sold", "--status", statuses];
            console.run(&[&of[..], &["--dry-run"]].concat())
        };
        let refused = ignore("succeeded,ignored");
        assert_eq!(refused.code, 3, "{}", refused.out);
        assert!(
            refused.err.contains("in_progress, failed"),
            "{}",
            refused.err
        );
        assert_eq!(ignore("failed").code, 0);
    }
}

#[test]
fn a_description_that_cannot_be_read_is_named() {
    for console in consoles() {
        let path = console.folder.path().join("status-console.toml");
        fs::write(&path, "[tables.jobs]\nkeys = []\n").unwrap();
        let wrong = console.run(&["overview"]);
        assert_eq!(wrong.code, 3, "{}", wrong.out);
        assert!(
            wrong.err.contains("status-console.toml: line 2"),
            "{}",
            wrong.err
        );
        // What a shell leaves where `describe` has failed.
        fs::write(&path, "").unwrap();
        let empty = console.run(&["list", "jobs"]);
        assert_eq!(empty.code, 3, "{}", empty.out);
        assert!(
            empty.err.contains("status-console.toml is empty"),
            "{}",
            empty.err
        );
    }
}
