//! One scenario: jobs, workers, faults, and the reckoning.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::check::{self, Figures};
use crate::crew::{Crew, Post};
use crate::worker::{Backend, Pace, now};

/// How much of it there is to be.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub jobs: usize,
    /// How long there are faults.
    pub faults_for: Duration,
}

/// Something that happens to the workers, or to what they depend on.
pub struct Fault<'a> {
    pub name: &'static str,
    /// Whether it concerns all workers at once.
    pub hits_all: bool,
    /// How often it may still happen.
    pub most: usize,
    /// It happens once, when half of the time is over.
    pub is_turning_point: bool,
    pub strike: Box<dyn FnMut(&mut Crew) + 'a>,
}

impl<'a> Fault<'a> {
    /// A fault of one worker.
    pub fn of_one(name: &'static str, strike: impl FnMut(&mut Crew) + 'a) -> Self {
        Self {
            name,
            hits_all: false,
            most: usize::MAX,
            is_turning_point: false,
            strike: Box::new(strike),
        }
    }

    /// A fault of what all depend on.
    pub fn of_all(name: &'static str, mut strike: impl FnMut() + 'a) -> Self {
        Self {
            hits_all: true,
            ..Self::of_one(name, move |_| strike())
        }
    }

    pub fn once_halfway(mut self) -> Self {
        (self.most, self.is_turning_point) = (1, true);
        self
    }

    pub fn at_most(mut self, most: usize) -> Self {
        self.most = most;
        self
    }
}

/// What every worker has to live with.
pub fn of_processes() -> Vec<Fault<'static>> {
    vec![
        Fault::of_one("kill -9 of a worker", Crew::kill_one),
        Fault::of_one("SIGSTOP past its lock", Crew::stop_one),
    ]
}

/// What came of a scenario.
pub struct Report {
    pub name: &'static str,
    pub figures: Figures,
    /// What has struck, and when, in milliseconds of the clock.
    pub struck: Vec<(u64, &'static str)>,
    pub ends: Vec<u64>,
    /// Seconds of the longest time in which no job came to its end.
    pub standstill: f64,
    pub violations: Vec<String>,
    pub complaints: Vec<(usize, String)>,
}

impl Report {
    pub const HEAD: &'static str = "| | jobs | faults | succeeded | ignored | lost | doubled | runs again | longest standstill |\n|---|---|---|---|---|---|---|---|---|\n";

    /// As a row of a table in Markdown.
    pub fn row(&self) -> String {
        let Figures {
            jobs,
            succeeded,
            ignored,
            lost,
            doubled,
            again,
        } = self.figures;
        let (name, faults, standstill) = (self.name, self.struck.len(), self.standstill);
        format!(
            "| {name} | {jobs} | {faults} | {succeeded} | {ignored} | {lost} | {doubled} | {again} | {standstill:.1} s |\n"
        )
    }
}

pub struct Scene<'a> {
    pub name: &'static str,
    pub backend: Backend,
    pub size: Size,
    pub pace: Pace,
    pub folder: &'a Path,
    pub posts: Vec<Post>,
    /// From where the tables are looked at.
    pub url: &'a str,
    /// What is to be done once the tables are there.
    pub prepared: Option<Box<dyn FnOnce() + 'a>>,
}

impl Scene<'_> {
    /// Runs it, with faults that each mend what they have broken.
    pub fn play(self, mut faults: Vec<Fault<'_>>) -> Report {
        (self.backend.prepare)(self.url, self.size.jobs);
        if let Some(then) = self.prepared {
            then();
        }
        let mut crew = Crew::start(self.backend, self.pace, self.folder, &self.posts);
        let mut struck: Vec<(u64, &'static str)> = Vec::new();
        let (mut hit_all, begun) = (0, Instant::now());
        while begun.elapsed() < self.size.faults_for {
            thread::sleep(Duration::from_millis(fastrand::u64(200..1200)));
            crew.look_after();
            let is_second_half = begun.elapsed() > self.size.faults_for / 2;
            let turn = |fault: &Fault<'_>| fault.is_turning_point && fault.most > 0;
            let n = match faults.iter().position(turn) {
                Some(n) if is_second_half => n,
                _ => fastrand::usize(..faults.len()),
            };
            let fault = &mut faults[n];
            if fault.most == 0 || fault.is_turning_point && !is_second_half {
                continue;
            }
            fault.most -= 1;
            struck.push((now(), fault.name));
            hit_all += usize::from(fault.hits_all);
            (fault.strike)(&mut crew);
        }
        crew.wake_all();
        // Far longer than locks and pauses last.
        let deadline = Instant::now() + Duration::from_secs(180);
        while (self.backend.unfinished)(self.url) != Some(0) && Instant::now() < deadline {
            crew.look_after();
            thread::sleep(Duration::from_millis(200));
        }
        let mut violations = Vec::new();
        if !crew.dismiss() {
            violations.push("a worker did not end when it was asked to".to_owned());
        }
        let snapshot = (self.backend.snapshot)(self.url);
        let runs = crew.runs();
        // Each fault may have cost what was running: once where it happened, and
        // once more where a worker stood still and its jobs were at another's.
        let in_hand = self.pace.threads * 2;
        let explained = in_hand * (struck.len() + hit_all * self.posts.len());
        let (figures, found) = check::check(self.size.jobs, &snapshot, &runs, explained);
        violations.extend(found);
        if violations.is_empty() {
            check::assert_finds_what_is_planted(self.size.jobs, &snapshot, &runs);
        }
        let gaps = runs.ends.windows(2).map(|pair| pair[1] - pair[0]);
        Report {
            name: self.name,
            figures,
            struck,
            standstill: gaps.max().unwrap_or(0) as f64 / 1000.0,
            ends: runs.ends,
            violations,
            complaints: crew.complaints(),
        }
    }
}
