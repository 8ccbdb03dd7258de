//! `status-console`: looks after tracked tables from a terminal.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    diesel_status_console::cli::main()
}
