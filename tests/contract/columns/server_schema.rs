//! A table that is named with its schema, which servers have.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use serde_json::Value;

use super::backend::ALONE;
use super::columns::{Seen, Shape, age_lock, live_in};
use super::database::{TestConnection, TestDb};
use super::jobs::Status;

diesel::table! {
    test_shop.orders (id) {
        id -> Integer, status -> Integer, create_at -> Timestamp, update_at -> Timestamp, lock -> Nullable<Text>,
        lock_at -> Nullable<Timestamp>, retry -> Integer, errors -> Json, note -> Nullable<Text>,
    }
}

#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = orders)]
struct Order {
    #[expect(dead_code, reason = "a row has a field")]
    id: i32,
}

#[derive(Debug, Default, Insertable, AsChangeset)]
#[diesel(table_name = orders)]
struct OrderUpdates {
    note: Option<String>,
}

step! { Order on Order {} }
tracked! { Order in orders { key: (id: i32), status: Status, updates: OrderUpdates, status_field: none } }

impl Shape for Order {
    const CREATE: &'static str = "CREATE SCHEMA IF NOT EXISTS test_shop;
        DROP TABLE IF EXISTS test_shop.orders;
        CREATE TABLE test_shop.orders (
            id INTEGER NOT NULL PRIMARY KEY, status INTEGER NOT NULL, create_at DATETIME(6) NOT NULL,
            update_at DATETIME(6) NOT NULL, `lock` VARCHAR(32), lock_at DATETIME(6), retry INTEGER NOT NULL,
            errors JSON NOT NULL, note VARCHAR(20)
        )";
    const NAME: &'static str = "test_shop.orders 12";

    fn key() -> i32 {
        12
    }

    fn seen(conn: &mut TestConnection) -> Seen<Self> {
        let row: (Status, Option<String>, i32, Value) = orders::table
            .select((orders::status, orders::lock, orders::retry, orders::errors))
            .get_result(conn)
            .unwrap();
        (row.0, row.1, row.2.into(), row.3)
    }

    age_lock! { orders, lock_at }
}

#[test]
fn a_table_in_a_schema_that_is_named() {
    let db = TestDb::new();
    // The name is fixed, and the server may serve another run of the tests.
    db.conn().batch_execute(ALONE).unwrap();
    db.sql(Order::CREATE);

    live_in::<Order>(&db);

    db.sql("DROP TABLE test_shop.orders; DROP SCHEMA test_shop");
}
