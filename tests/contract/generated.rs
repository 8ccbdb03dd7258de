//! Keys that the database makes: `create` inserts a row without its key.

use diesel::prelude::*;
use diesel::result::Error as DieselError;
use diesel_status_tracker::{Error, StatusTracked};

use super::backend::GENERATED;
use super::database::TestDb;
use super::jobs::Status;

const TRACKED: &str =
    "status INTEGER NOT NULL, create_at DATETIME(6) NOT NULL, update_at DATETIME(6) NOT NULL,
    `lock` VARCHAR(32), lock_at DATETIME(6), retry INTEGER NOT NULL, errors JSON NOT NULL";

diesel::table! {
    mails (id) {
        id -> BigInt, status -> Integer, create_at -> Timestamp, update_at -> Timestamp, lock -> Nullable<Text>,
        lock_at -> Nullable<Timestamp>, retry -> Integer, errors -> Json, sent_to -> Text,
    }
}

#[derive(Debug, Clone, PartialEq, Queryable, Selectable)]
#[diesel(table_name = mails)]
pub struct Mail {
    pub id: i64,
    status: Status,
    retry: i32,
    sent_to: String,
}

#[derive(Debug, Clone, Default, Insertable, AsChangeset)]
#[diesel(table_name = mails)]
pub struct MailUpdates {
    sent_to: Option<String>,
}

step! { Mail on Mail {} }
tracked! { Mail in mails { key: (id: i64), status: Status, updates: MailUpdates } }

/// Mails whose key is this column.
fn mails(id: &str) -> TestDb {
    TestDb::with_table(&format!(
        "CREATE TABLE mails (id {id}, {TRACKED}, sent_to VARCHAR(20) NOT NULL, PRIMARY KEY (id))"
    ))
}

pub fn generated_mails() -> TestDb {
    mails(GENERATED)
}

pub fn to(address: &str) -> MailUpdates {
    MailUpdates {
        sent_to: Some(address.into()),
    }
}

pub fn all(db: &TestDb) -> Vec<Mail> {
    let mails = mails::table.order_by(mails::id).select(Mail::as_select());
    mails.load(&mut *db.conn()).unwrap()
}

#[test]
fn a_new_row_has_the_key_that_the_database_made() {
    let db = generated_mails();
    let pool = db.pool(1);

    let first = Mail::create(&pool, to("ada")).unwrap();
    let second = Mail::create(&mut pool.get().unwrap(), to("grace")).unwrap();

    assert_ne!(first.id, second.id);
    assert_eq!((first.status, first.retry), (Status::Pending, 0));
    assert_eq!((&*first.sent_to, &*second.sent_to), ("ada", "grace"));
    assert_eq!(all(&db), [first.clone(), second]);
    Mail::run_job(&pool, first.id, |_, updates| Ok(*updates = to("ada l."))).unwrap();
    let done = Mail::find(&pool, first.id).unwrap().unwrap();
    assert_eq!((done.status, &*done.sent_to), (Status::Succeeded, "ada l."));
}

#[test]
fn a_row_that_is_created_in_a_transaction_goes_with_its_rollback() {
    let db = generated_mails();
    let mut conn = db.pool(1).get().unwrap();

    let rolled_back = conn.transaction::<(), _, _>(|conn| {
        let mail = Mail::create(&mut *conn, to("ada")).unwrap();
        assert!(Mail::find(&mut *conn, mail.id).unwrap().is_some());
        Err(DieselError::RollbackTransaction)
    });

    assert_eq!(rolled_back, Err(DieselError::RollbackTransaction));
    assert_eq!(all(&db), []);
}

#[test]
fn a_key_without_a_default_is_refused_and_nothing_is_inserted() {
    for id in ["BIGINT", "BIGINT NOT NULL"] {
        let db = mails(id);
        let pool = db.pool(1);

        let error = Mail::create(&pool, to("ada")).unwrap_err();

        assert_err!(error, NotCreated);
        let message = error.to_string();
        assert!(
            message
                .starts_with("mails was not created: the database makes no key: let it make `id`"),
            "{message}"
        );
        let rows: i64 = mails::table.count().get_result(&mut *db.conn()).unwrap();
        assert_eq!(rows, 0);
        assert_eq!(Mail::create_and_save(&pool, 7, to("ada")).unwrap().id, 7);
    }
}

#[test]
fn a_column_without_a_value_gets_an_error_that_speaks_of_creating() {
    let db = generated_mails();
    let other = TestDb::with_table(&format!(
        "CREATE TABLE mails (id BIGINT NOT NULL PRIMARY KEY, {TRACKED}, sent_to VARCHAR(20) NOT NULL)"
    ));
    let (pool, other_pool) = (db.pool(1), other.pool(1));
    let none = MailUpdates::default;

    let errors = [
        (Mail::create(&pool, none()).unwrap_err(), "mails"),
        (
            Mail::create_and_save(&other_pool, 7, none()).unwrap_err(),
            "mails 7",
        ),
        (
            Mail::create_if_absent(&other_pool, 7, none()).unwrap_err(),
            "mails 7",
        ),
        (
            Mail::create_many(&other_pool, [(7, none())]).unwrap_err(),
            "mails",
        ),
    ];

    for (error, job) in errors {
        let Error::NotCreated { source, .. } = &error else {
            panic!("{error:?}");
        };
        assert!(matches!(source, Some(DieselError::DatabaseError(..))));
        let said =
            format!("{job} was not created: column `sent_to` got no value and may not be NULL");
        let message = error.to_string();
        assert!(message.starts_with(&said), "{message}");
    }
    assert_eq!((all(&db), all(&other)), (vec![], vec![]));
}

/// The time of creation is part of the key, as in a partitioned table.
mod with_time {
    use super::*;
    use chrono::NaiveDateTime;

    diesel::table! {
        visits (id, create_at) {
            id -> BigInt, create_at -> Timestamp, status -> Integer, update_at -> Timestamp,
            lock -> Nullable<Text>, lock_at -> Nullable<Timestamp>, retry -> Integer, errors -> Json,
            page -> Nullable<Text>,
        }
    }

    #[derive(Debug, Queryable, Selectable)]
    #[diesel(table_name = visits)]
    struct Visit {
        id: i64,
        create_at: NaiveDateTime,
        page: Option<String>,
    }

    #[derive(Debug, Clone, Default, Insertable, AsChangeset)]
    #[diesel(table_name = visits)]
    struct VisitUpdates {
        page: Option<String>,
    }

    step! { Visit on Visit {} }
    tracked! {
        Visit in visits {
            key: (id: i64, create_at: NaiveDateTime), status: Status, updates: VisitUpdates, status_field: none,
        }
    }

    #[test]
    fn the_time_of_creation_in_a_key_is_the_databases() {
        let db = TestDb::with_table(&format!(
            "CREATE TABLE visits (id {GENERATED}, {TRACKED}, page VARCHAR(20), PRIMARY KEY (id, create_at))"
        ));
        let pool = db.pool(1);
        let updates = VisitUpdates {
            page: Some("home".into()),
        };

        let visit = Visit::create(&pool, updates).unwrap();

        assert_eq!(visit.page.as_deref(), Some("home"));
        let apart = visit.create_at - chrono::Utc::now().naive_utc();
        assert!(apart.abs() < chrono::TimeDelta::hours(1), "{apart}");
        Visit::run_job(&pool, (visit.id, visit.create_at), |_, _| Ok(())).unwrap();
    }
}
