//! What is seen on a terminal while long work goes on.

use super::{Console, consoles};

/// What a terminal gets while the program works; `script` gives it one.
fn on_a_terminal(console: &Console, arguments: &str) -> String {
    let program = env!("CARGO_BIN_EXE_status-console");
    let mut script = std::process::Command::new("script");
    let out = script
        .args(["--quiet", "--return", "--echo", "never", "--command"])
        .arg(format!("stty rows 24 cols 40; exec {program} {arguments}"))
        .arg("/dev/null")
        .current_dir(console.folder.path())
        .env("DATABASE_URL", &console.database.url)
        .env("TERM", "xterm-256color")
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert!(out.status.success(), "{out:?}");
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn a_bar_shows_how_far_long_work_is_and_goes_with_it() {
    for console in consoles() {
        console.many(250);
        console.database.sql("UPDATE jobs SET status = 30");
        let arguments = "--allow-actions reset jobs --status failed --yes";
        let seen = on_a_terminal(&console, arguments);
        assert!(seen.contains("100 of 250 jobs"), "{seen:?}");
        // The line is wiped before the sums are printed.
        let (before, after) = seen.rsplit_once("\u{1b}[2K").unwrap();
        assert!(before.contains("of 250"), "{seen:?}");
        assert_eq!(after.trim(), "250 done, 0 passed over", "{seen:?}");

        // Where nobody looks, there is no bar.
        console.database.sql("UPDATE jobs SET status = 30");
        let piped = console.run(&[
            "--allow-actions",
            "reset",
            "jobs",
            "--status",
            "failed",
            "--yes",
            "--json",
        ]);
        assert_eq!(
            piped.ok(),
            "{\"done\":250,\"passed_over_count\":0,\"passed_over\":[]}\n"
        );
    }
}
