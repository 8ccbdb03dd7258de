//! What the threads of a worker do next, with plain values for jobs and outcomes.

mod ends;
mod idle;
mod pauses;
mod sharing;
mod wakes;

use std::time::{Duration, Instant};

use super::{Claim, Found, LONGEST_FALSE_ALARM, MOST_AHEAD, Role, Scheduler, Settings, Task};

type TestScheduler = Scheduler<&'static str, &'static str>;

const MS: Duration = Duration::from_millis(1);
/// Claims of a batch.
const QUIET_CLAIM: Claim = Claim {
    quiet: true,
    ..BUSY_CLAIM
};
const BUSY_CLAIM: Claim = claim_of(3);
const QUIET: Task<&str, &str> = Task::Claim(QUIET_CLAIM);
const BUSY: Task<&str, &str> = Task::Claim(BUSY_CLAIM);

/// A claim of so many jobs, beside something else.
const fn claim_of(wanted: usize) -> Claim {
    Claim {
        wanted,
        quiet: false,
    }
}

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
        most_ahead: MOST_AHEAD,
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
    let Task::Claim(claim) = scheduler.next(Role::WorkerThread, now) else {
        panic!("no claim is next");
    };
    assert!(claim.quiet);
    scheduler.end_claim(claim, found, now);
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
    assert_eq!(
        flusher(&mut scheduler, now + 10 * MS),
        Task::Wait(Some(10 * MS)),
        "there may soon be more"
    );
    assert_eq!(flusher(&mut scheduler, now + 20 * MS), Task::Wait(None));
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
        Task::FlushAndClaim(vec!["a"], claim_of(1))
    );
    assert_eq!(worker_thread(&mut scheduler, now), Task::Wait(None));
    scheduler.idle = 2;
    assert_eq!(
        worker_thread(&mut scheduler, now),
        Task::Claim(claim_of(2)),
        "one is on its way"
    );
    assert_eq!(
        worker_thread(&mut scheduler, now),
        Task::Wait(Some(1000 * MS)),
        "a claim that takes longer may hang"
    );
    assert_eq!(
        worker_thread(&mut scheduler, now + 1000 * MS),
        Task::Claim(claim_of(1))
    );
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
fn short_jobs_are_claimed_by_at_most_as_many_claims_as_threads() {
    let (mut scheduler, now) = with_jobs(settings(), &["a"], Found::Enough);
    run(&mut scheduler, MS / 2, now);
    for _ in 0..3 {
        assert_eq!(worker_thread(&mut scheduler, now), BUSY);
    }
    assert_eq!(
        worker_thread(&mut scheduler, now),
        Task::Wait(Some(10 * MS)),
        "for the outcome"
    );
}

#[test]
fn few_claims_of_many_short_jobs_are_under_way_at_a_time() {
    const THREADS: usize = 64;
    for (most_ahead, batch, claims) in [
        (MOST_AHEAD, 100, 2),
        (MOST_AHEAD, 1000, 1),
        (THREADS, 40, 2),
        (THREADS, 64, 1),
    ] {
        let large = Settings {
            threads: THREADS,
            batch,
            most_ahead,
            ..settings()
        };
        let (mut scheduler, now) = with_jobs(large, &["a"], Found::Enough);
        run(&mut scheduler, MS / 2, now);
        for _ in 0..claims {
            assert_eq!(
                worker_thread(&mut scheduler, now),
                Task::Claim(claim_of(batch))
            );
        }
        assert!(matches!(
            worker_thread(&mut scheduler, now),
            Task::Wait(Some(_))
        ));
    }
}

/// With three threads and batches of three, two claims of jobs of six milliseconds
/// bring work for twelve milliseconds.
#[test]
fn the_last_jobs_decide_how_many_are_claimed_ahead() {
    let (mut scheduler, now) = with_jobs(settings(), &["a"; 12], Found::Enough);
    let flush_and_claim = |group| Task::FlushAndClaim(group, BUSY_CLAIM);
    for group in [Task::Flush, Task::Flush, Task::Flush, flush_and_claim] {
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
    assert_eq!(
        flusher(&mut scheduler, now + 10 * MS),
        Task::Wait(Some(10 * MS))
    );
    assert_eq!(flusher(&mut scheduler, now + 20 * MS), Task::Wait(None));
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
    scheduler.end_claim(BUSY_CLAIM, Found::Nothing, late);
    scheduler.begin_renewal(late);
    assert_eq!(
        worker_thread(&mut scheduler, late),
        Task::Wait(Some(1000 * MS))
    );
}
