//! `serve`: who comes in, what is served, and how it ends.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::thread;

use tempfile::TempDir;

use crate::database::{Kind, TestDatabase, databases};
use crate::pages::Pages;

struct Server {
    pages: Pages,
    _folder: TempDir,
    _database: TestDatabase,
}

fn command(database: &TestDatabase, folder: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_status-console"));
    command
        .current_dir(folder.path())
        .env("DATABASE_URL", &database.url)
        .env_remove("STATUS_CONSOLE_CONFIG")
        .env_remove("STATUS_CONSOLE_USER")
        .env_remove("STATUS_CONSOLE_PASSWORD")
        .stdin(Stdio::null());
    command
}

fn run(database: &TestDatabase, folder: &TempDir, arguments: &[&str]) -> Output {
    command(database, folder).args(arguments).output().unwrap()
}

impl Server {
    fn start(database: TestDatabase, more: &[&str], environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        database.sql("CREATE TABLE jobs (id INTEGER NOT NULL PRIMARY KEY)");
        let up = run(&database, &folder, &["migration", "jobs", "--only", "up"]).stdout;
        database.sql(&String::from_utf8(up).unwrap());
        database.sql("INSERT INTO jobs (id, status) VALUES (1, 30)");
        fs::write(
            folder.path().join("password"),
            "ada:secret
",
        )
        .unwrap();
        let pages = Pages::of(
            command(&database, &folder)
                .envs(environment.iter().copied())
                .args(["serve", "jobs", "--listen", "127.0.0.1:0"])
                .args(more)
                .stderr(Stdio::piped()),
        );
        Self {
            pages,
            _folder: folder,
            _database: database,
        }
    }

    /// The answer to a request with these lines in its head.
    fn ask(&self, request: &str, head: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(&self.pages.address).unwrap();
        let host = match head.contains("Host:") {
            true => String::new(),
            false => format!("Host: {}\r\n", self.pages.address),
        };
        let length = body.len();
        let text = format!(
            "{request} HTTP/1.1\r\n{host}{head}Content-Length: {length}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nConnection: close\r\n\r\n{body}"
        );
        stream.write_all(text.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn get(&self, path: &str) -> String {
        self.ask(&format!("GET {path}"), "", "")
    }

    /// Sends a signal, and waits for the end.
    fn end(mut self, signal: &str) -> (Option<i32>, String) {
        let id = self.pages.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", signal, &id])
                .status()
                .unwrap()
                .success()
        );
        let status = self.pages.child.wait().unwrap();
        let mut said = String::new();
        self.pages
            .child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        (status.code(), said)
    }
}

/// Lets those who connect to this address speak with the server at another one.
fn forward(from: &str, to: String) {
    let listener = TcpListener::bind(from).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (client, server) = (stream.unwrap(), TcpStream::connect(&to).unwrap());
            let ways = [
                (client.try_clone().unwrap(), server.try_clone().unwrap()),
                (server, client),
            ];
            for (mut from, mut to) in ways {
                thread::spawn(move || {
                    // The line may be cut on either side.
                    let _ = io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Write);
                });
            }
        }
    });
}

#[test]
fn a_database_that_is_away_at_the_start_hides_no_other_and_is_read_when_it_is_back() {
    let here = || TestDatabase::new(Kind::Sqlite).unwrap();
    let servers = [Kind::Postgres, Kind::Mysql].into_iter();
    for far in servers.filter_map(TestDatabase::new) {
        let (here, folder) = (here(), tempfile::tempdir().unwrap());
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap().to_string();
        drop(free);
        let server = far.url.rsplit(['@', '/']).nth(1).unwrap().to_owned();
        let mut description = String::new();
        for (name, database) in [("here", &here), ("far", &far)] {
            database.sql(&format!(
                "CREATE TABLE {name} (id INTEGER NOT NULL PRIMARY KEY)"
            ));
            let up = run(database, &folder, &["migration", name, "--only", "up"]).stdout;
            database.sql(&String::from_utf8(up).unwrap());
            let table = run(database, &folder, &["describe", name]).stdout;
            let url = format!("url = \"{}\"", database.url.replace(&server, &address));
            let table = String::from_utf8(table).unwrap();
            description += &table.replace("url_env = \"DATABASE_URL\"", &url);
        }
        fs::write(folder.path().join("status-console.toml"), description).unwrap();
        let mut serve = command(&here, &folder);
        serve.args(["serve", "--listen", "127.0.0.1:0"]);
        let console = Server {
            pages: Pages::of(serve.stderr(Stdio::piped())),
            _folder: folder,
            _database: here,
        };

        let metrics = console.get("/metrics");
        assert!(
            metrics.contains("table_readable{table=\"here\"} 1"),
            "{metrics}"
        );
        assert!(
            metrics.contains("table_readable{table=\"far\"} 0"),
            "{metrics}"
        );
        let page = console.get("/");
        assert!(page.contains(">here<") && page.contains(">far<"), "{page}");

        forward(&address, server);
        let metrics = console.get("/metrics");
        assert!(
            metrics.contains("table_readable{table=\"far\"} 1"),
            "{metrics}"
        );

        let (_, said) = console.end("TERM");
        let first = said.lines().next().unwrap_or_default();
        let why = "status-console: `far` cannot be read, and is tried again: ";
        assert!(
            first.starts_with(why) && first.contains("127.0.0.1"),
            "{said}"
        );
    }
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or(answer)
}

#[test]
fn the_pages_and_the_metrics_are_served_on_every_database() {
    for database in databases() {
        let server = Server::start(database, &[], &[]);
        let page = server.get("/");
        assert_eq!(status(&page), "200", "{page}");
        assert!(page.contains("jobs"), "{page}");
        let metrics = server.get("/metrics");
        assert!(
            metrics
                .contains("status_console_jobs{status=\"failed\",step=\"job\",table=\"jobs\"} 1"),
            "{metrics}"
        );
        assert_eq!(server.end("TERM"), (Some(0), String::new()));
    }
}

#[test]
fn without_a_password_only_this_machine_is_served() {
    let database = TestDatabase::new(Kind::Sqlite).unwrap();
    let server = Server::start(database, &[], &[]);
    // A name of another site that leads here.
    let other = server.ask("GET /", "Host: evil.example\r\n", "");
    assert_eq!(status(&other), "421", "{other}");
    let folder = tempfile::tempdir().unwrap();
    let refused = run(
        &server._database,
        &folder,
        &["serve", "jobs", "--listen", "0.0.0.0:0"],
    );
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(
        refused.status.code() == Some(3) && said.contains("open to other machines"),
        "{said}"
    );
    assert_eq!(server.end("INT"), (Some(0), String::new()));
}

#[test]
fn a_password_is_asked_for_and_comes_from_the_environment_or_a_file() {
    let environment = [
        ("STATUS_CONSOLE_USER", "ada"),
        ("STATUS_CONSOLE_PASSWORD", "secret"),
    ];
    let from_file = ["--password-file", "password"];
    for (more, environment) in [(&[][..], &environment[..]), (&from_file[..], &[])] {
        let database = TestDatabase::new(Kind::Sqlite).unwrap();
        let server = Server::start(database, more, environment);
        // The second is ada:wrong.
        for head in [
            "",
            "Authorization: Basic YWRhOndyb25n\r\n",
            "Authorization: Basic x\r\n",
        ] {
            let answer = server.ask("GET /", head, "");
            assert_eq!(status(&answer), "401", "{answer}");
            assert!(
                answer.to_lowercase().contains("www-authenticate: basic"),
                "{answer}"
            );
            assert_eq!(status(&server.ask("GET /metrics", head, "")), "401");
        }
        // ada:secret
        let head = "Authorization: Basic YWRhOnNlY3JldA==\r\nHost: console.example\r\n";
        assert_eq!(status(&server.ask("GET /", head, "")), "200");
        assert_eq!(server.end("TERM"), (Some(0), String::new()));
    }
}

#[test]
fn jobs_are_changed_only_where_that_is_allowed() {
    for (is_allowed, expected) in [(false, "30"), (true, "10")] {
        let database = TestDatabase::new(Kind::Sqlite).unwrap();
        let more = if is_allowed {
            &["--allow-actions"][..]
        } else {
            &[]
        };
        let server = Server::start(database, more, &[]);
        let origin = format!("Origin: http://{}\r\n", server.pages.address);
        let answer = server.ask(
            "POST /act",
            &origin,
            "table=jobs&action=reset&seen_at=99999999999999&mark=%7B%22key%22:%5B%221%22%5D%7D",
        );
        let shown = run(
            &server._database,
            &server._folder,
            &["list", "jobs", "--json"],
        )
        .stdout;
        let shown: serde_json::Value = serde_json::from_slice(&shown).unwrap();
        assert_eq!(shown["status"], expected, "{answer}");
        let (code, log) = server.end("TERM");
        assert_eq!(code, Some(0), "{log}");
        let is_logged = log.contains("jobs were changed") && log.contains("action=\"reset\"");
        assert_eq!(is_logged, is_allowed, "{log}");
    }
}

#[test]
fn a_client_that_says_nothing_does_not_delay_the_end() {
    let database = TestDatabase::new(Kind::Sqlite).unwrap();
    let server = Server::start(database, &[], &[]);
    let silent: Vec<_> = (0..50)
        .map(|_| TcpStream::connect(&server.pages.address).unwrap())
        .collect();
    let mut half = TcpStream::connect(&server.pages.address).unwrap();
    half.write_all(b"GET / HTTP/1.1\r\nHost: ").unwrap();
    assert_eq!(status(&server.get("/metrics")), "200");
    assert_eq!(server.end("TERM"), (Some(0), String::new()));
    drop(silent);
}

/// More than may be open at once: those that say nothing are closed in time.
#[test]
fn clients_that_say_nothing_do_not_shut_out_others() {
    let database = TestDatabase::new(Kind::Sqlite).unwrap();
    let server = Server::start(database, &[], &[]);
    let silent: Vec<_> = (0..250)
        .map(|_| TcpStream::connect(&server.pages.address).unwrap())
        .collect();
    assert_eq!(status(&server.get("/metrics")), "200");
    drop(silent);
    assert_eq!(server.end("TERM"), (Some(0), String::new()));
}
