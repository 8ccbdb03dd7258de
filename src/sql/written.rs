//! A statement written for one table: names and recurring parts are text, and
//! what is left is what varies from call to call.

use super::call::Keys;
use super::dialect::{CastsText, Dialect, LockWait};
use super::record::Field;
use super::template::{Piece, Reading, Slot, Statement};
use crate::table_info::{Name, Names, Role, TableInfo};

/// A part of a statement on one table.
#[derive(Debug, Clone)]
pub(super) enum Part {
    Text(String),
    /// One column of a key, bound.
    Key(Keys, usize),
    /// The condition that the key is one of several.
    Any(Keys, Any),
    /// The microseconds of a time.
    Micros(Reading),
    /// The columns of the user's row.
    Row,
    /// What else a call gives.
    Slot(Slot),
    /// Left out where the call gives no value for one of these.
    Optional(Vec<Part>),
    /// Repeated for each ready status, with a text between.
    EachReady(Vec<Part>, &'static str),
    /// Repeated for each new row, with a text between.
    EachRow(Vec<Part>, &'static str),
}

/// How several keys are written.
#[derive(Debug, Clone)]
pub(super) enum Any {
    /// As an array, which is bound; of keys of one column.
    Array,
    /// As a list of this; of keys of one column.
    List(Vec<Part>),
    /// As this condition for each.
    Each(Vec<Part>),
}

/// Writes `statement` for a table.
pub(super) fn write(
    statement: &Statement,
    dialect: &Dialect,
    info: &TableInfo,
    wait: LockWait,
) -> Vec<Part> {
    let mut writer = Writer {
        statement,
        dialect,
        info,
        wait,
        names: info.quoted(dialect.quote),
        parts: Vec::new(),
    };
    if statement.waits() {
        writer.text((dialect.wait)(wait).before);
    }
    writer.pieces(statement.pieces(dialect));
    if statement.is_change() && dialect.has_returning {
        writer.text(" RETURNING ");
        writer.fields();
    }
    writer.parts
}

/// Adds a part, text to the text before it.
pub(super) fn push(parts: &mut Vec<Part>, part: Part) {
    match (parts.last_mut(), part) {
        (Some(Part::Text(before)), Part::Text(text)) => before.push_str(&text),
        (_, Part::Text(text)) if text.is_empty() => {}
        (_, part) => parts.push(part),
    }
}

struct Writer<'a> {
    statement: &'a Statement,
    dialect: &'a Dialect,
    info: &'a TableInfo,
    wait: LockWait,
    names: &'a Names,
    parts: Vec<Part>,
}

impl<'a> Writer<'a> {
    fn text(&mut self, text: &str) {
        push(&mut self.parts, Part::Text(text.into()));
    }

    fn list<T>(&mut self, items: impl IntoIterator<Item = T>, mut write: impl FnMut(&mut Self, T)) {
        for (n, item) in items.into_iter().enumerate() {
            self.text(if n > 0 { ", " } else { "" });
            write(self, item);
        }
    }

    /// What `write` writes, as parts of their own.
    fn apart(&mut self, pieces: &[Piece]) -> Vec<Part> {
        let before = std::mem::take(&mut self.parts);
        self.pieces(pieces);
        std::mem::replace(&mut self.parts, before)
    }

    fn pieces(&mut self, pieces: &[Piece]) {
        for piece in pieces {
            match piece {
                Piece::Text(text) => self.text(text),
                Piece::Column(role) => {
                    let name = self.name(*role);
                    self.text(&name.alone);
                }
                Piece::Slot(slot) => self.slot(*slot),
                Piece::Time(reading, role) => self.time(*reading, *role),
                Piece::Optional(pieces) => {
                    if !pieces.iter().all(|piece| self.may_exist(piece)) {
                        continue;
                    }
                    let parts = self.apart(pieces);
                    match parts.iter().any(may_be_missing) {
                        true => self.parts.push(Part::Optional(parts)),
                        false => parts
                            .into_iter()
                            .for_each(|part| push(&mut self.parts, part)),
                    }
                }
                Piece::EachReady(pieces, between) => {
                    let parts = self.apart(pieces);
                    self.parts.push(Part::EachReady(parts, between));
                }
                Piece::EachRow(pieces, between) => {
                    let parts = self.apart(pieces);
                    self.parts.push(Part::EachRow(parts, between));
                }
            }
        }
    }

    /// Whether the table and the dialect have it.
    fn may_exist(&self, piece: &Piece) -> bool {
        match piece {
            Piece::Column(role) => self.info.column(*role).is_some(),
            Piece::Slot(Slot::SchemaText) => self.info.schema().is_some(),
            Piece::Slot(Slot::NewCreateAt | Slot::Created) => !self.info.is_keyed_by_create_at(),
            Piece::Slot(Slot::Wait) => !(self.dialect.wait)(self.wait).condition.is_empty(),
            _ => true,
        }
    }

    fn name(&self, role: Role) -> &'a Name {
        &self.names.columns[role as usize]
    }

    fn slot(&mut self, slot: Slot) {
        let key = &self.names.key;
        match slot {
            Slot::Table => self.text(&self.names.table),
            Slot::Key => self.list(key, |to, name| to.text(&name.alone)),
            Slot::TableKey => self.list(key, |to, name| to.text(&name.qualified)),
            Slot::PickedKey => self.list(key, |to, name| {
                to.text("tracker_picked.");
                to.text(&name.alone);
            }),
            Slot::PickedArrays => self.list(key, |to, name| {
                to.text("ARRAY(SELECT ");
                to.text(&name.alone);
                to.text(" FROM tracker_picked)");
            }),
            Slot::KeyNulls => self.list(key, |to, name| {
                let table = &to.names.table;
                to.text(&format!("(SELECT {} FROM {table} WHERE false)", name.alone));
            }),
            Slot::Is => self.is(Keys::These),
            Slot::Any => self.any(Keys::These, self.dialect.has_arrays),
            // The user may have written a key in another way than an array has it.
            Slot::AnyGiven => self.any(Keys::These, false),
            Slot::Past => self.any(Keys::Past, self.dialect.has_arrays),
            Slot::Fields => self.fields(),
            Slot::ChangedSince => {
                let name = &self.name(Role::UpdateAt).alone;
                let is_nullable = self.info.is_nullable(Role::UpdateAt);
                self.text(&match is_nullable {
                    true => format!("({name} IS NULL OR {name} >= "),
                    false => format!("{name} >= "),
                });
                self.text(self.dialect.before_value);
                self.parts.push(Part::Slot(Slot::Since));
                self.text(if is_nullable { ")" } else { "" });
            }
            Slot::Limit => {
                self.text(self.dialect.before_value);
                self.parts.push(Part::Slot(slot));
            }
            Slot::Stamped => self.stamped(),
            Slot::OldestFirst => self.by_last_change(0),
            Slot::NewestFirst => self.by_last_change(1),
            Slot::NewKey => self.list(0..key.len(), |to, column| {
                to.parts.push(Part::Key(Keys::These, column));
            }),
            Slot::NewCreateAt => self.text(&self.name(Role::CreateAt).alone),
            Slot::Created | Slot::CreateNow => self.time(Reading::Now, Role::CreateAt),
            Slot::MadeKey => match self.info.made_key_column() {
                Some(column) => self.text(&key[column].alone),
                None => self.parts.push(Part::Slot(slot)),
            },
            Slot::UpdateNow => self.time(Reading::Now, Role::UpdateAt),
            Slot::Never => self.text(match self.info.is_nullable(Role::LockAt) {
                true => "NULL",
                false => (self.dialect.long_ago)(self.info.is_zoned(Role::LockAt)),
            }),
            Slot::EmptyDocument => self.text((self.dialect.empty_document)(self.info.errors())),
            Slot::Wait => self.text((self.dialect.wait)(self.wait).condition),
            Slot::SeenLockAt => {
                let name = self.info.column(Role::LockAt).unwrap_or_default();
                let [before, after] = self.dialect.cast_from_text(self.names, name);
                self.text(&before);
                self.parts.push(Part::Slot(Slot::SeenLockAt));
                self.text(&after);
            }
            Slot::Unchanged => {
                let name = self.info.column(Role::UpdateAt).unwrap_or_default();
                let [before, after] = self.dialect.cast_from_text(self.names, name);
                let column = &self.name(Role::UpdateAt).alone;
                self.text(&format!("{column} {} {before}", self.dialect.is_same));
                self.parts.push(Part::Slot(Slot::Unchanged));
                self.text(&after);
            }
            other => self.parts.push(Part::Slot(other)),
        }
    }

    /// Gives `lock_at` and `update_at` the same time.
    fn stamped(&mut self) {
        let roles = [Role::LockAt, Role::UpdateAt];
        let [lock_at, update_at] = roles.map(|role| &*self.name(role).alone);
        let are_alike = self.info.is_zoned(roles[0]) == self.info.is_zoned(roles[1]);
        match self.dialect.one_time.filter(|_| are_alike) {
            Some([before, after]) => {
                self.text(&format!("({lock_at}, {update_at}) = {before}"));
                self.time(Reading::Stamp, Role::UpdateAt);
                self.text(after);
            }
            None => self.list(roles, |to, role| {
                to.text(&format!("{} = ", to.name(role).alone));
                to.time(Reading::Stamp, role);
            }),
        }
    }

    fn by_last_change(&mut self, direction: usize) {
        let name = self.name(Role::UpdateAt);
        self.text(&name.alone);
        self.text(match self.info.is_nullable(Role::UpdateAt) {
            true => self.dialect.null_before_all[direction],
            false => [" ASC", " DESC"][direction],
        });
    }

    fn any(&mut self, keys: Keys, has_arrays: bool) {
        let is_described = self.info.is_described();
        let before = std::mem::take(&mut self.parts);
        let is_checked = is_described && self.dialect.casts_text == CastsText::AndChecked;
        let any = if self.names.key.len() > 1 || is_checked {
            self.is(keys);
            Any::Each(std::mem::take(&mut self.parts))
        } else if has_arrays && !is_described {
            Any::Array
        } else {
            self.value_of_key(keys, 0);
            Any::List(std::mem::take(&mut self.parts))
        };
        self.parts = before;
        self.parts.push(Part::Any(keys, any));
    }

    /// The condition that a row has one key.
    fn is(&mut self, keys: Keys) {
        let names = self.names;
        let is_described = self.info.is_described();
        for (column, name) in names.key.iter().enumerate() {
            self.text(if column > 0 { " AND " } else { "" });
            self.text(&name.alone);
            self.text(" = ");
            self.value_of_key(keys, column);
            if is_described && self.dialect.casts_text == CastsText::AndChecked {
                self.text(" AND ");
                self.text(&self.dialect.as_text(&name.alone));
                self.text(" = ");
                self.parts.push(Part::Key(keys, column));
            }
        }
    }

    /// One column of a key, bound; text as a value of the column's type.
    fn value_of_key(&mut self, keys: Keys, column: usize) {
        let [before, after] = match self.info.is_described() {
            true => self
                .dialect
                .cast_from_text(self.names, self.info.key_name(column)),
            false => Default::default(),
        };
        self.text(&before);
        self.text(self.dialect.before_value);
        self.parts.push(Part::Key(keys, column));
        self.text(&after);
    }

    /// A time of the database's clock, as the column with this role holds it.
    fn time(&mut self, reading: Reading, role: Role) {
        let [before, after] = (self.dialect.time)(reading, self.info.is_zoned(role));
        self.text(before);
        if matches!(reading, Reading::Ago | Reading::Later) {
            self.parts.push(Part::Micros(reading));
        }
        self.text(after);
    }

    /// What is read, after the table's name where it is a column: a name alone
    /// could be that of a joined list.
    fn fields(&mut self) {
        let info = self.info;
        let is_there = |field: &&Field| match field.role() {
            Some(role) => info.column(role).is_some(),
            // The text itself reads it.
            None => **field != Field::Written,
        };
        let fields = self.statement.fields.iter().filter(is_there);
        self.list(fields, |to, field| match field {
            Field::Row => to.parts.push(Part::Row),
            Field::Key => to.read_key(),
            Field::Now => to.time(Reading::Now, Role::UpdateAt),
            Field::Count => to.text("count(*)"),
            Field::Place => to.text("tracker_picked.tracker_place"),
            Field::Since => to.text("tracker_picked.tracker_since"),
            Field::ColumnName => to.text(to.dialect.catalog.name),
            Field::IsBinary => to.text(to.dialect.catalog.is_binary),
            Field::Shown(role) => to.text(&to.dialect.as_text(&to.name(*role).qualified)),
            Field::Status if info.is_described() => {
                to.text(&to.dialect.as_text(&to.name(Role::Status).qualified));
            }
            field => {
                if let Some(role) = field.role() {
                    to.text(&to.name(role).qualified);
                }
            }
        });
    }

    /// The key as it is read. Text without the padding of a `CHAR(n)`, so that
    /// it finds its row again in an array, which is bound as `text[]`.
    fn read_key(&mut self) {
        let columns = self.info.key_columns().iter().zip(&self.names.key);
        let (dialect, is_described) = (self.dialect, self.info.is_described());
        self.list(columns, |to, (column, name)| {
            match is_described || column.is_text && dialect.infers_text {
                true => to.text(&dialect.as_text(&name.qualified)),
                false => to.text(&name.qualified),
            }
        });
    }
}

/// Whether a call may give no value for it.
fn may_be_missing(part: &Part) -> bool {
    matches!(
        part,
        Part::Micros(_)
            | Part::Any(Keys::Past, _)
            | Part::Slot(
                Slot::Changes
                    | Slot::Filter
                    | Slot::Since
                    | Slot::SetColumns
                    | Slot::SetNulls
                    | Slot::SetValues
                    | Slot::PastCursor
            )
    )
}
