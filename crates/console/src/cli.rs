//! The program `status-console`. Not part of the library's API.

mod actions;
mod demo;
mod filter;
mod health;
mod jobs;
mod output;
mod progress;
mod schema;
mod serve;
mod server;
mod tables;
mod top;

use std::error::Error as StdError;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use self::output::{Format, Output};

/// What a command returns: how to end.
type Done = Result<ExitCode, Box<dyn StdError>>;

/// How the program ends where it could not do what it was to do. 0 to 2 say how a table is.
const FAILED: u8 = 3;

const EXAMPLES: &str = "\
Examples:
  status-console --url postgres://me@host/billing describe invoices > status-console.toml
  status-console overview
  status-console list invoices --status failed --newer 1h
  status-console --allow-actions reset invoices 2026-117

Without --config, the tables are those of ./status-console.toml, if there is one. Without a
description, --url names the database, and columns and codes are guessed as `describe` does.

Exit codes: 0 well, 1 warnings, 2 broken; 3 the command has failed.";

/// Looks after tables that diesel_status_tracker tracks.
#[derive(Debug, Parser)]
#[command(name = "status-console", version, after_help = EXAMPLES, max_term_width = 100, arg_required_else_help = true)]
struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Args)]
struct Common {
    /// The description of the tables.
    #[arg(
        long,
        global = true,
        env = "STATUS_CONSOLE_CONFIG",
        value_name = "FILE"
    )]
    config: Option<PathBuf>,
    /// A database: postgres://…, mysql://…, or sqlite:// and the path of a file.
    #[arg(long, global = true, env = "DATABASE_URL", hide_env_values = true)]
    url: Option<String>,
    /// How to print: as a table on a terminal, and otherwise as plain lines with tabs.
    #[arg(long, global = true, value_enum, default_value_t = Format::Auto)]
    format: Format,
    /// The same as --format json.
    #[arg(long, global = true, conflicts_with = "format")]
    json: bool,
    /// Allow what changes rows: reset, ignore, expire, prune.
    #[arg(long, global = true)]
    allow_actions: bool,
}

impl Common {
    fn output(&self) -> Output {
        Output::new(if self.json { Format::Json } else { self.format })
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Schema(schema::Command),
    #[command(flatten)]
    Health(health::Command),
    #[command(flatten)]
    Jobs(jobs::Command),
    #[command(flatten)]
    Action(actions::Command),
    #[command(flatten)]
    Serve(serve::Command),
    /// Show the overview as a screen that is read anew every two seconds.
    Top(top::Command),
    #[command(flatten)]
    Demo(demo::Command),
    /// Print the completions of a shell.
    ///
    /// For bash: status-console completions bash > ~/.local/share/bash-completion/completions/status-console
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Runs the program with its arguments.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let is_wrong = error.use_stderr();
            // Where the reader is gone there is nobody to tell.
            let _ = error.print();
            return if is_wrong {
                ExitCode::from(FAILED)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match run(&arguments) {
        Ok(code) => code,
        // The reader of a pipe has seen enough.
        Err(error) if is_closed_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("status-console: {error}");
            ExitCode::from(FAILED)
        }
    }
}

fn run(arguments: &Arguments) -> Done {
    let common = &arguments.common;
    match &arguments.command {
        Command::Schema(command) => schema::run(common, command),
        Command::Health(command) => health::run(common, command),
        Command::Jobs(command) => jobs::run(common, command),
        Command::Action(command) => actions::run(common, command),
        Command::Serve(command) => serve::run(common, command),
        Command::Top(command) => top::run(common, command),
        Command::Demo(command) => demo::run(common, command),
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(
                *shell,
                &mut Arguments::command(),
                "status-console",
                &mut text,
            );
            common.output().text(&String::from_utf8_lossy(&text))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn is_closed_pipe(error: &(dyn StdError + 'static)) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }
}
