//! `demo`: something to look at without a database of one's own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use super::serve::pages;
use super::server::serve;
use super::{Common, Done};
use crate::demo::{self, Demo};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show the console at work: three tables, workers that fail and are killed now and then.
    ///
    /// Everything is in a temporary folder, which is deleted at the end (Ctrl-C). Jobs can be changed.
    Demo {
        /// The address and the port; port 0 is any that is free.
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
        listen: SocketAddr,
    },
    /// A worker process of the demonstration.
    #[command(hide = true)]
    DemoWorker { file: PathBuf },
}

pub(super) fn run(common: &Common, command: &Command) -> Done {
    match command {
        Command::Demo { listen } => {
            if !listen.ip().is_loopback() {
                return Err(
                    "the demonstration is for this machine alone: listen on 127.0.0.1".into(),
                );
            }
            let demo = Demo::start(&["demo-worker"])?;
            let router = pages(&demo.sources()?, true, None)?;
            let out = common.output();
            eprintln!(
                "status-console: the tables are in {}; Ctrl-C ends it",
                demo.folder().display()
            );
            serve(*listen, router, |address| {
                out.text(&format!("http://{address}/\n"))
            })?;
        }
        Command::DemoWorker { file } => demo::work(file).map_err(|error| error.to_string())?,
    }
    Ok(ExitCode::SUCCESS)
}
