//! `top`: the overview as a screen that is read anew from time to time.

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::Rect;
use ratatui::style::{Color, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Sparkline};
use ratatui::{DefaultTerminal, Frame};

use super::health::counts;
use super::output::shown;
use super::tables::lasting_sources;
use super::{Common, Done};
use crate::overview::{self, Overview, StepOverview, Verdict, span};
use crate::table::Source;

#[derive(Debug, clap::Args)]
pub(super) struct Command {
    /// The tables; otherwise all of the description.
    tables: Vec<String>,
    /// Seconds between two readings.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    every: u64,
}

/// How often a key is looked for.
const KEYS_EVERY: Duration = Duration::from_millis(100);
/// Lines of one step: its name and verdict, its jobs, its last hour, and a free one.
const LINES: u16 = 4;

pub(super) fn run(common: &Common, command: &Command) -> Done {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err("`top` needs a terminal; `overview` prints the same once".into());
    }
    let sources = lasting_sources(common, &command.tables)?;
    let (again, asked) = channel();
    let (told, tables) = channel();
    let every = Duration::from_secs(command.every);
    // A database that does not answer must not keep the keys from working.
    thread::spawn(move || read(&sources, every, &asked, &told));
    let mut terminal = ratatui::try_init()?;
    let shown = show(&mut terminal, &again, &tables);
    ratatui::restore();
    shown?;
    Ok(ExitCode::SUCCESS)
}

/// One table, or why it cannot be read.
type Table = Result<Overview, String>;

/// Reads all tables again and again, sooner where somebody asks for it, until nobody
/// wants to know.
fn read(sources: &[Source], every: Duration, asked: &Receiver<()>, told: &Sender<Vec<Table>>) {
    loop {
        let tables = sources.iter().map(|source| {
            let table = overview::of(source);
            table.map_err(|error| format!("{}: {error}", source.name()))
        });
        if told.send(tables.collect()).is_err()
            || asked.recv_timeout(every) == Err(RecvTimeoutError::Disconnected)
        {
            return;
        }
    }
}

/// What is on the screen.
#[derive(Debug, Default)]
struct Screen {
    /// `None` until they were read.
    tables: Option<Vec<Table>>,
    /// Steps that lie above the screen.
    above: usize,
}

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    End,
    ReadAgain,
    Nothing,
}

fn show(
    terminal: &mut DefaultTerminal,
    again: &Sender<()>,
    tables: &Receiver<Vec<Table>>,
) -> io::Result<()> {
    let mut screen = Screen::default();
    loop {
        screen.tables = tables.try_iter().last().or(screen.tables);
        terminal.draw(|frame| screen.draw(frame))?;
        if !event::poll(KEYS_EVERY)? {
            continue;
        }
        if let Event::Key(key) = event::read()?
            && key.kind == KeyEventKind::Press
        {
            match screen.pressed(key) {
                Wish::End => return Ok(()),
                // Where the other thread has ended, the last reading stays.
                Wish::ReadAgain => _ = again.send(()),
                Wish::Nothing => {}
            }
        }
    }
}

impl Screen {
    fn pressed(&mut self, key: KeyEvent) -> Wish {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if is_control => return Wish::End,
            KeyCode::Char('q') | KeyCode::Esc => return Wish::End,
            KeyCode::Char('r') => return Wish::ReadAgain,
            KeyCode::Down | KeyCode::Char('j') => self.above += 1,
            KeyCode::Up | KeyCode::Char('k') => self.above = self.above.saturating_sub(1),
            _ => {}
        }
        self.above = self.above.min(self.blocks().len().saturating_sub(1));
        Wish::Nothing
    }

    /// The steps of all tables, and those tables that cannot be read.
    fn blocks(&self) -> Vec<Result<(&Overview, &StepOverview), &str>> {
        let mut blocks = Vec::new();
        for table in self.tables.iter().flatten() {
            match table {
                Ok(table) => blocks.extend(table.steps.iter().map(|step| Ok((table, step)))),
                Err(error) => blocks.push(Err(&**error)),
            }
        }
        blocks
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let area = frame.area();
        let keys = match &self.tables {
            Some(tables) => {
                let now = tables.iter().flatten().find_map(|table| table.now);
                let now =
                    now.map_or_else(String::new, |now| now.format("%H:%M:%S UTC  ").to_string());
                format!("{now}q ends, r reads again, ↑ ↓")
            }
            None => "reading…  q ends".into(),
        };
        frame.render_widget(Line::from(keys).dim(), line(area, 0));
        let mut place = 2;
        for block in self.blocks().into_iter().skip(self.above) {
            if place >= area.height {
                break;
            }
            match block {
                Ok((table, step)) => draw_step(frame, place, table, step),
                Err(error) => {
                    let text = Paragraph::new(shown(error).fg(Color::Red));
                    frame.render_widget(text, line(area, place));
                }
            }
            place += LINES;
        }
    }
}

fn draw_step(frame: &mut Frame<'_>, place: u16, table: &Overview, step: &StepOverview) {
    let area = frame.area();
    let verdict = step.verdict.to_string();
    let head = Line::from(vec![
        shown(&table.table).bold(),
        " ".into(),
        shown(&step.step).into(),
        "  ".into(),
        verdict.fg(colour(step.verdict)).bold(),
        "  ".into(),
        shown(&step.because).into(),
    ]);
    frame.render_widget(head, line(area, place));
    let oldest = step
        .oldest_ready_seconds
        .map_or_else(String::new, |seconds| {
            format!(", oldest ready {}", span(Duration::from_secs(seconds)))
        });
    let jobs = format!("{}{oldest}", counts(step));
    frame.render_widget(Line::from(jobs), line(area, place + 1));
    let hour = line(area, place + 2);
    match (&step.hour, step.problems.first()) {
        (_, Some(problem)) => {
            frame.render_widget(Line::from(shown(problem)).fg(Color::Red), hour);
        }
        (Some(last), None) => {
            // The newest minutes, where there is no room for all.
            let room = usize::from(hour.width).min(last.curve.len());
            let minutes = last.curve[last.curve.len() - room..].iter();
            let ended = minutes.map(|minute| minute.finished.saturating_add(minute.failed));
            let ended: Vec<_> = ended
                .map(|count| u64::try_from(count).unwrap_or_default())
                .collect();
            frame.render_widget(
                Sparkline::default().data(ended).fg(colour(step.verdict)),
                hour,
            );
        }
        (None, None) => {}
    }
}

/// One line of the screen; an empty area below it.
fn line(area: Rect, place: u16) -> Rect {
    Rect::new(0, place, area.width, 1).intersection(area)
}

fn colour(verdict: Verdict) -> Color {
    match verdict {
        Verdict::Idle => Color::Gray,
        Verdict::Working => Color::Green,
        Verdict::FallingBehind | Verdict::Unknown => Color::Yellow,
        Verdict::Failing | Verdict::Stuck => Color::Red,
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::overview::{LastHour, Minute};

    fn step(name: &str, verdict: Verdict) -> StepOverview {
        StepOverview {
            step: name.into(),
            counts: Vec::new(),
            oldest_ready_seconds: Some(61),
            is_oldest_known: true,
            passed_on: None,
            running: None,
            expired: None,
            hour: Some(LastHour {
                finished: 8,
                curve: vec![
                    Minute {
                        finished: 8,
                        failed: 0
                    };
                    60
                ],
                ..LastHour::default()
            }),
            verdict,
            because: "since it is so".into(),
            problems: Vec::new(),
        }
    }

    fn table(name: &str, verdict: Verdict) -> Table {
        Ok(Overview {
            table: name.into(),
            now: None,
            steps: vec![step("send", verdict)],
        })
    }

    /// The lines of a screen of this size.
    fn lines(screen: &Screen, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| screen.draw(frame)).unwrap();
        let cells = terminal.backend().buffer().content();
        let lines = cells.chunks(width.into()).map(|line| {
            let line: String = line.iter().map(|cell| cell.symbol()).collect();
            line.trim_end().to_owned()
        });
        lines.collect()
    }

    #[test]
    fn each_step_has_its_verdict_its_jobs_and_its_last_hour() {
        let mut screen = Screen::default();
        assert_eq!(lines(&screen, 40, 3)[0], "reading…  q ends");
        screen.tables = Some(vec![
            table("invoices", Verdict::Stuck),
            Err("letters: it is away".into()),
        ]);
        let seen = lines(&screen, 80, 12);
        assert_eq!(seen[2], "invoices send  stuck  since it is so");
        assert!(seen[3].ends_with("oldest ready 1 min 1 s"), "{}", seen[3]);
        assert_eq!(seen[4].chars().count(), 60);
        assert_eq!(seen[6], "letters: it is away");
    }

    #[test]
    fn a_small_screen_shows_what_fits_and_can_be_moved() {
        let tables = ["a", "b", "c"].map(|name| table(name, Verdict::Working));
        let mut screen = Screen {
            tables: Some(tables.into()),
            above: 0,
        };
        for (width, height) in [(1, 1), (40, 3), (40, 5), (10, 100)] {
            lines(&screen, width, height);
        }
        assert!(lines(&screen, 40, 4)[2].starts_with("a send"));
        let key = |code| KeyEvent::new(code, KeyModifiers::NONE);
        for _ in 0..9 {
            assert_eq!(screen.pressed(key(KeyCode::Down)), Wish::Nothing);
        }
        assert!(lines(&screen, 40, 4)[2].starts_with("c send"));
        assert_eq!(screen.pressed(key(KeyCode::Up)), Wish::Nothing);
        assert!(lines(&screen, 40, 4)[2].starts_with("b send"));
    }

    #[test]
    fn keys_end_the_screen_and_read_anew() {
        let mut screen = Screen::default();
        let mut press = |code, modifiers| screen.pressed(KeyEvent::new(code, modifiers));
        assert_eq!(press(KeyCode::Char('q'), KeyModifiers::NONE), Wish::End);
        assert_eq!(press(KeyCode::Esc, KeyModifiers::NONE), Wish::End);
        assert_eq!(press(KeyCode::Char('c'), KeyModifiers::CONTROL), Wish::End);
        assert_eq!(press(KeyCode::Char('c'), KeyModifiers::NONE), Wish::Nothing);
        assert_eq!(
            press(KeyCode::Char('r'), KeyModifiers::NONE),
            Wish::ReadAgain
        );
    }
}
