//! A job whose updates have many optional columns: each set of them that is
//! written is another text, and few of these stay prepared.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel_status_tracker::StatusTracked;

use super::database::{TestConnection, TestDb, TestPool};
use super::jobs::Status;
use super::pools::{Event, Log, pool_with};

const FORMS: &str = "CREATE TABLE forms (
    id INTEGER NOT NULL PRIMARY KEY, status INTEGER NOT NULL, create_at DATETIME(6) NOT NULL,
    update_at DATETIME(6) NOT NULL, `lock` VARCHAR(32), lock_at DATETIME(6), retry INTEGER NOT NULL, errors JSON NOT NULL,
    a INTEGER, b INTEGER, c INTEGER, d INTEGER, e INTEGER, f INTEGER, g INTEGER, h INTEGER, i INTEGER, j INTEGER,
    k INTEGER, l INTEGER
)";

diesel::table! {
    forms (id) {
        id -> Integer, status -> Integer, create_at -> Timestamp, update_at -> Timestamp, lock -> Nullable<Text>,
        lock_at -> Nullable<Timestamp>, retry -> Integer, errors -> Json,
        a -> Nullable<Integer>, b -> Nullable<Integer>, c -> Nullable<Integer>, d -> Nullable<Integer>,
        e -> Nullable<Integer>, f -> Nullable<Integer>, g -> Nullable<Integer>, h -> Nullable<Integer>,
        i -> Nullable<Integer>, j -> Nullable<Integer>, k -> Nullable<Integer>, l -> Nullable<Integer>,
    }
}

#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = forms)]
pub struct Form {
    a: Option<i32>,
    l: Option<i32>,
}

#[derive(Debug, Default, Insertable, AsChangeset)]
#[diesel(table_name = forms)]
#[rustfmt::skip]
pub struct FormUpdates {
    a: Option<i32>, b: Option<i32>, c: Option<i32>, d: Option<i32>, e: Option<i32>, f: Option<i32>,
    g: Option<i32>, h: Option<i32>, i: Option<i32>, j: Option<i32>, k: Option<i32>, l: Option<i32>,
}

/// As many sets of the twelve columns as there are.
pub const SHAPES: u32 = 1 << 12;

/// A fifth of them is many times what may be kept.
pub fn many_shapes() -> impl ExactSizeIterator<Item = u32> {
    (0..SHAPES).step_by(5)
}

/// Sets the columns whose bit is one.
#[rustfmt::skip]
pub fn shape(bits: u32) -> FormUpdates {
    let bit = |n: u32| (bits & 1 << n != 0).then_some(7);
    FormUpdates {
        a: bit(0), b: bit(1), c: bit(2), d: bit(3), e: bit(4), f: bit(5),
        g: bit(6), h: bit(7), i: bit(8), j: bit(9), k: bit(10), l: bit(11),
    }
}

step! { Form on Form { const MAX_RETRY: i32 = i32::MAX; } }
tracked! {
    Form in forms { key: (id: i32), status: Status, updates: FormUpdates, status_field: none }
}

/// What is kept prepared of one statement, whatever its texts.
pub const MOST_KEPT: usize = 32;

pub fn forms() -> (TestDb, TestPool, Log) {
    let (db, log) = (TestDb::with_table(FORMS), Log::default());
    let watched = log.clone();
    let pool = pool_with(db.url(), 1, move |conn| watched.watch(conn));
    (db, pool, log)
}

/// The texts that were prepared and kept since the last look, and how often
/// each text was sent.
fn seen(log: &Log) -> (Vec<String>, HashMap<String, u32>) {
    let (mut kept, mut sent) = (Vec::new(), HashMap::new());
    for event in log.take() {
        match event {
            Event::Prepared(sql) => kept.push(sql),
            Event::Started(sql) => *sent.entry(sql).or_default() += 1,
            Event::Failed(message) => panic!("{message}"),
            Event::Transaction => {}
        }
    }
    (kept, sent)
}

/// Holds that few of the many texts that were sent are kept.
fn assert_few_are_kept(log: &Log, most_sent: usize) {
    let (kept, sent) = seen(log);
    assert!(sent.len() >= most_sent, "{} texts", sent.len());
    let mut of_each = HashMap::<_, usize>::new();
    for sql in kept {
        let first_words = sql.split(' ').take(2).collect::<Vec<_>>().join(" ");
        *of_each.entry(first_words).or_default() += 1;
    }
    for (statement, count) in of_each {
        assert!(count <= MOST_KEPT, "{count} times {statement}");
    }
}

/// How many texts are prepared and kept when `send` is called again and again,
/// late as it comes: each once.
fn kept_in_the_end(log: &Log, mut send: impl FnMut()) -> usize {
    seen(log);
    (0..100).for_each(|_| send());
    let (kept, _) = seen(log);
    (0..10).for_each(|_| send());
    let (again, _) = seen(log);
    assert!(again.is_empty(), "{again:?}");
    kept.len()
}

#[test]
fn few_texts_that_save_updates_stay_prepared() {
    let (_db, pool, log) = forms();
    Form::create_and_save(&pool, 1, FormUpdates::default()).unwrap();
    let attempt = Form::start(&pool, 1).unwrap();
    seen(&log);

    many_shapes().for_each(|bits| attempt.save(shape(bits)).unwrap());

    assert_few_are_kept(&log, many_shapes().len());
    let last = || attempt.save(shape(SHAPES - 1)).unwrap();
    assert_eq!(kept_in_the_end(&log, last), 1);
    attempt.succeed().unwrap();
    let form = Form::find(&pool, 1).unwrap().unwrap();
    assert_eq!((form.a, form.l), (Some(7), Some(7)));
}

#[test]
fn few_texts_that_complete_a_job_stay_prepared() {
    let (_db, pool, log) = forms();
    Form::create_and_save(&pool, 1, FormUpdates::default()).unwrap();
    let end = |bits| {
        Form::run_job(&pool, 1, |_, updates| Ok(*updates = shape(bits))).unwrap();
        Form::reset(&pool, 1).unwrap();
    };
    end(0);
    seen(&log);

    many_shapes().for_each(end);

    assert_few_are_kept(&log, many_shapes().len());
    assert_eq!(kept_in_the_end(&log, || end(SHAPES - 1)), 1);
    end(0);
    assert!(
        seen(&log).0.is_empty(),
        "that which sets nothing was kept at once"
    );
}

#[test]
fn few_texts_that_create_a_job_stay_prepared() {
    let (_db, pool, log) = forms();
    let create = |conn: &mut TestConnection, id, bits| {
        Form::create_and_save(conn, id, shape(bits)).unwrap();
    };

    // In one transaction, for one wait for the disk.
    let mut conn = pool.get().unwrap();
    let created = conn.transaction(|conn| {
        for bits in many_shapes() {
            create(conn, bits as i32, bits);
        }
        QueryResult::Ok(())
    });
    created.unwrap();

    assert_few_are_kept(&log, many_shapes().len());
    let mut ids = SHAPES as i32..;
    let last = || create(&mut conn, ids.next().unwrap(), SHAPES - 1);
    // On the servers Diesel keeps none.
    assert!(kept_in_the_end(&log, last) <= 1);
}

#[test]
fn few_claims_of_many_sizes_stay_prepared() {
    let (_db, pool, log) = forms();
    let claim = |n| assert!(Form::claim_next(&pool, n).unwrap().is_empty());

    (1..=1000).for_each(claim);

    let (kept, _) = seen(&log);
    assert!(kept.len() <= 2 * MOST_KEPT, "{} texts", kept.len());
    // SQLite has one text for all.
    assert!(kept_in_the_end(&log, || claim(777)) <= 1);
}
