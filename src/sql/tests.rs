//! Each statement as each database gets it: the page that a reviewer reads.
//!
//! `INSTA_UPDATE=always cargo test --all-features --lib` writes the pages anew.

#![cfg(all(feature = "sqlite", feature = "postgres", feature = "mysql"))]
// In another crate the compiler says nothing of what a macro leaves unused.
#![allow(unused_imports, unused_macros, unused_variables)]

use std::slice::from_ref;
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use diesel::prelude::*;
use diesel::query_builder::{QueryBuilder, QueryFragment};
use serde_json::json;

mod described;

use super::backend::Binds;
use super::call::{Call, Document, Page, Place, Plain, micros};
use super::dialect::{Dialect, LockWait, Several};
use super::filter::{Filter, SendsFilter};
use super::run::with_query;
use super::statements::{self, Statement};
use super::typed::TableOn;
use crate::{Role, StatusTracked, Tracked};
use status_protocol::Step;

diesel::table! {
    /// The usual names.
    jobs (id) {
        id -> Text,
        status -> Integer,
        create_at -> Timestamp,
        update_at -> Timestamp,
        lock -> Nullable<Text>,
        lock_at -> Nullable<Timestamp>,
        retry -> Integer,
        errors -> Json,
        data -> Nullable<Text>,
    }
}

diesel::table! {
    /// A schema, names of its own, a key of two columns, `run_at`, `started_at`, an order,
    /// statuses that are text.
    billing.own_orders (tenant, number) {
        tenant -> BigInt,
        number -> Text,
        state -> Text,
        created -> Timestamp,
        changed -> Timestamp,
        #[sql_name = "lease token"]
        lease -> Nullable<Text>,
        lease_at -> Timestamp,
        failures -> SmallInt,
        problems -> Nullable<Text>,
        not_before -> Nullable<Timestamp>,
        begun -> Nullable<Timestamp>,
        priority -> Integer,
        data -> Nullable<Text>,
    }
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = jobs)]
struct Job {
    #[allow(dead_code)]
    id: String,
}

#[derive(Default, Insertable, AsChangeset)]
#[diesel(table_name = jobs)]
struct JobUpdates {
    data: Option<String>,
}

crate::job_table! {
    Job in jobs {
        key: (id: String),
        status: i32,
        updates: JobUpdates,
        connections: [SqliteConnection, PgConnection, MysqlConnection],
        status_field: none,
    }
}

impl StatusTracked for Job {
    type Job = Self;
    const PENDING: i32 = 10;
    const IN_PROGRESS: i32 = 20;
    const FAILED: i32 = 30;
    const SUCCEEDED: i32 = 40;
    const IGNORED: i32 = 50;
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = own_orders)]
struct Order {
    #[allow(dead_code)]
    number: String,
}

#[derive(Default, Insertable, AsChangeset)]
#[diesel(table_name = own_orders)]
struct OrderUpdates {
    data: Option<String>,
}

#[derive(
    Debug, Clone, Copy, PartialEq, diesel::expression::AsExpression, diesel::deserialize::FromSqlRow,
)]
#[diesel(sql_type = diesel::sql_types::Text)]
struct State(&'static str);

impl<DB: diesel::backend::Backend> diesel::serialize::ToSql<diesel::sql_types::Text, DB> for State
where
    str: diesel::serialize::ToSql<diesel::sql_types::Text, DB>,
{
    fn to_sql<'b>(
        &'b self,
        out: &mut diesel::serialize::Output<'b, '_, DB>,
    ) -> diesel::serialize::Result {
        self.0.to_sql(out)
    }
}

impl<DB: diesel::backend::Backend> diesel::deserialize::FromSql<diesel::sql_types::Text, DB>
    for State
{
    fn from_sql(_: DB::RawValue<'_>) -> diesel::deserialize::Result<Self> {
        Ok(Self("new"))
    }
}

crate::job_table! {
    Order in own_orders {
        key: (tenant: i64, number: String),
        status: State,
        updates: OrderUpdates,
        connections: [SqliteConnection, PgConnection, MysqlConnection],
        columns: {
            status: state, create_at: created, update_at: changed, lock: lease,
            lock_at: lease_at, retry: failures, errors: problems, run_at: not_before,
            started_at: begun,
        },
        order_by: (own_orders::priority.desc(), own_orders::created.asc()),
        status_field: none,
    }
}

impl StatusTracked for Order {
    type Job = Self;
    const PENDING: State = State("new");
    const IN_PROGRESS: State = State("sending");
    const FAILED: State = State("failed");
    const SUCCEEDED: State = State("sent");
    const IGNORED: State = State("dropped");
}

/// A call that gives all that the statement takes, and nothing else.
fn full_call<'a, J: Tracked>(
    statement: &Statement,
    keys: &'a [J::Key],
    step: &'a Step<J::Status>,
    updates: &'a J::Updates,
    new_rows: &'a [&'a J::Updates],
) -> Call<'a, J> {
    let has = |slot: &str| statement.takes(slot);
    Call {
        keys: match has("is") {
            true => &keys[..1],
            false if has("any") || has("any_given") || has("new_key") => keys,
            false => &[],
        },
        past: if has("past") { keys } else { &[] },
        step: Some(step),
        statuses: if has("statuses") {
            from_ref(&step.succeeded)
        } else {
            &[]
        },
        new_status: has("new_status").then_some(step.failed),
        updates: has("changes").then_some(updates),
        new_rows: if has("set_values") { new_rows } else { &[] },
        plain: Plain {
            tokens: match has("tokens") {
                true => &["a", "b"],
                false if has("token") => &["a"],
                false => &[],
            },
            written_token: has("written_token").then_some("b"),
            count: has("count").then_some(1),
            document: has("document").then(|| Document::of(json!({}), J::info())),
            ago: has("ago").then(|| -micros(Duration::from_secs(1))),
            later: has("later").then(|| micros(Duration::from_secs(1))),
            since: has("changed_since").then(|| DateTime::UNIX_EPOCH.into()),
            limit: (has("limit") || has("limit_text")).then_some(10),
            ..varying(statement)
        },
    }
}

/// What only tables take that are known at run time.
fn varying<'a>(statement: &Statement) -> Plain<'a> {
    let has = |slot: &str| statement.takes(slot);
    let place = Place {
        time: Some("2026-01-01 00:00:00"),
        key: PLACE,
    };
    Plain {
        page: has("page_order").then_some(Page {
            by: Role::UpdateAt,
            is_descending: false,
            after: Some(place),
        }),
        seen_lock_at: has("seen_lock_at").then_some("2026-01-01 00:00:00"),
        seen_update_at: has("unchanged").then_some(Some("2026-01-01 00:00:00")),
        ..Plain::default()
    }
}

/// As long as the longest key here.
static PLACE: &[String] = &[String::new(), String::new()];

fn text<J: TableOn<DB>, DB: Binds>(
    dialect: &'static Dialect,
    statement: &'static Statement,
    call: &Call<'_, J>,
) -> QueryResult<String> {
    let mut text = DB::QueryBuilder::default();
    with_query::<J, DB>(dialect, statement, call, &mut |query| {
        query.to_sql(&mut text, &DB::default())
    })?;
    Ok(text.finish())
}

/// Some statements are the way of some databases alone.
fn is_sent(dialect: &Dialect, name: &str) -> bool {
    match name {
        "INSERT_LIST" => dialect.inserts_lists,
        "CLAIM_NEXT" | "SUCCEED_AND_CLAIM" => dialect.several == Several::AtOnce,
        "READY_ROWS" => dialect.several != Several::ByKeys,
        "READY_ROWS_BY_STATUS"
        | "READY_ROWS_IN_ORDER"
        | "LOCK_READY_ROWS"
        | "CLAIM_ROWS"
        | "CLAIMED_ROWS" => dialect.several == Several::ByKeys,
        "CLAIM_FOUND_ROWS" => dialect.several == Several::OneWriter,
        "FREE_KEYS" | "TAKE_ROW" => dialect.locks_rows(),
        // To claims with a filter alone.
        "READY_ROW" => false,
        "LOCK_TIME" | "RENEWED_ROWS" => !dialect.has_returning,
        name if described::ONLY.contains(&name) => false,
        // Neither of the tables here has a key that a database counts.
        "ROW_OF_MADE_KEY" => false,
        // After an insert that returns nothing.
        "ROW_NOW" | "ROW_KEY" => !dialect.has_returning,
        _ => true,
    }
}

fn page<J: TableOn<DB>, DB: Binds>(
    dialect: &'static Dialect,
    keys: &[J::Key],
    step: &Step<J::Status>,
    updates: &J::Updates,
) -> String {
    let mut page = String::new();
    let is_sent = |statement: &&&Statement| is_sent(dialect, statement.name);
    for statement in statements::ALL.iter().filter(is_sent) {
        let is_one = matches!(statement.name, "INSERT_ROW" | "INSERT_WITHOUT_KEY");
        let new_rows = &[updates, updates][usize::from(is_one)..];
        let call = full_call::<J>(statement, keys, step, updates, new_rows);
        let text = text::<J, DB>(dialect, statement, &call).unwrap();
        let mut after_colons = text.split(':').skip(1);
        let is_part = |after: &str| after.starts_with(|c: char| c.is_ascii_lowercase());
        assert!(!after_colons.any(is_part), "{text}");
        page += &format!("{}\n    {text}\n", statement.name);
    }
    page
}

#[test]
fn each_statement_is_written_as_this_page_has_it() {
    use super::dialect::{MYSQL, POSTGRES, SQLITE};
    let keys = ["1".to_owned(), "2".to_owned()];
    let updates = JobUpdates {
        data: Some("x".into()),
    };
    let step = crate::tracked::step::<Job>().unwrap();
    insta::assert_snapshot!(
        "sqlite",
        page::<Job, diesel::sqlite::Sqlite>(&SQLITE, &keys, &step, &updates)
    );
    insta::assert_snapshot!(
        "postgres",
        page::<Job, diesel::pg::Pg>(&POSTGRES, &keys, &step, &updates)
    );
    insta::assert_snapshot!(
        "mysql",
        page::<Job, diesel::mysql::Mysql>(&MYSQL, &keys, &step, &updates)
    );

    let keys = [(1, "a").into(), (2, "b").into()];
    let updates = OrderUpdates {
        data: Some("x".into()),
    };
    let step = crate::tracked::step::<Order>().unwrap();
    insta::assert_snapshot!(
        "sqlite_own_names",
        page::<Order, diesel::sqlite::Sqlite>(&SQLITE, &keys, &step, &updates)
    );
    insta::assert_snapshot!(
        "postgres_own_names",
        page::<Order, diesel::pg::Pg>(&POSTGRES, &keys, &step, &updates)
    );
    insta::assert_snapshot!(
        "mysql_own_names",
        page::<Order, diesel::mysql::Mysql>(&MYSQL, &keys, &step, &updates)
    );
}

/// The statements of a claim with a filter.
fn filtered_page<J: TableOn<DB>, DB: Binds>(
    dialect: &'static Dialect,
    keys: &[J::Key],
    step: &Step<J::Status>,
    filter: &Filter,
) -> String {
    let mut page = String::new();
    for statement in statements::ALL {
        let is_ready_row = std::ptr::eq(*statement, &statements::READY_ROW);
        if !statement.takes("filter") || !(is_ready_row || is_sent(dialect, statement.name)) {
            continue;
        }
        let updates = J::Updates::default();
        let mut call = full_call::<J>(statement, keys, step, &updates, &[]);
        call.plain.filter = Some(filter);
        let text = text::<J, DB>(dialect, statement, &call).unwrap();
        page += &format!("{}\n    {text}\n", statement.name);
    }
    page
}

#[test]
fn a_filter_is_part_of_each_statement_that_finds_or_claims_ready_rows() {
    use super::dialect::{MYSQL, POSTGRES, SQLITE};
    let keys = [(1, "a").into(), (2, "b").into()];
    let step = crate::tracked::step::<Order>().unwrap();
    let condition = Arc::new(
        own_orders::tenant
            .eq(7)
            .or(own_orders::priority.eq_any([1, 2])),
    );
    let mut filter = Filter::default();
    <SqliteConnection as SendsFilter<Order, _>>::add(&condition, &mut filter);
    <PgConnection as SendsFilter<Order, _>>::add(&condition, &mut filter);
    <MysqlConnection as SendsFilter<Order, _>>::add(&condition, &mut filter);
    insta::assert_snapshot!(
        "sqlite_filter",
        filtered_page::<Order, diesel::sqlite::Sqlite>(&SQLITE, &keys, &step, &filter)
    );
    insta::assert_snapshot!(
        "postgres_filter",
        filtered_page::<Order, diesel::pg::Pg>(&POSTGRES, &keys, &step, &filter)
    );
    insta::assert_snapshot!(
        "mysql_filter",
        filtered_page::<Order, diesel::mysql::Mysql>(&MYSQL, &keys, &step, &filter)
    );
}

#[test]
fn a_value_that_is_missing_or_not_taken_is_an_error() {
    use super::dialect::POSTGRES;
    for statement in statements::ALL {
        let written = text::<Job, diesel::pg::Pg>(&POSTGRES, statement, &Call::default());
        let takes_nothing = matches!(statement.name, "STATUS_COUNTS" | "TABLE_COLUMNS");
        assert_eq!(
            written.is_ok(),
            takes_nothing,
            "{}: {written:?}",
            statement.name
        );
    }
    let call = Call {
        new_status: Some(Job::FAILED),
        ..Call::default()
    };
    let mut unused = None;
    let silent = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        text::<Job, diesel::pg::Pg>(&POSTGRES, &statements::STATUS_COUNTS, &call)
    }));
    if let Err(message) = silent {
        unused = message.downcast_ref::<String>().cloned();
    }
    assert!(unused.unwrap().contains("new status"));
}
