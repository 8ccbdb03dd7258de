//! Each rule, by the rows that it decides on.

use super::*;

const STEP: Step<i32> = Step {
    pending: 1,
    in_progress: 2,
    failed: 3,
    succeeded: 4,
    ignored: 5,
    more_pending: &[14],
    lock_expire: Duration::from_secs(10),
    max_retry: 3,
    retry_delay: None,
    max_conflicts: 10,
    has_run_at: true,
    redact: |_| {},
};

fn at(second: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(second, 0)
}

/// A row that nobody holds, read at second 100.
fn free(status: i32) -> RowState<i32> {
    RowState {
        status,
        lock: None,
        lock_at: None,
        retry: 0,
        run_at: None,
        now: at(100).unwrap(),
    }
}

/// A row with the lock "token" of this second.
fn locked(status: i32, second: i64) -> RowState<i32> {
    RowState {
        lock: Some("token".into()),
        lock_at: at(second),
        ..free(status)
    }
}

#[test]
fn a_job_starts_once_its_time_has_come() {
    for status in [1, 3, 14] {
        let due = |run_at| {
            STEP.may_start(&RowState {
                run_at,
                ..free(status)
            })
        };
        assert_eq!(due(None), Start::Ready);
        assert_eq!(due(at(99)), Start::Ready);
        assert_eq!(due(at(100)), Start::Ready);
        let run_at = at(101);
        let refusal = Refusal::NotReady { status, run_at };
        assert_eq!(due(run_at), Start::Refused(refusal));
    }
}

#[test]
fn a_job_that_is_done_ignored_or_of_another_step_does_not_start() {
    let not_ready = |status| Refusal::NotReady {
        status,
        run_at: None,
    };
    for (status, refusal) in [
        (4, Refusal::AlreadySucceeded),
        (5, Refusal::Ignored { retry: 0 }),
        (2, not_ready(2)),
        (7, not_ready(7)),
    ] {
        assert_eq!(STEP.may_start(&free(status)), Start::Refused(refusal));
    }
}

#[test]
fn a_lock_holds_until_its_last_moment() {
    let refused = |lock_at, expires_at| {
        Start::Refused(Refusal::Locked {
            lock_at,
            expires_at,
        })
    };
    let starts = |row| STEP.may_start(&row);
    assert_eq!(starts(locked(2, 90)), refused(at(90), at(100)));
    assert_eq!(starts(locked(2, 89)), Start::Expired);
    // Locked by hand, or by another step: it never expires.
    assert_eq!(starts(locked(1, 0)), refused(at(0), None));
    assert_eq!(starts(locked(7, 0)), refused(at(0), None));
}

#[test]
fn only_a_free_row_of_the_step_may_be_reset() {
    for status in 1..=5 {
        assert!(STEP.may_reset(&free(status)));
        assert!(!STEP.may_reset(&locked(status, 0)));
        let refusal = STEP.why_not_reset(&locked(status, 50));
        let (lock_at, expires_at) = (at(50), at(60));
        let expected = Refusal::Locked {
            lock_at,
            expires_at,
        };
        assert_eq!(refusal, expected);
    }
    assert!(!STEP.may_reset(&free(7)));
    let (status, run_at) = (7, None);
    let expected = Refusal::NotReady { status, run_at };
    assert_eq!(STEP.why_not_reset(&free(7)), expected);
    let (lock_at, expires_at) = (at(50), None);
    let expected = Refusal::Locked {
        lock_at,
        expires_at,
    };
    assert_eq!(STEP.why_not_reset(&locked(7, 50)), expected);
}

/// The write of an outcome keeps the time of the lock, and so does an
/// expiry. Whatever comes later sets another time.
#[test]
fn a_row_tells_whether_a_write_happened_until_it_changes_again() {
    let ended = |status, second| RowState {
        lock_at: at(second),
        ..free(status)
    };
    let told = |row: &RowState<_>, status| STEP.after_lost_answer(row, "token", at(50), status);
    assert_eq!(told(&locked(2, 50), 4), LostAnswer::StillHeld);
    assert_eq!(told(&locked(2, 60), 4), LostAnswer::StillHeld, "renewed");
    for status in [1, 3, 4, 5] {
        assert_eq!(told(&ended(status, 50), status), LostAnswer::Written);
        assert_eq!(told(&ended(status, 60), status), LostAnswer::Unknown);
        let other = RowState {
            lock: Some("other".into()),
            ..ended(status, 50)
        };
        assert_eq!(told(&other, status), LostAnswer::Unknown);
        assert_eq!(
            STEP.after_lost_answer(&ended(status, 50), "token", None, status),
            LostAnswer::Unknown,
            "the time of the lock is not known"
        );
    }
    for expired in [3, 5] {
        assert_eq!(told(&ended(expired, 50), 4), LostAnswer::ExpiredFirst);
        assert_eq!(told(&ended(expired, 60), 4), LostAnswer::Unknown);
    }
    for other in [1, 7] {
        assert_eq!(told(&ended(other, 50), 4), LostAnswer::Unknown);
    }
}

#[test]
fn a_failure_counts_up_to_the_limit_and_waits_as_long_as_asked() {
    const SECOND: Duration = Duration::from_secs(1);
    let delayed = Step {
        retry_delay: Some(|retry| SECOND * retry.cast_unsigned()),
        ..STEP
    };
    let after = |step: &Step<i32>, retry, directive| step.after_failure(retry, directive).0;
    let outcome = |status, retry, delay| FailureOutcome {
        status,
        retry,
        delay,
    };
    assert_eq!(after(&STEP, 0, None), outcome(3, 1, None));
    assert_eq!(after(&delayed, 1, None), outcome(3, 2, Some(2 * SECOND)));
    let directive = Some(RetryDirective::After(7 * SECOND));
    assert_eq!(
        after(&delayed, 1, directive),
        outcome(3, 2, Some(7 * SECOND))
    );
    assert_eq!(after(&STEP, 1, directive), outcome(3, 2, Some(7 * SECOND)));
    for last in [after(&STEP, 2, directive), after(&delayed, 2, None)] {
        assert_eq!(last, outcome(5, 3, None));
    }
    assert_eq!(
        after(&STEP, 0, Some(RetryDirective::Never)),
        outcome(5, 1, None)
    );
    let no_column = Step {
        has_run_at: false,
        ..delayed
    };
    assert_eq!(after(&no_column, 0, None), outcome(3, 1, None));
    assert_eq!([0, 1].map(|retry| STEP.released(retry)), [1, 3]);
}
