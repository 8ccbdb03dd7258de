//! Pools whose connections a manager of the application's own opens.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use diesel::r2d2::{self, ConnectionManager, ManageConnection, Pool};
use diesel_status_tracker::{Error, Order, RunningJob, StatusTracked, Worker};
use serde_json::json;

use super::backend;
use super::database::{TestConnection, TestDb};
use super::jobs::{Job, JobUpdates, Status, age_lock, data, row};

/// A manager that counts the connections that it opens.
struct Counting {
    inner: ConnectionManager<TestConnection>,
    opened: Arc<AtomicUsize>,
    is_closed: bool,
}

/// What it answers, which is no error of Diesel's.
#[derive(Debug, thiserror::Error)]
enum OwnError {
    #[error("the office is closed")]
    Closed,
    #[error(transparent)]
    Diesel(#[from] r2d2::Error),
}

impl ManageConnection for Counting {
    type Connection = TestConnection;
    type Error = OwnError;

    fn connect(&self) -> Result<TestConnection, OwnError> {
        if self.is_closed {
            return Err(OwnError::Closed);
        }
        self.opened.fetch_add(1, Ordering::Relaxed);
        let mut conn = self.inner.connect()?;
        backend::customizer().on_acquire(&mut conn)?;
        Ok(conn)
    }

    fn is_valid(&self, conn: &mut TestConnection) -> Result<(), OwnError> {
        Ok(self.inner.is_valid(conn)?)
    }

    fn has_broken(&self, conn: &mut TestConnection) -> bool {
        self.inner.has_broken(conn)
    }
}

fn pool(db: &TestDb, is_closed: bool) -> (Pool<Counting>, Arc<AtomicUsize>) {
    let opened = Arc::default();
    let manager = Counting {
        inner: ConnectionManager::new(db.url()),
        opened: Arc::clone(&opened),
        is_closed,
    };
    let pool = Pool::builder()
        .max_size(4)
        .min_idle(Some(0))
        .test_on_check_out(false)
        .connection_timeout(Duration::from_secs(if is_closed { 1 } else { 30 }))
        .build_unchecked(manager);
    (pool, opened)
}

#[test]
fn every_call_takes_a_pool_whose_manager_is_the_applications_own() {
    let db = TestDb::new();
    let (pool, opened) = pool(&db, false);

    Job::create_and_save(&pool, "a", data(json!(1))).unwrap();
    let again = Job::create_if_absent(&pool, "a", JobUpdates::default());
    assert!(again.unwrap().is_none());
    let rows = ["b", "c", "d", "e"].map(|id| (id, JobUpdates::default()));
    assert_eq!(Job::create_many(&pool, rows).unwrap(), 4);

    Job::start(&pool, "a").unwrap().succeed().unwrap();
    Job::run_job(
        &pool,
        "b",
        |job: &RunningJob<Job, TestConnection>, updates| {
            assert!(Job::is_locked(&pool, "b")?);
            job.renew()?;
            updates.data = Some(json!(job.id));
            Ok(())
        },
    )
    .unwrap();
    let next = Job::run_next(&pool, |job, _| Ok(job.id.clone())).unwrap();
    assert_eq!(next.as_deref(), Some("c"));
    let failed = Job::run_job_in_transaction(&pool, "d", |conn, job, _| {
        Job::create_and_save(&mut *conn, "undone", JobUpdates::default())?;
        Err::<(), _>(format!("{} fails", job.id).into())
    });
    assert!(matches!(failed, Err(Error::Failed { .. })), "{failed:?}");
    assert!(Job::find(&pool, "undone").unwrap().is_none());

    let claimed = Job::claim_next(&pool, 2).unwrap();
    assert_eq!(claimed.len(), 2);
    claimed.into_iter().for_each(std::mem::forget);
    for id in ["d", "e"] {
        age_lock(&db, id);
    }
    assert_eq!(Job::expire_locks(&pool).unwrap(), 2);

    let worker: Worker<Job, TestConnection> = Job::worker(&pool).threads(2);
    let summary = worker.run_until_empty(|_, _| Ok(())).unwrap();
    assert_eq!(summary.succeeded, 2);
    assert_eq!(
        Job::count_by_status(&pool).unwrap(),
        [(Status::Succeeded, 5)]
    );

    Job::reset(&pool, "a").unwrap();
    assert_eq!(Job::reset_many(&pool, ["b", "c"]).unwrap(), 2);
    let pending = Job::query_by_status(&pool, Status::Pending, 9, Order::OldestFirst);
    assert_eq!(pending.unwrap().len(), 3);
    let summary = Job::worker(&pool).run_in_transaction_until_empty(|_, _, _| Ok(()));
    assert_eq!(summary.unwrap().succeeded, 3);
    // The last ones may have changed in this very millisecond.
    assert!(Job::prune(&pool, &[Job::SUCCEEDED], Duration::ZERO).unwrap() > 0);
    assert!((1..=4).contains(&opened.load(Ordering::Relaxed)));
}

#[test]
fn a_shared_pool_and_its_connections_serve_as_well() {
    let db = TestDb::new();
    let (pool, _) = pool(&db, false);
    let pool = Arc::new(pool);

    Job::create_and_save(&pool, "a", JobUpdates::default()).unwrap();
    let mut conn = pool.get().unwrap();
    Job::create_and_save(&mut conn, "b", JobUpdates::default()).unwrap();
    Job::create_and_save(&mut *conn, "c", JobUpdates::default()).unwrap();
    drop(conn);
    Job::start(&pool, "a").unwrap().succeed().unwrap();
    Job::run_job(&pool, "b", |_, _| Ok(())).unwrap();

    assert_eq!(row(&db, "b").status, Status::Succeeded);
}

#[test]
fn what_an_own_manager_answers_is_in_the_error() {
    let db = TestDb::new();
    let (pool, _) = pool(&db, true);

    let refused = Job::start(&pool, "a").map(|_| ());

    let Err(error @ Error::Pool { .. }) = refused else {
        panic!("{refused:?}");
    };
    assert!(
        error.to_string().contains("the office is closed"),
        "{error}"
    );
}
