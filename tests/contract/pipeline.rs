//! Three steps on one row, each a type with codes of its own.

use std::time::Duration;

use diesel::prelude::*;
use diesel_status_tracker::clock::ago;
use diesel_status_tracker::{Error, StatusTracked};

use super::database::{TestDb, TestPool};

const PHOTOS: &str = "CREATE TABLE photos (
    id INTEGER NOT NULL PRIMARY KEY, status INTEGER NOT NULL, create_at DATETIME(6) NOT NULL,
    update_at DATETIME(6) NOT NULL, `lock` VARCHAR(32), lock_at DATETIME(6), retry INTEGER NOT NULL,
    errors JSON NOT NULL, path VARCHAR(99)
)";

diesel::table! {
    photos (id) {
        id -> Integer, status -> Integer, create_at -> Timestamp, update_at -> Timestamp, lock -> Nullable<Text>,
        lock_at -> Nullable<Timestamp>, retry -> Integer, errors -> Json, path -> Nullable<Text>,
    }
}

#[derive(Debug, Clone, PartialEq, Queryable, Selectable)]
#[diesel(table_name = photos)]
struct Photo {
    status: i32,
    lock: Option<String>,
    lock_at: Option<chrono::NaiveDateTime>,
    retry: i32,
    errors: serde_json::Value,
    path: Option<String>,
}

#[derive(Debug, Default, Insertable, AsChangeset)]
#[diesel(table_name = photos)]
struct PhotoUpdates {
    path: Option<String>,
}

struct Download;
struct Resize;
struct Upload;

macro_rules! pipeline_step {
    ($Step:ident from $first:literal after $earlier:expr) => {
        impl StatusTracked for $Step {
            type Job = Photo;
            const PENDING: i32 = $first;
            const IN_PROGRESS: i32 = $first + 2;
            const FAILED: i32 = $first + 4;
            const SUCCEEDED: i32 = $first + 6;
            const IGNORED: i32 = $first + 8;
            const MORE_PENDING: &'static [i32] = &$earlier;
        }
    };
}
pipeline_step! { Download from 10 after [] }
pipeline_step! { Resize from 20 after [Download::SUCCEEDED] }
pipeline_step! { Upload from 30 after [Resize::SUCCEEDED] }

tracked! {
    Photo in photos { key: (id: i32), status: i32, updates: PhotoUpdates, steps: [Download, Resize, Upload] }
}

fn one_photo() -> (TestDb, TestPool) {
    let db = TestDb::with_table(PHOTOS);
    let pool = db.pool(1);
    Download::create_and_save(&pool, 1, PhotoUpdates::default()).unwrap();
    (db, pool)
}

fn photo(db: &TestDb) -> Photo {
    photos::table
        .find(1)
        .select(Photo::as_select())
        .get_result(&mut *db.conn())
        .unwrap()
}

fn age_lock(db: &TestDb) {
    diesel::update(photos::table)
        .set(photos::lock_at.eq(ago(Duration::from_secs(60 * 60))))
        .execute(&mut *db.conn())
        .unwrap();
}

fn go_on<S: StatusTracked<Job = Photo>>(pool: &TestPool, path: &str) -> Result<(), Error> {
    S::run_job(pool, 1, |_, updates| {
        updates.path = Some(path.into());
        Ok(())
    })
}

fn stumble<S: StatusTracked<Job = Photo>>(pool: &TestPool) -> Result<(), Error> {
    S::run_job(pool, 1, |_, _| Err("no memory".into()))
}

#[test]
fn steps_run_in_their_order_and_no_other() {
    let (db, pool) = one_photo();
    let not_ready = |ended: Result<(), Error>, status: &str| match ended.unwrap_err() {
        Error::NotReady {
            status: found, job, ..
        } => {
            assert_eq!((found.as_str(), job.as_str()), (status, "photos 1"));
        }
        other => panic!("{other:?}"),
    };
    not_ready(go_on::<Resize>(&pool, "resized"), "10");
    not_ready(go_on::<Upload>(&pool, "uploaded"), "10");
    assert_eq!(photo(&db).path, None);

    go_on::<Download>(&pool, "downloaded").unwrap();
    assert_eq!(photo(&db).status, Download::SUCCEEDED);
    assert!(matches!(
        go_on::<Download>(&pool, "x"),
        Err(Error::AlreadySucceeded { .. })
    ));
    not_ready(go_on::<Upload>(&pool, "uploaded"), "16");

    go_on::<Resize>(&pool, "resized").unwrap();
    assert_eq!(photo(&db).status, Resize::SUCCEEDED);
    not_ready(go_on::<Download>(&pool, "x"), "26");
    assert!(matches!(
        go_on::<Resize>(&pool, "x"),
        Err(Error::AlreadySucceeded { .. })
    ));

    go_on::<Upload>(&pool, "uploaded").unwrap();
    let done = photo(&db);
    assert_eq!((done.status, done.path.as_deref()), (36, Some("uploaded")));
    assert!(Upload::is_succeeded(&done) && !Resize::is_succeeded(&done));
}

#[test]
fn a_step_that_failed_goes_on_from_where_it_was() {
    let (db, pool) = one_photo();
    assert!(stumble::<Download>(&pool).is_err());
    assert_eq!((photo(&db).status, photo(&db).retry), (14, 1));
    go_on::<Download>(&pool, "downloaded").unwrap();

    assert!(stumble::<Resize>(&pool).is_err());
    // The tries of the steps do not add up.
    let failed = photo(&db);
    assert_eq!((failed.status, failed.retry), (Resize::FAILED, 1));
    assert_eq!(failed.path.as_deref(), Some("downloaded"));
    assert!(matches!(
        go_on::<Download>(&pool, "x"),
        Err(Error::NotReady { .. })
    ));
    assert!(matches!(
        go_on::<Upload>(&pool, "x"),
        Err(Error::NotReady { .. })
    ));

    go_on::<Resize>(&pool, "resized").unwrap();
    for _ in 0..3 {
        assert!(stumble::<Upload>(&pool).is_err());
    }
    assert_eq!(photo(&db).status, Upload::IGNORED);
    assert!(matches!(
        Resize::reset(&pool, 1),
        Err(Error::NotReady { .. })
    ));
    Upload::reset(&pool, 1).unwrap();
    assert_eq!(photo(&db).status, Upload::PENDING);
    go_on::<Upload>(&pool, "uploaded").unwrap();
    assert_eq!(photo(&db).status, Upload::SUCCEEDED);
}

#[test]
fn each_step_claims_what_the_step_before_has_done() {
    let (db, pool) = one_photo();
    let run_next = |done: i32| {
        let n = match done {
            10 => Download::run_next(&pool, |_, _| Ok(())),
            20 => Resize::run_next(&pool, |_, _| Ok(())),
            _ => Upload::run_next(&pool, |_, _| Ok(())),
        };
        n.unwrap()
    };
    assert_eq!((run_next(20), run_next(30)), (None, None));
    assert_eq!((run_next(10), run_next(10)), (Some(()), None));
    assert_eq!((run_next(30), run_next(20)), (None, Some(())));
    assert_eq!((run_next(10), run_next(30)), (None, Some(())));
    assert_eq!(photo(&db).status, Upload::SUCCEEDED);
}

#[test]
fn a_row_that_another_steps_attempt_holds_is_locked() {
    let (db, pool) = one_photo();
    let attempt = Download::start(&pool, 1).unwrap();

    // Dead or alive: a step expires what it has in progress itself.
    for _ in 0..2 {
        let held = photo(&db);
        let error = go_on::<Resize>(&pool, "resized").unwrap_err();
        assert_err!(
            error,
            Locked {
                expires_at: None,
                ..
            }
        );
        assert!(error.to_string().contains("photos 1"), "{error}");
        // Nor is it told to wait: it would be refused all the same.
        let error = Resize::reset(&pool, 1).unwrap_err();
        let never = matches!(
            error,
            Error::Locked {
                expires_at: None,
                ..
            }
        );
        assert!(never, "{error:?}");
        assert_eq!(Resize::expire_locks(&pool).unwrap(), 0);
        assert!(Resize::is_locked(&pool, 1).unwrap());
        assert_eq!(photo(&db), held);
        age_lock(&db);
    }

    assert_eq!(Download::expire_locks(&pool).unwrap(), 1);
    let expired = photo(&db);
    assert_eq!(
        (expired.status, expired.retry, &expired.lock),
        (Download::FAILED, 1, &None)
    );
    drop(attempt);
    assert_eq!(photo(&db), expired);
}
