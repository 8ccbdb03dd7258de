//! Tables of other shapes: the same short life for a job of each. The shapes
//! that one database alone has are in `columns/`.

use std::fmt::Debug;

use diesel_status_tracker::{JobStore, KeyOf, StatusOf, StatusTracked, Tracked};
use serde_json::Value;

use super::database::{TestConnection, TestDb};

pub mod own_names;
mod own_types;
mod partitioned;
mod started_at;
mod without_updates;

/// What is seen of the one row of a table by plain Diesel: status, the lock,
/// failures in a row, and the errors.
pub type Seen<S> = (StatusOf<S>, Option<String>, i64, Value);

/// A table with one row.
pub trait Shape: StatusTracked {
    /// The statement that creates it.
    const CREATE: &'static str;

    fn key() -> KeyOf<Self>;
    /// The key as messages name it, with the table.
    const NAME: &'static str;
    fn seen(conn: &mut TestConnection) -> Seen<Self>;
    /// Makes the lock an hour old.
    fn age_lock(conn: &mut TestConnection);
}

/// Changes `lock_at` as [`Shape::age_lock`] does.
macro_rules! age_lock {
    ($table:ident, $lock_at:ident) => {
        fn age_lock(conn: &mut TestConnection) {
            let an_hour = std::time::Duration::from_secs(60 * 60);
            diesel::update($table::table)
                .set($table::$lock_at.eq(diesel_status_tracker::clock::ago(an_hour)))
                .execute(conn)
                .unwrap();
        }
    };
}
pub(super) use age_lock;

/// [`Shape::seen`] of a table of visits, whose errors are nullable JSON.
macro_rules! seen {
    ($visits:ident, $Status:ty, $Retry:ty) => {
        fn seen(conn: &mut TestConnection) -> Seen<Self> {
            let row: ($Status, Option<String>, $Retry, Option<serde_json::Value>) = $visits::table
                .select((
                    $visits::status,
                    $visits::lock,
                    $visits::retry,
                    $visits::errors,
                ))
                .get_result(conn)
                .unwrap();
            (row.0, row.1, row.2.into(), row.3.unwrap())
        }
    };
}
pub(super) use seen;

/// Holds that the one job of a table waits for its time, and no longer.
macro_rules! assert_waits_for_its_time {
    ($Job:ident in $table:ident by $run_at:ident, $db:expr, $pool:expr) => {
        let set = |at: diesel_status_tracker::clock::Clock<_>| {
            diesel::update($table::table)
                .set($table::$run_at.eq(at))
                .execute(&mut *$db.conn())
                .unwrap();
        };

        let minute = std::time::Duration::from_secs(60);
        set(diesel_status_tracker::clock::from_now(minute));
        assert_eq!($Job::run_next($pool, |_, _| Ok(())).unwrap(), None);
        let instant = std::time::Duration::from_millis(1);
        set(diesel_status_tracker::clock::ago(instant));
        assert_eq!($Job::run_next($pool, |_, _| Ok(())).unwrap(), Some(()));
    };
}
pub(super) use assert_waits_for_its_time;

/// A job's life in a database of its own.
pub fn live<S: Shape>()
where
    S::Job: JobStore<TestConnection>,
    StatusOf<S>: Debug,
{
    live_in::<S>(&TestDb::with_table(S::CREATE));
}

/// A job's life: created, done, reset, failed, died, failed as the next one,
/// ignored, reset and done again.
pub fn live_in<S: Shape>(db: &TestDb)
where
    S::Job: JobStore<TestConnection>,
    StatusOf<S>: Debug,
{
    fn errors(seen: &Value) -> Vec<&str> {
        let history = seen["history"].as_array().map_or(&[][..], Vec::as_slice);
        history
            .iter()
            .filter_map(|entry| entry["error"].as_str())
            .collect()
    }
    let pool = db.pool(1);
    let seen = || S::seen(&mut db.conn());
    let assert_seen = |status: StatusOf<S>, retry| {
        let seen = seen();
        assert_eq!((seen.0, &seen.1, seen.2), (status, &None, retry));
        seen.3
    };
    let none = || <S::Job as Tracked>::Updates::default();

    S::create_and_save(&pool, S::key(), none()).unwrap();
    assert!(errors(&assert_seen(S::PENDING, 0)).is_empty());
    let taken = S::create_and_save(&pool, S::key(), none()).err().unwrap();
    assert_err!(taken, AlreadyExists);
    assert!(taken.to_string().contains(S::NAME), "{taken}");
    // So many that PostgreSQL inserts them from a list.
    let many = std::iter::repeat_with(|| (S::key(), none())).take(100);
    assert_eq!(S::create_many(&pool, many).unwrap(), 0);

    let value = S::run_job(&pool, S::key(), |attempt, _| {
        let (status, lock, ..) = seen();
        assert_eq!(
            (status, lock.as_deref()),
            (S::IN_PROGRESS, Some(attempt.token()))
        );
        Ok(7)
    });
    assert_eq!(value.unwrap(), 7);
    assert_seen(S::SUCCEEDED, 0);
    S::reset(&pool, S::key()).unwrap();
    assert_seen(S::PENDING, 0);

    let failed = S::run_job(&pool, S::key(), |_, _| Err::<(), _>("no paper".into()));
    assert_err!(failed.unwrap_err(), Failed);
    assert_eq!(errors(&assert_seen(S::FAILED, 1)), ["no paper"]);

    let dead = S::start(&pool, S::key()).unwrap();
    assert_eq!(S::expire_locks(&pool).unwrap(), 0);
    S::age_lock(&mut db.conn());
    dead.renew().unwrap();
    assert_eq!(S::expire_locks(&pool).unwrap(), 0);
    S::age_lock(&mut db.conn());
    assert_eq!(S::expire_locks(&pool).unwrap(), 1);
    let late = dead.succeed().unwrap_err();
    assert_err!(late, LockLost);
    let expired = assert_seen(S::FAILED, 2);
    assert!(
        errors(&expired)[0].contains("the lock expired"),
        "{expired}"
    );

    let failed = S::run_next(&pool, |_, _| Err::<(), _>("no ink".into()));
    assert_err!(failed.unwrap_err(), Failed);
    let ignored = assert_seen(S::IGNORED, 3);
    assert_eq!(
        (errors(&ignored)[0], errors(&ignored)[2]),
        ("no ink", "no paper")
    );
    assert_eq!(ignored["error"], "no ink");
    assert_eq!(S::run_next(&pool, |_, _| Ok(())).unwrap(), None);
    let refused = S::start(&pool, S::key()).unwrap_err();
    assert_err!(refused, Ignored { retry: 3, .. });
    assert_eq!(S::count_by_status(&pool).unwrap(), [(S::IGNORED, 1)]);

    S::reset(&pool, S::key()).unwrap();
    assert_eq!(S::run_next(&pool, |_, _| Ok(1)).unwrap(), Some(1));
    assert_eq!(assert_seen(S::SUCCEEDED, 0), ignored);
    assert!(S::find(&pool, S::key()).unwrap().is_some());
}
