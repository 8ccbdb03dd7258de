//! An idle worker begins at once with what the calls of its process make ready. All
//! workers here look at the table once an hour by themselves.
//!
//! Tests run side by side, so each has statuses of its own: the calls of another test
//! are not what its worker waits for.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Barrier, mpsc};
use std::thread;
use std::time::Duration;

use diesel::prelude::*;
use diesel_status_tracker::clock::ago;
use diesel_status_tracker::{BoxError, Retry, StatusTracked};

use super::database::{TestDb, TestPool};
use super::worker::NEVER;

/// A test that would hang is to fail.
const LONG: Duration = Duration::from_secs(60);

const LETTERS: &str = "CREATE TABLE letters (
    id INTEGER NOT NULL PRIMARY KEY, status INTEGER NOT NULL, create_at DATETIME(6) NOT NULL,
    update_at DATETIME(6) NOT NULL, `lock` VARCHAR(32), lock_at DATETIME(6), retry INTEGER NOT NULL,
    errors JSON NOT NULL, run_at DATETIME(6), pages INTEGER
)";

diesel::table! {
    letters (id) {
        id -> Integer, status -> Integer, create_at -> Timestamp, update_at -> Timestamp, lock -> Nullable<Text>,
        lock_at -> Nullable<Timestamp>, retry -> Integer, errors -> Json, run_at -> Nullable<Timestamp>,
        pages -> Nullable<Integer>,
    }
}

#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = letters)]
struct Letter {
    id: i32,
    retry: i32,
}

#[derive(Debug, Default, Insertable, AsChangeset)]
#[diesel(table_name = letters)]
struct LetterUpdates {
    pages: Option<i32>,
}

tracked! {
    Letter in letters {
        key: (id: i32), status: i32, updates: LetterUpdates, columns: { run_at: run_at }, status_field: none,
    }
}

/// A step with five statuses from this one on.
macro_rules! letter_step {
    ($Step:ident from $first:literal { $($more:tt)* }) => {
        struct $Step;
        impl StatusTracked for $Step {
            type Job = Letter;
            const PENDING: i32 = $first;
            const IN_PROGRESS: i32 = $first + 1;
            const FAILED: i32 = $first + 2;
            const SUCCEEDED: i32 = $first + 3;
            const IGNORED: i32 = $first + 4;
            $($more)*
        }
    };
}

/// Runs a worker while `then` works, which gets what tells the keys of the letters in
/// the order in which they are worked on.
fn with_worker<S: StatusTracked<Job = Letter>>(
    pool: &TestPool,
    work: impl Fn(&Letter) -> Result<(), BoxError> + Send + Sync,
    then: impl FnOnce(&dyn Fn() -> i32),
) {
    let worker = S::worker(pool).threads(2).poll_every(NEVER);
    let handle = worker.handle();
    let (begun, begins) = mpsc::channel();
    thread::scope(|scope| {
        let running = scope.spawn(|| {
            worker.run(move |letter, _| {
                begun.send(letter.id)?;
                work(letter)
            })
        });
        // Also when `then` panics, so that the test ends.
        let stop = Stop(&handle);
        then(&|| begins.recv_timeout(LONG).expect("the worker is not woken"));
        drop(stop);
        running.join().unwrap().unwrap();
    });
}

struct Stop<'a>(&'a diesel_status_tracker::WorkerHandle);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.shutdown();
    }
}

fn letters() -> (TestDb, TestPool) {
    let db = TestDb::with_table(LETTERS);
    let pool = db.pool(4);
    (db, pool)
}

fn new() -> LetterUpdates {
    LetterUpdates::default()
}

/// Waits until the row is free and has this status.
fn await_status(db: &TestDb, id: i32, status: i32) {
    super::worker::until(format_args!("letter {id} at {status}"), || {
        let row = letters::table
            .find(id)
            .select((letters::status, letters::lock));
        let found: (i32, Option<String>) = row.get_result(&mut *db.conn()).unwrap();
        found == (status, None)
    });
}

#[test]
fn what_this_process_creates_is_begun_at_once() {
    letter_step! { Own from 1000 {} }
    let (_db, pool) = letters();
    with_worker::<Own>(
        &pool,
        |_| Ok(()),
        |begun| {
            for round in 0..20 {
                let id = 4 * round;
                Own::create_and_save(&pool, id, new()).unwrap();
                assert_eq!(begun(), id);
                Own::create_if_absent(&pool, id + 1, new()).unwrap();
                assert_eq!(begun(), id + 1);
                Own::create_many(&pool, [(id + 2, new()), (id + 3, new())]).unwrap();
                let mut both = [begun(), begun()];
                both.sort_unstable();
                assert_eq!(both, [id + 2, id + 3]);
            }
        },
    );
}

#[test]
fn what_this_process_resets_is_begun_at_once() {
    letter_step! { Own from 1010 {} }
    let (db, pool) = letters();
    Own::create_and_save(&pool, 1, new()).unwrap();
    with_worker::<Own>(
        &pool,
        |_| Ok(()),
        |begun| {
            assert_eq!(begun(), 1);
            for _ in 0..10 {
                await_status(&db, 1, Own::SUCCEEDED);
                Own::reset(&pool, 1).unwrap();
                assert_eq!(begun(), 1);
                await_status(&db, 1, Own::SUCCEEDED);
                assert_eq!(Own::reset_many(&pool, [1]).unwrap(), 1);
                assert_eq!(begun(), 1);
            }
        },
    );
}

#[test]
fn what_a_guard_gives_back_is_begun_at_once() {
    letter_step! { Own from 1020 {} }
    let (_db, pool) = letters();
    for id in 0..5 {
        Own::create_and_save(&pool, id, new()).unwrap();
    }
    let guards = Own::claim_next(&pool, 5).unwrap();
    with_worker::<Own>(
        &pool,
        |_| Ok(()),
        |begun| {
            for guard in guards {
                let id = guard.id;
                guard.fail(Retry::release()).unwrap();
                assert_eq!(begun(), id);
            }
        },
    );
}

#[test]
fn a_step_begins_at_once_with_what_an_earlier_step_has_done() {
    letter_step! { First from 1030 {} }
    letter_step! { Second from 1035 { const MORE_PENDING: &'static [i32] = &[First::SUCCEEDED]; } }
    let (_db, pool) = letters();
    let create = |ids: std::ops::Range<i32>| {
        First::create_many(&pool, ids.map(|id| (id, new()))).unwrap();
    };
    with_worker::<Second>(
        &pool,
        |_| Ok(()),
        |begun| {
            // By a call, in a transaction, and by another worker, of several kinds.
            create(0..1);
            First::run_job(&pool, 0, |_, _| Ok(())).unwrap();
            assert_eq!(begun(), 0);
            create(1..2);
            First::run_job_in_transaction(&pool, 1, |_, _, _| Ok(())).unwrap();
            assert_eq!(begun(), 1);
            create(2..3);
            let worker = First::worker(&pool).threads(1);
            worker.run_until_empty(|_, _| Ok(())).unwrap();
            assert_eq!(begun(), 2);
            create(3..4);
            let worker = First::worker(&pool).threads(1);
            worker
                .run_in_transaction_until_empty(|_, _, _| Ok(()))
                .unwrap();
            assert_eq!(begun(), 3);
        },
    );
}

#[test]
fn what_this_process_expires_is_begun_at_once() {
    letter_step! { Own from 1040 {} }
    let (db, pool) = letters();
    Own::create_and_save(&pool, 1, new()).unwrap();
    let dead = Own::start(&pool, 1).unwrap();
    with_worker::<Own>(
        &pool,
        |_| Ok(()),
        |begun| {
            // The worker is at work, and so its own first search for dead attempts is over
            // or will not come before this.
            Own::create_and_save(&pool, 2, new()).unwrap();
            assert_eq!(begun(), 2);
            diesel::update(letters::table.find(1))
                .set(letters::lock_at.eq(ago(2 * NEVER)))
                .execute(&mut *db.conn())
                .unwrap();
            Own::expire_locks(&pool).unwrap();
            assert_eq!(begun(), 1);
        },
    );
    std::mem::forget(dead);
}

#[test]
fn a_worker_begins_its_own_failed_jobs_when_they_are_due() {
    letter_step! { Delayed from 1050 {
        const RETRY_DELAY: Option<fn(i32) -> Duration> = Some(|_| Duration::from_millis(30));
    } }
    let (_db, pool) = letters();
    Delayed::create_and_save(&pool, 1, new()).unwrap();
    with_worker::<Delayed>(
        &pool,
        |_| Err("no paper".into()),
        |begun| {
            for _ in 0..Delayed::MAX_RETRY {
                assert_eq!(begun(), 1);
            }
        },
    );
    letter_step! { Own from 1055 {} }
    Own::create_many(&pool, [(2, new()), (3, new())]).unwrap();
    let released = AtomicU32::new(0);
    with_worker::<Own>(
        &pool,
        |letter| match letter.id {
            _ if letter.retry > 0 => Ok(()),
            2 if released.fetch_add(1, Ordering::Relaxed) == 0 => Err(Retry::release().into()),
            2 => Err("no paper".into()), // without a delay
            _ => Err(Retry::after(Duration::from_millis(30)).into()),
        },
        |begun| {
            let mut begun = [begun(), begun(), begun(), begun(), begun()];
            begun.sort_unstable();
            assert_eq!(begun, [2, 2, 2, 3, 3]);
        },
    );
}

#[test]
fn what_a_call_has_failed_is_begun_when_it_is_due() {
    letter_step! { Own from 1060 {
        const RETRY_DELAY: Option<fn(i32) -> Duration> = Some(|_| Duration::from_millis(30));
    } }
    let (_db, pool) = letters();
    Own::create_many(&pool, [(1, new()), (2, new())]).unwrap();
    // The worker cannot know what happened before it began.
    let [first, second] = <[_; 2]>::try_from(Own::claim_next(&pool, 2).unwrap()).unwrap();
    with_worker::<Own>(
        &pool,
        |_| Ok(()),
        |begun| {
            Own::create_and_save(&pool, 3, new()).unwrap();
            assert_eq!(begun(), 3);
            let id = first.id;
            first.fail("no paper").unwrap();
            assert_eq!(begun(), id);
            let id = second.id;
            drop(second);
            assert_eq!(begun(), id);
        },
    );
}

#[test]
fn a_job_of_an_open_transaction_is_found_by_the_next_look() {
    letter_step! { Own from 1070 {} }
    let (db, pool) = letters();
    let looks = Own::worker(&pool).poll_every(Duration::from_millis(20));
    let handle = looks.handle();
    let (begun, begins) = mpsc::channel();
    thread::scope(|scope| {
        let running = scope.spawn(|| looks.run(move |letter, _| Ok(begun.send(letter.id)?)));
        let mut conn = db.pool(1).get().unwrap();
        let stop = Stop(&handle);
        conn.transaction(|conn| {
            Own::create_and_save(&mut *conn, 1, new()).unwrap();
            QueryResult::Ok(())
        })
        .unwrap();
        assert_eq!(begins.recv_timeout(LONG).unwrap(), 1);
        drop(stop);
        running.join().unwrap().unwrap();
    });
}

#[test]
fn what_is_created_while_all_threads_are_busy_is_begun_after_that() {
    letter_step! { Own from 1080 {} }
    let (_db, pool) = letters();
    let busy = Barrier::new(3);
    with_worker::<Own>(
        &pool,
        |letter| {
            if letter.id < 2 {
                busy.wait();
                busy.wait();
            }
            Ok(())
        },
        |begun| {
            Own::create_many(&pool, [(0, new()), (1, new())]).unwrap();
            let mut both = [begun(), begun()];
            both.sort_unstable();
            assert_eq!(both, [0, 1]);
            busy.wait();
            for id in 2..100 {
                Own::create_and_save(&pool, id, new()).unwrap();
            }
            busy.wait();
            let mut rest: Vec<_> = (2..100).map(|_| begun()).collect();
            rest.sort_unstable();
            assert!(rest.into_iter().eq(2..100));
        },
    );
}

#[test]
fn several_idle_workers_run_a_new_job_once() {
    letter_step! { Own from 1090 {} }
    let (db, pool) = letters();
    let runs = AtomicU32::new(0);
    let count = |_: &Letter| {
        runs.fetch_add(1, Ordering::Relaxed);
        Ok(())
    };
    with_worker::<Own>(&pool, count, |_| {
        with_worker::<Own>(&pool, count, |_| {
            for id in 0..20 {
                Own::create_and_save(&pool, id, new()).unwrap();
                await_status(&db, id, Own::SUCCEEDED);
            }
        });
    });
    assert_eq!(runs.into_inner(), 20);
}
