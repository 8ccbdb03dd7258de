//! MySQL's transactions: most errors break none, and a few end one unasked.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_status_tracker::{BoxError, StatusTracked};
use serde_json::json;

use super::backend::refusal;
use super::database::{TestConnection, TestDb};
use super::jobs::{Job, data};
use super::pools::pool_with;
use super::sessions::{LANGUAGES, impatient};
use super::transaction::{
    LEDGER, assert_failed, assert_pool_is_sound, assert_released, book, one_job,
};

#[test]
fn a_lock_timeout_that_is_passed_on_is_no_failed_attempt() {
    type Ask = fn(&mut TestConnection) -> QueryResult<usize>;
    let ask: Ask =
        |conn| diesel::sql_query("UPDATE accounts SET sum = 1 WHERE id = 1").execute(conn);
    let asks: [Ask; 5] = [
        ask,
        |conn| {
            conn.transaction(|conn| {
                diesel::sql_query("UPDATE accounts SET sum = 1 WHERE id = 1").execute(conn)
            })
        },
        |conn| {
            let update = conn.batch_execute("UPDATE accounts SET sum = 1 WHERE id = 1");
            update.map(|()| 1)
        },
        |conn| diesel::sql_query("SELECT * FROM accounts FOR UPDATE NOWAIT").execute(conn),
        // A trigger's own statement, after a warning; notes on the place follow.
        |conn| diesel::sql_query("INSERT INTO transfers VALUES (1)").execute(conn),
    ];
    for (speak, ask) in LANGUAGES
        .into_iter()
        .flat_map(|speak| asks.map(|ask| (speak, ask)))
    {
        let db = TestDb::with_table(LEDGER);
        db.sql("CREATE TABLE accounts (id INTEGER NOT NULL PRIMARY KEY, sum INTEGER NOT NULL)");
        db.sql("INSERT INTO accounts VALUES (1, 0)");
        db.sql("CREATE TABLE transfers (account INTEGER NOT NULL)");
        db.sql(
            "CREATE TRIGGER transfer BEFORE INSERT ON transfers FOR EACH ROW BEGIN
                 SIGNAL SQLSTATE '01000' SET MESSAGE_TEXT = 'a large sum';
                 UPDATE accounts SET sum = 1 WHERE id = NEW.account;
             END",
        );
        let pool = pool_with(db.url(), 1, move |conn| {
            speak(conn);
            impatient(conn);
        });
        Job::create_and_save(&pool, "a", data(json!("old"))).unwrap();
        let mut other = TestConnection::establish(db.url()).unwrap();
        other
            .batch_execute("BEGIN; UPDATE accounts SET sum = 2")
            .unwrap();

        let ended = Job::run_job_in_transaction(&pool, "a", |conn, job, updates| {
            *updates = data(json!("new"));
            book(conn, &job.id, 1)?;
            ask(conn)?;
            Ok::<_, BoxError>(())
        });

        assert_released(&db, ended);
        assert_pool_is_sound(&db, &pool);
    }
}

#[test]
fn a_statement_that_commits_by_itself_is_a_failed_attempt_and_nothing_after_it_is_written() {
    let (db, pool) = one_job();

    let ended = Job::run_job_in_transaction(&pool, "a", |conn, job, updates| {
        *updates = data(json!("new"));
        conn.batch_execute("CREATE TABLE more (id INTEGER)")?;
        book(conn, &job.id, 1)?;
        Ok(())
    });

    assert_failed(&db, ended);
    assert_pool_is_sound(&db, &pool);
}

/// The code tells it from the database's own.
#[test]
fn a_trigger_that_quotes_the_database_is_a_failed_attempt() {
    for text in [
        "Lock wait timeout exceeded; try restarting transaction",
        "Deadlock found when trying to get lock; try restarting transaction",
    ] {
        let (db, pool) = one_job();
        db.sql(&refusal("INSERT ON ledger", "NEW.worker = 7", text));

        let ended = Job::run_job_in_transaction(&pool, "a", |conn, job, _| {
            book(conn, &job.id, 7)?;
            Ok(())
        });

        assert_failed(&db, ended);
    }
}
