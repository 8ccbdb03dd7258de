//! After what cannot be done now, a worker waits and loses nothing.

use super::*;

#[test]
fn the_next_claim_waits_when_nothing_is_ready() {
    let (mut scheduler, now) = with_jobs(settings(), &[], Found::Nothing);
    assert_eq!(
        worker_thread(&mut scheduler, now),
        Task::Wait(Some(1000 * MS))
    );
    assert_eq!(flusher(&mut scheduler, now), Task::Wait(None));
    assert_eq!(worker_thread(&mut scheduler, now + 1000 * MS), QUIET);
}

#[test]
fn a_job_that_is_ready_later_is_claimed_then() {
    let at = Duration::from_millis(100);
    let (mut scheduler, now) = new_scheduler(settings());
    assert_eq!(worker_thread(&mut scheduler, now), QUIET);
    scheduler.end_claim(QUIET_CLAIM, Found::Later(now + at), now);
    assert_eq!(worker_thread(&mut scheduler, now), Task::Wait(Some(at)));
    let now = now + at;
    assert_eq!(worker_thread(&mut scheduler, now), QUIET);

    // New jobs of others are still found after the usual pause.
    scheduler.end_claim(QUIET_CLAIM, Found::Later(now + 5000 * MS), now);
    assert_eq!(
        worker_thread(&mut scheduler, now),
        Task::Wait(Some(1000 * MS))
    );
}

#[test]
fn after_an_error_the_next_claim_waits() {
    let (mut scheduler, now) = new_scheduler(settings());
    assert_eq!(worker_thread(&mut scheduler, now), QUIET);
    scheduler.fail_claim(BUSY_CLAIM, 7 * MS, now);
    assert_eq!(worker_thread(&mut scheduler, now), Task::Wait(Some(7 * MS)));
    assert_eq!(worker_thread(&mut scheduler, now + 7 * MS), QUIET);
}

#[test]
fn a_released_job_is_claimed_after_its_pause_and_the_others_at_once() {
    let (mut scheduler, now) = with_jobs(settings(), &["a"], Found::Few);
    run(&mut scheduler, MS, now);
    scheduler.ready_at(now + 100 * MS);
    assert_eq!(worker_thread(&mut scheduler, now), Task::Flush(vec!["a"]));
    assert_eq!(
        worker_thread(&mut scheduler, now),
        BUSY,
        "others may be ready"
    );
    scheduler.end_claim(BUSY_CLAIM, Found::Nothing, now);
    scheduler.end_flush(now);
    assert_eq!(
        worker_thread(&mut scheduler, now),
        Task::Wait(Some(1000 * MS))
    );
    scheduler.ready_at(now + 100 * MS);
    assert_eq!(
        worker_thread(&mut scheduler, now),
        Task::Wait(Some(100 * MS))
    );
    assert_eq!(worker_thread(&mut scheduler, now + 100 * MS), QUIET);
}

#[test]
fn outcomes_that_could_not_be_written_do_not_wait_for_more() {
    let settings = Settings {
        finish_within: 60 * 60 * 1000 * MS,
        ..settings()
    };
    let (mut scheduler, now) = with_jobs(settings, &["a", "b"], Found::Nothing);
    run(&mut scheduler, MS, now);
    run(&mut scheduler, MS, now);
    assert_eq!(
        worker_thread(&mut scheduler, now),
        Task::Flush(vec!["a", "b"])
    );
    scheduler.fail_flush(vec!["a", "b"], 50 * MS, now);
    assert_eq!(flusher(&mut scheduler, now), Task::Wait(Some(50 * MS)));
    assert_eq!(
        flusher(&mut scheduler, now + 50 * MS),
        Task::Flush(vec!["a", "b"])
    );
}

#[test]
fn no_job_is_begun_while_no_outcome_can_be_written() {
    let (mut scheduler, now) = with_jobs(settings(), &["a", "b"], Found::Enough);
    run(&mut scheduler, MS, now);
    let late = now + 10 * MS;
    assert_eq!(flusher(&mut scheduler, late), Task::Flush(vec!["a"]));
    scheduler.fail_flush(vec!["a"], 50 * MS, late);
    assert_eq!(
        worker_thread(&mut scheduler, late),
        Task::Wait(Some(50 * MS)),
        "it does not begin \"b\""
    );
    assert_eq!(
        flusher(&mut scheduler, late),
        Task::Wait(Some(10 * MS)),
        "others may soon be due"
    );
    assert_eq!(flusher(&mut scheduler, late), Task::Wait(Some(50 * MS)));

    assert_eq!(
        flusher(&mut scheduler, late + 50 * MS),
        Task::Flush(vec!["a"])
    );
    assert_eq!(
        worker_thread(&mut scheduler, late + 50 * MS),
        Task::Wait(None)
    );
    scheduler.end_flush(late + 50 * MS);
    let late = late + 50 * MS;
    run(&mut scheduler, MS, late);
    assert_eq!(
        worker_thread(&mut scheduler, late + 10 * MS),
        Task::FlushAndClaim(vec!["b"], BUSY_CLAIM)
    );
}

#[test]
fn a_thread_without_a_job_writes_outcomes_and_claims_with_one_commit() {
    let (mut scheduler, now) = with_jobs(settings(), &["a", "b", "c", "d"], Found::Enough);
    (0..3).for_each(|_| run(&mut scheduler, MS, now));
    assert_eq!(
        worker_thread(&mut scheduler, now),
        Task::Flush(vec!["a", "b", "c"]),
        "a job waits, so nothing is claimed"
    );
    scheduler.end_flush(now);
    run(&mut scheduler, MS, now);
    let late = now + 10 * MS;
    assert_eq!(
        worker_thread(&mut scheduler, late),
        Task::FlushAndClaim(vec!["d"], BUSY_CLAIM)
    );
    assert_eq!(
        worker_thread(&mut scheduler, late),
        BUSY,
        "the jobs are quick"
    );
    scheduler.end_claim(BUSY_CLAIM, Found::Enough, late);
    scheduler.claimed(["e"]);
    scheduler.end_flush(late);
    assert_eq!(worker_thread(&mut scheduler, late), Task::Run("e"));
}

#[test]
fn an_outcome_does_not_wait_for_a_claim_that_may_find_nothing() {
    let (mut scheduler, now) = with_jobs(settings(), &["a"], Found::Few);
    run(&mut scheduler, MS, now);
    assert_eq!(worker_thread(&mut scheduler, now), Task::Flush(vec!["a"]));
}

#[test]
fn a_worker_that_shuts_down_claims_nothing_with_its_last_outcomes() {
    let (mut scheduler, now) = with_jobs(settings(), &["a"], Found::Enough);
    run(&mut scheduler, MS, now);
    scheduler.shut_down();
    assert_eq!(worker_thread(&mut scheduler, now), Task::Flush(vec!["a"]));
}

#[test]
fn after_a_commit_of_both_has_failed_they_are_made_apart_for_a_while() {
    let one = Settings {
        batch: 1,
        ..settings()
    };
    let (mut scheduler, now) = with_jobs(one, &["a", "b"], Found::Enough);
    run(&mut scheduler, MS, now);
    scheduler.keep_apart(50 * MS, now);
    assert_eq!(worker_thread(&mut scheduler, now), Task::Flush(vec!["a"]));
    scheduler.end_flush(now);
    run(&mut scheduler, MS, now);
    assert_eq!(
        worker_thread(&mut scheduler, now + 50 * MS),
        Task::FlushAndClaim(vec!["b"], claim_of(1))
    );
}

#[test]
fn an_outcome_that_waits_for_its_row_does_not_delay_others() {
    let (mut scheduler, now) = with_jobs(settings(), &["a", "b"], Found::Few);
    run(&mut scheduler, MS, now);
    assert_eq!(
        flusher(&mut scheduler, now + 10 * MS),
        Task::Flush(vec!["a"])
    );
    let now = now + 10 * MS;
    scheduler.postpone("a", 50 * MS, now);
    scheduler.end_flush(now);
    assert_eq!(flusher(&mut scheduler, now), Task::Wait(Some(10 * MS)));
    assert_eq!(flusher(&mut scheduler, now), Task::Wait(Some(50 * MS)));
    assert!(!scheduler.announced, "it would look too late");

    run(&mut scheduler, MS, now);
    assert_eq!(worker_thread(&mut scheduler, now), Task::Flush(vec!["b"]));
    scheduler.end_flush(now);
    assert_eq!(
        worker_thread(&mut scheduler, now),
        BUSY,
        "the worker is not over"
    );
    assert_eq!(
        flusher(&mut scheduler, now + 50 * MS),
        Task::Flush(vec!["a"])
    );
}

#[test]
fn the_flusher_is_woken_for_a_postponed_outcome() {
    let (mut scheduler, now) = with_jobs(settings(), &["a", "b"], Found::Few);
    run(&mut scheduler, MS, now);
    assert!(scheduler.announce_due());
    assert_eq!(
        worker_thread(&mut scheduler, now + 10 * MS),
        Task::Flush(vec!["a"])
    );
    scheduler.postpone("a", 50 * MS, now);
    scheduler.end_flush(now);
    assert_eq!(worker_thread(&mut scheduler, now), Task::Run("b"));
    assert!(
        scheduler.announce_due(),
        "all worker threads may be busy for long"
    );
    assert!(!scheduler.announce_due());
}
