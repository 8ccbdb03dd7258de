//! Creates many jobs: `create_many` against the fastest way by hand on each database, as
//! `scripts/with-servers cargo bench --all-features --bench create` runs it.
//!
//! By hand: on SQLite one prepared insert in one transaction; on PostgreSQL `COPY` into a
//! temporary table and one insert from there, which passes over keys that exist; on MySQL
//! prepared inserts of 500 rows. The two take turns, each with an empty table.
//!
//! ```text
//! cargo bench --bench create -- [--rows 100000] [--rounds 5] [--database postgres]
//! ```

use std::time::Instant;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use diesel_status_tracker::{JobStore, StatusTracked, TrackerConnection, job_table};
use serde_json::{Value, json};

diesel::table! {
    jobs (id) {
        id -> Text,
        status -> Integer,
        create_at -> Timestamp,
        update_at -> Timestamp,
        lock -> Nullable<Text>,
        lock_at -> Nullable<Timestamp>,
        retry -> Integer,
        data -> Nullable<Json>,
        errors -> Json,
    }
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = jobs)]
struct Job {
    #[expect(dead_code, reason = "it is read, as any job's would be")]
    id: String,
}

#[derive(Default, Insertable, AsChangeset)]
#[diesel(table_name = jobs)]
struct JobUpdates {
    data: Option<Value>,
}

impl StatusTracked for Job {
    type Job = Job;
    const PENDING: i32 = 10;
    const IN_PROGRESS: i32 = 20;
    const FAILED: i32 = 30;
    const SUCCEEDED: i32 = 40;
    const IGNORED: i32 = 50;
}

job_table! {
    Job in jobs {
        key: (id: String), status: i32, updates: JobUpdates,
        connections: [
            #[cfg(feature = "sqlite")] SqliteConnection,
            #[cfg(feature = "postgres")] PgConnection,
            #[cfg(feature = "mysql")] MysqlConnection,
        ],
        status_field: none,
    }
}

struct Options {
    rows: usize,
    rounds: usize,
    database: Option<String>,
}

impl Options {
    fn read() -> Self {
        let mut options = Self {
            rows: 100_000,
            rounds: 5,
            database: None,
        };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut value = || args.next().unwrap_or_else(|| panic!("{arg} needs a value"));
            match arg.as_str() {
                "--rows" => options.rows = value().parse().expect("a number"),
                "--rounds" => options.rounds = value().parse().expect("a number"),
                "--database" => options.database = Some(value()),
                "--bench" => {} // cargo's
                other => panic!("unknown argument {other}"),
            }
        }
        options
    }
}

/// The rows that are created: the key, and what the user sets.
fn rows(count: usize) -> impl Iterator<Item = (String, Value)> {
    (0..count).map(|n| {
        (
            format!("order-{n}"),
            json!({ "customer": n % 1_000, "total": n }),
        )
    })
}

fn create_many<C: TrackerConnection>(conn: &mut C, count: usize)
where
    Job: JobStore<C>,
{
    let rows = rows(count).map(|(id, data)| (id, JobUpdates { data: Some(data) }));
    assert_eq!(Job::create_many(&mut *conn, rows).expect("rows"), count);
}

/// Rows a second of `create_many` and of `by_hand`, medians of the rounds.
fn contest<C: TrackerConnection + MigrationHarness<C::Backend> + SimpleConnection>(
    database: &str,
    conn: &mut C,
    migrations: EmbeddedMigrations,
    options: &Options,
    by_hand: fn(&mut C, usize),
) where
    Job: JobStore<C>,
{
    conn.run_pending_migrations(migrations).expect("migrations");
    let mut rates = [const { Vec::new() }; 2];
    // The first round warms up.
    for round in 0..=options.rounds {
        for turn in 0..2 {
            let way = (round + turn) % 2;
            conn.batch_execute("DELETE FROM jobs")
                .expect("an empty table");
            let begun = Instant::now();
            [create_many::<C>, by_hand][way](conn, options.rows);
            if round > 0 {
                rates[way].push(options.rows as f64 / begun.elapsed().as_secs_f64());
            }
        }
    }
    let [ours, by_hand] = rates.map(|mut rates| {
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    });
    println!(
        "{database:<12} {ours:>12.0} {by_hand:>12.0} {:>10.2}",
        ours / by_hand
    );
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use diesel::query_builder::{AstPass, QueryFragment, QueryId};
    use diesel::sql_types::Text;
    use diesel::sqlite::Sqlite;

    use super::*;

    pub const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

    /// One row, prepared once.
    #[derive(QueryId)]
    struct Insert {
        id: String,
        data: String,
    }

    impl<Conn> RunQueryDsl<Conn> for Insert {}

    impl QueryFragment<Sqlite> for Insert {
        fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
            out.push_sql(
                "INSERT INTO jobs (id, status, create_at, update_at, retry, data, errors) VALUES (",
            );
            out.push_bind_param::<Text, _>(&self.id)?;
            out.push_sql(
                ", 10, strftime('%Y-%m-%d %H:%M:%f', 'now'), strftime('%Y-%m-%d %H:%M:%f', 'now'), 0, ",
            );
            out.push_bind_param::<Text, _>(&self.data)?;
            out.push_sql(", '{}') ON CONFLICT (id) DO NOTHING");
            Ok(())
        }
    }

    pub fn by_hand(conn: &mut SqliteConnection, count: usize) {
        let created = conn.immediate_transaction(|conn| {
            let inserts = rows(count).map(|(id, data)| Insert {
                id,
                data: data.to_string(),
            });
            let mut created = 0;
            for insert in inserts {
                created += insert.execute(conn)?;
            }
            QueryResult::Ok(created)
        });
        assert_eq!(created, Ok(count));
    }
}

#[cfg(feature = "postgres")]
mod postgres {
    use super::*;

    pub const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/postgres");

    diesel::table! {
        new_jobs (id) {
            id -> Text,
            data -> Json,
        }
    }

    pub fn by_hand(conn: &mut PgConnection, count: usize) {
        let created = conn.transaction(|conn| {
            conn.batch_execute("CREATE TEMPORARY TABLE new_jobs (id TEXT, data JSON) ON COMMIT DROP")?;
            diesel::copy_from(new_jobs::table)
                .from_raw_data((new_jobs::id, new_jobs::data), |copy| {
                    for (id, data) in rows(count) {
                        writeln!(copy, "{id}\t{data}").map_err(|error| diesel::result::Error::SerializationError(error.into()))?;
                    }
                    QueryResult::Ok(())
                })
                .execute(conn)?;
            diesel::sql_query(
                "INSERT INTO jobs (id, status, create_at, update_at, retry, data, errors) \
                 SELECT id, 10, statement_timestamp() AT TIME ZONE 'UTC', statement_timestamp() AT TIME ZONE 'UTC', 0, data, '{}' \
                 FROM new_jobs ON CONFLICT (id) DO NOTHING",
            )
            .execute(conn)
        });
        assert_eq!(created, Ok(count));
    }
}

#[cfg(feature = "mysql")]
mod mysql {
    use diesel::mysql::Mysql;
    use diesel::query_builder::{AstPass, QueryFragment, QueryId};
    use diesel::sql_types::Text;

    use super::*;

    pub const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/mysql");

    /// Many rows, prepared once for each number of them.
    struct Insert(Vec<(String, String)>);

    impl QueryId for Insert {
        type QueryId = ();
        const HAS_STATIC_QUERY_ID: bool = false;
    }

    impl<Conn> RunQueryDsl<Conn> for Insert {}

    impl QueryFragment<Mysql> for Insert {
        fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Mysql>) -> QueryResult<()> {
            out.push_sql(
                "INSERT INTO jobs (id, status, create_at, update_at, retry, data, errors) VALUES ",
            );
            for (n, (id, data)) in self.0.iter().enumerate() {
                out.push_sql(if n > 0 { ", (" } else { "(" });
                out.push_bind_param::<Text, _>(id)?;
                out.push_sql(", 10, UTC_TIMESTAMP(6), UTC_TIMESTAMP(6), 0, ");
                out.push_bind_param::<Text, _>(data)?;
                out.push_sql(", '{}')");
            }
            Ok(())
        }
    }

    pub fn by_hand(conn: &mut MysqlConnection, count: usize) {
        let created = conn.transaction(|conn| {
            let mut rows = rows(count).map(|(id, data)| (id, data.to_string()));
            let mut created = 0;
            loop {
                let rows: Vec<_> = rows.by_ref().take(500).collect();
                if rows.is_empty() {
                    return QueryResult::Ok(created);
                }
                created += Insert(rows).execute(conn)?;
            }
        });
        assert_eq!(created, Ok(count));
    }
}

fn main() {
    let options = Options::read();
    println!(
        "{} rows a call, rows a second, medians of {} rounds\n{:<12} {:>12} {:>12} {:>10}",
        options.rows, options.rounds, "database", "create_many", "by hand", "/ by hand"
    );
    let is_wanted = |name: &str| {
        options
            .database
            .as_deref()
            .is_none_or(|wanted| wanted == name)
    };
    #[cfg(feature = "sqlite")]
    if is_wanted("sqlite") {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("bench.db");
        let mut conn = SqliteConnection::establish(&file.to_string_lossy()).expect("a file");
        conn.batch_execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL")
            .expect("settings");
        contest(
            "SQLite, WAL",
            &mut conn,
            sqlite::MIGRATIONS,
            &options,
            sqlite::by_hand,
        );
    }
    #[cfg(feature = "postgres")]
    if is_wanted("postgres") {
        match std::env::var("POSTGRES_URL") {
            Ok(url) => {
                let mut conn = PgConnection::establish(&url).expect("a connection");
                contest(
                    "PostgreSQL",
                    &mut conn,
                    postgres::MIGRATIONS,
                    &options,
                    postgres::by_hand,
                );
            }
            Err(_) => println!("PostgreSQL   POSTGRES_URL is not set: see scripts/with-servers"),
        }
    }
    #[cfg(feature = "mysql")]
    if is_wanted("mysql") {
        match std::env::var("MYSQL_URL") {
            Ok(url) => {
                let mut conn = MysqlConnection::establish(&url).expect("a connection");
                contest(
                    "MySQL",
                    &mut conn,
                    mysql::MIGRATIONS,
                    &options,
                    mysql::by_hand,
                );
            }
            Err(_) => println!("MySQL        MYSQL_URL is not set: see scripts/with-servers"),
        }
    }
}
