//! Keys that are equal to the database and not to Rust: padded, or of another
//! case. What is one key to the database is one key to every call.

use std::time::Duration;

use diesel::prelude::*;
use diesel_status_tracker::clock::ago;
use diesel_status_tracker::{JobStore, KeyOf, Retry, StatusOf, StatusTracked, Tracked};

use super::backend::{SPELLINGS, Spelling};
use super::database::{TestConnection, TestDb};
use super::jobs::Status;
use super::pools::{Log, pool_with};
use super::worker::{summary, until};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// The columns of both tables, after those of their keys.
const COLUMNS: &str = "status INTEGER NOT NULL, create_at DATETIME(6) NOT NULL, update_at DATETIME(6) NOT NULL,
    `lock` VARCHAR(32), lock_at DATETIME(6), retry INTEGER NOT NULL, errors JSON NOT NULL, note VARCHAR(20)";

diesel::table! {
    badges (code) {
        code -> Text, status -> Integer, create_at -> Timestamp, update_at -> Timestamp, lock -> Nullable<Text>,
        lock_at -> Nullable<Timestamp>, retry -> Integer, errors -> Json, note -> Nullable<Text>,
    }
}

diesel::table! {
    tickets (tenant, code) {
        tenant -> BigInt, code -> Text, status -> Integer, create_at -> Timestamp, update_at -> Timestamp,
        lock -> Nullable<Text>, lock_at -> Nullable<Timestamp>, retry -> Integer, errors -> Json,
        note -> Nullable<Text>,
    }
}

/// A row, its updates, and a step whose locks are renewed three times a second.
macro_rules! badge {
    ($Badge:ident, $Updates:ident, $Brief:ident, $badges:ident, ($($key:tt)+)) => {
        #[derive(Debug, Queryable, Selectable)]
        #[diesel(table_name = $badges)]
        pub struct $Badge {
            code: String,
        }

        #[derive(Debug, Clone, Default, Insertable, AsChangeset)]
        #[diesel(table_name = $badges)]
        pub struct $Updates {
            note: Option<String>,
        }

        struct $Brief;
        step! { $Badge on $Badge {} }
        step! { $Brief on $Badge { const LOCK_EXPIRE: Duration = Duration::from_secs(1); } }
        tracked! {
            $Badge in $badges { key: ($($key)+), status: Status, updates: $Updates, status_field: none }
        }

        impl Coded for $Badge {
            type Brief = $Brief;
            fn code(&self) -> &str {
                &self.code
            }
            fn note(updates: &mut $Updates) {
                updates.note = Some("new".into());
            }
            fn age_locks(conn: &mut TestConnection) {
                diesel::update($badges::table)
                    .set($badges::lock_at.eq(ago(HOUR)))
                    .execute(conn)
                    .unwrap();
            }
            fn lock_times(conn: &mut TestConnection) -> Vec<Option<chrono::NaiveDateTime>> {
                $badges::table.select($badges::lock_at).load(conn).unwrap()
            }
        }
    };
}

trait Coded: Tracked {
    type Brief: StatusTracked<Job = Self>;
    fn code(&self) -> &str;
    fn note(updates: &mut Self::Updates);
    fn age_locks(conn: &mut TestConnection);
    fn lock_times(conn: &mut TestConnection) -> Vec<Option<chrono::NaiveDateTime>>;
}

badge! { Badge, BadgeUpdates, BriefBadge, badges, (code: String) }
badge! { Ticket, TicketUpdates, BriefTicket, tickets, (tenant: i64, code: String) }

/// Every call on the rows "a" and "b", the first of which is `spelled` in
/// another way too.
fn every_call<S>(db: &TestDb, key: impl Fn(&str) -> KeyOf<S>, spelled: &str)
where
    S: StatusTracked<Job: JobStore<TestConnection> + Coded + Send>,
    StatusOf<S>: std::fmt::Debug,
    <S::Job as Tracked>::Updates: Send,
    StatusOf<<S::Job as Coded>::Brief>: std::fmt::Debug,
{
    type Updates<S> = <<S as StatusTracked>::Job as Tracked>::Updates;
    let none = Updates::<S>::default;
    let (a, other, b) = (|| key("a"), || key(spelled), || key("b"));
    let pool = db.pool(4);
    let count = |status| {
        let counts = S::count_by_status(&pool).unwrap();
        let found = counts.into_iter().find(|(of, _)| *of == status);
        found.map_or(0, |(_, count)| count)
    };

    // One row has been created, whatever the spelling.
    S::create_and_save(&pool, a(), none()).unwrap();
    let taken = S::create_and_save(&pool, other(), none()).err().unwrap();
    assert_err!(taken, AlreadyExists);
    assert!(
        S::create_if_absent(&pool, other(), none())
            .unwrap()
            .is_none()
    );
    let many = [a(), other(), b()].into_iter().cycle();
    let many = many.take(100).map(|key| (key, none()));
    assert_eq!(S::create_many(&pool, many).unwrap(), 1);

    // It is found by either, and by what Diesel reads.
    for key in [
        a(),
        other(),
        key(S::find(&pool, other()).unwrap().unwrap().code()),
    ] {
        let found = S::find(&pool, key.clone()).unwrap().unwrap();
        assert_eq!(found.code().trim_end(), "a");
        assert!(!S::is_locked(&pool, key.clone()).unwrap());
        let mut attempt = S::start(&pool, key.clone()).unwrap();
        let held = S::start(&pool, a()).unwrap_err();
        assert_err!(held, Locked);
        attempt.renew().unwrap();
        let mut updates = none();
        S::Job::note(&mut updates);
        attempt.save(updates).unwrap();
        S::Job::note(&mut attempt.updates);
        attempt.succeed().unwrap();
        S::reset(&pool, key.clone()).unwrap();

        S::run_job(&pool, key.clone(), |_, updates| Ok(S::Job::note(updates))).unwrap();
        assert_eq!(S::reset_many(&pool, [key.clone()]).unwrap(), 1);
        S::run_job_in_transaction(&pool, key.clone(), |_, _, _| Ok(())).unwrap();
        assert_eq!(S::reset_many(&pool, [b(), key.clone()]).unwrap(), 2);
        S::run_job(&pool, key.clone(), |_, _| {
            Err::<(), _>(Retry::release().into())
        })
        .unwrap_err();
        S::start(&pool, key.clone())
            .unwrap()
            .fail("no paper")
            .unwrap();
        drop(S::start(&pool, key.clone()).unwrap());
        assert_eq!(count(S::FAILED), 1);
        S::reset(&pool, key.clone()).unwrap();

        // A dead attempt is ended, by whoever comes first.
        std::mem::forget(S::start(&pool, key.clone()).unwrap());
        S::Job::age_locks(&mut db.conn());
        assert_eq!(S::expire_locks(&pool).unwrap(), 1);
        std::mem::forget(S::start(&pool, key.clone()).unwrap());
        S::Job::age_locks(&mut db.conn());
        S::start(&pool, key.clone()).unwrap().succeed().unwrap();
        assert_eq!(S::reset_many(&pool, [a(), b()]).unwrap(), 2);
    }

    // The next ones, one and several at a time.
    for _ in 0..2 {
        assert!(
            S::run_next(&pool, |_, updates| Ok(S::Job::note(updates)))
                .unwrap()
                .is_some()
        );
    }
    assert_eq!(count(S::SUCCEEDED), 2);
    assert_eq!(S::reset_many(&pool, [other(), b()]).unwrap(), 2);
    let mut batch = S::claim_next(&pool, 5).unwrap();
    assert_eq!(batch.len(), 2);
    batch.iter().for_each(|attempt| attempt.renew().unwrap());
    batch.pop().unwrap().succeed().unwrap();
    batch
        .pop()
        .unwrap()
        .run_in_transaction(|_, _, _| Ok(()))
        .unwrap();
    assert_eq!(count(S::SUCCEEDED), 2);

    // A worker: ends one by one, and in a group, with updates and without.
    for (threads, batch) in [(1, 1), (2, 1), (1, 5)] {
        for sets_updates in [false, true] {
            assert_eq!(S::reset_many(&pool, [other(), b()]).unwrap(), 2);
            let worker = S::worker(&pool).threads(threads).batch(batch);
            let done = worker.run_until_empty(|_, updates| {
                if sets_updates {
                    S::Job::note(updates);
                }
                Ok(())
            });
            assert_eq!(done.unwrap(), summary(|s| s.succeeded = 2));
        }
    }
    assert_eq!(S::reset_many(&pool, [other(), b()]).unwrap(), 2);
    let done = <S::Job as Coded>::Brief::worker(&pool)
        .threads(2)
        .batch(2)
        .run_until_empty(|job, _| {
            let times = || S::Job::lock_times(&mut db.conn());
            let before = times();
            until("both are renewed", || {
                times().iter().all(|time| *time > before[0])
            });
            assert!(!job.is_lost());
            Ok(())
        });
    assert_eq!(done.unwrap(), summary(|s| s.succeeded = 2));
    let mut pruned = 0;
    until("both are older than nothing", || {
        pruned += S::prune(&pool, &[S::SUCCEEDED], Duration::ZERO).unwrap();
        pruned == 2
    });
}

/// A database with a table of badges, whose key is of this type.
pub fn with_badges(spelling: &Spelling) -> TestDb {
    create(
        spelling,
        "CREATE TABLE badges (code TYPE NOT NULL PRIMARY KEY, COLUMNS)",
    )
}

/// The same with a table of tickets.
fn with_tickets(spelling: &Spelling) -> TestDb {
    create(
        spelling,
        "CREATE TABLE tickets (tenant BIGINT NOT NULL, code TYPE NOT NULL, COLUMNS, PRIMARY KEY (tenant, code))",
    )
}

fn create(spelling: &Spelling, table: &str) -> TestDb {
    let db = TestDb::new();
    db.sql(spelling.before);
    db.sql(
        &table
            .replace("COLUMNS", COLUMNS)
            .replace("TYPE", spelling.sql_type),
    );
    db
}

#[test]
fn keys_that_the_database_takes_for_equal_are_one_key() {
    for spelling in SPELLINGS {
        let db = with_badges(spelling);
        every_call::<Badge>(&db, str::to_owned, spelling.of_a);
    }
}

#[test]
fn composite_keys_that_the_database_takes_for_equal_are_one_key() {
    for spelling in SPELLINGS {
        let db = with_tickets(spelling);
        every_call::<Ticket>(&db, |code| (7, code).into(), spelling.of_a);
    }
}

/// More keys of several columns than one statement may have.
#[test]
fn a_large_batch_takes_few_statements_where_the_key_has_several_columns() {
    let (db, log) = (with_tickets(&SPELLINGS[0]), Log::default());
    let watched = log.clone();
    let pool = pool_with(db.url(), 1, move |conn| watched.watch(conn));
    let keys = (0..1_100).map(|n: i64| (n, n.to_string()));
    let rows = keys.map(|key| (key, TicketUpdates::default()));
    assert_eq!(Ticket::create_many(&pool, rows).unwrap(), 1_100);
    log.take();

    let worker = Ticket::worker(&pool).threads(1).batch(1_000);
    let done = worker.run_until_empty(|_, _| Ok(()));

    assert_eq!(done.unwrap(), summary(|s| s.succeeded = 1_100));
    let statements = log.statements().len();
    assert!(statements < 50, "{statements} statements");
}
