//! Which idle threads are woken.

use super::*;

#[test]
fn a_thread_is_woken_for_a_job_and_wakes_the_next_one_for_the_next_job() {
    let (mut scheduler, now) = with_jobs(settings(), &["a", "b", "c"], Found::Enough);
    scheduler.begin_idle();
    scheduler.begin_idle();
    assert_eq!(worker_thread(&mut scheduler, now), Task::Run("a"));
    assert!(scheduler.wakes_another(now));
    assert!(!scheduler.wakes_another(now), "one is on its way");
    scheduler.end_idle();
    assert_eq!(worker_thread(&mut scheduler, now), Task::Run("b"));
    assert!(scheduler.wakes_another(now));
}

#[test]
fn no_thread_is_woken_if_there_is_nothing_to_do() {
    let (mut scheduler, now) = with_jobs(settings(), &["a"], Found::Enough);
    scheduler.begin_idle();
    assert_eq!(worker_thread(&mut scheduler, now), Task::Run("a"));
    assert!(scheduler.wakes_another(now), "it claims the next jobs");
    scheduler.end_idle();
    assert_eq!(worker_thread(&mut scheduler, now), BUSY);
    scheduler.begin_idle();
    assert_eq!(worker_thread(&mut scheduler, now), Task::Wait(None));
    assert!(!scheduler.wakes_another(now));
}

/// An idle thread looks by itself when the time of its wait is over. If it is woken and
/// gets a task, nobody waits for that time any more.
#[test]
fn an_idle_thread_is_told_if_it_must_look_sooner_than_it_knows() {
    let (mut scheduler, now) = with_jobs(settings(), &[], Found::Nothing);
    assert_eq!(
        worker_thread(&mut scheduler, now),
        Task::Wait(Some(1000 * MS))
    );
    scheduler.begin_idle();
    assert!(!scheduler.wakes_another(now), "it knows");
    scheduler.due_at(now + 100 * MS);
    assert!(scheduler.wakes_another(now));
    assert!(!scheduler.wakes_another(now));

    scheduler.begin_idle();
    scheduler.claimed(["a"]);
    assert!(scheduler.wakes_another(now));
    scheduler.end_idle();
    assert_eq!(worker_thread(&mut scheduler, now), Task::Run("a"));
    assert!(
        scheduler.wakes_another(now),
        "the other one may wait for longer"
    );
    scheduler.end_idle();
    assert_eq!(
        worker_thread(&mut scheduler, now),
        Task::Wait(Some(100 * MS))
    );
    scheduler.begin_idle();
    assert!(!scheduler.wakes_another(now));
}

#[test]
fn an_idle_thread_is_woken_for_an_outcome_that_was_postponed() {
    let (mut scheduler, now) = with_jobs(settings(), &["a"], Found::Enough);
    scheduler.begin_idle();
    run(&mut scheduler, 1000 * MS, now);
    assert_eq!(
        flusher(&mut scheduler, now + 10 * MS),
        Task::Flush(vec!["a"])
    );
    let late = now + 10 * MS;
    assert_eq!(worker_thread(&mut scheduler, late), BUSY);
    assert!(!scheduler.wakes_another(late));
    scheduler.postpone("a", 5 * MS, late);
    assert!(scheduler.wakes_another(late));
}
