//! When a worker ends: at the last look, or when it is shut down.

use super::*;

#[test]
fn a_worker_does_not_end_before_it_has_searched_for_dead_attempts() {
    let now = Instant::now();
    let until_empty = Settings {
        until_empty: true,
        ..settings()
    };
    let mut scheduler = TestScheduler::new(until_empty, now);
    assert_eq!(worker_thread(&mut scheduler, now), QUIET);
    scheduler.end_claim(QUIET_CLAIM, Found::Nothing, now);
    assert_eq!(worker_thread(&mut scheduler, now), Task::Wait(None));
    assert!(!scheduler.is_over());
    // It has found one, and expired it.
    scheduler.poll(now);
    scheduler.end_expiry(now);
    assert_eq!(worker_thread(&mut scheduler, now), QUIET);
    scheduler.end_claim(QUIET_CLAIM, Found::Nothing, now);
    assert!(scheduler.is_over());
}

#[test]
fn a_worker_ends_when_nothing_is_ready_and_nothing_in_progress() {
    let until_empty = Settings {
        until_empty: true,
        ..settings()
    };
    let (mut scheduler, now) = with_jobs(until_empty, &["a"], Found::Few);
    assert_eq!(worker_thread(&mut scheduler, now), Task::Run("a"));
    // That another thread finds nothing now does not mean that "a" leads to nothing.
    assert_eq!(worker_thread(&mut scheduler, now), BUSY);
    scheduler.end_claim(BUSY_CLAIM, Found::Nothing, now);
    assert_eq!(
        worker_thread(&mut scheduler, now),
        Task::Wait(Some(1000 * MS))
    );
    scheduler.add_due("a", now);
    scheduler.ran(MS, now);
    assert!(!scheduler.is_over());
    assert_eq!(worker_thread(&mut scheduler, now), Task::Flush(vec!["a"]));
    assert!(!scheduler.is_over());
    scheduler.end_flush(now);

    // The last look comes at once.
    assert_eq!(worker_thread(&mut scheduler, now), QUIET);
    assert!(!scheduler.is_over());
    scheduler.end_claim(QUIET_CLAIM, Found::Nothing, now);
    assert!(scheduler.is_over());
    assert_eq!(worker_thread(&mut scheduler, now), Task::Stop);
    assert_eq!(flusher(&mut scheduler, now), Task::Stop);
}

#[test]
fn a_worker_does_not_end_while_a_job_is_ready_later() {
    let until_empty = Settings {
        until_empty: true,
        ..settings()
    };
    let (mut scheduler, now) = new_scheduler(until_empty);
    assert_eq!(worker_thread(&mut scheduler, now), QUIET);
    scheduler.end_claim(QUIET_CLAIM, Found::Later(now + 100 * MS), now);
    assert!(!scheduler.is_over());
    assert_eq!(
        worker_thread(&mut scheduler, now),
        Task::Wait(Some(100 * MS))
    );
}

#[test]
fn the_last_look_is_the_only_claim() {
    let until_empty = Settings {
        until_empty: true,
        ..settings()
    };
    let (mut scheduler, now) = with_jobs(until_empty, &["a"], Found::Few);
    run(&mut scheduler, MS / 2, now);
    assert_eq!(worker_thread(&mut scheduler, now), Task::Flush(vec!["a"]));
    scheduler.end_flush(now);
    scheduler.idle = 2;
    assert_eq!(worker_thread(&mut scheduler, now), QUIET);
    assert_eq!(
        worker_thread(&mut scheduler, now),
        Task::Wait(None),
        "the last look would not see what it took"
    );
    scheduler.end_claim(QUIET_CLAIM, Found::Few, now);
    assert_eq!(worker_thread(&mut scheduler, now), QUIET);
}

#[test]
fn a_claim_that_ends_after_the_last_job_does_not_delay_the_last_look() {
    let until_empty = Settings {
        until_empty: true,
        ..settings()
    };
    let later = Found::Later(Instant::now() + 1000 * MS);
    for found in [Found::Nothing, later] {
        let (mut scheduler, now) = with_jobs(until_empty.clone(), &["a"], Found::Few);
        run(&mut scheduler, MS, now);
        assert_eq!(worker_thread(&mut scheduler, now), Task::Flush(vec!["a"]));
        assert_eq!(worker_thread(&mut scheduler, now), BUSY);
        scheduler.end_flush(now);
        scheduler.end_claim(BUSY_CLAIM, found, now);
        assert_eq!(worker_thread(&mut scheduler, now), QUIET);
    }
}

#[test]
fn endless_waits_and_batches_do_not_overflow() {
    let endless = Settings {
        batch: usize::MAX,
        poll_every: Duration::MAX,
        poll_first: Duration::MAX,
        finish_within: Duration::MAX,
        ..settings()
    };
    let (mut scheduler, now) = with_jobs(endless, &["a", "b"], Found::Few);
    run(&mut scheduler, MS, now);
    assert!(matches!(flusher(&mut scheduler, now), Task::Wait(Some(_))));
    scheduler.idle = 2;
    run(&mut scheduler, MS, now);
    assert_eq!(
        worker_thread(&mut scheduler, now),
        Task::Flush(vec!["a", "b"])
    );
    scheduler.postpone("a", Duration::MAX, now);
    scheduler.ready_at(now);
    scheduler.end_flush(now);
    scheduler.poll(now);
    for _ in 0..3 {
        assert!(matches!(
            worker_thread(&mut scheduler, now),
            Task::Claim(_) | Task::Wait(_)
        ));
    }
    scheduler.fail_claim(BUSY_CLAIM, Duration::MAX, now);
    assert!(matches!(
        worker_thread(&mut scheduler, now),
        Task::Wait(Some(_))
    ));
}

#[test]
fn a_job_that_becomes_ready_during_the_last_look_is_found() {
    let until_empty = Settings {
        until_empty: true,
        ..settings()
    };
    let (mut scheduler, now) = new_scheduler(until_empty);
    assert_eq!(worker_thread(&mut scheduler, now), QUIET);
    scheduler.poll(now);
    scheduler.end_claim(QUIET_CLAIM, Found::Nothing, now);
    assert!(!scheduler.is_over());
    assert_eq!(worker_thread(&mut scheduler, now), QUIET);
}

#[test]
fn a_worker_without_an_end_waits_for_jobs() {
    let (scheduler, _) = with_jobs(settings(), &[], Found::Nothing);
    assert!(!scheduler.is_over());
}

#[test]
fn a_shutdown_releases_waiting_jobs_and_finishes_running_ones() {
    let (mut scheduler, now) = with_jobs(settings(), &["a", "b", "c"], Found::Enough);
    assert_eq!(worker_thread(&mut scheduler, now), Task::Run("a"));
    assert_eq!(scheduler.shut_down(), ["b", "c"]);
    assert!(scheduler.is_shutting_down());

    for job in ["b", "c"] {
        scheduler.add_due(job, now);
    }
    assert_eq!(
        flusher(&mut scheduler, now),
        Task::Flush(vec!["b", "c"]),
        "at once"
    );
    scheduler.end_flush(now);
    assert_eq!(
        worker_thread(&mut scheduler, now),
        Task::Wait(None),
        "no more is claimed"
    );
    assert!(!scheduler.is_over(), "one still runs");

    scheduler.add_due("a", now);
    scheduler.ran(MS, now);
    assert_eq!(worker_thread(&mut scheduler, now), Task::Flush(vec!["a"]));
    scheduler.end_flush(now);
    assert_eq!(worker_thread(&mut scheduler, now), Task::Stop);
    assert_eq!(flusher(&mut scheduler, now), Task::Stop);
}

#[test]
fn a_shutdown_waits_for_a_claim_in_progress() {
    let (mut scheduler, now) = new_scheduler(settings());
    assert_eq!(worker_thread(&mut scheduler, now), QUIET);
    assert!(scheduler.shut_down().is_empty());
    assert_eq!(flusher(&mut scheduler, now), Task::Wait(None));
    scheduler.end_claim(QUIET_CLAIM, Found::Enough, now);
    assert_eq!(flusher(&mut scheduler, now), Task::Stop);
}
