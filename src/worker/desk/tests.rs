//! What the threads of a worker do next, with plain values for jobs and ends.

use std::time::{Duration, Instant};

use super::{Desk, Found, Settings, Task, Who};

type TestDesk = Desk<&'static str, &'static str>;

const MS: Duration = Duration::from_millis(1);
const QUIET: Task<&str, &str> = Task::Claim { quiet: true };
const BUSY: Task<&str, &str> = Task::Claim { quiet: false };

/// Three threads, batches of three, ten milliseconds for an end, a second
/// between two looks.
fn settings() -> Settings {
    Settings {
        threads: 3,
        batch: 3,
        poll_every: 1000 * MS,
        finish_within: 10 * MS,
        until_empty: false,
        writers: usize::MAX,
    }
}

/// A desk whose worker has looked for dead attempts.
fn desk(settings: Settings) -> (TestDesk, Instant) {
    let now = Instant::now();
    let mut desk = Desk::new(settings, now);
    desk.end_expiry(now);
    (desk, now)
}

/// A desk to which a claim has brought these jobs.
fn with_jobs(settings: Settings, jobs: &[&'static str], found: Found) -> (TestDesk, Instant) {
    let (mut desk, now) = desk(settings);
    assert_eq!(desk.next(Who::Hand, now), QUIET);
    desk.end_claim(found, true, now);
    desk.claimed(jobs.iter().copied());
    (desk, now)
}

/// Runs the job that is next, for so long, and puts its end on the desk.
fn run(desk: &mut TestDesk, took: Duration, now: Instant) {
    let Task::Run(job) = desk.next(Who::Hand, now) else {
        panic!("no job is next");
    };
    desk.put_due(job, now);
    desk.ran(took, now);
}

fn hand(desk: &mut TestDesk, now: Instant) -> Task<&'static str, &'static str> {
    desk.next(Who::Hand, now)
}

fn keeper(desk: &mut TestDesk, now: Instant) -> Task<&'static str, &'static str> {
    desk.next(Who::Keeper, now)
}

#[test]
fn jobs_are_run_in_the_order_of_their_claim() {
    let (mut desk, now) = with_jobs(settings(), &["a", "b", "c"], Found::Enough);
    assert_eq!(keeper(&mut desk, now), Task::Wait(None), "it runs none");
    for job in ["a", "b", "c"] {
        assert_eq!(hand(&mut desk, now), Task::Run(job));
    }
}

#[test]
fn the_end_of_a_lone_job_is_written_at_once() {
    let (mut desk, now) = with_jobs(settings(), &["a"], Found::Some);
    run(&mut desk, MS, now);
    assert_eq!(
        keeper(&mut desk, now),
        Task::Wait(Some(10 * MS)),
        "the hand is free"
    );
    assert_eq!(hand(&mut desk, now), Task::Finish(vec!["a"]));
}

#[test]
fn an_end_waits_until_its_group_is_a_batch() {
    let (mut desk, now) = with_jobs(settings(), &["a", "b", "c", "d"], Found::Enough);
    run(&mut desk, MS, now);
    run(&mut desk, MS, now);
    assert_eq!(keeper(&mut desk, now), Task::Wait(Some(10 * MS)));
    run(&mut desk, MS, now);
    assert_eq!(
        hand(&mut desk, now),
        Task::Finish(vec!["a", "b", "c"]),
        "before the next job"
    );
    assert_eq!(hand(&mut desk, now), Task::Run("d"));
}

#[test]
fn among_many_jobs_the_next_claim_comes_before_the_ends() {
    let (mut desk, now) = with_jobs(settings(), &["a", "b"], Found::Enough);
    run(&mut desk, MS, now);
    run(&mut desk, MS, now);
    assert_eq!(hand(&mut desk, now), BUSY);
    assert_eq!(hand(&mut desk, now), BUSY, "for quick jobs");
}

#[test]
fn an_end_that_has_waited_long_enough_is_the_keepers() {
    let (mut desk, now) = with_jobs(settings(), &["a", "b", "c"], Found::Enough);
    run(&mut desk, MS, now);
    assert_eq!(hand(&mut desk, now), Task::Run("b"));
    assert_eq!(hand(&mut desk, now), Task::Run("c"));
    assert_eq!(keeper(&mut desk, now + 9 * MS), Task::Wait(Some(MS)));
    assert_eq!(keeper(&mut desk, now + 10 * MS), Task::Finish(vec!["a"]));
    assert_eq!(keeper(&mut desk, now + 10 * MS), Task::Wait(None));
}

#[test]
fn the_keeper_is_told_once_of_what_a_hand_leaves() {
    let (mut desk, now) = with_jobs(settings(), &["a", "b"], Found::Enough);
    assert!(!desk.announce_due());
    run(&mut desk, MS, now);
    assert!(desk.announce_due());
    assert!(!desk.announce_due());
    assert_eq!(keeper(&mut desk, now + 10 * MS), Task::Finish(vec!["a"]));
    assert!(!desk.announce_due());
}

#[test]
fn a_group_is_no_larger_than_a_statement() {
    let batch = 2 * super::LARGEST_GROUP;
    let settings = Settings {
        batch,
        ..settings()
    };
    let (mut desk, now) = desk(settings);
    for _ in 0..=batch {
        desk.put_due("a", now);
    }
    for size in [super::LARGEST_GROUP; 2] {
        let Task::Finish(group) = hand(&mut desk, now + 10 * MS) else {
            panic!("no group is next");
        };
        assert_eq!(group.len(), size);
    }
    assert_eq!(hand(&mut desk, now + 10 * MS), Task::Finish(vec!["a"]));
}

#[test]
fn of_slow_jobs_no_more_are_claimed_than_idle_threads_need() {
    let one = Settings {
        batch: 1,
        ..settings()
    };
    let (mut desk, now) = with_jobs(one, &["a"], Found::Enough);
    run(&mut desk, 1000 * MS, now);
    assert_eq!(hand(&mut desk, now), Task::Finish(vec!["a"]));

    // This hand, and none that is idle.
    assert_eq!(hand(&mut desk, now), BUSY);
    assert_eq!(hand(&mut desk, now), Task::Wait(None));
    desk.idle = 1;
    assert_eq!(hand(&mut desk, now), BUSY);
    assert_eq!(hand(&mut desk, now), Task::Wait(None));
}

#[test]
fn a_claim_that_brings_enough_for_all_threads_is_the_only_one() {
    let (mut desk, now) = with_jobs(settings(), &["a"], Found::Enough);
    run(&mut desk, 1000 * MS, now);
    desk.idle = 2;
    assert_eq!(hand(&mut desk, now), BUSY);
    assert_eq!(
        hand(&mut desk, now),
        Task::Wait(Some(10 * MS)),
        "for its end"
    );
}

#[test]
fn of_quick_jobs_more_are_claimed_but_no_more_than_threads() {
    let (mut desk, now) = with_jobs(settings(), &["a"], Found::Enough);
    run(&mut desk, MS / 10, now);
    for _ in 0..3 {
        assert_eq!(hand(&mut desk, now), BUSY);
    }
    assert_eq!(
        hand(&mut desk, now),
        Task::Wait(Some(10 * MS)),
        "for its end"
    );
}

/// With three threads and batches of three: two claims of jobs of six
/// milliseconds bring work for twelve.
#[test]
fn what_is_claimed_ahead_depends_on_how_long_jobs_took_of_late() {
    let (mut desk, now) = with_jobs(settings(), &["a"; 12], Found::Enough);
    for _ in 0..4 {
        for _ in 0..3 {
            run(&mut desk, 6 * MS, now);
        }
        assert_eq!(hand(&mut desk, now), Task::Finish(vec!["a"; 3]));
    }
    assert_eq!(hand(&mut desk, now), BUSY);
    assert_eq!(hand(&mut desk, now), BUSY);
    assert_eq!(hand(&mut desk, now), Task::Wait(None));
}

#[test]
fn before_a_job_has_run_jobs_count_as_slow() {
    let (mut desk, now) = desk(settings());
    assert_eq!(hand(&mut desk, now), QUIET);
    assert_eq!(hand(&mut desk, now), Task::Wait(None));
}

#[test]
fn nothing_is_claimed_while_jobs_wait() {
    let (mut desk, now) = with_jobs(settings(), &["a", "b"], Found::Enough);
    desk.idle = 2;
    assert_eq!(hand(&mut desk, now), Task::Run("a"));
    assert_eq!(hand(&mut desk, now), Task::Run("b"));
    assert_eq!(hand(&mut desk, now), BUSY);
}

#[test]
fn where_the_database_takes_one_statement_at_a_time_it_is_given_one() {
    let sqlite = Settings {
        writers: 1,
        ..settings()
    };
    let (mut desk, now) = with_jobs(sqlite, &["a", "b", "c", "d"], Found::Enough);
    for _ in 0..3 {
        run(&mut desk, MS, now);
    }
    assert_eq!(hand(&mut desk, now), Task::Finish(vec!["a", "b", "c"]));
    run(&mut desk, MS, now);
    assert_eq!(
        hand(&mut desk, now + 10 * MS),
        Task::Wait(None),
        "neither claim nor end"
    );
    assert_eq!(keeper(&mut desk, now + 10 * MS), Task::Wait(None));
    desk.end_finish(now);
    assert_eq!(hand(&mut desk, now), BUSY);
    assert_eq!(hand(&mut desk, now + 10 * MS), Task::Wait(None));
}

#[test]
fn nothing_is_sent_while_locks_are_renewed() {
    let (mut desk, now) = with_jobs(settings(), &["a", "b", "c"], Found::Enough);
    for _ in 0..3 {
        run(&mut desk, MS, now);
    }
    desk.begin_renewal(now);
    let late = now + 10 * MS;
    assert_eq!(keeper(&mut desk, late), Task::Wait(Some(990 * MS)));
    assert_eq!(hand(&mut desk, late), Task::Wait(Some(990 * MS)));
    desk.end_renewal();
    assert_eq!(keeper(&mut desk, late), Task::Finish(vec!["a", "b", "c"]));
    assert_eq!(hand(&mut desk, late), BUSY);
}

#[test]
fn a_renewal_that_takes_long_does_not_stop_the_worker() {
    let (mut desk, now) = with_jobs(settings(), &["a", "b", "c"], Found::Enough);
    for _ in 0..3 {
        run(&mut desk, MS, now);
    }
    desk.begin_renewal(now);
    let late = now + super::ROOM_FOR_RENEWAL;
    assert_eq!(keeper(&mut desk, late), Task::Finish(vec!["a", "b", "c"]));
    assert_eq!(hand(&mut desk, late), BUSY);
    desk.end_finish(late);
    desk.end_claim(Found::Nothing, false, late);
    desk.begin_renewal(late);
    assert_eq!(hand(&mut desk, late), Task::Wait(Some(1000 * MS)));
}

#[test]
fn when_nothing_is_ready_the_next_look_waits() {
    let (mut desk, now) = with_jobs(settings(), &[], Found::Nothing);
    assert_eq!(hand(&mut desk, now), Task::Wait(Some(1000 * MS)));
    assert_eq!(keeper(&mut desk, now), Task::Wait(None));
    assert_eq!(hand(&mut desk, now + 1000 * MS), QUIET);
}

#[test]
fn what_is_ready_later_is_claimed_then() {
    let at = Duration::from_millis(100);
    let (mut desk, now) = desk(settings());
    assert_eq!(hand(&mut desk, now), QUIET);
    desk.end_claim(Found::Later(now + at), true, now);
    assert_eq!(hand(&mut desk, now), Task::Wait(Some(at)));
    assert_eq!(hand(&mut desk, now + at), QUIET);

    // What others create meanwhile is not found later than otherwise.
    desk.end_claim(Found::Later(now + 5000 * MS), true, now);
    assert_eq!(hand(&mut desk, now), Task::Wait(Some(1000 * MS)));
}

#[test]
fn after_an_error_the_next_claim_waits() {
    let (mut desk, now) = desk(settings());
    assert_eq!(hand(&mut desk, now), QUIET);
    desk.fail_claim(7 * MS, now);
    assert_eq!(hand(&mut desk, now), Task::Wait(Some(7 * MS)));
    assert_eq!(hand(&mut desk, now + 7 * MS), QUIET);
}

#[test]
fn a_job_that_was_given_back_is_claimed_after_its_pause_and_the_others_at_once() {
    let (mut desk, now) = with_jobs(settings(), &["a"], Found::Some);
    run(&mut desk, MS, now);
    desk.ready_at(now + 100 * MS);
    assert_eq!(hand(&mut desk, now), Task::Finish(vec!["a"]));
    assert_eq!(hand(&mut desk, now), BUSY, "others may be ready");
    desk.end_claim(Found::Nothing, false, now);
    desk.end_finish(now);
    assert_eq!(hand(&mut desk, now), Task::Wait(Some(1000 * MS)));
    desk.ready_at(now + 100 * MS);
    assert_eq!(hand(&mut desk, now), Task::Wait(Some(100 * MS)));
    assert_eq!(hand(&mut desk, now + 100 * MS), QUIET);
}

#[test]
fn ends_that_could_not_be_written_do_not_wait_for_more() {
    let settings = Settings {
        finish_within: 60 * 60 * 1000 * MS,
        ..settings()
    };
    let (mut desk, now) = with_jobs(settings, &["a", "b"], Found::Nothing);
    run(&mut desk, MS, now);
    run(&mut desk, MS, now);
    assert_eq!(hand(&mut desk, now), Task::Finish(vec!["a", "b"]));
    desk.fail_finish(vec!["a", "b"], 50 * MS, now);
    assert_eq!(keeper(&mut desk, now), Task::Wait(Some(50 * MS)));
    assert_eq!(
        keeper(&mut desk, now + 50 * MS),
        Task::Finish(vec!["a", "b"])
    );
}

#[test]
fn while_no_end_can_be_written_nothing_is_begun() {
    let (mut desk, now) = with_jobs(settings(), &["a", "b"], Found::Enough);
    run(&mut desk, MS, now);
    let late = now + 10 * MS;
    assert_eq!(keeper(&mut desk, late), Task::Finish(vec!["a"]));
    desk.fail_finish(vec!["a"], 50 * MS, late);
    assert_eq!(
        hand(&mut desk, late),
        Task::Wait(Some(50 * MS)),
        "not \"b\""
    );
    assert_eq!(keeper(&mut desk, late), Task::Wait(Some(50 * MS)));

    assert_eq!(keeper(&mut desk, late + 50 * MS), Task::Finish(vec!["a"]));
    assert_eq!(hand(&mut desk, late + 50 * MS), Task::Wait(None));
    desk.end_finish(late + 50 * MS);
    let late = late + 50 * MS;
    run(&mut desk, MS, late);
    assert_eq!(hand(&mut desk, late + 10 * MS), Task::Finish(vec!["b"]));
    desk.end_finish(late + 10 * MS);
    assert_eq!(hand(&mut desk, late + 10 * MS), QUIET);
}

#[test]
fn an_end_that_waits_for_its_row_keeps_no_other() {
    let (mut desk, now) = with_jobs(settings(), &["a", "b"], Found::Some);
    run(&mut desk, MS, now);
    assert_eq!(keeper(&mut desk, now + 10 * MS), Task::Finish(vec!["a"]));
    let now = now + 10 * MS;
    desk.put_off("a", 50 * MS, now);
    desk.end_finish(now);
    assert_eq!(keeper(&mut desk, now), Task::Wait(Some(50 * MS)));

    run(&mut desk, MS, now);
    assert_eq!(hand(&mut desk, now), Task::Finish(vec!["b"]));
    desk.end_finish(now);
    assert_eq!(hand(&mut desk, now), BUSY, "it is not over");
    assert_eq!(keeper(&mut desk, now + 50 * MS), Task::Finish(vec!["a"]));
}

#[test]
fn the_keeper_is_told_of_an_end_that_is_put_off() {
    let (mut desk, now) = with_jobs(settings(), &["a", "b"], Found::Some);
    run(&mut desk, MS, now);
    assert!(desk.announce_due());
    assert_eq!(hand(&mut desk, now + 10 * MS), Task::Finish(vec!["a"]));
    desk.put_off("a", 50 * MS, now);
    desk.end_finish(now);
    assert_eq!(hand(&mut desk, now), Task::Run("b"));
    assert!(desk.announce_due(), "all hands may be at work for long");
    assert!(!desk.announce_due());
}

#[test]
fn a_worker_does_not_end_before_dead_attempts_are_looked_for() {
    let now = Instant::now();
    let until_empty = Settings {
        until_empty: true,
        ..settings()
    };
    let mut desk = TestDesk::new(until_empty, now);
    assert_eq!(hand(&mut desk, now), QUIET);
    desk.end_claim(Found::Nothing, true, now);
    assert_eq!(hand(&mut desk, now), Task::Wait(None));
    assert!(!desk.is_over());
    // It has found one, and ended it.
    desk.poll(now);
    desk.end_expiry(now);
    assert_eq!(hand(&mut desk, now), QUIET);
    desk.end_claim(Found::Nothing, true, now);
    assert!(desk.is_over());
}

#[test]
fn a_worker_ends_when_nothing_is_ready_and_nothing_is_under_way() {
    let until_empty = Settings {
        until_empty: true,
        ..settings()
    };
    let (mut desk, now) = with_jobs(until_empty, &["a"], Found::Some);
    assert_eq!(hand(&mut desk, now), Task::Run("a"));
    // What another thread finds now says nothing about what "a" leads to.
    assert_eq!(hand(&mut desk, now), BUSY);
    desk.end_claim(Found::Nothing, false, now);
    assert_eq!(hand(&mut desk, now), Task::Wait(Some(1000 * MS)));
    desk.put_due("a", now);
    desk.ran(MS, now);
    assert!(!desk.is_over());
    assert_eq!(hand(&mut desk, now), Task::Finish(vec!["a"]));
    assert!(!desk.is_over());
    desk.end_finish(now);

    // The last look is not put off.
    assert_eq!(hand(&mut desk, now), QUIET);
    assert!(!desk.is_over());
    desk.end_claim(Found::Nothing, true, now);
    assert!(desk.is_over());
    assert_eq!(hand(&mut desk, now), Task::Stop);
    assert_eq!(keeper(&mut desk, now), Task::Stop);
}

#[test]
fn a_worker_does_not_end_while_a_job_is_ready_later() {
    let until_empty = Settings {
        until_empty: true,
        ..settings()
    };
    let (mut desk, now) = desk(until_empty);
    assert_eq!(hand(&mut desk, now), QUIET);
    desk.end_claim(Found::Later(now + 100 * MS), true, now);
    assert!(!desk.is_over());
    assert_eq!(hand(&mut desk, now), Task::Wait(Some(100 * MS)));
}

#[test]
fn the_last_look_is_the_only_claim() {
    let until_empty = Settings {
        until_empty: true,
        ..settings()
    };
    let (mut desk, now) = with_jobs(until_empty, &["a"], Found::Some);
    run(&mut desk, MS / 10, now);
    assert_eq!(hand(&mut desk, now), Task::Finish(vec!["a"]));
    desk.end_finish(now);
    desk.idle = 2;
    assert_eq!(hand(&mut desk, now), QUIET);
    assert_eq!(
        hand(&mut desk, now),
        Task::Wait(None),
        "what it took would be missed"
    );
    desk.end_claim(Found::Some, true, now);
    assert_eq!(hand(&mut desk, now), QUIET);
}

#[test]
fn a_claim_that_ends_after_the_last_job_does_not_put_the_last_look_off() {
    let until_empty = Settings {
        until_empty: true,
        ..settings()
    };
    let (mut desk, now) = with_jobs(until_empty, &["a"], Found::Some);
    run(&mut desk, MS, now);
    assert_eq!(hand(&mut desk, now), Task::Finish(vec!["a"]));
    assert_eq!(hand(&mut desk, now), BUSY);
    desk.end_finish(now);
    desk.end_claim(Found::Nothing, false, now);
    assert_eq!(hand(&mut desk, now), QUIET);
}

#[test]
fn waits_and_batches_without_end_overflow_nothing() {
    let endless = Settings {
        batch: usize::MAX,
        poll_every: Duration::MAX,
        finish_within: Duration::MAX,
        ..settings()
    };
    let (mut desk, now) = with_jobs(endless, &["a", "b"], Found::Some);
    run(&mut desk, MS, now);
    assert!(matches!(keeper(&mut desk, now), Task::Wait(Some(_))));
    desk.idle = 2;
    run(&mut desk, MS, now);
    assert_eq!(hand(&mut desk, now), Task::Finish(vec!["a", "b"]));
    desk.put_off("a", Duration::MAX, now);
    desk.ready_at(now);
    desk.end_finish(now);
    desk.poll(now);
    for _ in 0..3 {
        assert!(matches!(
            hand(&mut desk, now),
            Task::Claim { .. } | Task::Wait(_)
        ));
    }
    desk.fail_claim(Duration::MAX, now);
    assert!(matches!(hand(&mut desk, now), Task::Wait(Some(_))));
}

#[test]
fn what_becomes_ready_during_the_last_look_is_looked_for() {
    let until_empty = Settings {
        until_empty: true,
        ..settings()
    };
    let (mut desk, now) = desk(until_empty);
    assert_eq!(hand(&mut desk, now), QUIET);
    desk.poll(now);
    desk.end_claim(Found::Nothing, true, now);
    assert!(!desk.is_over());
    assert_eq!(hand(&mut desk, now), QUIET);
}

#[test]
fn a_worker_that_was_not_to_end_waits_for_jobs() {
    let (desk, _) = with_jobs(settings(), &[], Found::Nothing);
    assert!(!desk.is_over());
}

#[test]
fn a_shutdown_gives_the_waiting_jobs_back_and_finishes_what_runs() {
    let (mut desk, now) = with_jobs(settings(), &["a", "b", "c"], Found::Enough);
    assert_eq!(hand(&mut desk, now), Task::Run("a"));
    assert_eq!(desk.shut_down(), ["b", "c"]);
    assert!(desk.is_shutting_down());

    for job in ["b", "c"] {
        desk.put_due(job, now);
    }
    assert_eq!(
        keeper(&mut desk, now),
        Task::Finish(vec!["b", "c"]),
        "at once"
    );
    desk.end_finish(now);
    assert_eq!(hand(&mut desk, now), Task::Wait(None), "no more is claimed");
    assert!(!desk.is_over(), "one still runs");

    desk.put_due("a", now);
    desk.ran(MS, now);
    assert_eq!(hand(&mut desk, now), Task::Finish(vec!["a"]));
    desk.end_finish(now);
    assert_eq!(hand(&mut desk, now), Task::Stop);
    assert_eq!(keeper(&mut desk, now), Task::Stop);
}

#[test]
fn a_shutdown_waits_for_a_claim_that_is_under_way() {
    let (mut desk, now) = desk(settings());
    assert_eq!(hand(&mut desk, now), QUIET);
    assert!(desk.shut_down().is_empty());
    assert_eq!(keeper(&mut desk, now), Task::Wait(None));
    desk.end_claim(Found::Enough, true, now);
    assert_eq!(keeper(&mut desk, now), Task::Stop);
}
