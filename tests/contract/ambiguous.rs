//! Answers that are lost, and a row that changes before the tracker can look.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use diesel::connection::{Connection as _, InstrumentationEvent, SimpleConnection};
use diesel::prelude::*;
use diesel_status_tracker::{Error, RunningJob, StatusTracked};
use serde_json::json;

use super::database::{TestConnection, TestDb, TestPool, pool_at};
use super::generated::{Mail, all, generated_mails, to};
use super::jobs::{Job, JobUpdates, Status, assert_names, data, history, jobs, row};
use super::own_statements::{CLAIM, CLAIM_NEXT};
use super::pools::{Event, Log, pool_with};
use super::proxy::{Proxy, Turn};
use super::sessions;

type Attempt = RunningJob<Job, TestConnection>;

/// A step for which every lock expires at once.
struct Hasty;
step! { Hasty on Job { const LOCK_EXPIRE: Duration = Duration::from_millis(1); } }

/// How our attempt ends.
type Finish = fn(Attempt) -> Result<(), Error>;
const SUCCEED: Finish = |mut attempt| {
    attempt.updates = data(json!("ours"));
    attempt.succeed()
};
const FAIL: Finish = |attempt| attempt.fail("ours");

/// What others do to the row meanwhile.
type Meanwhile = fn(&TestDb, &TestPool);

struct Scene {
    db: Arc<TestDb>,
    proxy: Proxy,
    pool: TestPool,
}

impl Scene {
    /// The job "a", and a pool whose one connection has prepared all that an
    /// attempt runs, so that the next answer is the answer to its effect.
    fn new() -> Self {
        let db = Arc::new(TestDb::new());
        let proxy = Proxy::to(db.url());
        let pool = pool_at(proxy.url(), 1, Duration::from_secs(30));
        for (id, finish) in [("b", SUCCEED), ("c", FAIL)] {
            Job::create_and_save(&pool, id, JobUpdates::default()).unwrap();
            finish(Job::start(&pool, id).unwrap()).unwrap();
        }
        Job::create_and_save(&pool, "a", data(json!("old"))).unwrap();
        Self { db, proxy, pool }
    }

    /// Cuts the next turn, and has others act before anybody can look; they
    /// leave the row that the return value will hold.
    fn cut(&self, turn: Turn, meanwhile: Meanwhile) -> Arc<Mutex<Option<Job>>> {
        let (db, left) = (Arc::clone(&self.db), Arc::new(Mutex::new(None)));
        let leave = Arc::clone(&left);
        self.proxy.cut(turn, 1);
        self.proxy.before_next_connection(move || {
            meanwhile(&db, &db.pool(1));
            *leave.lock().unwrap() = Job::find(&db.pool(1), "a").unwrap();
        });
        left
    }
}

/// Another attempt, which does not end.
fn hold(pool: &TestPool) {
    std::mem::forget(Job::start(pool, "a").unwrap());
}

fn run(pool: &TestPool) {
    Job::run_job(pool, "a", |_, updates| Ok(*updates = data(json!("theirs")))).unwrap();
}

fn expire(db: &TestDb, pool: &TestPool) {
    let held = row(db, "a");
    while Hasty::expire_locks(pool).unwrap() == 0 {}
    assert_eq!(row(db, "a").lock_at, held.lock_at);
}

#[test]
fn an_outcome_that_was_written_and_overwritten_is_unknown() {
    let overwritten: [Meanwhile; 4] = [
        |_, pool| Job::reset(pool, "a").unwrap(),
        |_, pool| {
            Job::reset(pool, "a").unwrap();
            hold(pool);
        },
        |_, pool| {
            Job::reset(pool, "a").unwrap();
            run(pool);
        },
        |db, _| db.sql("DELETE FROM jobs WHERE id = 'a'"),
    ];
    for finish in [SUCCEED, FAIL] {
        for meanwhile in overwritten {
            let scene = Scene::new();
            let attempt = Job::start(&scene.pool, "a").unwrap();
            let left = scene.cut(Turn::Answer, meanwhile);

            let error = finish(attempt).unwrap_err();

            assert_err!(error, OutcomeUnknown);
            assert_names(&error, "a");
            assert_eq!(Job::find(&scene.pool, "a").unwrap(), *left.lock().unwrap());
        }
    }
}

#[test]
fn a_success_that_was_not_written_before_its_lock_expired_is_lock_lost() {
    let scene = Scene::new();
    let attempt = Job::start(&scene.pool, "a").unwrap();
    let left = scene.cut(Turn::Request, expire);

    let error = SUCCEED(attempt).unwrap_err();

    assert_err!(error, LockLost);
    assert_names(&error, "a");
    let job = row(&scene.db, "a");
    assert_eq!(Some(&job), left.lock().unwrap().as_ref());
    assert_eq!((job.status, job.retry), (Status::Failed, 1));
    assert!(history(&job)[0].contains("lock expired"));
}

#[test]
fn an_outcome_that_was_not_written_before_another_attempt_is_no_success() {
    let overtaken: [Meanwhile; 2] = [
        |db, pool| {
            expire(db, pool);
            hold(pool);
        },
        |db, pool| {
            expire(db, pool);
            run(pool);
        },
    ];
    for finish in [SUCCEED, FAIL] {
        for meanwhile in overtaken {
            let scene = Scene::new();
            let attempt = Job::start(&scene.pool, "a").unwrap();
            let left = scene.cut(Turn::Request, meanwhile);

            let error = finish(attempt).unwrap_err();

            assert_err!(error, OutcomeUnknown);
            let job = row(&scene.db, "a");
            assert_eq!(Some(&job), left.lock().unwrap().as_ref());
            assert_eq!(history(&job).len(), 1, "the expiry, and nothing of ours");
        }
    }
}

#[test]
fn a_claim_whose_answer_is_lost_and_that_has_expired_belongs_to_others() {
    let overtaken: [(Meanwhile, fn(&Error) -> bool); 2] = [
        (
            |db, pool| {
                expire(db, pool);
                hold(pool);
            },
            |error| matches!(error, Error::Locked { .. }),
        ),
        (
            |db, pool| {
                expire(db, pool);
                run(pool);
            },
            |error| matches!(error, Error::AlreadySucceeded { .. }),
        ),
    ];
    for (meanwhile, is_expected) in overtaken {
        let scene = Scene::new();
        let left = scene.cut(Turn::Answer, meanwhile);

        let error = Job::start(&scene.pool, "a").unwrap_err();

        assert!(is_expected(&error), "{error:?}");
        let job = row(&scene.db, "a");
        assert_eq!(Some(&job), left.lock().unwrap().as_ref());
        assert_eq!(history(&job).len(), 1, "our claim expired");
    }
}

/// The tokens in a statement with its values: nothing else in it is so long.
fn tokens(text: &str) -> impl Iterator<Item = String> {
    let is_of_token = |c: char| c.is_ascii_hexdigit();
    let words = text.split(move |c| !is_of_token(c));
    words.filter(|word| word.len() == 32).map(str::to_owned)
}

/// What was sent before may still land, after the job was another's meanwhile.
#[test]
fn a_claim_that_is_sent_again_has_another_token() {
    let by_key: fn(&TestPool) -> Attempt = |pool| Job::start(pool, "a").unwrap();
    let next: fn(&TestPool) -> Attempt = |pool| Job::claim_next(pool, 1).unwrap().remove(0);
    for (claim, statements) in [(by_key, CLAIM), (next, CLAIM_NEXT)] {
        let db = TestDb::new();
        let proxy = Proxy::to(db.url());
        let sent = Arc::new(Mutex::new(Vec::new()));
        let writes = Arc::clone(&sent);
        let pool = pool_with(proxy.url(), 1, move |conn| {
            let writes = Arc::clone(&writes);
            conn.set_instrumentation(move |event: InstrumentationEvent<'_>| {
                if let InstrumentationEvent::StartQuery { query, .. } = event {
                    let text = query.to_string();
                    if text.contains(" SET ") {
                        writes.lock().unwrap().extend(tokens(&text));
                    }
                }
            });
        });
        Job::create_and_save(&pool, "a", JobUpdates::default()).unwrap();
        claim(&pool).fail("to prepare all statements").unwrap();
        sent.lock().unwrap().clear();

        let is_write = |verb: &&str| ["UPDATE", "WITH"].contains(verb);
        let write = statements.iter().position(is_write).unwrap() + 1;
        proxy.cut(Turn::Request, write);
        let attempt = claim(&pool);

        assert!(!proxy.spare());
        let sent = sent.lock().unwrap().clone();
        assert_eq!(sent.len(), 2, "{sent:?}");
        assert_ne!(sent[0], sent[1]);
        assert_eq!(attempt.token(), sent[1]);
        assert_eq!(row(&db, "a").lock.as_ref(), Some(&sent[1]));
        attempt.succeed().unwrap();
    }
}

#[test]
fn an_outcome_that_the_server_still_writes_when_the_line_breaks_is_no_lock_lost() {
    for (finish, status) in [(SUCCEED, Status::Succeeded), (FAIL, Status::Failed)] {
        let db = Arc::new(TestDb::new());
        let proxy = Proxy::to(db.url());
        // Another's transaction holds the first try up, until the second has
        // found the job still held, and is about to write.
        let planned = Arc::new(Mutex::new(None::<TestConnection>));
        let pool = {
            let (db, planned) = (Arc::clone(&db), Arc::clone(&planned));
            pool_with(proxy.url(), 1, move |conn| {
                let (db, planned, mut has_looked) = (Arc::clone(&db), Arc::clone(&planned), false);
                Log::default().watch_and(conn, move |event| {
                    let Event::Started(sql) = event else { return };
                    has_looked |= sql.starts_with("SELECT") && sql.contains("lock_at");
                    if sql.starts_with("UPDATE")
                        && has_looked
                        && let Some(mut other) = planned.lock().unwrap().take()
                    {
                        other.batch_execute("ROLLBACK").unwrap();
                        while row(&db, "a").status != status {}
                    }
                });
            })
        };
        Job::create_and_save(&pool, "a", data(json!("old"))).unwrap();
        let attempt = Job::start(&pool, "a").unwrap();
        let tracker = sessions::number(&mut pool.get().unwrap());
        let mut other = TestConnection::establish(db.url()).unwrap();
        other.batch_execute("BEGIN").unwrap();
        diesel::update(jobs::table.find("a"))
            .set(jobs::data.eq(json!("theirs")))
            .execute(&mut other)
            .unwrap();

        std::thread::scope(|scope| {
            let ended = scope.spawn(|| finish(attempt));
            while !sessions::waits(&mut db.conn(), tracker) && !ended.is_finished() {}
            *planned.lock().unwrap() = Some(other);
            proxy.cut_all();
            ended.join().unwrap().unwrap();
        });

        let job = row(&db, "a");
        assert_eq!((job.status, job.lock), (status, None));
        assert!(planned.lock().unwrap().is_none());
    }
}

/// Creates jobs, holds that an answer that says that there are none, or all, is
/// true, and returns whether it said that there are all.
fn create_many(scene: &Scene, count: i64) -> bool {
    let rows = (0..count).map(|n| (format!("many {n}"), JobUpdates::default()));
    let created = Job::create_many(&scene.pool, rows);

    let many = jobs::table.filter(jobs::id.like("many%")).count();
    let stand: i64 = many.get_result(&mut *scene.db.conn()).unwrap();
    match created {
        Ok(created) => assert_eq!((i64::try_from(created), stand), (Ok(count), count)),
        Err(Error::Database { .. }) => assert_eq!(stand, 0),
        Err(Error::OutcomeUnknown { .. }) => assert!([0, count].contains(&stand)),
        Err(ref other) => panic!("{other:?}"),
    }
    created.is_ok()
}

#[test]
fn many_are_all_created_or_none_or_the_outcome_is_unknown() {
    for turn in [Turn::Request, Turn::Answer] {
        let mut done = 0;
        for n in 1.. {
            let scene = Scene::new();
            scene.proxy.cut(turn, n);
            done += u32::from(create_many(&scene, 2));
            if scene.proxy.spare() {
                break;
            }
        }
        // Where a try was lost and all are new, none of them is of that try.
        assert!(done > 1);
    }
}

#[test]
fn more_rows_than_can_be_retried_are_all_created_or_none_or_the_outcome_is_unknown() {
    const MORE: i64 = 10_600;
    let scene = Scene::new();
    let before = scene.proxy.requests();
    create_many(&scene, MORE);
    let last = scene.proxy.requests() - before;
    for turn in [Turn::Request, Turn::Answer] {
        let scene = Scene::new();
        scene.proxy.cut(turn, last);
        create_many(&scene, MORE);
        assert!(!scene.proxy.spare());
    }
}

#[test]
fn a_row_without_its_key_is_created_once_or_its_outcome_is_unknown() {
    let mut unknown = 0;
    for turn in [Turn::Request, Turn::Answer] {
        for n in 1.. {
            let db = generated_mails();
            let proxy = Proxy::to(db.url());
            let pool = pool_at(proxy.url(), 1, Duration::from_secs(30));
            // All statements are prepared.
            Mail::create(&pool, to("grace")).unwrap();
            proxy.cut(turn, n);

            let created = Mail::create(&pool, to("ada"));

            let ada = all(&db).len() - 1;
            match created {
                Ok(mail) => assert_eq!((all(&db).last(), ada), (Some(&mail), 1)),
                Err(Error::OutcomeUnknown { .. }) => {
                    unknown += 1;
                    assert!(ada <= 1);
                }
                Err(ref other) => panic!("{other:?}"),
            }
            if proxy.spare() {
                break;
            }
        }
    }
    assert!(unknown > 0);
}

#[test]
fn through_a_connection_that_breaks_a_row_without_its_key_is_not_said_to_be_missing() {
    let db = generated_mails();
    let proxy = Proxy::to(db.url());
    let mut conn = TestConnection::establish(proxy.url()).unwrap();
    Mail::create(&mut conn, to("grace")).unwrap();
    let before = proxy.requests();
    Mail::create(&mut conn, to("grace")).unwrap();
    let last = proxy.requests() - before;

    proxy.cut(Turn::Answer, last);
    let error = Mail::create(&mut conn, to("ada")).unwrap_err();

    assert!(!proxy.spare());
    assert_err!(error, OutcomeUnknown);
    assert_eq!(all(&db).len(), 3);
}
