//! PostgreSQL.

use super::{CastsText, Catalog, Dialect, LockWait, Reading, Several, Wait};

pub(crate) static POSTGRES: Dialect = DIALECT;

/// What servers start from that speak PostgreSQL's protocol.
pub(super) const DIALECT: Dialect = Dialect {
    number: 1,
    quote: '"',
    has_returning: true,
    several: Several::AtOnce,
    has_arrays: true,
    most_composite_keys: usize::MAX,
    infers_text: true,
    before_value: "",
    // From `=` PostgreSQL concludes that the lock is not NULL, and may take the
    // index on the locked rows for it: all of them, the former ones too, in
    // place of one row by its key.
    bears_token: ":lock IS NOT DISTINCT FROM :token",
    // `FOR UPDATE` would be kept from rows that a foreign key of another
    // transaction refers to.
    lock_rows: "FOR NO KEY UPDATE",
    time,
    one_time: None,
    long_ago: |is_zoned| match is_zoned {
        true => "'1970-01-02 00:00:00+00'",
        false => "'1970-01-02 00:00:00'",
    },
    null_before_all: [" ASC NULLS FIRST", " DESC NULLS LAST"],
    empty_document: |_| "'{}'",
    unless_exists: " ON CONFLICT (:key) DO NOTHING",
    is_same: "IS NOT DISTINCT FROM",
    rows_of_insert: &[500, 100],
    inserts_lists: true,
    has_default: true,
    no_retry: "0",
    returns_made_keys: true,
    wait,
    text_type: "text",
    casts_text: CastsText::ByRowType,
    cut: |column, _| {
        let bytes = format!("convert_to(CAST({column} AS text), 'UTF8')");
        [
            format!("substring({bytes} FROM 1 FOR CAST("),
            " AS integer))".into(),
        ]
    },
    catalog: Catalog {
        name: "CAST(attname AS text)",
        is_binary: "CAST(0 AS bigint)",
        rows: "pg_catalog.pg_attribute WHERE attrelid = CAST(CAST(:table_path AS text) AS regclass) \
            AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
    },
};

/// In conditions not `clock_timestamp()`: it is volatile, and a volatile bound
/// makes the planner read the table in place of an index.
fn time(reading: Reading, is_zoned: bool) -> [&'static str; 2] {
    match (reading, is_zoned) {
        (Reading::Now, true) => ["(statement_timestamp())", ""],
        (Reading::Now, false) => ["(statement_timestamp() AT TIME ZONE 'UTC')", ""],
        (Reading::Stamp, true) => ["(clock_timestamp())", ""],
        (Reading::Stamp, false) => ["(clock_timestamp() AT TIME ZONE 'UTC')", ""],
        (Reading::Ago | Reading::Later, true) => {
            ["(statement_timestamp() + ", " * interval '1 microsecond')"]
        }
        (Reading::Ago | Reading::Later, false) => [
            "(statement_timestamp() AT TIME ZONE 'UTC' + ",
            " * interval '1 microsecond')",
        ],
    }
}

/// The setting is gone with the transaction, and one of the caller's has its
/// own put back (`TrackerConnection::keeping_lock_wait`). The condition names
/// no column, so that it is evaluated once, before the first row.
///
/// A row that was held and has not changed when it is let go is changed to
/// what was computed before the wait: its stamps are so much older.
fn wait(wait: LockWait) -> Wait {
    Wait {
        condition: match wait {
            LockWait::Briefly => "(SELECT set_config('lock_timeout', '250ms', true)) IS NOT NULL",
            LockWait::Never => "(SELECT set_config('lock_timeout', '1ms', true)) IS NOT NULL",
        },
        ..Wait::EMPTY
    }
}
