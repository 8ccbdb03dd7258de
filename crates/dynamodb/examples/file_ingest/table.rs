//! The client, and the table, which is created where it does not exist.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType, TableStatus,
};
use dynamodb_status_tracker::{BoxError, Table};

const NAME: &str = "files";
const INDEX: &str = "open_files";

pub fn open() -> Result<Table, BoxError> {
    let url = std::env::var("DYNALITE_URL")
        .map_err(|_| "DYNALITE_URL is not set: run it through scripts/with-dynamodb")?;
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .credentials_provider(Credentials::new("test", "test", None, None, "example"))
        .region(Region::new("eu-west-1"))
        .endpoint_url(url)
        .build();
    let client = Client::from_conf(config);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(create(&client))?;
    Ok(Table::builder(client, NAME).index(INDEX).shards(4).build())
}

async fn create(client: &Client) -> Result<(), BoxError> {
    let text = |name: &str| {
        AttributeDefinition::builder()
            .attribute_name(name)
            .attribute_type(ScalarAttributeType::S)
            .build()
    };
    let key = |name: &str, kind| {
        KeySchemaElement::builder()
            .attribute_name(name)
            .key_type(kind)
            .build()
    };
    let index = GlobalSecondaryIndex::builder()
        .index_name(INDEX)
        .key_schema(key("queue", KeyType::Hash)?)
        .key_schema(key("due", KeyType::Range)?)
        .projection(
            Projection::builder()
                .projection_type(ProjectionType::KeysOnly)
                .build(),
        )
        .build()?;
    let created = client
        .create_table()
        .table_name(NAME)
        .key_schema(key("path", KeyType::Hash)?)
        .attribute_definitions(text("path")?)
        .attribute_definitions(text("queue")?)
        .attribute_definitions(text("due")?)
        .global_secondary_indexes(index)
        .billing_mode(BillingMode::PayPerRequest)
        .send()
        .await;
    match created {
        Err(error)
            if !error
                .as_service_error()
                .is_some_and(|error| error.is_resource_in_use_exception()) =>
        {
            return Err(error.into());
        }
        _ => {}
    }
    loop {
        let told = client.describe_table().table_name(NAME).send().await?;
        if told.table().and_then(|table| table.table_status()) == Some(&TableStatus::Active) {
            return Ok(());
        }
    }
}
