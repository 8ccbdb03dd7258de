//! Servers of a scenario's own, in temporary folders, on free ports.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

pub mod mariadb;
pub mod postgres;

pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|this| std::os::unix::fs::MetadataExt::uid(&this) == 0)
}

/// A folder in which a server may live, and the words that run its programs:
/// root does so through that server's user, as servers refuse root.
struct Home {
    folder: PathBuf,
    user: Option<&'static str>,
}

impl Home {
    fn new(parent: &Path, name: &str, user: &'static str) -> Self {
        let folder = parent.join(name);
        fs::create_dir(&folder).unwrap();
        let mut home = Self { folder, user: None };
        if is_root() {
            let status = Command::new("chown").arg(user).arg(&home.folder).status();
            assert!(status.unwrap().success(), "there is no user {user}");
            home.user = Some(user);
        }
        fs::set_permissions(&home.folder, fs::Permissions::from_mode(0o700)).unwrap();
        home
    }

    fn command(&self, program: impl AsRef<Path>) -> Command {
        let log = self.folder.with_extension("log");
        let log = File::options().append(true).create(true).open(log).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if let Some(user) = self.user {
            command.args(["--reuid", user, "--regid", user, "--init-groups"]);
        }
        command
            .arg(program.as_ref())
            .current_dir(&self.folder)
            .env("TMPDIR", &self.folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        command
    }

    fn run(&self, command: &mut Command) {
        let status = command.status().unwrap();
        let log = self.folder.with_extension("log");
        assert!(status.success(), "{command:?}: see {}", log.display());
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().to_owned()
    }
}

/// Waits until a server answers.
fn wait_for(what: &str, mut answers: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(90);
    while !answers() {
        assert!(Instant::now() < deadline, "{what} does not come up");
        thread::sleep(Duration::from_millis(100));
    }
}

/// Kills a server outright, and its processes with it.
fn kill_tree(process: &mut Child) {
    let id = process.id().to_string();
    // Stopped first, so that it starts no more of them.
    let _ = Command::new("kill").args(["-s", "STOP", &id]).status();
    let _ = Command::new("pkill").args(["-KILL", "-P", &id]).status();
    let _ = process.kill();
    let _ = process.wait();
}

/// Keeps a server silent, its connections standing.
fn freeze_tree(process: &Child, seconds: f64) {
    let id = process.id().to_string();
    for name in ["STOP", "CONT"] {
        let _ = Command::new("pkill")
            .args([&format!("-{name}"), "-P", &id])
            .status();
        let _ = Command::new("kill").args(["-s", name, &id]).status();
        if name == "STOP" {
            thread::sleep(Duration::from_secs_f64(seconds));
        }
    }
}

/// The firewall's rules under which nothing gets to or from this port.
fn drop_packets(action: &str, port: u16) -> bool {
    ["--dport", "--sport"].iter().all(|end| {
        let mut rule = Command::new("iptables");
        rule.args(["-w", action, "INPUT", "-i", "lo", "-p", "tcp", end]);
        rule.args([&port.to_string(), "-j", "DROP"]);
        rule.output().is_ok_and(|done| done.status.success())
    })
}

/// Swallows what is sent to or from this port: nobody is told. Tells whether
/// it could.
pub fn black_hole(port: u16, seconds: f64) -> bool {
    let is_there = drop_packets("-I", port);
    if is_there {
        thread::sleep(Duration::from_secs_f64(seconds));
    }
    drop_packets("-D", port);
    is_there
}

/// Lets the servers' users get to their folders in this one.
pub fn let_others_in(folder: &Path) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o711)).unwrap();
}
