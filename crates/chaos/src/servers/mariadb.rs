//! MariaDB, alone or as a cluster of three.

use std::path::Path;
use std::process::Child;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;

use super::{Home, free_port, freeze_tree, kill_tree, wait_for};

pub struct Mariadb {
    home: Home,
    port: u16,
    options: Vec<String>,
    process: Child,
}

const SETUP: &str = "CREATE DATABASE IF NOT EXISTS status_tracker;
CREATE USER IF NOT EXISTS test IDENTIFIED BY 'test';
GRANT ALL ON *.* TO test WITH GRANT OPTION;
";

fn launch(home: &Home, port: u16, options: &[String]) -> Child {
    home.command("/usr/sbin/mariadbd")
        .arg("--no-defaults")
        .args([
            format!("--datadir={}", home.path("data")),
            format!("--init-file={}", home.path("setup.sql")),
            format!("--socket={}", home.path("socket")),
            format!("--pid-file={}", home.path("pid")),
            format!("--port={port}"),
        ])
        .args([
            "--bind-address=127.0.0.1",
            "--character-set-server=utf8mb4",
            "--max-connections=200",
        ])
        .args(options)
        .spawn()
        .unwrap()
}

impl Mariadb {
    pub fn start(parent: &Path, name: &str, options: &[String]) -> Self {
        let home = Home::new(parent, name, "mysql");
        let data = home.path("data");
        home.run(home.command("mariadb-install-db").args([
            "--no-defaults",
            &format!("--datadir={data}"),
            "--skip-test-db",
            "--auth-root-authentication-method=normal",
        ]));
        std::fs::write(home.path("setup.sql"), SETUP).unwrap();
        let port = free_port();
        let process = launch(&home, port, options);
        let server = Self {
            home,
            port,
            options: options.to_vec(),
            process,
        };
        server.wait();
        server
    }

    pub fn url(&self) -> String {
        format!("mysql://test:test@127.0.0.1:{}/status_tracker", self.port)
    }

    fn wait(&self) {
        wait_for("MariaDB", || {
            let ready = "SELECT 1 FROM DUAL";
            MysqlConnection::establish(&self.url())
                .is_ok_and(|mut conn| conn.batch_execute(ready).is_ok())
        });
    }

    pub fn kill_and_start(&mut self) {
        kill_tree(&mut self.process);
        self.process = launch(&self.home, self.port, &self.options);
        self.wait();
    }

    pub fn freeze(&self, seconds: f64) {
        freeze_tree(&self.process, seconds);
    }

    /// Statements so far, and connections.
    pub fn counts(&self) -> (i64, i64) {
        #[derive(QueryableByName)]
        struct Status {
            #[diesel(sql_type = diesel::sql_types::Text)]
            value: String,
        }
        let conn = &mut MysqlConnection::establish(&self.url()).unwrap();
        ["QUESTIONS", "THREADS_CONNECTED"]
            .map(|name| {
                let sql = format!(
                    "SELECT variable_value AS value FROM information_schema.global_status WHERE variable_name = '{name}'"
                );
                let status: Status = diesel::sql_query(sql).get_result(conn).unwrap();
                status.value.parse().unwrap()
            })
            .into()
    }

    /// Ends half of the sessions.
    pub fn end_sessions(&self) {
        #[derive(QueryableByName)]
        struct Session {
            #[diesel(sql_type = diesel::sql_types::BigInt)]
            id: i64,
        }
        let Ok(mut conn) = MysqlConnection::establish(&self.url()) else {
            return;
        };
        let list = "SELECT CAST(id AS SIGNED) AS id FROM information_schema.processlist
             WHERE user = 'test' AND id <> CONNECTION_ID()";
        let Ok(sessions) = diesel::sql_query(list).load::<Session>(&mut conn) else {
            return;
        };
        for session in sessions {
            if fastrand::bool() {
                // It may have ended by itself.
                let _ = conn.batch_execute(&format!("KILL {}", session.id));
            }
        }
    }

    /// Locks rows in an order in which nobody else does, so that deadlocks
    /// come about, and holds them for longer than others wait.
    pub fn get_in_the_way(&self) {
        let Ok(mut conn) = MysqlConnection::establish(&self.url()) else {
            return;
        };
        let lock = "SET innodb_lock_wait_timeout = 2; START TRANSACTION;
             UPDATE jobs SET data = data WHERE status IN (10, 20, 30) ORDER BY id DESC LIMIT 40;
             UPDATE ledger SET job = job ORDER BY run DESC LIMIT 20;
             DO SLEEP(1.5); COMMIT";
        // Where it is the one to make way, that is as good.
        let _ = conn.batch_execute(lock);
    }
}

impl Drop for Mariadb {
    fn drop(&mut self) {
        kill_tree(&mut self.process);
    }
}

/// Three nodes that replicate to each other.
pub fn cluster(parent: &Path) -> Vec<Mariadb> {
    let ports = [(); 3].map(|()| free_port());
    let members = ports.map(|port| format!("127.0.0.1:{port}")).join(",");
    let mut nodes: Vec<Mariadb> = Vec::new();
    for (n, port) in ports.into_iter().enumerate() {
        let (transfer, missed) = (free_port(), free_port());
        let mut options: Vec<String> = [
            "--wsrep-on=ON",
            "--wsrep-provider=/usr/lib/galera/libgalera_smm.so",
            "--wsrep-sst-method=rsync",
            "--binlog-format=ROW",
            "--innodb-autoinc-lock-mode=2",
            "--wsrep-sync-wait=1",
            "--wsrep-slave-threads=2",
            // A node that was cut off may leave a session without its answer:
            // to the server it idles, and is ended in the end.
            "--wait-timeout=20",
        ]
        .map(str::to_owned)
        .into();
        options.extend([
            format!("--wsrep-node-name=node{n}"),
            format!("--wsrep-node-address=127.0.0.1:{port}"),
            format!("--wsrep-sst-receive-address=127.0.0.1:{transfer}"),
            format!(
                "--wsrep-provider-options=gmcast.listen_addr=tcp://127.0.0.1:{port};ist.recv_addr=127.0.0.1:{missed};gcache.size=64M"
            ),
        ]);
        // The first founds the cluster; later it joins as the others do.
        let join = format!("--wsrep-cluster-address=gcomm://{members}");
        let found = "--wsrep-cluster-address=gcomm://".to_owned();
        options.push(if n == 0 { found } else { join.clone() });
        let mut node = Mariadb::start(parent, &format!("node{n}"), &options);
        *node.options.last_mut().unwrap() = join;
        nodes.push(node);
    }
    nodes
}
