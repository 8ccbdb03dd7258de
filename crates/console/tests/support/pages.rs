//! The program while it serves pages.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// A program that serves pages until it is dropped.
pub struct Pages {
    pub child: Child,
    /// Host and port.
    pub address: String,
}

impl Pages {
    /// Starts the program, and reads the address that it prints.
    pub fn of(program: &mut Command) -> Self {
        let mut child = program
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line
            .trim()
            .strip_prefix("http://")
            .and_then(|rest| rest.strip_suffix('/'));
        Self {
            address: address.unwrap_or_else(|| panic!("{line}")).into(),
            child,
        }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // It has ended already, where the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
