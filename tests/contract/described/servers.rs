//! Described tables with what servers have: schemas, and rows that another transaction
//! holds.

use std::time::Duration;

use diesel::Connection;
use diesel::connection::SimpleConnection;
use diesel_status_tracker::{JobQuery, TableInfo};

use super::backend::ALONE;
use super::database::TestDb;
use super::described_keys::Shape;

#[test]
fn a_table_in_a_schema_that_is_named() {
    let db = TestDb::new();
    // The name is fixed, and the server may serve another run of the tests.
    db.conn().batch_execute(ALONE).unwrap();
    db.sql("CREATE SCHEMA IF NOT EXISTS test_shop; DROP TABLE IF EXISTS test_shop.jobs_of_it");
    let literals = ["1", "2", "3", "4", "5"];
    let shape = Shape {
        name: "test_shop.jobs_of_it",
        info: TableInfo::named("jobs_of_it")
            .schema("test_shop")
            .key(["id"])
            .usual_columns(),
        ..Shape::of("id BIGINT NOT NULL", literals, literals)
    };
    let codes = shape.codes.clone();
    let (table, keys) = shape.create(&db);

    super::described_keys::each_call_finds_its_row(&db.pool(1), &table, &keys, &codes);

    db.sql("DROP TABLE test_shop.jobs_of_it; DROP SCHEMA test_shop");
}

#[test]
fn a_row_that_another_transaction_holds_is_passed_over_and_named() {
    let db = TestDb::new();
    let literals = ["1", "2", "3", "4", "5"];
    let shape = Shape::of("id BIGINT NOT NULL", literals, literals);
    let (table, _) = shape.create(&db);
    let step = table.step("it").unwrap();
    let pool = db.pool(2);
    let hour = Duration::from_secs(60 * 60);
    db.conn()
        .test_transaction::<_, diesel::result::Error, _>(|conn| {
            // One by one: a scan of the table would hold the other rows too.
            for id in [1, 3, 4] {
                let hold = format!("UPDATE jobs_of_it SET retry = 9 WHERE id = {id}");
                conn.batch_execute(&hold)?;
            }

            let many = step.reset_many(&pool, ["1", "2"]).unwrap();

            assert_eq!((many.count, many.passed_over.len()), (1, 1), "{many:?}");
            assert_eq!(many.passed_over[0].key.parts(), ["1"]);
            assert_err!(many.passed_over[0].error, Locked);
            // One dead attempt is held, and the other is not.
            assert_eq!(step.expire_locks(&pool).unwrap(), 1);
            assert_eq!(table.prune(&pool, &[40.into()], hour).unwrap(), 0);
            let seen = table.find(&pool, "1").unwrap().unwrap().seen();
            let held = step.reset_if_unchanged(&pool, "1", &seen);
            assert_err!(held.unwrap_err(), Locked);
            let held = step.ignore_if_unchanged(&pool, "1", &seen, "held");
            assert_err!(held.unwrap_err(), Locked);
            let dead = ["3", "4"].map(|id| (id, table.find(&pool, id).unwrap().unwrap()));
            let dead = dead
                .iter()
                .find_map(|(id, job)| Some((*id, job.seen_lock()?)));
            let (id, lock) = dead.expect("a dead attempt is held");
            assert_err!(step.expire(&pool, id, &lock).unwrap_err(), Locked);
            let conn = &mut *pool.get().unwrap();
            assert_err!(step.ignore(&mut *conn, "1", "held").unwrap_err(), Database);
            Ok(())
        });
    let left = table
        .list(&pool, &JobQuery::of([20.into(), 30.into(), 40.into()]))
        .unwrap();
    // Of the others, one is pending, and one was ignored at its third failure.
    assert_eq!(left.jobs.len(), 3);
    assert_eq!(table.prune(&pool, &[40.into()], hour).unwrap(), 1);
}
