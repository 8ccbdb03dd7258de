//! What docs/scale.md says of tables that are spread over servers, on two PostgreSQL
//! servers.

use std::collections::HashMap;
use std::sync::Mutex;
use std::thread;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool};
use diesel_status_tracker::{Error, StatusTracked, job_table};

mod schema {
    diesel::table! {
        parcels (bucket, id) {
            bucket -> Integer,
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

#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = parcels)]
struct Parcel {
    bucket: i32,
    id: String,
    status: i32,
}

#[derive(Debug, Default, Insertable, AsChangeset)]
#[diesel(table_name = parcels)]
struct ParcelUpdates {
    sent_by: Option<String>,
}

impl StatusTracked for Parcel {
    type Job = Parcel;
    const PENDING: i32 = 10;
    const IN_PROGRESS: i32 = 20;
    const FAILED: i32 = 30;
    const SUCCEEDED: i32 = 40;
    const IGNORED: i32 = 50;
}

job_table! {
    Parcel in parcels {
        key: (bucket: i32, id: String),
        status: i32,
        updates: ParcelUpdates,
        connections: [PgConnection],
        steps: [Parcel],
    }
}

type PgPool = Pool<ConnectionManager<PgConnection>>;

fn url(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: scripts/with-servers cargo test --all-features --test scale")
    })
}

/// A new database on the server of `url`, and its own address.
fn database(url: &str) -> String {
    let name = format!("scale_{}", uuid::Uuid::new_v4().simple());
    let mut conn = PgConnection::establish(url).unwrap();
    conn.batch_execute(&format!("CREATE DATABASE {name}"))
        .unwrap();
    format!("{}/{name}", url.rsplit_once('/').unwrap().0)
}

fn pool(url: &str) -> PgPool {
    Pool::builder()
        .max_size(8)
        .build(ConnectionManager::new(url))
        .unwrap()
}

fn port(url: &str) -> &str {
    url.rsplit_once(':').unwrap().1.split('/').next().unwrap()
}

const COLUMNS: &str = "bucket INTEGER NOT NULL, id TEXT NOT NULL, status INTEGER NOT NULL,
    create_at TIMESTAMP NOT NULL, update_at TIMESTAMP NOT NULL, lock TEXT, lock_at TIMESTAMP,
    retry INTEGER NOT NULL, errors JSON NOT NULL, sent_by TEXT";

const INDEXES: &str = "ALTER TABLE NAME ADD PRIMARY KEY (bucket, id);
    CREATE INDEX ON NAME (update_at) WHERE lock IS NULL AND status IN (10, 30);
    CREATE INDEX ON NAME (lock_at) WHERE lock IS NOT NULL;";

/// A partitioned table whose partition of the buckets from 512 on is on a second server.
/// Returns the pool of the first, which has the whole, and of the second.
fn spread() -> (PgPool, PgPool) {
    let north_url = database(&url("POSTGRES_URL"));
    let south_url = database(&url("POSTGRES_URL_2"));
    let (north, south) = (pool(&north_url), pool(&south_url));
    let indexes = |name| INDEXES.replace("NAME", name);
    let table = format!("CREATE TABLE parcels ({COLUMNS}); {}", indexes("parcels"));
    south.get().unwrap().batch_execute(&table).unwrap();
    let whole = format!(
        "CREATE EXTENSION postgres_fdw;
        CREATE SERVER south FOREIGN DATA WRAPPER postgres_fdw
            OPTIONS (host '127.0.0.1', port '{}', dbname '{}', options '-c lock_timeout=60s');
        CREATE USER MAPPING FOR CURRENT_USER SERVER south OPTIONS (user 'postgres');
        CREATE TABLE parcels ({COLUMNS}) PARTITION BY RANGE (bucket);
        CREATE TABLE parcels_north PARTITION OF parcels FOR VALUES FROM (0) TO (512);
        CREATE FOREIGN TABLE parcels_south PARTITION OF parcels
            FOR VALUES FROM (512) TO (1024) SERVER south OPTIONS (table_name 'parcels');
        {}",
        port(&south_url),
        south_url.rsplit_once('/').unwrap().1,
        indexes("parcels_north")
    );
    north.get().unwrap().batch_execute(&whole).unwrap();
    (north, south)
}

/// New jobs in a bucket, by SQL.
fn insert(pool: &PgPool, bucket: i32, jobs: usize) {
    let insert = format!(
        "INSERT INTO parcels (bucket, id, status, create_at, update_at, retry, errors)
        SELECT {bucket}, n::text, 10, now() AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC', 0, '{{}}'
        FROM generate_series(1, {jobs}) AS n"
    );
    pool.get().unwrap().batch_execute(&insert).unwrap();
}

#[test]
fn calls_by_key_reach_a_partition_on_another_server() {
    let (north, south) = spread();
    for bucket in [0, 512] {
        insert(&north, bucket, 1);
        let key = || (bucket, "1");
        let failed = Parcel::run_job(&north, key(), |_, updates| {
            updates.sent_by = Some("nobody".into());
            Err::<(), _>("no van".into())
        });
        assert!(matches!(failed, Err(Error::Failed { .. })));
        Parcel::reset(&north, key()).unwrap();
        Parcel::run_job(&north, key(), |_, _| Ok(())).unwrap();
        assert!(matches!(
            Parcel::start(&north, key()),
            Err(Error::AlreadySucceeded { .. })
        ));
        let parcel = Parcel::find(&north, key()).unwrap().unwrap();
        assert_eq!(parcel.status, 40);
    }
    assert_eq!(Parcel::count_by_status(&north).unwrap(), [(40, 2)]);
    assert_eq!(Parcel::count_by_status(&south).unwrap(), [(40, 1)]);
}

#[test]
fn jobs_are_created_on_the_server_itself() {
    let (north, south) = spread();
    // PostgreSQL allows no unique index on a table with such a partition.
    let refused = Parcel::create_and_save(&north, (512, "1"), ParcelUpdates::default());
    let refused = refused.unwrap_err().to_string();
    assert!(
        refused.contains("no unique or exclusion constraint"),
        "{refused}"
    );
    Parcel::create_and_save(&south, (512, "1"), ParcelUpdates::default()).unwrap();
    assert_eq!(Parcel::count_by_status(&north).unwrap(), [(10, 1)]);
}

#[test]
fn workers_of_both_servers_run_each_job_once() {
    let (north, south) = spread();
    insert(&north, 0, 200);
    insert(&north, 512, 200);
    let runs: Mutex<HashMap<String, usize>> = Mutex::default();
    let drain = |pool: &PgPool| {
        let worker = Parcel::worker(pool).threads(2).batch(10);
        worker
            .run_until_empty(|job, _| {
                let key = format!("{} {}", job.bucket, job.id);
                *runs.lock().unwrap().entry(key).or_default() += 1;
                Ok(())
            })
            .unwrap()
            .succeeded
    };
    let succeeded: u64 = thread::scope(|scope| {
        let pools = [&north, &north, &south];
        let workers = pools.map(|pool| scope.spawn(|| drain(pool)));
        workers.map(|worker| worker.join().unwrap()).iter().sum()
    });
    assert_eq!(succeeded, 400);
    let runs = runs.into_inner().unwrap();
    assert_eq!(runs.len(), 400);
    assert!(runs.values().all(|runs| *runs == 1), "{runs:?}");
}

/// `SKIP LOCKED` does not reach the other server.
#[test]
fn a_claim_from_afar_waits_for_a_row_that_a_transaction_holds() {
    let (north, south) = spread();
    insert(&south, 512, 2);
    let held = &mut *south.get().unwrap();
    held.batch_execute("BEGIN; SELECT * FROM parcels WHERE id = '1' FOR UPDATE")
        .unwrap();
    // Its own server passes over the row.
    let near = Parcel::claim_next(&south, 1).unwrap().pop().unwrap();
    assert_eq!(near.id, "2");
    near.fail("once more").unwrap();
    thread::scope(|scope| {
        let claim = scope.spawn(|| Parcel::claim_next(&north, 2).unwrap().len());
        let waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'
            AND datname = current_database()";
        while diesel::sql_query(waits)
            .execute(&mut *south.get().unwrap())
            .unwrap()
            == 0
        {
            assert!(!claim.is_finished(), "it has not waited");
            thread::yield_now();
        }
        held.batch_execute("ROLLBACK").unwrap();
        assert_eq!(claim.join().unwrap(), 2);
    });
}
