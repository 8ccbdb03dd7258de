//! One program, and its settings say which database it uses: an enum of connections
//! in one pool, with one model.
//!
//! ```text
//! cargo run --example multi_connection
//! cargo run --example multi_connection --features postgres -- postgres://localhost/app
//! cargo run --example multi_connection --features mysql -- mysql://localhost/app
//! ```
//!
//! Without an argument it uses SQLite, in a file that is gone afterwards. In another
//! database it creates the table `jobs`, and leaves it there.
#![allow(
    irrefutable_let_patterns,
    reason = "Diesel's derive, where one database's feature is on"
)]

use std::sync::atomic::{AtomicU32, Ordering};

use diesel::prelude::*;
use diesel::r2d2::{self, ConnectionManager, CustomizeConnection, Pool};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use diesel_status_tracker::{
    BoxError, ConnectionEnum, InnerConnection, StatusTracked, job_table, sqlite, status_codes,
};
use serde_json::{Value, json};

// The enum. Its connection is Diesel's work; `inner` is what the tracker needs.

#[derive(diesel::MultiConnection)]
enum DbConnection {
    #[cfg(feature = "postgres")]
    Postgres(PgConnection),
    #[cfg(feature = "mysql")]
    Mysql(MysqlConnection),
    Sqlite(SqliteConnection),
}

impl ConnectionEnum for DbConnection {
    fn inner(&mut self) -> InnerConnection<'_> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(conn) => InnerConnection::Postgres(conn),
            #[cfg(feature = "mysql")]
            Self::Mysql(conn) => InnerConnection::Mysql(conn),
            Self::Sqlite(conn) => InnerConnection::Sqlite(conn),
        }
    }
}

// The model, which is the same for all of them.

mod schema {
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
}
use schema::jobs;

status_codes! {
    enum Status { Pending = 10, InProgress = 20, Failed = 30, Succeeded = 40, Ignored = 50 }
}

#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = jobs)]
struct Job {
    id: String,
    status: Status,
    retry: i32,
    data: Option<Value>,
}

#[derive(Debug, Default, Insertable, AsChangeset)]
#[diesel(table_name = jobs)]
struct JobUpdates {
    data: Option<Value>,
}

impl StatusTracked for Job {
    type Job = Job;
    const PENDING: Status = Status::Pending;
    const IN_PROGRESS: Status = Status::InProgress;
    const FAILED: Status = Status::Failed;
    const SUCCEEDED: Status = Status::Succeeded;
    const IGNORED: Status = Status::Ignored;
}

job_table! {
    Job in jobs {
        key: (id: String),
        status: Status,
        updates: JobUpdates,
        // Those that the enum may hold, and the enum.
        connections: [
            #[cfg(feature = "postgres")] PgConnection,
            #[cfg(feature = "mysql")] MysqlConnection,
            SqliteConnection,
            DbConnection,
        ],
        steps: [Job],
    }
}

/// Each database has its own migrations.
fn migrate(conn: &mut DbConnection) -> Result<&'static str, BoxError> {
    #[cfg(feature = "postgres")]
    const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");
    #[cfg(feature = "mysql")]
    const MYSQL: EmbeddedMigrations = embed_migrations!("migrations/mysql");
    const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
    Ok(match conn {
        #[cfg(feature = "postgres")]
        DbConnection::Postgres(conn) => {
            conn.run_pending_migrations(POSTGRES)?;
            "PostgreSQL"
        }
        #[cfg(feature = "mysql")]
        DbConnection::Mysql(conn) => {
            conn.run_pending_migrations(MYSQL)?;
            "MySQL or MariaDB"
        }
        DbConnection::Sqlite(conn) => {
            conn.run_pending_migrations(SQLITE)?;
            "SQLite"
        }
    })
}

/// SQLite needs some settings to serve several threads.
#[derive(Debug)]
struct Prepare;

impl CustomizeConnection<DbConnection, r2d2::Error> for Prepare {
    fn on_acquire(&self, conn: &mut DbConnection) -> Result<(), r2d2::Error> {
        match conn {
            DbConnection::Sqlite(conn) => sqlite::Customizer::default().on_acquire(conn),
            #[allow(unreachable_patterns, reason = "SQLite alone")]
            _ => Ok(()),
        }
    }
}

fn main() -> Result<(), BoxError> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("jobs.db");
    let url = match std::env::args().nth(1) {
        Some(url) => url,
        None => file.to_str().ok_or("the folder's name is no text")?.into(),
    };
    let pool: Pool<ConnectionManager<DbConnection>> = Pool::builder()
        .max_size(4)
        .connection_customizer(Box::new(Prepare))
        .build(ConnectionManager::new(url))?;
    println!("database: {}", migrate(&mut *pool.get()?)?);

    let letters = ["letter-1", "letter-2", "letter-3"];
    let new = letters.map(|id| (id, JobUpdates::default()));
    let created = Job::create_many(&pool, new)?;
    let reset = Job::reset_many(&pool, letters)?;
    println!("created: {created}, ready: {reset}");

    Job::run_job(&pool, "letter-1", |job, updates| {
        updates.data = Some(json!({ "sent": job.id }));
        Ok(())
    })?;

    // What the work writes on this connection is committed with the success, or not
    // at all. The connection is the enum, so its queries are Diesel's own.
    Job::run_job_in_transaction(&pool, "letter-2", |conn, job, updates| {
        let others = jobs::table.filter(jobs::id.ne(&job.id));
        let others: i64 = others.count().get_result(conn)?;
        updates.data = Some(json!({ "others": others }));
        Ok(())
    })?;

    let tries = AtomicU32::new(0);
    let summary = Job::worker(&pool).threads(2).run_until_empty(|_, _| {
        match tries.fetch_add(1, Ordering::Relaxed) {
            0 => Err("the post office is closed".into()),
            _ => Ok(()),
        }
    })?;
    println!("worker: {summary}");

    for id in letters {
        let job = Job::find(&pool, id)?.ok_or("the row is gone")?;
        let data = job.data.unwrap_or_default();
        println!(
            "{}: {:?}, retry {}, data {data}",
            job.id, job.status, job.retry
        );
    }
    Ok(())
}
