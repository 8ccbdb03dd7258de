//! The one query: writes a statement for a table and binds the values of a call.

use diesel::QueryResult;
use diesel::backend::Backend;
use diesel::query_builder::{AstPass, Query as DieselQuery, QueryFragment, QueryId};
use diesel::result::Error::QueryBuilderError;
use diesel::sql_types::Untyped;

use super::backend::Binds;
use super::call::{Code, Keys, Plain, Values};
use super::dialect::{Dialect, Wait};
use super::record::Field;
use super::template::{Piece, Reading, Slot, Statement};
use super::texts::round_up;
use super::typed::Fragments;
use crate::table_info::{Name, Names, Role, TableInfo};

/// A statement on a table, with the values of a call.
pub struct Query<'a, DB: Backend> {
    pub(super) statement: &'static Statement,
    pub(super) dialect: &'static Dialect,
    pub(super) info: &'a TableInfo,
    pub(super) plain: &'a Plain<'a>,
    pub(super) values: &'a dyn Values<DB>,
    pub(super) fragments: Fragments<'a, DB>,
    /// Whether it stays prepared.
    pub(super) is_kept: bool,
}

impl<DB: Binds> QueryFragment<DB> for Query<'_, DB> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        if !self.is_kept {
            out.unsafe_to_cache_prepared();
        }
        let wait = self.wait();
        if self.statement.waits() {
            out.push_sql(wait.before);
        }
        self.write_all(self.statement.pieces(self.dialect), None, &mut out)?;
        if self.statement.is_change() && self.dialect.has_returning {
            out.push_sql(" RETURNING ");
            self.write_fields(&mut out)?;
        }
        Ok(())
    }
}

impl<DB: Backend> QueryId for Query<'_, DB> {
    type QueryId = ();
    // The text is the key of the cache of prepared statements.
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<DB: Backend> DieselQuery for Query<'_, DB> {
    // Each field is read as the type that its role has.
    type SqlType = Untyped;
}

impl<DB: Binds> Query<'_, DB> {
    /// A value that the call gives and the statement does not take.
    pub(super) fn unused(&self) -> Option<&'static str> {
        use Slot::{
            Any, AnyGiven, Changes, Count, Document, Is, Limit, LimitText, NewStatus, Past, Since,
            Statuses, Token, Tokens,
        };
        let pieces = self.statement.pieces(self.dialect);
        let takes = |slots: &[Slot]| {
            let slots: Vec<_> = slots.iter().map(|slot| Piece::Slot(*slot)).collect();
            pieces.iter().any(|piece| piece.holds(&slots))
        };
        let takes_time = |reading, role| {
            let time = [Piece::Time(reading, role)];
            pieces.iter().any(|piece| piece.holds(&time))
        };
        let (plain, values) = (self.plain, self.values);
        let given = [
            (
                values.count_keys(Keys::These) > 0,
                takes(&[Is, Any, AnyGiven]),
                "keys",
            ),
            (
                values.count_keys(Keys::Past) > 0,
                takes(&[Past]),
                "past keys",
            ),
            (values.count_given() > 0, takes(&[Statuses]), "statuses"),
            (
                values.has_code(Code::New),
                takes(&[NewStatus]),
                "new status",
            ),
            (!plain.tokens.is_empty(), takes(&[Token, Tokens]), "tokens"),
            (plain.count.is_some(), takes(&[Count]), "count"),
            (plain.document.is_some(), takes(&[Document]), "document"),
            (plain.since.is_some(), takes(&[Since]), "since"),
            (plain.limit.is_some(), takes(&[Limit, LimitText]), "limit"),
            (
                self.fragments.changes.is_some(),
                takes(&[Changes]),
                "changes",
            ),
            (
                plain.ago.is_some(),
                [Role::LockAt, Role::UpdateAt]
                    .iter()
                    .any(|role| takes_time(Reading::Ago, *role)),
                "ago",
            ),
            (
                plain.later.is_some(),
                takes_time(Reading::Later, Role::RunAt),
                "later",
            ),
        ];
        let unused = given
            .iter()
            .find(|(is_given, is_taken, _)| *is_given && !is_taken);
        unused.map(|(_, _, value)| *value)
    }

    fn names(&self) -> &Names {
        self.info.quoted(self.dialect.quote)
    }

    fn name(&self, role: Role) -> &Name {
        &self.names().columns[role as usize]
    }

    fn wait(&self) -> Wait {
        (self.dialect.wait)(self.plain.wait)
    }

    /// A value that the call must give and does not.
    fn missing<T>(&self, what: &str) -> QueryResult<T> {
        let statement = self.statement.name;
        Err(QueryBuilderError(
            format!("the statement `{statement}` got no {what}").into(),
        ))
    }

    /// Whether an optional piece stands in the text.
    fn exists(&self, piece: &Piece) -> QueryResult<bool> {
        Ok(match piece {
            Piece::Column(role) => self.info.column(*role).is_some(),
            Piece::Time(Reading::Ago, _) => self.plain.ago.is_some(),
            Piece::Time(Reading::Later, _) => self.plain.later.is_some(),
            Piece::Slot(Slot::Changes) => match self.fragments.changes {
                Some(changes) => !changes.is_noop(&DB::default())?,
                None => false,
            },
            Piece::Slot(Slot::OnlyKey) => self.info.key_columns().len() == 1,
            Piece::Slot(Slot::Past) => self.values.count_keys(Keys::Past) > 0,
            Piece::Slot(Slot::Since) => self.plain.since.is_some(),
            Piece::Slot(Slot::Wait) => !self.wait().condition.is_empty(),
            _ => true,
        })
    }

    fn write_all<'b>(
        &'b self,
        pieces: &[Piece],
        code: Option<Code>,
        out: &mut AstPass<'_, 'b, DB>,
    ) -> QueryResult<()> {
        for piece in pieces {
            match piece {
                Piece::Text(text) => out.push_sql(text),
                Piece::Column(role) => out.push_sql(&self.name(*role).alone),
                Piece::Slot(slot) => self.write_slot(*slot, code, out)?,
                Piece::Time(reading, role) => self.write_time(*reading, *role, out)?,
                Piece::Optional(pieces) => {
                    let mut exists = true;
                    for piece in pieces {
                        exists = exists && self.exists(piece)?;
                    }
                    if exists {
                        self.write_all(pieces, code, out)?;
                    }
                }
                Piece::EachReady(pieces, between) => {
                    for (n, code) in self.ready().enumerate() {
                        out.push_sql(if n > 0 { between } else { "" });
                        self.write_all(pieces, Some(code), out)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn write_slot<'b>(
        &'b self,
        slot: Slot,
        code: Option<Code>,
        out: &mut AstPass<'_, 'b, DB>,
    ) -> QueryResult<()> {
        let names = self.names();
        match slot {
            Slot::Table => out.push_sql(&names.table),
            Slot::Key | Slot::OnlyKey => write_list(&names.key, out, |name, out| {
                out.push_sql(&name.alone);
                Ok(())
            })?,
            Slot::TableKey => write_list(&names.key, out, |name, out| {
                out.push_sql(&name.qualified);
                Ok(())
            })?,
            Slot::PickedKey => write_list(&names.key, out, |name, out| {
                out.push_sql("tracker_picked.");
                out.push_sql(&name.alone);
                Ok(())
            })?,
            Slot::Is => self.write_key(Keys::These, 0, out)?,
            Slot::Any => self.write_any(Keys::These, self.dialect.has_arrays, out)?,
            Slot::AnyGiven => self.write_any(Keys::These, false, out)?,
            Slot::Past => self.write_any(Keys::Past, self.dialect.has_arrays, out)?,
            Slot::Pending => self.write_code(Code::Pending, out)?,
            Slot::InProgress => self.write_code(Code::InProgress, out)?,
            Slot::Succeeded => self.write_code(Code::Succeeded, out)?,
            Slot::ReadyCodes => {
                write_list(self.ready(), out, |code, out| self.write_code(code, out))?
            }
            Slot::OwnCodes => write_list(OWN_CODES, out, |code, out| self.write_code(code, out))?,
            Slot::Code => match code {
                Some(code) => self.write_code(code, out)?,
                None => return self.missing("code to repeat"),
            },
            Slot::Statuses => {
                let given = (0..self.values.count_given()).map(Code::Given);
                write_list(given, out, |code, out| self.write_code(code, out))?;
            }
            // It varies from call to call, so it is bound.
            Slot::NewStatus if !self.values.has_code(Code::New) => {
                return self.missing("new status");
            }
            Slot::NewStatus => self.values.bind_code(Code::New, out.reborrow())?,
            Slot::Token => match self.plain.tokens {
                [token, ..] => DB::bind_text(token, out.reborrow())?,
                [] => return self.missing("token"),
            },
            Slot::Tokens => {
                let tokens = self.plain.tokens;
                write_list(padded(tokens.len()), out, |n, out| {
                    DB::bind_text(tokens[n], out.reborrow())
                })?;
            }
            Slot::Count => match &self.plain.count {
                Some(count) => DB::bind_integer(count, out.reborrow())?,
                None => return self.missing("count"),
            },
            Slot::Document => match &self.plain.document {
                Some(document) => {
                    DB::bind_document(document, self.info.errors(), out.reborrow())?;
                }
                None => return self.missing("document"),
            },
            Slot::Changes => match self.fragments.changes {
                Some(changes) => changes.walk_ast(out.reborrow())?,
                None => return self.missing("changes"),
            },
            Slot::Since => match &self.plain.since {
                Some(since) => {
                    let is_zoned = self.info.is_zoned(Role::UpdateAt);
                    DB::bind_time(since, is_zoned, out.reborrow())?;
                }
                None => return self.missing("time"),
            },
            Slot::Limit | Slot::LimitText => match &self.plain.limit {
                Some(limit) if slot == Slot::LimitText => out.push_sql(&limit.to_string()),
                Some(limit) => DB::bind_big_integer(limit, out.reborrow())?,
                None => return self.missing("limit"),
            },
            Slot::Order => match self.fragments.order {
                Some(order) => order.walk_ast(out.reborrow())?,
                None => {
                    out.push_sql(&self.name(Role::UpdateAt).alone);
                    out.push_sql(" ASC");
                }
            },
            Slot::Fields => self.write_fields(out)?,
            Slot::Wait => out.push_sql(self.wait().condition),
        }
        Ok(())
    }

    /// The statuses from which the step starts.
    fn ready(&self) -> impl Iterator<Item = Code> + use<DB> {
        let more = (0..self.values.count_more()).map(Code::More);
        [Code::Pending, Code::Failed].into_iter().chain(more)
    }

    /// A number in the text where the column holds numbers: PostgreSQL and
    /// SQLite use a partial index on the ready rows only where the statement
    /// itself shows that it asks for ready rows.
    fn write_code<'b>(&'b self, code: Code, out: &mut AstPass<'_, 'b, DB>) -> QueryResult<()> {
        if !self.values.has_code(code) {
            return self.missing("step or status");
        }
        match self.values.number(code) {
            Some(number) => out.push_sql(&number.to_string()),
            None => self.values.bind_code(code, out.reborrow())?,
        }
        Ok(())
    }

    /// A time of the database's clock, as the column with this role holds it.
    fn write_time<'b>(
        &'b self,
        reading: Reading,
        role: Role,
        out: &mut AstPass<'_, 'b, DB>,
    ) -> QueryResult<()> {
        let [before, after] = (self.dialect.time)(reading, self.info.is_zoned(role));
        let micros = match reading {
            Reading::Now | Reading::Stamp => None,
            Reading::Ago => Some(&self.plain.ago),
            Reading::Later => Some(&self.plain.later),
        };
        out.push_sql(before);
        match micros {
            None => {}
            Some(Some(micros)) => DB::bind_big_integer(micros, out.reborrow())?,
            Some(None) => return self.missing("duration"),
        }
        out.push_sql(after);
        Ok(())
    }

    /// The condition on one key.
    fn write_key<'b>(
        &'b self,
        keys: Keys,
        n: usize,
        out: &mut AstPass<'_, 'b, DB>,
    ) -> QueryResult<()> {
        if n >= self.values.count_keys(keys) {
            return self.missing("key");
        }
        for (column, name) in self.names().key.iter().enumerate() {
            out.push_sql(if column > 0 { " AND " } else { "" });
            out.push_sql(&name.alone);
            out.push_sql(" = ");
            self.values.bind_key(keys, n, column, out.reborrow())?;
        }
        Ok(())
    }

    /// The condition that a row's key is one of several. PostgreSQL takes keys
    /// of one column as an array, but only those that it gave: the user may
    /// have written them otherwise.
    fn write_any<'b>(
        &'b self,
        keys: Keys,
        as_array: bool,
        out: &mut AstPass<'_, 'b, DB>,
    ) -> QueryResult<()> {
        let count = self.values.count_keys(keys);
        if count == 0 {
            return self.missing("keys");
        }
        match &*self.names().key {
            [name] if as_array => {
                out.push_sql(&name.alone);
                out.push_sql(" = ANY(");
                self.values.bind_keys(keys, out.reborrow())?;
                out.push_sql(")");
            }
            [name] => {
                out.push_sql(&name.alone);
                out.push_sql(" IN (");
                write_list(padded(count), out, |n, out| {
                    self.values.bind_key(keys, n, 0, out.reborrow())
                })?;
                out.push_sql(")");
            }
            _ => {
                for (position, n) in padded(count).enumerate() {
                    out.push_sql(if position == 0 { "((" } else { ") OR (" });
                    self.write_key(keys, n, out)?;
                }
                out.push_sql("))");
            }
        }
        Ok(())
    }

    /// What is read, after the table's name where it is a column: a name alone
    /// could be that of a joined list.
    fn write_fields<'b>(&'b self, out: &mut AstPass<'_, 'b, DB>) -> QueryResult<()> {
        let is_there = |field: &&Field| match field.role() {
            Some(role) => self.info.column(role).is_some(),
            None => true,
        };
        let fields = self.statement.fields.iter().filter(is_there);
        write_list(fields, out, |field, out| {
            match field {
                Field::Row => self.fragments.row.walk_ast(out.reborrow())?,
                Field::Key => self.write_read_key(out)?,
                Field::Now => self.write_time(Reading::Now, Role::UpdateAt, out)?,
                Field::Count => out.push_sql("count(*)"),
                Field::Place => out.push_sql("tracker_picked.tracker_place"),
                Field::Since => out.push_sql("tracker_picked.tracker_since"),
                _ => {
                    if let Some(role) = field.role() {
                        out.push_sql(&self.name(role).qualified);
                    }
                }
            }
            Ok(())
        })
    }

    /// The key as it is read. Text without the padding of a `CHAR(n)`, so that
    /// it finds its row again in an array, which is bound as `text[]`.
    fn write_read_key<'b>(&'b self, out: &mut AstPass<'_, 'b, DB>) -> QueryResult<()> {
        let columns = self.info.key_columns().iter().zip(&self.names().key);
        write_list(columns, out, |(column, name), out| {
            let is_cast = column.is_text && self.dialect.infers_text;
            out.push_sql(if is_cast { "CAST(" } else { "" });
            out.push_sql(&name.qualified);
            out.push_sql(if is_cast { " AS text)" } else { "" });
            Ok(())
        })
    }
}

const OWN_CODES: [Code; 5] = [
    Code::Pending,
    Code::InProgress,
    Code::Failed,
    Code::Succeeded,
    Code::Ignored,
];

fn write_list<'b, DB: Backend, T>(
    items: impl IntoIterator<Item = T>,
    out: &mut AstPass<'_, 'b, DB>,
    mut write: impl FnMut(T, &mut AstPass<'_, 'b, DB>) -> QueryResult<()>,
) -> QueryResult<()> {
    for (n, item) in items.into_iter().enumerate() {
        out.push_sql(if n > 0 { ", " } else { "" });
        write(item, out)?;
    }
    Ok(())
}

/// The positions of a list that is longer than `count`, its last item repeated,
/// so that lists have few lengths and each text stays prepared.
fn padded(count: usize) -> impl Iterator<Item = usize> {
    (0..round_up(count)).map(move |n| n.min(count.saturating_sub(1)))
}
