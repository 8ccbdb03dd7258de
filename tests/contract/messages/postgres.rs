//! PostgreSQL in another language, where Diesel keeps the codes to itself, and
//! for a role that may not choose it.

use std::sync::{Arc, Mutex};

use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::r2d2::CustomizeConnection;
use diesel::sql_types::Text;
use diesel_status_tracker::postgres::Customizer;
use diesel_status_tracker::{BoxError, Error, StatusTracked};
use serde_json::json;

use super::backend::refusal;
use super::database::{TestConnection, TestDb, TestPool};
use super::jobs::{Job, JobUpdates, Status, data, jobs, row};
use super::pools::{Event, Log, pool_with};
use super::sessions::{impatient, in_german};
use super::transaction::{LEDGER, assert_failed, assert_released, book, one_job};

const GERMAN: &str = "de_DE.UTF-8";
/// The same to the server; another to the tracker, which no other test has it
/// learn.
const UNHEARD: &str = "de_DE.utf8";

/// A role that may do all with the tables of a test, but not set its language.
struct Role<'a> {
    db: &'a TestDb,
    name: String,
}

impl<'a> Role<'a> {
    fn speaking(db: &'a TestDb, language: &str) -> Self {
        let name = format!("test_{}", uuid::Uuid::new_v4().simple());
        db.sql(&format!(
            "CREATE ROLE {name} LOGIN;
             ALTER ROLE {name} SET lc_messages = '{language}';
             DO $$ BEGIN
                 EXECUTE format('GRANT ALL ON SCHEMA %I TO {name}', current_schema());
                 EXECUTE format('GRANT ALL ON ALL TABLES IN SCHEMA %I TO {name}', current_schema());
             END $$"
        ));
        Self { db, name }
    }

    fn url(&self) -> String {
        let url = self.db.url();
        url.replace("//postgres@", &format!("//{}@", self.name))
    }
}

impl Drop for Role<'_> {
    fn drop(&mut self) {
        let name = &self.name;
        // After a panic too, which another would hide.
        let _ = self
            .db
            .conn()
            .batch_execute(&format!("DROP OWNED BY {name}; DROP ROLE {name}"));
    }
}

fn customized(conn: &mut TestConnection) {
    Customizer::default().on_acquire(conn).unwrap();
}

fn setting(conn: &mut TestConnection, name: &str) -> String {
    let setting = diesel::select(sql::<Text>(&format!("current_setting('{name}')")));
    setting.get_result(conn).unwrap()
}

type Ask = fn(&mut TestConnection) -> QueryResult<usize>;

/// Three ways to ask for a lock, and not to get it in time.
const ASKS: [Ask; 3] = [
    |conn| diesel::sql_query("UPDATE accounts SET sum = 1").execute(conn),
    |conn| diesel::sql_query("SELECT FROM accounts FOR UPDATE NOWAIT").execute(conn),
    |conn| diesel::sql_query("LOCK TABLE accounts NOWAIT").execute(conn),
];

/// What the job "a" comes to, whose work asks for a lock and passes the error on.
fn without_the_lock(db: &TestDb, pool: &TestPool, ask: Ask) -> Result<(), Error> {
    let mut other = TestConnection::establish(db.url()).unwrap();
    other
        .batch_execute("BEGIN; UPDATE accounts SET sum = 2")
        .unwrap();
    Job::run_job_in_transaction(pool, "a", |conn, job, updates| {
        *updates = data(json!("new"));
        book(conn, &job.id, 1)?;
        ask(conn)?;
        Ok::<_, BoxError>(())
    })
}

fn with_accounts() -> TestDb {
    let db = TestDb::with_table(LEDGER);
    db.sql("CREATE TABLE accounts (sum INTEGER NOT NULL); INSERT INTO accounts VALUES (0)");
    Job::create_and_save(&db.pool(1), "a", data(json!("old"))).unwrap();
    db
}

#[test]
fn a_lock_timeout_is_no_failed_attempt_in_english() {
    for ask in ASKS {
        let db = with_accounts();
        let pool = pool_with(db.url(), 1, impatient);

        assert_released(&db, without_the_lock(&db, &pool, ask));
    }
}

#[test]
fn the_customizer_sets_english_messages_if_it_is_allowed_to() {
    for ask in ASKS {
        let db = with_accounts();
        let pool = pool_with(db.url(), 1, |conn| {
            in_german(conn);
            customized(conn);
            impatient(conn);
        });

        assert_released(&db, without_the_lock(&db, &pool, ask));
    }
}

#[test]
fn an_administrator_can_allow_english_messages() {
    let cures: [fn(&TestDb, &Role); 2] = [
        |db, Role { name, .. }| db.sql(&format!("ALTER ROLE {name} SET lc_messages = 'C'")),
        |db, Role { name, .. }| {
            db.sql(&format!("GRANT SET ON PARAMETER lc_messages TO {name}"));
        },
    ];
    for cure in cures {
        for ask in ASKS {
            let db = with_accounts();
            let role = Role::speaking(&db, GERMAN);
            cure(&db, &role);
            let pool = pool_with(&role.url(), 1, |conn| {
                customized(conn);
                impatient(conn);
            });

            assert_released(&db, without_the_lock(&db, &pool, ask));
        }
    }
}

/// With a second connection it has the server say it.
#[test]
fn without_english_messages_the_tracker_learns_the_text_of_a_lock_timeout() {
    for (n, ask) in ASKS.into_iter().enumerate() {
        let db = with_accounts();
        let role = Role::speaking(&db, GERMAN);
        let pool = pool_with(&role.url(), 2, |conn| {
            customized(conn);
            impatient(conn);
            assert_eq!(setting(conn, "lc_messages"), GERMAN);
        });

        let ended = without_the_lock(&db, &pool, ask);

        if n == 0 {
            assert_released(&db, ended);
        } else {
            // What it says to NOWAIT has a name in it.
            assert_failed(&db, ended);
        }
    }
}

#[test]
fn the_tracker_still_waits_for_another_transaction_when_it_writes() {
    let db = TestDb::new();
    let role = Role::speaking(&db, GERMAN);
    let other = Arc::new(Mutex::new(None::<TestConnection>));
    let pool = {
        let other = Arc::clone(&other);
        pool_with(&role.url(), 1, move |conn| {
            impatient(conn);
            let (other, mut refusals) = (Arc::clone(&other), 0);
            Log::default().watch_and(conn, move |event| {
                refusals += u32::from(matches!(event, Event::Failed(_)));
                if refusals == 2 {
                    *other.lock().unwrap() = None;
                }
            });
        })
    };
    Job::create_and_save(&pool, "a", JobUpdates::default()).unwrap();
    let attempt = Job::start(&pool, "a").unwrap();
    let mut writer = TestConnection::establish(db.url()).unwrap();
    writer.batch_execute("BEGIN").unwrap();
    diesel::update(jobs::table.find("a"))
        .set(jobs::data.eq(json!("theirs")))
        .execute(&mut writer)
        .unwrap();
    *other.lock().unwrap() = Some(writer);

    attempt.succeed().unwrap();

    assert!(other.lock().unwrap().is_none(), "nothing was in the way");
    assert_eq!(row(&db, "a").status, Status::Succeeded);
}

#[test]
fn an_error_that_only_an_unknown_language_explains_gets_three_tries() {
    let unheard = |conn: &mut TestConnection| {
        conn.batch_execute(&format!("SET lc_messages = '{UNHEARD}'"))
            .unwrap();
    };
    for (speak, tries) in [(unheard as fn(&mut TestConnection), 3), (|_| {}, 1)] {
        let (db, _) = one_job();
        let text = "account 1 is locked";
        db.sql(&refusal("UPDATE ON jobs", "NEW.status = 40", text));
        let log = Log::default();
        let watched = log.clone();
        let pool = pool_with(db.url(), 1, move |conn| {
            speak(conn);
            watched.watch(conn);
        });

        let error = Job::run_job(&pool, "a", |_, _| Ok(())).unwrap_err();

        assert_err!(error, Database);
        let refused = |event: &Event| matches!(event, Event::Failed(said) if said == text);
        assert_eq!(log.take().into_iter().filter(refused).count(), tries);
    }
}

#[test]
fn the_customizer_sets_the_timeouts() {
    let db = TestDb::new();
    let set = Customizer {
        prepared_statements: false,
        statement_timeout: Some(std::time::Duration::from_secs(7)),
        lock_timeout: Some(std::time::Duration::from_nanos(1)),
        ..Customizer::default()
    };
    for (customizer, expected) in [(Customizer::default(), ["0", "0"]), (set, ["7s", "1ms"])] {
        let log = Log::default();
        let mut conn = TestConnection::establish(db.url()).unwrap();
        customizer.on_acquire(&mut conn).unwrap();
        log.watch(&mut conn);

        let settings = ["statement_timeout", "lock_timeout"].map(|name| setting(&mut conn, name));
        Job::find(&mut conn, "a").unwrap();

        assert_eq!(settings, expected);
        let keeps = |event: &Event| matches!(event, Event::Prepared(_));
        assert_eq!(log.take().iter().any(keeps), customizer.prepared_statements);
    }
}
