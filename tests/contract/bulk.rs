//! Many rows at a time, in few statements: created, reset, expired, pruned.

use std::time::Duration;

use diesel::prelude::*;
use diesel::result::Error as DieselError;
use diesel_status_tracker::StatusTracked;
use diesel_status_tracker::clock::ago;

use super::database::{TestConnection, TestDb, TestPool};
use super::jobs::{Job, JobUpdates, Status, jobs, row, set_status};
use super::own_statements::ROWS_AN_INSERT;
use super::pools::{Event, Log, pool_with, verb};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Jobs "0" to "n - 1", over one connection that is watched.
fn jobs(n: u32) -> (TestDb, TestPool, Log) {
    let (db, log) = (TestDb::new(), Log::default());
    let watched = log.clone();
    let pool = pool_with(db.url(), 1, move |conn| watched.watch(conn));
    let rows = (0..n).map(|id| (id.to_string(), JobUpdates::default()));
    Job::create_many(&pool, rows).unwrap();
    log.take();
    (db, pool, log)
}

fn count(conn: &mut TestConnection) -> i64 {
    jobs::table.count().get_result(conn).unwrap()
}

/// How many transactions there were since the last look, and the statements
/// in them, by their first words.
fn ran(log: &Log) -> (usize, Vec<String>) {
    let (mut transactions, mut statements) = (0, Vec::new());
    for event in log.take() {
        match event {
            Event::Transaction => transactions += 1,
            Event::Started(sql) => match verb(&sql) {
                "BEGIN" | "COMMIT" => {}
                word => statements.push(word.to_owned()),
            },
            Event::Prepared(_) => {}
            Event::Failed(error) => panic!("{error}"),
        }
    }
    (transactions, statements)
}

/// Makes all rows old enough to be pruned, some in the state `odd`.
fn age(db: &TestDb, status: Status) {
    diesel::update(jobs::table)
        .set((jobs::status.eq(status), jobs::update_at.eq(ago(DAY * 2))))
        .execute(&mut *db.conn())
        .unwrap();
}

#[test]
fn very_many_are_created_in_few_statements_and_one_transaction() {
    let (db, pool, log) = jobs(0);
    let rows = (0..20_000).map(|id| (id.to_string(), JobUpdates::default()));

    assert_eq!(Job::create_many(&pool, rows).unwrap(), 20_000);

    let (transactions, statements) = ran(&log);
    assert_eq!(transactions, 1);
    assert_eq!(statements.len(), 20_000 / ROWS_AN_INSERT);
    assert!(statements.iter().all(|word| word == "INSERT"));
    assert_eq!(count(&mut db.conn()), 20_000);
}

#[test]
fn many_are_reset_in_few_statements() {
    let (db, pool, log) = jobs(1200);
    db.sql("UPDATE jobs SET status = 50, retry = 3");
    Job::reset(&pool, "1").unwrap();
    let _held = Job::start(&pool, "1").unwrap();
    set_status(&db, "2", Status::Archived); // another step's
    let before = ["1", "2"].map(|id| row(&db, id));
    log.take();

    let keys = (0..=1200).map(|id| id.to_string()); // the last is missing
    assert_eq!(Job::reset_many(&pool, keys).unwrap(), 1198);

    assert_eq!(ran(&log), (0, vec!["UPDATE".to_owned(); 3]));
    assert_eq!(["1", "2"].map(|id| row(&db, id)), before);
    let fresh = jobs::table.filter(jobs::status.eq(Status::Pending).and(jobs::retry.eq(0)));
    assert_eq!(fresh.count().get_result(&mut *db.conn()), Ok(1198_i64));
}

#[test]
fn dead_attempts_are_expired_in_short_transactions() {
    let (db, pool, log) = jobs(250);
    diesel::update(jobs::table)
        .set((
            jobs::status.eq(Status::InProgress),
            jobs::lock.eq("of a dead worker"),
            jobs::lock_at.eq(ago(DAY)),
        ))
        .execute(&mut *db.conn())
        .unwrap();

    assert_eq!(Job::expire_locks(&pool).unwrap(), 250);

    let (transactions, statements) = ran(&log);
    assert_eq!(transactions, 3);
    // The keys of each, then each row and its end.
    assert_eq!(statements.len(), 3 + 2 * 250);
    let counts = Job::count_by_status(&pool).unwrap();
    assert_eq!(counts, [(Status::Failed, 250)]);
}

#[test]
fn only_old_finished_rows_that_nobody_holds_are_pruned() {
    let (db, pool, _) = jobs(0);
    for (id, status, days) in [
        ("succeeded", Status::Succeeded, 3),
        ("ignored", Status::Ignored, 3),
        ("locked by hand", Status::Succeeded, 3),
        ("not for long", Status::Succeeded, 1),
        ("pending", Status::Pending, 3),
        ("failed", Status::Failed, 3),
        ("another step's", Status::Archived, 3),
    ] {
        Job::create_and_save(&pool, id, JobUpdates::default()).unwrap();
        diesel::update(jobs::table.find(id))
            .set((jobs::status.eq(status), jobs::update_at.eq(ago(DAY * days))))
            .execute(&mut *db.conn())
            .unwrap();
    }
    db.sql("UPDATE jobs SET `lock` = 'me' WHERE id = 'locked by hand'");
    let left = || {
        let ids = jobs::table.select(jobs::id).order_by(jobs::create_at);
        let mut ids: Vec<String> = ids.load(&mut *db.conn()).unwrap();
        ids.sort();
        ids
    };
    let before = left();

    // Of no status, none; and none that has changed since.
    assert_eq!(Job::prune(&pool, &[], Duration::ZERO).unwrap(), 0);
    let done = [Job::SUCCEEDED, Job::IGNORED];
    assert_eq!(Job::prune(&pool, &done, DAY * 4).unwrap(), 0);
    assert_eq!(Job::prune(&pool, &done, Duration::MAX).unwrap(), 0);
    assert_eq!(left(), before);

    assert_eq!(Job::prune(&pool, &done, DAY * 2).unwrap(), 2);

    assert_eq!(
        left(),
        [
            "another step's",
            "failed",
            "locked by hand",
            "not for long",
            "pending"
        ]
    );
}

#[test]
fn many_are_pruned_in_few_statements() {
    let (db, pool, log) = jobs(1201);
    age(&db, Status::Succeeded);

    assert_eq!(Job::prune(&pool, &[Job::SUCCEEDED], DAY).unwrap(), 1201);

    let (transactions, statements) = ran(&log);
    assert_eq!(transactions, 0);
    assert_eq!(statements, ["SELECT", "DELETE"].repeat(3));
    assert_eq!(count(&mut db.conn()), 0);
}

#[test]
fn a_whole_number_of_chunks_is_pruned_to_the_end() {
    let (db, pool, _) = jobs(1000);
    age(&db, Status::Ignored);

    assert_eq!(Job::prune(&pool, &[Job::IGNORED], DAY).unwrap(), 1000);

    assert_eq!(count(&mut db.conn()), 0);
}

#[test]
fn rows_that_are_pruned_in_a_transaction_come_back_with_its_rollback() {
    let (db, ..) = jobs(1201);
    age(&db, Status::Succeeded);
    let mut pooled = db.pool(1).get().unwrap();

    let rolled_back = pooled.transaction::<(), _, _>(|conn| {
        assert_eq!(
            Job::prune(&mut *conn, &[Job::SUCCEEDED], DAY).unwrap(),
            1201
        );
        assert_eq!(count(conn), 0);
        Err(DieselError::RollbackTransaction)
    });

    assert_eq!(rolled_back, Err(DieselError::RollbackTransaction));
    assert_eq!(count(&mut db.conn()), 1201);
    pooled
        .transaction(|conn| {
            assert_eq!(
                Job::prune(&mut *conn, &[Job::SUCCEEDED], DAY).unwrap(),
                1201
            );
            QueryResult::Ok(())
        })
        .unwrap();
    assert_eq!(count(&mut db.conn()), 0);
}
