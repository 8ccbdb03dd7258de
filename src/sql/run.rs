//! Sends a statement on one of Diesel's connections.
//!
//! `LoadConnection::load` is Diesel's own way to the rows of a query that it
//! has not typed; it is meant for those who build another DSL on Diesel.

use diesel::QueryResult;
#[cfg(feature = "mysql")]
use diesel::connection::CacheSize;
use diesel::connection::{Connection, DefaultLoadingMode, LoadConnection};
use diesel::deserialize;
use diesel::result::Error::{self, DeserializationError};

use super::backend::Binds;
use super::call::{Call, TypedCall};
use super::described::{self, Described, DescribedCall, DescribedConnection, TextRecord};
use super::dialect::Dialect;
use super::new_rows::RowGroup;
use super::prepared::named;
use super::query::Query;
use super::record::{Plain, Record};
use super::statements;
use super::template::Statement;
use super::typed::{Fragments, TableOn};
use crate::db::connection_enum::{ConnectionEnum, InnerConnection, NotListed, on_inner};
use crate::sql::tracked_table::Tracked;

/// A row as a connection returns it.
type RowOf<'c, 'q, C> = <C as LoadConnection>::Row<'c, 'q>;

/// What is done with each row, whose plain fields are read already.
type ReadRow<'f, C> =
    dyn for<'c, 'q> FnMut(&RowOf<'c, 'q, C>, Plain) -> deserialize::Result<()> + 'f;

/// One of Diesel's connections. Its methods are compiled once, in this crate,
/// and not anew for each table.
pub trait Sends: Connection<Backend: Binds> + LoadConnection + 'static {
    /// What it speaks.
    fn dialect(&self) -> &'static Dialect;
    /// Sends a statement, and tells how many rows it changed.
    fn send(&mut self, query: &Query<'_, Self::Backend>) -> QueryResult<usize>;
    /// Sends a statement that returns rows.
    fn load_rows(
        &mut self,
        query: Query<'_, Self::Backend>,
        read: &mut ReadRow<'_, Self>,
    ) -> QueryResult<()>;
}

/// Sends on this type of connection; `$after_error` is called where a query has failed.
macro_rules! sends {
    ($Connection:ty, $dialect:expr, $after_error:expr) => {
        impl Sends for $Connection {
            fn dialect(&self) -> &'static Dialect {
                &$dialect
            }

            fn send(&mut self, query: &Query<'_, Self::Backend>) -> QueryResult<usize> {
                named(query.name, || self.execute_returning_count(query))
            }

            fn load_rows(
                &mut self,
                query: Query<'_, Self::Backend>,
                read: &mut ReadRow<'_, Self>,
            ) -> QueryResult<()> {
                let (fields, info) = (query.statement.fields, query.info);
                let name = query.name;
                let load_all = || {
                    let load = || LoadConnection::<DefaultLoadingMode>::load(self, query);
                    for row in named(name, load)? {
                        let row = row?;
                        Self::Backend::read_plain(&row, fields, info)
                            .and_then(|plain| read(&row, plain))
                            .map_err(DeserializationError)?;
                    }
                    Ok(())
                };
                let loaded = load_all();
                if matches!(loaded, Err(Error::DatabaseError(..))) {
                    $after_error(self);
                }
                loaded
            }
        }
    };
}

#[cfg(feature = "sqlite")]
sends!(diesel::SqliteConnection, super::dialect::SQLITE, |_| ());
#[cfg(feature = "postgres")]
sends!(diesel::PgConnection, super::dialect::POSTGRES, |_| ());
#[cfg(feature = "mysql")]
sends!(
    diesel::MysqlConnection,
    super::dialect::MYSQL,
    forget_prepared
);

/// Closes the prepared statements of the session. Where the server ends a query with an
/// error after some of its rows, MariaDB's client believes that more rows are to come: it
/// would wait for them without end when the statement is executed again.
#[cfg(feature = "mysql")]
fn forget_prepared(conn: &mut diesel::MysqlConnection) {
    conn.set_prepared_statement_cache_size(CacheSize::Disabled);
    conn.set_prepared_statement_cache_size(CacheSize::Unbounded);
}

/// What the connection in an enum speaks.
pub fn dialect_of<C: ConnectionEnum>(conn: &mut C) -> &'static Dialect {
    on_inner!(conn.inner(), conn => Sends::dialect(conn))
}

/// The error where an enum holds a connection that `connections` does not list.
pub fn not_listed<J: Tracked>(inner: &InnerConnection<'_>) -> Error {
    NotListed::error(J::table_name(), inner)
}

/// Sends a statement with the values of `call`, and tells how many rows it changed.
pub fn execute<J: TableOn<C::Backend>, C: Sends>(
    conn: &mut C,
    statement: &'static Statement,
    call: &Call<'_, J>,
) -> QueryResult<usize> {
    let mut changed = 0;
    with_query(conn.dialect(), statement, call, &mut |query| {
        // An insert of many rows is sent in parts.
        changed += conn.send(&query)?;
        Ok(())
    })?;
    Ok(changed)
}

/// Sends a statement with the values of `call`, and reads the rows that it
/// returns, or those that it changed.
pub fn read<J: TableOn<C::Backend>, C: Sends>(
    conn: &mut C,
    statement: &'static Statement,
    call: &Call<'_, J>,
) -> QueryResult<Vec<Record<J>>> {
    if conn.dialect().has_returning {
        return load(conn, statement, call);
    }
    match statement.read_again {
        Some(again) => match execute(conn, statement, call)? {
            0 => Ok(Vec::new()),
            _ => load(conn, again, &call.of_rows()),
        },
        None => load(conn, statement, call),
    }
}

fn load<J: TableOn<C::Backend>, C: Sends>(
    conn: &mut C,
    statement: &'static Statement,
    call: &Call<'_, J>,
) -> QueryResult<Vec<Record<J>>> {
    let mut records = Vec::new();
    with_query(conn.dialect(), statement, call, &mut |query| {
        conn.load_rows(query, &mut |row, plain| {
            records.push(Record::read(row, statement.fields, plain)?);
            Ok(())
        })
    })?;
    Ok(records)
}

fn load_described<C: Sends>(
    conn: &mut C,
    table: &Described,
    statement: &'static Statement,
    call: &DescribedCall<'_>,
) -> QueryResult<Vec<TextRecord>> {
    let mut records = Vec::new();
    described::with_query(conn.dialect(), table, statement, call, &mut |query| {
        conn.load_rows(query, &mut |row, plain| {
            let fields = statement.fields;
            records.push(TextRecord::read(row, fields, table.info(), plain)?);
            Ok(())
        })
    })?;
    Ok(records)
}

macro_rules! described_connection {
    ($Connection:ty, $Inner:ident) => {
        impl DescribedConnection for $Connection {
            fn inner_connection(&mut self) -> InnerConnection<'_> {
                InnerConnection::$Inner(self)
            }

            fn dialect(&mut self) -> &'static Dialect {
                Sends::dialect(self)
            }

            fn execute(
                &mut self,
                table: &Described,
                statement: &'static Statement,
                call: &DescribedCall<'_>,
            ) -> QueryResult<usize> {
                let mut changed = 0;
                let dialect = Sends::dialect(self);
                described::with_query(dialect, table, statement, call, &mut |query| {
                    changed = self.send(&query)?;
                    Ok(())
                })?;
                Ok(changed)
            }

            fn read(
                &mut self,
                table: &Described,
                statement: &'static Statement,
                call: &DescribedCall<'_>,
            ) -> QueryResult<Vec<TextRecord>> {
                match statement.read_again {
                    Some(again) if !Sends::dialect(self).has_returning => {
                        match self.execute(table, statement, call)? {
                            0 => Ok(Vec::new()),
                            _ => load_described(self, table, again, &call.of_rows()),
                        }
                    }
                    _ => load_described(self, table, statement, call),
                }
            }
        }
    };
}

#[cfg(feature = "sqlite")]
described_connection!(diesel::SqliteConnection, Sqlite);
#[cfg(feature = "postgres")]
described_connection!(diesel::PgConnection, Postgres);
#[cfg(feature = "mysql")]
described_connection!(diesel::MysqlConnection, Mysql);

impl<C: ConnectionEnum> DescribedConnection for C {
    fn inner_connection(&mut self) -> InnerConnection<'_> {
        self.inner()
    }

    fn dialect(&mut self) -> &'static Dialect {
        dialect_of(self)
    }

    fn execute(
        &mut self,
        table: &Described,
        statement: &'static Statement,
        call: &DescribedCall<'_>,
    ) -> QueryResult<usize> {
        on_inner!(self.inner(), conn => DescribedConnection::execute(conn, table, statement, call))
    }

    fn read(
        &mut self,
        table: &Described,
        statement: &'static Statement,
        call: &DescribedCall<'_>,
    ) -> QueryResult<Vec<TextRecord>> {
        on_inner!(self.inner(), conn => DescribedConnection::read(conn, table, statement, call))
    }
}

pub(super) fn with_query<J: TableOn<DB>, DB: Binds>(
    dialect: &'static Dialect,
    statement: &'static Statement,
    call: &Call<'_, J>,
    run: &mut dyn FnMut(Query<'_, DB>) -> QueryResult<()>,
) -> QueryResult<()> {
    let values = TypedCall::new(call, dialect);
    let texts = J::texts();
    let filter = call.plain.filter.and_then(DB::condition);
    let limit = call.plain.limit;
    let may_be_list = dialect.inserts_lists && std::ptr::eq(statement, &statements::INSERT_ROWS);
    J::with_fragments(call.updates, &mut |fragments| {
        let mut run = |fragments: Fragments<'_, DB>, group: &RowGroup| {
            let is_list = may_be_list && group.columns.is_some() && group.is_full(dialect);
            let statement = match is_list {
                true => &statements::INSERT_LIST,
                false => statement,
            };
            let mut query = Query {
                statement,
                parts: texts.parts(statement, dialect, J::info(), call.plain.wait),
                dialect,
                info: J::info(),
                plain: &call.plain,
                values: &values,
                fragments,
                group,
                filter,
                is_kept: texts.keeps(statement, dialect, &fragments, group, filter, limit)?,
                name: None,
            };
            debug_assert_eq!(query.unused(), None, "in {}", statement.name);
            texts.fixed.settle(&mut query);
            run(query)
        };
        if call.new_rows.is_empty() {
            return run(fragments, &RowGroup::NONE);
        }
        J::with_new_rows(call.new_rows, &mut |new_rows| {
            for group in RowGroup::divide(new_rows, dialect)? {
                let fragments = Fragments {
                    new_rows,
                    ..fragments
                };
                run(fragments, &group)?;
            }
            Ok(())
        })
    })
}

/// Whether updates that nobody has touched would not set any column: asked once.
pub fn default_sets_nothing<J: TableOn<DB>, DB: Binds>() -> QueryResult<bool> {
    let known = &J::texts().default_sets_nothing;
    match known.get() {
        Some(sets_nothing) => Ok(*sets_nothing),
        None => {
            let sets_nothing = sets_nothing::<J, DB>(&J::Updates::default())?;
            Ok(*known.get_or_init(|| sets_nothing))
        }
    }
}

/// Whether `updates` would not set any column.
pub fn sets_nothing<J: TableOn<DB>, DB: Binds>(updates: &J::Updates) -> QueryResult<bool> {
    let mut sets_nothing = true;
    J::with_fragments(Some(updates), &mut |fragments| {
        if let Some(changes) = fragments.changes {
            sets_nothing = changes.is_noop(&DB::default())?;
        }
        Ok(())
    })?;
    Ok(sets_nothing)
}
