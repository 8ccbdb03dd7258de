//! The worker processes of a scenario, and what is done to them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

use crate::check::Runs;
use crate::worker::{Backend, Pace};

pub const PART: &str = "STATUS_TRACKER_CHAOS_PART";

/// How one worker process is started.
#[derive(Clone, Default)]
pub struct Post {
    pub url: String,
    pub env: Vec<(&'static str, String)>,
    /// Whom it runs as, where not as who started all.
    pub user: Option<&'static str>,
}

/// A process, at its post.
struct Member {
    post: Post,
    process: Child,
    /// Until when it stands still.
    stopped: Option<Instant>,
}

pub struct Crew {
    backend: Backend,
    pace: Pace,
    folder: PathBuf,
    members: Vec<Member>,
    started: usize,
}

impl Crew {
    pub fn start(backend: Backend, pace: Pace, folder: &Path, posts: &[Post]) -> Self {
        let mut crew = Self {
            backend,
            pace,
            folder: folder.to_owned(),
            members: Vec::new(),
            started: 0,
        };
        for post in posts {
            let process = crew.spawn(post);
            crew.members.push(Member {
                post: post.clone(),
                process,
                stopped: None,
            });
        }
        crew
    }

    fn spawn(&mut self, post: &Post) -> Child {
        self.started += 1;
        let diary = self.folder.join(format!("diary-{}", self.started));
        let errors = fs::File::create(self.folder.join(format!("log-{}", self.started))).unwrap();
        let this = env::current_exe().unwrap();
        let mut command = match post.user {
            Some(user) => {
                let mut command = Command::new("setpriv");
                command.args(["--reuid", user, "--regid", "nogroup", "--clear-groups"]);
                command.arg(this);
                command
            }
            None => Command::new(this),
        };
        command
            .env(PART, self.backend.name)
            .envs(post.env.iter().cloned())
            .args([post.url.as_str(), diary.to_str().unwrap()])
            .args(self.pace.args())
            .stdin(Stdio::piped())
            .stderr(errors)
            .spawn()
            .unwrap()
    }

    /// SIGKILL to one of them; another takes its post.
    pub fn kill_one(&mut self) {
        let n = fastrand::usize(..self.members.len());
        self.replace(n);
    }

    fn replace(&mut self, n: usize) {
        let post = self.members[n].post.clone();
        let _ = self.members[n].process.kill();
        self.members[n].process.wait().unwrap();
        let process = self.spawn(&post);
        let member = &mut self.members[n];
        (member.process, member.stopped) = (process, None);
    }

    /// SIGSTOP to one of them, for longer than its locks last.
    pub fn stop_one(&mut self) {
        let n = fastrand::usize(..self.members.len());
        let member = &mut self.members[n];
        if member.stopped.is_none() {
            signal(member.process.id(), "STOP");
            member.stopped = Some(Instant::now() + Duration::from_secs(5));
        }
    }

    /// Wakes those whose time has come, and replaces those that have ended.
    pub fn look_after(&mut self) {
        for n in 0..self.members.len() {
            let member = &mut self.members[n];
            if member.stopped.is_some_and(|until| Instant::now() >= until) {
                signal(member.process.id(), "CONT");
                member.stopped = None;
            }
            if member.process.try_wait().unwrap().is_some() {
                self.replace(n);
            }
        }
    }

    /// No longer at all of them, whatever they stand at.
    pub fn wake_all(&mut self) {
        for member in &mut self.members {
            if member.stopped.take().is_some() {
                signal(member.process.id(), "CONT");
            }
        }
    }

    /// Asks all to end, and waits for that, which may take as long as the database
    /// keeps them waiting; tells whether they did.
    pub fn dismiss(&mut self) -> bool {
        self.wake_all();
        for member in &mut self.members {
            drop(member.process.stdin.take());
        }
        let deadline = Instant::now() + Duration::from_secs(60);
        self.members.iter_mut().all(|member| {
            loop {
                if let Some(status) = member.process.try_wait().unwrap() {
                    return status.success();
                }
                if Instant::now() > deadline {
                    return false;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        })
    }

    /// The resident memory of the largest of them, in KiB.
    pub fn memory(&self) -> u64 {
        let of_one = |member: &Member| {
            let status = format!("/proc/{}/status", member.process.id());
            let status = fs::read_to_string(status).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
            number.map_or(0, |number| number.parse().unwrap())
        };
        self.members.iter().map(of_one).max().unwrap_or(0)
    }

    /// What all of them have written down.
    pub fn runs(&self) -> Runs {
        let mut runs = Runs::default();
        for n in 1..=self.started {
            let diary = self.folder.join(format!("diary-{n}"));
            for line in fs::read_to_string(diary).unwrap_or_default().lines() {
                let mut words = line.split(' ');
                match (words.next(), words.next(), words.next()) {
                    (Some("begin"), Some(job), _) => {
                        *runs.begun.entry(job.to_owned()).or_default() += 1;
                    }
                    (Some("end"), _, Some(at)) => runs.ends.push(at.parse().unwrap()),
                    _ => panic!("a line of a diary: {line:?}"),
                }
            }
        }
        runs.ends.sort_unstable();
        runs
    }

    /// What they had to say, each line once, with how often.
    pub fn complaints(&self) -> Vec<(usize, String)> {
        let mut lines: HashMap<String, usize> = HashMap::new();
        for n in 1..=self.started {
            let log = self.folder.join(format!("log-{n}"));
            for line in fs::read_to_string(log).unwrap_or_default().lines() {
                *lines.entry(line.to_owned()).or_default() += 1;
            }
        }
        let mut lines: Vec<_> = lines.into_iter().map(|(line, n)| (n, line)).collect();
        lines.sort_by(|a, b| b.cmp(a));
        lines
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for member in &mut self.members {
            // It may have ended by itself, which is as good.
            let _ = member.process.kill();
            let _ = member.process.wait();
        }
    }
}

pub fn signal(process: u32, signal: &str) {
    let status = Command::new("kill")
        .args(["-s", signal, &process.to_string()])
        .status();
    assert!(status.unwrap().success(), "no signal for {process}");
}
