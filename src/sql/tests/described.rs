//! The statements on a table that is known at run time alone, and in a dialect that is
//! only sketched.

use std::slice::from_ref;
use std::time::Duration;

use diesel::query_builder::{QueryBuilder, QueryFragment};
use serde_json::json;

use super::super::backend::Binds;
use super::super::call::{Document, Page, Place, Plain, micros};
use super::super::described::{
    ColumnName, Described, DescribedCall, RowKey, ShownColumns, with_query,
};
use super::super::dialect::{COCKROACH, Dialect, MYSQL, POSTGRES, SQLITE};
use super::super::statements::{self, Statement};
use super::{Job, JobUpdates, varying};
use crate::table_info::{
    Document as ErrorsType, Integer, Phase, Role, StatusCode, StepCodes, StepInfo, TableInfo,
};

/// Those that no typed table sends.
pub(super) const ONLY: &[&str] = &[
    "LISTED_ROWS",
    "SEEN_ROW",
    "RESET_SEEN_ROW",
    "IGNORE_ROW",
    "IGNORE_SEEN_ROW",
    "IGNORED_ROW",
    "SET_ERRORS",
    "SEEN_ATTEMPT",
    "EXPIRE_SEEN_ROW",
    "TABLE_COLUMNS",
];

/// Those that it sends as well.
const SHARED: &[&str] = &[
    "ROW_STATE",
    "DEAD_KEYS",
    "DEAD_ATTEMPT",
    "EXPIRE_ROW",
    "RESET_ROWS",
    "STALE_KEYS",
    "DELETE_STALE_ROWS",
    "ROW",
    "STATUS_COUNTS",
];

fn numbers() -> StepCodes {
    StepCodes {
        pending: 10.into(),
        in_progress: 20.into(),
        failed: 30.into(),
        succeeded: 40.into(),
        ignored: 50.into(),
    }
}

fn plain() -> TableInfo {
    let table = TableInfo::named("jobs").key(["id"]).usual_columns();
    table.step(StepInfo::new("job", numbers())).build().unwrap()
}

/// The same table as the typed one with names of its own.
fn own_names() -> TableInfo {
    let codes = StepCodes {
        pending: "new".into(),
        in_progress: "sending".into(),
        failed: "failed".into(),
        succeeded: "sent".into(),
        ignored: "dropped".into(),
    };
    TableInfo::named("own_orders")
        .schema("billing")
        .key(["tenant", "it's \\ number"])
        .column(Role::Status, "state")
        .column(Role::CreateAt, "created")
        .column(Role::UpdateAt, "changed")
        .time(Role::UpdateAt, true, true)
        .column(Role::Lock, "lease token")
        .column(Role::LockAt, "lease_at")
        .column(Role::Retry, "failures")
        .column(Role::Errors, "problems")
        .column(Role::RunAt, "not_before")
        .retry(Integer {
            bits: 16,
            is_signed: true,
        })
        .errors(ErrorsType::Text)
        .step(StepInfo::new("send", codes))
        .build()
        .unwrap()
}

fn text<DB: Binds>(
    dialect: &'static Dialect,
    table: &Described,
    statement: &'static Statement,
    call: &DescribedCall<'_>,
) -> (String, bool) {
    let mut text = DB::QueryBuilder::default();
    let mut is_kept = false;
    with_query::<DB>(dialect, table, statement, call, &mut |query| {
        is_kept = query.is_kept;
        query.to_sql(&mut text, &DB::default())
    })
    .unwrap();
    (text.finish(), is_kept)
}

/// A page after a key of so many columns.
fn page_of(statement: &Statement, width: usize) -> Option<Page<'static>> {
    varying(statement).page.map(|page| Page {
        after: page.after.map(|place| Place {
            key: &place.key[..width],
            ..place
        }),
        ..page
    })
}

fn page<DB: Binds>(dialect: &'static Dialect, info: TableInfo) -> String {
    let table = Described::new(info);
    let step = table.info().steps().first().unwrap();
    let width = table.info().key().len();
    let keys = ["1", "2"].map(|part| RowKey::from(vec![part.to_owned(); width]));
    let columns = ["id", "data"].map(|name| ColumnName {
        name: name.into(),
        is_binary: name == "data",
    });
    let mut page = String::new();
    let sent = [ONLY, SHARED].concat();
    for statement in statements::ALL.iter().filter(|it| sent.contains(&it.name)) {
        if statement.name == "IGNORED_ROW" && dialect.has_returning {
            continue;
        }
        let has = |slot: &str| statement.takes(slot);
        let call = DescribedCall {
            keys: match has("is") {
                true => &keys[..1],
                false if has("any") || has("any_given") => &keys,
                false => &[],
            },
            step: Some(step),
            statuses: match has("statuses") {
                true => from_ref(&step.codes().succeeded),
                false => &[],
            },
            new_status: has("new_status").then_some(Phase::Failed),
            columns: Some(ShownColumns {
                columns: &columns,
                most_bytes: 1_000,
                dialect,
            }),
            plain: Plain {
                tokens: if has("token") { &["a"] } else { &[] },
                count: has("count").then_some(1),
                document: has("document").then(|| Document::of(json!({}), table.info())),
                ago: has("ago").then(|| -micros(Duration::from_secs(1))),
                later: has("later").then(|| micros(Duration::from_secs(1))),
                limit: has("limit").then_some(10),
                page: page_of(statement, width),
                ..varying(statement)
            },
        };
        let (text, _) = text::<DB>(dialect, &table, statement, &call);
        page += &format!("{}\n    {text}\n", statement.name);
    }
    page
}

#[test]
fn each_statement_on_a_described_table_is_written_as_this_page_has_it() {
    use diesel::{mysql::Mysql, pg::Pg, sqlite::Sqlite};
    insta::assert_snapshot!("described_sqlite", page::<Sqlite>(&SQLITE, plain()));
    insta::assert_snapshot!("described_postgres", page::<Pg>(&POSTGRES, plain()));
    insta::assert_snapshot!("described_mysql", page::<Mysql>(&MYSQL, plain()));
    insta::assert_snapshot!(
        "described_own_names_sqlite",
        page::<Sqlite>(&SQLITE, own_names())
    );
    insta::assert_snapshot!(
        "described_own_names_postgres",
        page::<Pg>(&POSTGRES, own_names())
    );
    insta::assert_snapshot!(
        "described_own_names_mysql",
        page::<Mysql>(&MYSQL, own_names())
    );
}

#[test]
fn a_server_that_speaks_postgresqls_protocol_gets_texts_of_its_own() {
    use diesel::pg::Pg;
    let keys = ["1".to_owned(), "2".to_owned()];
    let updates = JobUpdates {
        data: Some("x".into()),
    };
    let step = crate::tracked::step::<Job>().unwrap();
    let of = |dialect| super::page::<Job, Pg>(dialect, &keys, &step, &updates);

    // One table on both servers in one process: neither gets the other's texts.
    let (before, sketch) = (of(&POSTGRES), of(&COCKROACH));

    assert_eq!(before, of(&POSTGRES));
    assert!(before.contains("lock_timeout") && !sketch.contains("lock_timeout"));
    assert!(sketch.contains("FOR UPDATE SKIP LOCKED"));
    insta::assert_snapshot!("cockroach", sketch);
    insta::assert_snapshot!("described_cockroach", page::<Pg>(&COCKROACH, own_names()));
}

#[test]
fn of_the_texts_that_a_list_has_few_stay_prepared() {
    use diesel::pg::Pg;
    let table = Described::new(plain());
    let sent = |number: i64| {
        let statuses = [StatusCode::Number(number)];
        let call = DescribedCall {
            statuses: &statuses,
            plain: Plain {
                limit: Some(10),
                page: page_of(&statements::LISTED_ROWS, 1),
                ..Plain::default()
            },
            ..DescribedCall::default()
        };
        text::<Pg>(&POSTGRES, &table, &statements::LISTED_ROWS, &call).1
    };
    // What is asked for first stays, and what is asked for once does not.
    assert!((0..5).all(|number| sent(number) && sent(number)));
    let kept = (5..10_000).filter(|number| sent(*number)).count();
    assert!(kept < 32, "{kept}");
    assert!(sent(0));
}
