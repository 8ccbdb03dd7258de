//! The one query: writes a statement for a table and binds the values of a call.

use std::any::TypeId;

use diesel::QueryResult;
use diesel::backend::Backend;
use diesel::query_builder::{AstPass, Query as DieselQuery, QueryFragment, QueryId};
use diesel::result::Error::QueryBuilderError;
use diesel::sql_types::Untyped;

use super::backend::{Binds, text_of};
use super::call::{Code, Keys, Plain, Values};
use super::dialect::Dialect;
use super::new_rows::{self, RowGroup};
use super::prepared;
use super::template::{Reading, Slot, Statement};
use super::texts::round_up;
use super::typed::{Fragments, NewRow};
use super::written::{Any, Part};
use crate::table_info::{Names, Role, TableInfo};

/// A statement on a table, with the values of a call.
pub struct Query<'a, DB: Backend> {
    pub(super) statement: &'static Statement,
    /// The statement, written for this table.
    pub(super) parts: &'a [Part],
    pub(super) dialect: &'static Dialect,
    pub(super) info: &'a TableInfo,
    pub(super) plain: &'a Plain<'a>,
    pub(super) values: &'a dyn Values<DB>,
    pub(super) fragments: Fragments<'a, DB>,
    /// Those of the new rows that it inserts.
    pub(super) group: &'a RowGroup,
    /// The condition on the rows that a claim takes.
    pub(super) filter: Option<&'a dyn QueryFragment<DB>>,
    /// Whether it stays prepared.
    pub(super) is_kept: bool,
    /// The name of its text, where that does not vary.
    pub(super) name: Option<TypeId>,
}

/// How far a repeated part has come.
#[derive(Debug, Clone, Copy, Default)]
struct At {
    code: Option<Code>,
    row: usize,
}

impl<DB: Binds> QueryFragment<DB> for Query<'_, DB> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        if !self.is_kept {
            out.unsafe_to_cache_prepared();
        }
        self.write_all(self.parts, At::default(), &mut out)
    }

    /// Not asked of the parts: one of Diesel's is never safe where it may be `DEFAULT`, whose
    /// text varies. Here the text decides.
    fn is_safe_to_cache_prepared(&self, _: &DB) -> QueryResult<bool> {
        Ok(self.is_kept)
    }
}

impl<DB: Backend> QueryId for Query<'_, DB> {
    type QueryId = ();
    // The text is the key of the cache of prepared statements, unless it has a name.
    const HAS_STATIC_QUERY_ID: bool = false;

    fn query_id() -> Option<TypeId> {
        prepared::sent()
    }
}

impl<DB: Backend> DieselQuery for Query<'_, DB> {
    // Each field is read as the type that its role has.
    type SqlType = Untyped;
}

impl<DB: Binds> Query<'_, DB> {
    /// The text, as the database gets it.
    pub(super) fn text(&self) -> QueryResult<String> {
        text_of(self)
    }

    /// A value that the call must give and does not.
    pub(super) fn missing<T>(&self, what: &str) -> QueryResult<T> {
        let statement = self.statement.name;
        Err(QueryBuilderError(
            format!("the statement `{statement}` got no {what}").into(),
        ))
    }

    /// Whether the call gives a value for a part that may be missing.
    pub(super) fn exists(&self, part: &Part) -> QueryResult<bool> {
        Ok(match part {
            Part::Micros(reading) => self.micros(*reading).is_some(),
            Part::Slot(Slot::Changes) => match self.fragments.changes {
                Some(changes) => !changes.is_noop(&DB::default())?,
                None => false,
            },
            Part::Any(keys, _) => self.values.count_keys(*keys) > 0,
            Part::Slot(Slot::PastCursor) => {
                self.plain.page.is_some_and(|page| page.after.is_some())
            }
            Part::Slot(Slot::Since) => self.plain.since.is_some(),
            Part::Slot(Slot::Filter) => self.plain.filter.is_some(),
            Part::Slot(Slot::SetColumns | Slot::SetNulls | Slot::SetValues) => {
                match (&self.group.columns, self.new_rows().first()) {
                    (Some(columns), _) => !columns.is_empty(),
                    (None, Some(first)) => !first.values.is_noop(&DB::default())?,
                    (None, None) => false,
                }
            }
            _ => true,
        })
    }

    /// The new rows that it inserts.
    fn new_rows(&self) -> &[NewRow<'_, DB>] {
        self.fragments
            .new_rows
            .get(self.group.rows.clone())
            .unwrap_or_default()
    }

    fn micros(&self, reading: Reading) -> Option<&i64> {
        match reading {
            Reading::Ago => self.plain.ago.as_ref(),
            _ => self.plain.later.as_ref(),
        }
    }

    fn write_all<'b>(
        &'b self,
        parts: &'b [Part],
        at: At,
        out: &mut AstPass<'_, 'b, DB>,
    ) -> QueryResult<()> {
        for part in parts {
            match part {
                Part::Text(text) => out.push_sql(text),
                Part::Key(keys, column) => self.bind_key(*keys, at.row, *column, out)?,
                Part::Any(keys, any) => self.write_any(*keys, any, at, out)?,
                Part::Micros(reading) => match self.micros(*reading) {
                    Some(micros) => DB::bind_big_integer(micros, out.reborrow())?,
                    None => return self.missing("duration"),
                },
                Part::Row => self.fragments.row.walk_ast(out.reborrow())?,
                Part::Slot(slot) => self.write_slot(*slot, at, out)?,
                Part::Optional(parts) => {
                    let mut exists = true;
                    for part in parts {
                        exists = exists && self.exists(part)?;
                    }
                    if exists {
                        self.write_all(parts, at, out)?;
                    }
                }
                Part::EachReady(parts, between) => {
                    for (n, code) in self.ready().enumerate() {
                        out.push_sql(if n > 0 { between } else { "" });
                        let code = Some(code);
                        self.write_all(parts, At { code, ..at }, out)?;
                    }
                }
                Part::EachRow(..) if self.new_rows().is_empty() => {
                    return self.missing("new row");
                }
                Part::EachRow(parts, between) => {
                    let rows = &self.group.rows;
                    for row in rows.clone() {
                        out.push_sql(if row > rows.start { between } else { "" });
                        self.write_all(parts, At { row, ..at }, out)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn write_slot<'b>(
        &'b self,
        slot: Slot,
        at: At,
        out: &mut AstPass<'_, 'b, DB>,
    ) -> QueryResult<()> {
        let plain = self.plain;
        match slot {
            Slot::Pending => self.write_code(Code::Pending, out),
            Slot::InProgress => self.write_code(Code::InProgress, out),
            Slot::Succeeded => self.write_code(Code::Succeeded, out),
            Slot::Ignored => self.write_code(Code::Ignored, out),
            Slot::ReadyCodes => {
                write_list(self.ready(), out, |code, out| self.write_code(code, out))
            }
            Slot::OwnCodes => write_list(OWN_CODES, out, |code, out| self.write_code(code, out)),
            Slot::Code => match at.code {
                Some(code) => self.write_code(code, out),
                None => self.missing("code to repeat"),
            },
            Slot::Statuses => {
                let given = (0..self.values.count_given()).map(Code::Given);
                write_list(given, out, |code, out| self.write_code(code, out))
            }
            // It varies from call to call, so it is bound.
            Slot::NewStatus if self.values.has_code(Code::New) => {
                self.values.bind_code(Code::New, out.reborrow())
            }
            Slot::NewStatus => self.missing("new status"),
            Slot::Token => match plain.tokens {
                [token, ..] => DB::bind_text(token, out.reborrow()),
                [] => self.missing("token"),
            },
            Slot::WrittenToken => match plain.written_token {
                Some(token) => DB::bind_text(token, out.reborrow()),
                None => self.missing("token of what is written"),
            },
            Slot::Tokens => write_list(padded(plain.tokens.len()), out, |n, out| {
                DB::bind_text(plain.tokens[n], out.reborrow())
            }),
            Slot::Count => match &plain.count {
                Some(count) => DB::bind_integer(count, out.reborrow()),
                None => self.missing("count"),
            },
            Slot::Document => match &plain.document {
                Some(document) => DB::bind_document(document, self.info.errors(), out.reborrow()),
                None => self.missing("document"),
            },
            Slot::Changes => match self.fragments.changes {
                Some(changes) => changes.walk_ast(out.reborrow()),
                None => self.missing("changes"),
            },
            Slot::Filter => match self.filter {
                Some(filter) => filter.walk_ast(out.reborrow()),
                None => self.missing("filter for this database"),
            },
            Slot::Since => match &plain.since {
                Some(since) => {
                    let is_zoned = self.info.is_zoned(Role::UpdateAt);
                    DB::bind_time(since, is_zoned, out.reborrow())
                }
                None => self.missing("time"),
            },
            Slot::Limit => match &plain.limit {
                Some(limit) => DB::bind_big_integer(limit, out.reborrow()),
                None => self.missing("limit"),
            },
            Slot::LimitText => match plain.limit {
                Some(limit) => {
                    out.push_sql(itoa::Buffer::new().format(limit));
                    Ok(())
                }
                None => self.missing("limit"),
            },
            Slot::Order => match self.fragments.order {
                Some(order) => order.walk_ast(out.reborrow()),
                None => {
                    let name = &self.names().columns[Role::UpdateAt as usize].alone;
                    out.push_sql(name);
                    out.push_sql(match self.info.is_nullable(Role::UpdateAt) {
                        true => self.dialect.null_before_all[0],
                        false => " ASC",
                    });
                    Ok(())
                }
            },
            Slot::SetColumns => match (&self.group.columns, self.new_rows().first()) {
                (Some(columns), _) => write_list(columns, out, |column, out| {
                    out.push_sql(column);
                    Ok(())
                }),
                (None, Some(row)) => row.columns.walk_ast(out.reborrow()),
                (None, None) => self.missing("new row"),
            },
            Slot::SetNulls => write_list(self.group.columns.iter().flatten(), out, |_, out| {
                out.push_sql("NULL");
                Ok(())
            }),
            Slot::SetValues => match (self.fragments.new_rows.get(at.row), &self.group.columns) {
                (Some(row), Some(columns)) => new_rows::write_bound(row.values, columns.len(), out),
                (Some(row), None) => row.values.walk_ast(out.reborrow()),
                (None, _) => self.missing("new row"),
            },
            Slot::PastCursor => self.write_past_cursor(out),
            Slot::PageOrder => self.write_page_order(out),
            Slot::SeenLockAt => match plain.seen_lock_at {
                Some(time) => DB::bind_text(time, out.reborrow()),
                None => self.missing("time of the lock"),
            },
            Slot::Unchanged => match plain.seen_update_at {
                Some(Some(time)) => DB::bind_text(time, out.reborrow()),
                Some(None) => {
                    out.push_sql("NULL");
                    Ok(())
                }
                None => self.missing("time of the last change"),
            },
            Slot::TableText => DB::bind_text(self.info.name(), out.reborrow()),
            Slot::SchemaText => {
                DB::bind_text(self.info.schema().unwrap_or_default(), out.reborrow())
            }
            Slot::TablePath => DB::bind_text(&self.names().table, out.reborrow()),
            // What the table fills in is text already.
            other => self.missing(&format!("text for {other:?}")),
        }
    }

    pub(super) fn names(&self) -> &Names {
        self.info.quoted(self.dialect.quote)
    }

    /// The statuses from which the step starts.
    pub(super) fn ready(&self) -> impl Iterator<Item = Code> + use<DB> {
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
            Some(number) => out.push_sql(itoa::Buffer::new().format(number)),
            None => self.values.bind_code(code, out.reborrow())?,
        }
        Ok(())
    }

    fn bind_key<'b>(
        &'b self,
        keys: Keys,
        n: usize,
        column: usize,
        out: &mut AstPass<'_, 'b, DB>,
    ) -> QueryResult<()> {
        if n >= self.values.count_keys(keys) {
            return self.missing("key");
        }
        self.values.bind_key(keys, n, column, out.reborrow())
    }

    /// The condition that a row's key is one of several.
    fn write_any<'b>(
        &'b self,
        keys: Keys,
        any: &'b Any,
        at: At,
        out: &mut AstPass<'_, 'b, DB>,
    ) -> QueryResult<()> {
        let count = self.values.count_keys(keys);
        let name = || self.names().key.first().map_or("", |name| &name.alone);
        match any {
            _ if count == 0 => return self.missing("keys"),
            // PostgreSQL plans a statement with an array of one key anew at each call: it
            // takes the plan for ten keys, which it could keep, for a worse one.
            Any::Array if count == 1 => {
                out.push_sql(name());
                out.push_sql(" = ");
                self.bind_key(keys, 0, 0, out)?;
            }
            Any::Array => {
                out.push_sql(name());
                out.push_sql(" = ANY(");
                self.values.bind_keys(keys, out.reborrow())?;
                out.push_sql(")");
            }
            Any::List(key) => {
                out.push_sql(name());
                out.push_sql(" IN (");
                write_list(padded(count), out, |row, out| {
                    self.write_all(key, At { row, ..at }, out)
                })?;
                out.push_sql(")");
            }
            Any::Each(is) => {
                for (position, row) in padded(count).enumerate() {
                    out.push_sql(if position == 0 { "((" } else { ") OR (" });
                    self.write_all(is, At { row, ..at }, out)?;
                }
                out.push_sql("))");
            }
        }
        Ok(())
    }
}

pub(super) const OWN_CODES: [Code; 5] = [
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
