//! Throttling, errors of the server, lines that break.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dynamodb_status_tracker::blocking::BlockingCalls;
use dynamodb_status_tracker::{Error, StatusTracked, Table};

use super::database::{INDEX, client, other, raw, table, text, until, url};
use super::jobs::{Brief, Job, assert_err, version};
use super::proxy::{Fate, Proxy};

/// The table, and the same through a proxy by a client whose SDK tries so often.
fn harmed(attempts: u32) -> (Table, Table, Proxy) {
    let table = table();
    let proxy = Proxy::before(&url());
    let through = Table::builder(client(&proxy.url, attempts), table.name())
        .index(INDEX)
        .build();
    (table, through, proxy)
}

/// The first `times` of these operations have this fate.
fn first(times: usize, operation: &'static str, fate: Fate) -> impl FnMut(&str) -> Fate + Send {
    let mut left = times;
    move |asked| {
        if asked == operation && left > 0 {
            left -= 1;
            return fate;
        }
        Fate::Pass
    }
}

#[test]
fn a_fault_that_passes_costs_no_attempt_wherever_it_comes() {
    // With the SDK's own tries, and without.
    for attempts in [1, 3] {
        let (table, through, proxy) = harmed(attempts);
        for (n, fate) in [Fate::Throttle, Fate::Fail, Fate::CutBefore, Fate::CutAfter]
            .into_iter()
            .enumerate()
        {
            let id = n.to_string();
            proxy.decide(first(1, "PutItem", fate));
            Job::create_and_save(&through, &*id, version(0)).unwrap();
            // The claim.
            proxy.decide(first(1, "UpdateItem", fate));
            let job = Job::start(&through, &*id).unwrap();
            assert_eq!(
                text(&raw(&table, &id).unwrap(), "lock"),
                job.token(),
                "{fate:?}"
            );
            proxy.decide(first(1, "UpdateItem", fate));
            job.renew().unwrap();
            // The outcome.
            proxy.decide(first(1, "UpdateItem", fate));
            job.succeed().unwrap();
            proxy.decide(first(1, "GetItem", fate));
            let job = Job::find(&through, &*id).unwrap().unwrap();
            assert_eq!((job.status, job.retry), (40, 0), "{fate:?}");
            proxy.decide(first(1, "UpdateItem", fate));
            Job::reset(&through, &*id).unwrap();
            proxy.decide(first(1, "UpdateItem", fate));
            let job = Job::claim_next(&through, 1).unwrap().pop().unwrap();
            proxy.decide(first(1, "UpdateItem", fate));
            job.fail("no").unwrap();
            let job = Job::find(&table, &*id).unwrap().unwrap();
            assert_eq!((job.status, job.retry), (30, 1), "{fate:?}");
            Job::start(&table, &*id).unwrap().succeed().unwrap();
        }
    }
}

#[test]
fn throttling_that_lasts_is_told_from_an_error_and_the_job_is_as_it_was() {
    let (table, through, proxy) = harmed(1);
    Job::create_and_save(&table, "a", version(0)).unwrap();
    proxy.decide(|_| Fate::Throttle);
    let error = Job::start(&through, "a").unwrap_err();
    assert!(error.to_string().contains("raise the capacity"), "{error}");
    assert_err!(Err::<(), _>(error), Error::Throttled { .. });
    proxy.decide(|_| Fate::Fail);
    let error = Job::start(&through, "a").unwrap_err();
    assert!(
        error
            .to_string()
            .contains("InternalServerError: by the proxy"),
        "{error}"
    );
    assert_err!(Err::<(), _>(error), Error::Database { .. });
    assert_eq!(Job::find(&table, "a").unwrap().unwrap().status, 10);
}

#[test]
fn a_server_that_stays_away_is_an_error_and_the_job_recovers_by_expiry() {
    let (table, through, proxy) = harmed(1);
    Brief::create_and_save(&table, "a", version(0)).unwrap();
    let job = Brief::start(&through, "a").unwrap();
    proxy.decide(|_| Fate::CutBefore);
    assert_err!(job.succeed(), Error::Database { .. });
    proxy.decide(|_| Fate::Pass);
    let other = other(&table).build();
    until("the job runs again", || {
        Brief::run_job(&other, "a", |_, _| Ok(())).is_ok()
    });
}

#[test]
fn an_outcome_that_was_written_and_overwritten_is_unknown() {
    let (table, through, proxy) = harmed(1);
    Job::create_and_save(&table, "a", version(0)).unwrap();
    let job = Job::start(&through, "a").unwrap();
    let direct = table.clone();
    let mut cut = false;
    // The answer is lost, and before the next try another attempt has had the job.
    proxy.decide(move |operation| {
        if operation != "UpdateItem" {
            return Fate::Pass;
        }
        if cut {
            Job::reset(&direct, "a").unwrap();
            Job::start(&direct, "a").unwrap().succeed().unwrap();
            return Fate::Pass;
        }
        cut = true;
        Fate::CutAfter
    });
    assert_err!(job.succeed(), Error::OutcomeUnknown { .. });
}

#[test]
fn an_outcome_that_the_sdk_itself_has_sent_twice_is_unknown_too() {
    let (table, through, proxy) = harmed(3);
    Job::create_and_save(&table, "a", version(0)).unwrap();
    let job = Job::start(&through, "a").unwrap();
    let direct = table.clone();
    let mut updates = 0;
    proxy.decide(move |operation| {
        updates += usize::from(operation == "UpdateItem");
        match updates {
            1 => Fate::CutAfter,
            2 => {
                updates += 1;
                Job::reset(&direct, "a").unwrap();
                Job::start(&direct, "a").unwrap().succeed().unwrap();
                Fate::Pass
            }
            _ => Fate::Pass,
        }
    });
    assert_err!(job.succeed(), Error::OutcomeUnknown { .. });
}

/// The first update is applied and its answer lost; the next `denied` are refused for
/// good.
fn lost_and_denied(denied: usize) -> impl FnMut(&str) -> Fate + Send {
    let mut updates = 0;
    move |operation| {
        updates += usize::from(operation == "UpdateItem");
        match updates {
            _ if operation != "UpdateItem" => Fate::Pass,
            1 => Fate::CutAfter,
            n if n <= 1 + denied => Fate::Deny,
            _ => Fate::Pass,
        }
    }
}

#[test]
fn a_success_whose_answer_was_lost_is_one_although_the_next_try_is_refused_for_good() {
    // With the SDK's own tries, and without; then no write is allowed any more.
    for (n, (attempts, denied)) in [(1, 1), (3, 1), (1, 99), (3, 99)].into_iter().enumerate() {
        let (table, through, proxy) = harmed(attempts);
        let id = n.to_string();
        Job::create_and_save(&table, &*id, version(0)).unwrap();
        let job = Job::start(&through, &*id).unwrap();
        proxy.decide(lost_and_denied(denied));
        job.succeed().unwrap();
        let job = Job::find(&table, &*id).unwrap().unwrap();
        assert_eq!((job.status, job.retry), (40, 0), "{attempts} {denied}");
    }
}

#[test]
fn the_same_where_the_look_fails_and_the_next_write_tells() {
    let (table, through, proxy) = harmed(3);
    Job::create_and_save(&table, "a", version(0)).unwrap();
    let job = Job::start(&through, "a").unwrap();
    let mut updates = lost_and_denied(1);
    let mut looks = first(1, "GetItem", Fate::Deny);
    proxy.decide(move |operation| match looks(operation) {
        Fate::Pass => updates(operation),
        denied => denied,
    });
    job.succeed().unwrap();
    let job = Job::find(&table, "a").unwrap().unwrap();
    assert_eq!((job.status, job.retry), (40, 0));
}

#[test]
fn a_success_that_did_not_arrive_and_is_refused_for_good_is_a_failed_attempt() {
    let (table, through, proxy) = harmed(3);
    Job::create_and_save(&table, "a", version(0)).unwrap();
    let job = Job::start(&through, "a").unwrap();
    let mut updates = 0;
    proxy.decide(move |operation| {
        updates += usize::from(operation == "UpdateItem");
        match updates {
            _ if operation != "UpdateItem" => Fate::Pass,
            1 => Fate::CutBefore,
            2 => Fate::Deny,
            _ => Fate::Pass,
        }
    });
    assert_err!(job.succeed(), Error::Failed { .. });
    let job = Job::find(&table, "a").unwrap().unwrap();
    assert_eq!((job.status, job.retry), (30, 1));
}

#[test]
fn wherever_the_line_breaks_each_job_of_a_worker_succeeds_once() {
    let (table, through, proxy) = harmed(3);
    Job::create_many(&table, (0..60).map(|n| (n.to_string(), version(0)))).unwrap();
    let mut n = 0_usize;
    proxy.decide(move |_| {
        n += 1;
        match n % 11 {
            3 => Fate::CutAfter,
            5 => Fate::CutBefore,
            7 => Fate::Throttle,
            9 => Fate::Fail,
            _ => Fate::Pass,
        }
    });
    let runs = Arc::new(AtomicUsize::new(0));
    let summary = Job::worker(&through)
        .threads(4)
        .batch(5)
        .run_blocking_until_empty(|_, _| {
            runs.fetch_add(1, Ordering::SeqCst);
            Ok(())
        })
        .unwrap();
    assert_eq!(
        (summary.succeeded, summary.lost, summary.failed),
        (60, 0, 0)
    );
    assert_eq!(runs.load(Ordering::SeqCst), 60);
    assert_eq!(
        Job::count_by_status(&table).unwrap(),
        [(Job::SUCCEEDED, 60)]
    );
}
