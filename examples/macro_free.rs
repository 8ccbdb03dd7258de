//! A tracked table without `job_table!`: the traits that the macro implements, by hand.
//!
//! Nothing needs this, since the macro takes any table. It shows that the macro is no
//! magic: all it writes is how your types are bound and read. What is imported from
//! `__private` may change with any version; `StatusTracked` and `Tracked` are public.
//! The page `example_generated` of the docs has the macro's own words.
//!
//! ```text
//! cargo run --example macro_free
//! ```

use std::sync::OnceLock;

use diesel::deserialize;
use diesel::prelude::*;
use diesel::query_builder::AstPass;
use diesel::r2d2::{ConnectionManager, Pool};
use diesel::row::Row;
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::{BigInt, Integer};
use diesel::sqlite::Sqlite;
use diesel_status_tracker::__private::{self as internals, check};
use diesel_status_tracker::{BoxError, JobStore, StatusTracked, TableInfo, Tracked};

diesel::table! {
    mails (id) {
        id -> BigInt, status -> Integer, create_at -> Timestamp, update_at -> Timestamp, lock -> Nullable<Text>,
        lock_at -> Nullable<Timestamp>, retry -> Integer, errors -> Json,
    }
}

#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = mails)]
struct Mail {
    id: i64,
    status: i32,
}

impl StatusTracked for Mail {
    type Job = Mail;
    const PENDING: i32 = 10;
    const IN_PROGRESS: i32 = 20;
    const FAILED: i32 = 30;
    const SUCCEEDED: i32 = 40;
    const IGNORED: i32 = 50;
}

// What is known of the table, whatever the database.

impl Tracked for Mail {
    type Key = i64;
    type Status = i32;
    // The user sets no columns.
    type Updates = ();
    const HAS_RUN_AT: bool = false;
    const OLDEST_FIRST: bool = true;

    fn info() -> &'static TableInfo {
        static INFO: OnceLock<TableInfo> = OnceLock::new();
        let key = [internals::key_column::<mails::id>()];
        INFO.get_or_init(|| internals::info::<Self, _>(mails::table, &key))
    }

    fn number(status: i32) -> Option<i64> {
        Some(status.into())
    }

    fn tracked_column_in_updates() -> Option<&'static str> {
        None
    }
}

impl internals::HasColumns for Mail {
    type Status = mails::status;
    const COLUMNS: &'static [internals::ColumnInfo] = &[
        check::status::<mails::status>(),
        check::create_at::<mails::create_at>(),
        check::update_at::<mails::update_at>(),
        check::lock::<mails::lock>(),
        check::lock_at::<mails::lock_at>(),
        check::retry::<mails::retry>(),
        check::errors::<mails::errors>(),
    ];
}

// How its types are bound and read, for each kind of database.

impl internals::TableOn<Sqlite> for Mail {
    fn bind_key<'b>(key: &'b i64, _: usize, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_bind_param::<BigInt, _>(key)
    }

    fn write_key<'b>(
        key: &'b i64,
        _: usize,
        out: &mut Output<'b, '_, Sqlite>,
    ) -> serialize::Result {
        ToSql::<BigInt, Sqlite>::to_sql(key, out)
    }

    // SQLite has no arrays, so this is never called.
    fn bind_keys<'b>(_: &'b [i64], _: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        Ok(())
    }

    fn read_key<'a>(row: &impl Row<'a, Sqlite>, first: usize) -> deserialize::Result<i64> {
        internals::read_column::<BigInt, _, Sqlite>(row, first)
    }

    fn bind_status<'b>(status: &'b i32, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_bind_param::<Integer, _>(status)
    }

    fn read_status<'a>(row: &impl Row<'a, Sqlite>, column: usize) -> deserialize::Result<i32> {
        internals::read_column::<Integer, _, Sqlite>(row, column)
    }

    fn read_row<'a>(row: &impl Row<'a, Sqlite>) -> deserialize::Result<Self> {
        internals::read_row::<Self, Sqlite>(row)
    }

    fn with_fragments(
        updates: Option<&()>,
        run: &mut internals::WithFragments<'_, Sqlite>,
    ) -> QueryResult<()> {
        run(internals::Fragments {
            row: &<Self as Selectable<Sqlite>>::construct_selection(),
            order: None,
            changes: updates.map(|()| &internals::NoColumns as _),
            new_rows: &[],
        })
    }

    fn with_new_rows(
        updates: &[&()],
        run: &mut internals::WithNewRows<'_, Sqlite>,
    ) -> QueryResult<()> {
        internals::with_keys_alone(updates, run)
    }

    fn texts() -> &'static internals::TableTexts {
        static TEXTS: internals::TableTexts = internals::TableTexts::new();
        &TEXTS
    }
}

// How its statements are sent, for each type of connection.

impl JobStore<SqliteConnection> for Mail {
    fn dialect(conn: &mut SqliteConnection) -> &'static internals::Dialect {
        internals::Sends::dialect(conn)
    }

    fn execute(
        conn: &mut SqliteConnection,
        statement: &'static internals::Statement,
        call: &internals::Call<'_, Self>,
    ) -> QueryResult<usize> {
        internals::execute(conn, statement, call)
    }

    fn read(
        conn: &mut SqliteConnection,
        statement: &'static internals::Statement,
        call: &internals::Call<'_, Self>,
    ) -> QueryResult<Vec<internals::Record<Self>>> {
        internals::read(conn, statement, call)
    }

    fn sets_nothing((): &()) -> QueryResult<bool> {
        Ok(true)
    }

    fn default_sets_nothing() -> QueryResult<bool> {
        Ok(true)
    }
}

fn main() -> Result<(), BoxError> {
    let pool = Pool::builder()
        .max_size(1)
        .build(ConnectionManager::<SqliteConnection>::new(":memory:"))?;
    diesel::sql_query(
        "CREATE TABLE mails (id INTEGER PRIMARY KEY, status INTEGER NOT NULL, create_at TIMESTAMP NOT NULL,
         update_at TIMESTAMP NOT NULL, lock TEXT, lock_at TIMESTAMP, retry INTEGER NOT NULL, errors TEXT NOT NULL)",
    )
    .execute(&mut pool.get()?)?;

    let mail = Mail::create(&pool, ())?;
    Mail::create_many(&pool, [(mail.id + 1, ()), (mail.id + 2, ())])?;
    Mail::run_job(&pool, mail.id, |mail, ()| {
        println!("sends mail {}", mail.id);
        Ok(())
    })?;
    let drained = Mail::worker(&pool).run_until_empty(|mail, ()| {
        println!("sends mail {}", mail.id);
        Ok(())
    })?;
    println!("{drained}");

    let sent = Mail::query_by_status(&pool, Mail::SUCCEEDED, 10, Default::default())?;
    assert!(sent.len() == 3 && sent.iter().all(|mail| mail.status == Mail::SUCCEEDED));
    Ok(())
}
