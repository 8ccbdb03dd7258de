//! Errors that pass by themselves, errors that stay, and who tries again.

use std::sync::{Arc, Mutex};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_status_tracker::{BoxError, Error, StatusTracked};
use serde_json::json;

use super::database::{TestConnection, TestDb, TestPool};
use super::jobs::{Job, JobUpdates, Status, age_lock, assert_names, data, jobs, row};
use super::pools::{Event, Log, pool_with};
use super::sessions::{LANGUAGES, impatient};

/// The job "a", and another's transaction that is in the way of the tracker's
/// first write, and ends before its second.
struct Contested {
    db: TestDb,
    pool: TestPool,
    log: Log,
    other: Arc<Mutex<Option<TestConnection>>>,
}

impl Contested {
    fn new(speak: fn(&mut TestConnection)) -> Self {
        let (db, log) = (TestDb::new(), Log::default());
        let other = Arc::new(Mutex::new(None::<TestConnection>));
        let pool = {
            let (log, other) = (log.clone(), Arc::clone(&other));
            pool_with(db.url(), 1, move |conn| {
                speak(conn);
                impatient(conn);
                let (other, mut tries) = (Arc::clone(&other), 0);
                log.watch_and(conn, move |event| {
                    let mut other = other.lock().unwrap();
                    if other.is_some() && is_write(event) {
                        tries += 1;
                    }
                    if tries == 2 {
                        tries = 0;
                        other.take().unwrap().batch_execute("ROLLBACK").unwrap();
                    }
                });
            })
        };
        Job::create_and_save(&pool, "a", data(json!("old"))).unwrap();
        Self {
            db,
            pool,
            log,
            other,
        }
    }

    fn other_writes(&self) -> TestConnection {
        let mut other = TestConnection::establish(self.db.url()).unwrap();
        other.batch_execute("BEGIN").unwrap();
        diesel::update(jobs::table.find("a"))
            .set(jobs::data.eq(json!("the other's")))
            .execute(&mut other)
            .unwrap();
        Job::create_and_save(&mut other, "b", JobUpdates::default()).unwrap();
        other
    }

    /// Holds that `call` meets the other transaction, and tries again.
    fn refused_once<T>(&self, call: impl FnOnce() -> Result<T, Error>) -> T {
        *self.other.lock().unwrap() = Some(self.other_writes());
        self.log.take();

        let value = call().unwrap();

        assert!(self.other.lock().unwrap().is_none(), "one try was enough");
        value
    }
}

fn is_write(event: &Event) -> bool {
    is_update(event) || matches!(event, Event::Started(sql) if sql.starts_with("INSERT"))
}

fn is_update(event: &Event) -> bool {
    matches!(event, Event::Started(sql) if sql.starts_with("UPDATE"))
}

fn updates(log: &Log) -> usize {
    log.take().iter().filter(|event| is_update(event)).count()
}

#[test]
fn the_writes_of_an_attempt_wait_for_another_transaction_without_a_failure() {
    for speak in LANGUAGES {
        let scene = Contested::new(speak);

        let mut attempt = scene.refused_once(|| Job::start(&scene.pool, "a"));
        let claimed = row(&scene.db, "a");
        assert_eq!(claimed.lock.as_deref(), Some(attempt.token()));
        scene.refused_once(|| attempt.renew());
        assert!(row(&scene.db, "a").lock_at > claimed.lock_at);
        scene.refused_once(|| attempt.save(data(json!("half"))));
        assert_eq!(row(&scene.db, "a").data, Some(json!("half")));
        attempt.updates = data(json!("new"));
        scene.refused_once(|| attempt.succeed());

        let job = row(&scene.db, "a");
        assert_eq!((job.status, job.retry), (Status::Succeeded, 0));
        assert_eq!((&job.lock, &job.errors), (&None, &json!({})));
        assert_eq!(job.data, Some(json!("new")));
    }
}

#[test]
fn the_tracker_waits_for_another_transaction_when_it_writes() {
    for speak in LANGUAGES {
        let scene = Contested::new(speak);

        scene.refused_once(|| Job::start(&scene.pool, "a")?.fail("no paper"));
        let failed = row(&scene.db, "a");
        assert_eq!((failed.status, failed.retry), (Status::Failed, 1));

        let attempt = Job::start(&scene.pool, "a").unwrap();
        scene.refused_once(|| attempt.fail("no ink"));
        assert_eq!(row(&scene.db, "a").retry, 2);

        scene.refused_once(|| Job::reset(&scene.pool, "a"));
        assert_eq!(row(&scene.db, "a").status, Status::Pending);

        std::mem::forget(Job::start(&scene.pool, "a").unwrap());
        age_lock(&scene.db, "a");
        assert_eq!(scene.refused_once(|| Job::expire_locks(&scene.pool)), 1);
        let expired = row(&scene.db, "a");
        assert_eq!((expired.status, expired.retry), (Status::Failed, 1));
        assert_eq!(expired.data, Some(json!("old")));
    }
}

#[test]
fn on_a_connection_of_the_callers_the_first_error_is_the_answer() {
    for speak in LANGUAGES {
        let scene = Contested::new(speak);
        let before = row(&scene.db, "a");
        let mut conn = scene.pool.get().unwrap();
        scene.log.take();

        for in_transaction in [false, true] {
            let mut other = scene.other_writes();
            let ended = if in_transaction {
                conn.transaction::<_, BoxError, _>(|conn| Ok(Job::reset(&mut *conn, "a")?))
            } else {
                Job::reset(&mut conn, "a").map_err(BoxError::from)
            };
            other.batch_execute("ROLLBACK").unwrap();

            let error = ended.unwrap_err();
            let error = error.downcast_ref::<Error>().unwrap();
            assert_err!(error, Database);
            assert_names(error, "a");
            assert_eq!(updates(&scene.log), 1);
            assert_eq!(row(&scene.db, "a"), before);
        }
    }
}

/// A table that refuses some of what a user sets.
mod checked {
    use super::*;

    const SHIPMENTS: &str = "CREATE TABLE shipments (
        id INTEGER NOT NULL PRIMARY KEY, status INTEGER NOT NULL, create_at DATETIME(6) NOT NULL,
        update_at DATETIME(6) NOT NULL, `lock` VARCHAR(32), lock_at DATETIME(6), retry INTEGER NOT NULL,
        errors JSON NOT NULL, weight INTEGER CHECK (weight > 0)
    )";

    diesel::table! {
        shipments (id) {
            id -> Integer, status -> Integer, create_at -> Timestamp, update_at -> Timestamp, lock -> Nullable<Text>,
            lock_at -> Nullable<Timestamp>, retry -> Integer, errors -> Json, weight -> Nullable<Integer>,
        }
    }

    #[derive(Debug, Queryable, Selectable)]
    #[diesel(table_name = shipments)]
    struct Shipment {
        status: Status,
        lock: Option<String>,
        retry: i32,
        weight: Option<i32>,
    }

    #[derive(Debug, Default, Insertable, AsChangeset)]
    #[diesel(table_name = shipments)]
    struct ShipmentUpdates {
        weight: Option<i32>,
    }

    fn weight(weight: i32) -> ShipmentUpdates {
        ShipmentUpdates {
            weight: Some(weight),
        }
    }

    step! { Shipment on Shipment {} }
    tracked! { Shipment in shipments { key: (id: i32), status: Status, updates: ShipmentUpdates } }

    /// For this one every lock expires at once.
    struct Hasty;
    step! { Hasty on Shipment { const LOCK_EXPIRE: std::time::Duration = std::time::Duration::from_millis(1); } }

    #[test]
    fn an_error_that_stays_is_not_tried_again_and_the_job_recovers_by_expiry() {
        let (db, log) = (TestDb::with_table(SHIPMENTS), Log::default());
        let watched = log.clone();
        let pool = pool_with(db.url(), 1, move |conn| watched.watch(conn));
        Shipment::create_and_save(&pool, 7, weight(1)).unwrap();
        let find = || Shipment::find(&db.pool(1), 7).unwrap().unwrap();

        let attempt = Shipment::start(&pool, 7).unwrap();
        log.take();
        attempt.save(weight(-1)).unwrap_err();
        assert_eq!(updates(&log), 1);
        drop(attempt);
        Shipment::reset(&pool, 7).unwrap();

        let mut runs = 0;
        log.take();
        let ended = Shipment::run_job(&pool, 7, |_, updates| {
            runs += 1;
            *updates = weight(-1);
            Ok(())
        });

        let error = ended.unwrap_err();
        assert_err!(error, Database);
        assert!(error.to_string().contains("shipments 7"), "{error}");
        assert_eq!((runs, updates(&log)), (1, 2), "the claim and one try");
        let held = find();
        assert_eq!(
            (held.status, held.retry, held.weight),
            (Status::InProgress, 0, Some(1))
        );
        assert!(held.lock.is_some());

        while Hasty::expire_locks(&pool).unwrap() == 0 {}
        let expired = find();
        assert_eq!(
            (expired.status, expired.retry, expired.lock),
            (Status::Failed, 1, None)
        );
        Shipment::run_job(&pool, 7, |_, updates| Ok(*updates = weight(2))).unwrap();
        assert_eq!(find().weight, Some(2));
    }
}
