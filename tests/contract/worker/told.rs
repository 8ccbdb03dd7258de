//! What a worker tells its observer.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use diesel_status_tracker::{Event, Observer, Retry, StatusTracked, Transition};

use super::jobs::{Job, Status, age_lock, row};
use super::worker::{drainable, summary};

/// What was told, with the keys as people read them.
#[derive(Clone, Default)]
pub struct Told(Arc<Mutex<Vec<(String, Transition)>>>);

impl Observer for Told {
    fn observe(&self, event: &Event<'_>) {
        assert_eq!(event.table.name(), "jobs");
        if event.transition == Transition::Started {
            assert_eq!(event.elapsed, None);
        }
        let told = (format!("{:?}", event.key.unwrap()), event.transition);
        self.0.lock().unwrap().push(told);
    }
}

impl Told {
    /// What was told of one job.
    pub fn of(&self, id: &str) -> Vec<Transition> {
        let key = format!("{id:?}");
        let told = self.0.lock().unwrap();
        let own = told.iter().filter(|(of, _)| *of == key);
        own.map(|(_, transition)| *transition).collect()
    }

    /// Asserts that a dead attempt of this job was expired, and that the next one has
    /// succeeded. Each of the two is told by a thread of its own, so that the expiry may
    /// come before, between or after the others.
    #[track_caller]
    pub fn assert_expired_and_succeeded(&self, key: &str) {
        let expired = Transition::Expired {
            retry: 1,
            ignored: false,
        };
        let (expiry, next): (Vec<_>, Vec<_>) =
            self.of(key).into_iter().partition(|t| *t == expired);
        assert_eq!(expiry, [expired]);
        assert_eq!(next, [Transition::Started, Transition::Succeeded]);
    }
}

#[test]
fn each_transition_is_reported_with_the_key_of_its_job() {
    for (threads, batch) in [(1, 1), (2, 10)] {
        let (db, pool) = drainable(5);
        std::mem::forget(Job::start(&pool, "4").unwrap());
        age_lock(&db, "4");
        let told = Told::default();
        let released = Mutex::new(false);
        let worker = Job::worker(&pool)
            .threads(threads)
            .batch(batch)
            .observer(told.clone());
        let done = worker.run_until_empty(|job, _| match &*job.id {
            "1" => Err("no paper".into()),
            "2" => panic!("no printer"),
            "3" if !std::mem::replace(&mut *released.lock().unwrap(), true) => {
                Err(Retry::release().into())
            }
            _ => Ok(()),
        });

        let expected = summary(|s| {
            (s.succeeded, s.failed, s.ignored, s.released, s.expired) = (3, 4, 2, 1, 1);
        });
        assert_eq!(done.unwrap(), expected);
        use Transition::{Failed, Ignored, Released, Started, Succeeded};
        assert_eq!(told.of("0"), [Started, Succeeded]);
        // An outcome is told once it is written. By then another thread may run, and tell
        // of, the next attempt: only one thread tells all in the order of the attempts.
        let assert_told = |id: &str, expected: &[Transition]| {
            let (mut told, mut expected) = (told.of(id), expected.to_vec());
            if threads > 1 {
                told.sort_by_key(|transition| format!("{transition:?}"));
                expected.sort_by_key(|transition| format!("{transition:?}"));
            }
            assert_eq!(told, expected, "job {id} with {threads} threads");
        };
        for id in ["1", "2"] {
            let attempts = [
                [Started, Failed { retry: 1 }],
                [Started, Failed { retry: 2 }],
                [Started, Ignored { retry: 3 }],
            ];
            assert_told(id, &attempts.concat());
        }
        assert_told("3", &[Started, Released, Started, Succeeded]);
        told.assert_expired_and_succeeded("4");
    }
}

#[test]
fn an_outcome_is_reported_after_it_is_written() {
    let (db, pool) = drainable(3);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let db = Arc::new(db);
    let worker = Job::worker(&pool).threads(1).batch(3).observer({
        let (db, seen) = (Arc::clone(&db), Arc::clone(&seen));
        move |event: &Event<'_>| {
            let id = format!("{:?}", event.key.unwrap());
            let status = row(&db, id.trim_matches('"')).status;
            seen.lock().unwrap().push((event.transition, status));
        }
    });
    worker.run_until_empty(|_, _| Ok(())).unwrap();

    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 6);
    for (transition, status) in &*seen {
        let expected = match transition {
            Transition::Started => Status::InProgress,
            _ => Status::Succeeded,
        };
        assert_eq!(*status, expected, "{transition:?}");
    }
}

#[test]
fn the_time_that_a_job_took_is_reported_with_its_outcome() {
    let (_db, pool) = drainable(1);
    let took = Arc::new(Mutex::new(Duration::ZERO));
    let told = Arc::clone(&took);
    let worker = Job::worker(&pool).observer(move |event: &Event<'_>| {
        *told.lock().unwrap() = event.elapsed.unwrap_or_default();
    });
    let within = Mutex::new(Duration::ZERO);
    worker
        .run_until_empty(|_, _| {
            let begun = std::time::Instant::now();
            while begun.elapsed().is_zero() {}
            Ok(*within.lock().unwrap() = begun.elapsed())
        })
        .unwrap();

    assert!(*took.lock().unwrap() >= within.into_inner().unwrap());
}

#[test]
fn an_observer_that_panics_does_no_harm() {
    for (threads, batch) in [(1, 1), (2, 4)] {
        let (db, pool) = drainable(10);
        std::mem::forget(Job::start(&pool, "0").unwrap());
        age_lock(&db, "0");
        let worker = Job::worker(&pool).threads(threads).batch(batch);
        let worker = worker.observer(|event: &Event<'_>| panic!("{event:?}"));

        let done = worker.run_until_empty(|_, _| Ok(()));

        assert_eq!(
            done.unwrap(),
            summary(|s| (s.succeeded, s.expired) = (10, 1))
        );
    }
}
