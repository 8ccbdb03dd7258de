//! MySQL and MariaDB.

use super::{CastsText, Catalog, Dialect, LockWait, Reading, Several, Wait};

pub(crate) static MYSQL: Dialect = Dialect {
    number: 2,
    quote: '`',
    has_returning: false,
    several: Several::ByKeys,
    has_arrays: false,
    most_composite_keys: usize::MAX,
    infers_text: false,
    before_value: "",
    bears_token: ":lock = :token",
    lock_rows: "FOR UPDATE",
    time,
    one_time: None,
    long_ago: |_| "'1970-01-02 00:00:00'",
    null_before_all: [" ASC", " DESC"],
    empty_document: |_| "'{}'",
    // IGNORE would hide other errors, and ON DUPLICATE KEY tells nothing, since
    // Diesel counts matched rows: so a plain insert, and a look at a duplicate.
    unless_exists: "",
    is_same: "<=>",
    rows_of_insert: &[500],
    inserts_lists: false,
    has_default: true,
    // Else `LAST_INSERT_ID()` would still tell the key of an earlier insert where
    // this one makes no number.
    no_retry: "LAST_INSERT_ID(0)",
    returns_made_keys: false,
    wait,
    text_type: "CHAR",
    casts_text: CastsText::AndChecked,
    cut: |column, is_binary| {
        let text = match is_binary {
            true => format!("CONCAT('0x', HEX(LEFT({column}, 4096)))"),
            false => format!("CONVERT({column} USING utf8mb4)"),
        };
        [format!("LEFT(CAST({text} AS BINARY), "), ")".into()]
    },
    catalog: Catalog {
        name: "CAST(column_name AS CHAR)",
        is_binary: "(data_type LIKE '%blob' OR data_type LIKE '%binary' OR data_type = 'bit')",
        rows: "information_schema.columns WHERE table_schema = COALESCE(NULLIF(:schema_text, ''), DATABASE()) \
            AND table_name = :table_text ORDER BY ordinal_position",
    },
};

/// What has passed since the start of the statement is the difference of local
/// times, since only local time can be read later than that. Ten minutes are
/// longer than any wait; more of it, or less than nothing, is a clock that was
/// set for the session, or that changed to or from daylight saving time.
fn time(reading: Reading, _is_zoned: bool) -> [&'static str; 2] {
    match reading {
        Reading::Now => ["(UTC_TIMESTAMP(6))", ""],
        Reading::Stamp => [
            "(UTC_TIMESTAMP(6) + INTERVAL (CASE WHEN TIMESTAMPDIFF(MICROSECOND, NOW(6), SYSDATE(6)) BETWEEN 0 AND 600000000 \
             THEN TIMESTAMPDIFF(MICROSECOND, NOW(6), SYSDATE(6)) ELSE 0 END) MICROSECOND)",
            "",
        ],
        Reading::Ago | Reading::Later => ["(UTC_TIMESTAMP(6) + INTERVAL ", " MICROSECOND)"],
    }
}

/// A comment to MySQL, which waits for `innodb_lock_wait_timeout`.
fn wait(wait: LockWait) -> Wait {
    Wait {
        before: match wait {
            LockWait::Briefly => "/*M! SET STATEMENT innodb_lock_wait_timeout = 1 FOR */ ",
            LockWait::Never => "/*M! SET STATEMENT innodb_lock_wait_timeout = 0 FOR */ ",
        },
        ..Wait::EMPTY
    }
}
