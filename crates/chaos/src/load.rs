//! Many threads at once, and hours of work and leisure in turns: no faults,
//! but figures.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::crew::{Crew, Post};
use crate::servers::mariadb::Mariadb;
use crate::servers::postgres::Postgres;
use crate::worker::{Backend, Pace, mariadb, postgres};

type Play = fn(&Path);

pub const ALL: [(&str, Play); 2] = [("load", load), ("soak", soak)];

const PROCESSES: usize = 8;
const PACE: Pace = Pace {
    threads: 8,
    batch: 20,
    takes: Duration::ZERO,
};
const JOBS: usize = 100_000;
const SOAK: Duration = Duration::from_secs(600);
const LEISURE: Duration = Duration::from_secs(20);

/// A server under load.
struct Subject<'a> {
    backend: Backend,
    url: String,
    /// Statements so far, and connections.
    counts: &'a dyn Fn() -> (i64, i64),
}

impl Subject<'_> {
    fn crew(&self, folder: &Path) -> Crew {
        let url = self.url.clone();
        let post = Post {
            url,
            ..Post::default()
        };
        Crew::start(self.backend, PACE, folder, &vec![post; PROCESSES])
    }

    /// Waits until no job is open, and tells the seconds.
    fn drain(&self) -> f64 {
        let begun = Instant::now();
        while (self.backend.unfinished)(&self.url) != Some(0) {
            thread::sleep(Duration::from_millis(200));
        }
        begun.elapsed().as_secs_f64()
    }

    /// Statements a second while there is nothing to do.
    fn idle(&self) -> f64 {
        let (before, _) = (self.counts)();
        thread::sleep(LEISURE);
        let (after, _) = (self.counts)();
        (after - before) as f64 / LEISURE.as_secs_f64()
    }
}

/// On both servers; `at_once` where it is not speed that counts.
fn on_each(folder: &Path, at_once: bool, play: impl Fn(&Subject<'_>, &Path) + Sync) {
    let on = |backend: Backend, url: String, counts: &dyn Fn() -> (i64, i64)| {
        let home = folder.join(format!("on-{}", backend.name));
        std::fs::create_dir(&home).unwrap();
        let subject = Subject {
            backend,
            url,
            counts,
        };
        play(&subject, &home);
    };
    let on_postgres = || {
        let server = Postgres::start(folder, "postgres");
        on(postgres::BACKEND, server.url(), &|| server.counts());
    };
    let on_mariadb = || {
        let server = Mariadb::start(folder, "mariadb", &[]);
        on(mariadb::BACKEND, server.url(), &|| server.counts());
    };
    if at_once {
        thread::scope(|scope| {
            scope.spawn(on_postgres);
            scope.spawn(on_mariadb);
        });
    } else {
        on_postgres();
        on_mariadb();
    }
}

fn load(folder: &Path) {
    on_each(folder, false, |subject, home| {
        let name = subject.backend.name;
        (subject.backend.prepare)(&subject.url, JOBS);
        let mut crew = subject.crew(home);
        let seconds = subject.drain();
        let (_, connections) = (subject.counts)();
        let memory = crew.memory();
        let idle = subject.idle();
        assert!(crew.dismiss(), "a worker did not end when it was asked to");
        let again = crew.runs().begun.values().filter(|runs| **runs > 1).count();
        println!(
            "{name}: {JOBS} jobs by {} threads in {PROCESSES} processes: {seconds:.0} s, {:.0} a second; {connections} connections, {memory} KiB a process; {again} jobs ran again (one in {} is hopeless); idle: {idle:.0} statements a second",
            PROCESSES * PACE.threads,
            JOBS as f64 / seconds,
            crate::worker::HOPELESS,
        );
    });
}

fn soak(folder: &Path) {
    on_each(folder, true, |subject, home| {
        let name = subject.backend.name;
        (subject.backend.prepare)(&subject.url, 5000);
        let mut crew = subject.crew(home);
        let (begun, mut jobs) = (Instant::now(), 5000);
        while begun.elapsed() < SOAK {
            let seconds = subject.drain();
            let idle = subject.idle();
            let (_, connections) = (subject.counts)();
            println!(
                "{name} after {:.0} s: {jobs} jobs, the last 5000 in {seconds:.1} s; {connections} connections, {} KiB a process; idle: {idle:.0} statements a second",
                begun.elapsed().as_secs_f64(),
                crew.memory(),
            );
            (subject.backend.add)(&subject.url, jobs + 1..=jobs + 5000);
            jobs += 5000;
        }
        subject.drain();
        assert!(crew.dismiss(), "a worker did not end when it was asked to");
    });
}
