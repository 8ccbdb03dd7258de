//! A demonstration: tables, jobs, and workers that fail and are killed, in a temporary folder.

mod tables;
mod work;

use std::env;
use std::error::Error as StdError;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use diesel::SqliteConnection;
use diesel::connection::SimpleConnection;
use diesel::r2d2::{ConnectionManager, Pool};
use diesel_status_tracker::{BoxError, DescribedTable, StepInfo, TableInfo, sqlite};
use tempfile::TempDir;

use crate::table::Source;
use tables::{Download, Invoice, Resize, Webhook};

type DemoPool = Pool<ConnectionManager<SqliteConnection>>;

/// Worker processes.
const WORKERS: usize = 2;
/// Between two new jobs of each kind.
const PAUSE: Duration = Duration::from_millis(400);
/// One of the workers is killed after a time of about this length.
const LIFE: std::ops::Range<u64> = 20..40;
/// What a worker has to end in.
const GRACE: Duration = Duration::from_secs(5);

/// What runs until it is dropped: then the workers end, and the folder is deleted.
pub(crate) struct Demo {
    pool: DemoPool,
    /// Dropped first: that tells the thread to end.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
    folder: TempDir,
}

impl Demo {
    /// Makes the tables and starts the workers: processes of this program, which gets
    /// these arguments and the path of the file.
    pub fn start(arguments: &'static [&'static str]) -> Result<Self, Box<dyn StdError>> {
        let folder = tempfile::Builder::new()
            .prefix("status-console-demo-")
            .tempdir()?;
        let file = folder.path().join("demo.db");
        let pool = connect(&file, 4)?;
        pool.get()?.batch_execute(tables::CREATE)?;
        for number in 1..=40 {
            work::enqueue(&pool, number).map_err(|error| error.to_string())?;
        }
        let workers = (0..WORKERS).map(|_| Worker::start(arguments, &file));
        let workers = workers.collect::<std::io::Result<Vec<_>>>()?;
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = {
            let (pool, file) = (pool.clone(), file.clone());
            thread::Builder::new().name("demo".into()).spawn(move || {
                let mut run = Run {
                    pool,
                    file,
                    arguments,
                    workers,
                    number: 40,
                    kill_at: next_kill(),
                };
                loop {
                    match stopped.recv_timeout(PAUSE) {
                        Err(RecvTimeoutError::Timeout) => run.turn(),
                        _ => return,
                    }
                }
            })?
        };
        Ok(Self {
            pool,
            stop: Some(stop),
            thread: Some(thread),
            folder,
        })
    }

    /// Its tables, for the pages.
    pub fn sources(&self) -> diesel_status_tracker::Result<Vec<Source>> {
        let photos = TableInfo::of::<Download>()?
            .with_steps([StepInfo::of::<Download>()?, StepInfo::of::<Resize>()?])?;
        let tables = [
            TableInfo::of::<Invoice>()?,
            photos,
            TableInfo::of::<Webhook>()?,
        ];
        Ok(tables
            .map(|info| Source::new(DescribedTable::new(info), self.pool.clone()))
            .into())
    }

    /// Where its file is.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // Its panic has been printed, and the folder is to go all the same.
            let _ = thread.join();
        }
    }
}

/// What a worker process does: until its standard input ends.
pub(crate) fn work(file: &Path) -> Result<(), BoxError> {
    work::work(&connect(file, 4)?)
}

fn connect(file: &Path, connections: u32) -> Result<DemoPool, diesel::r2d2::PoolError> {
    Pool::builder()
        .max_size(connections)
        .test_on_check_out(false)
        .connection_customizer(Box::new(sqlite::Customizer::default()))
        .build(ConnectionManager::new(file.to_string_lossy()))
}

fn next_kill() -> Instant {
    Instant::now() + Duration::from_secs(fastrand::u64(LIFE))
}

/// What goes on while somebody looks at it.
struct Run {
    pool: DemoPool,
    file: PathBuf,
    arguments: &'static [&'static str],
    workers: Vec<Worker>,
    number: i32,
    kill_at: Instant,
}

impl Run {
    fn turn(&mut self) {
        self.number += 1;
        let done = work::enqueue(&self.pool, self.number);
        let done = done.and_then(|()| match self.number % 500 {
            0 => work::prune(&self.pool),
            _ => Ok(()),
        });
        if let Err(error) = done {
            tracing::warn!(error, "the demonstration goes on without these jobs");
        }
        if Instant::now() >= self.kill_at {
            self.kill_at = next_kill();
            // The dropped one is killed in mid-run: its jobs are free when their locks expire.
            if let Some(worker) = self.workers.pop() {
                worker.kill();
            }
            match Worker::start(self.arguments, &self.file) {
                Ok(worker) => self.workers.insert(0, worker),
                Err(error) => tracing::warn!(%error, "a worker could not be started again"),
            }
        }
    }
}

/// A worker process.
struct Worker(Child);

impl Worker {
    fn start(arguments: &[&str], file: &Path) -> std::io::Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        command
            .args(arguments)
            .arg(file)
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        // Ctrl-C is for this process, which ends the others in order.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command.spawn().map(Self)
    }

    fn kill(mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
    }
}

impl Drop for Worker {
    /// Asks it to end, and kills it where it does not.
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let end = Instant::now() + GRACE;
        while Instant::now() < end {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
