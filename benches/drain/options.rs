//! What is measured.

/// The command line.
pub struct Options {
    pub jobs: usize,
    pub batches: Vec<usize>,
    pub finished: usize,
    pub updates: bool,
    /// Another transaction sees the table as it was before the drain.
    pub snapshot: bool,
    pub rounds: usize,
    /// One of the databases alone.
    pub database: Option<String>,
}

impl Options {
    pub fn read() -> Self {
        let mut options = Self {
            jobs: 40_000,
            batches: vec![1, 100, 1000],
            finished: 0,
            updates: false,
            snapshot: false,
            rounds: 5,
            database: None,
        };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut number = || {
                let value = args.next().and_then(|value| value.parse().ok());
                value.unwrap_or_else(|| panic!("{arg} needs a number"))
            };
            match arg.as_str() {
                "--jobs" => options.jobs = number(),
                "--finished" => options.finished = number(),
                "--rounds" => options.rounds = number(),
                "--updates" => options.updates = true,
                "--snapshot" => options.snapshot = true,
                "--batch" => {
                    let sizes = args.next().expect("--batch needs numbers: 1,100");
                    let sizes = sizes.split(',').map(|size| size.parse().expect("a number"));
                    options.batches = sizes.collect();
                }
                "--database" => options.database = args.next(),
                "--bench" => {} // cargo's
                other => panic!("unknown argument {other}"),
            }
        }
        options
    }
}
