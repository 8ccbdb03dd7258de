//! The types of Diesel and of Rust for a column.

use crate::catalog::{Column, ColumnKind, DatabaseKind};

/// What a column is to Diesel and to Rust.
#[derive(Debug, Clone)]
pub(super) struct ColumnType {
    /// In `table!`.
    pub sql: String,
    /// In a struct.
    pub rust: String,
    /// What it needs.
    pub needs: Option<Need>,
}

/// A crate that a type is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Need {
    Json,
    Chrono,
    Uuid,
    Numeric,
}

impl Need {
    /// The feature of Diesel, and the line in Cargo.toml.
    pub(super) fn lines(self) -> (&'static str, &'static str) {
        match self {
            Self::Json => ("serde_json", "serde_json = \"1\""),
            Self::Chrono => (
                "chrono",
                "chrono = { version = \"0.4\", default-features = false }",
            ),
            Self::Uuid => ("uuid", "uuid = \"1\""),
            Self::Numeric => ("numeric", "bigdecimal = \"0.4\""),
        }
    }
}

/// `None` where Diesel has no type for it.
pub(super) fn of(database: DatabaseKind, column: &Column) -> Option<ColumnType> {
    let (sql, rust, needs) = match (&column.kind, database) {
        (ColumnKind::Integer { bits, is_signed }, _) => integer(*bits, *is_signed)?,
        (ColumnKind::Text { .. }, _) => ("Text", "String", None),
        // To Diesel that is a text on MySQL; on PostgreSQL it is a type of its own.
        (ColumnKind::Enum(_), DatabaseKind::Mysql) => ("Text", "String", None),
        (
            ColumnKind::Timestamp {
                is_zoned: false, ..
            },
            _,
        ) => ("Timestamp", "chrono::NaiveDateTime", Some(Need::Chrono)),
        (ColumnKind::Timestamp { .. }, DatabaseKind::Sqlite) => (
            "TimestamptzSqlite",
            "chrono::DateTime<chrono::Utc>",
            Some(Need::Chrono),
        ),
        (ColumnKind::Timestamp { .. }, _) => (
            "Timestamptz",
            "chrono::DateTime<chrono::Utc>",
            Some(Need::Chrono),
        ),
        (ColumnKind::Json, _) => ("Json", "serde_json::Value", Some(Need::Json)),
        (ColumnKind::Jsonb, _) => ("Jsonb", "serde_json::Value", Some(Need::Json)),
        (ColumnKind::Bool, _) => ("Bool", "bool", None),
        (ColumnKind::Float, _) => ("Float", "f32", None),
        (ColumnKind::Double, _) => ("Double", "f64", None),
        (ColumnKind::Numeric, _) => ("Numeric", "bigdecimal::BigDecimal", Some(Need::Numeric)),
        (ColumnKind::Binary, _) => ("Binary", "Vec<u8>", None),
        (ColumnKind::Date, _) => ("Date", "chrono::NaiveDate", Some(Need::Chrono)),
        (ColumnKind::Time, _) => ("Time", "chrono::NaiveTime", Some(Need::Chrono)),
        (ColumnKind::Uuid, _) => ("Uuid", "uuid::Uuid", Some(Need::Uuid)),
        (ColumnKind::Enum(_) | ColumnKind::Other, _) => return None,
    };
    Some(ColumnType {
        sql: sql.into(),
        rust: rust.into(),
        needs,
    })
}

fn integer(bits: u8, is_signed: bool) -> Option<(&'static str, &'static str, Option<Need>)> {
    let (sql, rust) = match (bits, is_signed) {
        (8, true) => ("TinyInt", "i8"),
        (16, true) => ("SmallInt", "i16"),
        (32, true) => ("Integer", "i32"),
        (64, true) => ("BigInt", "i64"),
        (8, false) => ("Unsigned<TinyInt>", "u8"),
        (16, false) => ("Unsigned<SmallInt>", "u16"),
        (32, false) => ("Unsigned<Integer>", "u32"),
        (64, false) => ("Unsigned<BigInt>", "u64"),
        _ => return None,
    };
    Some((sql, rust, None))
}
