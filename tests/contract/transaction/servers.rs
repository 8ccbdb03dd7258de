//! Transactions behind a network, and among several that write.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_status_tracker::{BoxError, Error, StatusTracked};
use serde_json::json;

use super::cuts::cut_everywhere;
use super::database::{TestConnection, TestDb, TestPool};
use super::faults::{assert_succeeded, create};
use super::jobs::{Job, Status, age_lock, data, row};
use super::own_statements::COMMIT;
use super::pools::{Event, Log, pool_with};
use super::proxy::{Proxy, Turn};
use super::sessions;
use super::transaction::{
    LEDGER, NOBODY, assert_failed, assert_pool_is_sound, assert_released, book, bookings, one_job,
};

/// The job "a", and a pool whose line can be cut at a commit.
struct Scene {
    proxy: Arc<Proxy>,
    pool: TestPool,
    cut: Arc<Mutex<Option<Turn>>>,
    /// Last, since nothing can drop it while a transaction is open.
    db: TestDb,
}

impl Scene {
    fn new() -> Self {
        let db = TestDb::with_table(LEDGER);
        let proxy = Arc::new(Proxy::to(db.url()));
        let cut = Arc::new(Mutex::new(None));
        let pool = {
            let (proxy, cut) = (Arc::clone(&proxy), Arc::clone(&cut));
            pool_with(proxy.clone().url(), 1, move |conn| {
                let (proxy, cut) = (Arc::clone(&proxy), Arc::clone(&cut));
                Log::default().watch_and(conn, move |event| {
                    if matches!(event, Event::Started(sql) if sql == "COMMIT")
                        && let Some(turn) = cut.lock().unwrap().take()
                    {
                        proxy.cut(turn, COMMIT);
                    }
                });
            })
        };
        create(&db, "a");
        Self {
            proxy,
            pool,
            cut,
            db,
        }
    }

    /// What the job comes to where the line breaks at its commit.
    fn run_with_a_cut_at_the_commit(&self, turn: Turn) -> Result<(), Error> {
        *self.cut.lock().unwrap() = Some(turn);
        let ended = run(&self.pool, "a");
        assert!(self.cut.lock().unwrap().is_none() && !self.proxy.spare());
        ended
    }
}

fn run(pool: &TestPool, id: &str) -> Result<(), Error> {
    Job::run_job_in_transaction(pool, id, |conn, job, updates| {
        *updates = data(json!("new"));
        book(conn, &job.id, 1)?;
        Ok(())
    })
}

#[test]
fn a_commit_whose_answer_is_lost_counts_as_success() {
    let scene = Scene::new();

    scene.run_with_a_cut_at_the_commit(Turn::Answer).unwrap();

    assert_succeeded(&scene.db, "a");
    assert_eq!(bookings(&scene.db, "a"), [1]);
}

#[test]
fn a_commit_whose_row_is_gone_is_of_unknown_outcome_and_tells_how_the_connection_broke() {
    let scene = Scene::new();
    drop(scene.pool.get().unwrap());
    let url = scene.db.url().to_owned();
    scene.proxy.before_next_connection(move || {
        let mut other = TestConnection::establish(&url).unwrap();
        other.batch_execute("DELETE FROM jobs").unwrap();
    });

    let error = scene
        .run_with_a_cut_at_the_commit(Turn::Answer)
        .unwrap_err();

    let Error::OutcomeUnknown { source, .. } = &error else {
        panic!("{error:?}");
    };
    assert_ne!(*source, diesel::result::Error::NotFound);
}

#[test]
fn a_commit_that_does_not_reach_the_server_releases_the_job() {
    let scene = Scene::new();

    let ended = scene.run_with_a_cut_at_the_commit(Turn::Request);

    assert_released(&scene.db, ended);
    run(&scene.pool, "a").unwrap();
    assert_succeeded(&scene.db, "a");
    assert_eq!(bookings(&scene.db, "a"), [1]);
}

#[test]
fn a_release_whose_answer_is_lost_after_a_failed_commit_has_released_the_job() {
    for n in 1.. {
        let scene = Scene::new();
        drop(scene.pool.get().unwrap());
        // Of the connection on which the job is looked for.
        scene.proxy.before_next_connection({
            let proxy = Arc::clone(&scene.proxy);
            move || proxy.cut(Turn::Answer, n)
        });
        *scene.cut.lock().unwrap() = Some(Turn::Request);

        let ended = run(&scene.pool, "a");

        assert!(scene.cut.lock().unwrap().is_none());
        assert_released(&scene.db, ended);
        if scene.proxy.spare() {
            assert!(n > 1, "it was never cut");
            break;
        }
    }
}

#[test]
fn a_connection_that_breaks_during_the_work_is_a_failed_attempt() {
    let Scene {
        db, proxy, pool, ..
    } = Scene::new();

    let ended = Job::run_job_in_transaction(&pool, "a", |conn, job, updates| {
        *updates = data(json!("new"));
        book(conn, &job.id, 1)?;
        proxy.cut_all();
        book(conn, &job.id, 2)?;
        Ok(())
    });

    assert_failed(&db, ended);
    assert_pool_is_sound(&db, &pool);
}

#[test]
fn a_connection_that_breaks_unnoticed_releases_the_job() {
    let Scene {
        db, proxy, pool, ..
    } = Scene::new();

    let ended = Job::run_job_in_transaction(&pool, "a", |conn, job, _| {
        book(conn, &job.id, 1)?;
        proxy.cut_all();
        Ok(())
    });

    assert_released(&db, ended);
    assert_pool_is_sound(&db, &pool);
}

#[test]
fn a_connection_that_breaks_before_the_work_is_replaced_and_the_work_runs_once() {
    for turn in [Turn::Request, Turn::Answer] {
        for n in 1.. {
            let scene = Scene::new();
            let attempt = Job::start(&scene.pool, "a").unwrap();
            scene.proxy.cut(turn, n);
            let (mut runs, mut was_cut) = (0, false);

            attempt
                .run_in_transaction(|conn, job, updates| {
                    runs += 1;
                    was_cut = !scene.proxy.spare();
                    *updates = data(json!("new"));
                    Ok(book(conn, &job.id, 1)?)
                })
                .unwrap();

            assert_eq!(runs, 1);
            assert_succeeded(&scene.db, "a");
            assert_eq!(bookings(&scene.db, "a"), [1]);
            if !was_cut {
                assert!(n > 1);
                break;
            }
        }
    }
}

#[test]
fn wherever_the_line_breaks_all_is_written_once_or_nothing_and_the_caller_knows() {
    let [landed, released, failed] = [const { AtomicU32::new(0) }; 3];
    cut_everywhere(|db, pool, id| {
        if id == "1" {
            db.sql(LEDGER); // a new database
        }
        create(db, id);
        let runs = AtomicU32::new(0);
        let ended = Job::run_job_in_transaction(pool, id, |conn, job, updates| {
            runs.fetch_add(1, Ordering::Relaxed);
            *updates = data(json!("new"));
            book(conn, &job.id, 1)?;
            Ok("value")
        });
        assert_eq!(runs.into_inner(), 1);
        let job = row(db, id);
        let (outcome, retry) = match ended {
            Ok(value) => {
                assert_eq!(value, "value");
                assert_succeeded(db, id);
                assert_eq!(bookings(db, id), [1]);
                landed.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Err(Error::Released { .. }) => (&released, 0),
            Err(Error::Failed { .. }) => (&failed, 1),
            Err(other) => panic!("{other:?}"),
        };
        outcome.fetch_add(1, Ordering::Relaxed);
        assert_eq!((job.retry, &job.lock), (retry, &None));
        assert_eq!(job.data, Some(json!("old")));
        assert_eq!(bookings(db, id), NOBODY);
        run(pool, id).unwrap();
        assert_eq!(bookings(db, id), [1]);
        assert_eq!(row(db, id).status, Status::Succeeded);
    });
    for outcome in [landed, released, failed] {
        assert!(outcome.into_inner() > 0);
    }
}

#[test]
fn an_attempt_that_is_expired_during_its_transaction_writes_nothing() {
    let ends: [fn() -> Result<(), BoxError>; 2] = [|| Ok(()), || Err("no paper".into())];
    let overtake: [fn(&TestDb); 3] = [
        |db| assert_eq!(Job::expire_locks(&db.pool(1)).unwrap(), 1),
        |db| std::mem::forget(Job::start(&db.pool(1), "a").unwrap()),
        |db| run(&db.pool(1), "a").unwrap(),
    ];
    for end in ends {
        for overtake in overtake {
            let (db, pool) = one_job();
            let mut left = None;

            let ended = Job::run_job_in_transaction(&pool, "a", |conn, job, updates| {
                *updates = data(json!("ours"));
                book(conn, &job.id, 2)?;
                age_lock(&db, "a");
                overtake(&db);
                left = Some((row(&db, "a"), bookings(&db, "a")));
                end()
            });

            let error = ended.unwrap_err();
            assert_err!(error, LockLost);
            assert_eq!(Some((row(&db, "a"), bookings(&db, "a"))), left);
        }
    }
}

fn write_to_account(conn: &mut TestConnection, id: i32) -> QueryResult<usize> {
    diesel::sql_query(format!("UPDATE accounts SET sum = sum + 1 WHERE id = {id}")).execute(conn)
}

type Work = fn(&mut TestConnection) -> Result<(), BoxError>;

/// In the work of [`in_a_deadlock`], its last step.
fn run_into_it(conn: &mut TestConnection) -> QueryResult<usize> {
    write_to_account(conn, 2)
}

/// The error as the source of another.
fn wrapped(error: BoxError) -> BoxError {
    #[derive(Debug, thiserror::Error)]
    #[error("the booking failed")]
    struct NotBooked(#[source] BoxError);
    NotBooked(error).into()
}

/// The job "a", whose work gets into a deadlock, and is the one to be refused.
fn in_a_deadlock(
    speak: fn(&mut TestConnection),
    work: Work,
) -> (TestDb, TestPool, Result<(), Error>) {
    let db = TestDb::with_table(LEDGER);
    db.sql("CREATE TABLE accounts (id INTEGER NOT NULL PRIMARY KEY, sum INTEGER NOT NULL)");
    for id in 1..=50 {
        db.sql(&format!("INSERT INTO accounts VALUES ({id}, 0)"));
    }
    let pool = pool_with(db.url(), 1, move |conn| {
        speak(conn);
        sessions::loses_deadlocks(conn);
    });
    Job::create_and_save(&pool, "a", data(json!("old"))).unwrap();
    let mut other = TestConnection::establish(db.url()).unwrap();
    sessions::wins_deadlocks(&mut other);
    other
        .batch_execute("BEGIN; UPDATE accounts SET sum = sum + 1 WHERE id > 1")
        .unwrap();
    let other_session = sessions::number(&mut other);

    let mut write = None;
    let ended = Job::run_job_in_transaction(&pool, "a", |conn, job, updates| {
        *updates = data(json!("new"));
        book(conn, &job.id, 1)?;
        write_to_account(conn, 1)?;
        let other = thread::spawn(move || {
            write_to_account(&mut other, 1).unwrap();
            other.batch_execute("COMMIT").unwrap();
        });
        while !sessions::waits(&mut db.conn(), other_session) && !other.is_finished() {}
        write = Some(other);
        work(conn)
    });
    write.unwrap().join().unwrap();
    (db, pool, ended)
}

/// Holds that it is the deadlock.
fn deadlock(result: QueryResult<usize>) -> BoxError {
    let error = result.unwrap_err();
    assert!(
        error.to_string().to_lowercase().contains("deadlock"),
        "{error}"
    );
    error.into()
}

#[test]
fn a_deadlock_that_is_passed_on_is_no_failed_attempt() {
    let works: [Work; 3] = [
        |conn| Err(deadlock(run_into_it(conn))),
        |conn| Err(wrapped(deadlock(run_into_it(conn)))),
        |conn| conn.transaction(|conn| Err(deadlock(run_into_it(conn)))),
    ];
    for speak in sessions::LANGUAGES {
        for work in works {
            let (db, pool, ended) = in_a_deadlock(speak, work);

            assert_released(&db, ended);
            assert_pool_is_sound(&db, &pool);
        }
    }
}

#[test]
fn a_deadlock_that_is_ignored_is_a_failed_attempt_and_nothing_is_written() {
    let works: [Work; 5] = [
        |conn| Ok(drop(deadlock(run_into_it(conn)))),
        |conn| {
            deadlock(run_into_it(conn));
            let _ = book(conn, "a", 2);
            let _ = book(conn, "a", 3);
            Ok(())
        },
        |conn| {
            deadlock(run_into_it(conn));
            let _ = conn.transaction(|conn| book(conn, "a", 2));
            let _ = book(conn, "a", 3);
            Ok(())
        },
        |conn| {
            deadlock(run_into_it(conn));
            let _ = book(conn, "a", 2);
            Err("no paper".into())
        },
        |conn| {
            let ran = conn.batch_execute("UPDATE accounts SET sum = sum + 1 WHERE id = 2");
            deadlock(ran.map(|()| 1));
            let _ = book(conn, "a", 2);
            Ok(())
        },
    ];
    for speak in sessions::LANGUAGES {
        for work in works {
            let (db, pool, ended) = in_a_deadlock(speak, work);

            assert_failed(&db, ended);
            assert_pool_is_sound(&db, &pool);
        }
    }
}
