//! Two key columns, a name of its own for every role, `lock_at` that is never
//! NULL, a small counter, errors as nullable text, a status that is text.

use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::prelude::*;
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::Text;
use diesel_status_tracker::{KeyOf, StatusTracked};

use super::super::database::{TestConnection, TestDb, far_east};
use super::{Seen, Shape, age_lock, live};

diesel::table! {
    invoices (tenant, number) {
        tenant -> BigInt, number -> Text, state -> Text, created -> Timestamp, changed -> Timestamp,
        lease -> Nullable<Text>, leased_at -> Timestamp, failures -> SmallInt, problems -> Nullable<Text>,
        not_before -> Nullable<Timestamp>, priority -> Integer,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, AsExpression, FromSqlRow)]
#[diesel(sql_type = Text)]
pub enum State {
    New,
    Sending,
    Failed,
    Sent,
    Dropped,
}

const NAMES: [(State, &str); 5] = [
    (State::New, "new"),
    (State::Sending, "sending"),
    (State::Failed, "failed"),
    (State::Sent, "sent"),
    (State::Dropped, "dropped"),
];

impl<DB: diesel::backend::Backend> ToSql<Text, DB> for State
where
    str: ToSql<Text, DB>,
{
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
        let (_, name) = NAMES.iter().find(|(state, _)| state == self).unwrap();
        ToSql::<Text, DB>::to_sql(*name, out)
    }
}

impl<DB: diesel::backend::Backend> FromSql<Text, DB> for State
where
    String: FromSql<Text, DB>,
{
    fn from_sql(bytes: DB::RawValue<'_>) -> deserialize::Result<Self> {
        let text = String::from_sql(bytes)?;
        let found = NAMES.iter().find(|(_, name)| *name == text);
        Ok(found.ok_or("no state")?.0)
    }
}

#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = invoices)]
pub struct Invoice {
    pub priority: i32,
}

#[derive(Debug, Default, Insertable, AsChangeset)]
#[diesel(table_name = invoices)]
pub struct InvoiceUpdates {
    priority: Option<i32>,
}

impl StatusTracked for Invoice {
    type Job = Invoice;
    const PENDING: State = State::New;
    const IN_PROGRESS: State = State::Sending;
    const FAILED: State = State::Failed;
    const SUCCEEDED: State = State::Sent;
    const IGNORED: State = State::Dropped;
}

tracked! {
    Invoice in invoices {
        key: (tenant: i64, number: String),
        status: State,
        updates: InvoiceUpdates,
        columns: {
            status: state, create_at: created, update_at: changed, lock: lease, lock_at: leased_at,
            retry: failures, errors: problems, run_at: not_before,
        },
        order_by: (invoices::priority.desc(), invoices::created.asc()),
        status_field: none,
    }
}

impl Shape for Invoice {
    const CREATE: &'static str = "CREATE TABLE invoices (
        tenant BIGINT NOT NULL, number VARCHAR(20) NOT NULL, state VARCHAR(20) NOT NULL, created DATETIME(6) NOT NULL,
        changed DATETIME(6) NOT NULL, lease VARCHAR(32), leased_at DATETIME(6) NOT NULL, failures SMALLINT NOT NULL,
        problems TEXT, not_before DATETIME(6), priority INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (tenant, number)
    )";
    const NAME: &'static str = "invoices (7, \"2026-117\")";

    fn key() -> KeyOf<Self> {
        (7, "2026-117").into()
    }

    fn seen(conn: &mut TestConnection) -> Seen<Self> {
        let row: (State, Option<String>, i16, Option<String>) = invoices::table
            .find((7, "2026-117"))
            .select((
                invoices::state,
                invoices::lease,
                invoices::failures,
                invoices::problems,
            ))
            .get_result(conn)
            .unwrap();
        let document = serde_json::from_str(&row.3.unwrap()).unwrap();
        (row.0, row.1, row.2.into(), document)
    }

    age_lock! { invoices, leased_at }
}

#[test]
fn composite_key_and_own_names_and_text_status() {
    live::<Invoice>();
}

#[test]
fn a_lock_time_that_is_never_null_is_written_in_any_time_zone() {
    let db = TestDb::with_table(Invoice::CREATE);
    let pool = db.pool(1);
    far_east(&mut pool.get().unwrap());

    Invoice::create_and_save(&pool, Invoice::key(), InvoiceUpdates::default()).unwrap();
    Invoice::run_job(&pool, Invoice::key(), |_, _| Ok(())).unwrap();

    let (state, lease, ..) = Invoice::seen(&mut db.conn());
    assert_eq!((state, lease), (State::Sent, None));
}

#[test]
fn a_key_that_differs_in_one_part_is_another_job() {
    let db = TestDb::with_table(Invoice::CREATE);
    let pool = db.pool(1);
    for key in [(7, "a"), (7, "b"), (8, "a")] {
        Invoice::create_and_save(&pool, key, InvoiceUpdates::default()).unwrap();
    }

    Invoice::run_job(&pool, (7, "a"), |_, _| Ok(())).unwrap();

    let counts = Invoice::count_by_status(&pool).unwrap();
    assert!(
        counts.contains(&(State::New, 2)) && counts.contains(&(State::Sent, 1)),
        "{counts:?}"
    );
    let error = Invoice::start(&pool, (8, "b")).unwrap_err();
    assert!(error.to_string().contains("invoices (8, \"b\")"), "{error}");
    assert_eq!(Invoice::reset_many(&pool, [(7, "a"), (8, "b")]).unwrap(), 1);
}

#[test]
fn a_batch_is_claimed_by_both_parts_of_its_keys() {
    let db = TestDb::with_table(Invoice::CREATE);
    let pool = db.pool(1);
    for (key, priority) in [((7, "a"), 1), ((7, "b"), 4), ((8, "a"), 3), ((8, "b"), 2)] {
        let priority = Some(priority);
        Invoice::create_and_save(&pool, key, InvoiceUpdates { priority }).unwrap();
    }

    let batch = Invoice::claim_next(&pool, 3).unwrap();

    let priorities: Vec<_> = batch.iter().map(|invoice| invoice.priority).collect();
    assert_eq!(priorities, [4, 3, 2]);
    for invoice in batch {
        invoice.succeed().unwrap();
    }
    let rest = Invoice::start(&pool, (7, "a")).unwrap();
    assert_eq!(rest.priority, 1);
    assert!(Invoice::claim_next(&pool, 3).unwrap().is_empty());
}
