//! What wakes a worker that waits, and for how long it waits.

use super::*;

#[test]
fn a_call_of_this_process_causes_a_claim_at_once() {
    let (mut scheduler, now) = with_jobs(settings(), &[], Found::Nothing);
    assert_eq!(
        worker_thread(&mut scheduler, now),
        Task::Wait(Some(1000 * MS))
    );
    scheduler.ring(now + MS);
    assert_eq!(worker_thread(&mut scheduler, now + MS), QUIET);
    scheduler.end_claim(QUIET_CLAIM, Found::Few, now + MS);
}

#[test]
fn calls_that_lead_to_no_job_cause_few_claims() {
    let (mut scheduler, now) = with_jobs(settings(), &[], Found::Nothing);
    // Each millisecond, as those of another database would, for ten seconds.
    let mut claims = 0;
    for n in 0..10_000 {
        let now = now + n * MS;
        scheduler.ring(now);
        if worker_thread(&mut scheduler, now) == QUIET {
            claims += 1;
            scheduler.end_claim(QUIET_CLAIM, Found::Nothing, now);
        }
    }
    // Its own looks are ten of them.
    assert!((10..50).contains(&claims), "{claims}");

    // The next call is heard all the same, after a pause.
    let now = now + 10_000 * MS;
    scheduler.ring(now);
    let Task::Wait(Some(pause)) = worker_thread(&mut scheduler, now) else {
        panic!("no pause");
    };
    assert!(pause <= 1000 * MS, "{pause:?}");
    let now = now + pause;
    assert_eq!(worker_thread(&mut scheduler, now), QUIET);
    scheduler.end_claim(QUIET_CLAIM, Found::Few, now);
    assert_eq!(worker_thread(&mut scheduler, now), QUIET);
    scheduler.end_claim(QUIET_CLAIM, Found::Nothing, now);
    scheduler.ring(now);
    assert_eq!(
        worker_thread(&mut scheduler, now),
        QUIET,
        "that was no false alarm"
    );
}

#[test]
fn no_call_shortens_the_pause_after_an_error() {
    let (mut scheduler, now) = new_scheduler(settings());
    assert_eq!(worker_thread(&mut scheduler, now), QUIET);
    scheduler.fail_claim(BUSY_CLAIM, 500 * MS, now);
    scheduler.ring(now);
    assert_eq!(
        worker_thread(&mut scheduler, now),
        Task::Wait(Some(500 * MS))
    );
    assert_eq!(worker_thread(&mut scheduler, now + 500 * MS), QUIET);
}

#[test]
fn a_worker_waits_for_the_first_of_the_jobs_that_are_due_and_forgets_none() {
    let (mut scheduler, now) = with_jobs(settings(), &[], Found::Nothing);
    for ms in [300, 200, 700] {
        scheduler.due_at(now + ms * MS);
    }
    assert_eq!(
        worker_thread(&mut scheduler, now),
        Task::Wait(Some(200 * MS))
    );
    let now = now + 200 * MS;
    assert_eq!(worker_thread(&mut scheduler, now), QUIET);
    scheduler.end_claim(QUIET_CLAIM, Found::Nothing, now);
    assert_eq!(
        worker_thread(&mut scheduler, now),
        Task::Wait(Some(100 * MS))
    );
    let now = now + 600 * MS;
    assert_eq!(worker_thread(&mut scheduler, now), QUIET);
    scheduler.end_claim(QUIET_CLAIM, Found::Nothing, now);
    assert_eq!(
        worker_thread(&mut scheduler, now),
        Task::Wait(Some(1000 * MS))
    );
}

#[test]
fn a_worker_that_runs_until_empty_does_not_wait_for_jobs_that_are_not_due() {
    let settings = Settings {
        until_empty: true,
        ..settings()
    };
    let (mut scheduler, now) = with_jobs(settings, &[], Found::Nothing);
    scheduler.due_at(now + MS);
    scheduler.ring(now);
    assert_eq!(worker_thread(&mut scheduler, now), Task::Stop);
}

/// The last look is made when nothing is in progress. Claims that overlap again and
/// again, with no pause between them, would put it off for ever.
#[test]
fn a_worker_that_runs_until_empty_makes_one_claim_at_a_time_once_few_jobs_are_left() {
    let settings = Settings {
        until_empty: true,
        poll_every: Duration::ZERO,
        poll_first: Duration::ZERO,
        ..settings()
    };
    let (mut scheduler, now) = with_jobs(settings, &["a", "b"], Found::Few);
    run(&mut scheduler, MS / 2, now);
    assert_eq!(worker_thread(&mut scheduler, now), Task::Run("b"));
    assert_eq!(worker_thread(&mut scheduler, now), Task::Flush(vec!["a"]));
    assert_eq!(worker_thread(&mut scheduler, now), BUSY);
    assert!(matches!(worker_thread(&mut scheduler, now), Task::Wait(_)));
}

/// Lets a claim find nothing, and returns how long the worker waits for the next one.
fn pause_after_nothing(scheduler: &mut TestScheduler, now: Instant) -> Duration {
    assert_eq!(worker_thread(scheduler, now), QUIET);
    scheduler.end_claim(QUIET_CLAIM, Found::Nothing, now);
    match worker_thread(scheduler, now) {
        Task::Wait(Some(pause)) => pause,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_pause_between_two_looks_follows_the_time_without_a_job() {
    let between = Settings {
        poll_first: 5 * MS,
        ..settings()
    };
    let (mut scheduler, now) = new_scheduler(between);
    for (quiet, pause) in [(0, 5), (100, 10), (3_000, 300), (60_000, 1_000)] {
        let now = now + quiet * MS;
        scheduler.poll(now);
        assert_eq!(pause_after_nothing(&mut scheduler, now), pause * MS);
    }
    let now = now + 60_000 * MS;
    scheduler.poll(now);
    assert_eq!(worker_thread(&mut scheduler, now), QUIET);
    scheduler.end_claim(QUIET_CLAIM, Found::Few, now);
    assert_eq!(pause_after_nothing(&mut scheduler, now), 5 * MS);
    // Also where something else is due later.
    let now = now + 5 * MS;
    assert_eq!(worker_thread(&mut scheduler, now), QUIET);
    scheduler.end_claim(QUIET_CLAIM, Found::Later(now + 900 * MS), now);
    assert_eq!(worker_thread(&mut scheduler, now), Task::Wait(Some(5 * MS)));
}

#[test]
fn a_worker_that_cannot_hear_looks_each_second() {
    let rarely = Settings {
        poll_every: 60_000 * MS,
        poll_first: 60_000 * MS,
        ..settings()
    };
    let (mut scheduler, now) = new_scheduler(rarely);
    scheduler.set_deaf(true);
    assert_eq!(pause_after_nothing(&mut scheduler, now), 1_000 * MS);
    scheduler.set_deaf(false);
    let now = now + 1_000 * MS;
    assert_eq!(pause_after_nothing(&mut scheduler, now), 60_000 * MS);
}

#[test]
fn the_first_look_that_finds_nothing_delays_no_other() {
    let (mut scheduler, now) = with_jobs(settings(), &[], Found::Nothing);
    scheduler.ring(now);
    assert_eq!(pause_after_nothing(&mut scheduler, now), 1_000 * MS);
    scheduler.ring(now);
    assert!(pause_after_nothing(&mut scheduler, now) > MS);
    scheduler.ring(now);
    assert!(
        matches!(worker_thread(&mut scheduler, now), Task::Wait(Some(pause)) if pause <= 10 * MS)
    );
}

/// Two claims at a time: the first began before the job was there.
fn with_two_claims() -> (TestScheduler, Instant) {
    let (mut scheduler, now) = with_jobs(settings(), &["a", "b"], Found::Few);
    run(&mut scheduler, MS / 2, now);
    assert_eq!(worker_thread(&mut scheduler, now), Task::Run("b"));
    assert_eq!(worker_thread(&mut scheduler, now), Task::Flush(vec!["a"]));
    scheduler.end_flush(now);
    assert_eq!(worker_thread(&mut scheduler, now), BUSY);
    assert_eq!(worker_thread(&mut scheduler, now), BUSY);
    (scheduler, now)
}

/// It has left more jobs, or rows that were held for a moment.
#[test]
fn after_a_claim_that_found_jobs_comes_another_whatever_an_older_claim_finds() {
    for found in [Found::Few, Found::Enough] {
        for order in [[found, Found::Nothing], [Found::Nothing, found]] {
            let (mut scheduler, now) = with_two_claims();
            for found in order {
                scheduler.end_claim(BUSY_CLAIM, found, now);
            }
            assert_eq!(worker_thread(&mut scheduler, now), BUSY, "{order:?}");
            scheduler.end_claim(BUSY_CLAIM, Found::Nothing, now);
            assert_eq!(
                worker_thread(&mut scheduler, now),
                Task::Wait(Some(1000 * MS)),
                "{order:?}"
            );
        }
    }
}

#[test]
fn the_earliest_of_two_pauses_counts() {
    for order in [
        [Found::Nothing, Found::Later(Instant::now())],
        [Found::Later(Instant::now()), Found::Nothing],
    ] {
        let (mut scheduler, now) = with_two_claims();
        for found in order {
            let found = match found {
                Found::Later(_) => Found::Later(now + 100 * MS),
                other => other,
            };
            scheduler.end_claim(BUSY_CLAIM, found, now);
        }
        assert_eq!(
            worker_thread(&mut scheduler, now),
            Task::Wait(Some(100 * MS)),
            "{order:?}"
        );
    }
}
