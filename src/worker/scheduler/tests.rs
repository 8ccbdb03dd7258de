//! What the threads of a worker do next, with plain values for jobs and outcomes.

use std::time::{Duration, Instant};

use super::{Found, LONGEST_FALSE_ALARM, Role, Scheduler, Settings, Task};

type TestScheduler = Scheduler<&'static str, &'static str>;

const MS: Duration = Duration::from_millis(1);
const QUIET: Task<&str, &str> = Task::Claim { quiet: true };
const BUSY: Task<&str, &str> = Task::Claim { quiet: false };

/// Three threads, batches of three, ten milliseconds for an outcome, a second
/// between two claims that find nothing.
fn settings() -> Settings {
    Settings {
        threads: 3,
        batch: 3,
        poll_every: 1000 * MS,
        poll_first: 1000 * MS,
        longest_false_alarm: LONGEST_FALSE_ALARM,
        finish_within: 10 * MS,
        until_empty: false,
        writers: usize::MAX,
        commits_both: true,
    }
}

/// A scheduler whose worker has searched for dead attempts.
fn new_scheduler(settings: Settings) -> (TestScheduler, Instant) {
    let now = Instant::now();
    let mut scheduler = Scheduler::new(settings, now);
    scheduler.end_expiry(now);
    (scheduler, now)
}

/// A scheduler to which a claim has brought these jobs.
fn with_jobs(settings: Settings, jobs: &[&'static str], found: Found) -> (TestScheduler, Instant) {
    let (mut scheduler, now) = new_scheduler(settings);
    assert_eq!(scheduler.next(Role::WorkerThread, now), QUIET);
    scheduler.end_claim(found, true, now);
    scheduler.claimed(jobs.iter().copied());
    (scheduler, now)
}

/// Runs the next job for this time, and adds its outcome.
fn run(scheduler: &mut TestScheduler, took: Duration, now: Instant) {
    let Task::Run(job) = scheduler.next(Role::WorkerThread, now) else {
        panic!("no job is next");
    };
    scheduler.add_due(job, now);
    scheduler.ran(took, now);
}

fn worker_thread(scheduler: &mut TestScheduler, now: Instant) -> Task<&'static str, &'static str> {
    scheduler.next(Role::WorkerThread, now)
}

fn flusher(scheduler: &mut TestScheduler, now: Instant) -> Task<&'static str, &'static str> {
    scheduler.next(Role::Flusher, now)
}

#[test]
fn jobs_are_run_in_the_order_of_their_claim() {
    let (mut scheduler, now) = with_jobs(settings(), &["a", "b", "c"], Found::Enough);
    assert_eq!(
        flusher(&mut scheduler, now),
        Task::Wait(None),
        "the flusher runs no job"
    );
    for job in ["a", "b", "c"] {
        assert_eq!(worker_thread(&mut scheduler, now), Task::Run(job));
    }
}

#[test]
fn the_outcome_of_a_lone_job_is_written_at_once() {
    let (mut scheduler, now) = with_jobs(settings(), &["a"], Found::Few);
    run(&mut scheduler, MS, now);
    assert_eq!(
        flusher(&mut scheduler, now),
        Task::Wait(Some(10 * MS)),
        "a worker thread is free"
    );
    assert_eq!(worker_thread(&mut scheduler, now), Task::Flush(vec!["a"]));
}

#[test]
fn an_outcome_waits_until_its_group_is_a_batch() {
    let (mut scheduler, now) = with_jobs(settings(), &["a", "b", "c", "d"], Found::Enough);
    run(&mut scheduler, MS, now);
    run(&mut scheduler, MS, now);
    assert_eq!(flusher(&mut scheduler, now), Task::Wait(Some(10 * MS)));
    run(&mut scheduler, MS, now);
    assert_eq!(
        worker_thread(&mut scheduler, now),
        Task::Flush(vec!["a", "b", "c"]),
        "before the next job"
    );
    assert_eq!(worker_thread(&mut scheduler, now), Task::Run("d"));
}

#[test]
fn with_many_jobs_the_next_claim_comes_before_a_flush() {
    let (mut scheduler, now) = with_jobs(settings(), &["a", "b"], Found::Enough);
    run(&mut scheduler, MS, now);
    run(&mut scheduler, MS, now);
    assert_eq!(worker_thread(&mut scheduler, now), BUSY);
    assert_eq!(
        worker_thread(&mut scheduler, now),
        BUSY,
        "the jobs are quick"
    );
}

#[test]
fn the_flusher_writes_an_outcome_that_has_waited_long_enough() {
    let (mut scheduler, now) = with_jobs(settings(), &["a", "b", "c"], Found::Enough);
    run(&mut scheduler, MS, now);
    assert_eq!(worker_thread(&mut scheduler, now), Task::Run("b"));
    assert_eq!(worker_thread(&mut scheduler, now), Task::Run("c"));
    assert_eq!(flusher(&mut scheduler, now + 9 * MS), Task::Wait(Some(MS)));
    assert_eq!(
        flusher(&mut scheduler, now + 10 * MS),
        Task::Flush(vec!["a"])
    );
    assert_eq!(flusher(&mut scheduler, now + 10 * MS), Task::Wait(None));
}

#[test]
fn the_flusher_is_woken_once_for_what_a_worker_thread_leaves() {
    let (mut scheduler, now) = with_jobs(settings(), &["a", "b"], Found::Enough);
    assert!(!scheduler.announce_due());
    run(&mut scheduler, MS, now);
    assert!(scheduler.announce_due());
    assert!(!scheduler.announce_due());
    assert_eq!(
        flusher(&mut scheduler, now + 10 * MS),
        Task::Flush(vec!["a"])
    );
    assert!(!scheduler.announce_due());
}

#[test]
fn a_group_is_no_larger_than_a_statement() {
    let batch = 2 * super::LARGEST_GROUP;
    let settings = Settings {
        batch,
        ..settings()
    };
    let (mut scheduler, now) = new_scheduler(settings);
    for _ in 0..=batch {
        scheduler.add_due("a", now);
    }
    for size in [super::LARGEST_GROUP; 2] {
        let Task::Flush(group) = flusher(&mut scheduler, now + 10 * MS) else {
            panic!("no group is next");
        };
        assert_eq!(group.len(), size);
    }
    assert_eq!(
        flusher(&mut scheduler, now + 10 * MS),
        Task::Flush(vec!["a"])
    );
}

#[test]
fn slow_jobs_are_claimed_only_for_idle_threads() {
    let one = Settings {
        batch: 1,
        ..settings()
    };
    let (mut scheduler, now) = with_jobs(one, &["a"], Found::Enough);
    run(&mut scheduler, 1000 * MS, now);
    // For this thread: no other one is idle.
    assert_eq!(
        worker_thread(&mut scheduler, now),
        Task::FlushAndClaim(vec!["a"])
    );
    assert_eq!(worker_thread(&mut scheduler, now), Task::Wait(None));
    scheduler.idle = 1;
    assert_eq!(worker_thread(&mut scheduler, now), BUSY);
    assert_eq!(worker_thread(&mut scheduler, now), Task::Wait(None));
}

#[test]
fn a_claim_that_brings_enough_for_all_threads_is_the_only_one() {
    let (mut scheduler, now) = with_jobs(settings(), &["a"], Found::Enough);
    run(&mut scheduler, 1000 * MS, now);
    scheduler.idle = 2;
    assert_eq!(worker_thread(&mut scheduler, now), BUSY);
    assert_eq!(
        worker_thread(&mut scheduler, now),
        Task::Wait(Some(10 * MS)),
        "for the outcome"
    );
}

#[test]
fn quick_jobs_are_claimed_by_at_most_as_many_claims_as_threads() {
    let (mut scheduler, now) = with_jobs(settings(), &["a"], Found::Enough);
    run(&mut scheduler, MS / 10, now);
    for _ in 0..3 {
        assert_eq!(worker_thread(&mut scheduler, now), BUSY);
    }
    assert_eq!(
        worker_thread(&mut scheduler, now),
        Task::Wait(Some(10 * MS)),
        "for the outcome"
    );
}

/// With three threads and batches of three, two claims of jobs of six milliseconds
/// bring work for twelve milliseconds.
#[test]
fn the_last_jobs_decide_how_many_are_claimed_ahead() {
    let (mut scheduler, now) = with_jobs(settings(), &["a"; 12], Found::Enough);
    for group in [Task::Flush, Task::Flush, Task::Flush, Task::FlushAndClaim] {
        for _ in 0..3 {
            run(&mut scheduler, 6 * MS, now);
        }
        assert_eq!(worker_thread(&mut scheduler, now), group(vec!["a"; 3]));
    }
    assert_eq!(worker_thread(&mut scheduler, now), BUSY);
    assert_eq!(worker_thread(&mut scheduler, now), Task::Wait(None));
}

#[test]
fn jobs_count_as_slow_before_the_first_has_run() {
    let (mut scheduler, now) = new_scheduler(settings());
    assert_eq!(worker_thread(&mut scheduler, now), QUIET);
    assert_eq!(worker_thread(&mut scheduler, now), Task::Wait(None));
}

#[test]
fn nothing_is_claimed_while_jobs_wait() {
    let (mut scheduler, now) = with_jobs(settings(), &["a", "b"], Found::Enough);
    scheduler.idle = 2;
    assert_eq!(worker_thread(&mut scheduler, now), Task::Run("a"));
    assert_eq!(worker_thread(&mut scheduler, now), Task::Run("b"));
    assert_eq!(worker_thread(&mut scheduler, now), BUSY);
}

#[test]
fn a_database_with_one_writer_gets_one_statement_at_a_time() {
    let sqlite = Settings {
        writers: 1,
        ..settings()
    };
    let (mut scheduler, now) = with_jobs(sqlite, &["a", "b", "c", "d"], Found::Enough);
    for _ in 0..3 {
        run(&mut scheduler, MS, now);
    }
    assert_eq!(
        worker_thread(&mut scheduler, now),
        Task::Flush(vec!["a", "b", "c"])
    );
    run(&mut scheduler, MS, now);
    assert_eq!(
        worker_thread(&mut scheduler, now + 10 * MS),
        Task::Wait(None),
        "neither a claim nor a flush"
    );
    assert_eq!(flusher(&mut scheduler, now + 10 * MS), Task::Wait(None));
    scheduler.end_flush(now);
    assert_eq!(worker_thread(&mut scheduler, now), BUSY);
    assert_eq!(
        worker_thread(&mut scheduler, now + 10 * MS),
        Task::Wait(None)
    );
}

#[test]
fn no_claim_and_no_flush_begins_while_locks_are_renewed() {
    let (mut scheduler, now) = with_jobs(settings(), &["a", "b", "c"], Found::Enough);
    for _ in 0..3 {
        run(&mut scheduler, MS, now);
    }
    scheduler.begin_renewal(now);
    let late = now + 10 * MS;
    assert_eq!(flusher(&mut scheduler, late), Task::Wait(Some(990 * MS)));
    assert_eq!(
        worker_thread(&mut scheduler, late),
        Task::Wait(Some(990 * MS))
    );
    scheduler.end_renewal();
    assert_eq!(
        flusher(&mut scheduler, late),
        Task::Flush(vec!["a", "b", "c"])
    );
    assert_eq!(worker_thread(&mut scheduler, late), BUSY);
}

#[test]
fn a_renewal_that_takes_long_does_not_stop_the_worker() {
    let (mut scheduler, now) = with_jobs(settings(), &["a", "b", "c"], Found::Enough);
    for _ in 0..3 {
        run(&mut scheduler, MS, now);
    }
    scheduler.begin_renewal(now);
    let late = now + super::ROOM_FOR_RENEWAL;
    assert_eq!(
        flusher(&mut scheduler, late),
        Task::Flush(vec!["a", "b", "c"])
    );
    assert_eq!(worker_thread(&mut scheduler, late), BUSY);
    scheduler.end_flush(late);
    scheduler.end_claim(Found::Nothing, false, late);
    scheduler.begin_renewal(late);
    assert_eq!(
        worker_thread(&mut scheduler, late),
        Task::Wait(Some(1000 * MS))
    );
}

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
    scheduler.end_claim(Found::Later(now + at), true, now);
    assert_eq!(worker_thread(&mut scheduler, now), Task::Wait(Some(at)));
    assert_eq!(worker_thread(&mut scheduler, now + at), QUIET);

    // New jobs of others are still found after the usual pause.
    scheduler.end_claim(Found::Later(now + 5000 * MS), true, now);
    assert_eq!(
        worker_thread(&mut scheduler, now),
        Task::Wait(Some(1000 * MS))
    );
}

#[test]
fn after_an_error_the_next_claim_waits() {
    let (mut scheduler, now) = new_scheduler(settings());
    assert_eq!(worker_thread(&mut scheduler, now), QUIET);
    scheduler.fail_claim(7 * MS, now);
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
    scheduler.end_claim(Found::Nothing, false, now);
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
        Task::FlushAndClaim(vec!["b"])
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
        Task::FlushAndClaim(vec!["d"])
    );
    assert_eq!(
        worker_thread(&mut scheduler, late),
        BUSY,
        "the jobs are quick"
    );
    scheduler.end_claim(Found::Enough, false, late);
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
        Task::FlushAndClaim(vec!["b"])
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
    assert_eq!(flusher(&mut scheduler, now), Task::Wait(Some(50 * MS)));

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

#[test]
fn a_worker_does_not_end_before_it_has_searched_for_dead_attempts() {
    let now = Instant::now();
    let until_empty = Settings {
        until_empty: true,
        ..settings()
    };
    let mut scheduler = TestScheduler::new(until_empty, now);
    assert_eq!(worker_thread(&mut scheduler, now), QUIET);
    scheduler.end_claim(Found::Nothing, true, now);
    assert_eq!(worker_thread(&mut scheduler, now), Task::Wait(None));
    assert!(!scheduler.is_over());
    // It has found one, and expired it.
    scheduler.poll(now);
    scheduler.end_expiry(now);
    assert_eq!(worker_thread(&mut scheduler, now), QUIET);
    scheduler.end_claim(Found::Nothing, true, now);
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
    scheduler.end_claim(Found::Nothing, false, now);
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
    scheduler.end_claim(Found::Nothing, true, now);
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
    scheduler.end_claim(Found::Later(now + 100 * MS), true, now);
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
    run(&mut scheduler, MS / 10, now);
    assert_eq!(worker_thread(&mut scheduler, now), Task::Flush(vec!["a"]));
    scheduler.end_flush(now);
    scheduler.idle = 2;
    assert_eq!(worker_thread(&mut scheduler, now), QUIET);
    assert_eq!(
        worker_thread(&mut scheduler, now),
        Task::Wait(None),
        "the last look would not see what it took"
    );
    scheduler.end_claim(Found::Few, true, now);
    assert_eq!(worker_thread(&mut scheduler, now), QUIET);
}

#[test]
fn a_claim_that_ends_after_the_last_job_does_not_delay_the_last_look() {
    let until_empty = Settings {
        until_empty: true,
        ..settings()
    };
    let (mut scheduler, now) = with_jobs(until_empty, &["a"], Found::Few);
    run(&mut scheduler, MS, now);
    assert_eq!(worker_thread(&mut scheduler, now), Task::Flush(vec!["a"]));
    assert_eq!(worker_thread(&mut scheduler, now), BUSY);
    scheduler.end_flush(now);
    scheduler.end_claim(Found::Nothing, false, now);
    assert_eq!(worker_thread(&mut scheduler, now), QUIET);
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
            Task::Claim { .. } | Task::Wait(_)
        ));
    }
    scheduler.fail_claim(Duration::MAX, now);
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
    scheduler.end_claim(Found::Nothing, true, now);
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
    scheduler.end_claim(Found::Enough, true, now);
    assert_eq!(flusher(&mut scheduler, now), Task::Stop);
}

#[test]
fn a_call_of_this_process_causes_a_claim_at_once() {
    let (mut scheduler, now) = with_jobs(settings(), &[], Found::Nothing);
    assert_eq!(
        worker_thread(&mut scheduler, now),
        Task::Wait(Some(1000 * MS))
    );
    scheduler.ring(now + MS);
    assert_eq!(worker_thread(&mut scheduler, now + MS), QUIET);
    scheduler.end_claim(Found::Few, true, now + MS);
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
            scheduler.end_claim(Found::Nothing, true, now);
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
    scheduler.end_claim(Found::Few, true, now);
    assert_eq!(worker_thread(&mut scheduler, now), QUIET);
    scheduler.end_claim(Found::Nothing, true, now);
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
    scheduler.fail_claim(500 * MS, now);
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
    scheduler.end_claim(Found::Nothing, true, now);
    assert_eq!(
        worker_thread(&mut scheduler, now),
        Task::Wait(Some(100 * MS))
    );
    let now = now + 600 * MS;
    assert_eq!(worker_thread(&mut scheduler, now), QUIET);
    scheduler.end_claim(Found::Nothing, true, now);
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
    run(&mut scheduler, MS / 10, now);
    assert_eq!(worker_thread(&mut scheduler, now), Task::Run("b"));
    assert_eq!(worker_thread(&mut scheduler, now), Task::Flush(vec!["a"]));
    assert_eq!(worker_thread(&mut scheduler, now), BUSY);
    assert!(matches!(worker_thread(&mut scheduler, now), Task::Wait(_)));
}

/// Lets a claim find nothing, and returns how long the worker waits for the next one.
fn pause_after_nothing(scheduler: &mut TestScheduler, now: Instant) -> Duration {
    assert_eq!(worker_thread(scheduler, now), QUIET);
    scheduler.end_claim(Found::Nothing, true, now);
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
    scheduler.end_claim(Found::Few, true, now);
    assert_eq!(pause_after_nothing(&mut scheduler, now), 5 * MS);
    // Also where something else is due later.
    let now = now + 5 * MS;
    assert_eq!(worker_thread(&mut scheduler, now), QUIET);
    scheduler.end_claim(Found::Later(now + 900 * MS), true, now);
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
