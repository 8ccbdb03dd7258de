//! Claims of those jobs that a condition of the user's lets pass, and of no other.

use std::collections::BTreeMap;
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::Duration;

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Nullable};
use diesel_status_tracker::clock::{ago, from_now};
use diesel_status_tracker::{RunningJob, StatusTracked, Summary};

use super::columns::Shape;
use super::columns::own_names::{Invoice, InvoiceUpdates, invoices};
use super::database::{TestConnection, TestDb, TestPool};
use super::jobs::Status;
use super::own_statements::CLAIM_NEXT;
use super::pools::{Event, Log, pool_with, verb};
use super::shapes::MOST_KEPT;
use super::worker::summary;

const LETTERS: &str = "CREATE TABLE letters (
    id INTEGER NOT NULL PRIMARY KEY, kind VARCHAR(20) NOT NULL, size INTEGER, note VARCHAR(20) DEFAULT 'a note',
    status INTEGER NOT NULL, create_at DATETIME(6) NOT NULL, update_at DATETIME(6) NOT NULL, `lock` VARCHAR(32),
    lock_at DATETIME(6), retry INTEGER NOT NULL, errors JSON NOT NULL, run_at DATETIME(6)
)";

diesel::table! {
    letters (id) {
        id -> Integer, kind -> Text, size -> Nullable<Integer>, note -> Text, status -> Integer, create_at -> Timestamp,
        update_at -> Timestamp, lock -> Nullable<Text>, lock_at -> Nullable<Timestamp>, retry -> Integer, errors -> Json,
        run_at -> Nullable<Timestamp>,
    }
}

#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = letters)]
pub struct Letter {
    pub id: i32,
    pub kind: String,
    #[expect(dead_code, reason = "it is read, which fails for NULL")]
    note: String,
}

#[derive(Debug, Default, Insertable, AsChangeset)]
#[diesel(table_name = letters)]
pub struct LetterUpdates {
    pub kind: Option<String>,
    pub size: Option<i32>,
}

step! { Letter on Letter {} }
tracked! {
    Letter in letters {
        key: (id: i32), status: Status, updates: LetterUpdates, columns: { run_at: run_at }, status_field: none,
    }
}

type Backend = <TestConnection as Connection>::Backend;

/// A database with letters of these kinds, with the keys 0, 1 and so on, in the order
/// in which they have waited.
pub fn with_letters(kinds: &[&str], connections: u32) -> (TestDb, TestPool) {
    let db = TestDb::with_table(LETTERS);
    let pool = db.pool(connections);
    create(&pool, 0, kinds);
    for id in 0..kinds.len() as i32 {
        let waited = ago(Duration::from_secs(1000 - id as u64));
        let row = diesel::update(letters::table.find(id));
        let row = row.set(letters::update_at.eq(waited));
        row.execute(&mut *db.conn()).unwrap();
    }
    (db, pool)
}

pub fn create(pool: &TestPool, first: i32, kinds: &[&str]) {
    let rows = (first..).zip(kinds).map(|(id, kind)| {
        let kind = Some((*kind).to_owned());
        (
            id,
            LetterUpdates {
                kind,
                size: Some(id),
            },
        )
    });
    assert_eq!(Letter::create_many(pool, rows).unwrap(), kinds.len());
}

/// A row as it stands: status, token, failures in a row, kind.
type Seen = (Status, Option<String>, i32, String);

pub fn seen(db: &TestDb, id: i32) -> Seen {
    let columns = (
        letters::status,
        letters::lock,
        letters::retry,
        letters::kind,
    );
    let row = letters::table.find(id).select(columns);
    row.get_result(&mut *db.conn()).unwrap()
}

pub fn all(db: &TestDb) -> BTreeMap<i32, Seen> {
    let ids: Vec<i32> = letters::table
        .select(letters::id)
        .load(&mut *db.conn())
        .unwrap();
    ids.into_iter().map(|id| (id, seen(db, id))).collect()
}

pub fn is_new(row: &Seen) -> bool {
    matches!(row, (Status::Pending, None, 0, _))
}

pub fn ids<C: diesel_status_tracker::TrackerConnection>(batch: &[RunningJob<Letter, C>]) -> Vec<i32>
where
    Letter: diesel_status_tracker::JobStore<C>,
{
    batch.iter().map(|letter| letter.id).collect()
}

#[test]
fn only_jobs_that_match_are_claimed() {
    let (db, pool) = with_letters(&["fax", "mail", "sms", "mail", "fax"], 1);
    let mail = Letter::filter(letters::kind.eq("mail"));
    let next = || mail.run_next(&pool, |letter, _| Ok(letter.id)).unwrap();

    assert_eq!([next(), next(), next()], [Some(1), Some(3), None]);
    assert!(mail.claim_next(&pool, 10).unwrap().is_empty());
    let others = Letter::filter(letters::kind.ne("sms"))
        .claim_next(&pool, 10)
        .unwrap();
    assert_eq!(ids(&others), [0, 4]);
    for letter in others {
        letter.succeed().unwrap();
    }
    assert!(is_new(&seen(&db, 2)));
    assert_eq!(
        Letter::run_next(&pool, |letter, _| Ok(letter.id)).unwrap(),
        Some(2)
    );
}

/// Holds that a claim with each condition gets what Diesel's `filter` gives.
macro_rules! assert_as_diesel {
    ($($condition:expr),+ $(,)?) => {$({
        let (db, pool) = with_letters(&["mail", "sms", "fax", "mail", "it's"], 1);
        db.sql("UPDATE letters SET size = NULL WHERE id = 3");
        let expected = letters::table.filter($condition).select(letters::id).order(letters::id);
        let expected: Vec<i32> = expected.load(&mut *db.conn()).unwrap();

        let batch = Letter::filter($condition).claim_next(&pool, 10).unwrap();

        let what = stringify!($condition);
        assert_eq!(ids(&batch), expected, "{what}");
        assert!(!expected.is_empty() && expected.len() < 5, "{what} decides nothing");
        let mut rows = all(&db);
        rows.retain(|id, _| !expected.contains(id));
        assert!(rows.values().all(is_new), "{what}: {rows:?}");
        for letter in batch {
            letter.succeed().unwrap();
        }
    })+};
}

#[test]
fn a_condition_means_what_it_means_in_diesels_filter() {
    assert_as_diesel![
        letters::kind.eq("mail"),
        letters::kind.eq("it's"),
        letters::kind.eq_any(["mail", "sms"]),
        letters::kind.eq_any(vec!["mail".to_owned()]),
        letters::kind.eq("mail").or(letters::kind.eq("sms")),
        letters::kind.eq("mail").and(letters::id.lt(2)),
        // NULL for one row, which does not pass.
        letters::size.gt(1),
        letters::size.gt(1).or(letters::kind.eq("mail")),
        diesel::dsl::not(letters::size.eq(1)),
        letters::size.is_null(),
        letters::size.nullable().eq_any([Some(1), None]),
        letters::update_at
            .le(letters::create_at)
            .and(letters::id.between(1, 2)),
        letters::kind.like("%a%"),
        sql::<Nullable<Bool>>("size > 1 OR kind = 'sms'"),
    ];
}

#[test]
fn conditions_add_up() {
    let (_db, pool) = with_letters(&["mail", "sms", "mail", "mail"], 1);
    let either = Letter::filter(letters::kind.eq("sms").or(letters::kind.eq("mail")));
    let few = either
        .clone()
        .filter(letters::id.ne(0))
        .filter(letters::id.ne(3));

    let few = few.claim_next(&pool, 10).unwrap();
    assert_eq!(ids(&few), [1, 2]);
    let rest = either.claim_next(&pool, 10).unwrap();
    assert_eq!(ids(&rest), [0, 3]);
}

#[test]
fn a_condition_may_be_put_together_when_the_program_runs() {
    let (_db, pool) = with_letters(&["mail", "sms", "mail"], 1);
    for (kind, expected) in [("sms", vec![1]), ("mail", vec![2])] {
        let mut chosen = Letter::filter(letters::kind.eq(kind)).into_boxed::<Backend>();
        if kind == "mail" {
            chosen = chosen.filter(letters::size.ne(0)).into_boxed();
        }
        assert_eq!(ids(&chosen.claim_next(&pool, 10).unwrap()), expected);
    }
}

#[test]
fn a_job_whose_time_has_not_come_waits() {
    let (db, pool) = with_letters(&["mail", "mail", "sms"], 1);
    let run_at = |id, at: diesel_status_tracker::clock::Clock<_>| {
        let row = diesel::update(letters::table.find(id)).set(letters::run_at.eq(at));
        row.execute(&mut *db.conn()).unwrap();
    };
    run_at(0, from_now(Duration::from_secs(60)));
    run_at(1, ago(Duration::from_secs(60)));

    let mail = Letter::filter(letters::kind.eq("mail"));

    assert_eq!(ids(&mail.claim_next(&pool, 10).unwrap()), [1]);
}

#[test]
fn a_failed_job_that_matches_is_claimed_again() {
    let (db, pool) = with_letters(&["sms", "mail"], 1);
    let mail = Letter::filter(letters::kind.eq("mail"));
    for _ in 0..3 {
        let ended = mail.run_next(&pool, |_, _| Err::<(), _>("no stamp".into()));
        assert_err!(ended.unwrap_err(), Failed);
    }
    assert_eq!(mail.run_next(&pool, |_, _| Ok(())).unwrap(), None);
    assert_eq!(seen(&db, 1).0, Status::Ignored);
    assert!(is_new(&seen(&db, 0)));
}

#[test]
fn the_tables_own_order_and_a_composite_key_hold_with_a_condition() {
    let db = TestDb::with_table(Invoice::CREATE);
    let pool = db.pool(1);
    for (n, tenant) in [7, 8, 7, 8, 7].into_iter().enumerate() {
        let key = (tenant, n.to_string());
        Invoice::create_and_save(&pool, key, InvoiceUpdates::default()).unwrap();
    }
    db.sql("UPDATE invoices SET priority = CAST(number AS DECIMAL)");

    let of_seven = Invoice::filter(invoices::tenant.eq(7).and(invoices::priority.gt(0)));
    let batch = of_seven.claim_next(&pool, 10).unwrap();
    let priorities: Vec<_> = batch.iter().map(|invoice| invoice.priority).collect();
    assert_eq!(priorities, [4, 2]);
    for invoice in batch {
        invoice.succeed().unwrap();
    }

    let done = Invoice::filter(invoices::tenant.eq(8))
        .worker(&pool)
        .batch(5);
    let done = done.run_until_empty(|_, _| Ok(())).unwrap();
    assert_eq!(done, summary(|s| s.succeeded = 2));
    let left = Invoice::run_next(&pool, |invoice, _| Ok(invoice.priority)).unwrap();
    assert_eq!(left, Some(0));
}

#[test]
fn concurrent_claims_with_one_condition_share_no_job() {
    const CLAIMERS: usize = 4;
    let kinds = ["mail", "sms", "mail"].repeat(20);
    let (db, _) = with_letters(&kinds, 1);
    let pool = db.pool(CLAIMERS as u32);
    let barrier = Barrier::new(CLAIMERS);
    let claim = || {
        let mail = Letter::filter(letters::kind.eq("mail"));
        let mut got = Vec::new();
        barrier.wait();
        loop {
            let batch = mail.claim_next(&pool, 3).unwrap();
            if batch.is_empty() {
                return got;
            }
            for letter in batch {
                assert_eq!(letter.kind, "mail");
                got.push(letter.id);
                letter.succeed().unwrap();
            }
        }
    };

    let mut got: Vec<i32> = thread::scope(|scope| {
        let claimers: Vec<_> = (0..CLAIMERS).map(|_| scope.spawn(claim)).collect();
        let got = claimers.into_iter().map(|claimer| claimer.join().unwrap());
        got.flatten().collect()
    });

    // A claimer stops where the others are claiming all that is left.
    got.extend(claim_rest(&pool));
    got.sort_unstable();
    let expected = (0..60).filter(|id| id % 3 != 1);
    assert_eq!(got, expected.collect::<Vec<_>>());
    let others = all(&db).into_iter().filter(|(id, _)| id % 3 == 1);
    assert!(others.map(|(_, row)| row).all(|row| is_new(&row)));
}

pub fn claim_rest(pool: &TestPool) -> Vec<i32> {
    let mail = Letter::filter(letters::kind.eq("mail"));
    std::iter::from_fn(|| mail.run_next(pool, |letter, _| Ok(letter.id)).unwrap()).collect()
}

#[test]
fn workers_with_different_conditions_run_their_own_jobs_side_by_side() {
    for (threads, batch) in [(1, 1), (2, 7)] {
        let kinds = ["mail", "sms", "fax", "sms"].repeat(15);
        let (db, pool) = with_letters(&kinds, 8);
        let runs = Mutex::new(BTreeMap::<i32, usize>::new());
        let drain = |kind: &'static str| -> Summary {
            let worker = Letter::filter(letters::kind.eq(kind)).worker(&pool);
            let done = worker
                .threads(threads)
                .batch(batch)
                .run_until_empty(|letter, _| {
                    assert_eq!(letter.kind, kind);
                    *runs.lock().unwrap().entry(letter.id).or_default() += 1;
                    Ok(())
                });
            done.unwrap()
        };

        let [mail, sms] = thread::scope(|scope| {
            let workers = ["mail", "sms"].map(|kind| scope.spawn(move || drain(kind)));
            workers.map(|worker| worker.join().unwrap())
        });

        assert_eq!(mail, summary(|s| s.succeeded = 15));
        assert_eq!(sms, summary(|s| s.succeeded = 30));
        assert!(runs.into_inner().unwrap().values().all(|runs| *runs == 1));
        for (id, row) in all(&db) {
            // It ended, though these are ready.
            assert_eq!(is_new(&row), id % 4 == 2, "{id}: {row:?}");
        }
        let done = Letter::worker(&pool)
            .run_until_empty(|_, _| Ok(()))
            .unwrap();
        assert_eq!(done, summary(|s| s.succeeded = 15));
    }
}

/// A pool of one connection, and what that does.
pub fn watched(db: &TestDb) -> (TestPool, Log) {
    let log = Log::default();
    let watched = log.clone();
    let pool = pool_with(db.url(), 1, move |conn| watched.watch(conn));
    (pool, log)
}

#[test]
fn a_claim_with_a_condition_takes_no_more_statements_and_is_prepared_once() {
    let (db, _) = with_letters(&["mail"; 8], 1);
    let (pool, log) = watched(&db);
    let next = |n: i32| {
        let condition = letters::id.ge(n).and(letters::kind.eq("mail"));
        let done = Letter::filter(condition).run_next(&pool, |_, _| Ok(()));
        assert!(done.unwrap().is_some());
    };
    next(0);
    log.take();

    // Other values, the same text.
    (1..4).for_each(next);

    let events = log.take();
    let is_new = |event: &&Event| matches!(event, Event::Prepared(_));
    assert_eq!(events.iter().find(is_new), None);
    let verbs = events.iter().filter_map(|event| match event {
        Event::Started(sql) => Some(verb(sql)),
        _ => None,
    });
    let expected = [CLAIM_NEXT, &["UPDATE"]].concat().repeat(3);
    assert_eq!(verbs.collect::<Vec<_>>(), expected);
}

#[test]
fn of_many_conditions_few_texts_stay_prepared() {
    let (db, _) = with_letters(&["mail"], 1);
    let (pool, log) = watched(&db);
    let shape = |n: usize| {
        let first = Letter::filter(letters::kind.eq("sms")).into_boxed::<Backend>();
        (0..n).fold(first, |all, n| {
            all.filter(letters::id.ne(n as i32)).into_boxed()
        })
    };
    for n in 0..MOST_KEPT + 20 {
        for _ in 0..20 {
            let nothing = shape(n).run_next(&pool, |_, _| Ok(()));
            assert_eq!(nothing.unwrap(), None);
        }
    }
    let events = log.take();
    let mut kept = BTreeMap::<&str, usize>::new();
    for event in &events {
        if let Event::Prepared(sql) = event {
            *kept.entry(verb(sql)).or_default() += 1;
        }
    }
    assert!(!kept.is_empty());
    assert!(kept.values().all(|kept| *kept <= MOST_KEPT), "{kept:?}");
}

/// Adds 50,000 finished letters, 20,000 that are ready of another kind, and some
/// that are ready.
pub fn fill_letters(db: &TestDb) {
    db.sql("CREATE TABLE digits (n INTEGER NOT NULL)");
    db.sql("INSERT INTO digits VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)");
    for (limit, first, kind, status) in [(5, 100_000, "mail", 40), (2, 200_000, "sms", 10)] {
        db.sql(&format!(
            "INSERT INTO letters (id, kind, status, create_at, update_at, retry, errors)
             SELECT {first} + 10000 * a.n + 1000 * b.n + 100 * c.n + 10 * d.n + e.n, '{kind}', {status},
                 '2026-01-01 00:00:00', '2026-01-01 00:00:00', 0, '{{}}'
             FROM digits a, digits b, digits c, digits d, digits e WHERE a.n < {limit}"
        ));
    }
    create(&db.pool(1), 0, &["mail"; 100]);
}

/// The statement that looks for the next letter of a kind.
pub fn search_for_mail(pool: &TestPool, log: &Log) -> String {
    log.take();
    let mail = Letter::filter(letters::kind.eq("mail"));
    mail.run_next(pool, |_, _| Ok(())).unwrap().unwrap();
    log.statements().swap_remove(0)
}
