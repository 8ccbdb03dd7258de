//! What others do between two statements of one call.

use std::sync::{Arc, Mutex};

use diesel_status_tracker::StatusTracked;

use super::database::{TestDb, TestPool};
use super::jobs::{Job, JobUpdates, Status, age_lock, history, row};
use super::own_statements::CLAIM_NEXT;
use super::pools::{Event, Log, pool_with};

/// Work for the moment before the nth statement from now that begins with a verb.
struct Plan {
    n: usize,
    verb: &'static str,
    work: Box<dyn FnOnce() + Send>,
}

impl Plan {
    fn is_now(&mut self, event: &Event) -> bool {
        if let Event::Started(sql) = event {
            self.n -= usize::from(sql.starts_with(self.verb));
        }
        self.n == 0
    }
}

/// The jobs "a" and "b", a pool whose calls can be interrupted, and another.
pub struct Scene {
    pub db: Arc<TestDb>,
    pub pool: TestPool,
    pub other: TestPool,
    planned: Arc<Mutex<Option<Plan>>>,
}

impl Scene {
    pub fn new() -> Self {
        Self::watched_by(Log::default())
    }

    /// What the pool does is in the log.
    pub fn watched_by(log: Log) -> Self {
        let db = Arc::new(TestDb::new());
        let planned = Arc::new(Mutex::new(None::<Plan>));
        let pool = {
            let planned = Arc::clone(&planned);
            pool_with(db.url(), 1, move |conn| {
                let planned = Arc::clone(&planned);
                log.watch_and(conn, move |event| {
                    let plan = planned.lock().unwrap().take_if(|plan| plan.is_now(event));
                    if let Some(plan) = plan {
                        (plan.work)();
                    }
                });
            })
        };
        for id in ["a", "b"] {
            Job::create_and_save(&pool, id, JobUpdates::default()).unwrap();
        }
        let other = db.pool(1);
        Self {
            db,
            pool,
            other,
            planned,
        }
    }

    /// Has `work` done before the next statement that begins with `verb`.
    pub fn before(&self, verb: &'static str, work: impl FnOnce() + Send + 'static) {
        self.before_nth(1, verb, work);
    }

    /// The same before the `n`th of them.
    pub fn before_nth(&self, n: usize, verb: &'static str, work: impl FnOnce() + Send + 'static) {
        let work = Box::new(work);
        *self.planned.lock().unwrap() = Some(Plan { n, verb, work });
    }

    pub fn assert_done(&self) {
        assert!(
            self.planned.lock().unwrap().is_none(),
            "nothing came between"
        );
    }
}

#[test]
fn a_lock_that_is_renewed_at_the_last_moment_does_not_expire() {
    let scene = Scene::new();
    let attempt = Arc::new(Job::start(&scene.other, "a").unwrap());
    age_lock(&scene.db, "a");

    let renewed = Arc::clone(&attempt);
    scene.before("UPDATE", move || renewed.renew().unwrap());
    assert_eq!(Job::expire_locks(&scene.pool).unwrap(), 0);

    scene.assert_done();
    let job = row(&scene.db, "a");
    assert_eq!((job.status, job.retry), (Status::InProgress, 0));
    assert_eq!(job.lock.as_deref(), Some(attempt.token()));
    Arc::into_inner(attempt).unwrap().succeed().unwrap();
}

#[test]
fn a_job_that_ends_at_the_last_moment_does_not_expire() {
    let scene = Scene::new();
    let attempt = Job::start(&scene.other, "a").unwrap();
    age_lock(&scene.db, "a");

    scene.before("UPDATE", move || attempt.succeed().unwrap());
    assert_eq!(Job::expire_locks(&scene.pool).unwrap(), 0);

    scene.assert_done();
    let job = row(&scene.db, "a");
    assert_eq!((job.status, job.retry), (Status::Succeeded, 0));
}

#[test]
fn an_expiry_ends_only_the_attempt_that_it_has_read() {
    let scene = Scene::new();
    let first = Job::start(&scene.other, "a").unwrap();
    age_lock(&scene.db, "a");

    // At the last moment the first ends, and a second begins, and dies.
    let (db, other) = (Arc::clone(&scene.db), scene.other.clone());
    scene.before("UPDATE", move || {
        first.fail("no paper").unwrap();
        std::mem::forget(Job::start(&other, "a").unwrap());
        age_lock(&db, "a");
    });
    // It changes nothing, and the next look finds the second.
    assert_eq!(Job::expire_locks(&scene.pool).unwrap(), 1);

    scene.assert_done();
    let job = row(&scene.db, "a");
    assert_eq!((job.status, job.retry), (Status::Failed, 2));
    assert_eq!(history(&job)[1..], ["no paper"]);
}

#[test]
fn one_of_two_claims_gets_an_expired_job_and_the_expiry_counts_once() {
    let scene = Scene::new();
    std::mem::forget(Job::start(&scene.other, "a").unwrap());
    age_lock(&scene.db, "a");
    let taken = Arc::new(Mutex::new(None));

    // It claims, looks, and is about to expire the lock that it has seen.
    let (other, take) = (scene.other.clone(), Arc::clone(&taken));
    scene.before_nth(2, "UPDATE", move || {
        *take.lock().unwrap() = Some(Job::start(&other, "a").unwrap());
    });
    let error = Job::start(&scene.pool, "a").unwrap_err();

    scene.assert_done();
    assert_err!(error, Locked);
    let job = row(&scene.db, "a");
    let taken = taken.lock().unwrap().take().unwrap();
    assert_eq!(job.lock.as_deref(), Some(taken.token()));
    assert_eq!((job.retry, history(&job).len()), (1, 1));
    taken.succeed().unwrap();
}

#[test]
fn a_job_that_becomes_free_while_its_claim_is_refused_is_claimed() {
    let scene = Scene::new();
    let attempt = Job::start(&scene.other, "a").unwrap();

    // The claim has found it held; the look is going to find it free.
    scene.before("SELECT", move || attempt.fail("no paper").unwrap());
    let attempt = Job::start(&scene.pool, "a").unwrap();

    scene.assert_done();
    assert_eq!(attempt.retry, 1);
    attempt.succeed().unwrap();
}

#[test]
fn a_next_job_that_another_takes_first_is_passed_over() {
    let scene = Scene::new();
    let claim = CLAIM_NEXT.iter().find(|verb| **verb != "SELECT").unwrap();
    let run = |pool: &TestPool| Job::run_next(pool, |job, _| Ok(job.id.clone())).unwrap();

    let other = scene.other.clone();
    scene.before(claim, move || assert_eq!(run(&other).as_deref(), Some("a")));
    assert_eq!(run(&scene.pool).as_deref(), Some("b"));

    scene.assert_done();
    let counts = Job::count_by_status(&scene.pool).unwrap();
    assert_eq!(counts, [(Status::Succeeded, 2)]);
}

#[test]
fn a_last_job_that_another_takes_first_leaves_nothing() {
    let scene = Scene::new();
    Job::run_job(&scene.other, "b", |_, _| Ok(())).unwrap();
    let claim = CLAIM_NEXT.iter().find(|verb| **verb != "SELECT").unwrap();

    let other = scene.other.clone();
    scene.before(claim, move || {
        Job::run_job(&other, "a", |_, _| Ok(())).unwrap()
    });
    let nothing = Job::run_next(&scene.pool, |_, _| -> Result<(), _> { panic!("it ran") });

    scene.assert_done();
    assert_eq!(nothing.unwrap(), None);
    assert_eq!(row(&scene.db, "a").status, Status::Succeeded);
}
