//! Calls on many rows, one of which another transaction holds.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use diesel::prelude::*;
use diesel::result::Error as DieselError;
use diesel_status_tracker::StatusTracked;

use super::database::TestConnection;
use super::held_rows::{Brief, Holder};
use super::jobs::{Job, Status, assert_names, die, jobs, row};
use super::pools::{Event, Log, pool_with};
use super::sessions::{lock_wait, wait_seven_seconds};
use super::worker::drainable;

#[test]
fn held_rows_do_not_block_others_from_being_reset_or_pruned() {
    let (db, pool) = drainable(700);
    db.sql("UPDATE jobs SET status = 50, retry = 3");
    let before = row(&db, "7");
    let holder = Holder::of(&db, &["7"]);

    let error = Job::reset_many(&pool, (0..700).map(|n| n.to_string())).unwrap_err();
    assert_err!(error, Locked);
    assert_names(&error, "7");
    let fresh = jobs::table.filter(jobs::status.eq(Status::Pending)).count();
    assert_eq!(fresh.get_result(&mut *db.conn()), Ok(699_i64));
    assert_eq!(row(&db, "7"), before);

    let done = [Status::Pending, Status::Ignored];
    let month = Duration::ZERO;
    assert_eq!(Job::prune(&pool, &done, month).unwrap(), 699);
    assert_eq!(Job::prune(&pool, &done, month).unwrap(), 0);
    holder.let_go();
    assert_eq!(Job::prune(&pool, &done, month).unwrap(), 1);
}

#[test]
fn a_call_in_a_transaction_leaves_it_its_own_limit_on_waits() {
    type Call = fn(&mut TestConnection) -> bool;
    const CALLS: [Call; 4] = [
        // Where it fails it may break the transaction: a savepoint of the caller's.
        |conn| {
            let reset = conn.transaction(|conn| {
                Job::reset(&mut *conn, "2").map_err(|_| DieselError::RollbackTransaction)
            });
            reset.is_ok()
        },
        |conn| Job::reset_many(conn, ["2", "3"]).is_ok(),
        |conn| Job::prune(conn, &[Job::IGNORED], Duration::ZERO).unwrap() == 2,
        |conn| Brief::expire_locks(conn).unwrap() == 2,
    ];
    let (db, pool) = drainable(4);
    for id in ["0", "1"] {
        die::<Brief>(&db, &pool, id);
    }
    db.sql("UPDATE jobs SET status = 50, retry = 3 WHERE id > '1'");
    for set in [|_: &mut TestConnection| {}, wait_seven_seconds] {
        let mut conn = TestConnection::establish(db.url()).unwrap();
        set(&mut conn);
        let before = lock_wait(&mut conn);
        for held in [&[][..], &["0", "2"]] {
            let holder = Holder::of(&db, held);
            for (n, call) in CALLS.into_iter().enumerate() {
                conn.test_transaction(|conn| {
                    assert_eq!(call(conn), held.is_empty(), "{n} {held:?}");
                    assert_eq!(lock_wait(conn), before, "{n} {held:?}");
                    QueryResult::Ok(())
                });
            }
            holder.let_go();
        }
    }
}

#[test]
fn a_reset_in_the_transaction_of_a_job_leaves_it_its_own_limit_on_waits() {
    let (db, _) = drainable(2);
    db.sql("UPDATE jobs SET status = 50, retry = 3 WHERE id = '1'");
    let before = lock_wait(&mut TestConnection::establish(db.url()).unwrap());

    Job::run_job_in_transaction(&db.pool(1), "0", |conn, _, _| {
        Job::reset(&mut *conn, "1")?;
        assert_eq!(lock_wait(conn), before);
        Ok(())
    })
    .unwrap();

    assert_eq!(row(&db, "1").status, Status::Pending);
}

#[test]
fn a_row_that_is_held_for_a_moment_is_reset_all_the_same() {
    let (db, _) = drainable(20);
    db.sql("UPDATE jobs SET status = 50, retry = 3");
    let holder = Mutex::new(Some(Holder::of(&db, &["7"])));
    // Let go before the second try.
    let updates = AtomicUsize::new(0);
    let pool = {
        let holder = Arc::new(holder);
        let updates = Arc::new(updates);
        pool_with(db.url(), 1, move |conn| {
            let (holder, updates) = (Arc::clone(&holder), Arc::clone(&updates));
            Log::default().watch_and(conn, move |event| {
                let is_update = matches!(event, Event::Started(sql) if sql.starts_with("UPDATE"));
                // Once for all, then for each.
                if is_update && updates.fetch_add(1, Ordering::Relaxed) == 21 {
                    holder.lock().unwrap().take().unwrap().let_go();
                }
            });
        })
    };

    assert_eq!(
        Job::reset_many(&pool, (0..20).map(|n| n.to_string())).unwrap(),
        20
    );
}
