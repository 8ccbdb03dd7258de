//! The named parts in a text.

use std::sync::OnceLock;

use super::dialect::{DIALECTS, Dialect};
use super::record::Field;
use super::statements::PARTS;
use crate::table_info::Role;

/// One SQL statement, for all tables.
#[derive(Debug)]
pub struct Statement {
    /// Its place among all.
    pub(super) number: usize,
    /// What messages and tests call it.
    pub name: &'static str,
    text: &'static str,
    /// What it reads of each row, or returns of each row that it changes.
    pub fields: &'static [Field],
    /// What reads the same where the database returns nothing from a change.
    pub read_again: Option<&'static Statement>,
    parsed: [OnceLock<Vec<Piece>>; DIALECTS],
    limit_in_text: OnceLock<bool>,
}

impl Statement {
    pub(super) const fn new(number: usize, name: &'static str, text: &'static str) -> Self {
        Self {
            number,
            name,
            text,
            fields: &[],
            read_again: None,
            parsed: [const { OnceLock::new() }; DIALECTS],
            limit_in_text: OnceLock::new(),
        }
    }

    pub(super) const fn reads(mut self, fields: &'static [Field]) -> Self {
        self.fields = fields;
        self
    }

    pub(super) const fn or_else_by(mut self, read_again: &'static Self) -> Self {
        self.read_again = Some(read_again);
        self
    }

    /// The text in pieces; it is parsed once for each dialect.
    pub(super) fn pieces(&self, dialect: &Dialect) -> &[Piece] {
        self.parsed[dialect.number].get_or_init(|| {
            let mut parser = Parser {
                dialect,
                column: Role::UpdateAt,
            };
            parser.parse(self.text)
        })
    }

    /// Whether it may have to wait for a row.
    pub(super) fn waits(&self) -> bool {
        self.text.contains(":wait")
    }

    /// Whether it has the part with this name.
    #[cfg(all(test, feature = "sqlite", feature = "postgres", feature = "mysql"))]
    pub(super) fn takes(&self, name: &str) -> bool {
        let slot = named(SLOTS, name).map(Piece::Slot);
        let pieces = self.pieces(Dialect::ALL[0]);
        let is_it = |piece: &Piece| {
            slot.iter()
                .any(|slot| piece.holds(std::slice::from_ref(slot)))
        };
        match named(READINGS, name) {
            None => pieces.iter().any(is_it),
            Some(reading) => {
                let times = Role::ALL.map(|(_, role)| Piece::Time(reading, role));
                pieces.iter().any(|piece| piece.holds(&times))
            }
        }
    }

    /// Whether the limit varies its text.
    pub(super) fn has_limit_in_text(&self) -> bool {
        *self
            .limit_in_text
            .get_or_init(|| mentions(self.text, ":limit_text"))
    }

    /// Whether it is a change, whose fields are returned.
    pub(super) fn is_change(&self) -> bool {
        !self.text.contains(":fields") && !self.fields.is_empty()
    }
}

/// A piece of a text.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Piece {
    Text(&'static str),
    Column(Role),
    Slot(Slot),
    /// A time, as the column holds it.
    Time(Reading, Role),
    /// Left out where one of these does not exist.
    Optional(Vec<Piece>),
    /// Repeated for each ready status, with a text between.
    EachReady(Vec<Piece>, &'static str),
    /// Repeated for each new row, with a text between.
    EachRow(Vec<Piece>, &'static str),
}

impl Piece {
    /// Whether it is one of `sought`, or holds one.
    pub fn holds(&self, sought: &[Self]) -> bool {
        match self {
            Self::Optional(pieces) | Self::EachReady(pieces, _) | Self::EachRow(pieces, _) => {
                pieces.iter().any(|piece| piece.holds(sought))
            }
            _ => sought.contains(self),
        }
    }
}

/// What a table or a call fills in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    Table,
    Key,
    TableKey,
    PickedKey,
    PickedArrays,
    Is,
    Any,
    AnyGiven,
    Past,
    Pending,
    InProgress,
    Succeeded,
    Ignored,
    ReadyCodes,
    OwnCodes,
    Code,
    Statuses,
    NewStatus,
    Stamped,
    Token,
    WrittenToken,
    Tokens,
    Count,
    Document,
    Changes,
    ChangedSince,
    /// The time in it.
    Since,
    OldestFirst,
    NewestFirst,
    Filter,
    Limit,
    LimitText,
    Order,
    Fields,
    Wait,
    NewKey,
    MadeKey,
    NewCreateAt,
    Created,
    CreateNow,
    UpdateNow,
    Never,
    EmptyDocument,
    KeyNulls,
    SetColumns,
    SetNulls,
    SetValues,
    PastCursor,
    PageOrder,
    SeenLockAt,
    Unchanged,
    TableText,
    SchemaText,
    TablePath,
}

const SLOTS: &[(&str, Slot)] = &[
    ("table", Slot::Table),
    ("key", Slot::Key),
    ("table_key", Slot::TableKey),
    ("picked_key", Slot::PickedKey),
    ("picked_arrays", Slot::PickedArrays),
    ("is", Slot::Is),
    ("any", Slot::Any),
    ("any_given", Slot::AnyGiven),
    ("past", Slot::Past),
    ("pending", Slot::Pending),
    ("in_progress", Slot::InProgress),
    ("succeeded", Slot::Succeeded),
    ("ignored", Slot::Ignored),
    ("ready_codes", Slot::ReadyCodes),
    ("own_codes", Slot::OwnCodes),
    ("code", Slot::Code),
    ("statuses", Slot::Statuses),
    ("new_status", Slot::NewStatus),
    ("stamped", Slot::Stamped),
    ("token", Slot::Token),
    ("written_token", Slot::WrittenToken),
    ("tokens", Slot::Tokens),
    ("count", Slot::Count),
    ("document", Slot::Document),
    ("changes", Slot::Changes),
    ("changed_since", Slot::ChangedSince),
    ("oldest_first", Slot::OldestFirst),
    ("newest_first", Slot::NewestFirst),
    ("filter", Slot::Filter),
    ("limit", Slot::Limit),
    ("limit_text", Slot::LimitText),
    ("order", Slot::Order),
    ("fields", Slot::Fields),
    ("wait", Slot::Wait),
    ("new_key", Slot::NewKey),
    ("new_create_at", Slot::NewCreateAt),
    ("created", Slot::Created),
    ("create_now", Slot::CreateNow),
    ("made_key", Slot::MadeKey),
    ("update_now", Slot::UpdateNow),
    ("never", Slot::Never),
    ("empty_document", Slot::EmptyDocument),
    ("key_nulls", Slot::KeyNulls),
    ("set_columns", Slot::SetColumns),
    ("set_nulls", Slot::SetNulls),
    ("set_values", Slot::SetValues),
    ("past_cursor", Slot::PastCursor),
    ("page_order", Slot::PageOrder),
    ("seen_lock_at", Slot::SeenLockAt),
    ("unchanged", Slot::Unchanged),
    ("table_text", Slot::TableText),
    ("schema_text", Slot::SchemaText),
    ("table_path", Slot::TablePath),
];

/// When the database's clock is read, and what is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// At the start of the statement.
    Now,
    /// When the row is changed, after the statement has waited for it.
    Stamp,
    /// So many microseconds before the start of the statement.
    Ago,
    /// So many microseconds after the start of the statement.
    Later,
}

const READINGS: &[(&str, Reading)] = &[
    ("now", Reading::Now),
    ("stamp", Reading::Stamp),
    ("ago", Reading::Ago),
    ("later", Reading::Later),
];

/// Whether `part` is in the text, or in a recurring part of it.
fn mentions(text: &str, part: &str) -> bool {
    let is_in =
        |(name, inner): &(&str, &str)| text.contains(&format!(":{name}")) && inner.contains(part);
    text.contains(part) || PARTS.iter().any(is_in)
}

fn named<T: Copy>(list: &[(&str, T)], name: &str) -> Option<T> {
    let found = list.iter().find(|(other, _)| *other == name);
    found.map(|(_, value)| *value)
}

struct Parser<'a> {
    dialect: &'a Dialect,
    /// The column that was named last.
    column: Role,
}

impl Parser<'_> {
    fn parse(&mut self, mut text: &'static str) -> Vec<Piece> {
        let mut pieces = Vec::new();
        while let Some(at) = text.find([':', '[', '{']) {
            if at > 0 {
                pieces.push(Piece::Text(&text[..at]));
            }
            let (sign, rest) = text[at..].split_at(1);
            text = match sign {
                ":" => {
                    let end = rest
                        .find(|c: char| !c.is_ascii_lowercase() && c != '_')
                        .unwrap_or(rest.len());
                    self.part(&rest[..end], &mut pieces);
                    &rest[end..]
                }
                "[" => {
                    let (inner, rest) = rest.split_once(']').unwrap_or((rest, ""));
                    pieces.push(Piece::Optional(self.parse(inner)));
                    rest
                }
                _ => {
                    let (inner, rest) = rest.split_once('}').unwrap_or((rest, ""));
                    let (repeated, between) = inner.split_once('|').unwrap_or((inner, ""));
                    let repeated = self.parse(repeated);
                    let is_row = repeated
                        .iter()
                        .any(|piece| piece.holds(&[Piece::Slot(Slot::NewKey)]));
                    pieces.push(match is_row {
                        true => Piece::EachRow(repeated, between),
                        false => Piece::EachReady(repeated, between),
                    });
                    rest
                }
            };
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        pieces
    }

    fn part(&mut self, name: &'static str, pieces: &mut Vec<Piece>) {
        if let Some(role) = Role::named(name) {
            self.column = role;
            pieces.push(Piece::Column(role));
        } else if let Some(reading) = named(READINGS, name) {
            pieces.push(Piece::Time(reading, self.column));
        } else if let Some(slot) = named(SLOTS, name) {
            pieces.push(Piece::Slot(slot));
        } else if let Some(text) = named(PARTS, name).or_else(|| self.dialect.part(name)) {
            pieces.extend(self.parse(text));
        } else {
            // The database's error names it; a test finds it before.
            pieces.push(Piece::Text(name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found_and_a_time_has_the_type_of_the_column_before_it() {
        let mut parser = Parser {
            dialect: Dialect::ALL[0],
            column: Role::UpdateAt,
        };
        let pieces = parser.parse("SET :lock_at = :stamp[, :run_at = :later]{(:code)| OR }");
        let expected = [
            Piece::Text("SET "),
            Piece::Column(Role::LockAt),
            Piece::Text(" = "),
            Piece::Time(Reading::Stamp, Role::LockAt),
            Piece::Optional(vec![
                Piece::Text(", "),
                Piece::Column(Role::RunAt),
                Piece::Text(" = "),
                Piece::Time(Reading::Later, Role::RunAt),
            ]),
            Piece::EachReady(
                vec![Piece::Text("("), Piece::Slot(Slot::Code), Piece::Text(")")],
                " OR ",
            ),
        ];
        assert_eq!(pieces, expected);
    }
}
