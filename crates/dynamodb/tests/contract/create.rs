//! New items.

use aws_sdk_dynamodb::types::ScalarAttributeType;
use dynamodb_status_tracker::blocking::BlockingCalls;
use dynamodb_status_tracker::{Attributes, Error, KeyAttributes, StatusTracked, Table, Tracked};
use serde::{Deserialize, Serialize};

use super::database::{INDEX, client, create, entries, raw, table, text, url};
use super::jobs::{Job, assert_err, version};

#[test]
fn a_new_job_is_pending_and_stands_in_the_index() {
    let table = table();
    let job = Job::create_and_save(&table, "a", version(7)).unwrap();
    assert_eq!(
        (job.id.as_str(), job.status, job.retry, job.version),
        ("a", 10, 0, Some(7))
    );
    assert_eq!(Job::find(&table, "a").unwrap(), Some(job));
    let entries = entries(&table);
    assert_eq!(entries.len(), 1);
    assert_eq!(text(&entries[0], "queue"), "10#0");
}

#[test]
fn enqueueing_twice_is_harmless() {
    let table = table();
    assert!(
        Job::create_if_absent(&table, "a", version(1))
            .unwrap()
            .is_some()
    );
    assert!(
        Job::create_if_absent(&table, "a", version(2))
            .unwrap()
            .is_none()
    );
    let error = Job::create_and_save(&table, "a", version(3)).unwrap_err();
    assert!(
        error.to_string().contains(r#""a" already exists"#),
        "{error}"
    );
    assert_err!(Err::<(), _>(error), Error::AlreadyExists { .. });
    assert_eq!(Job::find(&table, "a").unwrap().unwrap().version, Some(1));
}

#[test]
fn many_are_created_and_those_that_exist_are_skipped() {
    let table = table();
    let rows = |ids: std::ops::Range<i64>| ids.map(|n| (n.to_string(), version(n)));
    assert_eq!(Job::create_many(&table, rows(0..60)).unwrap(), 60);
    assert_eq!(Job::create_many(&table, rows(50..70)).unwrap(), 10);
    assert_eq!(Job::count_by_status(&table).unwrap(), [(10, 70)]);
}

#[test]
fn a_job_that_is_not_there_is_none() {
    assert_eq!(Job::find(&table(), "a").unwrap(), None);
}

#[derive(Debug, Deserialize)]
struct Invoice {
    tenant: i64,
    number: String,
    total: Option<i64>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
enum State {
    New,
    Running,
    Broken,
    Done,
    GivenUp,
}

#[derive(Default, Serialize)]
struct InvoiceUpdates {
    total: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<State>,
}

impl Tracked for Invoice {
    type Key = (i64, String);
    type Status = State;
    type Updates = InvoiceUpdates;
    const KEY: KeyAttributes = KeyAttributes::with_sort("tenant", "number");
    const ATTRIBUTES: Attributes = Attributes {
        status: "state",
        lock: "lease",
        ..Attributes::DEFAULT
    };
}

impl StatusTracked for Invoice {
    type Job = Invoice;
    const PENDING: State = State::New;
    const IN_PROGRESS: State = State::Running;
    const FAILED: State = State::Broken;
    const SUCCEEDED: State = State::Done;
    const IGNORED: State = State::GivenUp;
}

fn invoices() -> Table {
    let name = create(&[
        ("tenant", ScalarAttributeType::N),
        ("number", ScalarAttributeType::S),
    ]);
    Table::builder(client(&url(), 3), name).index(INDEX).build()
}

#[test]
fn a_sort_key_own_names_and_a_status_as_text_serve() {
    let table = invoices();
    let key = |tenant, number: &str| (tenant, number.to_owned());
    Invoice::create_and_save(&table, key(7, "a"), InvoiceUpdates::default()).unwrap();
    Invoice::create_and_save(&table, key(8, "a"), InvoiceUpdates::default()).unwrap();
    Invoice::run_job(&table, key(7, "a"), |job, updates| {
        assert_eq!(
            (job.tenant, job.number.as_str(), job.state),
            (7, "a", State::Running)
        );
        updates.total = Some(12);
        Ok(())
    })
    .unwrap();
    let done = Invoice::find(&table, key(7, "a")).unwrap().unwrap();
    assert_eq!((done.total, done.state), (Some(12), State::Done));
    let error = Invoice::start(&table, key(7, "a")).unwrap_err();
    assert!(
        error
            .to_string()
            .contains(r#"7, "a" has already succeeded"#),
        "{error}"
    );
    let next = Invoice::claim_next(&table, 2).unwrap();
    assert_eq!(next.iter().map(|job| job.tenant).collect::<Vec<_>>(), [8]);
}

#[test]
fn updates_that_set_a_tracked_attribute_are_refused() {
    let table = invoices();
    let wrong = || InvoiceUpdates {
        total: None,
        state: Some(State::Done),
    };
    let key = || (7, "a".to_owned());
    let error = Invoice::create_and_save(&table, key(), wrong()).unwrap_err();
    assert!(error.to_string().contains("`state`"), "{error}");
    Invoice::create_and_save(&table, key(), InvoiceUpdates::default()).unwrap();
    let run = Invoice::run_job(&table, key(), |_, updates| {
        *updates = wrong();
        Ok(())
    });
    assert_err!(run, Error::Failed { .. });
    assert_eq!(
        Invoice::find(&table, key()).unwrap().unwrap().state,
        State::Broken
    );
}

#[test]
fn a_key_that_does_not_fit_the_table_is_one_sentence() {
    #[derive(Debug, Deserialize)]
    struct Wrong {}
    impl Tracked for Wrong {
        type Key = (String, String);
        type Status = i32;
        type Updates = ();
        const KEY: KeyAttributes = KeyAttributes::partition("id");
    }
    impl StatusTracked for Wrong {
        type Job = Wrong;
        const PENDING: i32 = 1;
        const IN_PROGRESS: i32 = 2;
        const FAILED: i32 = 3;
        const SUCCEEDED: i32 = 4;
        const IGNORED: i32 = 5;
    }
    let table = Table::new(client(&url(), 1), "nowhere");
    let error = Wrong::find(&table, ("a".to_owned(), "b".to_owned())).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("must be a text, a number or bytes"),
        "{error}"
    );
}

#[test]
fn an_item_of_a_table_without_index_has_no_place_in_one() {
    let indexed = table();
    let table = Table::new(client(&url(), 3), indexed.name());
    Job::create_and_save(&table, "a", version(1)).unwrap();
    assert!(!raw(&table, "a").unwrap().contains_key("queue"));
    let error = Job::claim_next(&table, 1).unwrap_err();
    assert!(error.to_string().contains("index"), "{error}");
    Job::run_job(&table, "a", |_, _| Ok(())).unwrap();
}
