//! What a type of a database holds.

use super::DatabaseKind;

/// What a column holds, whatever the database calls it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ColumnKind {
    /// Integers of so many bits.
    Integer {
        /// 8, 16, 32 or 64.
        bits: u8,
        /// Whether there are numbers below 0.
        is_signed: bool,
    },
    /// Text.
    Text {
        /// The most characters, where there is a limit.
        limit: Option<u32>,
        /// Whether it is filled up with spaces: `CHAR(n)`.
        is_padded: bool,
    },
    /// Times.
    Timestamp {
        /// With a time zone.
        is_zoned: bool,
        /// Digits of a second.
        digits: u8,
    },
    /// A JSON document.
    Json,
    /// A JSON document in binary form.
    Jsonb,
    /// One of these words.
    Enum(Vec<String>),
    /// Truth values.
    Bool,
    /// Numbers with 24 binary digits.
    Float,
    /// Numbers with 53 binary digits.
    Double,
    /// Exact decimal numbers.
    Numeric,
    /// Bytes.
    Binary,
    /// Days.
    Date,
    /// Times of a day.
    Time,
    /// UUIDs.
    Uuid,
    /// Anything else.
    Other,
}

impl ColumnKind {
    /// By the type's name.
    pub(super) fn of(database: DatabaseKind, type_name: &str) -> Self {
        let name = type_name.to_ascii_lowercase();
        match database {
            DatabaseKind::Postgres => postgres(&name),
            DatabaseKind::Mysql => mysql(&name, type_name),
            DatabaseKind::Sqlite => sqlite(&name),
        }
    }

    /// Whether it can hold status codes that are numbers.
    pub(crate) fn is_integer(&self) -> bool {
        matches!(self, Self::Integer { .. })
    }
}

fn signed(bits: u8) -> ColumnKind {
    ColumnKind::Integer {
        bits,
        is_signed: true,
    }
}

fn text(limit: Option<u32>) -> ColumnKind {
    ColumnKind::Text {
        limit,
        is_padded: false,
    }
}

/// The number in brackets, and the name without the brackets.
fn parted(name: &str) -> (String, Option<u32>) {
    let Some((before, rest)) = name.split_once('(') else {
        return (name.trim().into(), None);
    };
    let (inside, after) = rest.split_once(')').unwrap_or((rest, ""));
    let number = inside.split(',').next().unwrap_or_default();
    let name = format!("{} {}", before.trim(), after.trim());
    (name.trim().into(), number.trim().parse().ok())
}

fn postgres(name: &str) -> ColumnKind {
    let (name, number) = parted(name);
    let digits = number
        .and_then(|digits| digits.try_into().ok())
        .unwrap_or(6);
    match &*name {
        "smallint" => signed(16),
        "integer" => signed(32),
        "bigint" => signed(64),
        "text" | "citext" => text(None),
        "character varying" => text(number),
        "character" | "bpchar" => ColumnKind::Text {
            limit: number,
            is_padded: true,
        },
        "timestamp without time zone" => ColumnKind::Timestamp {
            is_zoned: false,
            digits,
        },
        "timestamp with time zone" => ColumnKind::Timestamp {
            is_zoned: true,
            digits,
        },
        "json" => ColumnKind::Json,
        "jsonb" => ColumnKind::Jsonb,
        "boolean" => ColumnKind::Bool,
        "real" => ColumnKind::Float,
        "double precision" => ColumnKind::Double,
        "numeric" => ColumnKind::Numeric,
        "bytea" => ColumnKind::Binary,
        "date" => ColumnKind::Date,
        "time without time zone" => ColumnKind::Time,
        "uuid" => ColumnKind::Uuid,
        _ => ColumnKind::Other,
    }
}

fn mysql(name: &str, as_written: &str) -> ColumnKind {
    if name == "tinyint(1)" {
        return ColumnKind::Bool;
    }
    if name.starts_with("enum(") {
        return ColumnKind::Enum(words(as_written));
    }
    let is_signed = !name.contains("unsigned");
    let (name, number) = parted(name);
    let integer = |bits| ColumnKind::Integer { bits, is_signed };
    match name.split(' ').next().unwrap_or_default() {
        "tinyint" => integer(8),
        "smallint" => integer(16),
        // Diesel knows no type of 24 bits.
        "int" | "integer" => integer(32),
        "bigint" => integer(64),
        "varchar" => text(number),
        "char" => ColumnKind::Text {
            limit: number,
            is_padded: true,
        },
        "tinytext" => text(Some(255)),
        "text" => text(Some(65_535)),
        "mediumtext" | "longtext" => text(None),
        "datetime" | "timestamp" => ColumnKind::Timestamp {
            is_zoned: false,
            digits: number
                .and_then(|digits| digits.try_into().ok())
                .unwrap_or(0),
        },
        "json" => ColumnKind::Json,
        "float" => ColumnKind::Float,
        "double" => ColumnKind::Double,
        "decimal" | "numeric" => ColumnKind::Numeric,
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => {
            ColumnKind::Binary
        }
        "date" => ColumnKind::Date,
        "time" => ColumnKind::Time,
        _ => ColumnKind::Other,
    }
}

/// The words of an enum of MySQL, whose quotes are doubled inside.
fn words(type_name: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut chars = type_name.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\'' {
            continue;
        }
        let mut word = String::new();
        while let Some(c) = chars.next() {
            if c == '\'' && chars.next_if_eq(&'\'').is_none() {
                break;
            }
            word.push(c);
        }
        words.push(word);
    }
    words
}

/// SQLite takes any name for a type; these are the ones that Diesel takes.
fn sqlite(name: &str) -> ColumnKind {
    let (name, number) = parted(name);
    let has = |part: &str| name.contains(part);
    let timestamp = |is_zoned| ColumnKind::Timestamp {
        is_zoned,
        digits: 6,
    };
    match &*name {
        _ if has("timestamptz") || has("with time zone") => timestamp(true),
        _ if has("timestamp") || has("datetime") => timestamp(false),
        "jsonb" => ColumnKind::Jsonb,
        "json" => ColumnKind::Json,
        "date" => ColumnKind::Date,
        "time" => ColumnKind::Time,
        _ if has("bool") => ColumnKind::Bool,
        _ if has("bigint") || has("int8") => signed(64),
        _ if has("smallint") || has("int2") => signed(16),
        _ if has("int") => signed(32),
        _ if has("char") || has("clob") || has("text") => text(number),
        "" => ColumnKind::Binary,
        _ if has("blob") || has("binary") => ColumnKind::Binary,
        "float" => ColumnKind::Float,
        _ if has("real") || has("doub") || has("num") || has("dec") => ColumnKind::Double,
        _ => ColumnKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_known_by_their_names() {
        let kind = ColumnKind::of;
        let zoned = |is_zoned, digits| ColumnKind::Timestamp { is_zoned, digits };
        let postgres = DatabaseKind::Postgres;
        assert_eq!(
            kind(postgres, "timestamp(3) with time zone"),
            zoned(true, 3)
        );
        assert_eq!(
            kind(postgres, "timestamp without time zone"),
            zoned(false, 6)
        );
        assert_eq!(kind(postgres, "character varying(32)"), text(Some(32)));
        assert_eq!(kind(postgres, "integer[]"), ColumnKind::Other);
        let mysql = DatabaseKind::Mysql;
        assert_eq!(kind(mysql, "datetime"), zoned(false, 0));
        assert_eq!(kind(mysql, "datetime(6)"), zoned(false, 6));
        let unsigned = ColumnKind::Integer {
            bits: 32,
            is_signed: false,
        };
        assert_eq!(kind(mysql, "int(10) unsigned"), unsigned);
        let words = ["New", "it's"].map(String::from).to_vec();
        assert_eq!(kind(mysql, "enum('New','it''s')"), ColumnKind::Enum(words));
        let sqlite = DatabaseKind::Sqlite;
        assert_eq!(kind(sqlite, "TIMESTAMP"), zoned(false, 6));
        assert_eq!(kind(sqlite, "VARCHAR(20)"), text(Some(20)));
        assert_eq!(kind(sqlite, "INTEGER"), signed(32));
    }
}
