//! Other processes: this test program, run once more for the one test that
//! plays the worker's part.

use std::env;
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use diesel_status_tracker::{Error, StatusTracked};
use serde_json::json;

use super::database::{TestPool, pool_at};
use super::jobs::{Job, data};
use super::panics_of_values::unwind_over_each;
use super::transaction::{Tireless, book};

const PART: &str = "STATUS_TRACKER_TEST_PART";
const URL: &str = "STATUS_TRACKER_TEST_URL";
/// What a worker says begins so; the rest of its output is the test harness's.
const SAYS: &str = "worker says: ";

/// A worker in a process of its own, which dies with this value at the latest.
pub struct Worker {
    process: Child,
    output: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    /// Starts one of the parts that [`plays_a_part`] knows.
    pub fn start(part: &str, url: &str) -> Self {
        let (_crate, module) = module_path!().split_once("::").unwrap();
        let mut process = Command::new(env::current_exe().unwrap())
            .args(["--exact", &format!("{module}::plays_a_part"), "--nocapture"])
            .env(PART, part)
            .env(URL, url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, output }
    }

    /// Waits for the next thing that it says, `None` once it has ended.
    pub fn hear(&mut self) -> Option<String> {
        let mut lines = self.output.by_ref().map(Result::unwrap);
        lines.find_map(|line| line.strip_prefix(SAYS).map(str::to_owned))
    }

    pub fn tell(&mut self, order: &str) {
        let input = self.process.stdin.as_mut().unwrap();
        writeln!(input, "{order}").unwrap();
    }

    /// Tells it, and waits for the answer.
    pub fn ask(&mut self, order: &str) -> String {
        self.tell(order);
        self.hear().unwrap()
    }

    /// SIGKILL: it gets to do nothing more. What it had said can still be heard.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Sends `STOP` or `CONT`.
    pub fn signal(&self, signal: &str) {
        let kill = format!("kill -s {signal} {}", self.process.id());
        let status = Command::new("sh").args(["-c", &kill]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The worker's side; does nothing where no [`Worker`] asks for it.
#[test]
fn plays_a_part() {
    let (Ok(part), Ok(url)) = (env::var(PART), env::var(URL)) else {
        return;
    };
    println!(); // ends the line that the test harness has begun
    let pool = pool_at(&url, 2, Duration::from_secs(30));
    match part.as_str() {
        "hold" => hold(&pool),
        "drain" => drain(&pool),
        "book" => book_many(&pool),
        "hang" => book_and_hang(&pool),
        "work" => work(&pool, usize::MAX),
        "work a little" => work(&pool, 120),
        "unwind" => {
            unwind_over_each(&pool);
            say("still here");
        }
        "die" => Job::run_job(&pool, "a", |_, _| std::process::abort()).unwrap(),
        _ => unreachable!("no part is called {part}"),
    }
}

/// Holds the job "a" and does with it as it is told.
fn hold(pool: &TestPool) {
    let mut attempt = Job::start(pool, "a").unwrap();
    attempt.updates = data(json!("the worker's"));
    say(attempt.token());
    loop {
        let ended = match hear().as_str() {
            "renew" => {
                say(outcome(attempt.renew()));
                continue;
            }
            "save" => {
                say(outcome(attempt.save(data(json!("the worker's")))));
                continue;
            }
            "succeed" => attempt.succeed(),
            "fail" => attempt.fail("the worker's"),
            other => unreachable!("no order is called {other}"),
        };
        say(outcome(ended));
        return;
    }
}

/// Runs what is ready, from the word go, and says what it has run.
fn drain(pool: &TestPool) {
    say("ready");
    hear();
    let run = || {
        Job::run_next(pool, |job, updates| {
            say(&job.id);
            *updates = data(json!(job.id));
            Ok(())
        })
    };
    while run().unwrap().is_some() {}
}

/// Books jobs, some batches of them, each in a transaction with its success,
/// and says how far it is; then waits for its end.
fn book_many(pool: &TestPool) {
    let this = std::process::id().cast_signed();
    for _ in 0..4 {
        for attempt in Tireless::claim_next(pool, 5).unwrap() {
            let ended = attempt.run_in_transaction(|conn, job, updates| {
                say("begun");
                *updates = data(json!(job.id));
                book(conn, &job.id, this)?;
                say("booked");
                Ok(())
            });
            match ended {
                Ok(()) | Err(Error::LockLost { .. } | Error::Released { .. }) => say("ended"),
                Err(other) => panic!("{other:?}"),
            }
        }
    }
    say("idle");
    hear();
}

/// Books the job "a", and does not get to the end of the transaction.
fn book_and_hang(pool: &TestPool) {
    let ended = Job::run_job_in_transaction(pool, "a", |conn, job, _| {
        book(conn, &job.id, 1)?;
        say("booked");
        Ok(hear())
    });
    unreachable!("{ended:?}");
}

/// Works off what is ready, from the word go, and says what it has run; stands
/// still when it has begun so many.
fn work(pool: &TestPool, most: usize) {
    say("ready");
    hear();
    let begun = AtomicUsize::new(0);
    let worker = Job::worker(pool).threads(2).batch(20);
    let done = worker.run_until_empty(|job, _| {
        if begun.fetch_add(1, Ordering::Relaxed) >= most {
            hear();
        }
        Ok(say(&job.id))
    });
    done.unwrap();
}

fn outcome(result: Result<(), Error>) -> &'static str {
    match result {
        Ok(()) => "done",
        Err(Error::LockLost { .. }) => "lock lost",
        Err(other) => panic!("{other:?}"),
    }
}

fn say(text: &str) {
    println!("{SAYS}{text}");
}

fn hear() -> String {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}
