//! A table of its own for each test.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, GlobalSecondaryIndex, KeySchemaElement,
    KeyType, Projection, ProjectionType, ScalarAttributeType, TableStatus,
};
use dynamodb_status_tracker::{Table, TableBuilder};
use tokio::runtime::Runtime;

/// The index of open jobs, in all tests.
pub const INDEX: &str = "open_jobs";

/// The server's address.
pub fn url() -> String {
    let name = super::super::SERVER;
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: run the tests through scripts/with-dynamodb")
    })
}

/// A client without TLS, whose SDK tries up to `attempts` times.
pub fn client(url: &str, attempts: u32) -> Client {
    let retries = RetryConfig::standard()
        .with_max_attempts(attempts)
        .with_initial_backoff(Duration::from_millis(1));
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .region(Region::new("eu-west-1"))
        .endpoint_url(url)
        .retry_config(retries)
        .build();
    Client::from_conf(config)
}

/// Runs what the tests ask of the SDK itself.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    runtime().block_on(future)
}

pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// A fresh table with the key `id` and the index.
pub fn table() -> Table {
    builder().build()
}

/// The same, with settings to be made.
pub fn builder() -> TableBuilder {
    let name = create(&[("id", ScalarAttributeType::S)]);
    Table::builder(client(&url(), 3), name).index(INDEX)
}

/// Another process's view of the same table.
pub fn other(table: &Table) -> TableBuilder {
    Table::builder(client(&url(), 3), table.name()).index(INDEX)
}

/// Creates a table, and returns its name.
pub fn create(key: &[(&str, ScalarAttributeType)]) -> String {
    let name = format!("jobs_{}", uuid::Uuid::new_v4().simple());
    let queue = [
        ("queue", ScalarAttributeType::S),
        ("due", ScalarAttributeType::S),
    ];
    let definitions = key.iter().chain(&queue).map(|(name, kind)| {
        AttributeDefinition::builder()
            .attribute_name(*name)
            .attribute_type(kind.clone())
            .build()
            .unwrap()
    });
    let index = GlobalSecondaryIndex::builder()
        .index_name(INDEX)
        .set_key_schema(Some(schema(&queue)))
        .projection(
            Projection::builder()
                .projection_type(ProjectionType::KeysOnly)
                .build(),
        )
        .build()
        .unwrap();
    run(async {
        let client = client(&url(), 3);
        client
            .create_table()
            .table_name(&name)
            .set_key_schema(Some(schema(key)))
            .set_attribute_definitions(Some(definitions.collect()))
            .global_secondary_indexes(index)
            .billing_mode(BillingMode::PayPerRequest)
            .send()
            .await
            .unwrap();
        loop {
            let told = client
                .describe_table()
                .table_name(&name)
                .send()
                .await
                .unwrap();
            if told.table().unwrap().table_status() == Some(&TableStatus::Active) {
                return;
            }
            tokio::task::yield_now().await;
        }
    });
    name
}

fn schema(key: &[(&str, ScalarAttributeType)]) -> Vec<KeySchemaElement> {
    let kinds = [KeyType::Hash, KeyType::Range];
    let elements = key.iter().zip(kinds).map(|((name, _), kind)| {
        KeySchemaElement::builder()
            .attribute_name(*name)
            .key_type(kind)
            .build()
            .unwrap()
    });
    elements.collect()
}

pub type Item = std::collections::HashMap<String, AttributeValue>;

/// The item as it is, `None` if there is none.
pub fn raw(table: &Table, id: &str) -> Option<Item> {
    let get = client(&url(), 3)
        .get_item()
        .table_name(table.name())
        .key("id", AttributeValue::S(id.into()))
        .consistent_read(true)
        .send();
    run(get).unwrap().item
}

/// Sets an attribute by hand, or removes it.
pub fn set(table: &Table, id: &str, name: &str, value: Option<AttributeValue>) {
    let update = client(&url(), 3)
        .update_item()
        .table_name(table.name())
        .key("id", AttributeValue::S(id.into()))
        .expression_attribute_names("#name", name);
    let update = match value {
        Some(value) => update
            .update_expression("SET #name = :value")
            .expression_attribute_values(":value", value),
        None => update.update_expression("REMOVE #name"),
    };
    run(update.send()).unwrap();
}

/// The entries of the index, in no order.
pub fn entries(table: &Table) -> Vec<Item> {
    let scan = client(&url(), 3)
        .scan()
        .table_name(table.name())
        .index_name(INDEX)
        .send();
    run(scan).unwrap().items.unwrap_or_default()
}

pub fn text(item: &Item, name: &str) -> String {
    match item.get(name) {
        Some(AttributeValue::S(text) | AttributeValue::N(text)) => text.clone(),
        other => panic!("`{name}` is {other:?}"),
    }
}

/// Waits until it holds.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..20_000 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("never: {what}");
}
