//! What is printed: a table on a terminal, lines with tabs in a pipe, or JSON.

use std::env;
use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use comfy_table::{Cell, ContentArrangement, Table, presets};
use serde::Serialize;

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// A table on a terminal, plain lines otherwise.
    Auto,
    /// A table.
    Table,
    /// Lines with a tab between the columns.
    Plain,
    /// JSON, one value a line.
    Json,
}

/// The standard output.
pub(super) struct Output {
    format: Format,
    is_terminal: bool,
}

impl Output {
    pub fn new(format: Format) -> Self {
        let is_terminal = io::stdout().is_terminal();
        let format = match format {
            Format::Auto if is_terminal => Format::Table,
            Format::Auto => Format::Plain,
            format => format,
        };
        Self {
            format,
            is_terminal,
        }
    }

    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Text as it is.
    pub fn text(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// One value, as JSON.
    pub fn json(&self, value: &impl Serialize) -> io::Result<()> {
        self.json_lines(&[value])
    }

    /// Values as JSON, one a line.
    pub fn json_lines(&self, values: &[impl Serialize]) -> io::Result<()> {
        let mut text = Vec::new();
        for value in values {
            serde_json::to_writer(&mut text, value)?;
            text.push(b'\n');
        }
        let mut out = io::stdout().lock();
        out.write_all(&text)?;
        out.flush()
    }

    /// Rows under these headings; nothing where there are none.
    pub fn rows(&self, headings: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        if self.format == Format::Table {
            return self.text(&self.table(headings, rows));
        }
        let mut text = String::new();
        let headings = headings
            .iter()
            .map(|heading| (*heading).to_owned())
            .collect();
        for row in std::iter::once(&headings).chain(rows) {
            let cells: Vec<_> = row.iter().map(|cell| one_line(cell)).collect();
            text.push_str(&cells.join("\t"));
            text.push('\n');
        }
        self.text(&text)
    }

    fn table(&self, headings: &[&str], rows: &[Vec<String>]) -> String {
        let mut table = Table::new();
        table
            .load_preset(presets::UTF8_HORIZONTAL_ONLY)
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_header(headings.iter().map(Cell::new));
        // A terminal tells its width; otherwise the one that is asked for.
        let columns = env::var("COLUMNS")
            .ok()
            .and_then(|width| width.parse().ok());
        if let (false, Some(width)) = (self.is_terminal, columns) {
            table.set_width(width);
        }
        for row in rows {
            table.add_row(row.iter().map(|cell| shown(cell)));
        }
        format!("{table}\n")
    }
}

/// Text in one line and one column.
fn one_line(text: &str) -> String {
    let letters = text.chars().map(|c| match c {
        '\t' | '\n' | '\r' => ' ',
        c if c.is_control() => '\u{fffd}',
        c => c,
    });
    letters.collect()
}

/// Text without what a terminal takes for a command.
pub(super) fn shown(text: &str) -> String {
    let letters = text.chars().map(|c| match c {
        '\n' => c,
        c if c.is_control() => '\u{fffd}',
        c => c,
    });
    letters.collect()
}
