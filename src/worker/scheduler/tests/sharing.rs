//! Statements that are shared by threads whose jobs are quick.

use super::*;

/// Three threads of a worker that claims one by one, of which two are idle. The third one
/// has claimed a job for each, and has run the first.
fn one_by_one(took: Duration) -> (TestScheduler, Instant) {
    let one = Settings {
        batch: 1,
        ..settings()
    };
    let (mut scheduler, now) = new_scheduler(one);
    scheduler.idle = 2;
    assert_eq!(worker_thread(&mut scheduler, now), QUIET);
    scheduler.end_claim(QUIET_CLAIM, Found::Enough, now + MS);
    scheduler.claimed(["a", "b", "c"]);
    run(&mut scheduler, took, now + MS);
    (scheduler, now + MS)
}

#[test]
fn the_outcomes_of_quick_jobs_go_together_and_so_do_the_next_claims() {
    let (mut scheduler, now) = one_by_one(MS / 10);
    run(&mut scheduler, MS / 10, now);
    run(&mut scheduler, MS / 10, now);
    assert_eq!(
        worker_thread(&mut scheduler, now),
        Task::FlushAndClaim(vec!["a", "b", "c"], BUSY_CLAIM)
    );
}

#[test]
fn the_outcomes_of_slow_jobs_are_written_one_by_one() {
    let (mut scheduler, now) = one_by_one(MS);
    assert_eq!(worker_thread(&mut scheduler, now), Task::Flush(vec!["a"]));
    assert_eq!(worker_thread(&mut scheduler, now), Task::Run("b"));
}

#[test]
fn one_statement_is_sent_at_a_time_unless_it_takes_long() {
    let (mut scheduler, now) = one_by_one(MS / 10);
    assert_eq!(worker_thread(&mut scheduler, now), Task::Run("b"));
    assert_eq!(worker_thread(&mut scheduler, now), Task::Run("c"));
    let late = now + MS;
    scheduler.idle = 0;
    assert_eq!(
        worker_thread(&mut scheduler, late),
        Task::FlushAndClaim(vec!["a"], BUSY_CLAIM)
    );
    scheduler.add_due("b", late);
    scheduler.ran(MS / 10, late);
    assert_eq!(
        worker_thread(&mut scheduler, late),
        Task::Wait(Some(10 * MS))
    );
    assert_eq!(flusher(&mut scheduler, late), Task::Wait(Some(10 * MS)));
    // A row may be held that is not the fault of the others.
    assert_eq!(
        worker_thread(&mut scheduler, late + 10 * MS),
        Task::FlushAndClaim(vec!["b"], BUSY_CLAIM)
    );
}

#[test]
fn a_thread_waits_for_quick_jobs_but_not_for_one_that_is_slow() {
    let (mut scheduler, now) = one_by_one(MS / 10);
    assert_eq!(worker_thread(&mut scheduler, now), Task::Run("b"));
    assert_eq!(worker_thread(&mut scheduler, now), Task::Run("c"));
    scheduler.idle = 0;
    assert_eq!(
        worker_thread(&mut scheduler, now),
        Task::Wait(Some(MS / 5)),
        "twice the time of a job"
    );
    scheduler.add_due("b", now + MS / 10);
    scheduler.ran(MS / 10, now + MS / 10);
    assert_eq!(
        worker_thread(&mut scheduler, now + MS / 5),
        Task::FlushAndClaim(vec!["a", "b"], BUSY_CLAIM)
    );
}

/// A job that was claimed has run.
fn have_run(scheduler: &mut TestScheduler, job: &'static str, took: Duration, now: Instant) {
    scheduler.running += 1;
    scheduler.add_due(job, now);
    scheduler.ran(took, now);
}

/// Three threads of a worker that claims batches of 100. A claim that took a millisecond has
/// brought so many jobs, and all of them have run, for this time each.
fn in_batches(writers: usize, jobs: usize, took: Duration) -> (TestScheduler, Instant) {
    let large = Settings {
        batch: 100,
        writers,
        ..settings()
    };
    let (mut scheduler, now) = new_scheduler(large);
    assert_eq!(
        worker_thread(&mut scheduler, now),
        Task::Claim(Claim {
            quiet: true,
            ..claim_of(100)
        })
    );
    scheduler.end_claim(claim_of(100), Found::Enough, now + MS);
    for _ in 0..jobs {
        have_run(&mut scheduler, "a", took, now + MS);
    }
    (scheduler, now + MS)
}

/// The outcomes of a group of three hundred.
fn add_300(scheduler: &mut TestScheduler, job: &'static str, now: Instant) {
    for _ in 0..300 {
        scheduler.add_due(job, now);
    }
}

fn flush_of(job: &'static str) -> Task<&'static str, &'static str> {
    Task::Flush(vec![job; 300])
}

#[test]
fn large_groups_of_quick_jobs_are_written_beside_a_claim_for_all_threads() {
    let (mut scheduler, now) = in_batches(usize::MAX, 300, MS / 100);
    assert_eq!(worker_thread(&mut scheduler, now), flush_of("a"));
    assert_eq!(
        worker_thread(&mut scheduler, now),
        Task::Claim(claim_of(300))
    );
    assert_eq!(
        worker_thread(&mut scheduler, now),
        Task::Wait(Some(1000 * MS)),
        "enough jobs are coming, unless the claim hangs"
    );
    scheduler.end_claim(claim_of(300), Found::Enough, now);
    for _ in 0..300 {
        have_run(&mut scheduler, "b", MS / 100, now);
    }
    assert_eq!(
        flusher(&mut scheduler, now),
        Task::Wait(Some(10 * MS)),
        "a flush is in progress"
    );
    scheduler.flushed(now);
    scheduler.end_flush(now);
    assert_eq!(flusher(&mut scheduler, now), flush_of("b"));
}

#[test]
fn sqlite_writes_large_groups_with_the_claim() {
    let (mut scheduler, now) = in_batches(1, 299, MS / 100);
    assert_eq!(
        worker_thread(&mut scheduler, now),
        Task::FlushAndClaim(vec!["a"; 299], claim_of(300))
    );
}

#[test]
fn no_more_jobs_are_claimed_for_all_threads_than_they_do_soon() {
    let (mut scheduler, now) = in_batches(usize::MAX, 300, MS / 5);
    assert_eq!(worker_thread(&mut scheduler, now), flush_of("a"));
    let Task::Claim(claim) = worker_thread(&mut scheduler, now) else {
        panic!("no claim is next");
    };
    // Fifty for each thread, within ten milliseconds.
    assert!((147..=153).contains(&claim.wanted), "{claim:?}");
}

#[test]
fn a_flush_that_hangs_delays_the_next_ones_for_ten_milliseconds_at_most() {
    let (mut scheduler, now) = in_batches(usize::MAX, 300, MS / 100);
    assert_eq!(worker_thread(&mut scheduler, now), flush_of("a"));
    add_300(&mut scheduler, "b", now);
    assert!(matches!(flusher(&mut scheduler, now), Task::Wait(_)));
    let mut now = now + 10 * MS;
    for _ in 0..3 {
        assert_eq!(flusher(&mut scheduler, now), flush_of("b"));
        now += MS;
        scheduler.flushed(now);
        scheduler.end_flush(now);
        add_300(&mut scheduler, "b", now);
    }
}

#[test]
fn the_next_statement_does_not_wait_for_an_observer() {
    let (mut scheduler, now) = in_batches(usize::MAX, 300, MS / 100);
    assert_eq!(worker_thread(&mut scheduler, now), flush_of("a"));
    scheduler.flushed(now);
    add_300(&mut scheduler, "b", now);
    assert_eq!(flusher(&mut scheduler, now), flush_of("b"));
}

#[test]
fn the_next_jobs_are_claimed_before_the_last_ones_are_done() {
    let batches = Settings {
        batch: 10,
        ..settings()
    };
    let (mut scheduler, now) = new_scheduler(batches);
    let Task::Claim(claim) = worker_thread(&mut scheduler, now) else {
        panic!("no claim is next");
    };
    scheduler.end_claim(claim, Found::Enough, now + 2 * MS);
    scheduler.claimed(["a"; 10]);
    let now = now + 2 * MS;
    run(&mut scheduler, MS, now);
    assert_eq!(
        worker_thread(&mut scheduler, now),
        Task::Run("a"),
        "three milliseconds for each thread"
    );
    for _ in 0..4 {
        assert_eq!(worker_thread(&mut scheduler, now), Task::Run("a"));
    }
    assert_eq!(
        worker_thread(&mut scheduler, now),
        Task::Run("a"),
        "two milliseconds, as long as a claim takes"
    );
    assert_eq!(
        worker_thread(&mut scheduler, now),
        Task::Claim(claim_of(10)),
        "one millisecond"
    );
    assert_eq!(worker_thread(&mut scheduler, now), Task::Run("a"));
}

#[test]
fn no_jobs_are_claimed_while_a_batch_waits() {
    let batches = Settings {
        batch: 10,
        ..settings()
    };
    let (mut scheduler, now) = with_jobs(batches, &["a"; 20], Found::Enough);
    let now = now + MS;
    for left in (10..20).rev() {
        run(&mut scheduler, MS / 1000, now);
        assert_eq!(scheduler.waiting.len(), left);
    }
    scheduler.pace.statement_took(10 * MS);
    assert!(!scheduler.wants_claim(now), "{:?}", scheduler.waiting);
    assert_eq!(worker_thread(&mut scheduler, now), Task::Run("a"));
    assert!(scheduler.wants_claim(now));
}
