//! The table definitions in README.md are valid, and fit the code.

use dynamodb_status_tracker::Attributes;
use hcl::{Body, Expression, Structure};
use serde_yaml_ng::Value;

const README: &str = include_str!("../README.md");

/// The first block of README.md in this language.
fn block(language: &str) -> &'static str {
    let (_, rest) = README
        .split_once(&format!("```{language}\n"))
        .expect("the block is in README.md");
    rest.split_once("```").expect("the block ends").0
}

/// The key of the table and that of its index.
#[derive(Debug, PartialEq)]
struct Keys {
    table: Vec<String>,
    index: Vec<String>,
    projection: String,
    defined: Vec<String>,
}

fn expected() -> Keys {
    let Attributes { queue, due, .. } = Attributes::DEFAULT;
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Keys {
        table: names(&["id"]),
        index: names(&[queue, due]),
        projection: "KEYS_ONLY".into(),
        defined: names(&["id", queue, due]),
    }
}

#[test]
fn the_cloudformation_template_makes_the_table_that_the_code_needs() {
    let template: Value = serde_yaml_ng::from_str(block("yaml")).unwrap();
    let jobs = &template["Resources"]["Jobs"];
    assert_eq!(jobs["Type"], "AWS::DynamoDB::Table");
    let names = |list: &Value| -> Vec<String> {
        let entries = list.as_sequence().unwrap().iter();
        entries
            .map(|entry| entry["AttributeName"].as_str().unwrap().to_owned())
            .collect()
    };
    let table = &jobs["Properties"];
    let index = &table["GlobalSecondaryIndexes"][0];
    let keys = Keys {
        table: names(&table["KeySchema"]),
        index: names(&index["KeySchema"]),
        projection: index["Projection"]["ProjectionType"]
            .as_str()
            .unwrap()
            .into(),
        defined: names(&table["AttributeDefinitions"]),
    };
    assert_eq!(keys, expected());
    assert_eq!(index["KeySchema"][1]["KeyType"], "RANGE");
}

#[test]
fn the_terraform_block_makes_the_table_that_the_code_needs() {
    let body: Body = hcl::parse(block("hcl")).unwrap();
    let Some(Structure::Block(table)) = body.into_inner().into_iter().next() else {
        panic!("no block");
    };
    assert_eq!(table.identifier(), "resource");
    assert_eq!(table.labels()[0].as_str(), "aws_dynamodb_table");
    let text = |body: &Body, name: &str| -> String {
        let found = body.attributes().find(|attribute| attribute.key() == name);
        match found.unwrap_or_else(|| panic!("no `{name}`")).expr() {
            Expression::String(text) => text.clone(),
            other => panic!("{other:?}"),
        }
    };
    let blocks = |name: &'static str| {
        table
            .body()
            .blocks()
            .filter(move |block| block.identifier() == name)
    };
    let index = blocks("global_secondary_index").next().unwrap().body();
    let keys = Keys {
        table: vec![text(table.body(), "hash_key")],
        index: vec![text(index, "hash_key"), text(index, "range_key")],
        projection: text(index, "projection_type"),
        defined: blocks("attribute")
            .map(|block| text(block.body(), "name"))
            .collect(),
    };
    assert_eq!(keys, expected());
}
