//! What is measured.

use std::path::PathBuf;

/// The command line.
pub struct Options {
    pub database: String,
    pub jobs: usize,
    pub batch: usize,
    pub threads: Vec<usize>,
    pub processes: Vec<usize>,
    pub finished: Vec<usize>,
    pub rounds: usize,
    pub picture: Option<PathBuf>,
}

/// What one of several processes does.
pub struct Part {
    pub database: String,
    pub threads: usize,
    pub batch: usize,
}

impl Part {
    const FLAG: &str = "--part";

    pub fn to_args(&self) -> [String; 4] {
        let Self {
            database,
            threads,
            batch,
        } = self;
        let flag = Self::FLAG.to_owned();
        [
            flag,
            database.clone(),
            threads.to_string(),
            batch.to_string(),
        ]
    }
}

impl Options {
    /// Or the part that this process has in a measurement.
    pub fn read() -> Result<Self, Part> {
        let mut options = Self {
            database: "postgres".to_owned(),
            jobs: 100_000,
            batch: 100,
            threads: vec![1, 4, 16, 64],
            processes: vec![1, 8],
            finished: vec![0, 1_000_000],
            rounds: 3,
            picture: None,
        };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            if arg == "--bench" {
                continue; // cargo's
            }
            let mut value = || args.next().unwrap_or_else(|| panic!("{arg} needs a value"));
            match arg.as_str() {
                Part::FLAG => {
                    return Err(Part {
                        database: value(),
                        threads: number(&value()),
                        batch: number(&value()),
                    });
                }
                "--database" => options.database = value(),
                "--jobs" => options.jobs = number(&value()),
                "--batch" => options.batch = number(&value()),
                "--threads" => options.threads = numbers(&value()),
                "--processes" => options.processes = numbers(&value()),
                "--finished" => options.finished = numbers(&value()),
                "--rounds" => options.rounds = number(&value()),
                "--picture" => options.picture = Some(value().into()),
                other => panic!("unknown argument {other}"),
            }
        }
        Ok(options)
    }
}

fn number(text: &str) -> usize {
    text.parse()
        .unwrap_or_else(|_| panic!("{text} is no number"))
}

fn numbers(text: &str) -> Vec<usize> {
    text.split(',').map(number).collect()
}
