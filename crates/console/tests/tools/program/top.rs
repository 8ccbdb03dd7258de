//! `top`, on a terminal and without one.

use std::io::Write;
use std::process::Stdio;

use super::consoles;

#[test]
fn top_shows_the_steps_on_a_terminal_until_a_key_ends_it() {
    for console in consoles() {
        console.fill();
        // `script` gives the program a terminal.
        let program = env!("CARGO_BIN_EXE_status-console");
        let mut script = std::process::Command::new("script");
        let mut screen = script
            .args(["--quiet", "--return", "--echo", "never", "--command"])
            .arg(format!("stty rows 24 cols 40; exec {program} top jobs"))
            .arg("/dev/null")
            .current_dir(console.folder.path())
            .env("DATABASE_URL", &console.database.url)
            .env("TERM", "xterm-256color")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = screen.stdout.take().unwrap();
        let mut seen = String::new();
        // A screen is written in pieces, with commands to the terminal between.
        while !seen.contains("jobs") || !seen.contains("stuck") {
            let mut piece = [0; 4096];
            let length = std::io::Read::read(&mut out, &mut piece).unwrap();
            assert!(length > 0, "it has ended: {seen}");
            seen.push_str(&String::from_utf8_lossy(&piece[..length]));
        }
        screen.stdin.take().unwrap().write_all(b"q").unwrap();
        std::io::copy(&mut out, &mut std::io::sink()).unwrap();
        assert!(screen.wait().unwrap().success());
    }
}

#[test]
fn top_without_a_terminal_names_the_command_that_prints_the_same() {
    let console = consoles().remove(0);
    let said = console.run(&["top", "jobs"]);
    assert_eq!(said.code, 3);
    assert_eq!(
        said.err,
        "status-console: `top` needs a terminal; `overview` prints the same once\n"
    );
}
