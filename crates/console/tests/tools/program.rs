//! The program, as somebody calls it from a terminal or from a script.

use std::fs;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::database::{Kind, TestDatabase, databases};

#[path = "program/export.rs"]
mod export;
#[path = "program/tables.rs"]
mod tables;
#[cfg(target_os = "linux")]
#[path = "program/terminal.rs"]
mod terminal;
#[cfg(target_os = "linux")]
#[path = "program/top.rs"]
mod top;

/// A database with a table `jobs`, and the file that describes it.
struct Console {
    database: TestDatabase,
    folder: TempDir,
}

/// What came of a call.
struct Said {
    code: i32,
    out: String,
    err: String,
}

fn said(output: Output) -> Said {
    Said {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Said {
    fn ok(self) -> String {
        assert_eq!((self.code, &*self.err), (0, ""), "{}", self.out);
        self.out
    }

    fn json(self) -> Vec<Value> {
        self.json_lines()
    }

    fn json_lines(&self) -> Vec<Value> {
        let lines = self.out.lines();
        let values = lines.map(|line| serde_json::from_str(line).unwrap());
        values.collect()
    }
}

impl Console {
    fn new(database: TestDatabase) -> Self {
        let console = Self {
            database,
            folder: tempfile::tempdir().unwrap(),
        };
        console.database.sql(console.database.pick(
            "PRAGMA journal_mode = WAL; CREATE TABLE jobs (id TEXT NOT NULL PRIMARY KEY, note TEXT)",
            "CREATE TABLE jobs (id TEXT NOT NULL PRIMARY KEY, note TEXT)",
            "CREATE TABLE jobs (id VARCHAR(50) NOT NULL PRIMARY KEY, note TEXT)",
        ));
        let up = console.run(&["migration", "jobs", "--only", "up"]).ok();
        console.database.sql(&up);
        let description = console.run(&["describe", "jobs"]).ok();
        fs::write(
            console.folder.path().join("status-console.toml"),
            description,
        )
        .unwrap();
        console
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_status-console"));
        command
            .current_dir(self.folder.path())
            .env("DATABASE_URL", &self.database.url)
            .env_remove("STATUS_CONSOLE_CONFIG")
            .stdin(Stdio::null())
            .args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Said {
        said(self.command(arguments).output().unwrap())
    }

    fn now(&self) -> &'static str {
        match self.database.kind {
            Kind::Sqlite => "strftime('%Y-%m-%d %H:%M:%f', 'now')",
            Kind::Postgres => "(now() AT TIME ZONE 'UTC')",
            Kind::Mysql => "utc_timestamp(6)",
        }
    }

    fn lock(&self) -> &'static str {
        self.database.pick("lock", "lock", "`lock`")
    }

    /// A pending job, a failed one, an ignored one, one that is done, one that is held by
    /// a live worker, and one of a dead one.
    fn fill(&self) {
        let (now, lock) = (self.now(), self.lock());
        let row = |id: &str, status: i32, token: &str, at: &str, error: &str| {
            let errors = format!(
                "{{\"error\":\"{error}\",\"attempt\":1,\"at\":\"2026-01-01T00:00:00.000Z\",\"history\":[]}}"
            );
            format!(
                "INSERT INTO jobs (id, status, create_at, update_at, {lock}, lock_at, errors) \
                 VALUES ('{id}', {status}, {now}, {now}, {token}, {at}, '{errors}');"
            )
        };
        self.database.sql(
            &[
                row("pending", 10, "NULL", "NULL", ""),
                row("failed", 30, "NULL", "NULL", "timeout after 5 s"),
                row("ignored", 50, "NULL", "NULL", "timeout after 7 s"),
                row("done", 40, "NULL", "NULL", ""),
                row("held", 20, "'a'", now, ""),
                row("dead", 20, "'b'", "'2020-01-01 00:00:00.000'", ""),
            ]
            .concat(),
        );
    }

    /// So many jobs that have succeeded.
    fn many(&self, count: usize) {
        let (now, numbers) = (
            self.now(),
            format!(
                "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count})"
            ),
        );
        let id = self
            .database
            .pick("'job-' || n", "'job-' || n", "CONCAT('job-', n)");
        let insert = "INSERT INTO jobs (id, status, create_at, update_at, note)";
        let select = format!("SELECT {id}, 40, {now}, {now}, 'x' FROM numbers");
        self.database.sql(&match self.database.kind {
            Kind::Mysql => format!("{insert} {numbers} {select}"),
            _ => format!("{numbers} {insert} {select}"),
        });
    }

    fn status(&self, key: &str) -> String {
        let shown = self.run(&["show", "jobs", key, "--json"]).json();
        shown[0]["columns"]["status"].as_str().unwrap().to_owned()
    }
}

fn consoles() -> Vec<Console> {
    databases().into_iter().map(Console::new).collect()
}

#[test]
fn a_table_is_followed_from_the_description_to_the_job() {
    for console in consoles() {
        console.fill();
        let overview = &console.run(&["overview", "--json"]).json()[0];
        let step = &overview["steps"][0];
        assert_eq!(
            (&overview["table"], &step["verdict"]),
            (&"jobs".into(), &"stuck".into())
        );
        let plain = console.run(&["overview"]).ok();
        assert!(
            plain.starts_with("table\tstep\tverdict\t") && plain.contains("jobs\tjob\tstuck\t"),
            "{plain}"
        );

        let list = console
            .run(&["list", "jobs", "--status", "failed,ignored", "--json"])
            .json();
        let mut keys: Vec<_> = list
            .iter()
            .map(|job| job["key"][0].as_str().unwrap())
            .collect();
        keys.sort_unstable();
        assert_eq!(keys, ["failed", "ignored"]);
        let list = console
            .run(&["list", "jobs", "--key", "d*", "--limit", "1"])
            .ok();
        assert_eq!(list.lines().count(), 2, "{list}");

        let failures = &console.run(&["failures", "jobs", "--json"]).json()[0];
        assert_eq!(failures["groups"][0]["fingerprint"], "timeout after # s");
        let group = console
            .run(&["list", "jobs", "--group", "timeout after # s", "--json"])
            .json();
        assert_eq!(group.len(), 2);

        let show = console.run(&["show", "jobs", "failed"]).ok();
        assert!(
            show.contains("note\tNULL") && show.contains("reset (job)\tpossible now"),
            "{show}"
        );
        let metrics = console.run(&["metrics"]).ok();
        assert!(
            metrics.contains("status_console_expired_locks{step=\"job\",table=\"jobs\"} 1\n"),
            "{metrics}"
        );
        let durations = console.run(&["durations", "jobs", "--json"]).json();
        assert_eq!(durations[0]["step"], "job");
        let sentence = durations[0]["took_compared"]["sentence"].as_str().unwrap();
        assert!(
            sentence.contains("only 1 finished in the last hour"),
            "{sentence}"
        );
        let plain = console.run(&["durations", "jobs"]).ok();
        let sentence = format!("job, from creation: {sentence}\n");
        assert!(
            plain.contains("last hour") && plain.ends_with(&sentence),
            "{plain}"
        );
    }
}

#[test]
fn a_database_is_enough_without_a_description() {
    for console in consoles() {
        console.fill();
        fs::remove_file(console.folder.path().join("status-console.toml")).unwrap();
        let list = console.run(&["list", "jobs", "--json"]).json();
        assert_eq!(list.len(), 6);
        let none = console.run(&["overview"]);
        assert!(
            none.code == 3 && none.err.contains("--config"),
            "{}",
            none.err
        );
        let other = console.run(&["list", "orders"]);
        assert!(
            other.code == 3 && other.err.contains("no table `orders`"),
            "{}",
            other.err
        );
    }
}

/// As `describe jobs > status-console.toml` does in a shell.
#[test]
fn the_description_may_be_written_to_the_file_that_is_read() {
    for console in consoles() {
        let path = console.folder.path().join("status-console.toml");
        let before = fs::read_to_string(&path).unwrap();
        let file = fs::File::create(&path).unwrap();
        let mut command = console.command(&["describe", "jobs"]);
        assert!(command.stdout(file).status().unwrap().success());
        assert_eq!(fs::read_to_string(&path).unwrap(), before);
    }
}

#[test]
fn nothing_changes_without_permission() {
    for console in consoles() {
        console.fill();
        let refused = console.run(&["reset", "jobs", "failed", "--yes"]);
        assert!(
            refused.code == 3 && refused.err.contains("--allow-actions"),
            "{}",
            refused.err
        );
        let unasked = console.run(&["--allow-actions", "reset", "jobs", "failed"]);
        assert!(
            unasked.code == 3 && unasked.err.contains("--yes"),
            "{}",
            unasked.err
        );
        let dry = console
            .run(&["reset", "jobs", "--status", "failed,ignored", "--dry-run"])
            .ok();
        assert!(
            dry.contains("would reset 2 of jobs (1 failed, 1 ignored)"),
            "{dry}"
        );
        // Without a status, nothing that has succeeded, and nothing that waits.
        let by_age = console.run(&["reset", "jobs", "--older", "0s", "--dry-run"]);
        assert_eq!(
            by_age.ok(),
            dry.replace("ignored\n", "ignored, unchanged for 0 ms\n")
        );
        let chosen = [
            "reset",
            "jobs",
            "--status",
            "succeeded",
            "--dry-run",
            "--json",
        ];
        let again = &console.run(&chosen).json()[0];
        assert_eq!(again["count"]["number"], 1, "{again}");
        let told = again["would_be_tried"].as_str().unwrap();
        assert!(
            told.contains("(1 succeeded)") && told.contains("will run again"),
            "{told}"
        );
        let all = console.run(&["--allow-actions", "reset", "jobs", "--yes"]);
        assert!(
            all.code == 3 && all.err.contains("which jobs?"),
            "{}",
            all.err
        );
        let both = console.run(&[
            "--allow-actions",
            "reset",
            "jobs",
            "failed",
            "--locked",
            "--yes",
        ]);
        assert!(
            both.code == 3 && both.err.contains("not both"),
            "{}",
            both.err
        );
        assert_eq!(
            (console.status("failed"), console.status("ignored")),
            ("30".into(), "50".into())
        );
    }
}

#[test]
fn jobs_are_changed_by_key_and_by_filter_and_the_others_are_named() {
    for console in consoles() {
        console.fill();
        let act = |arguments: &[&str]| {
            let mut all = vec!["--allow-actions", "--yes"];
            let (command, rest) = arguments.split_first().unwrap();
            all.insert(1, command);
            all.extend(rest);
            console.run(&all)
        };
        let reset = act(&["reset", "jobs", "ignored", "held", "missing"]);
        assert_eq!(reset.code, 1, "{}", reset.err);
        assert!(
            reset.out.starts_with("1 done, 2 passed over\n"),
            "{}",
            reset.out
        );
        assert!(reset.out.contains("no such job"), "{}", reset.out);
        assert_eq!(
            (console.status("ignored"), console.status("held")),
            ("10".into(), "20".into())
        );

        assert!(
            act(&[
                "ignore",
                "jobs",
                "--key",
                "pend*",
                "--reason",
                "it's cancelled"
            ])
            .ok()
            .starts_with("1 done")
        );
        let shown = console.run(&["show", "jobs", "pending", "--json"]).json();
        assert_eq!(shown[0]["columns"]["status"], "50");
        assert!(
            shown[0]["errors"][0]["error"]
                .as_str()
                .unwrap()
                .contains("it's cancelled")
        );

        assert!(act(&["expire", "jobs", "held"]).ok().starts_with("1 done"));
        assert_eq!(console.status("held"), "30");

        let told = act(&["reset", "jobs", "--status", "failed", "--json"]).json();
        assert_eq!(told[0]["done"], 2);
        assert_eq!(
            (console.status("failed"), console.status("held")),
            ("10".into(), "10".into())
        );

        console
            .database
            .sql("UPDATE jobs SET update_at = '2020-01-01 00:00:00.000' WHERE id = 'done'");
        let bare = act(&["prune", "jobs", "--status", "succeeded"]);
        assert!(
            bare.code == 3 && bare.err.contains("--older"),
            "{}",
            bare.err
        );
        assert!(
            act(&["prune", "jobs", "--status", "succeeded", "--older", "7d"])
                .ok()
                .starts_with("1 done")
        );
        assert_eq!(console.run(&["show", "jobs", "done"]).code, 3);
    }
}

#[test]
fn exit_codes_say_how_a_table_is() {
    for console in consoles() {
        let out = console.run(&["overview", "--check"]);
        assert_eq!((out.code, &*out.err), (0, ""));
        assert_eq!(console.run(&["doctor"]).code, 0);
        console.fill();
        assert_eq!(console.run(&["overview", "--check"]).code, 2);
        assert_eq!(console.run(&["overview"]).code, 0);
        let doctor = console.run(&["doctor"]);
        assert_eq!(doctor.code, 1, "{}", doctor.out);
        assert!(
            doctor.out.contains("jobs: warning: a row: their worker"),
            "{}",
            doctor.out
        );
        console
            .database
            .sql("UPDATE jobs SET status = 20 WHERE id = 'pending'");
        let doctor = console.run(&["doctor", "--json"]);
        let lost = doctor.json();
        let lost = lost
            .iter()
            .find(|finding| finding["check"] == "running_without_lock")
            .unwrap();
        console.database.sql(lost["sql"].as_str().unwrap());
        assert_eq!(console.run(&["doctor"]).code, 1);
        assert_eq!(console.run(&["doctor", "--no-such"]).code, 3);
    }
}

#[test]
fn tables_fit_into_forty_columns() {
    let console = Console::new(TestDatabase::new(Kind::Sqlite).unwrap());
    console.fill();
    for command in [
        &["overview"][..],
        &["list", "jobs"],
        &["show", "jobs", "failed"],
        &["failures", "jobs"],
    ] {
        let mut call = console.command(command);
        let out = said(
            call.args(["--format", "table"])
                .env("COLUMNS", "40")
                .output()
                .unwrap(),
        )
        .ok();
        let widest = out.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= 40, "{widest}\n{out}");
    }
}

#[test]
fn what_a_terminal_takes_for_a_command_is_not_printed() {
    let console = Console::new(TestDatabase::new(Kind::Sqlite).unwrap());
    console.fill();
    console.database.sql(
        "UPDATE jobs SET note = 'a' || char(27) || '[2J' || char(10) || 'b' WHERE id = 'failed'",
    );
    for format in ["plain", "table"] {
        let out = console
            .run(&["show", "jobs", "failed", "--format", format])
            .ok();
        assert!(!out.contains('\u{1b}'), "{out:?}");
    }
    let shown = console.run(&["show", "jobs", "failed", "--json"]).json();
    assert_eq!(shown[0]["columns"]["note"], "a\u{1b}[2J\nb");
}

#[test]
fn help_has_examples_and_shells_get_completions() {
    let console = Console::new(TestDatabase::new(Kind::Sqlite).unwrap());
    let help = console.run(&["--help"]).ok();
    assert!(
        help.contains("Examples:") && help.contains("Exit codes:"),
        "{help}"
    );
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let lines = lines.take_while(|line| !line.is_empty());
    // What goes on in another line stands further in.
    let commands = lines.filter_map(|line| {
        let name = line.strip_prefix("  ")?.split(' ').next()?;
        (!name.is_empty() && name != "help").then_some(name)
    });
    let commands: Vec<_> = commands.collect();
    assert!(commands.len() > 10, "{commands:?}");
    for command in commands {
        console.run(&[command, "--help"]).ok();
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            console
                .run(&["completions", shell])
                .ok()
                .contains("status-console")
        );
    }
    assert!(
        console
            .run(&["--version"])
            .ok()
            .starts_with("status-console ")
    );
}

#[test]
fn the_rust_and_the_sql_of_a_table_are_printed() {
    for console in consoles() {
        let rust = console.run(&["scaffold", "jobs"]).ok();
        assert!(rust.contains("impl StatusTracked for Job"), "{rust}");
        console
            .database
            .sql("CREATE TABLE mails (id INTEGER NOT NULL PRIMARY KEY)");
        let words = [
            "migration",
            "mails",
            "--column",
            "status=state",
            "--codes",
            "new,sending,failed,sent,dropped",
            "--existing",
            "sent",
            "--json",
        ];
        let sql = &console.run(&words).json()[0];
        console.database.sql(sql["up"].as_str().unwrap());
        console.database.sql(sql["down"].as_str().unwrap());
        let wrong = console.run(&["migration", "mails", "--column", "states=state"]);
        assert!(
            wrong.code == 3 && wrong.err.contains("the roles are status"),
            "{}",
            wrong.err
        );
    }
}
