//! Described tables with what PostgreSQL alone has: times with a zone, enums, and keys
//! that depend on settings of the session.

use diesel::connection::SimpleConnection;
use diesel_status_tracker::{ErrorsType, Role, TableInfo};

use super::database::{TestDb, far_east};
use super::described_keys::{Shape, each_call_finds_its_row, texts};

#[test]
fn times_with_a_zone_and_statuses_that_are_an_enum() {
    let db = TestDb::new();
    db.sql("CREATE TYPE stage AS ENUM ('new', 'sending', 'failed', 'sent', 'dropped')");
    let info = TableInfo::named("jobs_of_it")
        .key(["id"])
        .usual_columns()
        .time(Role::CreateAt, true, false)
        .time(Role::UpdateAt, true, false)
        .time(Role::LockAt, true, true)
        .errors(ErrorsType::Json);
    let literals = [
        "'2026-01-01 00:00:00+00'",
        "'2026-01-01 00:00:00.000001+00'",
        "'2026-01-01 00:00:01+00'",
        "'2026-01-01 00:00:02+00'",
        "'2026-01-01 00:00:03+00'",
    ];
    let keys = [
        "2026-01-01 00:00:00+00",
        "2026-01-01 00:00:00.000001+00",
        "2026-01-01 00:00:01+00",
        "2026-01-01 00:00:02+00",
        "2026-01-01 00:00:03+00",
    ];
    let shape = Shape {
        status: "stage",
        time: "TIMESTAMPTZ",
        info,
        codes: texts(),
        ..Shape::of("id TIMESTAMPTZ NOT NULL", literals, keys)
    };
    let (table, keys) = shape.create(&db);
    // The keys as a session in another time zone shows them.
    far_east(&mut db.conn());
    let pool = db.pool(1);
    pool.get()
        .unwrap()
        .batch_execute("SET TIME ZONE 'Asia/Tokyo'")
        .unwrap();
    let shown = keys.map(|key| table.find(&pool, key).unwrap().unwrap().key);
    assert_eq!(shown[0].parts(), ["2026-01-01 09:00:00+09"]);
    each_call_finds_its_row(&pool, &table, &shown, &texts());
}

#[test]
fn errors_that_are_jsonb() {
    let db = TestDb::new();
    let literals = ["1", "2", "3", "4", "5"];
    let shape = Shape::of("id SMALLINT NOT NULL", literals, literals);
    let shape = Shape {
        info: shape.info.clone().errors(ErrorsType::Jsonb),
        ..shape
    };
    let codes = shape.codes.clone();
    let (table, keys) = shape.create(&db);
    db.sql("ALTER TABLE jobs_of_it ALTER errors TYPE JSONB");
    each_call_finds_its_row(&db.pool(1), &table, &keys, &codes);
}

/// A key of bytes is not supported, and yet PostgreSQL's way to write it serves.
#[test]
fn a_column_of_bytes_is_shown_as_the_database_writes_it() {
    let db = TestDb::new();
    let literals = ["1", "2", "3", "4", "5"];
    let key = "id INTEGER NOT NULL, seal BYTEA DEFAULT '\\x00ff'";
    let (table, keys) = Shape::of(key, literals, literals).create(&db);
    let columns = table.row(&db.pool(1), &keys[0], 50).unwrap().unwrap();
    let seal = columns.iter().find(|column| column.name == "seal").unwrap();
    assert_eq!(seal.text.as_deref(), Some("\\x00ff"));
}

#[test]
fn a_key_that_cannot_be_cast_does_not_break_the_callers_transaction_for_many() {
    use diesel::Connection;
    let db = TestDb::new();
    let literals = ["1", "2", "3", "4", "5"];
    let (table, _) = Shape::of("id INTEGER NOT NULL", literals, literals).create(&db);
    let step = table.step("it").unwrap();
    let done = db.conn().transaction(|conn| {
        let done = step.reset_many(&mut *conn, ["1", "x", "2"]).unwrap();
        diesel::QueryResult::Ok(done)
    });
    assert_eq!(done.unwrap().count, 2);
    assert_eq!(
        table.find(&db.pool(1), "2").unwrap().unwrap().status,
        10.into()
    );
}
