//! Jobs that stop or begin to match a condition, and conditions and rows that fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Nullable};
use diesel_status_tracker::clock::ago;
use diesel_status_tracker::{BoxError, RunningJob, StatusTracked};

use super::backend::FAILS_FOR_SIZE_1;
use super::database::TestConnection;
use super::filter::{Letter, LetterUpdates, all, create, ids, is_new, letters, seen, with_letters};
use super::jobs::Status;
use super::pools::{Event, Log, pool_with, verb};
use super::sessions::impatient;
use super::worker::{summary, until};

/// Before one of the statements of a claim, another makes the first candidate one
/// that does not match, unless it is claimed by then.
#[test]
fn a_job_that_stops_matching_before_it_is_claimed_is_left_alone() {
    for wanted in [1, 5] {
        for has_bad_row in [false, true] {
            let mut came_between = 0;
            for nth in 1..=8 {
                let (db, setup) = with_letters(&["mail", "mail", "mail"], 1);
                if has_bad_row {
                    // So that the others are claimed one by one.
                    refuse_letters(&mut db.conn());
                }
                let url = db.url().to_owned();
                let statements = Arc::new(AtomicUsize::new(0));
                let seen_statements = Arc::clone(&statements);
                let pool = pool_with(db.url(), 1, move |conn| {
                    let (url, statements) = (url.clone(), Arc::clone(&seen_statements));
                    Log::default().watch_and(conn, move |event| {
                        let is_start = matches!(event, Event::Started(_));
                        if is_start && statements.fetch_add(1, Ordering::Relaxed) + 1 == nth {
                            let mut other = TestConnection::establish(&url).unwrap();
                            impatient(&mut other);
                            let row = letters::table.find(1).filter(letters::status.eq(10));
                            let change = diesel::update(row).set(letters::kind.eq("sms"));
                            // Where the claim has it by then, that is refused.
                            let _ = change.execute(&mut other);
                        }
                    });
                });

                let batch = Letter::filter(letters::kind.eq("mail")).claim_next(&pool, wanted);

                let batch = batch.unwrap_or_default();
                assert!(
                    batch.iter().all(|letter| letter.kind == "mail"),
                    "{batch:?}"
                );
                let rows = all(&db);
                let locked = rows.iter().filter(|(_, row)| row.1.is_some());
                let mut claimed = ids(&batch);
                claimed.sort_unstable();
                assert_eq!(locked.map(|(id, _)| *id).collect::<Vec<_>>(), claimed);
                assert!(!claimed.is_empty() && claimed.len() <= wanted);
                came_between += usize::from(rows[&1].3 == "sms");
                drop((batch, setup));
            }
            assert!(came_between > 0, "nothing came between");
        }
    }
}

/// Each search finds it, and each claim finds that it matches no more: that is no update
/// which the database drops.
#[test]
fn a_job_that_matches_now_and_then_is_no_error() {
    let (db, _) = with_letters(&["sms"], 1);
    let url = db.url().to_owned();
    let pool = pool_with(db.url(), 1, move |conn| {
        let mut other = TestConnection::establish(&url).unwrap();
        impatient(&mut other);
        Log::default().watch_and(conn, move |event| {
            let kind = match event {
                Event::Started(sql) if verb(sql) == "SELECT" && sql.contains("ORDER BY") => "mail",
                Event::Started(sql) if ["UPDATE", "WITH"].contains(&verb(sql)) => "sms",
                _ => return,
            };
            let row = diesel::update(letters::table.find(0));
            let changed = row.set(letters::kind.eq(kind)).execute(&mut other);
            assert_eq!(changed, Ok(1));
        });
    });

    let mail = Letter::filter(letters::kind.eq("mail"));
    let next = mail.run_next(&pool, |_, _| -> Result<(), _> { panic!("it ran") });

    assert_eq!(next.unwrap(), None);
    assert!(is_new(&seen(&db, 0)));
}

/// Has the database refuse each claim of letter 0.
fn refuse_letters(conn: &mut TestConnection) {
    let sql = super::backend::refusal(
        "UPDATE ON letters",
        "NEW.id = 0 AND NEW.status = 20",
        "it is closed",
    );
    diesel::connection::SimpleConnection::batch_execute(conn, &sql).unwrap();
}

#[test]
fn a_row_that_cannot_be_read_or_claimed_hides_no_other_that_matches() {
    let (db, pool) = with_letters(&["mail", "sms", "mail", "mail", "sms", "mail"], 1);
    db.sql("UPDATE letters SET note = NULL WHERE id IN (1, 2)");
    refuse_letters(&mut db.conn());
    let mail = Letter::filter(letters::kind.eq("mail"));

    let mut got = Vec::new();
    let error = loop {
        match mail.run_next(&pool, |letter, _| Ok(letter.id)) {
            Ok(Some(id)) => got.push(id),
            other => break other.unwrap_err(),
        }
    };

    got.sort_unstable();
    assert_eq!(got, [3, 5]);
    assert_err!(error, Database);
    // Of the others that cannot be read nobody speaks.
    let message = error.to_string();
    assert!(
        message.contains("letters 0") || message.contains("letters 2"),
        "{message}"
    );
    assert!([0, 1, 2, 4].iter().all(|id| is_new(&seen(&db, *id))));

    let done = mail
        .worker(&pool)
        .batch(3)
        .run_until_empty(|_, _| Ok(()))
        .unwrap();
    assert_eq!(done, summary(|s| (s.unreadable, s.refused) = (1, 1)));
}

#[test]
fn a_worker_expires_the_dead_attempts_of_jobs_that_do_not_match() {
    let (db, pool) = with_letters(&["mail", "sms"], 2);
    std::mem::forget(Letter::start(&pool, 1).unwrap());
    let old = letters::lock_at.eq(ago(Duration::from_secs(60 * 60)));
    let row = diesel::update(letters::table.find(1)).set(old);
    row.execute(&mut *db.conn()).unwrap();

    let worker = Letter::filter(letters::kind.eq("mail")).worker(&pool);
    let handle = worker.handle();
    thread::scope(|scope| {
        let worker = scope.spawn(|| worker.run(|_, _| Ok(())));
        until("it is expired", || seen(&db, 1).0 == Status::Failed);
        handle.shutdown();
        worker.join().unwrap().unwrap();
    });

    // Ended, and not started.
    let (status, lock, retry, _) = seen(&db, 1);
    assert_eq!((status, lock, retry), (Status::Failed, None, 1));
}

#[test]
fn a_job_that_begins_to_match_is_found() {
    let (db, pool) = with_letters(&["sms", "mail", "mail"], 2);
    let worker = Letter::filter(letters::kind.eq("mail")).worker(&pool);
    let worker = worker.poll_every(Duration::from_millis(10));
    let handle = worker.handle();
    thread::scope(|scope| {
        let worker = scope.spawn(|| worker.run(|_, _| Ok(())));
        until("both are done", || {
            [1, 2]
                .iter()
                .all(|id| seen(&db, *id).0 == Status::Succeeded)
        });
        // By a hand that leaves `update_at`, so it lies before where the last
        // search ended.
        db.sql("UPDATE letters SET kind = 'mail' WHERE id = 0");
        until("it is done", || seen(&db, 0).0 == Status::Succeeded);
        handle.shutdown();
        let done = worker.join().unwrap().unwrap();
        assert_eq!(done, summary(|s| s.succeeded = 3));
    });
}

#[test]
fn a_condition_that_the_database_cannot_evaluate_is_an_error_that_names_the_table() {
    let (db, pool) = with_letters(&["mail"; 6], 4);
    let before = all(&db);
    let failing = Letter::filter(sql::<Nullable<Bool>>(FAILS_FOR_SIZE_1));

    for error in [
        failing.run_next(&pool, |_, _| Ok(())).unwrap_err(),
        failing.claim_next(&pool, 1).unwrap_err(),
        failing.claim_next(&pool, 10).unwrap_err(),
        failing.worker(&pool).run(|_, _| Ok(())).unwrap_err(),
    ] {
        assert_err!(error, Database);
        assert!(error.to_string().contains("letters"), "{error}");
    }

    assert_eq!(all(&db), before);
    let done = Letter::worker(&pool)
        .run_until_empty(|_, _| Ok(()))
        .unwrap();
    assert_eq!(done, summary(|s| s.succeeded = 6));
}

#[test]
fn a_condition_that_fails_for_a_later_row_costs_the_other_workers_nothing() {
    let (db, pool) = with_letters(&["mail"], 8);
    let failing = Letter::filter(sql::<Nullable<Bool>>(FAILS_FOR_SIZE_1));
    let worker = failing.worker(&pool).poll_every(Duration::from_millis(10));
    let handle = worker.handle();
    let no_work =
        |_: &RunningJob<Letter, TestConnection>, _: &mut LetterUpdates| Ok::<(), BoxError>(());
    thread::scope(|scope| {
        let worker = scope.spawn(|| worker.run(no_work));
        until("it works", || seen(&db, 0).0 == Status::Succeeded);
        create(&pool, 1, &["poison"]);
        create(&pool, 2, &["mail", "mail"]);
        // The condition of this one holds for them, and its worker runs them.
        let mail = Letter::filter(letters::kind.eq("mail"));
        mail.worker(&pool).run_until_empty(no_work).unwrap();
        let is_done = |id: i32| seen(&db, id).0 == Status::Succeeded;
        until("they are done", || is_done(2) && is_done(3));
        // When the row is gone, the first works on.
        Letter::run_job(&pool, 1, |_, _| Ok(())).unwrap();
        create(&pool, 4, &["mail"]);
        until("it works on", || seen(&db, 4).0 == Status::Succeeded);
        handle.shutdown();
        worker.join().unwrap().unwrap();
    });
}
