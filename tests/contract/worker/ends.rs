//! Ends that the database does not take: of one job, or of all.

use std::thread;
use std::time::Duration;

use diesel_status_tracker::StatusTracked;

use super::backend::{REFUSAL_IS_OVER, conflict, refusal};
use super::database::TestDb;
use super::jobs::{Job, Status, history, row};
use super::pools::{Event, Log, pool_with};
use super::worker::{Runs, create, drainable, summary, until};

/// A step whose jobs are attempted once.
struct Once;
step! { Once on Job { const MAX_RETRY: i32 = 1; } }

fn assert_that_the_bad_one_fails_and_the_others_land(batch: usize) {
    let (db, pool) = drainable(4);
    db.sql(&conflict("NEW.id = '1' AND NEW.status = 40"));
    let runs = Runs::default();

    let worker = Once::worker(&pool).threads(1).batch(batch);
    let done = worker.run_until_empty(|job, _| {
        runs.add(&job.id);
        Ok(())
    });

    assert_eq!(
        done.unwrap(),
        summary(|s| (s.succeeded, s.ignored) = (3, 1))
    );
    runs.assert_once_each(&db);
    let bad = row(&db, "1");
    assert_eq!((bad.status, &bad.lock), (Status::Ignored, &None));
    assert_eq!(history(&bad).len(), 1);
}

#[test]
fn an_outcome_of_a_group_that_is_always_rolled_back_is_the_jobs_own_failure() {
    assert_that_the_bad_one_fails_and_the_others_land(4);
}

#[test]
fn a_lone_outcome_that_is_always_rolled_back_is_the_jobs_own_failure() {
    assert_that_the_bad_one_fails_and_the_others_land(1);
}

/// A step whose locks expire soon.
struct Brief;
step! { Brief on Job { const LOCK_EXPIRE: Duration = Duration::from_secs(1); } }

#[test]
fn a_row_that_refuses_every_write_does_not_stop_the_worker() {
    for batch in [1, 4] {
        let (db, pool) = drainable(4);
        let refused = "NEW.id = '1' AND OLD.status = 20";
        db.sql(&refusal("UPDATE ON jobs", refused, "it is closed"));
        let runs = Runs::default();

        let worker = Brief::worker(&pool).threads(1).batch(batch);
        let done = worker.run_until_empty(|job, _| {
            runs.add(&job.id);
            Ok(())
        });

        let done = done.unwrap();
        assert_eq!((done.succeeded, done.lost), (3, 1), "{done}");
        runs.assert_once_each(&db);
    }
}

#[test]
fn no_job_begins_and_no_outcome_is_dropped_while_the_database_takes_no_write() {
    const TEXT: &str = "there is no room left";
    for batch in [1, 5] {
        let (db, log, runs) = (TestDb::new(), Log::default(), Runs::default());
        let watched = log.clone();
        let pool = pool_with(db.url(), 2, move |conn| watched.watch(conn));
        create(&pool, 5);

        let (begun, done) = thread::scope(|scope| {
            let work = scope.spawn(|| {
                // The end of each job is tried before the next begins.
                let worker = Job::worker(&pool).threads(1).batch(batch);
                worker
                    .finish_within(Duration::ZERO)
                    .run_until_empty(|job, _| {
                        if runs.counts().is_empty() {
                            db.sql(&refusal("UPDATE ON jobs", "OLD.status = 20", TEXT));
                        }
                        runs.add(&job.id);
                        Ok(())
                    })
            });
            let is_refused = |event: &Event| matches!(event, Event::Failed(text) if text == TEXT);
            let mut refused = 0;
            until("more tries than one job gets", || {
                refused += log.take().iter().filter(|event| is_refused(event)).count();
                refused >= 5
            });
            let begun = runs.counts().len();
            db.sql(REFUSAL_IS_OVER);
            (begun, work.join().unwrap())
        });

        assert_eq!(begun, 1);
        assert_eq!(done.unwrap(), summary(|s| s.succeeded = 5));
        runs.assert_once_each(&db);
    }
}
