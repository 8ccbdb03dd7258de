//! SQLite and MySQL, where an error undoes its statement and no more, so that a
//! savepoint has to tell whether the transaction is still the same.

use diesel::prelude::*;
use diesel_status_tracker::StatusTracked;
use serde_json::json;

use super::jobs::{Job, Status, data, row};
use super::transaction::{assert_failed, assert_pool_is_sound, book, bookings, one_job};

#[test]
fn an_error_that_the_work_ignores_undoes_only_its_statement() {
    let (db, pool) = one_job();

    Job::run_job_in_transaction(&pool, "a", |conn, job, _| {
        book(conn, &job.id, 1)?;
        let failing = diesel::sql_query("INSERT INTO no_such_table VALUES (1)");
        failing.execute(conn).unwrap_err();
        book(conn, &job.id, 2)?;
        Ok(())
    })
    .unwrap();

    assert_eq!(bookings(&db, "a"), [1, 2]);
    assert_eq!(row(&db, "a").status, Status::Succeeded);
}

#[test]
fn a_transaction_that_the_work_ends_by_hand_is_a_failed_attempt() {
    for end in ["ROLLBACK", "COMMIT"] {
        let (db, pool) = one_job();

        let ended = Job::run_job_in_transaction(&pool, "a", |conn, _, updates| {
            *updates = data(json!("new"));
            diesel::sql_query(end).execute(conn)?;
            Ok(())
        });

        let error = assert_failed(&db, ended);
        assert!(error.to_string().contains("by hand"), "{error}");
        assert_pool_is_sound(&db, &pool);
    }
}
