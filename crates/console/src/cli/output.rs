//! What is printed: a table on a terminal, lines with tabs in a pipe, or JSON.

use std::env;
use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use comfy_table::{Cell, Color, ContentArrangement, Table, TableComponent, presets};
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
    has_colours: bool,
}

/// A table is no longer readable where a column has fewer letters than this.
const NARROWEST: usize = 12;

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
            has_colours: is_terminal
                && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
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
        let width = self.width();
        let needed = headings.len() * NARROWEST;
        if width.is_some_and(|width| usize::from(width) < needed) {
            // Each row is a table of its own, with the headings beside the values.
            let records = rows.iter().map(|row| {
                let lines = headings
                    .iter()
                    .zip(row)
                    .map(|(heading, cell)| vec![(*heading).to_owned(), cell.clone()]);
                format!(
                    "{}\n\n",
                    self.lines(None, &lines.collect::<Vec<_>>(), width)
                )
            });
            return records.collect();
        }
        format!("{}\n\n", self.lines(Some(headings), rows, width))
    }

    fn lines(&self, headings: Option<&[&str]>, rows: &[Vec<String>], width: Option<u16>) -> Table {
        let mut table = Table::new();
        table
            .load_preset(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Dynamic);
        if let Some(headings) = headings {
            table
                .set_header(headings)
                .set_style(TableComponent::HeaderLines, '─')
                .set_style(TableComponent::MiddleHeaderIntersections, '─');
        }
        if let (false, Some(width)) = (self.is_terminal, width) {
            table.set_width(width);
        }
        for row in rows {
            table.add_row(row.iter().map(|text| self.cell(text)));
        }
        table
    }

    fn cell(&self, text: &str) -> Cell {
        let cell = Cell::new(shown(text));
        // A status may have more behind a comma.
        match text.split(',').next().unwrap_or_default() {
            _ if !self.has_colours => cell,
            "stuck" | "failed" | "ignored" => cell.fg(Color::Red),
            "failing" | "falling behind" | "unknown" => cell.fg(Color::Yellow),
            "working" | "in progress" => cell.fg(Color::Cyan),
            "succeeded" => cell.fg(Color::Green),
            _ => cell,
        }
    }

    /// That of the terminal, or else the one that is asked for.
    fn width(&self) -> Option<u16> {
        match self.is_terminal {
            true => Table::new().width(),
            false => env::var("COLUMNS").ok()?.parse().ok(),
        }
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
