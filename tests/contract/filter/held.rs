//! A row that another transaction holds, where claims have a condition.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_status_tracker::StatusTracked;

use super::database::{TestConnection, TestDb};
use super::filter::{Letter, letters, with_letters};
use super::worker::summary;

/// Another's transaction that holds the rows of these letters.
fn holder(db: &TestDb, ids: &[i32]) -> TestConnection {
    let mut conn = TestConnection::establish(db.url()).unwrap();
    conn.batch_execute("BEGIN").unwrap();
    for id in ids {
        let held = letters::table.find(id).select(letters::id).for_update();
        held.get_result::<i32>(&mut conn).unwrap();
    }
    conn
}

#[test]
fn a_held_row_hides_no_other_that_matches() {
    for wanted in [1, 10] {
        let (db, pool) = with_letters(&["mail", "sms", "mail", "mail"], 1);
        let holder = holder(&db, &[0, 1]);

        let mail = Letter::filter(letters::kind.eq("mail"));
        let mut got = Vec::new();
        loop {
            let batch = mail.claim_next(&pool, wanted).unwrap();
            if batch.is_empty() {
                break;
            }
            for letter in batch {
                got.push(letter.id);
                letter.succeed().unwrap();
            }
        }

        assert_eq!(got, [2, 3]);
        drop(holder);
    }
}

#[test]
fn a_worker_does_not_wait_for_a_held_row_that_does_not_match() {
    let (db, pool) = with_letters(&["sms", "mail", "mail"], 3);
    let holder = holder(&db, &[0]);

    let worker = Letter::filter(letters::kind.eq("mail")).worker(&pool);
    let done = worker.batch(5).run_until_empty(|_, _| Ok(()));

    assert_eq!(done.unwrap(), summary(|s| s.succeeded = 2));
    drop(holder);
}

/// The transaction that holds the only row makes it one that does not match.
#[test]
fn a_held_row_that_stops_matching_is_not_claimed() {
    let (db, pool) = with_letters(&["mail"], 1);
    let mut holder = holder(&db, &[0]);
    let change = diesel::update(letters::table.find(0)).set(letters::kind.eq("sms"));
    change.execute(&mut holder).unwrap();

    let mail = Letter::filter(letters::kind.eq("mail"));
    assert!(mail.claim_next(&pool, 1).unwrap().is_empty());
    holder.batch_execute("COMMIT").unwrap();
    assert!(mail.claim_next(&pool, 1).unwrap().is_empty());

    let next = Letter::run_next(&pool, |letter, _| Ok(letter.kind.clone())).unwrap();
    assert_eq!(next.as_deref(), Some("sms"));
}
