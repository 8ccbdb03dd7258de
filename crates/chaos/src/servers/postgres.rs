//! PostgreSQL, alone or as a primary with a standby.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use diesel::prelude::*;

use super::{Home, free_port, freeze_tree, kill_tree, wait_for};
use crate::crew::signal;

/// Where a client gives up on a server that says nothing: seconds to connect,
/// and milliseconds for what it has sent to be acknowledged.
const PATIENCE: &str = "connect_timeout=2&tcp_user_timeout=3000&keepalives_idle=2&keepalives_interval=1&keepalives_count=3";

pub struct Postgres {
    home: Home,
    port: u16,
    process: Child,
}

/// The folder of its programs, which are not on PATH.
fn bin() -> PathBuf {
    let folder = std::env::var("POSTGRES_BIN").expect("POSTGRES_BIN, which scripts/chaos sets");
    PathBuf::from(folder)
}

fn launch(home: &Home, port: u16) -> Child {
    let process = home
        .command(bin().join("postgres"))
        .args(["-D", "data", "-c", "listen_addresses=127.0.0.1"])
        .args([
            "-c",
            "unix_socket_directories=",
            "-c",
            "max_connections=200",
        ])
        .args(["-c", &format!("port={port}")])
        .spawn()
        .unwrap();
    wait_for("PostgreSQL", || answers(port));
    process
}

fn answers(port: u16) -> bool {
    let mut ready = Command::new(bin().join("pg_isready"));
    ready.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()]);
    ready.stdout(Stdio::null()).status().unwrap().success()
}

impl Postgres {
    pub fn start(parent: &Path, name: &str) -> Self {
        let home = Home::new(parent, name, "postgres");
        home.run(home.command(bin().join("initdb")).args([
            "-D",
            "data",
            "-U",
            "postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
        ]));
        let port = free_port();
        let process = launch(&home, port);
        let server = Self {
            home,
            port,
            process,
        };
        server.sql("CREATE DATABASE status_tracker");
        server
    }

    /// A standby of this server, to which it commits synchronously.
    pub fn standby(&self, parent: &Path) -> Self {
        let home = Home::new(parent, "standby", "postgres");
        home.run(home.command(bin().join("pg_basebackup")).args([
            "-h",
            "127.0.0.1",
            "-p",
            &self.port.to_string(),
            "-U",
            "postgres",
            "-D",
            "data",
            "-R",
            "-X",
            "stream",
            "-c",
            "fast",
        ]));
        let port = free_port();
        let process = launch(&home, port);
        let standby = Self {
            home,
            port,
            process,
        };
        self.sql("ALTER SYSTEM SET synchronous_standby_names = '*'");
        self.sql("SELECT pg_reload_conf()");
        wait_for("the standby", || {
            let sync = "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'";
            diesel::sql_query(sync).execute(&mut self.conn()) == Ok(1)
        });
        standby
    }

    fn conn(&self) -> PgConnection {
        let url = format!("postgres://postgres@127.0.0.1:{}/postgres", self.port);
        PgConnection::establish(&url).unwrap()
    }

    fn sql(&self, sql: &str) {
        diesel::sql_query(sql).execute(&mut self.conn()).unwrap();
    }

    pub fn url(&self) -> String {
        let port = self.port;
        format!("postgres://postgres@127.0.0.1:{port}/status_tracker?{PATIENCE}")
    }

    /// Whichever of the two takes writes.
    pub fn url_with(&self, other: &Self) -> String {
        let (one, two) = (self.port, other.port);
        format!(
            "postgres://postgres@127.0.0.1:{one},127.0.0.1:{two}/status_tracker?target_session_attrs=read-write&{PATIENCE}"
        )
    }

    pub fn terminate_backends(&self) {
        let Ok(mut conn) = PgConnection::establish(&self.url()) else {
            return;
        };
        let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = 'status_tracker' AND pid <> pg_backend_pid() AND random() < 0.5";
        diesel::sql_query(terminate).execute(&mut conn).unwrap();
    }

    /// An immediate shutdown, and a start: recovery as after a crash.
    pub fn restart(&mut self) {
        signal(self.process.id(), "QUIT");
        self.process.wait().unwrap();
        self.process = launch(&self.home, self.port);
    }

    pub fn kill(&mut self) {
        kill_tree(&mut self.process);
    }

    pub fn kill_and_start(&mut self) {
        self.kill();
        self.process = launch(&self.home, self.port);
    }

    pub fn freeze(&self, seconds: f64) {
        freeze_tree(&self.process, seconds);
    }

    /// Statements so far, and connections.
    pub fn counts(&self) -> (i64, i64) {
        use diesel::sql_types::BigInt;
        let counts = "(SELECT sum(xact_commit + xact_rollback)::bigint FROM pg_stat_database)";
        let open = "(SELECT count(*) FROM pg_stat_activity WHERE datname = 'status_tracker')";
        let conn = &mut self.conn();
        let count = |conn: &mut PgConnection, sql| {
            diesel::select(diesel::dsl::sql::<BigInt>(sql)).get_result(conn)
        };
        (count(conn, counts).unwrap(), count(conn, open).unwrap())
    }

    pub fn promote(&self) {
        let mut promote = self.home.command(bin().join("pg_ctl"));
        self.home.run(promote.args(["promote", "-D", "data", "-w"]));
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        kill_tree(&mut self.process);
    }
}
