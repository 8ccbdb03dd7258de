//! A row that another transaction holds costs the other jobs nothing.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use chrono::NaiveDateTime;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_status_tracker::clock::{ago, now};
use diesel_status_tracker::{Error, StatusTracked, Summary};
use serde_json::json;

use super::database::{TestConnection, TestDb, TestPool};
use super::jobs::{Job, JobUpdates, Status, age_lock, assert_names, data, die, jobs, row};
use super::pools::{Event, Log, pool_with};
use super::sessions::{number, waits};
use super::worker::{NEVER, Runs, drainable, rows, summary, until};
use super::worker_told::Told;

/// A step whose locks are renewed three times a second.
pub struct Brief;
step! { Brief on Job { const LOCK_EXPIRE: Duration = Duration::from_secs(1); } }

/// Another's transaction, open until this is dropped.
pub struct Holder(TestConnection);

impl Holder {
    /// Holds the rows of these jobs.
    pub fn of(db: &TestDb, ids: &[&str]) -> Self {
        let mut conn = TestConnection::establish(db.url()).unwrap();
        conn.batch_execute("BEGIN").unwrap();
        for id in ids {
            let held = jobs::table.find(id).select(jobs::id).for_update();
            held.get_result::<String>(&mut conn).unwrap();
        }
        Self(conn)
    }

    pub fn let_go(mut self) {
        self.0.batch_execute("COMMIT").unwrap();
    }
}

fn time(conn: &mut TestConnection) -> NaiveDateTime {
    let now = diesel::select(now::<diesel::sql_types::Timestamp>());
    now.get_result(conn).unwrap()
}

/// Has `call` wait for the job "a", which another transaction has changed, and
/// returns what it gave, and the time when the row was let go, or a little
/// before.
fn having_waited<T: Send>(
    db: &TestDb,
    pool: &TestPool,
    call: impl Fn() -> Result<T, Error> + Sync,
) -> (T, NaiveDateTime) {
    let session = number(&mut pool.get().unwrap());
    loop {
        let mut holder = Holder::of(db, &["a"]);
        diesel::update(jobs::table.find("a"))
            .set(jobs::data.eq(json!("another's")))
            .execute(&mut holder.0)
            .unwrap();
        let (done, time) = thread::scope(|scope| {
            let waiting = scope.spawn(&call);
            until("it waits", || {
                waits(&mut db.conn(), session) || waiting.is_finished()
            });
            let time = time(&mut db.conn());
            holder.let_go();
            (waiting.join().unwrap(), time)
        });
        match done {
            Ok(value) => return (value, time),
            // On a busy machine it did not wait for long enough.
            Err(Error::Locked { .. } | Error::Database { .. }) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_lock_begins_when_the_row_is_changed_and_not_when_the_claim_began_to_wait() {
    let (db, pool) = drainable(0);
    Job::create_and_save(&pool, "a", JobUpdates::default()).unwrap();

    let (attempt, let_go) = having_waited(&db, &pool, || Job::start(&pool, "a"));
    let claimed = row(&db, "a");
    assert!(claimed.lock_at.unwrap() >= let_go, "{claimed:?} {let_go}");
    assert_eq!(attempt.lock_at, claimed.lock_at, "the guard knows it");

    let ((), let_go) = having_waited(&db, &pool, || attempt.renew());
    let renewed = row(&db, "a").lock_at.unwrap();
    assert!(renewed >= let_go, "{renewed} {let_go}");

    let ((), let_go) = having_waited(&db, &pool, || attempt.save(data(json!("half"))));
    let saved = row(&db, "a");
    assert!(saved.lock_at.unwrap() >= let_go, "{saved:?} {let_go}");
    assert!(saved.update_at >= let_go, "{saved:?} {let_go}");
    attempt.succeed().unwrap();
}

#[test]
fn a_start_waits_for_a_while_and_says_that_the_row_is_held() {
    let (db, pool) = drainable(2);
    let before = rows(&db);
    let holder = Holder::of(&db, &["0"]);

    let error = Job::start(&pool, "0").unwrap_err();

    assert_err!(error, Locked { lock_at: None, .. });
    assert_names(&error, "0");
    assert!(error.to_string().contains("transaction"), "{error}");
    holder.let_go();
    assert_eq!(rows(&db), before);
    // The connection is as good as before, for statements that wait for longer.
    Job::run_job(&pool, "0", |_, _| Ok(())).unwrap();
}

#[test]
fn the_next_job_is_one_that_nobody_holds() {
    let (db, pool) = drainable(3);
    let holder = Holder::of(&db, &["0"]);
    diesel::update(jobs::table.find("1"))
        .set(jobs::update_at.eq(ago(NEVER)))
        .execute(&mut *db.conn())
        .unwrap();
    let other = Holder::of(&db, &["1"]);

    assert_eq!(
        Job::run_next(&pool, |job, _| Ok(job.id.clone())).unwrap(),
        Some("2".into())
    );
    assert_eq!(
        Job::run_next(&pool, |job, _| Ok(job.id.clone())).unwrap(),
        None
    );
    assert!(Job::claim_next(&pool, 5).unwrap().is_empty());

    holder.let_go();
    other.let_go();
    assert_eq!(
        Job::run_next(&pool, |job, _| Ok(job.id.clone())).unwrap(),
        Some("1".into())
    );
}

#[test]
fn dead_attempts_whose_rows_are_held_are_passed_over() {
    let (db, pool) = drainable(6);
    for id in ["0", "1", "2", "3", "4", "5"] {
        die::<Brief>(&db, &pool, id);
    }
    let before = row(&db, "2");
    let holder = Holder::of(&db, &["2"]);

    assert_eq!(Brief::expire_locks(&pool).unwrap(), 5);
    assert_eq!(Brief::expire_locks(&pool).unwrap(), 0);
    let expired = pool
        .get()
        .unwrap()
        .transaction(|conn| QueryResult::Ok(Brief::expire_locks(&mut *conn).unwrap()));
    assert_eq!(expired, Ok(0));
    let error = Brief::start(&pool, "2").unwrap_err();
    assert_err!(error, Locked);

    holder.let_go();
    assert_eq!(row(&db, "2"), before);
    assert_eq!(Brief::expire_locks(&pool).unwrap(), 1);
}

#[test]
fn a_worker_begins_and_renews_although_the_row_of_a_dead_attempt_is_held() {
    let (db, pool) = drainable(3);
    die::<Brief>(&db, &pool, "0");
    let dead = row(&db, "0");
    let holder = Holder::of(&db, &["0"]);
    let told = Told::default();

    let runs = Runs::default();
    let worker = Brief::worker(&db.pool(2))
        .threads(1)
        .batch(2)
        .observer(told.clone());
    let handle = worker.handle();
    let done = worker.run(|job, _| {
        runs.add(&job.id);
        if runs.counts().len() == 2 {
            handle.shutdown();
            return Ok(());
        }
        // The lock of each, as the database sees it, has expired but for a renewal.
        for id in ["1", "2"] {
            let first = row(&db, id).lock_at.unwrap();
            until("renewed thrice", || {
                row(&db, id).lock_at.unwrap() - first > chrono::TimeDelta::seconds(1)
            });
        }
        Ok(())
    });

    assert_eq!(done.unwrap(), summary(|s| s.succeeded = 2));
    assert_eq!(runs.counts(), [("1".into(), 1), ("2".into(), 1)]);
    assert_eq!(row(&db, "0"), dead);
    holder.let_go();
    assert_eq!(told.of("0"), []);
}

#[test]
fn a_job_that_holds_its_own_row_for_long_does_not_block_others_and_runs_once() {
    const JOBS: usize = 30;
    for batch in [1, 10] {
        let (db, _) = drainable(JOBS);
        let pool = db.pool(6);
        let (runs, over) = (Runs::default(), AtomicUsize::new(0));
        let first = Mutex::new(true);

        let worker = Brief::worker(&pool).threads(4).batch(batch);
        let done = worker.run_until_empty(|job, updates| {
            runs.add(&job.id);
            *updates = data(json!("new"));
            if !std::mem::take(&mut *first.lock().unwrap()) {
                over.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
            let mut holder = Holder::of(&db, &[&job.id]);
            diesel::update(jobs::table.find(&job.id))
                .set(jobs::data.eq(json!("in mid-run")))
                .execute(&mut holder.0)?;
            // All others come to their end, which is written, meanwhile; and its own
            // lock would have expired but for a renewal.
            let succeeded = jobs::table
                .filter(jobs::status.eq(Status::Succeeded))
                .count();
            until("all others have succeeded", || {
                succeeded.get_result(&mut *db.conn()) == Ok(JOBS as i64 - 1)
            });
            let is_old = jobs::lock_at.lt(ago(Brief::LOCK_EXPIRE));
            let old = jobs::table.find(&job.id).filter(is_old).count();
            until("its lock is old", || {
                old.get_result(&mut *db.conn()) == Ok(1_i64)
            });
            holder.let_go();
            Ok(())
        });

        assert_eq!(done.unwrap(), summary(|s| s.succeeded = JOBS as u64));
        runs.assert_once_each(&db);
        for job in rows(&db) {
            assert_eq!((job.status, &job.errors), (Status::Succeeded, &json!({})));
            assert_eq!(job.data, Some(json!("new")));
        }
    }
}

#[test]
fn a_worker_that_ends_with_the_last_job_waits_for_one_whose_row_is_held() {
    let (db, _) = drainable(1);
    let holder = Arc::new(Mutex::new(Some(Holder::of(&db, &["0"]))));
    let looks = Arc::new(AtomicUsize::new(0));
    let pool = pool_with(db.url(), 1, move |conn| {
        let (holder, looks) = (Arc::clone(&holder), Arc::clone(&looks));
        Log::default().watch_and(conn, move |event| {
            let is_look = matches!(event, Event::Started(sql)
                if sql.starts_with("SELECT") && sql.contains("SKIP LOCKED"));
            if is_look && looks.fetch_add(1, Ordering::Relaxed) == 2 {
                holder.lock().unwrap().take().unwrap().let_go();
            }
        });
    });

    let worker = Job::worker(&pool).threads(1).poll_every(NEVER);
    let done = worker.run_until_empty(|_, _| Ok(()));

    assert_eq!(done.unwrap(), summary(|s| s.succeeded = 1));
}

#[test]
fn an_outcome_whose_row_is_held_is_written_when_the_row_is_free() {
    let (db, _) = drainable(8);
    let pool = db.pool(3);
    let (held, is_held) = mpsc::channel();

    let done = thread::scope(|scope| {
        let db = &db;
        let release = scope.spawn(move || {
            let holder: Holder = is_held.recv().unwrap();
            let succeeded = jobs::table.filter(jobs::status.eq(Status::Succeeded));
            let succeeded = succeeded.count();
            until("the others have succeeded", || {
                succeeded.get_result(&mut *db.conn()) == Ok(7_i64)
            });
            holder.let_go();
        });
        // Its end, and those of the others, are written when all have run.
        let worker = Job::worker(&pool).threads(1).batch(8).finish_within(NEVER);
        let done = worker.run_until_empty(|job, _| {
            if job.id == "3" {
                held.send(Holder::of(db, &["3"])).unwrap();
            }
            Ok(())
        });
        release.join().unwrap();
        done
    });

    assert_eq!(done.unwrap(), summary(|s| s.succeeded = 8));
}

/// Runs three jobs, and shuts the worker down in the last. The row of "1" is
/// held until its end has been tried so often.
fn shut_down_with_a_held_row(tries: usize) -> (TestDb, Summary) {
    let (db, _) = drainable(3);
    let holder = Arc::new(Mutex::new(None::<Holder>));
    let refused = Arc::new(AtomicUsize::new(0));
    let pool = {
        let (holder, refused) = (Arc::clone(&holder), Arc::clone(&refused));
        pool_with(db.url(), 3, move |conn| {
            let (holder, refused) = (Arc::clone(&holder), Arc::clone(&refused));
            Log::default().watch_and(conn, move |event| {
                let is_refusal = matches!(event, Event::Failed(_));
                if is_refusal && refused.fetch_add(1, Ordering::Relaxed) + 1 == tries {
                    holder.lock().unwrap().take().unwrap().let_go();
                }
            });
        })
    };
    let worker = Job::worker(&pool).threads(1).batch(3).finish_within(NEVER);
    let handle = worker.handle();
    let done = worker.run(|job, _| {
        if job.id == "1" {
            *holder.lock().unwrap() = Some(Holder::of(&db, &["1"]));
        }
        if job.id == "2" {
            handle.shutdown();
        }
        Ok(())
    });
    drop(holder);
    (db, done.unwrap())
}

#[test]
fn a_worker_that_shuts_down_tries_the_outcome_of_a_held_row_more_than_once() {
    // Once together with the others, once by itself, and once more.
    let (_db, done) = shut_down_with_a_held_row(3);
    assert_eq!(done, summary(|s| s.succeeded = 3));
}

#[test]
fn a_worker_that_shuts_down_does_not_wait_for_ever_for_a_row_that_is_held() {
    let (db, done) = shut_down_with_a_held_row(usize::MAX);
    assert_eq!(done, summary(|s| (s.succeeded, s.lost) = (2, 1)));
    age_lock(&db, "1");
    assert_eq!(Job::expire_locks(&db.pool(1)).unwrap(), 1);
}

/// Each worker is given a pool that holds as many transactions as it runs at a
/// time, and one connection more, which both share.
#[test]
fn workers_in_transactions_that_share_few_connections_keep_their_locks() {
    let (db, _) = drainable(6);
    let pool = db.pool(4);
    let runs = Runs::default();
    let begin = Barrier::new(2);

    let done = thread::scope(|scope| {
        let work = || {
            begin.wait();
            let worker = Brief::worker(&pool).threads(2).batch(2);
            worker.run_in_transaction_until_empty(|conn, job, _| {
                runs.add(&job.id);
                let is_over = ago::<diesel::sql_types::Timestamp>(Brief::LOCK_EXPIRE)
                    .gt(job.lock_at.unwrap());
                until("its first lock has expired", || {
                    diesel::select(is_over).get_result(conn) == Ok(true)
                });
                Ok(())
            })
        };
        let workers = [scope.spawn(work), scope.spawn(work)];
        workers.map(|worker| worker.join().unwrap().unwrap())
    });

    let all = |count: fn(&Summary) -> u64| done.iter().map(count).sum::<u64>();
    assert_eq!(all(|s| s.succeeded), 6, "{done:?}");
    assert_eq!(all(|s| s.lost + s.failed + s.expired), 0, "{done:?}");
    assert!(rows(&db).iter().all(|job| job.errors == json!({})));
}

#[test]
fn a_worker_in_transactions_says_that_it_needs_two_connections() {
    let (db, pool) = drainable(1);
    let error = Job::worker(&pool)
        .run_in_transaction_until_empty(|_, _, _| Ok(()))
        .unwrap_err();
    assert_err!(error, Misconfigured);
    assert!(error.to_string().contains("max_size"), "{error}");
    assert_eq!(row(&db, "0").status, Status::Pending);

    // Fewer connections than threads: slower, and not wrong.
    let done = Job::worker(&db.pool(2))
        .threads(5)
        .run_in_transaction_until_empty(|_, _, _| Ok(()));
    assert_eq!(done.unwrap(), summary(|s| s.succeeded = 1));
}
