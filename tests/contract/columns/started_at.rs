//! `started_at`: when the running attempt, or the last one, began.

use std::time::Duration;

use chrono::NaiveDateTime;
use diesel::prelude::*;
use diesel_status_tracker::clock::ago;
use diesel_status_tracker::{RunningJob, StatusTracked};

use super::super::database::{TestConnection, TestDb, TestPool};
use super::super::jobs::Status;

const VISITS: &str = "CREATE TABLE visits (
    id INTEGER NOT NULL PRIMARY KEY, status INTEGER NOT NULL, create_at DATETIME(6) NOT NULL,
    update_at DATETIME(6) NOT NULL, `lock` VARCHAR(32), lock_at DATETIME(6), retry INTEGER NOT NULL,
    errors JSON NOT NULL, begun DATETIME(6)
)";

diesel::table! {
    visits (id) {
        id -> Integer, status -> Integer, create_at -> Timestamp, update_at -> Timestamp, lock -> Nullable<Text>,
        lock_at -> Nullable<Timestamp>, retry -> Integer, errors -> Json, begun -> Nullable<Timestamp>,
    }
}

#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = visits)]
struct Visit {
    begun: Option<NaiveDateTime>,
}

step! { Visit on Visit { const MAX_RETRY: i32 = 9; } }
tracked! {
    Visit in visits { key: (id: i32), status: Status, columns: { started_at: begun }, status_field: none }
}

fn begun(db: &TestDb) -> Option<NaiveDateTime> {
    let begun = visits::table.select(visits::begun);
    begun.get_result(&mut *db.conn()).unwrap()
}

/// Has the last attempt begun an hour ago.
fn age(db: &TestDb) -> Option<NaiveDateTime> {
    diesel::update(visits::table)
        .set(visits::begun.eq(ago(Duration::from_secs(60 * 60))))
        .execute(&mut *db.conn())
        .unwrap();
    begun(db)
}

type Attempt = RunningJob<Visit, TestConnection>;

#[test]
fn each_claim_says_when_the_attempt_began_and_nothing_else_does() {
    let db = TestDb::with_table(VISITS);
    let pool = db.pool(1);
    let created = Visit::create_and_save(&pool, 1, ()).unwrap();
    assert_eq!((created.begun, begun(&db)), (None, None));

    let claims: [fn(&TestPool) -> Attempt; 2] = [
        |pool| Visit::start(pool, 1).unwrap(),
        |pool| Visit::claim_next(pool, 1).unwrap().pop().unwrap(),
    ];
    let ends: [fn(Attempt); 2] = [
        |attempt| attempt.succeed().unwrap(),
        |attempt| attempt.fail("no paper").unwrap(),
    ];
    for claim in claims {
        for end in ends {
            let before = age(&db);
            let attempt = claim(&pool);
            let at = begun(&db);
            assert!(at > before, "{at:?} is not after {before:?}");
            assert_eq!(attempt.begun, at);

            let aged = age(&db);
            attempt.renew().unwrap();
            attempt.save(()).unwrap();
            assert_eq!(begun(&db), aged);
            end(attempt);
            assert_eq!(begun(&db), aged);
            if Visit::reset(&pool, 1).is_ok() {
                assert_eq!(begun(&db), aged);
            }
        }
    }
}
