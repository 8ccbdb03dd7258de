//! What differs between the three databases.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel_status_tracker::{ErrorsType, InnerConnection, StatusCode};

use super::part::Part;

/// The database that a connection speaks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Postgres,
    Mysql,
    Sqlite,
}

impl Dialect {
    /// `None` for a database that a later version of the tracker may know.
    pub fn of(conn: &InnerConnection<'_>) -> Option<Self> {
        match conn {
            InnerConnection::Postgres(_) => Some(Self::Postgres),
            InnerConnection::Mysql(_) => Some(Self::Mysql),
            InnerConnection::Sqlite(_) => Some(Self::Sqlite),
            _ => None,
        }
    }

    pub fn quoted(self, name: &str) -> String {
        // In double quotes a name that no column has would be a string to SQLite.
        let quote = if self == Self::Postgres { '"' } else { '`' };
        let doubled = name.replace(quote, &format!("{quote}{quote}"));
        format!("{quote}{doubled}{quote}")
    }

    /// The place of the bound value with this number, from 1.
    pub fn place(self, number: usize) -> String {
        match self {
            Self::Postgres => format!("${number}"),
            Self::Mysql | Self::Sqlite => "?".into(),
        }
    }

    /// A code as it stands in the text, so that partial indexes serve. It is the
    /// description's, never a browser's.
    pub fn code(self, code: &StatusCode) -> String {
        let text = match code {
            StatusCode::Number(number) => return number.to_string(),
            StatusCode::Text(text) => text,
        };
        match self {
            // The same whatever the settings of the session.
            Self::Postgres => format!("E'{}'", text.replace('\\', r"\\").replace('\'', "''")),
            Self::Sqlite => format!("'{}'", text.replace('\'', "''")),
            Self::Mysql => {
                let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
                format!("_utf8mb4 X'{hex}'")
            }
        }
    }

    /// A value as text.
    pub fn text(self, value: &str) -> String {
        let kind = match self {
            Self::Postgres | Self::Sqlite => "text",
            Self::Mysql => "CHAR",
        };
        format!("CAST({value} AS {kind})")
    }

    /// A time as microseconds since 1970, in text; NULL where it is none.
    pub fn micros(self, time: &str) -> String {
        match self {
            Self::Postgres => format!(
                "CASE WHEN isfinite({time}) THEN CAST(CAST(extract(epoch FROM {time}) * 1000000 AS bigint) AS text) END"
            ),
            Self::Mysql => self.text(&format!(
                "TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', {time})"
            )),
            Self::Sqlite => format!(
                "CAST(CAST(round(unixepoch({time}, 'subsec') * 1000) AS INTEGER) * 1000 AS text)"
            ),
        }
    }

    /// The minutes from 1970 to a time, in text.
    pub fn minute(self, time: &str) -> String {
        match self {
            Self::Postgres => {
                format!("CAST(CAST(floor(extract(epoch FROM {time}) / 60) AS bigint) AS text)")
            }
            Self::Mysql => self.text(&format!(
                "TIMESTAMPDIFF(MINUTE, '1970-01-01 00:00:00', {time})"
            )),
            Self::Sqlite => format!("CAST(unixepoch({time}) / 60 AS text)"),
        }
    }

    /// The time from one column to another in microseconds, in text.
    pub fn between(self, from: &str, to: &str) -> String {
        match self {
            Self::Postgres => format!(
                "CASE WHEN isfinite({from}) AND isfinite({to}) THEN CAST(CAST(extract(epoch FROM ({to} - {from})) * 1000000 AS bigint) AS text) END"
            ),
            Self::Mysql => self.text(&format!("TIMESTAMPDIFF(MICROSECOND, {from}, {to})")),
            Self::Sqlite => format!(
                "CAST(CAST(round((unixepoch({to}, 'subsec') - unixepoch({from}, 'subsec')) * 1000) AS INTEGER) * 1000 AS text)"
            ),
        }
    }

    /// So long before now, as the column holds times.
    pub fn ago(self, is_zoned: bool, ago: Duration) -> String {
        let micros = ago.as_micros();
        match (self, is_zoned) {
            (Self::Postgres, true) => {
                format!("(statement_timestamp() - interval '{micros} microseconds')")
            }
            (Self::Postgres, false) => format!(
                "(statement_timestamp() AT TIME ZONE 'UTC' - interval '{micros} microseconds')"
            ),
            (Self::Mysql, _) => format!("(UTC_TIMESTAMP(6) - INTERVAL {micros} MICROSECOND)"),
            // The format in which the tracker writes times: they are compared as text.
            (Self::Sqlite, _) => {
                let zone = if is_zoned { "+00:00" } else { "" };
                let seconds = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
                format!("strftime('%Y-%m-%d %H:%M:%f{zone}', 'now', '-{seconds} seconds')")
            }
        }
    }

    /// A time, as the column holds times.
    pub fn at(self, is_zoned: bool, at: DateTime<Utc>) -> String {
        let micros = at.timestamp_micros();
        match (self, is_zoned) {
            (Self::Postgres, true) => {
                format!("(timestamptz 'epoch' + interval '{micros} microseconds')")
            }
            (Self::Postgres, false) => {
                format!("(timestamp 'epoch' + interval '{micros} microseconds')")
            }
            (Self::Mysql, _) => {
                format!("TIMESTAMPADD(MICROSECOND, {micros}, '1970-01-01 00:00:00.000000')")
            }
            (Self::Sqlite, _) => {
                let zone = if is_zoned { "+00:00" } else { "" };
                format!("'{}{zone}'", at.format("%Y-%m-%d %H:%M:%S%.3f"))
            }
        }
    }

    /// Bound text as a value of a column's type.
    pub fn as_column(self, table: &str, column: &str, value: &str) -> Part {
        if self != Self::Postgres {
            return Part::bind(value);
        }
        let name = column.replace('\\', r"\\").replace('\'', "''");
        Part::from(format!(
            "(json_populate_record(CAST(NULL AS {table}), json_build_object(E'{name}', "
        ))
        .and(self.bound_text(value))
        .and(format!("))).{}", self.quoted(column)))
    }

    /// Bound text whose type the database knows to be text.
    pub fn bound_text(self, value: &str) -> Part {
        match self {
            Self::Postgres => Part::from("CAST(").and(Part::bind(value)).and(" AS text)"),
            Self::Mysql | Self::Sqlite => Part::bind(value),
        }
    }

    /// Whether text holds this, whatever the case of its letters.
    pub fn contains(self, text: &str, what: &str) -> Part {
        let lower = |value: Part| Part::from("lower(").and(value).and(")");
        let what = lower(self.bound_text(what));
        let text = lower(Part::from(text));
        let (name, between, first, second) = match self {
            Self::Postgres => ("position(", " IN ", what, text),
            Self::Mysql => ("locate(", ", ", what, text),
            Self::Sqlite => ("instr(", ", ", text, what),
        };
        Part::from(name)
            .and(first)
            .and(between)
            .and(second)
            .and(") > 0")
    }

    /// Whether a column begins with this, as text.
    pub fn starts_with(self, column: &str, what: &str) -> Part {
        let letters = what.chars().count();
        let is_so = Part::from(format!("substr({}, 1, {letters}) = ", self.text(column)))
            .and(self.bound_text(what));
        let pattern = |escape: char| {
            let mut pattern = String::new();
            for c in what.chars() {
                if ['%', '_', escape].contains(&c) {
                    pattern.push(escape);
                }
                pattern.push(c);
            }
            self.bound_text(&(pattern + "%"))
        };
        // What an index of a key of text can be asked. SQLite is asked elsewhere how many rows
        // begin so, since it would ask the index of very many too, and then sort them.
        match self {
            Self::Postgres => is_so
                .and(format!(" AND {} LIKE ", self.text(column)))
                .and(pattern('\\')),
            Self::Mysql => is_so
                .and(format!(" AND {column} LIKE "))
                .and(pattern('|'))
                .and(" ESCAPE '|'"),
            Self::Sqlite => is_so,
        }
    }

    /// The document in `errors` as text.
    pub fn document(self, column: &str, kind: ErrorsType) -> String {
        match (self, kind) {
            // What is no document is shown as it is.
            (Self::Sqlite, ErrorsType::Jsonb) => format!(
                "CASE WHEN json_valid({column}, 8) THEN json({column}) ELSE {} END",
                self.text(column)
            ),
            _ => self.text(column),
        }
    }

    /// The first letters of a text.
    pub fn cut(self, text: &str, letters: usize) -> String {
        format!("substr({text}, 1, {letters})")
    }

    /// What follows a time in an order, where NULL is before all times.
    pub fn direction(self, is_descending: bool, is_nullable: bool) -> &'static str {
        match (self, is_descending, is_nullable) {
            (Self::Postgres, false, true) => " ASC NULLS FIRST",
            (Self::Postgres, true, true) => " DESC NULLS LAST",
            (_, false, _) => " ASC",
            (_, true, _) => " DESC",
        }
    }

    /// What has EXPLAIN answer with JSON; `None` where the planner counts no rows.
    pub fn as_json(self) -> Option<&'static str> {
        match self {
            Self::Postgres => Some("(FORMAT JSON)"),
            Self::Mysql => Some("FORMAT=JSON"),
            Self::Sqlite => None,
        }
    }

    /// A read that the database ends after this time. PostgreSQL has a setting of the
    /// transaction for it, and SQLite has nothing of the kind.
    pub fn limited(self, text: String, limit: Duration) -> String {
        match (self, text.strip_prefix("SELECT ")) {
            (Self::Mysql, Some(rest)) => format!(
                "/*M! SET STATEMENT max_statement_time={} FOR */ SELECT /*+ MAX_EXECUTION_TIME({}) */ {rest}",
                limit.as_secs_f32(),
                limit.as_millis()
            ),
            _ => text,
        }
    }
}
