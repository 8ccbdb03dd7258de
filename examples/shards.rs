//! One kind of job on several servers: each job stands on the server that its key says,
//! and each server has a pool and a worker, all in one process.
//!
//! ```text
//! cargo run --example shards
//! POSTGRES_URL=postgres://one/app POSTGRES_URL_2=postgres://two/app \
//!     cargo run --example shards --features postgres
//! ```
//!
//! Without the two addresses it uses two SQLite files, which are gone afterwards. On
//! PostgreSQL it creates the table `parcels`, and leaves it there.
#![allow(
    irrefutable_let_patterns,
    reason = "Diesel's derive, where one database's feature is on"
)]

use std::thread;

use diesel::prelude::*;
use diesel::r2d2::{self, ConnectionManager, CustomizeConnection, Pool};
use diesel_status_tracker::{
    BoxError, ConnectionEnum, InnerConnection, StatusTracked, Summary, job_table, sqlite,
    status_codes,
};

// The connections: the enum serves one or the other database.

#[derive(diesel::MultiConnection)]
enum DbConnection {
    #[cfg(feature = "postgres")]
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

impl ConnectionEnum for DbConnection {
    fn inner(&mut self) -> InnerConnection<'_> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(conn) => InnerConnection::Postgres(conn),
            Self::Sqlite(conn) => InnerConnection::Sqlite(conn),
        }
    }
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

// The model, which is the same on all servers.

mod schema {
    diesel::table! {
        parcels (id) {
            id -> Text,
            status -> Integer,
            create_at -> Timestamp,
            update_at -> Timestamp,
            lock -> Nullable<Text>,
            lock_at -> Nullable<Timestamp>,
            retry -> Integer,
            errors -> Json,
            sent_by -> Nullable<Text>,
        }
    }
}
use schema::parcels;

status_codes! {
    enum Status { Pending = 10, InProgress = 20, Failed = 30, Succeeded = 40, Ignored = 50 }
}

#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = parcels)]
struct Parcel {
    id: String,
    status: Status,
}

#[derive(Debug, Default, Insertable, AsChangeset)]
#[diesel(table_name = parcels)]
struct ParcelUpdates {
    sent_by: Option<String>,
}

impl StatusTracked for Parcel {
    type Job = Parcel;
    const PENDING: Status = Status::Pending;
    const IN_PROGRESS: Status = Status::InProgress;
    const FAILED: Status = Status::Failed;
    const SUCCEEDED: Status = Status::Succeeded;
    const IGNORED: Status = Status::Ignored;
}

job_table! {
    Parcel in parcels {
        key: (id: String),
        status: Status,
        updates: ParcelUpdates,
        connections: [#[cfg(feature = "postgres")] PgConnection, SqliteConnection, DbConnection],
        steps: [Parcel],
    }
}

/// Both databases understand it.
const CREATE_TABLE: [&str; 3] = [
    "CREATE TABLE IF NOT EXISTS parcels (
        id TEXT NOT NULL PRIMARY KEY, status INTEGER NOT NULL,
        create_at TIMESTAMP NOT NULL, update_at TIMESTAMP NOT NULL, lock TEXT, lock_at TIMESTAMP,
        retry INTEGER NOT NULL, errors JSON NOT NULL, sent_by TEXT)",
    "CREATE INDEX IF NOT EXISTS parcels_ready ON parcels (update_at)
        WHERE lock IS NULL AND status IN (10, 30)",
    "CREATE INDEX IF NOT EXISTS parcels_locked ON parcels (lock_at) WHERE lock IS NOT NULL",
];

// The shards.

/// Keys fall into so many buckets, and each shard has some of them. Fixed for ever:
/// with another number, each key would fall into another bucket.
const BUCKETS: u32 = 1_024;

/// The bucket of a key: the same in each program, in each version, on each machine. The
/// hash of Rust's maps promises none of that.
fn bucket(key: &str) -> u32 {
    crc32fast::hash(key.as_bytes()) % BUCKETS
}

/// Which shard has a bucket. In a program of yours, settings say that.
fn owner_of_two(bucket: u32) -> usize {
    if bucket < 512 { 0 } else { 1 }
}

/// The same after a third shard has taken a third of each one's buckets.
fn owner_of_three(bucket: u32) -> usize {
    match bucket {
        0..342 => 0,
        683.. => 1,
        _ => 2,
    }
}

struct Shard {
    name: &'static str,
    pool: Pool<ConnectionManager<DbConnection>>,
}

impl Shard {
    fn open(name: &'static str, url: &str) -> Result<Self, BoxError> {
        let pool = Pool::builder()
            .max_size(4)
            .connection_customizer(Box::new(Prepare))
            .build(ConnectionManager::new(url))?;
        for statement in CREATE_TABLE {
            diesel::sql_query(statement).execute(&mut *pool.get()?)?;
        }
        Ok(Self { name, pool })
    }
}

/// The addresses of two servers, or two files.
fn urls(folder: &std::path::Path) -> Result<[String; 2], BoxError> {
    #[cfg(feature = "postgres")]
    if let (Ok(one), Ok(two)) = (
        std::env::var("POSTGRES_URL"),
        std::env::var("POSTGRES_URL_2"),
    ) {
        println!("two PostgreSQL servers");
        return Ok([one, two]);
    }
    println!("two SQLite files");
    let file = |name: &str| folder.join(name).to_str().map(str::to_owned);
    let both = (file("north.db"), file("south.db"));
    let (Some(one), Some(two)) = both else {
        return Err("the folder's name is no text".into());
    };
    Ok([one, two])
}

fn main() -> Result<(), BoxError> {
    let folder = tempfile::tempdir()?;
    let [one, two] = urls(folder.path())?;
    let shards = [Shard::open("north", &one)?, Shard::open("south", &two)?];
    let shard_of = |key: &str| &shards[owner_of_two(bucket(key))];

    println!("\n# A job is created on the shard of its key, and found there");
    let run = uuid::Uuid::new_v4().simple().to_string();
    let keys: Vec<_> = (1..=200).map(|n| format!("{run}-{n}")).collect();
    for key in &keys {
        Parcel::create_and_save(&shard_of(key).pool, key, ParcelUpdates::default())?;
    }
    for key in &keys[..3] {
        let shard = shard_of(key);
        let parcel = Parcel::find(&shard.pool, key)?.ok_or("the row is gone")?;
        let number = parcel.id.rsplit('-').next().unwrap_or_default();
        let (status, name) = (parcel.status, shard.name);
        println!(
            "parcel {number}, bucket {:>4}: {status} in the {name}",
            bucket(key)
        );
    }

    println!("\n# A worker for each shard; they know nothing of each other");
    let done: Result<Vec<Summary>, _> = thread::scope(|scope| {
        let workers = shards.each_ref().map(|shard| {
            scope.spawn(|| {
                Parcel::worker(&shard.pool)
                    .threads(2)
                    .batch(10)
                    .run_until_empty(|_, updates| {
                        updates.sent_by = Some(shard.name.into());
                        Ok(())
                    })
            })
        });
        let ended = workers.map(|worker| worker.join().expect("a worker does not panic"));
        ended.into_iter().collect()
    });
    for (shard, summary) in shards.iter().zip(done?) {
        println!("{}: {summary}", shard.name);
    }

    println!("\n# A count over both is a sum");
    let mut succeeded = 0;
    for shard in &shards {
        let counts = Parcel::count_by_status(&shard.pool)?;
        let here: i64 = counts
            .iter()
            .filter(|(status, _)| *status == Status::Succeeded)
            .map(|(_, count)| count)
            .sum();
        println!("{}: {here} succeeded", shard.name);
        succeeded += here;
    }
    println!("together: {succeeded}");
    assert!(succeeded >= 200);

    println!("\n# A third shard takes a third of the buckets, and no other key moves");
    let names = ["north", "south", "third"];
    for to in 0..3 {
        for from in 0..2 {
            let both = |bucket| owner_of_two(bucket) == from && owner_of_three(bucket) == to;
            let moved = (0..BUCKETS).filter(|bucket| both(*bucket)).count();
            if moved > 0 {
                println!("{} -> {}: {moved} buckets", names[from], names[to]);
            }
        }
    }
    Ok(())
}
