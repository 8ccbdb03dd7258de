//! A key of the user's own type, with another name in SQL, a big counter,
//! errors as text, and a status by `diesel-enum`.

use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::prelude::*;
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::{Integer, Text};
use diesel_enum::DbEnum;
use diesel_status_tracker::StatusTracked;

use super::super::database::{TestConnection, TestDb};
use super::{Seen, Shape, age_lock, live};

diesel::table! {
    parcels (number) {
        #[sql_name = "parcel number"]
        number -> Integer,
        status -> Text, create_at -> Timestamp, update_at -> Timestamp, lock -> Nullable<Text>,
        lock_at -> Nullable<Timestamp>, retry -> BigInt, errors -> Text, weight -> Nullable<Integer>,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, AsExpression, FromSqlRow)]
#[diesel(sql_type = Integer)]
pub struct Number(i32);

impl<DB: diesel::backend::Backend> ToSql<Integer, DB> for Number
where
    i32: ToSql<Integer, DB>,
{
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
        self.0.to_sql(out)
    }
}

impl<DB: diesel::backend::Backend> FromSql<Integer, DB> for Number
where
    i32: FromSql<Integer, DB>,
{
    fn from_sql(bytes: DB::RawValue<'_>) -> deserialize::Result<Self> {
        Ok(Self(i32::from_sql(bytes)?))
    }
}

#[derive(Debug)]
pub struct NoWay(String);

impl NoWay {
    fn new(found: String) -> Self {
        Self(found)
    }
}

impl std::fmt::Display for NoWay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoWay {}

#[derive(Debug, Clone, Copy, PartialEq, AsExpression, FromSqlRow, DbEnum)]
#[diesel(sql_type = Text)]
#[diesel_enum(error_fn = NoWay::new)]
#[diesel_enum(error_type = NoWay)]
pub enum Way {
    Packed,
    Moving,
    Stuck,
    Arrived,
    Lost,
}

#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = parcels)]
struct Parcel {
    number: Number,
    status: Way,
}

#[derive(Debug, Default, Insertable, AsChangeset)]
#[diesel(table_name = parcels)]
struct ParcelUpdates {
    weight: Option<i32>,
}

impl StatusTracked for Parcel {
    type Job = Parcel;
    const PENDING: Way = Way::Packed;
    const IN_PROGRESS: Way = Way::Moving;
    const FAILED: Way = Way::Stuck;
    const SUCCEEDED: Way = Way::Arrived;
    const IGNORED: Way = Way::Lost;
}

tracked! {
    Parcel in parcels { key: (number: Number), status: Way, updates: ParcelUpdates }
}

impl Shape for Parcel {
    const CREATE: &'static str = "CREATE TABLE parcels (
        `parcel number` INTEGER NOT NULL PRIMARY KEY, status VARCHAR(20) NOT NULL, create_at DATETIME(6) NOT NULL,
        update_at DATETIME(6) NOT NULL, `lock` VARCHAR(32), lock_at DATETIME(6), retry BIGINT NOT NULL,
        errors TEXT NOT NULL, weight INTEGER
    )";
    const NAME: &'static str = "parcels Number(12)";

    fn key() -> Number {
        Number(12)
    }

    fn seen(conn: &mut TestConnection) -> Seen<Self> {
        let row: (Way, Option<String>, i64, String) = parcels::table
            .find(Number(12))
            .select((
                parcels::status,
                parcels::lock,
                parcels::retry,
                parcels::errors,
            ))
            .get_result(conn)
            .unwrap();
        let document = serde_json::from_str(&row.3).unwrap();
        (row.0, row.1, row.2, document)
    }

    age_lock! { parcels, lock_at }
}

#[test]
fn own_key_type_and_sql_name_and_diesel_enum() {
    live::<Parcel>();
}

#[test]
fn text_that_is_no_json_is_kept_in_the_history() {
    let db = TestDb::with_table(Parcel::CREATE);
    let pool = db.pool(1);
    Parcel::create_and_save(&pool, Parcel::key(), ParcelUpdates::default()).unwrap();
    db.sql("UPDATE parcels SET errors = 'fell off the truck'");

    Parcel::start(&pool, Parcel::key())
        .unwrap()
        .fail("no van")
        .unwrap();

    let (.., errors) = Parcel::seen(&mut db.conn());
    assert_eq!(errors["history"][0]["error"], "no van");
    assert_eq!(errors["history"][1]["found"], "fell off the truck");
}

#[test]
fn the_row_shows_its_key_and_status() {
    let db = TestDb::with_table(Parcel::CREATE);
    let parcel =
        Parcel::create_and_save(&db.pool(1), Number(12), ParcelUpdates { weight: Some(3) })
            .unwrap();
    assert_eq!((parcel.number, parcel.status), (Number(12), Way::Packed));
    assert!(Parcel::is_pending(&parcel) && !Parcel::is_failed(&parcel));
}
